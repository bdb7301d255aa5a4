"""`Mortal`: a process that is killed by its id at any moment, and begun again. It writes `up` once it is, and `over`
before it ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from asyncio.subprocess import PIPE

from liveagent.ports.mosquitto import Mosquitto

MOST_LIVES = 2000
AWAY_S = (0.0, 0.5)


def quiet() -> None:
    """In such a process: what is taken away is no news, and aiomqtt watches sockets that have just gone."""
    for name in ("liveagent", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def tell(word: str) -> None:
    """Such a process tells whoever began it."""
    os.write(1, f"{word}\n".encode())


class Mortal:
    def __init__(self, rng: random.Random, lives_s: tuple[float, float], *words: str) -> None:
        """`lives_s`: for how long one lives, at the least and at the most. `words`: a module and what it is given."""
        self._rng, self._lives_s, self._words = rng, lives_s, words
        self.kills = 0

    async def live(self) -> None:
        """Until it comes to the end of its work. RuntimeError when it never does."""
        while not await self._once():
            self.kills += 1
            if self.kills == MOST_LIVES:
                raise RuntimeError(f"{self._words[0]} was killed {MOST_LIVES} times and is not at the end")

    async def _once(self) -> bool:
        """One life; whether it came to the end."""
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *self._words, stdout=PIPE)
        assert process.stdout is not None
        try:
            if await process.stdout.readline() != b"up\n":
                raise RuntimeError(f"{self._words[0]} did not start")
            try:
                async with asyncio.timeout(self._rng.uniform(*self._lives_s)):
                    await process.wait()
            except TimeoutError:
                return False
            if await process.stdout.readline() != b"over\n":
                raise RuntimeError(f"{self._words[0]} ended with {process.returncode}")
            return True
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class MortalBroker:
    """The same of a broker, whose ports stay, and which has forgotten everything."""

    def __init__(self, broker: Mosquitto, rng: random.Random, lives_s: tuple[float, float]) -> None:
        self._broker, self._rng, self._lives_s = broker, rng, lives_s
        self.kills = 0

    async def live(self) -> None:
        while True:
            await asyncio.sleep(self._rng.uniform(*self._lives_s))
            self._broker.kill()
            self.kills += 1
            await asyncio.sleep(self._rng.uniform(*AWAY_S))
            self._broker.start()
