"""Ten minutes of people coming and going: does the server grow?

Up to four guests at a time (two cores hold them with room to spare), each for 5 to 25 seconds, in the roles of
`bench sessions`, some leaving in the middle of a reply, some whose link breaks and who come back or do not. The server
tells its memory, open files and tasks twice a second.

    rss_mb_per_hour     slope of the server's resident memory, both processes, by least squares after a warm-up of a
                        fifth of the time                                                                        <= 10
    fd_growth           open files of the server's process: the end, everybody gone, less the same after warm-up    0
    task_growth         the same of its tasks                                                                        0

`detail` has the memory of both processes at either end, and how many guests came.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from liveagent.audio import RATE_HZ, Samples
from liveagent.bench.eye import talking
from liveagent.bench.guests import Guest, live
from liveagent.bench.host import Host, host
from liveagent.bench.sessions import CLIP_FRAMES, sounds
from liveagent.sight import PICTURE_PX
from liveagent.video import Pixels

SECONDS = 600.0
GUESTS = 4
WARM = 0.2
EMPTY_S = 5.0
SPARE = 4
"""Lanes beyond the guests': conversations that were left without goodbye are kept for two minutes."""


async def _come_and_go(port: int, until: float, seed: int, speech: Samples, clip: Sequence[Pixels]) -> int:
    """One seat's guests, one after the other; how many there were."""
    rng = random.Random(seed)
    came = 0
    while time.monotonic() < until:
        try:
            guest = await Guest.come(port)
        except ConnectionError:  # every lane is taken: somebody's goodbye got lost, and they are kept for two minutes
            await asyncio.sleep(1)
            continue
        came += 1
        stay = min(rng.uniform(5, 25), max(1.0, until - time.monotonic()))
        await live(guest, rng.randrange(4), speech, clip, stay, rng.randrange(RATE_HZ * 20))
        await guest.leave()
        await asyncio.sleep(rng.uniform(0.1, 1.0))
    return came


async def _soak(served: Host, seconds: float) -> tuple[int, int, int]:
    """How many guests there were, and how many of the server's lines came before and after the empty moments."""
    speech, _ = sounds(5)
    clip = talking(PICTURE_PX, CLIP_FRAMES)
    begin = time.monotonic()

    async def stretch(until: float, seed: int) -> int:
        each = (_come_and_go(served.port, until, seed * 10 + at, speech, clip) for at in range(GUESTS))
        came = sum(await asyncio.gather(*each))
        await asyncio.sleep(EMPTY_S)
        served.listen()
        return came

    warm = await stretch(begin + WARM * seconds, 1)
    first = len(served.told)
    rest = await stretch(begin + seconds, 2)
    return warm + rest, first, len(served.told)


def run(seconds: float = SECONDS) -> dict[str, Any]:
    """Measure. Guests close their links properly, so that nothing is kept for them."""
    with host(GUESTS + SPARE, everybody=True) as served:
        came, first, last = asyncio.run(_soak(served, seconds))
        lines = served.told[first:last]
        before = served.told[first - 1]
    at = np.array([line["t_s"] for line in lines]) / 3600
    memory = np.array([line["rss_mb"] + line["engine_rss_mb"] for line in lines])
    slope = float(np.polyfit(at, memory, 1)[0])
    end = lines[-1]
    return {
        "rss_mb_per_hour": round(slope, 2),
        "fd_growth": end["fds"] - before["fds"],
        "task_growth": end["tasks"] - before["tasks"],
        "detail": {
            "guests": came, "minutes": round(seconds / 60, 1),
            "server_rss_mb": [before["rss_mb"], end["rss_mb"]],
            "engine_rss_mb": [before["engine_rss_mb"], end["engine_rss_mb"]],
            "sessions_left": end["sessions"],
        },
    }  # fmt: skip
