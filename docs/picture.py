"""Draws README's picture: the live screen at one moment of a recording.

    liveagent talk --source pipelines/nano/clip.flac --fast --record clip.larec
    python docs/picture.py clip.larec 38.6 docs/terminal.svg
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from liveagent.clients.terminal import Terminal
from liveagent.runtime.replay import replay


def draw(recording: Path, at_s: float, picture: Path) -> None:
    """Replay `recording` and draw what its screen shows `at_s` seconds in."""
    report = replay(recording)
    console = Console(
        record=True, width=98, height=36, force_terminal=True, color_system="truecolor", file=io.StringIO()
    )
    terminal = Terminal("voice", console=console)
    for tick, item in sorted((*report.events, *report.actions), key=lambda each: each[0]):
        if tick * 0.08 > at_s:
            break
        terminal.feed(item)
    console.print(terminal.render())
    svg = console.export_svg(title="liveagent talk")
    # A picture fetches nothing: the viewer's own monospaced font will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    picture.write_text(svg.replace("Fira Code", "monospace"), encoding="utf-8")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
