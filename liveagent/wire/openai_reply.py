"""One reply of a response: an assistant's message, spoken or written, from its first word to its last sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liveagent.action import Say
from liveagent.event import Voiced
from liveagent.jsonform import Json
from liveagent.wire.codec import Spoken
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.openai_out import Out
from liveagent.wire.openai_sound import Mouth

Object = dict[str, Json]

SAMPLES_PER_MS = 16


@dataclass(slots=True)
class Reply:
    """One utterance as a client gets it. `mouth` is None where replies are written, and once all was given.

    words, ends: each word, and the sample of the utterance that it ends at once the voice has told. samples: at 16 kHz,
    given so far. starts: how often the client had been told of speech when it began. `closed`: the client has been told
    that it is over; nothing is said after that. `taken`: it is being taken back, and the client knows. `ended`: the
    conversation will play no more of it.
    """

    item: Item
    utterance: int
    response_id: str
    output_index: int
    mouth: Mouth | None
    starts: int = 0
    text: str = ""
    words: list[str] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    said: bool = False  # every word is known
    sounded: bool = False  # every sample was given
    sent_sound: bool = False
    closed: bool = False
    taken: bool = False
    ended: bool = False
    heard_words: int | None = None  # once it was taken back or cut: so many of its words were heard
    samples: int = 0
    tokens: int = 0
    spoken: bool = field(init=False)

    def __post_init__(self) -> None:
        self.spoken = self.mouth is not None

    @property
    def complete(self) -> bool:
        return self.said and (not self.spoken or self.sounded)

    @property
    def _where(self) -> Object:
        return {
            "response_id": self.response_id,
            "item_id": self.item.id,
            "output_index": self.output_index,
            "content_index": 0,
        }

    @property
    def _kind(self) -> str:
        return "response.output_audio_transcript" if self.spoken else "response.output_text"

    def open(self, out: Out, conversation: Conversation) -> None:
        conversation.add(self.item)
        out(
            "response.output_item.added",
            response_id=self.response_id,
            output_index=self.output_index,
            item=self.item.body,
        )
        out.item("added", self.item, conversation)
        out("response.content_part.added", **self._where, part=self._part(""))
        self._keep(self.text)

    def say(self, say: Say, out: Out) -> None:
        """The next words."""
        if self.closed or self.said:
            return
        if say.text:
            delta = say.text if not self.text or self.text[-1].isspace() else f" {say.text}"
            self.text += delta
            if self.heard_words is None:
                self._keep(self.text)
            out(f"{self._kind}.delta", **self._where, delta=delta)
        self.words += [word.text for word in say.words]
        self.tokens = max([self.tokens, *(word.end_token for word in say.words)])
        self.said = say.final

    def sound(self, spoken: Spoken, out: Out) -> None:
        """The next samples."""
        if self.closed or self.mouth is None or self.sounded:
            return
        for delta in self.mouth.feed(spoken.first, spoken.samples, spoken.final):
            self.sent_sound = True
            out("response.output_audio.delta", **self._where, delta=delta)
        self.samples = self.mouth.received
        self.sounded = spoken.final

    def mark(self, voiced: Voiced) -> None:
        for mark in voiced.marks:
            self.ends.setdefault(mark.index, mark.end_samples)

    def close(self, out: Out, conversation: Conversation, complete: bool) -> None:
        """All that a client waits for at the end of an item."""
        if self.mouth is not None and complete and not self.sounded:  # what still waits for more
            self.sound(Spoken(self.utterance, self.samples, np.zeros(0, np.float32), True), out)
        self.closed, self.mouth = True, None
        if self.spoken:
            out("response.output_audio.done", **self._where)
        out(f"{self._kind}.done", **self._where, **{"transcript" if self.spoken else "text": self.text})
        out("response.content_part.done", **self._where, part=self._part(self.text))
        self.item.body["status"] = "completed" if complete else "incomplete"
        self.item.running = False
        conversation.weigh(self.item)
        out.item("done", self.item, conversation)
        out(
            "response.output_item.done",
            response_id=self.response_id,
            output_index=self.output_index,
            item=self.item.body,
        )

    def heard(self, words: int) -> None:
        """No more than so many words were heard, by who took the rest back: that is what the item says from now on."""
        self.heard_words = words if self.heard_words is None else min(words, self.heard_words)
        self._keep(" ".join(self.words[: self.heard_words]))

    def shorten(self, samples: int) -> None:
        """No more than so many samples were heard: words that had not ended by then are no part of the item."""
        heard = 0
        while heard < len(self.words) and heard in self.ends and self.ends[heard] <= samples:
            heard += 1
        self.heard(heard)

    def _part(self, text: str) -> Object:
        return {"type": "audio", "transcript": text} if self.spoken else {"type": "text", "text": text}

    def _keep(self, text: str) -> None:
        name, kind = ("transcript", "output_audio") if self.spoken else ("text", "output_text")
        self.item.body["content"] = [{"type": kind, name: text}]
