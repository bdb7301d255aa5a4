"""Makes .venv and puts liveagent into it: says first how much it will fetch, and never fetches CUDA for nothing.

    python3 setup/venv.py .venv espeak test

torch is the one package that needs thought. What the package index has for Linux is the CUDA build, gigabytes that a
machine without an NVIDIA GPU cannot use. So without one the CPU build is looked for, first where pip is configured to
look (`PIP_FIND_LINKS` and the like), then at TORCH_INDEX, and its exact version is given to pip, which then cannot take
any other. If there is none, nothing is fetched and the message says what to do; `TORCH=cuda` asks for the big one.

Standard library only: it runs before anything is installed. Tested by tests/test_setup.py with an index on disk.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
# The one place that names it: PyTorch's own index of CPU builds, asked only as the head of this file says.
TORCH_INDEX = os.environ.get("TORCH_INDEX") or "https://download.pytorch.org/whl/cpu"
# A machine without a way out must learn so in seconds; only the look-ups are this impatient, never a download.
IMPATIENT = ["--timeout", "5", "--retries", "0"]
LOOKUP_S = 60
# What runs without it, is said by `liveagent doctor`; here it is only named, so that set-up never needs root.
SYSTEM_LIBRARIES = {"portaudio": ("libportaudio2", "microphone and loudspeaker")}


class SetupError(Exception):
    """Set-up cannot go on; the text says what to do."""


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is loaded and sees a device. CUDA_VISIBLE_DEVICES does not matter to set-up."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


def torch_range() -> tuple[tuple[int, int], tuple[int, int]]:
    """The versions that pyproject.toml takes: (from, up to but not with), as (major, minor)."""
    import tomllib  # not at the top: an older Python must get as far as being told so

    wanted = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in wanted:
        if found := re.fullmatch(r"torch>=(\d+)\.(\d+),<(\d+)\.(\d+)", line.replace(" ", "")):
            a, b, c, d = map(int, found.groups())
            return (a, b), (c, d)
    raise SetupError("pyproject.toml: the line for torch must read torch>=A.B,<C.D")


def newest_cpu_build(listing: str) -> str | None:
    """The newest version in torch's range with a CPU label, out of what `pip index versions torch` prints."""
    low, high = torch_range()
    found: list[tuple[tuple[int, ...], str]] = []
    available = re.search(r"^Available versions:(.*)$", listing, re.MULTILINE)  # another line tells what is installed
    for text in re.findall(r"[\d.]+\+cpu\b", available[1] if available else ""):
        number = tuple(int(part) for part in text.split("+")[0].split("."))
        if low <= number[:2] < high:
            found.append((number, text))
    return max(found)[1] if found else None


def pip(python: Path, *arguments: str, timeout_s: float | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", "took too long")


def choose_torch(python: Path) -> list[str]:
    """What to tell pip about torch: nothing (pyproject's range, from wherever it looks), or the CPU build it must take.

    Raises SetupError where no CPU build can be had and CUDA would be of no use.
    """
    flavour = os.environ.get("TORCH") or ("cuda" if has_nvidia_gpu() else "cpu")
    if flavour not in ("cpu", "cuda"):
        raise SetupError(f"TORCH is {flavour!r}: say cpu or cuda, or leave it out")
    if sys.platform != "linux" or flavour == "cuda":
        return []  # off Linux the package index holds CPU builds
    here = pip(python, "index", "versions", "torch", *IMPATIENT, timeout_s=LOOKUP_S)
    if version := newest_cpu_build(here.stdout):
        return [f"torch=={version}"]
    there = pip(python, "index", "versions", "torch", "--index-url", TORCH_INDEX, *IMPATIENT, timeout_s=LOOKUP_S)
    if version := newest_cpu_build(there.stdout):
        return [f"torch=={version}", "--extra-index-url", TORCH_INDEX]
    low, high = torch_range()
    raise SetupError(
        "no CPU build of torch was found, and this machine has no NVIDIA GPU, so nothing was fetched.\n"
        f"  wanted: torch {low[0]}.{low[1]} or later, before {high[0]}.{high[1]}, for Python "
        f"{sys.version_info.major}.{sys.version_info.minor} on {os.uname().machine}\n"
        f"  asked:  pip's own configuration, and {TORCH_INDEX}\n"
        "  do:     get on line and run it again; or TORCH_INDEX=<an index with CPU builds>; or, if several GB are\n"
        "          no trouble, TORCH=cuda for the CUDA build, which runs without a GPU too"
    )


def size_bytes(url: str) -> int:
    """How large the file behind a URL is; 0 where it does not say."""
    if url.startswith("file:"):
        path = Path(urllib.request.url2pathname(url.removeprefix("file://")))
        return path.stat().st_size if path.is_file() else 0
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=5) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except (OSError, ValueError):
        return 0


