"""`give_back`: free memory of this process to the system.

Sessions that come and go leave holes in the heap, which glibc keeps for later; a server would seem to grow by half a
megabyte a guest although nothing is held. Elsewhere than on glibc it does nothing.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Takes some milliseconds, in which other threads go on."""
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
