"""How long until it listens: importing the package, and everything from a cold process to an open session.

Keys: `import_s` (`import liveagent`, inside a fresh process), `ready_s` (a fresh process from its start to a session
with the shipped agent that has read its tools and can take the first tick). Medians of `runs`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

_IMPORT = "import time; t = time.perf_counter(); import liveagent; print(time.perf_counter() - t)"
_READY = """
import asyncio
from liveagent.load import load_agent
from liveagent.runtime.talk import open_session
async def main():
    async with open_session(load_agent("voice")):
        print("ready", flush=True)
asyncio.run(main())
"""


def run(runs: int = 5) -> dict[str, float]:
    """Measure. Absolute seconds: they belong to the machine that the caller names."""
    imports, ready = [], []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
        imports.append(float(done.stdout))
        start = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", _READY], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready.append(time.perf_counter() - start)
        if line.strip() != "ready":
            raise RuntimeError("the session did not open; run `liveagent doctor`")
    return {"import_s": round(statistics.median(imports), 3), "ready_s": round(statistics.median(ready), 3)}
