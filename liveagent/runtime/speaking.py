"""A session's voice: the reply that is being written, played, ended, or taken back (LAW 4)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from liveagent.action import Duck, Freeze, Resume, StopPlayback
from liveagent.audio import SAMPLE_NS
from liveagent.event import Event, Interrupted, ReplyEnded, SamplesPlayed, TurnTimed, Voiced
from liveagent.latency import TurnLatency
from liveagent.runtime.answer import Answer
from liveagent.runtime.context import Context
from liveagent.runtime.reply import Reply
from liveagent.runtime.user_turn import UserTurn
from liveagent.spoken import spoken
from liveagent.turns import Decision, Turns

if TYPE_CHECKING:
    from liveagent.nn.model import Model

DECODE_TOKENS_PER_TICK = 12  # a short reply, or a long one's first seconds of speech, in one tick
MORE_TOKENS_PER_TICK = 6  # the rest of a long one: still ten times as fast as it is spoken, beside the other sessions
STOP_WAIT_TICKS = 4


class Speaking:
    """What becomes of one session's replies. `now_ns` is the open tick's; the session sets it, and `latency`, the
    ledger of the turn that is being answered. voice: whether something speaks and reports what was played."""

    def __init__(
        self, model: Model, context: Context, user: UserTurn, answer: Answer, turns: Turns, voice: bool
    ) -> None:
        self.model, self.context, self.user, self.answer, self.turns = model, context, user, answer, turns
        self.voice = voice
        self.now_ns = 0
        self.latency: TurnLatency | None = None
        self.interruptible = True  # a voice may take a reply back
        self._last: Reply | None = None  # the one before, which may turn out to have been heard less far

    @property
    def writing(self) -> bool:
        """Whether a reply is still being decoded: nothing may enter the cache behind it."""
        return self.answer.reply is not None and not self.answer.reply.ended

    # --- writing

    async def go_on(self, user_speaks: bool) -> None:
        """One tick's share of the open reply. `user_speaks`: words of a new turn are coming in."""
        await self.settle()
        reply = self.answer.reply
        if reply is not None and not reply.stopping and not reply.playback.played_samples and user_speaks:
            # The user went on before the answer could be heard: it was an answer to half of what they wanted to say.
            await self.stop(StopPlayback(reply.utterance), at_once=True)
        await self.write()

    async def write(self) -> None:
        """The open reply's next tokens."""
        if self.turns.phase != "contest":
            begun = self.answer.reply is not None and bool(self.answer.reply.ids)
            await self.answer.decode_more(MORE_TOKENS_PER_TICK if begun else DECODE_TOKENS_PER_TICK, self.now_ns)
        reply = self.answer.reply
        if reply is not None and reply.ended and not self.voice:
            self.end(complete=True)

    async def finish(self) -> None:
        """Write the open reply to its end: something else is to come behind it."""
        reply = self.answer.reply
        while reply is not None and not reply.ended:
            await self.answer.decode_more(DECODE_TOKENS_PER_TICK, self.now_ns)
        if reply is not None and not self.voice:
            self.end(complete=True)

    # --- playing

    async def played(self, event: Voiced | SamplesPlayed) -> Sequence[Decision]:
        """What the voice made or the loudspeaker played; returns what turn-taking makes of a reply that begins."""
        reply = self.answer.reply
        if reply is None or reply.utterance != event.utterance:
            return ()
        decisions: Sequence[Decision] = ()
        for word in reply.playback.feed(event):
            self._note(word)
        cut = reply.playback.cut()
        if cut.keep_tokens:
            self.context.ledger.mark_heard(reply.start + cut.keep_tokens)
        if isinstance(event, Voiced):
            if self.latency is not None and event.samples:
                self.latency.stamp("voiced", event.t_ns)
        elif event.samples:
            if self.latency is not None and "played" not in self.latency.t_ns:
                first_ns = event.t_ns - (event.samples - 1) * SAMPLE_NS
                self.latency.stamp("played", max(first_ns, self.latency.t_ns.get("voiced", first_ns)))
                self._note(TurnTimed(self.now_ns, self.latency.durations_ms))
            if reply.stopping > 1:  # a report of the tick that stopped it is older than the stop
                await self._take_back()
                return ()
            if self.interruptible and self.turns.playing is None and not reply.playback.done:
                decisions = self.turns.sounding(reply.utterance, event.t_ns)
        if reply.playback.done:
            self.end(complete=True)
        return decisions

    def act(self, action: Duck | Freeze | Resume | StopPlayback) -> None:
        """Tell the loudspeaker."""
        self.answer.out.actions.append(action)
        reply = self.answer.reply
        if reply is not None and action.utterance == reply.utterance:
            reply.playback.obey(action)

    def says(self, words: Collection[str]) -> bool:
        """Whether the loudspeaker itself is just saying one of these."""
        reply = self.answer.reply
        if reply is None or (at := reply.playback.sounding) is None:
            return False
        return any(spoken(word) in words for word in reply.playback.words[max(0, at - 1) : at + 1])

    def end(self, complete: bool) -> None:
        """Nothing more of it will be played."""
        reply, self.answer.reply = self.answer.reply, None
        if reply is None:
            return
        self._last = reply
        if complete:
            for span in reversed(self.context.ledger.spans):
                if span.heard is False:
                    self.context.ledger.mark_heard(span.end)
                    break
        self.turns.sounding(None, self.now_ns)  # silence again: from that nothing ever follows
        self._note(ReplyEnded(self.now_ns, reply.utterance, complete))

    # --- taking back

    async def stop(self, action: StopPlayback, at_once: bool = False) -> None:
        """Stop the loudspeaker; what was heard is known when it has answered, at the latest a few ticks on."""
        self.act(action)
        reply = self.answer.reply
        if reply is None or reply.utterance != action.utterance:
            return
        reply.stopping = 1
        if at_once:
            await self._take_back()

    async def settle(self, now: bool = False) -> None:
        """A reply that was stopped is taken back when it has waited long enough for the loudspeaker."""
        reply = self.answer.reply
        if reply is None or not reply.stopping:
            return
        reply.stopping += 1
        if now or reply.stopping > STOP_WAIT_TICKS:
            await self._take_back()

    async def cut(self, utterance: int, samples: int) -> None:
        """Told by whoever plays: no more than `samples` of an utterance were heard, whatever was thought before. It may
        be over already; then what was too much leaves the cache all the same."""
        reply = self.answer.reply
        if reply is not None and reply.utterance == utterance:
            if not reply.stopping:
                self.act(StopPlayback(utterance, "cut"))
                self.turns.silence()
            await self._take_back(samples)
        elif self._last is not None and self._last.utterance == utterance:
            await self._shorten(self._last, samples)

    def forget_last(self) -> None:
        """The cache was read anew: where the reply before began is not known any more."""
        self._last = None

    async def _shorten(self, reply: Reply, samples: int) -> None:
        """A reply that is over was heard less far than it stands in the cache."""
        cut = reply.playback.cut(samples)
        keep = reply.start + cut.keep_tokens
        spans = self.context.ledger.spans
        said = [each for each in spans if each.kind in ("reply", "mark") and each.end > keep >= each.start - 1]
        turn = [each for each in said if each.turn == said[0].turn] if said else []
        if not turn or keep < spans[0].start or not (cut.unheard_words or cut.cut_word):
            return
        begun = await self.user.step_aside()
        await self.finish()  # the next reply, if it is being written already, moves as a whole
        end = self.context.end
        await self.context.take_back(keep, turn[-1].end, self.model.template.cut_mark, self.now_ns)
        if self.answer.reply is not None:
            self.answer.reply.start -= end - self.context.end
        await self.user.step_back(begun, self.now_ns)

    async def _take_back(self, samples: int | None = None) -> None:
        """LAW 4: the cache keeps the words that were heard, a mark, and what came in meanwhile. `samples`: what whoever
        plays says was heard; else what it has reported."""
        reply = self.answer.reply
        assert reply is not None
        cut = reply.playback.cut(samples)
        keep = reply.start + cut.keep_tokens
        mine = (each for each in self.context.ledger.spans if each.kind == "reply" and each.end >= reply.start)
        later = max((each.end for each in mine), default=reply.start)  # nothing of it may stand there yet
        self.context.ledger.mark_heard(keep)
        await self.context.take_back(keep, later, self.model.template.cut_mark, self.now_ns)
        self.user.moved()
        self._note(Interrupted(self.now_ns, reply.utterance, cut.heard_words, cut.unheard_words, cut.cut_word))
        self.end(complete=False)

    def _note(self, event: Event) -> None:
        self.answer.out.events.append(event)
