"""What the tests with other people's clients share: an agent, speech for it, pictures of a table, a look inside."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from liveagent import Agent, tool, watch
from liveagent.audio import RATE_HZ
from liveagent.pipelines.looks import LOOK_QUESTIONS
from liveagent.resample import Resampler
from liveagent.runtime.conversation import Conversation
from liveagent.runtime.server import Server
from liveagent.runtime.session import Session
from liveagent.table import Surface, Table, Thing, draw
from liveagent.tools import home
from liveagent.train.voices import speak
from liveagent.watch import Sighting
from tests.espeak import new_espeak
from tests.site import WAIT_S, Site

STORY = (
    "once there was a small robot who lived in a kitchen and counted apples from morning to evening and one day "
    "there were no apples left so it went into the garden and counted the stars until the sun came up again and then "
    "it went back to the kitchen and slept"
)
STAR = (Thing(1, 4, 0.5, 0.5, 0.3),)
"""A green star, at which the story is told."""
TABLE = (Thing(0, 0, 0.3, 0.4), Thing(2, 3, 0.7, 0.6))
"""A red ball and a blue cup."""
KEY = "of-other-peoples-clients"
Pcm = NDArray[np.int16]


NUMBERS = "one two three four five six seven eight nine"


@tool(phrases=["count to nine"])
async def count() -> str:
    """Count to nine."""
    return NUMBERS


@watch("a green star is on the table")
async def star(sight: Sighting, session: Any) -> None:
    """Longer than anything that nano says by itself, and than what a client is sent ahead."""
    await session.say(STORY)


AGENT = Agent(
    "nano",
    tools=[home.light, home.timer, count],
    questions=["(hello|hi) [there]", "thank you [very much]", *LOOK_QUESTIONS],
    watches=[star],
)


@functools.cache
def speech(text: str, rate_hz: int, silence_s: float = 1.2) -> Pcm:
    """Somebody says this, and then nothing for a while."""
    (said,) = speak("espeak", [text], 3, new_espeak())
    sound = np.concatenate([np.zeros(RATE_HZ // 4), said.samples / 32768, np.zeros(int(silence_s * RATE_HZ))])
    if rate_hz != RATE_HZ:
        sound = Resampler(RATE_HZ, rate_hz).feed(sound.astype(np.float32))
    return np.rint(np.clip(sound, -1, 1) * 32767).astype(np.int16)


async def paced(pcm: Pcm, rate_hz: int, ms: int = 100) -> AsyncIterator[bytes]:
    """As a microphone gives it: in pieces, at real time's pace."""
    loop = asyncio.get_running_loop()
    step, due = rate_hz * ms // 1000, loop.time()
    for at in range(0, len(pcm), step):
        yield pcm[at : at + step].astype("<i2").tobytes()
        due += ms / 1000
        await asyncio.sleep(max(0.0, due - loop.time()))


def jpeg(*things: Thing, size_px: int = 256) -> bytes:
    """A picture of the table with these on it."""
    pixels = draw(Table(things, Surface()), size_px)
    with io.BytesIO() as file:
        with av.open(file, "w", format="mjpeg") as out:
            stream = out.add_stream("mjpeg", 1)
            assert isinstance(stream, av.VideoStream)
            stream.width = stream.height = size_px
            stream.pix_fmt = "yuvj420p"
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
        return file.getvalue()


class Inside:
    """A look at one conversation that a server holds."""

    def __init__(self, site: Site, number: str) -> None:
        self._site, self.number = site, number
        self.conversation: Conversation = site.server.seats._seats[number].conversation

    async def memory(self) -> str:
        """What the cache holds behind its prompt, in words and marks."""

        async def look() -> str:
            async with self.conversation._ticking:  # between ticks nothing moves
                return text()

        def text() -> str:
            context = self._session.context
            pinned = sum(span.length for span in context.ledger.spans if span.pinned)
            return self._session.model.pieces.decode(list(context.ids[pinned:]), specials=True)

        return str(await self._site.run(look))

    async def pictures(self) -> int:
        """How many the cache holds."""

        async def look() -> int:
            return len(self._session.context.ledger.of_kind("picture"))

        return int(await self._site.run(look))

    @property
    def _session(self) -> Session:
        assert self.conversation.live is not None
        return self.conversation.live.session


def patient(server: Server) -> Server:
    """Lets everybody in for whom there is a lane, however late the ticks are, and whatever they have done before."""
    server.admission.feed = lambda now_s, engine_busy: None  # type: ignore[method-assign]
    server.seats.cooldown.offend = lambda who: None  # type: ignore[method-assign]
    return server


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something inside a server holds."""
    async with asyncio.timeout(WAIT_S):
        while not await true():  # noqa: ASYNC110 (it is about another thread's state)
            await asyncio.sleep(0.1)
