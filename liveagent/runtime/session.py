"""One conversation: a fold over ticks.

`tick` takes 80 ms of sound, perhaps a picture, and what else came into the inbox, and gives actions and events. It
reads no clock and asks nobody but its lane of the engine, so the same ticks and the same inbox give the same tokens and
actions at any speed (LAW 2); a recording is exactly that input, and `replay` is exactly this code.

Way of a tick: picture → what changed → eye (engine) · inbox → echo gate → VAD and ear (engine) → words (listener) →
turns → cache and decoder (answer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from liveagent.action import Duck, Freeze, Halt, Note, Resume, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import SAMPLE_NS, TICK_NS, Samples, Tick
from liveagent.automaton import Parse
from liveagent.echo import DELAY_SAMPLES, Echo
from liveagent.event import (
    CameraFroze,
    DeviceBack,
    DeviceLost,
    EndGuessed,
    Event,
    Forgotten,
    Inbox,
    Interrupted,
    Noted,
    PicturesEvicted,
    ReplyEnded,
    Resumed,
    SamplesPlayed,
    SayAsked,
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
    TurnTimed,
    Voiced,
    VoiceFailed,
    WakeHeard,
    WatchFailed,
    WordsHeard,
)
from liveagent.event import Ducked as DuckedEvent
from liveagent.latency import TurnLatency
from liveagent.ledger import Kind
from liveagent.level import dbfs
from liveagent.manners import Manners
from liveagent.news import Why
from liveagent.runtime.answer import AGAIN, Answer, Out
from liveagent.runtime.context import Context
from liveagent.runtime.core import VAD_FRAME_SAMPLES
from liveagent.runtime.engine import Lane
from liveagent.runtime.forget import Forgetting, State
from liveagent.runtime.listener import Listener, Understood
from liveagent.runtime.looking import Looking
from liveagent.runtime.user_turn import UserTurn, agreeing
from liveagent.runtime.watcher import Watcher
from liveagent.spoken import spoken
from liveagent.stop import Stop
from liveagent.turns import Frame, Sense, Turns
from liveagent.video import VideoFrame
from liveagent.window import Budget

if TYPE_CHECKING:
    from liveagent.nn.nano import Nano

SILENT_SAMPLES: Samples = np.zeros(0, np.float32)
DECODE_TOKENS_PER_TICK = 12  # a short reply in one tick; a long one shares its ticks with the other sessions
FREE_FINISHED = 0.35  # words of no phrase: nobody knows how they may go on, so wait longer than the shortest silence
LONE_FINISHED = 0.57  # words of the recogniser alone, which hears a sentence in anything: 640 ms of silence
STOP_WAIT_TICKS = 4
CALL_WAIT_TICKS = 25
"""So long a picture waits for a call's result, which belongs behind the call."""


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session may be told beside its agent.

    voice: whether something speaks the replies and reports what was played; without it a reply counts as read.
    echo_gate: take the loudspeaker out of the microphone; needless, and a little harmful, with headphones.
    grammar: read whole-matching phrases off the parse (`by="grammar"`).
    prune: leave the empty cells of a picture out of the cache.
    picture_age_s: nano has learnt what pictures of the last twenty minutes mean, and no older ones.
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
    manners: Manners = field(default_factory=Manners)

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
        model: Nano,
        lane: Lane,
        listener: Listener,
        config: SessionConfig | None = None,
        context: Context | None = None,
    ) -> None:
        """`context`: one of this lane's that holds this agent's prompt and nothing else; then there is no `open`."""
        self.agent, self.model, self.lane, self.listener = agent, model, lane, listener
        self.config = config or SessionConfig()
        budget = self.config.budget
        self.context = context or Context(lane, budget)
        self.answer = Answer(agent, model, self.context, self.config.grammar)
        self.echo = Echo()
        self.user = UserTurn(model, self.context)
        self.watcher = Watcher(agent, model, self.context, self.user, self.answer)
        self.forgetting = Forgetting()
        self._blind = False  # it was said that it cannot see
        self._out = Out()
        self._now_ns = 0
        self._sense_anew()

    def _sense_anew(self) -> None:
        """Everything about hearing and seeing as before the first tick."""
        self.turns = Turns(self.config.manners)
        self.stop = Stop()
        self._echo_state = self.echo.init_state()
        sees = self.model.sees
        self.looking = Looking(self.model, self.lane, self.context, self.config.prune) if sees else None
        self._latency: TurnLatency | None = None
        self._frames = 0  # VAD frames so far
        self._origin_ns: int | None = None
        self._heard: tuple[str, ...] = ()
        self._stable: tuple[str, ...] = ()
        self._told: tuple[tuple[str, ...], int | None] = (), None  # the words that `turns` knows, and what sounded then
        self._sense: Sense | None = None
        self._quiet = True
        self._lone = False
        self._waited = 0  # ticks that a picture has waited for a call's result

    async def open(self) -> None:
        """Read the agent's instructions and tools into the lane."""
        await self.context.open(tuple(self.agent.tools))
        prompt = self.model.template.prompt(self.agent.instructions, self.agent.tools)
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

    async def close(self) -> None:
        self.lane.close()
        self.listener.close()

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
        if self._origin_ns is None:
            self._origin_ns = tick.t_ns
        self._now_ns = tick.t_ns + TICK_NS
        self.context.now_s = tick.index * TICK_NS / 1e9
        if frame is not None:
            await self._look(frame)  # first: what is asked in this tick is answered from this picture
        for event in inbox:
            await self._take(event)
        await self._listen(tick, reference)
        await self._remember()
        await self._prefill()
        await self.watcher.ask(self._now_ns)
        await self._speak_up()
        await self._speak()
        await self._trim()
        await self._mind_exchanges(tick.t_ns, self.context.ledger.turn != turn)
        self._note(self.context.state(self._now_ns))
        return self._out

    async def _mind_exchanges(self, tick_ns: int, opened: bool) -> None:
        """Notice when something is open; between two exchanges, forget what is to be forgotten."""
        answer, exchanges = self.answer, self.forgetting.exchanges
        busy = self.turns.phase != "idle" or self.user.open or answer.reply is not None or bool(answer.pending)
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
            self._note(forgotten)
            self._out.forgotten.append((forgotten, state.to_json()))

    async def _trim(self) -> None:
        """Evict what there is no room for. What stays is moved, so any tick will do in which nothing is decoded."""
        if (reply := self.answer.reply) is not None and not reply.ended:
            return
        gone = await self.context.trim()
        if any(span.kind != "picture" for span in gone):
            self._note(Noted(self._now_ns, "evicted", "older turns left the cache"))
        pictures = [span for span in gone if span.kind == "picture"]
        if pictures:
            tokens = sum(span.length for span in pictures)
            self._note(PicturesEvicted(self._now_ns, tuple(span.id for span in pictures), tokens))

    # --- what came in

    async def _take(self, event: Inbox) -> None:
        if isinstance(event, TextTyped):
            await self._typed(event)
        elif isinstance(event, Voiced | SamplesPlayed):
            await self._played(event)
        elif isinstance(event, VoiceFailed):
            self._note(Noted(event.t_ns, "mute", event.message))
            if (reply := self.answer.reply) is not None and reply.utterance == event.utterance:
                await self._finish_decoding()
                await self._end_reply(complete=True)  # what nobody can hear is read
        elif isinstance(event, ToolReturned):
            await self._returned(event.call_id, str(event.result), False)
        elif isinstance(event, ToolFailed):
            await self._returned(event.call_id, event.message or event.reason, True)
        elif isinstance(event, TalkPressed | TalkReleased):
            await self._obey(self.turns.feed(event))
            if self.turns.pressed and not self.listener.open:
                self._begin_listening()
        elif isinstance(event, SayAsked | WatchFailed):
            self.watcher.take(event)
        elif isinstance(event, CameraFroze):
            self._note(Noted(event.t_ns, "camera_froze", f"the same picture for {event.for_ms / 1000:.0f} s"))
        elif isinstance(event, DeviceLost | DeviceBack):
            self._note(Noted(event.t_ns, type(event).__name__, getattr(event, "message", "") or event.device))

    async def _typed(self, event: TextTyped) -> None:
        words = spoken(event.text)
        if not words:
            self._note(Noted(event.t_ns, "empty", "nothing to read in that"))
            return
        if words in self.config.manners.stop_words:
            await self._stop(StopHeard(event.t_ns, "typed"))
            return
        self.stop.release()
        heard = WordsHeard(event.t_ns, tuple(words.split()), "typed", True, self.agent.automaton.accepts(words))
        self._note(heard)
        await self._settle_stopping(now=True)
        self.turns.feed(event)
        self.listener.cancel()
        self._heard = self._stable = ()
        await self.user.drop()
        self._latency = TurnLatency()
        self._latency.stamp("decided", self._now_ns)
        await self._answer(words, "text")

    async def _returned(self, call_id: str, text: str, failed: bool) -> None:
        """A result goes before the words of a user who has begun to speak meanwhile, and is then not spoken of."""
        begun = await self.user.step_aside()
        await self._finish_decoding()
        before = self.answer.reply
        await self.answer.returned(call_id, text, failed, self._now_ns)
        if begun and self.answer.reply is not before:
            await self._finish_decoding()
        await self.user.step_back(begun, self._now_ns)

    # --- looking

    async def _look(self, frame: VideoFrame) -> None:
        if self.looking is None:
            if not self._blind:
                self._note(Noted(self._now_ns, "blind", "this model has no eyes; what the camera shows is not seen"))
            self._blind = True
            return
        self._note(await self.looking.see(frame))

    async def _remember(self) -> None:
        """Keep the newest picture if it is news, between two turns or in front of the user's open one."""
        looking, reply = self.looking, self.answer.reply
        if looking is None or not looking.waiting or (reply is not None and not reply.ended):
            return
        self._waited = self._waited + 1 if self.answer.pending else 0
        if 0 < self._waited <= CALL_WAIT_TICKS:
            return
        why = looking.news()
        if why is not None:
            await self._keep(looking, why)
        else:
            self.watcher.tick(looking.t_ns)

    async def _keep(self, looking: Looking, why: Why) -> None:
        begun = await self.user.step_aside()
        kept = await looking.keep(why)
        self._note(kept)
        self.watcher.seen(kept.t_ns, kept.sees)
        await self.user.step_back(begun, self._now_ns)

    # --- listening

    async def _listen(self, tick: Tick, reference: Samples) -> None:
        if self.config.echo_gate:
            played = reference if len(reference) else np.zeros_like(tick.samples)
            gate = self.echo.feed(tick.samples, played, self._echo_state)
            sound, near_end, late_samples = gate.samples, bool(gate.near_end.any()), DELAY_SAMPLES
        else:
            sound, near_end, late_samples = tick.samples, True, 0
        heard = await self.lane.hear(sound)
        level = dbfs(sound)
        speech = max(heard.vad, default=0.0)
        self._note(TickHeard(tick.t_ns, tick.index, level, speech))
        if heard.kind is not None:
            self._sense = _sense(heard.kind)
        for name, score in self.listener.stop_scores(sound, heard):
            stopped = self.stop.feed(self._now_ns, name, score, own_voice=self._own_stop())
            if stopped is not None:
                await self._stop(stopped)
        if self.listener.wake_heard(sound):
            woken = WakeHeard(self._now_ns, self.agent.wake or "")
            self._note(woken)
            self.listener.forget()  # the wake phrase is no part of what is said after it
            await self._obey(self.turns.feed(woken))
        self.listener.feed(sound, heard)
        for probability in heard.vad:
            self._quiet = probability < self.config.manners.keep_speech
            assert self._origin_ns is not None
            t_ns = self._origin_ns + (self._frames * VAD_FRAME_SAMPLES - late_samples) * SAMPLE_NS
            self._frames += 1
            frame = Frame(t_ns, probability, level, near_end, self._sense)
            await self._obey(self.turns.feed(frame))
        if self.turns.phase != "idle":
            await self._hear_words()
            await self._guess_end()

    def _begin_listening(self) -> None:
        self.listener.begin()
        self._heard = self._stable = ()

    async def _hear_words(self) -> None:
        partial = self.listener.partial()
        if partial is None or (partial.words, self.turns.playing) == self._told:
            return
        self._told = partial.words, self.turns.playing
        self._stable = tuple(agreeing(self._heard, partial.words))
        self._heard = partial.words
        heard = WordsHeard(
            self._now_ns, partial.words, partial.source, False, partial.in_grammar, partial.confidence, partial.closed
        )
        self._note(heard)
        self._lone = partial.source == "recogniser"
        if self._lone:
            heard = replace(heard, in_grammar=False, closed=False)
        if self.turns.playing is not None:  # a reply is only taken back for words that two looks agree on
            heard = replace(heard, words=self._stable, in_grammar=False, closed=False)
            if not self._stable:
                return
        await self._obey(self.turns.feed(heard))

    async def _guess_end(self) -> None:
        """Ask the decoder on the scratch branch, in the silence after words, whether the user has finished."""
        if not self.user.open or self.turns.phase != "turn" or not self._heard or not self._quiet:
            return
        finished = await self.user.finished(self._heard, self._now_ns)
        if self.agent.automaton.begun(self._heard):  # "put coffee": every sentence of the grammar goes on from here
            finished = min(finished, self.config.manners.unsure_finished)
        elif not self.agent.automaton.accepts(self._heard):
            finished = min(finished, FREE_FINISHED)
        elif self._lone:
            finished = min(finished, LONE_FINISHED)
        guess = EndGuessed(self._now_ns, finished)
        self._note(guess)
        await self._obey(self.turns.feed(guess))

    async def _obey(self, decisions: Sequence[Event | Duck | Freeze | Resume | StopPlayback]) -> None:
        for each in decisions:
            if isinstance(each, SpeechStarted):
                self._note(each)
                if not self.listener.open:
                    self._begin_listening()
            elif isinstance(each, SpeechEnded):
                self._note(each)
            elif isinstance(each, TurnEnded):
                self._note(each)
                await self._end_turn(each)
            elif isinstance(each, Duck | Freeze):
                self._act(each)
                self._note(DuckedEvent(self._now_ns, each.utterance, isinstance(each, Freeze)))
            elif isinstance(each, Resume):
                self._act(each)
                self._note(Resumed(self._now_ns, each.utterance, each.reason))
                self.listener.cancel()
                self._heard = self._stable = ()
                await self.user.drop()
            elif isinstance(each, StopPlayback):
                await self._stop_playback(each)

    # --- the user's turn

    async def _prefill(self) -> None:
        """Read words that stand into the cache while the user still speaks."""
        if self.turns.phase == "idle" or not self.listener.open or not self._stable:
            return
        if self.answer.reply is not None and not self.answer.reply.ended:
            return
        await self.user.read(self._stable, self._now_ns)

    async def _end_turn(self, ended: TurnEnded) -> None:
        final = self.listener.end()
        self._heard = self._stable = ()
        if final is None or not final.words:
            await self.user.drop()
            self._note(Noted(self._now_ns, "no_words", "heard a voice, but no words"))
            return
        self.stop.release()
        self._latency = TurnLatency()
        self._latency.stamp("spoken", ended.speech_end_ns)
        self._latency.stamp("decided", self._now_ns)
        self._note(
            WordsHeard(self._now_ns, final.words, final.source, True, final.in_grammar, final.confidence, final.closed)
        )
        await self._settle_stopping(now=True)
        await self._answer(" ".join(final.words), "audio", final)

    async def _answer(self, words: str, kind: Kind, understood: Understood | None = None) -> None:
        await self._finish_decoding()
        if (reply := self.answer.reply) is not None:  # a new turn is answered: nothing of the old answer sounds on
            await self._stop_playback(StopPlayback(reply.utterance, "typed" if kind == "text" else "barge_in"), True)
        if self.looking is not None and (why := self.looking.late_news()) is not None:
            await self._keep(self.looking, why)
        pieces, soft = (understood.pieces, understood.soft) if understood is not None else ((), None)
        done = await self.user.close(words, kind, self._now_ns, pieces, soft)
        if self._latency is not None:
            self._latency.stamp("words", self._now_ns)
            self._latency.stamp("token", self._now_ns)
        if understood is not None and understood.unsure:
            await self.answer.say(AGAIN, self._now_ns)
        elif (agreed := self._agree(words)) is not None:
            await self.answer.say(agreed, self._now_ns)
        else:
            await self.answer.decide(words, done.steps, done.logp, self._now_ns, heard=kind == "audio")
        if self._latency is not None and self.answer.pending:
            self._latency.stamp("call", self._now_ns)

    def _agree(self, words: str) -> str | None:
        """What to answer if somebody wants to be told of something, or wants something forgotten."""
        if isinstance(self.agent.automaton.parse(words), Parse):  # a tool's own phrase comes first
            return None
        forgotten = self.forgetting.hear(words, self._now_ns, self.context.ledger.turn)
        return forgotten if forgotten is not None else self.watcher.hear(words, self._now_ns)

    # --- the reply

    async def _speak_up(self) -> None:
        """Say unprompted what a watch found: once nobody speaks and nothing is open."""
        nobody = self.turns.phase == "idle" and not self.user.open and not self.answer.pending
        if not self.watcher.waits or not nobody or self.answer.reply is not None:
            return
        words = self.watcher.next_words(self._now_ns)
        if words is not None:
            self._latency = None
            self.context.ledger.begin_turn()
            await self.context.add("mark", [self.model.template.agent], self._now_ns)
            await self.answer.say(words, self._now_ns)

    async def _speak(self) -> None:
        await self._settle_stopping()
        reply = self.answer.reply
        if reply is not None and not reply.stopping and not reply.playback.played_samples and self._speaking_words:
            # The user went on before the answer could be heard: it was an answer to half of what they wanted to say.
            await self._stop_playback(StopPlayback(reply.utterance), at_once=True)
        if self.turns.phase != "contest":
            await self.answer.decode_more(DECODE_TOKENS_PER_TICK, self._now_ns)
        reply = self.answer.reply
        if reply is not None and reply.ended and not self.config.voice:
            await self._end_reply(complete=True)

    async def _finish_decoding(self) -> None:
        """Nothing may enter the cache behind a reply that is still being written: close it first."""
        reply = self.answer.reply
        while reply is not None and not reply.ended:
            await self.answer.decode_more(DECODE_TOKENS_PER_TICK, self._now_ns)
        if reply is not None and not self.config.voice:
            await self._end_reply(complete=True)

    async def _played(self, event: Voiced | SamplesPlayed) -> None:
        reply = self.answer.reply
        if reply is None or reply.utterance != event.utterance:
            return
        for word in reply.playback.feed(event):
            self._note(word)
        cut = reply.playback.cut()
        if cut.keep_tokens:
            self.context.ledger.mark_heard(reply.start + cut.keep_tokens)
        if isinstance(event, Voiced):
            if self._latency is not None and event.samples:
                self._latency.stamp("voiced", event.t_ns)
        elif event.samples:
            if self._latency is not None and "played" not in self._latency.t_ns:
                first_ns = event.t_ns - (event.samples - 1) * SAMPLE_NS
                self._latency.stamp("played", max(first_ns, self._latency.t_ns.get("voiced", first_ns)))
                self._note(TurnTimed(self._now_ns, self._latency.durations_ms))
            if reply.stopping > 1:  # a report of the tick that stopped it is older than the stop
                await self._take_back()
                return
            if self.turns.playing is None and not reply.playback.done:
                await self._obey(self.turns.sounding(reply.utterance, event.t_ns))
        if reply.playback.done:
            await self._end_reply(complete=True)

    async def _end_reply(self, complete: bool) -> None:
        reply, self.answer.reply = self.answer.reply, None
        if reply is None:
            return
        if complete:
            for span in reversed(self.context.ledger.spans):
                if span.heard is False:
                    self.context.ledger.mark_heard(span.end)
                    break
        await self._obey(self.turns.sounding(None, self._now_ns))
        self._note(ReplyEnded(self._now_ns, reply.utterance, complete))

    async def _stop_playback(self, action: StopPlayback, at_once: bool = False) -> None:
        """Stop the loudspeaker; what was heard is known when it has answered, at the latest a few ticks on."""
        self._act(action)
        reply = self.answer.reply
        if reply is None or reply.utterance != action.utterance:
            return
        reply.playback.obey(action)
        reply.stopping = 1
        if at_once:
            await self._take_back()

    async def _settle_stopping(self, now: bool = False) -> None:
        reply = self.answer.reply
        if reply is None or not reply.stopping:
            return
        reply.stopping += 1
        if now or reply.stopping > STOP_WAIT_TICKS:
            await self._take_back()

    async def _take_back(self) -> None:
        """LAW 4: the cache keeps the words that were heard, a mark, and what came in meanwhile."""
        reply = self.answer.reply
        assert reply is not None
        cut = reply.playback.cut()
        keep = reply.start + cut.keep_tokens
        later = next(span.end for span in self.context.ledger.spans if span.end >= reply.start)
        self.context.ledger.mark_heard(keep)
        await self.context.take_back(keep, later, [self.model.template.cut], self._now_ns)
        self.user.moved()
        self._note(Interrupted(self._now_ns, reply.utterance, cut.heard_words, cut.unheard_words, cut.cut_word))
        await self._end_reply(complete=False)

    # --- the stop word

    async def _stop(self, heard: StopHeard) -> None:
        self._note(heard)
        self._act(Halt())
        for each in self.turns.feed(heard):
            if isinstance(each, StopPlayback):
                await self._stop_playback(each)

    @property
    def _speaking_words(self) -> bool:
        return self.turns.phase == "turn" and bool(self._heard)

    def _own_stop(self) -> bool:
        """Whether the loudspeaker itself is just saying the stop word."""
        reply = self.answer.reply
        if reply is None or (at := reply.playback.sounding) is None:
            return False
        near = reply.playback.words[max(0, at - 1) : at + 1]
        return any(spoken(word) in self.config.manners.stop_words for word in near)

    # --- out

    def _act(self, action: Duck | Freeze | Resume | StopPlayback | Halt | Note) -> None:
        self._out.actions.append(action)
        reply = self.answer.reply
        if reply is not None and isinstance(action, Duck | Freeze | Resume) and action.utterance == reply.utterance:
            reply.playback.obey(action)

    def _note(self, event: Event) -> None:
        self._out.events.append(event)


def _sense(kind: np.ndarray) -> Sense:
    speech, silence, music, noise = kind.mean(axis=0)
    if speech >= max(silence, music + noise):
        return "speech"
    return "silence" if silence >= music + noise else "noise"
