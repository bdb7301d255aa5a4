"""The model's turn as Gemini Live tells it.

    modelTurn* (outputTranscription*, toolCall*) → generationComplete → turnComplete with usageMetadata
    modelTurn* … → interrupted → turnComplete with usageMetadata

Content is sent as it is made, faster than it sounds; `generationComplete` says that all of it was sent, `turnComplete`
that it was played. A turn that calls stays open until what came back was spoken of. At most one turn is open, and each
that is gets its `turnComplete`, whatever happens: a client waits for nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from liveagent.action import Say
from liveagent.audio import RATE_HZ, Samples, finite
from liveagent.jsonform import Json
from liveagent.resample import Resampler
from liveagent.wire.codec import Spoken

OUT_HZ = 24_000
PIECE_SAMPLES = OUT_HZ  # a second: 64 kB of base64, where clients read messages of at most 1 MiB

Send = Callable[[dict[str, Json]], None]


@dataclass(slots=True)
class _Reply:
    """One utterance, known by whatever is told of it first: its words may be told before that it started."""

    utterance: int
    written: bool
    resampler: Resampler = field(default_factory=lambda: Resampler(RATE_HZ, OUT_HZ))
    next_sample: int = 0
    texts: list[str] = field(default_factory=list)
    tokens: int = 0


class ModelTurn:
    """`send` takes one message. written: replies are text, not sound. transcribed: sound is wanted in words too."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.written = False
        self.transcribed = False
        self.open = False
        self.number = 0
        """Of the open turn, or the last one."""
        self.cache_tokens = 0
        """What the cache holds, as last told."""
        self._prompt_tokens = 0
        self._reply_tokens = 0
        self._generated = False
        self._reply: _Reply | None = None
        self._gone = -1  # utterances up to this one are over

    @property
    def utterance(self) -> int | None:
        """The reply that is being made or played."""
        return None if self._reply is None else self._reply.utterance

    @property
    def speaking(self) -> bool:
        return self._reply is not None

    # ---- how it begins

    def begin(self) -> None:
        """Something of the model's comes; it belongs to the open turn, if one is."""
        if not self.open:
            self.open, self._generated = True, False
            self.number += 1
            self._prompt_tokens, self._reply_tokens = self.cache_tokens, 0

    def answer(self, why: str) -> None:
        """An answer begins. That of a result goes on with the turn that called; any other ends one that waits."""
        if self._reply is not None:
            return  # its own messages say when it is over
        if self.open and why != "result":
            self.complete()
        self.begin()

    def reply_started(self, utterance: int) -> None:
        """A reply begins; what is said of it may have been told already."""
        if self.utterance != utterance:
            self._start(utterance)

    def _start(self, utterance: int) -> _Reply:
        if self._reply is not None:  # nobody told of its end
            if self._generated:
                self.complete()
            else:
                self.cut()
        self.begin()
        self._reply = _Reply(utterance, self.written)
        return self._reply

    def _of(self, utterance: int) -> _Reply | None:
        """The reply that something is said of; None if it is over."""
        live = self._reply
        if live is not None and live.utterance == utterance:
            return live
        newest = self._gone if live is None else max(self._gone, live.utterance)
        return self._start(utterance) if utterance > newest else None

    # ---- what it says

    def say(self, piece: Say) -> None:
        """Words of a reply: text where replies are written, else the transcript of what is about to sound."""
        reply = self._of(piece.utterance)
        if reply is None or self._generated:
            return
        text = f" {piece.text}" if reply.texts and piece.text else piece.text
        if text:
            reply.texts.append(text)
        reply.tokens = max([reply.tokens, *(word.end_token for word in piece.words)])
        if reply.written:
            self._write(text, piece.final)
        elif self.transcribed and text:
            said: dict[str, Json] = {"text": text}
            self._content({"outputTranscription": said | ({"finished": True} if piece.final else {})})

    def speak(self, item: Spoken) -> None:
        """Sound of a reply."""
        reply = self._of(item.utterance)
        if reply is None or reply.written or self._generated:
            return
        known = max(0, reply.next_sample - item.first)
        fresh = np.clip(finite(item.samples[known:]), -1, 1).astype(np.float32)
        reply.next_sample = max(reply.next_sample, item.first + len(item.samples))
        self._sound(reply.resampler.feed(fresh))
        if item.final:
            self._sound(reply.resampler.flush())
            self._generation_complete()

    def mute(self, utterance: int) -> None:
        """The voice failed. What nobody could hear anything of is written."""
        reply = self._reply
        if reply is None or reply.utterance != utterance or reply.written or reply.next_sample:
            return
        reply.written = True
        self._write("".join(reply.texts), False)

    def called(self, call_id: str, name: str, args: dict[str, Json]) -> None:
        """The client is to call something."""
        self.begin()
        call: dict[str, Json] = {"id": call_id, "name": name, "args": args}
        self._send({"toolCall": {"functionCalls": [call]}})

    # ---- how it ends

    def ended(self, utterance: int, complete: bool) -> None:
        """Everything of the reply that will ever be played was played."""
        if not self._over(utterance):
            return
        reply = self._reply
        if not complete:
            self.cut()
            return
        if reply is not None and not reply.written and not self._generated:
            self._sound(reply.resampler.flush())
        self.complete()

    def cut(self, utterance: int | None = None) -> None:
        """The reply was taken back (or, None, whatever is open): nothing more of it is sent."""
        if utterance is not None and not self._over(utterance):
            return
        if self.open:
            self._content({"interrupted": True})
            self._end()

    def complete(self) -> None:
        """The open turn is over, and all of it was played."""
        if self.open:
            self._generation_complete()
            self._end()

    def _over(self, utterance: int) -> bool:
        """Whether the end of this utterance is that of the open turn."""
        live = self._reply
        if live is not None:
            return live.utterance == utterance
        if utterance <= self._gone:
            return False
        self._gone = utterance
        return self.open

    def _end(self) -> None:
        if self._reply is not None:
            self._gone = max(self._gone, self._reply.utterance)
            self._reply_tokens += self._reply.tokens
        self._reply, self.open, self._generated = None, False, False
        usage: dict[str, Json] = {
            "promptTokenCount": self._prompt_tokens,
            "responseTokenCount": self._reply_tokens,
            "totalTokenCount": self._prompt_tokens + self._reply_tokens,
        }
        self._send({"serverContent": {"turnComplete": True}, "usageMetadata": usage})

    # ---- messages

    def _generation_complete(self) -> None:
        if not self._generated:
            self._generated = True
            self._content({"generationComplete": True})

    def _write(self, text: str, final: bool) -> None:
        if text:
            self._content({"modelTurn": {"role": "model", "parts": [{"text": text}]}})
        if final:
            self._generation_complete()

    def _sound(self, samples: Samples) -> None:
        pcm = np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2")
        for at in range(0, len(pcm), PIECE_SAMPLES):
            data = base64.b64encode(pcm[at : at + PIECE_SAMPLES].tobytes()).decode()
            blob: dict[str, Json] = {"mimeType": f"audio/pcm;rate={OUT_HZ}", "data": data}
            self._content({"modelTurn": {"role": "model", "parts": [{"inlineData": blob}]}})

    def _content(self, content: dict[str, Json]) -> None:
        self._send({"serverContent": content})
