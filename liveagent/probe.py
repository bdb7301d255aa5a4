"""What a port says about itself when asked whether it would work here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Probe:
    """ok: would it work now. what: what was found, in words. fix: what to do when not ok; empty when ok."""

    ok: bool
    what: str
    fix: str = ""