def plan(python: Path, arguments: list[str]) -> list[tuple[str, str]]:
    """(name and version, URL) of all that `pip install` with these arguments would fetch."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        asked = pip(python, "install", "--dry-run", "--quiet", "--report", str(report), *arguments)
        if asked.returncode != 0:
            raise SetupError(f"pip cannot resolve what liveagent needs:\n{asked.stderr.strip()}")
        entries = json.loads(report.read_text())["install"]
    return [
        (f"{entry['metadata']['name']} {entry['metadata']['version']}", entry["download_info"]["url"])
        for entry in entries
        if "dir_info" not in entry["download_info"]  # liveagent itself
    ]


def say_plan(fetched: list[tuple[str, str]]) -> None:
    """Prints how many packages and megabytes, and which are the largest."""
    if not fetched:
        return print("setup: nothing to fetch")
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(size_bytes, (url for _, url in fetched)))
    unknown = f", and {sizes.count(0)} that do not say their size" if 0 in sizes else ""
    print(f"setup: {len(fetched)} packages to fetch, {sum(sizes) / 1e6:.0f} MB{unknown}; it takes a minute or two.")
    largest = sorted(zip(sizes, fetched, strict=True), reverse=True)[:4]
    print("setup: the largest: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for size, (name, _) in largest))


def refuse_cuda(fetched: Iterable[tuple[str, str]]) -> None:
    """The belt beside the braces: a package that pulls CUDA in by another way is caught before it is fetched."""
    heavy = [name for name, _ in fetched if name.lower().startswith(("nvidia-", "cuda-", "triton "))]
    if heavy and not has_nvidia_gpu() and os.environ.get("TORCH") != "cuda":
        raise SetupError(f"refused: this machine has no NVIDIA GPU, and pip would fetch {', '.join(heavy[:4])}, ...")


def install(python: Path, arguments: list[str]) -> None:
    done = pip(python, "install", "--quiet", *arguments)
    if done.returncode != 0:
        raise SetupError(f"pip install failed:\n{done.stderr.strip()}")


def missing_libraries() -> list[str]:
    return [
        f"setup: {library} is missing ({use} will not work); as root: apt-get install {package}"
        for library, (package, use) in SYSTEM_LIBRARIES.items()
        if sys.platform == "linux" and ctypes.util.find_library(library) is None
    ]


def main(folder: Path, extras: list[str]) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs on whatever python3 is
        raise SetupError("liveagent needs Python 3.11 or later: make run PYTHON=python3.12 names another one")
    python = folder / "bin" / "python"
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True)
        if made.returncode != 0:
            raise SetupError(f"cannot make {folder}; on Debian, as root: apt-get install python3-venv\n{made.stdout}")
    # An older pip fetches whole files only to say what it would fetch.
    pip(python, "install", "--quiet", "--upgrade", "pip", *IMPATIENT, timeout_s=LOOKUP_S)

    arguments = ["--editable", f"{REPO}[{','.join(extras)}]" if extras else str(REPO), *choose_torch(python)]
    fetched = plan(python, arguments)
    refuse_cuda(fetched)
    say_plan(fetched)
    install(python, arguments)
    for line in missing_libraries():
        print(line)
    print(f"setup: ready in {folder}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except SetupError as error:
        sys.exit(f"setup: {error}")
