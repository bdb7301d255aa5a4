"""The command line. Everything it needs is imported by the command that needs it, so that `--help` is quick.

What is wrong is one line that says what to do, and an exit status that says whose it is: 2 the one who wrote the agent
or the command, or a file from another version, 3 the machine, 4 the way to elsewhere, 5 a peer, 6 a tool; 1 is a check
that did not hold, 70 a fault of liveagent's own. `LIVEAGENT_DEBUG=1` shows tracebacks instead.
"""

from __future__ import annotations

from liveagent.cli import live, models, past, robot, survey, verify, workshop
from liveagent.cli.live import talk_with
from liveagent.cli.program import app, main

__all__ = ["app", "live", "main", "models", "past", "robot", "survey", "talk_with", "verify", "workshop"]
