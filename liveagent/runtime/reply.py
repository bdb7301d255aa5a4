"""One answer of the agent: its tokens in the cache, its words on the way to the loudspeaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from liveagent.action import Say, SayWord
from liveagent.nn.format import Tokenizer
from liveagent.playback import Playback

SENTENCE_END = (".", "?", "!", ";", ":")


def words_of(pieces: Tokenizer, ids: Sequence[int]) -> list[SayWord]:
    """The words of a reply's tokens. A token belongs to the word it ends up in; one between two to the word before."""
    ends: list[int] = []  # per token: how many words there are after it
    for at in range(len(ids)):
        ends.append(len(pieces.decode(list(ids[: at + 1]), specials=False).split()))
    texts = pieces.decode(list(ids), specials=False).split()
    words: list[SayWord] = []
    start = 0
    for index, text in enumerate(texts):
        end = max([at + 1 for at, count in enumerate(ends) if count <= index + 1], default=start)
        words.append(SayWord(text, start, end))
        start = end
    return words


@dataclass(slots=True)
class Reply:
    """An answer being decoded and played.

    start: the ledger place of the first token after the opening marks; tokens of the reply are counted from there.
    call_id: the call whose result it speaks of, if it does.
    """

    utterance: int
    start: int
    playback: Playback
    ids: list[int]
    begun: bool = False  # something of it stands in the cache, if only a mark
    ended: bool = False  # the decoder closed it
    said_words: int = 0
    stopping: int = 0  # ticks since a StopPlayback was sent, 0 when none was

    @classmethod
    def open(cls, utterance: int, start: int, begun: bool = False) -> Reply:
        return cls(utterance, start, Playback(utterance), [], begun)

    def more(self, pieces: Tokenizer, ids: Sequence[int], ended: bool) -> Say | None:
        """Take decoded tokens in; the words that can be said now, whole sentences first, or None."""
        self.ids += ids
        self.ended = self.ended or ended
        words = words_of(pieces, self.ids)
        sayable = len(words)
        if not self.ended:  # the last word may still grow, and prosody wants whole sentences
            stops = [at + 1 for at, word in enumerate(words[:-1]) if word.text.endswith(SENTENCE_END)]
            sayable = stops[-1] if stops else 0
        fresh = words[self.said_words : sayable]
        if not fresh and not self.ended:
            return None
        self.said_words = max(self.said_words, sayable)
        say = Say(self.utterance, " ".join(word.text for word in fresh), tuple(fresh), final=self.ended)
        self.playback.say(say)
        return say
