"""How many people one server holds, and what one bad guest costs the others.

A real server (engine in its own process, weights as shipped) on loopback; guests over real websockets, with the mixed
load of `bench sessions`: half of them speak, a quarter is being replied to, every one has a camera at 5 pictures a
second. More of them come until ticks are late.

    sessions                the most guests with whom 95 of 100 ticks were done within 160 ms after their last sound
                            had come, which is what the sessions themselves call late (`liveagent.overrun`)      >= 8
    neighbour_p99_ratio     four guests who type a command again and again: the 99th percentile of the time to the
                            call, beside one hostile client / without it. It sends broken JSON, wrong kinds, 100 times
                            real time's sound, pictures that cannot be decoded, and reads nothing             <= 1.2
    refused_cleanly         of as many again as there are lanes, the share that was told 503 with Retry-After    1.0

`detail` has each number of guests with the 50th, 95th and 99th percentile of its lateness.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liveagent.audio import RATE_HZ
from liveagent.bench.eye import talking
from liveagent.bench.guests import Guest, crowd
from liveagent.bench.host import Host, host
from liveagent.bench.sessions import CLIP_FRAMES, sounds
from liveagent.overrun import LATE_NS
from liveagent.sight import PICTURE_PX
from liveagent.wire.native import HEADER

LATE_MS = LATE_NS / 1e6
SECONDS = 12.0
SETTLE_S = 3.0
MOST = 16
COMMAND = "turn on the kitchen light"
NEIGHBOURS = 4
ASKS = 60


def _percentiles(lags: Sequence[float]) -> list[float]:
    return [round(float(np.percentile(lags, share)), 1) for share in (50, 95, 99)] if lags else []


async def _held(served: Host, most: int, seconds: float) -> tuple[int, dict[str, list[float]]]:
    """The most guests whose ticks are in time, and how late they were for each number."""
    speech, _ = await asyncio.to_thread(sounds, 5)
    clip = talking(PICTURE_PX, CLIP_FRAMES)
    guests: list[Guest] = []
    found: dict[str, list[float]] = {}
    held = 0
    for count in range(2, most + 1, 2):
        while len(guests) < count:
            guests.append(await Guest.come(served.port))
        await crowd(guests, speech, clip, SETTLE_S)
        served.listen()
        await crowd(guests, speech, clip, seconds)
        lags = served.lags_ms()
        found[str(count)] = _percentiles(lags)
        if not lags or np.percentile(lags, 95) > LATE_MS:
            break
        held = count
    for guest in guests:
        await guest.leave()
    return held, found


async def _ask(guests: Sequence[Guest], asks: int) -> list[float]:
    async def one(guest: Guest, late: float) -> list[float]:
        await asyncio.sleep(late)
        took = []
        for _ in range(asks):
            took.append(await guest.typed(COMMAND))
            await asyncio.sleep(0.3)
        return took

    return [each for took in await asyncio.gather(*(one(g, 0.11 * at) for at, g in enumerate(guests))) for each in took]


async def _hostile(port: int, until: asyncio.Event) -> None:
    """Everything that a server must not mind, as fast as it goes, again and again after each time it is thrown out."""
    junk = np.random.default_rng(1)
    while not until.is_set():
        with contextlib.suppress(ConnectionClosed, InvalidStatus, OSError, TimeoutError):
            async with connect(f"ws://127.0.0.1:{port}/live", compression=None) as link:
                await link.send(json.dumps({"type": "hello", "v": 1, "speak": True}))
                await _attack(link, junk, until)
        await asyncio.sleep(0.05)


async def _attack(link: ClientConnection, junk: np.random.Generator, until: asyncio.Event) -> None:
    second = junk.integers(-20_000, 20_000, RATE_HZ).astype("<i2").tobytes()
    while not until.is_set():
        await link.send("[" * 50_000)
        await link.send('{"type": "TextTyped", "text": NaN}')
        await link.send(junk.bytes(500))
        for at in range(10):
            await link.send(HEADER.pack(1, 0, 0, at * RATE_HZ, 0) + second)
        await link.send(HEADER.pack(2, 0, 0, 0, 0) + b"\x89PNG\r\n\x1a\n" + junk.bytes(20_000))
        await asyncio.sleep(0.1)


async def _neighbours(port: int, asks: int) -> tuple[float, float]:
    """99th percentiles, alone and beside the hostile client."""
    guests = [await Guest.come(port) for _ in range(NEIGHBOURS)]
    await _ask(guests, 3)
    alone = await _ask(guests, asks)
    until = asyncio.Event()
    enemy = asyncio.create_task(_hostile(port, until))
    await asyncio.sleep(1.0)
    beside = await _ask(guests, asks)
    until.set()
    await enemy
    for guest in guests:
        await guest.leave()
    return float(np.percentile(alone, 99)), float(np.percentile(beside, 99))


async def _refused(port: int, lanes: int) -> float:
    guests = [await Guest.come(port) for _ in range(lanes)]
    cleanly = 0
    for _ in range(lanes):
        try:
            async with connect(f"ws://127.0.0.1:{port}/v1/realtime?model=nano", compression=None):
                pass
        except InvalidStatus as refusal:
            response = refusal.response
            cleanly += response.status_code == 503 and int(response.headers.get("Retry-After", 0)) > 0
    for guest in guests:
        await guest.leave()
    return cleanly / lanes


def run(most: int = MOST, seconds: float = SECONDS, asks: int = ASKS) -> dict[str, Any]:
    """Measure, on both cores if there are two: the server's processes and the guests share the machine."""
    began = time.monotonic()
    with host(max(4, most), everybody=True) as served:
        held, found = asyncio.run(_held(served, most, seconds))
    with host(NEIGHBOURS + 1, everybody=True) as served:
        alone, beside = asyncio.run(_neighbours(served.port, asks))
    lanes = max(4, held)
    with host(lanes, everybody=True) as served:
        refused = asyncio.run(_refused(served.port, lanes))
    return {
        "sessions": held,
        "neighbour_p99_ratio": round(beside / alone, 3),
        "refused_cleanly": refused,
        "detail": {
            "lateness_ms_p50_p95_p99": found, "neighbour_p99_ms": [round(alone * 1000, 1), round(beside * 1000, 1)],
            "lanes_refused_at": lanes, "took_s": round(time.monotonic() - began),
        },
    }  # fmt: skip
