"""One conversation: a fold over ticks.

`tick` takes 80 ms of sound, perhaps a picture, and what else came into the inbox, and gives actions and events. It
reads no clock and asks nobody but its lane of the engine, so the same ticks and the same inbox give the same tokens and
actions at any speed (LAW 2); a recording is exactly that input, and `replay` is exactly this code.

Way of a tick: picture → what changed → eye (engine) · inbox → echo gate → VAD and ear (engine) → words (listener) →
turns → cache and decoder (answer).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from liveagent.action import Action, Duck, Freeze, Halt, Resume, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, Samples, Tick
from liveagent.automaton import Parse
from liveagent.event import (
    AnswerStarted,
    CameraFroze,
    ConfirmAsked,
    DeviceBack,
    DeviceLost,
    EarFailed,
    EarHeard,
    EndGuessed,
    Event,
    Forgotten,
    Inbox,
    Noted,
    OutcomeUnknown,
    PicturesEvicted,
    ReplyEnded,
    Resumed,
    SamplesPlayed,
    SayAsked,
    Shed,
    SpeechEnded,
    SpeechStarted,
    StopHeard,
    TalkPressed,
    TalkReleased,
    TextTyped,
    TickHeard,
    ToolFailed,
    ToolReturned,
    TurnEnded,
    Voiced,
    VoiceFailed,
    WakeHeard,
    WatchFailed,
    WordsHeard,
)
from liveagent.event import Ducked as DuckedEvent
from liveagent.latency import TurnLatency
from liveagent.ledger import Kind
from liveagent.manners import Manners
from liveagent.overrun import PRUNING, WIDE
from liveagent.runtime.answer import AGAIN, Answer, Out
from liveagent.runtime.calls import Calls
from liveagent.runtime.context import Context
from liveagent.runtime.dictation import Dictation
from liveagent.runtime.engine import Lane
from liveagent.runtime.far_end import KINDS as FAR_KINDS
from liveagent.runtime.far_end import FarEnd
from liveagent.runtime.forget import Forgetting, State
from liveagent.runtime.hearing import Hearing
from liveagent.runtime.holding import tokens_of
from liveagent.runtime.last_words import LastWords
from liveagent.runtime.listener import QUIET_SPEECH, Listener, Understood
from liveagent.runtime.seeing import Seeing
from liveagent.runtime.sound_turn import SoundTurn
from liveagent.runtime.speaking import Speaking
from liveagent.runtime.user_turn import UserTurn
from liveagent.runtime.watcher import Watcher
from liveagent.spoken import spoken
from liveagent.turns import Decision, Turns
from liveagent.video import VideoFrame
from liveagent.window import Budget

if TYPE_CHECKING:
    from liveagent.nn.model import Model

SILENT_SAMPLES: Samples = np.zeros(0, np.float32)

@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session may be told beside its agent.

    voice: whether something speaks the replies and reports what was played; without it a reply counts as read.
    echo_gate: take the loudspeaker out of the microphone; needless, and a little harmful, with headphones.
    grammar: read whole-matching phrases off the parse (`by="grammar"`).
    prune: leave the empty cells of a picture out of the cache.
    picture_age_s: nano has learnt what pictures of the last twenty minutes mean, and no older ones.
    dictated: a pretrained ear hears along, and its words come through the inbox.
    """

    slots: int = 1536
    high_tokens: int = 1216
    low_tokens: int = 1088
    picture_high_tokens: int = 208
    picture_low_tokens: int = 176
    picture_age_s: float = 1800.0
    voice: bool = True
    grammar: bool = True
    echo_gate: bool = True
    prune: bool = True
    dictated: bool = False
    manners: Manners = field(default_factory=Manners)

    @classmethod
    def of(cls, agent: Agent, **more: Any) -> SessionConfig:
        """An agent's own: how much is kept, and of which kinds, follows its `cache_tokens`, and its model where these
        are not given."""
        held = Budget.of(tokens_of(agent))
        marks = held.high_tokens, held.low_tokens, held.picture_high, held.picture_low
        return cls(held.capacity_tokens, *marks, **more)

    @property
    def budget(self) -> Budget:
        return Budget(
            self.slots,
            self.high_tokens,
            self.low_tokens,
            self.picture_high_tokens,
            self.picture_low_tokens,
            self.picture_age_s,
        )


