"""The conversation so far, folded from what a session tells: for a peer that comes back, or comes late. Bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from liveagent import action as act
from liveagent import event as ev
from liveagent.jsonform import Json

MAX_ENTRIES = 200
MAX_TEXT = 4000
"""Characters of one entry; what is longer is cut."""
MAX_WORDS = 1000


@dataclass(slots=True)
class _Reply:
    utterance: int
    words: list[str] = field(default_factory=list)
    heard: int = 0
    cut: bool = False
    ended: bool = False


class Story:
    """`feed` it everything; `entries` is what was said and done, oldest first.

    {"kind": "heard", "text", "source"}: of the user, whole.
    {"kind": "reply", "utterance", "words", "heard", "cut", "ended"}: its first `heard` words were heard.
    {"kind": "call", "call_id", "name", "args", "by", "state": "waiting" | "done" | "failed", "result"}
    """

    def __init__(self) -> None:
        self._entries: deque[dict[str, Json] | _Reply] = deque(maxlen=MAX_ENTRIES)

    @property
    def entries(self) -> list[Json]:
        return [self._written(entry) for entry in self._entries]

    def feed(self, item: object) -> None:
        """Take in an event or an action. What is no part of a conversation is passed over."""
        match item:
            case ev.WordsHeard(final=True) if item.words:
                self._entries.append({"kind": "heard", "text": " ".join(item.words)[:MAX_TEXT], "source": item.source})
            case ev.MessageAdded(role="user"):
                self._entries.append({"kind": "heard", "text": item.text[:MAX_TEXT], "source": "typed"})
            case ev.MessageAdded(role="assistant"):
                words = item.text[:MAX_TEXT].split()
                self._entries.append(_Reply(-1, words, len(words), ended=True))
            case act.Say():
                words = [word.text for word in item.words] or item.text.split()
                reply = self._reply(item.utterance)
                reply.words += words[: MAX_WORDS - len(reply.words)]
            case ev.ReplyStarted():
                self._reply(item.utterance)
            case ev.WordPlayed():
                reply = self._reply(item.utterance)
                reply.heard = max(reply.heard, min(item.index + 1, MAX_WORDS))
            case ev.Interrupted():
                self._cut(item)
            case ev.ReplyEnded():
                reply = self._reply(item.utterance)
                reply.ended = True
                reply.cut = reply.cut or not item.complete
                if item.complete:
                    reply.heard = len(reply.words)
            case ev.ToolCalled():
                self._entries.append(
                    {"kind": "call", "call_id": item.call_id, "name": item.name, "args": dict(item.args), "by": item.by,
                     "state": "waiting", "result": ""}
                )  # fmt: skip
            case ev.ToolReturned():
                self._returned(item.call_id, "done", "" if item.result is None else str(item.result))
            case ev.ToolFailed():
                self._returned(item.call_id, "failed", item.message or item.reason)

    def _reply(self, utterance: int) -> _Reply:
        for entry in reversed(self._entries):
            if isinstance(entry, _Reply) and entry.utterance == utterance:
                return entry
        reply = _Reply(utterance)
        self._entries.append(reply)
        return reply

    def _cut(self, item: ev.Interrupted) -> None:
        reply = self._reply(item.utterance)
        cut = () if item.cut is None else (item.cut,)
        reply.words = [*item.heard, *cut, *item.unheard][:MAX_WORDS]
        reply.heard, reply.cut, reply.ended = min(len(item.heard), MAX_WORDS), True, True

    def _returned(self, call_id: str, state: str, result: str) -> None:
        for entry in reversed(self._entries):
            if isinstance(entry, dict) and entry.get("call_id") == call_id:
                entry["state"], entry["result"] = state, result[:MAX_TEXT]
                return

    def _written(self, entry: dict[str, Json] | _Reply) -> Json:
        if isinstance(entry, dict):
            return dict(entry)
        return {
            "kind": "reply", "utterance": entry.utterance, "words": [*entry.words], "heard": entry.heard,
            "cut": entry.cut, "ended": entry.ended,
        }  # fmt: skip
