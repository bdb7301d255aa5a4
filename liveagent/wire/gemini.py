"""Gemini Live (BidiGenerateContent, whatever its version): what the google-genai clients speak.

Messages are JSON objects of one field; the client's first is `setup` (gemini_setup.py), ours `setupComplete`.

    client: setup · realtimeInput {audio, video, text, activityStart, activityEnd, audioStreamEnd, mediaChunks}
            clientContent {turns, turnComplete} · toolResponse {functionResponses} · contextUpdate {systemInstruction,
            tools}; every name in camelCase or snake_case, text or binary
    server: setupComplete · serverContent (gemini_turn.py; inputTranscription) with usageMetadata · toolCall ·
            toolCallCancellation · sessionResumptionUpdate · goAway; binary, as the real one sends

The protocol has no error message: what is wrong closes the connection with 1007 and a reason. So of the host's problems
only those in `FATAL` reach the client; of the rest it sees what it always sees, that its turn is complete.

Video frames arrive in the timeline of the sound, make no turn and are not answered. A typed text is answered; one of
blanks alone is how some clients ask for an answer that they have asked for already, and is answered if they have not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from liveagent.action import CancelCall, Say, StopPlayback
from liveagent.errors import ProtocolError
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    CacheChanged,
    Interrupted,
    MessageAdded,
    Noted,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SessionEnded,
    SpeechStarted,
    StopHeard,
    TalkPressed,
    TalkReleased,
    TextTyped,
    ToolCalled,
    ToolFailed,
    ToolReturned,
    TurnEnded,
    VoiceFailed,
    WordsHeard,
)
from liveagent.jsonform import Json
from liveagent.wire.codec import Asked, Frame, GoingAway, Ids, Picture, Problem, Resumable, Spoken, Told, Welcome
from liveagent.wire.gemini_calls import Calls
from liveagent.wire.gemini_content import read_media, read_turn
from liveagent.wire.gemini_read import Fields, one_of, read_message
from liveagent.wire.gemini_schema import read_tools
from liveagent.wire.gemini_setup import Setup, read_instructions, read_setup, wanted_handle
from liveagent.wire.gemini_turn import ModelTurn
from liveagent.wire.strict_json import write

__all__ = ["FATAL", "GeminiCodec", "wanted_handle"]

BAD_INPUT, POLICY, SERVER = 1007, 1008, 1011
REASON_BYTES = 119
WAITING_BYTES = 8 << 20
"""A peer that leaves more than this unread is let go."""
ASKED = 64
MESSAGES = ("setup", "clientContent", "realtimeInput", "toolResponse", "contextUpdate")
FATAL = {
    "invalid_request": BAD_INPUT, "invalid_setup": BAD_INPUT, "invalid_tool": BAD_INPUT,
    "unauthorized": POLICY, "refused": POLICY, "rate_limited": POLICY, "session_expired": POLICY,
    "session_not_found": POLICY,
    "server_error": SERVER, "internal": SERVER, "overloaded": SERVER,
}  # fmt: skip
"""The problems that close the connection, and with which code."""


class GeminiCodec:
    """One connection. A `Codec`. A client that comes back has a new one, whose `Welcome` says so."""

    confirms = False
    reports_playback = False

    def __init__(self, welcome: Welcome, ids: Ids) -> None:
        self.welcome = welcome
        self.closing: tuple[int, str] | None = None
        self.misread = False
        """It closes because of a message that could not be read. The conversation has no fault, and may be resumed."""
        self.setup: Setup | None = None
        self._ids = ids
        self._out: deque[Frame] = deque()
        self._out_bytes = 0
        self._handle = welcome.handle
        self._turn = ModelTurn(self._send)
        self._calls = Calls(lenient=welcome.resumed_ago_ms is not None)
        self._tools: frozenset[str] = frozenset()
        self._history = False  # contents are what was said before
        self._unanswered = False  # contents came, and nobody asked for an answer to them
        self._asked: deque[str] = deque(maxlen=ASKED)
        self._pressed = False
        self._user_speaks = False

    def open(self, t_ns: int) -> None:
        """Nothing is said before the client's setup."""

    def take(self) -> list[Frame]:
        """What is to be sent now."""
        taken = [*self._out]
        self._out.clear()
        self._out_bytes = 0
        return taken

    # ---- in

    def receive(self, data: Frame, t_ns: int) -> list[Asked]:
        """One message of the client's. What is wrong with it, closes."""
        if self.closing is not None:
            return []
        try:
            name, body = one_of(read_message(data), MESSAGES)
            if (name == "setup") == (self.setup is not None):
                raise ProtocolError("setup is the first message, and only the first")
            if name == "setup":
                return self._set_up(body, t_ns)
            return [*self._read(name, body, t_ns)]
        except ProtocolError as error:
            self.misread = self.setup is not None
            self._close(BAD_INPUT, str(error))
            return []

    def _set_up(self, body: Fields, t_ns: int) -> list[Asked]:
        self.setup = setup = read_setup(body)
        has_voice = self.welcome.voice is not None
        self._history = setup.history
        self._tools = frozenset(str(tool["name"]) for tool in setup.tools or ())
        self._turn.written = not (setup.speaks and has_voice)
        self._turn.transcribed = setup.transcribes_agent
        self._send({"setupComplete": {"sessionId": self.welcome.session_id}})
        self._tell_handle()
        return setup.asked(t_ns, has_voice)

    def _read(self, name: str, body: Fields, t_ns: int) -> Iterator[Asked]:
        if name == "realtimeInput":
            return self._realtime(body, t_ns)
        if name == "clientContent":
            return self._content(body, t_ns)
        if name == "toolResponse":
            return self._responses(body, t_ns)
        return self._context(body, t_ns)

    def _realtime(self, body: Fields, t_ns: int) -> Iterator[Asked]:
        by_hand = self.setup is not None and self.setup.by_hand
        if ("activityStart" in body or "activityEnd" in body) and not by_hand:
            raise ProtocolError("activityStart and activityEnd need automaticActivityDetection.disabled")
        if "activityStart" in body and not self._pressed:
            self._pressed = True
            yield TalkPressed(t_ns)
        yield from read_media(body)
        text = body.text("text")
        if text.strip():
            self._unanswered = False
            yield TextTyped(t_ns, text)
        elif text and self._unanswered:
            yield self._ask(t_ns)
        if body.flag("audioStreamEnd") and not by_hand:
            yield TalkReleased(t_ns)
        if "activityEnd" in body and self._pressed:
            self._pressed = False
            yield TalkReleased(t_ns)

    def _content(self, body: Fields, t_ns: int) -> Iterator[Asked]:
        """Contents interrupt what is being said, as they do there. An end of turn without contents asks for an answer
        to those before, or to what the user has just said aloud, and never for a second one."""
        added = [asked for turn in body.each("turns") for asked in read_turn(turn, t_ns)]
        complete = body.flag("turnComplete")
        if added and self._turn.speaking:
            yield AnswerStopped(t_ns, "client_content")
        yield from added
        self._unanswered = self._unanswered or any(isinstance(each, MessageAdded | Picture) for each in added)
        if not complete:
            return
        if self._history:
            self._history = False
        elif not added and self._user_speaks:
            yield TalkReleased(t_ns)
        elif added or self._unanswered or not self._turn.open:
            yield self._ask(t_ns)

    def _ask(self, t_ns: int) -> AnswerAsked:
        self._unanswered = False
        ref = self._ids("resp")
        self._asked.append(ref)
        return AnswerAsked(t_ns, ref)

    def _responses(self, body: Fields, t_ns: int) -> Iterator[Asked]:
        for response in body.each("functionResponses"):
            asked, over = self._calls.returned(response, t_ns, self._turn.speaking)
            yield from asked
            self._end_waiting(over)

    def _context(self, body: Fields, t_ns: int) -> Iterator[Asked]:
        tools = body.fields("tools")
        declared = None if tools is None else read_tools(tools.each("tools"))
        if declared is not None:
            self._tools = frozenset(str(tool["name"]) for tool in declared)
        yield AgentChanged(t_ns, read_instructions(body), declared)

    # ---- out

    def tell(self, item: Told, t_ns: int) -> None:
        """Something of the conversation. What this protocol has no word for is passed over."""
        if isinstance(item, Resumable):
            self._handle = item.handle
            self._tell_handle()
        elif isinstance(item, CacheChanged):
            self._turn.cache_tokens = item.used_tokens
        elif isinstance(item, Problem):
            self._problem(item)
        elif isinstance(item, SessionEnded):
            self._turn.cut()
            self._close(1000, f"the session has ended: {item.reason}")
        elif self.setup is not None and self.closing is None:
            self._tell(item)

    def _tell(self, item: Told) -> None:
        turn = self._turn
        match item:
            case Spoken():
                turn.speak(item)
            case Say():
                turn.say(item)
            case AnswerStarted():
                self._unanswered = False
                if item.ref in self._asked:
                    self._asked.remove(item.ref)
                turn.answer(item.why)
            case ReplyStarted():
                turn.reply_started(item.utterance)
            case ReplyEnded():
                turn.ended(item.utterance, item.complete)
            case Interrupted():
                turn.cut(item.utterance)
            case StopPlayback():
                if turn.utterance == item.utterance:  # nothing of it will sound any more; who was heard, comes later
                    turn.cut(item.utterance)
            case VoiceFailed():
                turn.mute(item.utterance)
            case Noted(code="empty") | StopHeard(source="typed"):
                self._say_nothing()
            case Noted(code="agent_refused"):
                self._close(BAD_INPUT, item.message)
            case WordsHeard():
                self._transcribe(item)
            case SpeechStarted():
                self._user_speaks = True
            case TurnEnded() | Resumed():
                self._user_speaks = False
            case GoingAway():
                self._send({"goAway": {"timeLeft": f"{max(0, item.left_ms) / 1000:g}s"}})
            case _:
                self._tell_of_call(item)

    def _tell_of_call(self, item: Told) -> None:
        turn = self._turn
        match item:
            case ToolCalled():
                turn.begin()
                shown = item.name in self._tools
                if self._calls.called(item.call_id, item.name, turn.number, shown) and shown:
                    turn.called(item.call_id, item.name, item.args)
            case CancelCall():
                self._give_up(item.call_id, answer=False)
            case ToolFailed():  # when the client itself said so, it is settled already
                self._give_up(item.call_id, item.answer)
            case ToolReturned():
                settled = self._calls.settle(item.call_id)
                if settled is not None and not item.answer:
                    self._end_waiting(settled[0])

    def _give_up(self, call_id: str, answer: bool) -> None:
        """A call is not wanted any more, or nobody waits for it any more."""
        settled = self._calls.settle(call_id)
        if settled is None:
            return
        number, shown = settled
        if shown:
            self._send({"toolCallCancellation": {"ids": [call_id]}})
        if not answer:
            self._end_waiting(number)

    def _end_waiting(self, number: int | None) -> None:
        """A turn that waited for calls alone, and of which none is out, is over when nothing is to be said."""
        turn = self._turn
        if number == turn.number and turn.open and not turn.speaking and not self._calls.is_out(turn.number):
            turn.complete()

    def _transcribe(self, heard: WordsHeard) -> None:
        wanted = self.setup is not None and self.setup.transcribes_user
        if wanted and heard.final and heard.words and heard.source != "typed":
            said: dict[str, Json] = {"text": " ".join(heard.words), "finished": True}
            self._send({"serverContent": {"inputTranscription": said}})

    def _problem(self, problem: Problem) -> None:
        if problem.code in FATAL:
            self._close(FATAL[problem.code], f"{problem.code}: {problem.message}")
        elif problem.code == "engine_lost":  # what was being made is lost; the conversation is not
            self._turn.cut()
        elif problem.ref in self._asked:
            self._asked.remove(problem.ref)
            self._say_nothing()

    def _say_nothing(self) -> None:
        """An answer will not come. Whoever wanted it waits for the end of a turn."""
        if self.setup is not None and not self._turn.open:
            self._turn.begin()
            self._turn.complete()

    def _tell_handle(self) -> None:
        if self.setup is None or not self.setup.resumes:
            return
        update: dict[str, Json] = {"resumable": bool(self._handle)}
        if self._handle:
            update["newHandle"] = self._handle
        self._send({"sessionResumptionUpdate": update})

    def _send(self, message: dict[str, Json]) -> None:
        if self.closing is not None:
            return
        frame = write(message).encode()
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes > WAITING_BYTES:
            self._out.clear()
            self._close(POLICY, "messages are not read")

    def _close(self, code: int, reason: str) -> None:
        if self.closing is None:
            self.closing = code, reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
