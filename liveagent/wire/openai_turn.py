"""The user's turns as clients are told of them: speech started, stopped, committed, and an item of its words.

A client stops playing as soon as it reads `speech_started`. So while a reply sounds this is held back until the reply
has really been taken back: a cough shows nothing. Speech that pauses and goes on within one turn is one
`speech_started` and one `speech_stopped`, with the same item id as what is committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from liveagent.event import TurnEnded, WordsHeard
from liveagent.jsonform import Json
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.openai_out import Out

NS_PER_MS = 1_000_000
MOST_HANDED = 64
_SLACK_MS = 1_500


@dataclass(slots=True)
class Turn:
    """An open turn. `shown`: the client knows. `quiet_ns`: when the last speech ended, if it has."""

    item_id: str
    start_ns: int
    shown: bool = False
    quiet_ns: int | None = None


@dataclass(slots=True)
class Long:
    """A turn by hand that was too long for the conversation, which has heard its first part on its own."""

    since_ns: int
    until_ns: int
    words: tuple[str, ...] = ()


class Listening:
    """All turns of a session. `starts` counts the `speech_started` so far."""

    def __init__(self, out: Out, conversation: Conversation, new_item_id: Callable[[], str]) -> None:
        self._out, self._conversation, self._new_item_id = out, conversation, new_item_id
        self.zero_ns = 0
        self.turn: Turn | None = None
        self.starts = 0
        self._handed: deque[tuple[Item, int]] = deque(maxlen=MOST_HANDED)
        self._spoken: Item | None = None  # the turn has ended, and its words are to come
        self._start_ns: int | None = None  # of speech that was taken for nothing
        self._long: Long | None = None
        self._before: dict[str, tuple[str, ...]] = {}  # by item: words that were heard before its turn was released

    def started(self, t_ns: int, hold: bool) -> None:
        """Somebody speaks. `hold`: perhaps only into a reply."""
        if self.turn is None:
            self.turn = Turn(self._new_item_id(), t_ns)
        self.turn.quiet_ns = None
        if not hold:
            self.show()

    def show(self, again: bool = False) -> None:
        """Tell the client of the open turn, if it does not know; `again`: even if it does."""
        turn = self.turn
        if turn is None or (turn.shown and not again):
            return
        turn.shown = True
        self.starts += 1
        self._out("input_audio_buffer.speech_started", audio_start_ms=self._ms(turn.start_ns), item_id=turn.item_id)

    def paused(self, t_ns: int) -> None:
        """Speech ended, and perhaps the turn."""
        if self.turn is not None:
            self.turn.quiet_ns = t_ns

    def nothing(self, t_ns: int) -> None:
        """It was no turn after all."""
        turn, self.turn = self.turn, None
        if turn is not None:
            self._start_ns = turn.start_ns
            if turn.shown:
                self._stop(turn, t_ns)

    def drop(self) -> Long | None:
        """The client wants none of it. What the conversation knows of it already, if that is anything."""
        long, self._long = self._long, None
        self.turn, self._start_ns = None, None
        return long if long is not None and long.words else None

    def went_on(self, since_ns: int, ended: TurnEnded) -> None:
        """A turn by hand was too long for the conversation; the client still talks, and has committed nothing."""
        self.no_words()
        if self._long is None:
            self._long = Long(since_ns, ended.t_ns)
        self._long.until_ns = ended.t_ns

    def mind(self, t_ns: int, longest_silence_ms: int) -> None:
        """A turn that has not ended after the longest silence was forgotten: no more than a cough."""
        turn = self.turn
        if turn is None or turn.quiet_ns is None:
            return
        if t_ns - turn.quiet_ns > (longest_silence_ms + _SLACK_MS) * NS_PER_MS:
            self.nothing(turn.quiet_ns)

    def ended(self, ended: TurnEnded, since_ns: int | None = None) -> bool:
        """The turn is over. True if the client had not committed it itself. `since_ns`: when it began, if not by
        voice."""
        self.no_words()
        if self.turn is None and self._handed:
            item = self._taken(ended.t_ns)
            item.until_ns = ended.t_ns
            self._spoken = item
            return False
        if self.turn is None and since_ns is None:
            start_ns = ended.speech_end_ns if self._start_ns is None else self._start_ns
            self.turn = Turn(self._new_item_id(), min(start_ns, ended.speech_end_ns))
        self.show()
        turn, self.turn, self._start_ns = self.turn, None, None
        if turn is not None:
            self._stop(turn, ended.speech_end_ns)
            self._spoken = self._commit(turn.item_id, turn.start_ns)
        else:
            self._spoken = self._commit(self._new_item_id(), since_ns)
        self._spoken.until_ns = ended.t_ns
        self._handed.clear()  # they came to nothing
        self._before.clear()
        return True

    def commit(self, since_ns: int, t_ns: int, transcribe: bool, talking: bool = True) -> None:
        """The client says that the turn is over; what was said comes when the conversation has heard it. `talking`:
        something has come since the conversation last heard a turn out."""
        self.show()
        turn, self.turn = self.turn, None
        long, self._long = self._long, None
        if turn is not None:
            self._stop(turn, t_ns)
            item = self._commit(turn.item_id, turn.start_ns)
        else:
            item = self._commit(self._new_item_id(), since_ns if long is None else long.since_ns)
        if long is not None and not talking:
            item.until_ns = long.until_ns
            if transcribe:
                self._transcribe(item, long.words)
            return
        if long is not None:
            self._before[item.id] = long.words
            while len(self._before) > MOST_HANDED:
                del self._before[next(iter(self._before))]
        self._handed.append((item, t_ns))

    def hand(self, item: Item, t_ns: int) -> None:
        """An item that holds sound was created, and is heard as a turn that was released at `t_ns`."""
        self._handed.append((item, t_ns))

    def timed_out(self, since_ns: int, t_ns: int) -> None:
        """Nobody spoke between these times: an item of silence."""
        item_id = self._new_item_id()
        self._out(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=self._ms(since_ns),
            audio_end_ms=self._ms(t_ns),
            item_id=item_id,
        )
        self._commit(item_id, since_ns).until_ns = since_ns

    def words(self, heard: WordsHeard, transcribe: bool) -> Item | None:
        """What was said in the turn that ended last; the item, if there is one."""
        item, self._spoken = self._spoken, None
        if item is None:
            if self._long is not None:
                self._long.words += heard.words
                self._long.until_ns = max(self._long.until_ns, heard.t_ns)
            return None
        item.until_ns = max(heard.t_ns, item.until_ns or heard.t_ns)
        if transcribe:
            self._transcribe(item, (*self._before.pop(item.id, ()), *heard.words))
        return item

    def no_words(self, transcribe: bool = False) -> Item | None:
        """A voice was heard in it, but no words."""
        item, self._spoken = self._spoken, None
        if item is not None and transcribe:
            self._transcribe(item, self._before.pop(item.id, ()))
        return item

    def _transcribe(self, item: Item, words: tuple[str, ...]) -> None:
        if item.id not in self._conversation:
            return
        text = " ".join(words)
        parts = item.body["content"]
        assert isinstance(parts, list)
        at = next(at for at, part in enumerate(parts) if isinstance(part, dict) and part["type"] == "input_audio")
        parts[at] = {"type": "input_audio", "transcript": text}
        self._conversation.weigh(item)
        where: dict[str, Json] = {"item_id": item.id, "content_index": at}
        if text:
            self._out("conversation.item.input_audio_transcription.delta", **where, delta=text)
        seconds = max(0, (item.until_ns or 0) - (item.since_ns or 0)) / 1e9
        self._out(
            "conversation.item.input_audio_transcription.completed",
            **where,
            transcript=text,
            usage={"type": "duration", "seconds": seconds},
        )

    def _taken(self, t_ns: int) -> Item:
        """The oldest item that was released at `t_ns`, or the oldest of all. Those before it came to nothing."""
        while len(self._handed) > 1 and self._handed[0][1] != t_ns and any(at == t_ns for _, at in self._handed):
            self._handed.popleft()
        return self._handed.popleft()[0]

    def _commit(self, item_id: str, since_ns: int | None) -> Item:
        body: dict[str, Json] = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        item = Item(item_id, body, since_ns, None, ("user",))
        self._out("input_audio_buffer.committed", previous_item_id=self._conversation.last, item_id=item_id)
        self._conversation.add(item)
        self._out.item("added", item, self._conversation)
        self._out.item("done", item, self._conversation)
        return item

    def _stop(self, turn: Turn, t_ns: int) -> None:
        self._out(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=self._ms(max(t_ns, turn.start_ns)),
            item_id=turn.item_id,
        )

    def _ms(self, t_ns: int) -> int:
        return max(0, t_ns - self.zero_ns) // NS_PER_MS
