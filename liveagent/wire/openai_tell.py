"""What a session does, told to an OpenAI client: a table from events and actions to turns and answers."""

from __future__ import annotations

from liveagent import action as act
from liveagent import event as ev
from liveagent.wire.codec import Asked, Ids, Problem, Spoken, Told, Welcome
from liveagent.wire.openai_answers import Answers, Reason
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.openai_out import Out
from liveagent.wire.openai_reply import Reply
from liveagent.wire.openai_response import Wanted
from liveagent.wire.openai_session import Settings, first_settings
from liveagent.wire.openai_tools import Tool, chosen
from liveagent.wire.openai_turn import NS_PER_MS, Listening

BY_VOICE = ("barge_in", "stop")
"""Reasons for which a client has to be told that somebody speaks, so that it stops playing."""
BY_CLIENT = ("client_cancelled", "cut", "asked", "pressed", "closed")
MOST_NAMES = 1_024


class Teller:
    """One client's view of a session. `pressed_ns`: since when a client that takes turns by hand has been
    talking. `appended`: samples since the last commit or clear."""

    def __init__(self, welcome: Welcome, ids: Ids) -> None:
        self._welcome, self._ids = welcome, ids
        self.settings: Settings = first_settings(welcome)
        self.out = Out(ids)
        self.conversation = Conversation()
        self.answers = Answers(self.out, self.conversation, lambda: self.settings, self.new_id)
        self.listening = Listening(self.out, self.conversation, lambda: self.new_id("item"))
        self.pressed_ns: int | None = None
        self.appended = 0
        self.closing: tuple[int, str] | None = None
        self._own = frozenset(str(tool["name"]) for tool in welcome.tools if "name" in tool)
        self._brought: dict[str, None] = {}
        self._later: list[Asked] = []
        self._idle_ns: int | None = None

    def new_id(self, kind: str) -> str:
        """One that no item has; a client chooses ids, too."""
        fresh = self._ids(kind)
        for _ in range(64):
            if fresh not in self.conversation:
                break
            fresh = self._ids(kind)
        return fresh

    def open(self, t_ns: int) -> None:
        self.listening.zero_ns = t_ns
        self.out("session.created", session=self.settings.object(self._welcome))

    def set(self, settings: Settings) -> None:
        self.settings = settings
        self.bring(settings.tools)

    def bring(self, tools: tuple[Tool, ...]) -> None:
        """The client has brought these. A call of one may still come after it was taken away."""
        for tool in tools:
            self._brought[str(tool["name"])] = None
        while len(self._brought) > MOST_NAMES:
            del self._brought[next(iter(self._brought))]

    def take_later(self) -> list[Asked]:
        """What the conversation is to be asked because of what it told."""
        later, self._later = self._later, []
        return later

    def mind(self, t_ns: int) -> None:
        """What must not be waited for for ever."""
        self.answers.mind(t_ns)

    # ---- what happened

    def tell(self, item: Told, t_ns: int) -> None:
        self.mind(t_ns)
        if isinstance(item, Spoken):
            self.answers.spoken(item)
        elif isinstance(item, Problem):
            self._problem(item)
        elif isinstance(item, act.Say):
            self.answers.say(item)
        elif isinstance(item, act.StopPlayback):
            self._stopped(item, t_ns)
        elif isinstance(item, act.CancelCall):
            self.answers.call_dropped(item.call_id)
        elif isinstance(item, ev.AnswerStarted):
            self._idle_ns = None
            self.answers.started(item)
        elif isinstance(item, ev.ReplyStarted):
            self.answers.reply_started(item, self.listening.starts)
        elif isinstance(item, ev.Voiced):
            self.answers.voiced(item)
        elif isinstance(item, ev.Interrupted):
            self._interrupted(item, t_ns)
        elif isinstance(item, ev.ReplyEnded):
            self._reply_ended(item, t_ns)
        elif isinstance(item, ev.ToolCalled):
            far = item.name in self._brought and (item.name not in self._own or self._brings(item.name))
            self.answers.called(item, far)
        elif isinstance(item, ev.CacheChanged):
            self.answers.remember(item)
        elif isinstance(item, ev.SessionEnded):
            while self.answers.fail("session_ended"):
                pass
            self.closing = (1000, "the session has ended")
        else:
            self._heard(item, t_ns)

    def _heard(self, item: Told, t_ns: int) -> None:
        listening = self.listening
        if isinstance(item, ev.TickHeard):  # how far the session has heard, which may be late
            listening.mind(item.t_ns, self.settings.longest_silence_ms)
        elif isinstance(item, ev.SpeechStarted):
            self._idle_ns = None
            if self.settings.by_voice:
                listening.started(item.t_ns, hold=self.settings.interrupts and self.answers.sounding)
        elif isinstance(item, ev.SpeechEnded):
            listening.paused(item.t_ns)
        elif isinstance(item, ev.Resumed):
            listening.nothing(item.t_ns)
        elif isinstance(item, ev.TurnEnded):
            self._turn_ended(item)
        elif isinstance(item, ev.WordsHeard):
            if item.final and item.source != "typed":
                self._settle(listening.words(item, self.settings.transcription is not None), t_ns)
                self._ask_with_choice(t_ns)
        elif isinstance(item, ev.Noted) and item.code == "no_words":
            self._settle(listening.no_words(self.settings.transcription is not None), t_ns)

    def _turn_ended(self, ended: ev.TurnEnded) -> None:
        if ended.reason == "typed":
            return
        since_ns = None if self.settings.by_voice else self.pressed_ns
        if ended.reason == "too_long" and since_ns is not None:  # the next sound is pressed for anew
            self.listening.went_on(since_ns, ended)
            self.pressed_ns = None
        elif self.listening.ended(ended, since_ns):
            self.pressed_ns, self.appended = None, 0

    def _brings(self, name: str) -> bool:
        return any(tool["name"] == name for tool in self.settings.tools)

    def _settle(self, item: Item | None, t_ns: int) -> None:
        """It is known when an item was heard; one that was deleted before is forgotten now."""
        if item is not None and item.deleted and item.since_ns is not None and item.until_ns is not None:
            self._later.append(ev.ForgetAsked(t_ns, item.since_ns, item.until_ns, "user"))

    def _ask_with_choice(self, t_ns: int) -> None:
        """A finished turn whose answer must, or must not, call a tool is answered because it is asked for."""
        settings = self.settings
        if settings.tool_choice != "auto" and settings.create_response and not self.answers.active:
            self._ask(chosen(settings.tool_choice), t_ns)

    def _ask(self, choice: str, t_ns: int) -> None:
        settings = self.settings
        wanted = Wanted(self.new_id("resp"), None, settings.spoken, settings.max_output_tokens, t_ns)
        self.answers.wanted = wanted
        self._later.append(ev.AnswerAsked(t_ns, wanted.id, choice))

    # ---- replies that are taken back

    def _stopped(self, stop: act.StopPlayback, t_ns: int) -> None:
        reply = self.answers.reply(stop.utterance)
        if reply is not None and not reply.ended and not reply.taken:
            self._show_speech(reply, stop.reason in BY_VOICE, t_ns)
            self.answers.taken_back(reply, "client_cancelled" if stop.reason in BY_CLIENT else "turn_detected")

    def _interrupted(self, event: ev.Interrupted, t_ns: int) -> None:
        reply = self.answers.reply(event.utterance)
        if reply is not None and not reply.ended and not reply.taken:
            self._show_speech(reply, self.listening.turn is not None, t_ns)
            reason: Reason = "turn_detected" if self.settings.by_voice else "client_cancelled"
            self.answers.taken_back(reply, reason)
        self.answers.interrupted(event)
        self._go_on(t_ns)

    def _reply_ended(self, event: ev.ReplyEnded, t_ns: int) -> None:
        self.answers.reply_ended(event)
        self._go_on(t_ns)
        if event.complete and not self.answers.active and self.listening.turn is None:
            self._idle_ns = t_ns

    def _go_on(self, t_ns: int) -> None:
        """Nothing sounds any more: whoever speaks, speaks to the agent and not into a reply."""
        if not self.answers.sounding:
            self.listening.show()

    def _show_speech(self, reply: Reply, by_voice: bool, t_ns: int) -> None:
        """`speech_started`, by which clients stop playing, if it has not been told since the reply began."""
        if not by_voice or not self.settings.by_voice or self.listening.starts != reply.starts:
            return
        if self.listening.turn is None:
            if not reply.sent_sound:
                return
            self.listening.started(t_ns, hold=True)
        self.listening.show(again=reply.sent_sound)

    # ---- the rest

    def idle(self, t_ns: int) -> list[Asked]:
        """Nobody has said anything since the last reply for as long as the client wants to wait: an answer."""
        wait_ms, since_ns = self.settings.idle_timeout_ms, self._idle_ns
        if wait_ms is None or since_ns is None or self.answers.active or self.listening.turn is not None:
            return []
        if t_ns - since_ns < wait_ms * NS_PER_MS:
            return []
        self._idle_ns = None
        self.listening.timed_out(since_ns, t_ns)
        self._ask(chosen(self.settings.tool_choice), t_ns)
        return self.take_later()

    def _problem(self, problem: Problem) -> None:
        if problem.ref and self.answers.fail(problem.code, problem.ref):
            return
        item = self.conversation.get(problem.ref)
        kind = "server_error" if item is None else "invalid_request_error"
        self.out.error(
            problem.message,
            problem.code,
            None if item is None else "item",
            None if item is None else item.event_id,
            kind,
        )
