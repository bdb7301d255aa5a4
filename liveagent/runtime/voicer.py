"""From `Say` to the loudspeaker: one utterance after the other, each piece of it in order, with word marks.

A session says words with their tokens; a voice says which samples each word is; here the two are counted through per
utterance, so that the marks of a second sentence continue those of the first. `put` receives `Voiced` and
`VoiceFailed`, `play` the samples.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liveagent.action import Say
from liveagent.audio import Samples
from liveagent.errors import LiveAgentError
from liveagent.event import Voiced, VoiceFailed, WordMark
from liveagent.voice import Voice

QUEUED_PIECES = 64


class Voicer:
    """Speaks what a session says. `play(utterance, samples, final)` may wait: a slow loudspeaker slows the voice."""

    def __init__(
        self,
        voice: Voice,
        play: Callable[[int, Samples, bool], None],
        put: Callable[[Voiced | VoiceFailed], None],
        now_ns: Callable[[], int],
    ) -> None:
        self._voice, self._play, self._put, self._now_ns = voice, play, put, now_ns
        self._queue: asyncio.Queue[Say] = asyncio.Queue(QUEUED_PIECES)
        self._stopped: set[int] = set()
        self._utterance = 0
        self._samples = 0
        self._words = 0
        self._task = asyncio.get_running_loop().create_task(self._run(), name="voicer")

    def say(self, action: Say) -> None:
        """Queue a piece. A full queue fails the utterance rather than the session."""
        try:
            self._queue.put_nowait(action)
        except asyncio.QueueFull:
            self._put(VoiceFailed(self._now_ns(), action.utterance, "too much to say at once"))

    def stop(self, utterance: int) -> None:
        """Say nothing more of this utterance."""
        self._stopped.add(utterance)
        self._voice.stop(utterance)

    async def settle(self) -> None:
        """Wait until everything that was said so far has become samples (or failed)."""
        await self._queue.join()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._voice.close()

    async def _run(self) -> None:
        while True:
            say = await self._queue.get()
            if say.utterance != self._utterance:
                self._utterance, self._samples, self._words = say.utterance, 0, 0
                self._stopped = {each for each in self._stopped if each >= say.utterance}
            try:
                if say.utterance not in self._stopped:
                    await self._speak(say)
            except LiveAgentError as error:
                self._put(VoiceFailed(self._now_ns(), say.utterance, str(error)))
                self._stopped.add(say.utterance)
            finally:
                self._queue.task_done()

    async def _speak(self, say: Say) -> None:
        first_sample, first_word = self._samples, self._words
        index = 0
        async for piece in self._voice.say(say.text, say.utterance):
            if say.utterance in self._stopped:
                return
            marks = []
            for word in piece.words:
                start, end = first_sample + word.sample_start, first_sample + word.sample_end
                marks.append(WordMark(first_word + index, start, end))
                index += 1
            self._samples += len(piece.samples)
            final = piece.final and say.final
            # The marks go first: a sample that is played before its word is known would count for nobody.
            self._put(Voiced(self._now_ns(), say.utterance, len(piece.samples), tuple(marks), final))
            self._play(say.utterance, piece.samples, final)
        self._words = first_word + len(say.words)
