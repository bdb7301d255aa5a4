"""`Now`: one moment on both of a machine's clocks. Everything that decides is given it and reads no clock itself."""

from __future__ import annotations

import time
from typing import NamedTuple


class Now(NamedTuple):
    """`s` only grows, and is for how long something lasts; `ms` is Unix time, and is for what others have written."""

    s: float
    ms: float

    @classmethod
    def read(cls) -> Now:
        return cls(time.monotonic(), time.time() * 1000.0)
