"""Scripted conversations: who has the floor, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.action import Duck, Freeze, Resume, StopPlayback
from liveagent.errors import ConfigError
from liveagent.event import (
    EndGuessed,
    SpeechEnded,
    SpeechStarted,
    StopHeard,
    TalkPressed,
    TalkReleased,
    TextTyped,
    TurnEnded,
    WakeHeard,
    WordsHeard,
)
from liveagent.manners import Manners
from liveagent.turns import FRAME_NS, Frame, Turns

MS = 1_000_000
FRAME_MS = FRAME_NS // MS


def _words(at_ms: int, text: str, closed: bool = False, in_grammar: bool = False) -> WordsHeard:
    return WordsHeard(at_ms * MS, tuple(text.split()), "ear", in_grammar=in_grammar or closed, closed=closed)


class Script:
    """A stretch of conversation: when somebody speaks, what else happens, and what the rules answer."""

    def __init__(self, manners: Manners | None = None) -> None:
        self.turns = Turns(manners)
        self.at_ms = 0
        self.said: list[tuple[int, Any]] = []

    def run(
        self,
        until_ms: int,
        speech: Sequence[tuple[int, int]] = (),
        also: Sequence[tuple[int, Any]] = (),
        sense: Any = None,
        near_end: bool = True,
        level_dbfs: float = -30.0,
        prob: float = 0.9,
    ) -> Script:
        """Frames up to `until_ms`; `also`: (ms, input), where an int or None is what begins to sound."""
        waiting = sorted(also, key=lambda item: item[0])
        while self.at_ms < until_ms:
            while waiting and waiting[0][0] <= self.at_ms:
                what = waiting.pop(0)[1]
                sounds = what is None or isinstance(what, int)
                found = self.turns.sounding(what, self.at_ms * MS) if sounds else self.turns.feed(what)
                self.said += [(self.at_ms, decision) for decision in found]
            loud = any(start <= self.at_ms < end for start, end in speech)
            frame = Frame(self.at_ms * MS, prob if loud else 0.02, level_dbfs, near_end, sense if loud else None)
            self.said += [(self.at_ms + FRAME_MS, decision) for decision in self.turns.feed(frame)]
            self.at_ms += FRAME_MS
        return self

    def kinds(self, *without: type) -> list[str]:
        return [type(decision).__name__ for _, decision in self.said if not isinstance(decision, without)]

    def when(self, kind: type) -> list[int]:
        return [at for at, decision in self.said if isinstance(decision, kind)]


# ---- the end of a turn -----------------------------------------------------------------------------------------------


def test_without_a_guess_a_turn_ends_after_the_longest_silence() -> None:
    script = Script().run(4000, [(512, 1536)])
    assert script.kinds() == ["SpeechStarted", "SpeechEnded", "TurnEnded"]
    assert script.said[0] == (576, SpeechStarted(512 * MS))
    assert script.when(SpeechEnded) == [1536 + 224]  # the first frame that closes 200 ms
    (ended,) = [decision for _, decision in script.said if isinstance(decision, TurnEnded)]
    assert ended.speech_end_ns == 1536 * MS and ended.reason == "silence"
    assert 1000 <= script.when(TurnEnded)[0] - 1536 < 1000 + FRAME_MS


@pytest.mark.parametrize(("finished", "silence_ms"), [(0.0, 1000), (0.3, 1000), (0.6, 600), (0.9, 200), (1.0, 200)])
def test_the_surer_the_decoder_the_shorter_the_silence(finished: float, silence_ms: int) -> None:
    script = Script().run(4000, [(512, 1536)], [(1600, EndGuessed(1600 * MS, finished))])
    assert silence_ms <= script.when(TurnEnded)[0] - 1536 <= silence_ms + FRAME_MS


def test_a_guess_made_before_the_last_words_is_no_guess_about_them() -> None:
    script = Script().run(4000, [(512, 1024), (1200, 2000)], [(1100, EndGuessed(1100 * MS, 1.0))])
    assert script.when(TurnEnded)[0] - 2000 >= 1000


def test_a_whole_sentence_of_the_grammar_ends_at_once_and_one_that_may_go_on_waits_a_little() -> None:
    closed = Script().run(4000, [(512, 1536)], [(1560, _words(1560, "turn on the light", closed=True))])
    assert closed.when(TurnEnded)[0] - 1536 <= 224
    assert [d.reason for _, d in closed.said if isinstance(d, TurnEnded)] == ["sentence"]
    open_ = Script().run(4000, [(512, 1536)], [(1560, _words(1560, "turn on the light", in_grammar=True))])
    assert 280 <= open_.when(TurnEnded)[0] - 1536 <= 344


def test_a_sentence_that_goes_on_after_all_is_not_complete() -> None:
    script = Script().run(5000, [(512, 1536), (1696, 2400)], [(1600, _words(1600, "turn on the light", closed=True))])
    assert script.when(TurnEnded)[0] >= 2400 + 1000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(10, 60), st.integers(300, 800)), min_size=1, max_size=5), st.floats(0, 0.45))
def test_pauses_for_thought_are_not_cut(pieces: list[tuple[int, int]], finished: float) -> None:
    """Pauses of 300 to 800 ms, with a decoder that is not sure: one turn, at its real end."""
    at, speech, also = 320, [], []
    for frames, pause_ms in pieces:
        end = at + frames * FRAME_MS
        speech.append((at, end))
        also.append((end + 100, EndGuessed((end + 100) * MS, finished)))
        at = end + pause_ms
    end = speech[-1][1]
    script = Script().run(end + 1500, speech, also)
    assert len(script.when(TurnEnded)) == 1 and script.when(TurnEnded)[0] > end


def test_speech_that_never_ends_is_cut_into_turns() -> None:
    script = Script(Manners(max_turn_ms=3000)).run(10_000, [(320, 99_999)])
    assert [d.reason for _, d in script.said if isinstance(d, TurnEnded)] == ["too_long"] * 3
    assert all(2900 <= b - a <= 3200 for a, b in zip(script.when(TurnEnded), script.when(TurnEnded)[1:], strict=False))


def test_a_long_silence_says_nothing() -> None:
    assert Script().run(60_000).said == []


@pytest.mark.parametrize("quiet", [{"prob": 0.4}, {"level_dbfs": -70.0}, {"level_dbfs": float("nan")}])
def test_what_is_not_speech_starts_nothing(quiet: dict[str, Any]) -> None:
    assert Script().run(3000, [(500, 2000)], **quiet).said == []


def test_a_click_is_no_speech_and_a_short_dip_no_end() -> None:
    assert Script().run(3000, [(512, 540)]).said == []
    script = Script().run(3000, [(512, 1024), (1152, 1600)])
    assert script.kinds() == ["SpeechStarted", "SpeechEnded", "TurnEnded"]


def test_a_cough_while_nothing_sounds_is_no_turn_but_an_unsensed_sound_is() -> None:
    assert Script().run(3000, [(512, 800)], sense="noise").kinds() == ["SpeechStarted", "SpeechEnded"]
    assert "TurnEnded" in Script().run(3000, [(512, 800)], sense="speech").kinds()
    with_words = Script().run(3000, [(512, 800)], [(700, _words(700, "stop it"))], sense="noise")
    assert "TurnEnded" in with_words.kinds()


def test_typed_text_ends_the_turn_and_takes_the_floor() -> None:
    script = Script().run(3000, (), [(200, 4), (1000, TextTyped(1000 * MS, "hello"))])
    assert [decision for _, decision in script.said] == [
        StopPlayback(4, "typed"),
        TurnEnded(1000 * MS, 1000 * MS, "typed"),
    ]


# ---- into a reply ----------------------------------------------------------------------------------------------------


def test_a_cough_ducks_and_the_reply_goes_on() -> None:
    script = Script().run(5000, [(1024, 1152)], [(500, 1)])
    assert [decision for _, decision in script.said] == [
        SpeechStarted(1024 * MS),
        Duck(1),
        SpeechEnded(1152 * MS),
        Resume(1, "noise"),
    ]
    assert script.when(Duck)[0] - 1024 <= 96 and script.when(Resume)[0] - 1152 <= 416


def test_a_longer_noise_freezes_before_it_resumes() -> None:
    assert Script().run(5000, [(1024, 1344)], [(500, 1)]).kinds(SpeechStarted, SpeechEnded) == [
        "Duck",
        "Freeze",
        "Resume",
    ]


@pytest.mark.parametrize("text", ["uh huh", "okay", "yes", "mhm"])
def test_a_backchannel_does_not_interrupt(text: str) -> None:
    script = Script().run(5000, [(1024, 1984)], [(500, 1), (1300, _words(1300, text))])
    assert script.kinds(SpeechStarted, SpeechEnded) == ["Duck", "Freeze", "Resume"]
    assert [d.reason for _, d in script.said if isinstance(d, Resume)] == ["backchannel"]


def test_what_is_a_backchannel_is_a_setting() -> None:
    strict = Manners(backchannels=frozenset())
    script = Script(strict).run(5000, [(1024, 1600)], [(500, 1), (1300, _words(1300, "okay"))])
    assert StopPlayback(1, "barge_in") in [decision for _, decision in script.said]


def test_words_take_the_floor_at_once_and_become_the_next_turn() -> None:
    script = Script().run(5000, [(1024, 2400)], [(500, 1), (1312, _words(1312, "no the other one"))])
    assert script.kinds() == ["SpeechStarted", "Duck", "Freeze", "StopPlayback", "SpeechEnded", "TurnEnded"]
    assert script.when(StopPlayback) == [1312]
    assert script.turns.playing is None


def test_speech_that_lasts_takes_the_floor_without_words() -> None:
    script = Script().run(5000, [(1024, 2400)], [(500, 1)])
    assert 640 <= script.when(StopPlayback)[0] - 1024 <= 640 + FRAME_MS


def test_noise_that_lasts_does_not_and_is_not_waited_for() -> None:
    script = Script().run(8000, [(1024, 6000)], [(500, 1)], sense="noise")
    assert script.kinds(SpeechStarted, SpeechEnded) == ["Duck", "Freeze", "Resume"]
    assert script.when(Resume)[0] <= 1024 + 1600 + FRAME_MS


def test_words_out_of_that_noise_still_take_the_floor() -> None:
    script = Script().run(8000, [(1024, 6000)], [(500, 1), (4000, _words(4000, "listen to me"))], sense="noise")
    assert script.when(StopPlayback) == [4000] and "TurnEnded" in script.kinds()


def test_words_that_come_after_the_resume_take_back_after_all() -> None:
    script = Script().run(5000, [(1024, 1280)], [(500, 1), (1900, _words(1900, "no"))])
    assert script.kinds(SpeechStarted, SpeechEnded) == ["Duck", "Freeze", "Resume", "StopPlayback", "TurnEnded"]


def test_late_words_of_the_turn_that_the_reply_answers_do_not_interrupt_it() -> None:
    script = Script().run(2000, [(512, 1024)], [(1060, _words(1060, "light on", closed=True))])
    assert script.kinds()[-1] == "TurnEnded"
    script.said.clear()
    script.run(4000, (), [(2000, 1), (2100, _words(2100, "light on please"))])
    assert script.said == []


def test_a_backchannel_heard_before_is_not_counted_again() -> None:
    script = Script().run(
        8000,
        [(1024, 1400), (4000, 4400)],
        [(500, 1), (1300, _words(1300, "okay")), (4300, _words(4300, "okay okay"))],
    )
    assert script.kinds(SpeechStarted, SpeechEnded) == ["Duck", "Freeze", "Resume"] * 2
    script.said.clear()
    script.run(12_000, [(9000, 9600)], [(9200, _words(9200, "wait"))])  # the listener began anew, with fewer words
    assert "StopPlayback" in script.kinds()


def test_a_yes_just_before_the_end_of_a_question_is_its_answer() -> None:
    script = Script().run(6000, [(2000, 2300)], [(500, 1), (2250, _words(2250, "yes")), (3000, None)])
    assert script.kinds(SpeechStarted, SpeechEnded)[-2:] == ["Resume", "TurnEnded"]
    old = Script().run(6000, [(1000, 1300)], [(500, 1), (1250, _words(1250, "yes")), (3000, None)])
    assert "TurnEnded" not in old.kinds()


def test_a_reply_that_ends_under_a_contest_leaves_a_plain_turn() -> None:
    script = Script().run(6000, [(1024, 1500)], [(500, 1), (1300, None)])
    assert script.kinds() == ["SpeechStarted", "Duck", "Freeze", "SpeechEnded", "TurnEnded"]


def test_a_reply_that_starts_while_the_user_speaks_again_is_contested() -> None:
    script = Script().run(6000, [(512, 3000)], [(700, 1)])
    assert script.kinds()[:3] == ["SpeechStarted", "Duck", "Freeze"] and "StopPlayback" in script.kinds()
    words = Script().run(6000, [(512, 3000)], [(660, _words(660, "and also")), (700, 1)])
    assert words.when(StopPlayback) == [704]


def test_the_loudspeaker_alone_is_nobody() -> None:
    assert Script().run(5000, [(1024, 4000)], [(500, 1)], near_end=False).said == []


def test_a_stopped_utterance_cannot_sound_again() -> None:
    script = Script().run(3000, [(1024, 2000)], [(500, 1), (1200, _words(1200, "wait")), (1300, 1)])
    assert script.turns.playing is None and len(script.when(StopPlayback)) == 1


# ---- the stop word, the key, the wake phrase, half duplex ------------------------------------------------------------


def test_stop_stops_and_is_no_turn() -> None:
    also = [(500, 1), (1200, StopHeard(1200 * MS, "recogniser")), (1300, _words(1300, "stop"))]
    script = Script().run(4000, [(1024, 1400)], also)
    assert StopPlayback(1, "stop") in [decision for _, decision in script.said]
    assert "TurnEnded" not in script.kinds()


def test_stop_the_timer_is_a_turn() -> None:
    also = [(1200, StopHeard(1200 * MS, "recogniser")), (1700, _words(1700, "stop the timer"))]
    assert "TurnEnded" in Script().run(4000, [(1024, 1800)], also).kinds()


def test_after_a_stop_the_next_turn_is_one() -> None:
    also = [(1200, StopHeard(1200 * MS, "recogniser")), (1300, _words(1300, "stop"))]
    script = Script().run(8000, [(1024, 1400), (5000, 5600)], also)
    assert len(script.when(TurnEnded)) == 1 and script.when(TurnEnded)[0] > 5600


def test_push_to_talk_hears_only_between_the_keys() -> None:
    script = Script(Manners(mode="push_to_talk")).run(
        6000,
        [(100, 900), (2000, 3500)],
        [(500, 1), (1504, TalkPressed(1504 * MS)), (1600, TalkPressed(1600 * MS)), (4000, TalkReleased(4000 * MS)),
         (4500, TalkReleased(4500 * MS))],
    )  # fmt: skip
    stopped, ended = [decision for _, decision in script.said]
    assert stopped == StopPlayback(1, "pressed")
    assert isinstance(ended, TurnEnded) and ended.reason == "released"
    assert 3500 <= ended.speech_end_ns / MS <= 3500 + FRAME_MS and not script.turns.hearing


def test_a_key_that_is_never_released_ends_too() -> None:
    manners = Manners(mode="push_to_talk", max_turn_ms=2000)
    script = Script(manners).run(6000, (), [(1000, TalkPressed(1000 * MS))])
    assert [d.reason for _, d in script.said] == ["too_long"]


def test_keys_and_wake_phrases_mean_nothing_in_an_open_conversation() -> None:
    also = [(500, 1), (600, TalkPressed(600 * MS)), (700, TalkReleased(700 * MS)), (800, WakeHeard(800 * MS, "x"))]
    assert Script().run(2000, (), also).said == []


def test_an_open_room_waits_for_its_phrase_and_falls_asleep_again() -> None:
    script = Script(Manners(mode="wake_phrase", awake_ms=4000))
    script.run(5000, [(500, 1500)], [(1400, _words(1400, "turn on the light"))])
    heard = [script.turns.hearing]
    assert script.said == []
    script.run(9000, [(6000, 7000)], [(5500, WakeHeard(5500 * MS, "computer"))])
    assert script.kinds() == ["SpeechStarted", "SpeechEnded", "TurnEnded"]
    script.run(13_000, (), [(9500, 1), (10_500, None)])
    heard.append(script.turns.hearing)  # 4 s from the end of the reply
    script.run(20_000, [(16_000, 17_000)])
    assert len(script.when(SpeechStarted)) == 1
    assert [*heard, script.turns.hearing] == [False, True, False]


def test_the_wake_phrase_interrupts() -> None:
    script = Script(Manners(mode="wake_phrase", awake_ms=4000))
    script.run(4000, (), [(100, WakeHeard(100 * MS, "x")), (500, 1), (1500, WakeHeard(1500 * MS, "x"))])
    assert script.kinds() == ["StopPlayback"]


def test_half_duplex_hears_only_stop_while_a_reply_sounds() -> None:
    manners = Manners(half_duplex=True)
    script = Script(manners).run(5000, [(1000, 3300)], [(500, 1), (1500, _words(1500, "no no")), (3008, None)])
    assert script.said == []  # … and its own tail of 300 ms
    script.run(8000, [(6000, 6600)])
    assert script.kinds() == ["SpeechStarted", "SpeechEnded", "TurnEnded"]
    stop = Script(manners).run(5000, [(1000, 3300)], [(500, 1), (1504, StopHeard(1504 * MS, "ear")), (1600, None)])
    assert stop.said[0] == (1504, StopPlayback(1, "stop"))
    assert stop.when(SpeechStarted)[0] >= 1600 + 300


def test_half_duplex_never_stays_deaf_when_the_loudspeaker_says_nothing_more() -> None:
    also = [(500, 1), (1504, StopHeard(1504 * MS, "ear"))]
    script = Script(Manners(half_duplex=True)).run(6000, [(3000, 4000)], also)
    assert "SpeechStarted" in script.kinds()


def test_half_duplex_drops_what_was_being_said_when_the_reply_begins() -> None:
    script = Script(Manners(half_duplex=True)).run(3000, [(500, 2000)], [(1000, 1)])
    assert script.kinds() == ["SpeechStarted", "SpeechEnded"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_silence_ms": 0},
        {"min_silence_ms": 2000},
        {"unsure_finished": 0.9},
        {"keep_speech": 0.7},
        {"freeze_ms": 700},
    ],
)
def test_manners_that_cannot_be_are_config_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Manners(**wrong)


# ---- laws ------------------------------------------------------------------------------------------------------------

inputs = st.one_of(
    st.integers(1, 80).map(lambda n: ("speech", n)),
    st.integers(1, 80).map(lambda n: ("quiet", n)),
    st.sampled_from(["okay", "turn on the light", ""]).map(lambda text: ("words", text)),
    st.floats(0, 1).map(lambda p: ("guess", p)),
    st.sampled_from(["stop", "press", "release", "type", "wake", "sound", "silent"]).map(lambda name: (name, None)),
)


@settings(max_examples=150, deadline=None)
@given(
    script=st.lists(inputs, max_size=30),
    mode=st.sampled_from(["open", "push_to_talk", "wake_phrase"]),
    half_duplex=st.booleans(),
    shift_ms=st.integers(0, 10**7),
)
def test_any_conversation_keeps_the_grammar_of_decisions(
    script: list[tuple[str, Any]], mode: Any, half_duplex: bool, shift_ms: int
) -> None:
    """Speech starts and ends in turn; hold and resume belong to the reply that sounds; a stopped reply is touched no
    more; and the same conversation an hour later is decided the same."""

    def answers(at: int) -> list[Any]:
        turns = Turns(Manners(mode=mode, half_duplex=half_duplex, max_turn_ms=4000))
        speaking, stopped, utterance, held, got = False, set[int](), 0, False, list[Any]()
        base = at
        for name, value in script:
            found: list[Any] = []
            if name in ("speech", "quiet"):
                for _ in range(value):
                    found += turns.feed(Frame(at, 0.9 if name == "speech" else 0.0))
                    at += FRAME_NS
            elif name == "sound":
                utterance += 1
                held = False
                found += turns.sounding(utterance, at)
            elif name == "silent":
                found += turns.sounding(None, at)
                held = False
            else:
                events: dict[str, Any] = {
                    "words": WordsHeard(at, tuple((value or "").split()) if name == "words" else (), "ear"),
                    "guess": EndGuessed(at, value if name == "guess" else 0.0),
                    "stop": StopHeard(at, "ear"),
                    "press": TalkPressed(at),
                    "release": TalkReleased(at),
                    "type": TextTyped(at, "x"),
                    "wake": WakeHeard(at, "x"),
                }
                found += turns.feed(events[name])
            for decision in found:
                if isinstance(decision, SpeechStarted | SpeechEnded):
                    assert speaking != isinstance(decision, SpeechStarted)
                    speaking = not speaking
                elif isinstance(decision, Duck | Freeze | Resume | StopPlayback):
                    assert decision.utterance == utterance and utterance not in stopped
                    if isinstance(decision, Duck):
                        assert not held
                        held = True
                    elif isinstance(decision, StopPlayback):
                        stopped.add(utterance)
                        held = False
                    else:
                        assert held
                        held = isinstance(decision, Freeze)
                else:
                    assert decision.speech_end_ns <= decision.t_ns
                got.append((type(decision), getattr(decision, "t_ns", base) - base, getattr(decision, "reason", "")))
        return got

    assert answers(0) == answers(shift_ms * MS)
