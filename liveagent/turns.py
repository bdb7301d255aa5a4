"""Who has the floor.

Fed with VAD frames (32 ms), words, the decoder's guess whether the user has finished, keys and playback; answers with
events (speech started, ended, turn ended) and actions (duck, freeze, resume, stop playback). It never reads time:
everything is counted in the frames' own `t_ns`, so a replay decides the same at any speed.

    idle ──speech──► turn ──silence enough──► idle (TurnEnded)
      │  while a reply sounds
      └──speech──► contest: Duck, then Freeze ──┬─ words, or speech that lasts ──► turn (StopPlayback: taken back)
                                                └─ quiet again, or "uh huh" ─────► idle (Resume: nothing was lost)

End of turn: the silence that is needed falls from `max_silence_ms` to `min_silence_ms` as the decoder's P(finished)
rises, and is the minimum when the words are a sentence of the grammar that no longer one goes on from. A guess counts
only for the silence it was made in. So a pause for thought in the middle of a sentence costs nothing, and a finished
sentence is answered at once.

Interrupting: a reply is held before it is judged, because holding can be undone and taking back cannot. Words decide;
without words, speech that lasts, unless the ear says that it is noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from liveagent.action import Duck, Freeze, Resume, StopPlayback
from liveagent.audio import SAMPLE_NS
from liveagent.event import (
    EndGuessed,
    SpeechEnded,
    SpeechStarted,
    StopHeard,
    TalkPressed,
    TalkReleased,
    TextTyped,
    TurnEnded,
    TurnReason,
    WakeHeard,
    WordsHeard,
)
from liveagent.manners import Manners

FRAME_SAMPLES = 512
FRAME_NS = FRAME_SAMPLES * SAMPLE_NS
NS_PER_MS = 1_000_000

Sense: TypeAlias = Literal["speech", "silence", "noise"]
Decision: TypeAlias = SpeechStarted | SpeechEnded | TurnEnded | Duck | Freeze | Resume | StopPlayback


@dataclass(frozen=True, slots=True)
class Frame:
    """512 samples through the VAD. `t_ns` is the capture time of the first.

    speech: the VAD's probability, of sound that the echo gate has cleaned. level_dbfs: of the same samples.
    near_end: the echo gate believes that somebody is there, and not only the loudspeaker.
    sense: what the ear's semantic head calls this stretch; None where there is no such head.
    """

    t_ns: int
    speech: float
    level_dbfs: float = 0.0
    near_end: bool = True
    sense: Sense | None = None


class Turns:
    """The rules. `feed` and `sounding` answer what follows from the input, in order; often nothing."""

    def __init__(self, config: Manners | None = None) -> None:
        self.config = config or Manners()
        self.phase: Literal["idle", "turn", "contest"] = "idle"
        self.speaking = False
        """Whether somebody speaks, by the VAD with its hysteresis."""
        self.words: tuple[str, ...] = ()
        """The words of the open turn."""
        self.playing: int | None = None
        self.awake = self.config.mode != "wake_phrase"
        self.pressed = False
        self._run_ns = 0  # speech frames in a row before speech has started
        self._run_start_ns = 0
        self._start_ns = 0  # of the open turn or contest
        self._last_speech_ns = 0  # end of the last speech frame
        self._complete_ns: int | None = None  # up to here the words are a whole sentence
        self._closed = False  # … and no longer one begins with them
        self._finished = 0.0
        self._stopped = False  # the stop word fell in this turn
        self._utterance_gone: int | None = None
        self._sounding_ns = 0  # since when the reply sounds
        self._deaf_until_ns: int | None = None
        self._awake_until_ns: int | None = None
        self._contest_ns = 0  # speech in the contest so far
        self._noise_ns = 0  # of the turn's or contest's speech, what the ear calls noise
        self._sensed_ns = 0  # and what it calls anything
        self._frozen = False
        self._ignored_words = 0  # words of a contest that was found to be nothing

    @property
    def hearing(self) -> bool:
        """Whether what the microphone brings now may become words of a turn (the stop word is always heard)."""
        if self.config.mode == "push_to_talk":
            return self.pressed
        return self.awake and not (self.config.half_duplex and self.playing is not None)

    @property
    def needed_silence_ms(self) -> float:
        """How much silence would end the turn now."""
        c = self.config
        if self._is_complete and self._closed:
            return c.min_silence_ms
        sure = (self._finished - c.unsure_finished) / (c.sure_finished - c.unsure_finished)
        guessed = c.max_silence_ms - min(1.0, max(0.0, sure)) * (c.max_silence_ms - c.min_silence_ms)
        return min(guessed, c.sentence_silence_ms) if self._is_complete else guessed

    @property
    def _is_complete(self) -> bool:
        # A last word may still ring after it was recognised, but not for long: then somebody goes on.
        slack_ns = self.config.last_word_ms * NS_PER_MS
        return self._complete_ns is not None and self._last_speech_ns <= self._complete_ns + slack_ns

    def sounding(self, utterance: int | None, t_ns: int) -> tuple[Decision, ...]:
        """The loudspeaker begins to sound a reply, or (None) is silent again, also after a stop. To be told once for
        each change. An utterance that was stopped stays so."""
        out: list[Decision] = []
        if utterance is None:
            self._fall_silent(t_ns)
        elif utterance not in (self._utterance_gone, self.playing):
            self.playing, self._sounding_ns = utterance, t_ns
            if self.config.half_duplex:
                if self.speaking:
                    out.append(SpeechEnded(self._last_speech_ns))
                self._forget()
            elif self.phase == "turn":  # the user had begun again before the first sample sounded
                self._begin_contest(self._last_speech_ns - self._start_ns, out)
                self._weigh_words(out)
        return tuple(out)

    def feed(
        self,
        what: Frame | WordsHeard | EndGuessed | TextTyped | TalkPressed | TalkReleased | WakeHeard | StopHeard,
    ) -> tuple[Decision, ...]:
        """What follows from one input. Frames come in order; the others whenever they are known."""
        out: list[Decision] = []
        if isinstance(what, Frame):
            self._feed_frame(what, out)
        elif isinstance(what, WordsHeard):
            self._feed_words(what, out)
        elif isinstance(what, EndGuessed):
            if what.t_ns >= self._last_speech_ns and not self._run_ns:
                self._finished = what.finished
        elif isinstance(what, TextTyped):
            self._stop_playback(what.t_ns, "typed", out)
            self._end_turn(what.t_ns, what.t_ns, "typed", out)
        elif isinstance(what, TalkPressed):
            self._press(what.t_ns, out)
        elif isinstance(what, TalkReleased):
            if self.pressed or self.phase == "turn":  # by voice, too: that was all
                self._release(what.t_ns, "released", out)
        elif isinstance(what, WakeHeard):
            self._wake(what.t_ns, out)
        else:
            self._stopped = self.phase != "idle" or self.speaking or self._run_ns > 0
            self._stop_playback(what.t_ns, "stop", out)
        return tuple(out)

    def drop(self) -> None:
        """What was said since the open turn began counts for nothing; a key that is down counts as let go."""
        self.pressed = False
        self._forget()

    def silence(self) -> None:
        """The reply that sounds is stopped by somebody else than a voice: nobody takes the floor by that."""
        if self.playing is not None:
            self._utterance_gone, self.playing = self.playing, None
        if self.phase == "contest":
            self.phase = "turn"

    # ---- frames ------------------------------------------------------------------------------------------------------

    def _feed_frame(self, frame: Frame, out: list[Decision]) -> None:
        c, end_ns = self.config, frame.t_ns + FRAME_NS
        if c.mode == "push_to_talk":  # the key alone opens and ends a turn
            if self.pressed and frame.speech >= c.start_speech:
                self._last_speech_ns = end_ns
            if self.pressed and end_ns - self._start_ns >= c.max_turn_ms * NS_PER_MS:
                self._release(end_ns, "too_long", out)
            return
        if self.awake and self._awake_until_ns is not None and self.phase == "idle" and self.playing is None:
            self.awake = frame.t_ns < self._awake_until_ns
        deaf = c.half_duplex and self._deaf_until_ns is not None and frame.t_ns < self._deaf_until_ns
        if not self.hearing or deaf:
            self._run_ns = 0
            return
        speech = self._is_speech(frame)
        if speech:
            self._hear_speech(frame, end_ns, out)
        else:
            self._run_ns = 0
            if self.speaking and end_ns - self._last_speech_ns >= c.min_silence_ms * NS_PER_MS:
                self.speaking = False
                out.append(SpeechEnded(self._last_speech_ns))
        if speech and frame.sense is not None:
            self._sensed_ns += FRAME_NS
            self._noise_ns += FRAME_NS * (frame.sense == "noise")
        if self.phase == "contest":
            self._judge_contest(end_ns, speech, out)
        elif self.phase == "turn":
            self._judge_silence(end_ns, out)

    def _is_speech(self, frame: Frame) -> bool:
        c = self.config
        if not frame.level_dbfs >= c.min_level_dbfs or (self.playing is not None and not frame.near_end):
            return False
        if self.speaking:
            return frame.speech >= c.keep_speech
        return frame.speech >= (c.start_speech if self.playing is None else c.barge_speech)

    def _hear_speech(self, frame: Frame, end_ns: int, out: list[Decision]) -> None:
        c = self.config
        if self.speaking:
            self._last_speech_ns = end_ns
            self._finished = 0.0  # a guess made before these words is no guess about them
            return
        if not self._run_ns:
            self._run_start_ns = frame.t_ns
        self._run_ns += FRAME_NS
        if self._run_ns < (c.start_ms if self.playing is None else c.barge_start_ms) * NS_PER_MS:
            return
        self.speaking, self._last_speech_ns = True, end_ns
        self._finished = 0.0
        self._complete_ns = None  # whatever was complete before goes on; the next words will say
        out.append(SpeechStarted(self._run_start_ns))
        if self.phase == "idle":
            self._start_ns, self._noise_ns, self._sensed_ns = self._run_start_ns, 0, 0
            if self.playing is None:
                self.phase, self.words, self._ignored_words = "turn", (), 0
            else:
                self._begin_contest(self._run_ns - FRAME_NS, out)
        self._run_ns = 0

    def _judge_silence(self, end_ns: int, out: list[Decision]) -> None:
        c = self.config
        if end_ns - self._start_ns >= c.max_turn_ms * NS_PER_MS:
            self._end_turn(end_ns, self._last_speech_ns, "too_long", out)
            return
        silence_ns = end_ns - self._last_speech_ns
        if not self._run_ns and silence_ns >= self.needed_silence_ms * NS_PER_MS:
            self._end_turn(end_ns, self._last_speech_ns, "sentence" if self._is_complete else "silence", out)

    def _begin_contest(self, speech_ns: int, out: list[Decision]) -> None:
        assert self.playing is not None
        self.phase, self._contest_ns, self._frozen = "contest", speech_ns, False
        out.append(Duck(self.playing))

    def _judge_contest(self, end_ns: int, speech: bool, out: list[Decision]) -> None:
        c = self.config
        assert self.playing is not None
        if speech:
            self._contest_ns += FRAME_NS
        noise = self._is_noise
        take_ms = c.backchannel_take_ms if self.words[self._ignored_words :] else c.take_ms
        if self._contest_ns >= take_ms * NS_PER_MS and not noise:
            self._take_floor(end_ns, out)
        elif end_ns - self._last_speech_ns >= c.resume_ms * NS_PER_MS or (
            noise and self._contest_ns >= c.noise_ms * NS_PER_MS
        ):
            out.append(Resume(self.playing, "backchannel" if self.words[self._ignored_words :] else "noise"))
            self._ignored_words = len(self.words)
            self.phase = "idle"
        elif not self._frozen and self._contest_ns >= c.freeze_ms * NS_PER_MS:
            self._frozen = True
            out.append(Freeze(self.playing))

    # ---- everything else ---------------------------------------------------------------------------------------------

    @property
    def _is_noise(self) -> bool:
        return 2 * self._noise_ns > self._sensed_ns

    def _feed_words(self, heard: WordsHeard, out: list[Decision]) -> None:
        if not self.hearing:
            return
        late_ns = heard.t_ns - self._last_speech_ns
        late = self._last_speech_ns > self._sounding_ns and late_ns <= self.config.late_words_ms * NS_PER_MS
        if self.phase == "idle" and not (self.speaking or (self.playing is not None and late)):
            return  # words of a turn that is over, or of nobody
        if len(heard.words) < self._ignored_words:
            self._ignored_words = 0  # the listener began anew
        self.words = heard.words
        self._complete_ns, self._closed = (heard.t_ns if heard.in_grammar else None), heard.closed
        if self.playing is not None:
            self._weigh_words(out)
        elif self.phase == "idle":  # speech that had been taken for noise has words after all
            self.phase, self._start_ns = "turn", heard.t_ns

    def _weigh_words(self, out: list[Decision]) -> None:
        """Words into a reply take the floor, unless all that are new are backchannels."""
        if any(word not in self.config.backchannels for word in self.words[self._ignored_words :]):
            if self.phase == "idle":  # too late for the contest, but it was one
                self._start_ns = self._last_speech_ns
            self._take_floor(self._last_speech_ns, out)

    def _take_floor(self, t_ns: int, out: list[Decision]) -> None:
        self._stop_playback(t_ns, "barge_in", out)
        self.phase = "turn"

    def _stop_playback(self, t_ns: int, reason: str, out: list[Decision]) -> None:
        if self.playing is None:
            return
        out.append(StopPlayback(self.playing, reason))
        self._utterance_gone, self.playing = self.playing, None
        # Until the loudspeaker says that it is silent; bounded, should it never say so.
        self._deaf_until_ns = t_ns + (self.config.half_duplex_tail_ms + 500) * NS_PER_MS
        if self.phase == "contest":
            self.phase = "turn"

    def _fall_silent(self, t_ns: int) -> None:
        c = self.config
        self._deaf_until_ns = t_ns + c.half_duplex_tail_ms * NS_PER_MS
        self._stay_awake(t_ns)
        if self.playing is None:
            return  # it was stopped, and what follows from that is done
        self.playing = None
        if self.phase == "contest":  # the reply ended under it: what is being said is simply the next turn
            self.phase = "turn"
        elif (
            self.phase == "idle"
            and self._ignored_words
            and self._last_speech_ns > self._sounding_ns
            and t_ns - self._last_speech_ns <= c.late_words_ms * NS_PER_MS
        ):
            self.phase = "turn"  # a "yes" just before the end was no backchannel but an answer
        self._ignored_words = 0

    def _press(self, t_ns: int, out: list[Decision]) -> None:
        if self.config.mode != "push_to_talk" or self.pressed:
            return
        self._stop_playback(t_ns, "pressed", out)
        self.pressed, self.phase, self._start_ns, self._last_speech_ns = True, "turn", t_ns, t_ns

    def _release(self, t_ns: int, reason: TurnReason, out: list[Decision]) -> None:
        self.pressed = False
        self._end_turn(t_ns, self._last_speech_ns, reason, out)

    def _wake(self, t_ns: int, out: list[Decision]) -> None:
        if self.config.mode != "wake_phrase":
            return
        self._stop_playback(t_ns, "barge_in", out)
        self._stay_awake(t_ns)
        self.awake = True

    def _stay_awake(self, t_ns: int) -> None:
        if self.config.mode == "wake_phrase":
            self._awake_until_ns = t_ns + self.config.awake_ms * NS_PER_MS

    def _end_turn(self, t_ns: int, speech_end_ns: int, reason: TurnReason, out: list[Decision]) -> None:
        if self.speaking:
            out.append(SpeechEnded(self._last_speech_ns))
        # The stop word alone has been obeyed already, and a cough says nothing: neither is a turn to be answered.
        only_stop = self._stopped and self.config.stop_words.issuperset(self.words)
        cough = reason == "silence" and not self.words and self._is_noise
        if reason == "typed" or not (only_stop or cough):
            out.append(TurnEnded(t_ns, speech_end_ns, reason))
        self._forget()
        self._stay_awake(t_ns)

    def _forget(self) -> None:
        self.phase, self.speaking, self.words = "idle", False, ()
        self._complete_ns, self._finished, self._stopped = None, 0.0, False
        self._run_ns, self._ignored_words, self._noise_ns, self._sensed_ns = 0, 0, 0, 0
