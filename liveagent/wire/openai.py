"""OpenAI Realtime (GA), as unmodified clients of it speak: at `/v1/realtime`, in text frames of JSON.

From a client: session.update · input_audio_buffer.append, commit, clear · conversation.item.create, retrieve, delete,
truncate · response.create, cancel. To it: what these are answered by, the user's turns (`openai_turn.py`) and the
agent's answers (`openai_answers.py`).

What differs from the original, and why:

- `speech_started` comes, while a reply sounds, only when the reply is really taken back (`openai_turn.py`).
- Tools of the agent's own run here and are not shown; a client sees and runs the tools that it brought.
- `response.create` may bring instructions, tools, a tool choice, modalities and metadata, for that response alone. It
  may not bring `input` or `conversation: "none"`: there is one memory, and no answer is outside it.
- A truncation beyond the end of an item cuts at its end, and is no error: some clients end at any error but three.
- Limits of tokens, the voice's name and speed, noise reduction, tracing and truncation are told back and no more.
- Nothing is told of `GoingAway`: the protocol has no word for it but an error.
"""

from __future__ import annotations

from collections.abc import Callable

from liveagent.errors import ProtocolError
from liveagent.event import (
    AgentChanged,
    AnswerStopped,
    ForgetAsked,
    MessageAdded,
    PlaybackCut,
    TalkPressed,
    TalkReleased,
    ToolReturned,
    TurnDropped,
    TurnsSet,
    VoiceSet,
)
from liveagent.wire.codec import Asked, Frame, Ids, Sound, Told, Welcome
from liveagent.wire.openai_create import MOST_ID, Created, read_item
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.openai_items import Item
from liveagent.wire.openai_reply import SAMPLES_PER_MS
from liveagent.wire.openai_respond import read_response
from liveagent.wire.openai_session import changes, updated
from liveagent.wire.openai_sound import Ear
from liveagent.wire.openai_tell import Teller
from liveagent.wire.openai_tools import asked
from liveagent.wire.strict_json import read_object

MOST_APPEND = 15 * 1024 * 1024
AHEAD_NS = 10_000_000_000
"""By voice: sound may run so far ahead of the session's clock."""
HELD_NS = 120_000_000_000
"""By hand: what may be said between two commits, and wait to be heard."""
LEAST_COMMIT_MS = 100
OLD_CALLS = 512