class Session:
    """One conversation on one lane. Feed it ticks in order; never two at once."""

    def __init__(
        self,
        agent: Agent,
        model: Model,
        lane: Lane,
        listener: Listener,
        config: SessionConfig | None = None,
        context: Context | None = None,
    ) -> None:
        """`context`: one of this lane's that holds this agent's prompt and nothing else; then there is no `open`."""
        self.agent, self.model, self.lane, self.listener = agent, model, lane, listener
        self.config = config or SessionConfig.of(agent)
        budget = self.config.budget
        self.context = context or Context(lane, budget)
        self.answer = Answer(agent, model, self.context, self.config.grammar)
        self.user = UserTurn(model, self.context)
        self.watcher = Watcher(agent, model, self.context, self.user, self.answer)
        self.forgetting = Forgetting()
        self._behind: Understood | None = None  # a turn whose answer waits for the end of a reply
        self._wide_ticks = 1  # what is said is read every so many
        self.reads = True
        """Whether what is being said is read in this tick."""
        self._out = Out()
        self._now_ns = 0
        self.manners, self.voice, self.interruptible = self.config.manners, self.config.voice, True
        self.calls = Calls(self)
        self.far_end = FarEnd(self)
        self.dictation = Dictation() if self.config.dictated else None
        self.last_words = LastWords(self)
        self.seeing = Seeing(self)
        self._sense_anew()

    def _sense_anew(self) -> None:
        """Everything about hearing, seeing and speaking as before the first tick."""
        config, model = self.config, self.model
        self.turns = Turns(self.manners)
        self.last_words.closing, self.listener.dictation = None, self.dictation
        self.sound = SoundTurn(self) if model.reads_sound else None
        self.hearing = Hearing(self.agent, self.lane, self.listener, self.manners, config.echo_gate)
        self.seeing.anew()
        self.speaking = Speaking(model, self.context, self.user, self.answer, self.turns, self.voice)
        self.speaking.interruptible = self.interruptible

    async def open(self) -> None:
        """Read the agent's instructions and tools into the lane."""
        tools = tuple(tool for tool in self.agent.tools if tool.name not in self.answer.aside)
        await self.context.open(tools)
        prompt = self.model.template.prompt(self.agent.instructions, tools)
        await self.context.add("system", prompt, 0)

    def forget(self, what: int | tuple[int, int]) -> None:
        """Forget a span of the ledger, by its id, or everything between two times in ns on the session's clock; and
        each exchange that it touches, with the answer. Done as soon as nothing is open: the cache is then as if it had
        never been, and `Out.forgotten` says so. ConfigError for a span that is not held."""
        self.forgetting.ask(what, self.context.ledger)

    async def restore(self, state: State) -> None:
        """Begin anew with what is left after something was forgotten, as a session that never knew the rest."""
        self.listener.close()
        self.listener = Listener.of(self.agent, self.model, use_recogniser=self.listener.has_recogniser)
        self._sense_anew()
        self.context.now_s = 0.0
        await self.open()
        await self.context.restore(state.spans)
        self.answer.restore(state.utterances, state.calls)
        self.watcher.restore(state.watches, state.watch_calls)

    async def become(self, agent: Agent) -> None:
        """Be another agent from now on, who knows all that was said and seen so far. Not while a reply is open."""
        held, words = self.context.held(), self.agent.automaton.words
        self.agent = self.answer.agent = self.watcher.agent = self.hearing.agent = agent
        if agent.automaton.words != words:
            self.listener.close()
            self.listener = self.hearing.listener = await asyncio.to_thread(
                Listener.of, agent, self.model, use_recogniser=self.listener.has_recogniser
            )
            self.listener.dictation = self.dictation
        await self.open()
        await self.context.restore(held)
        self.user.moved()
        self.speaking.forget_last()

    async def reread(self, lane: Lane) -> None:
        """The engine was started anew and `lane` is empty: read into it what this conversation held. What was open is
        given up: half a sentence that was being heard, a reply that was being made."""
        held = self.context.held()
        self.lane = self.context.lane = lane
        self.listener.cancel()
        reply, self.answer.reply = self.answer.reply, None
        if reply is not None:
            self.note(ReplyEnded(self._now_ns, reply.utterance, False))
        self.user.forget()
        self._sense_anew()
        await self.open()
        await self.context.restore(held)

    async def close(self) -> None:
        self.lane.close()
        self.listener.close()

    @property
    def now_ns(self) -> int:
        """The end of the open tick, on the session's clock."""
        return self._now_ns

    async def tick(
        self,
        tick: Tick,
        inbox: Sequence[Inbox] = (),
        reference: Samples = SILENT_SAMPLES,
        frame: VideoFrame | None = None,
    ) -> Out:
        """One step. `reference`: what the loudspeaker played during this tick, for the echo gate; empty when silent.
        `frame`: the newest picture, if there is a new one."""
        self._out = self.answer.out = Out()
        turn = self.context.ledger.turn
        self._now_ns = self.speaking.now_ns = tick.t_ns + TICK_NS
        self.context.now_s = tick.index * TICK_NS / 1e9
        self.reads = tick.index % self._wide_ticks == 0
        if self.dictation is not None:
            self.dictation.now_ns = self._now_ns
        if frame is not None:
            await self.seeing.look(frame)  # first: what is asked in this tick is answered from this picture
        for event in inbox:
            await self._take(event)
        await self._listen(tick, reference)
        await self.last_words.tick()
        await self.calls.tick()
        await self.seeing.remember()
        await self._prefill()
        await self.watcher.ask(self._now_ns)
        await self._speak_up()
        await self.speaking.go_on(self.turns.phase == "turn" and bool(self.hearing.words))
        if self._behind is not None and self.answer.reply is None and not self.user.open:
            behind, self._behind = self._behind, None
            await self._answer(" ".join(behind.words), "audio", behind)
        await self._trim()
        await self.far_end.settle()
        await self._mind_exchanges(tick.t_ns, self.context.ledger.turn != turn)
        self.note(self.context.state(self._now_ns))
        self._dictate()
        return self._out

    async def attend(self, inbox: Sequence[Inbox]) -> Out:
        """Between two ticks: what came in that should not wait for the next sound, such as a tool's result. Nothing is
        heard and no time passes; a reply that begins here begins up to a tick earlier."""
        self._out = self.answer.out = Out()
        for event in inbox:
            await self._take(event)
        await self.speaking.write()
        self._dictate()
        return self._out

    def _dictate(self) -> None:
        if self.dictation is not None:
            self._out.dictated += self.dictation.orders()

    async def _mind_exchanges(self, tick_ns: int, opened: bool) -> None:
        """Notice when something is open; between two exchanges, forget what is to be forgotten."""
        answer, exchanges = self.answer, self.forgetting.exchanges
        busy = self.turns.phase != "idle" or self.user.open or answer.reply is not None or bool(answer.pending)
        busy = busy or self.last_words.closing is not None
        if opened and not busy:
            exchanges.once(tick_ns, self._now_ns, self.context.ledger.turn)
        else:
            exchanges.feed(tick_ns, self._now_ns, busy, self.context.ledger.turn)
        if busy:
            return
        for gone in self.forgetting.due(self._now_ns):
            state = State(
                tuple(each for each in self.context.held() if not gone.covers(each.span.kind, each.span.t_ns)),
                answer.utterances,
                answer.calls,
                self.watcher.calls,
                tuple(self.watcher.state(gone)),
            )
            await self.restore(state)
            forgotten = Forgotten(self._now_ns, gone.since_ns, gone.until_ns)
            self.note(forgotten)
            self._out.forgotten.append((forgotten, state.to_json()))

    async def _trim(self) -> None:
        """Evict what there is no room for. What stays is moved, so any tick will do in which nothing is decoded."""
        if self.speaking.writing:
            return
        gone = await self.context.trim()
        if any(span.kind != "picture" for span in gone):
            self.note(Noted(self._now_ns, "evicted", "older turns left the cache"))
        pictures = [span for span in gone if span.kind == "picture"]
        if pictures:
            tokens = sum(span.length for span in pictures)
            self.note(PicturesEvicted(self._now_ns, tuple(span.id for span in pictures), tokens))

    # --- what came in

    async def _take(self, event: Inbox) -> None:
        if isinstance(event, TextTyped):
            await self._typed(event)
        elif isinstance(event, Voiced | SamplesPlayed):
            await self._obey(await self.speaking.played(event))
        elif isinstance(event, VoiceFailed):
            self.note(Noted(event.t_ns, "mute", event.message))
            if (reply := self.answer.reply) is not None and reply.utterance == event.utterance:
                await self.speaking.finish()
                self.speaking.end(complete=True)  # what nobody can hear is read
        elif isinstance(event, ToolReturned | ToolFailed | ConfirmAsked | OutcomeUnknown):
            await self.calls.take(event)
        elif isinstance(event, FAR_KINDS):
            await self.far_end.take(event)
        elif isinstance(event, TalkPressed | TalkReleased):
            await self._obey(self.turns.feed(event))
            if self.turns.pressed and not self.listener.open:
                self.hearing.begin()
        elif isinstance(event, SayAsked | WatchFailed):
            self.watcher.take(event)
        elif isinstance(event, EarHeard | EarFailed):
            await self.last_words.take(event)
        elif isinstance(event, Shed):
            self._shed(event)
        elif isinstance(event, CameraFroze):
            self.note(Noted(event.t_ns, "camera_froze", f"the same picture for {event.for_ms / 1000:.0f} s"))
        elif isinstance(event, DeviceLost | DeviceBack):
            self.note(Noted(event.t_ns, type(event).__name__, getattr(event, "message", "") or event.device))

    def _shed(self, shed: Shed) -> None:
        if shed.what == PRUNING:
            self.seeing.spare(shed.count > 0)
        elif shed.what in WIDE:
            kinds = list(WIDE)
            held = kinds[: kinds.index(shed.what) + (shed.count > 0)]
            self._wide_ticks = WIDE[held[-1]] if held else 1

    async def _typed(self, event: TextTyped) -> None:
        words, text = spoken(event.text), self.model.as_read(event.text)
        if not text:
            self.note(Noted(event.t_ns, "empty", "nothing to read in that"))
            return
        if words in self.config.manners.stop_words:
            await self._stop(StopHeard(event.t_ns, "typed"))
            return
        self.hearing.stop.release()
        heard = WordsHeard(event.t_ns, tuple(text.split()), "typed", True, self.agent.automaton.accepts(words))
        self.note(heard)
        await self.last_words.close()  # what was said before comes first
        await self.speaking.settle(now=True)
        self.turns.feed(event)
        self.hearing.cancel()
        await self.drop_turn()
        self.speaking.latency = TurnLatency()
        self.speaking.latency.stamp("decided", self._now_ns)
        await self._answer(words, "text", text=text)

    async def tell_result(self, call_id: str, text: str, failed: bool, answer: bool) -> None:
        """A result goes before the words of a user who has begun to speak meanwhile, and is then not spoken of."""
        begun = await self.user.step_aside()
        await self.speaking.finish()
        before = self.answer.reply
        self.far_end.last = "result", ""
        if answer:
            self.note(AnswerStarted(self._now_ns, "result"))
        await self.answer.returned(call_id, text, failed, self._now_ns, answer)
        if begun and self.answer.reply is not before:
            await self.speaking.finish()
        await self.user.step_back(begun, self._now_ns)

    # --- listening

    async def _listen(self, tick: Tick, reference: Samples) -> None:
        hearing = self.hearing
        sound = await hearing.hear(tick, reference)
        self.note(TickHeard(tick.t_ns, tick.index, sound.level_dbfs, sound.speech))
        for stopped in hearing.stops(sound, self._now_ns, self._says_stop):
            await self._stop(stopped)
        if self.listener.wake_heard(sound.samples):
            woken = WakeHeard(self._now_ns, self.agent.wake or "")
            self.note(woken)
            self.listener.forget()  # the wake phrase is no part of what is said after it
            await self._obey(self.turns.feed(woken))
        self.listener.feed(sound.samples, sound.heard)
        if self.sound is not None:
            self.sound.feed(sound.samples, sound.speech < QUIET_SPEECH)
        for frame in hearing.frames(sound):
            await self._obey(self.turns.feed(frame))
        if self.turns.phase != "idle":
            await self._hear_words()
            await self._guess_end()

    async def _hear_words(self) -> None:
        news = self.hearing.new_words(self._now_ns, self.turns.playing)
        if news is None:
            return
        shown, told = news
        self.note(shown)
        if told is not None:
            await self._obey(self.turns.feed(told))

    async def _guess_end(self) -> None:
        """Ask the decoder on the scratch branch, in the silence after words, whether the user has finished."""
        words, quiet = self.hearing.words, self.hearing.quiet
        if self.last_words.closing is not None or not self.user.open or not self.reads:
            return
        if self.turns.phase != "turn" or not words or not quiet:
            return
        finished = await self.user.finished(words, self._now_ns)
        guess = EndGuessed(self._now_ns, self.hearing.at_most(finished))
        self.note(guess)
        await self._obey(self.turns.feed(guess))

    async def _obey(self, decisions: Sequence[Decision]) -> None:
        for each in decisions:
            if isinstance(each, SpeechStarted):
                self.note(each)
                if not self.listener.open:
                    self.hearing.begin()
            elif isinstance(each, SpeechEnded):
                self.note(each)
            elif isinstance(each, TurnEnded):
                self.note(each)
                await self.last_words.end(each)
            elif isinstance(each, Duck | Freeze):
                self.speaking.act(each)
                self.note(DuckedEvent(self._now_ns, each.utterance, isinstance(each, Freeze)))
            elif isinstance(each, Resume):
                self.speaking.act(each)
                self.note(Resumed(self._now_ns, each.utterance, each.reason))
                self.hearing.cancel()
                await self.drop_turn()
            elif isinstance(each, StopPlayback):
                await self.speaking.stop(each)

    # --- the user's turn

    async def _prefill(self) -> None:
        """Read words that stand into the cache while the user still speaks, or what they sound like."""
        if self.sound is not None:
            await self.sound.prefill()
            return
        stable = self.hearing.stable
        if self.last_words.closing is not None or not self.reads:
            return  # the turn before this one is in the cache, or ticks are wide
        if self.turns.phase != "idle" and self.listener.open and stable and not self.speaking.writing:
            await self.user.read(stable, self._now_ns)

    async def drop_turn(self) -> None:
        """Nothing that was said counts."""
        if self.sound is not None:
            self.sound.cancel()
            self.sound.forget()
        await self.user.drop()

    async def understand(self, ended: TurnEnded, final: Understood | None) -> None:
        """A turn that has ended, and its words."""
        if final is None or not final.words:
            await self._drop_ended()
            self.note(Noted(self._now_ns, "no_words", "heard a voice, but no words"))
            return
        self.hearing.stop.release()
        self.speaking.latency = TurnLatency()
        self.speaking.latency.stamp("spoken", ended.speech_end_ns)
        self.speaking.latency.stamp("decided", self._now_ns)
        self.note(
            WordsHeard(self._now_ns, final.words, final.source, True, final.in_grammar, final.confidence, final.closed)
        )
        await self.speaking.settle(now=True)
        if self.answer.reply is not None and not self.speaking.interruptible:
            self._behind = final  # nothing takes the reply back: its answer comes behind it
            if self.sound is not None:
                await self._drop_ended()  # and is then read as words
            return
        await self._answer(" ".join(final.words), "audio", final)

    async def _drop_ended(self) -> None:
        """A turn that has ended is not read, or not as it is in the cache."""
        if self.sound is not None:
            self.sound.forget()
        await self.user.drop()

    async def _answer(
        self, words: str, kind: Kind, understood: Understood | None = None, text: str | None = None
    ) -> None:
        """`text`: of words that were typed, what the decoder reads."""
        text = words if text is None else text
        await self.speaking.finish()
        if (reply := self.answer.reply) is not None:  # a new turn is answered: nothing of the old answer sounds on
            await self.speaking.stop(StopPlayback(reply.utterance, "typed" if kind == "text" else "barge_in"), True)
        await self.far_end.settle(now=True)
        if self.sound is not None and kind == "audio":
            await self.sound.read_rest()
            await self.user.end_sound(self._now_ns)
        await self.seeing.remember_late()
        thought = understood if self.model.reads_thoughts else None
        pieces, soft = (thought.pieces, thought.soft) if thought is not None else ((), None)
        self.far_end.last = "user", words
        sounds = self.user.sounds
        if not self.far_end.answers and kind == "audio":
            await self.user.close(text, kind, self._now_ns, pieces, soft, answer=False)
            return
        self.note(AnswerStarted(self._now_ns))
        done = await self.user.close(text, kind, self._now_ns, pieces, soft)
        latency = self.speaking.latency
        if latency is not None:
            latency.stamp("words", self._now_ns)
            latency.stamp("token", self._now_ns)
        if understood is not None and understood.unsure:
            if sounds and not self.answer.asks:  # no ear understood it but the decoder's own
                await self.answer.decide("", done.steps, done.logp, self._now_ns, heard=True, sounds=True)
            else:
                await self.answer.say(AGAIN, self._now_ns)
        elif (agreed := await self.calls.cancelled(words) or self._agree(words)) is not None:
            await self.answer.say(agreed, self._now_ns)
        else:
            heard = kind == "audio"
            await self.answer.decide(words, done.steps, done.logp, self._now_ns, heard=heard, sounds=sounds)
        if latency is not None and self.answer.pending:
            latency.stamp("call", self._now_ns)

    def _agree(self, words: str) -> str | None:
        """What to answer if somebody wants to be told of something, or wants something forgotten."""
        if isinstance(self.agent.automaton.parse(words), Parse):  # a tool's own phrase comes first
            return None
        forgotten = self.forgetting.hear(words, self._now_ns, self.context.ledger.turn)
        return forgotten if forgotten is not None else self.watcher.hear(words, self._now_ns)

    # --- the reply

    async def _speak_up(self) -> None:
        """Say unprompted what a call asks, what a watch found, or what there is to remark: once nobody speaks, and no
        result can be expected any moment."""
        nobody = self.turns.phase == "idle" and not self.user.open and self.answer.reply is None
        nobody = nobody and self.last_words.closing is None
        if not nobody or await self.calls.speak_up() or self.calls.recent:
            return
        if not self.watcher.waits:
            await self.seeing.remark()
            return
        words = self.watcher.next_words(self._now_ns)
        if words is not None:
            self.speaking.latency = None
            self.context.ledger.begin_turn()
            self.note(AnswerStarted(self._now_ns, "watch"))
            await self.context.add("mark", self.model.template.agent_open, self._now_ns)
            await self.answer.say(words, self._now_ns)

    # --- the stop word

    async def _stop(self, heard: StopHeard) -> None:
        self.note(heard)
        if self.last_words.closing is not None:  # said before it, and not done yet
            self.last_words.closing = None
            await self._drop_ended()
        await self.calls.take_back("stopped")
        self._out.actions.append(Halt())
        for each in self.turns.feed(heard):
            if isinstance(each, StopPlayback):
                await self.speaking.stop(each)

    def _says_stop(self) -> bool:
        return self.speaking.says(self.config.manners.stop_words)

    def note(self, event: Event) -> None:
        self._out.events.append(event)

    def act(self, action: Action) -> None:
        self._out.actions.append(action)
