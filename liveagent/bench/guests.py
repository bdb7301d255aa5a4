"""People at a server, over real websockets, for the benches: they speak, are spoken to, look, come and go.

A guest's role is as in `bench sessions`: of four, two speak commands one after the other, one asks for something long
and hears the reply, one is open and silent; each has a camera at 5 pictures a second that shows a talking head. All of
them play what they are sent at real time's pace and say so, as the page does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from liveagent.audio import RATE_HZ, Samples
from liveagent.video import Pixels
from liveagent.wire.native import HEADER, PLAYED, SPOKEN, VERSION

FRAME_SAMPLES = 320
FRAME_S = FRAME_SAMPLES / RATE_HZ
PICTURE_S = 0.2
REPORT_S = 0.08
LONG = "tell me a joke"


class Guest:
    """One connection. `events` are those that came, each with when; `speech` its utterances with how much was sent."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.welcome: dict[str, Any] = {}
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.speech: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._stopped: set[int] = set()
        self._sent = 0
        self._first_picture = 0.0
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._play())]
        self._ready = asyncio.Event()
        self._met: list[tuple[Callable[[dict[str, Any]], bool], asyncio.Future[float]]] = []

    @classmethod
    async def come(cls, port: int) -> Guest:
        """Connect and be welcomed. Raises what the connection does, ConnectionError for a refusal."""
        link = await connect(
            f"ws://127.0.0.1:{port}/live", compression=None, subprotocols=["liveagent.v1"], max_size=None  # type: ignore[list-item]
        )
        guest = cls(link)
        await link.send(json.dumps({"type": "hello", "v": VERSION, "speak": True}))
        await asyncio.wait_for(guest._ready.wait(), 60)
        if not guest.welcome:
            await guest.leave()
            raise ConnectionError(f"not let in: {link.close_code} {link.close_reason}")
        return guest

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.link.close()

    # --- what it does

    async def hear(self, samples: NDArray[np.int16]) -> None:
        """20 ms of microphone."""
        head = HEADER.pack(1, 0, 0, self._sent % (1 << 32), int(time.monotonic() * 1e6))
        self._sent += len(samples)
        await self.link.send(head + samples.astype("<i2").tobytes())

    async def show(self, pixels: Pixels) -> None:
        await self.link.send(HEADER.pack(3, 0, 0, 0, int(time.monotonic() * 1e6)) + pixels.tobytes())

    async def ask(self, type_: str, **fields: Any) -> None:
        await self.link.send(json.dumps({"type": type_, **fields}))

    def met(self, wanted: Callable[[dict[str, Any]], bool]) -> asyncio.Future[float]:
        """When the first event comes that is `wanted`."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._met.append((wanted, future))
        return future

    async def typed(self, text: str, then: str = "ToolCalled") -> float:
        """Type something, and wait for an event: how many seconds that took."""
        met = self.met(lambda event: event["type"] == then)
        begin = time.monotonic()
        await self.ask("TextTyped", text=text)
        return await asyncio.wait_for(met, 30) - begin

    # --- what comes

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self.link:
                if isinstance(message, bytes):
                    self._spoken(message)
                else:
                    self._told(json.loads(message))
        self._ready.set()

    def _told(self, message: dict[str, Any]) -> None:
        if message.get("type") == "welcome":
            self.welcome = message
            self._ready.set()
        event = message.get("e")
        if event is None:
            return
        now = time.monotonic()
        if event["type"] in ("ToolCalled", "ReplyStarted", "ReplyEnded", "Interrupted", "TurnEnded", "WordsHeard"):
            self.events.append((now, event))
        if event["type"] == "StopPlayback":
            self._stopped.add(event["utterance"])
        for at in [each for each in self._met if each[0](event)]:
            self._met.remove(at)
            if not at[1].done():
                at[1].set_result(now)

    def _spoken(self, message: bytes) -> None:
        _, _, _, utterance, first = SPOKEN.unpack_from(message)
        self.speech[utterance] = first + (len(message) - SPOKEN.size) // 2
        self._began.setdefault(utterance, time.monotonic())

    async def _play(self) -> None:
        """Real time is the loudspeaker."""
        while True:
            await asyncio.sleep(REPORT_S)
            for utterance, began in list(self._began.items()):
                due = int((time.monotonic() - began) * RATE_HZ)
                played = min(due, self.speech[utterance])
                await self.link.send(
                    HEADER.pack(4, 0, 0, 0, int(time.monotonic() * 1e6)) + PLAYED.pack(utterance, played)
                )
                if utterance in self._stopped or due > self.speech[utterance] + RATE_HZ:
                    del self._began[utterance]

    @property
    def hears(self) -> bool:
        """Whether a reply sounds."""
        return bool(self._began)


async def live(
    guest: Guest, role: int, speech: Samples, clip: Sequence[Pixels], seconds: float, offset: int = 0
) -> None:
    """So many seconds of a guest's life in one of the four roles, microphone and camera open all the time."""
    pcm = (np.clip(speech, -1, 1) * 32767).astype(np.int16)
    silent = np.zeros(FRAME_SAMPLES, np.int16)
    begin = time.monotonic()
    asked, shown = -10.0, 0
    for at in range(round(seconds / FRAME_S)):
        await asyncio.sleep(max(0.0, begin + at * FRAME_S - time.monotonic()))
        spoken = np.take(pcm, np.arange(FRAME_SAMPLES) + offset + at * FRAME_SAMPLES, mode="wrap")
        await guest.hear(spoken if role < 2 else silent)
        now = at * FRAME_S
        if role == 2 and not guest.hears and now - asked > 2.0:
            asked = now
            await guest.ask("TextTyped", text=LONG)
        if clip and now >= shown * PICTURE_S:
            await guest.show(clip[shown % len(clip)])
            shown += 1


async def crowd(guests: Sequence[Guest], speech: Samples, clip: Sequence[Pixels], seconds: float) -> None:
    """All of them at once, roles by their number."""
    lives: list[Awaitable[None]] = [
        live(guest, at % 4, speech, clip, seconds, at * 7919) for at, guest in enumerate(guests)
    ]
    await asyncio.gather(*lives)