class OpenAiCodec:
    """As `Codec`. Sound of a client that takes turns by hand is heard between its first append and its commit, as if a
    key had been held for it."""

    confirms = False
    reports_playback = False  # a client says what was heard only when it has stopped (`truncate`)

    def __init__(self, welcome: Welcome, ids: Ids) -> None:
        self.closing: tuple[int, str] | None = None
        self._welcome = welcome
        self._teller = Teller(welcome, ids)
        self._out, self._talk = self._teller.out, self._teller.conversation
        self._answers, self._listening = self._teller.answers, self._teller.listening
        self._ear = Ear("audio/pcm")
        self._sound_end_ns = 0  # up to there sound has come, on the session's clock
        self._item_end_ns = 0  # … and sound inside items
        self._stamp_ns = -1
        self._begun = False
        self._old_calls: dict[str, str] = {}  # calls of an older session, in words
        self._returned: dict[str, str] = {}
        self._takes: dict[str, Callable[[Fields, int], list[Asked]]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "output_audio_buffer.clear": self._no_buffer,
            "conversation.item.create": self._create,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.delete": self._delete,
            "conversation.item.truncate": self._truncate,
            "response.create": self._respond,
            "response.cancel": self._cancel,
        }

    def open(self, t_ns: int) -> None:
        self._teller.open(t_ns)

    def take(self) -> list[Frame]:
        return list(self._out.take())

    def tell(self, item: Told, t_ns: int) -> None:
        self._teller.tell(item, t_ns)
        if self._teller.closing is not None:
            self.closing = self._teller.closing

    def receive(self, data: Frame, t_ns: int) -> list[Asked]:
        self._teller.mind(t_ns)
        asks = [*self._teller.take_later(), *self._give_back(t_ns)]
        event_id: str | None = None
        try:
            if isinstance(data, bytes):
                raise Refused("This protocol is spoken in text frames of JSON.", "invalid_request_error")
            try:
                message = Fields(read_object(data))
            except ProtocolError as error:
                raise Refused(f"The message cannot be read: {error}.", "invalid_json") from error
            event_id = message.text("event_id", 512) if message.given("event_id") else None
            kind = message.text("type", 200)
            takes = self._takes.get(kind)
            if takes is None:
                raise Refused(f"Invalid value: {kind[:80]!r}. This is no client event.", "invalid_value", "type")
            asks += takes(message, t_ns)
        except Refused as refused:
            self._out.error(str(refused), refused.code, refused.param, event_id)
        if not self._begun:  # from now on turns are taken as `session.created` has told
            self._begun = True
            if not any(isinstance(each, TurnsSet) for each in asks):
                asks.insert(0, self._teller.settings.turns(t_ns))
        return asks + self._teller.idle(t_ns)

    # ---- the session

    def _update(self, message: Fields, t_ns: int) -> list[Asked]:
        before = self._teller.settings
        after = updated(before, message.fields("session"), self._welcome)
        self._teller.set(after)
        if after.input_format != before.input_format:
            self._ear, self._teller.appended = Ear(after.input_format), 0
        if after.by_voice != before.by_voice:
            self._teller.pressed_ns, self._teller.appended = None, 0
            self._listening.drop()
        self._out("session.updated", session=after.object(self._welcome))
        return list(changes(before, after, t_ns))

    def _give_back(self, t_ns: int) -> list[Asked]:
        """What was changed for one response alone."""
        lent, settings = self._answers.lent, self._teller.settings
        asks: list[Asked] = []
        if "tools" in lent:
            asks.append(AgentChanged(t_ns, tools=asked(settings.tools)))
        if "voice" in lent:
            asks.append(VoiceSet(t_ns, settings.spoken))
        lent.clear()
        return asks

    # ---- sound

    def _append(self, message: Fields, t_ns: int) -> list[Asked]:
        data = message.base64("audio", MOST_APPEND)
        settings = self._teller.settings
        samples = len(data) // (2 if self._ear.kind == "audio/pcm" else 1)
        most_ns = AHEAD_NS if settings.by_voice else HELD_NS
        self._sound_end_ns = self._ahead(self._sound_end_ns, samples, most_ns, t_ns)
        pcm = self._ear.feed(data)
        if not len(pcm):
            return []
        self._teller.appended += len(pcm)
        asks: list[Asked] = []
        if not settings.by_voice and self._teller.pressed_ns is None:
            self._teller.pressed_ns = t_ns
            asks.append(TalkPressed(t_ns))
        return [*asks, Sound(pcm, self._ear.rate_hz)]

    def _ahead(self, end_ns: int, samples: int, most_ns: int, t_ns: int) -> int:
        """Where sound that came up to `end_ns` ends with so many samples more. `Refused` if that is too far ahead."""
        end_ns = max(end_ns, t_ns) + samples * 1_000_000_000 // self._ear.rate_hz
        if end_ns - t_ns > most_ns:
            raise Refused(
                f"The sound runs more than {most_ns // 1_000_000_000} s ahead; it was not taken.",
                "input_audio_buffer_overrun",
                "audio",
            )
        return end_ns

    def _commit(self, message: Fields, t_ns: int) -> list[Asked]:
        appended_ms = self._teller.appended * 1000 / self._ear.rate_hz
        if appended_ms < LEAST_COMMIT_MS:
            raise Refused(
                f"Error committing input audio buffer: buffer too small. Expected at least {LEAST_COMMIT_MS}ms of "
                f"audio, but buffer only has {appended_ms:.2f}ms of audio.",
                "input_audio_buffer_commit_empty",
            )
        pressed_ns, settings = self._teller.pressed_ns, self._teller.settings
        self._listening.commit(
            t_ns if pressed_ns is None else pressed_ns,
            t_ns,
            settings.transcription is not None,
            talking=settings.by_voice or pressed_ns is not None,
        )
        self._fresh_buffer()
        return [TalkReleased(t_ns)]

    def _clear(self, message: Fields, t_ns: int) -> list[Asked]:
        self._fresh_buffer()
        known = self._listening.drop()
        self._out("input_audio_buffer.cleared")
        forgets = [] if known is None else [ForgetAsked(t_ns, known.since_ns, known.until_ns, "user")]
        return [TurnDropped(t_ns), *forgets]

    def _fresh_buffer(self) -> None:
        self._teller.pressed_ns, self._teller.appended = None, 0
        self._ear.forget()

    def _no_buffer(self, message: Fields, t_ns: int) -> list[Asked]:
        raise Refused("Only WebRTC has an output buffer here: stop playing, and truncate the item.", "invalid_value")

    # ---- items

    def _create(self, message: Fields, t_ns: int) -> list[Asked]:
        given = message.fields("item")
        item_id = given.text("id", MOST_ID, least=1) if given.given("id") else self._teller.new_id("item")
        if item_id in self._talk:
            raise Refused(
                f"Error adding item: an item with ID '{item_id}' already exists.",
                "item_create_duplicate_item_id",
                "item.id",
            )
        after = message.text("previous_item_id", MOST_ID) if message.given("previous_item_id") else None
        self._stamp_ns = max(t_ns, self._stamp_ns + 1)  # so that each can be forgotten alone
        settings = self._teller.settings
        made = read_item(given, item_id, self._stamp_ns, settings.input_format, self._welcome.sees)
        if made.heard and self._teller.pressed_ns is not None:
            raise Refused("Commit or clear the input buffer before an item that holds sound.", "invalid_value", "item")
        item_end_ns = self._ahead(self._item_end_ns, made.samples, HELD_NS, t_ns)
        self._tie_output(made)
        made.item.event_id = message.text("event_id", 512) if message.given("event_id") else None
        self._talk.add(made.item, after)
        self._settle_output(made)
        self._out.item("added", made.item, self._talk)
        self._out.item("done", made.item, self._talk)
        if made.item.sides == ("picture",):
            made.item.since_ns = t_ns  # a host stamps a picture with the time at which it came
        if not made.heard:
            return made.asks
        self._item_end_ns, made.item.until_ns = item_end_ns, None
        self._listening.hand(made.item, self._stamp_ns)
        if not settings.by_voice:
            return made.asks
        self._listening.nothing(t_ns)  # whoever speaks just now is not heard on
        by_hand = TurnsSet(t_ns, "push_to_talk", answers=False, interrupts=False)
        return [by_hand, *made.asks, settings.turns(t_ns)]

    def _tie_output(self, made: Created) -> None:
        """What a call returned goes to the call, under the id that the conversation knows it by."""
        call_id = made.output_of
        if call_id is None:
            return
        mine = self._answers.calls.get(call_id)
        if (mine is None and call_id not in self._old_calls) or call_id in self._returned:
            what = "has its output already" if call_id in self._returned else "not found in conversation"
            raise Refused(f"Tool call ID '{call_id}' {what}.", "invalid_tool_call_id", "item.call_id")
        (returned,) = made.asks
        assert isinstance(returned, ToolReturned)
        if mine is not None:
            made.asks = [ToolReturned(returned.t_ns, mine, returned.result, answer=False)]
        else:
            made.asks = [MessageAdded(returned.t_ns, "system", f"{self._old_calls[call_id]}: {returned.result}")]

    def _settle_output(self, made: Created) -> None:
        body = made.item.body
        if made.output_of is not None:
            _remember(self._returned, made.output_of, "")
        if made.calls is not None and made.calls not in self._answers.calls:
            _remember(self._old_calls, made.calls, f"{body['name']}({body['arguments']})")

    def _found(self, message: Fields, verb: str) -> Item:
        item_id = message.text("item_id", 1_000)
        item = self._talk.get(item_id)
        if item is None:
            raise Refused(
                f"Error: the item with id '{item_id[:80]}' does not exist.", f"item_{verb}_invalid_item_id", "item_id"
            )
        return item

    def _retrieve(self, message: Fields, t_ns: int) -> list[Asked]:
        self._out("conversation.item.retrieved", item=self._found(message, "retrieve").body)
        return []

    def _delete(self, message: Fields, t_ns: int) -> list[Asked]:
        item = self._found(message, "delete")
        if item.running:
            raise Refused("The item is still being made: cancel its response.", "item_delete_in_progress", "item_id")
        self._talk.remove(item.id)
        self._out("conversation.item.deleted", item_id=item.id)
        if item.since_ns is None or item.until_ns is None:
            item.deleted = True
            return []
        return [ForgetAsked(t_ns, item.since_ns, item.until_ns, side) for side in item.sides]

    def _truncate(self, message: Fields, t_ns: int) -> list[Asked]:
        item = self._found(message, "truncate")
        message.integer("content_index", 0, 0)
        end_ms = message.integer("audio_end_ms", 0, 2**40)
        reply = self._answers.reply_of(item.id)
        if reply is None or not reply.spoken:
            raise Refused("Only what the agent has spoken can be truncated.", "invalid_value", "item_id")
        samples = min(end_ms * SAMPLES_PER_MS, reply.samples)
        reply.shorten(samples)
        self._talk.weigh(item)
        reply.taken = True
        self._out(
            "conversation.item.truncated", item_id=item.id, content_index=0, audio_end_ms=samples // SAMPLES_PER_MS
        )
        return [PlaybackCut(t_ns, reply.utterance, samples)]

    # ---- responses

    def _respond(self, message: Fields, t_ns: int) -> list[Asked]:
        if self._answers.active:
            active = self._answers.response or self._answers.wanted
            assert active is not None
            raise Refused(
                f"Conversation already has an active response in progress: {active.id}. Wait until the response is "
                "finished before creating a new one.",
                "conversation_already_has_active_response",
            )
        asked_for = read_response(message, self._teller.settings, self._welcome, self._teller.new_id("resp"), t_ns)
        self._answers.wanted = asked_for.wanted
        self._teller.bring(asked_for.tools)
        return list(asked_for.asks)

    def _cancel(self, message: Fields, t_ns: int) -> list[Asked]:
        response_id = message.text("response_id", 1_000) if message.given("response_id") else None
        if not self._answers.cancel(response_id):
            raise Refused("Cancellation failed: no active response found", "response_cancel_not_active")
        return [AnswerStopped(t_ns)]


def _remember(where: dict[str, str], key: str, value: str) -> None:
    where[key] = value
    if len(where) > OLD_CALLS:
        del where[next(iter(where))]
