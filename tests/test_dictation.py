"""A pretrained ear's words in a conversation: they come through the inbox, late or never, and a replay needs no ear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import tool
from liveagent.action import CallTool, Halt
from liveagent.agent import Agent
from liveagent.audio import RATE_HZ, TICK_SAMPLES, Tick
from liveagent.event import (
    EarFailed,
    EarHeard,
    EndGuessed,
    Noted,
    ReplyStarted,
    TalkPressed,
    TalkReleased,
    ToolCalled,
    TurnEnded,
    WordsHeard,
)
from liveagent.manners import Manners
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.boundary import EarLoaded
from liveagent.runtime.dictation import Hark
from liveagent.runtime.hands import Hands
from liveagent.runtime.last_words import LATE_TICKS
from liveagent.runtime.live import Live
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.tools import home
from tests.nano import random_nano
from tests.world import World


@tool(phrases=["open the door"])
async def open_door() -> str:
    """Open the front door."""
    return "open"


AGENT = Agent("nano", instructions="be brief", tools=[home.light, open_door])
CONFIG = SessionConfig(dictated=True, echo_gate=False, manners=Manners(mode="push_to_talk"))
NOISE = (0.1 * np.random.default_rng(0).standard_normal(4 * RATE_HZ)).astype(np.float32)
WORDS = ("turn", "on", "the", "kitchen", "light")


class Room(World):
    """A world with a key that is pressed to talk. What the ear is to hear is kept."""

    async def press(self, ticks: int = 3) -> int:
        """Speak; returns the utterance's name."""
        self.inbox.append(TalkPressed(self.now_ns))
        await self.run(ticks, NOISE)
        assert self.session.dictation is not None
        return self.session.dictation.begun_ns

    async def release(self) -> None:
        self.inbox.append(TalkReleased(self.now_ns))
        await self.run(1)

    def heard(self, begun_ns: int, *words: str, stands: int = 0, final: bool = False, confidence: float = 0.9) -> None:
        self.inbox.append(EarHeard(self.now_ns, begun_ns, words, stands, final, confidence))

    @property
    def harks(self) -> list[Hark]:
        return [hark for _, _, out in self.ticks for hark in out.dictated]

    def shown(self) -> list[WordsHeard]:
        return [each for each in self.of(WordsHeard) if each.source == "scribe"]


def waits(session: Session) -> bool:
    """Whether a turn's last words are awaited."""
    return session.last_words.closing is not None


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AGENT, CONFIG, random_nano(), use_recogniser=False) as session:
        yield session


async def test_its_words_are_shown_read_and_acted_on(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    room.heard(begun_ns, "turn", "on", "a", stands=2)
    await room.run(1, NOISE)
    assert room.shown()[-1].words == ("turn", "on", "a") and not room.shown()[-1].final
    assert session.user.ids == session.user.ids_of(("turn", "on"))  # what stands is in the cache already
    await room.release()
    assert waits(session) and not room.of(ToolCalled)
    room.heard(begun_ns, *WORDS, stands=5, final=True)
    await room.run(1)
    assert not waits(session)
    (final,) = [each for each in room.shown() if each.final]
    assert final.words == WORDS and final.in_grammar and final.confidence == 0.9
    (call,) = room.of(CallTool)
    assert (call.name, call.args, call.by) == ("light", {"room": "kitchen", "state": "on"}, "grammar")


async def test_it_hears_the_utterance_from_its_pre_roll_to_its_end(session: Session) -> None:
    room = Room(session)
    await room.run(7, NOISE)
    await room.press(4)
    await room.release()
    first, *rest = room.harks
    assert first.what == "begin" and first.samples is not None
    assert len(first.samples) == 5 * TICK_SAMPLES  # what is kept of before
    assert [each.what for each in rest] == ["more"] * (len(rest) - 1) + ["end"]
    assert {each.begun_ns for each in room.harks} == {first.begun_ns}
    sound = np.concatenate([tick.samples for tick, _, _ in room.ticks])
    heard = np.concatenate([each.samples for each in room.harks if each.samples is not None])
    assert np.array_equal(heard, sound[2 * TICK_SAMPLES : 11 * TICK_SAMPLES])


@pytest.mark.parametrize("words", ["what a lovely evening", "Schöne Straße, nicht wahr?", "今天 很 好。"])
async def test_words_of_no_phrase_are_read_as_pieces(session: Session, words: str) -> None:
    room = Room(session)
    begun_ns = await room.press()
    await room.release()
    room.heard(begun_ns, *words.split(), final=True)
    await room.run(2)
    (final,) = [each for each in room.shown() if each.final]
    assert not final.in_grammar and room.of(ReplyStarted)
    told = session.model.pieces.encode(words)
    ids = list(session.context.ids)
    assert any(ids[at : at + len(told)] == told for at in range(len(ids)))


async def test_a_guess_is_asked_again(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    await room.release()
    room.heard(begun_ns, "zip", "zap", final=True, confidence=0.1)
    await room.run(2)
    assert "Say that again" in " ".join(each.text for each in room.of(*_says()))


def _says() -> tuple[type[Any], ...]:
    from liveagent.action import Say

    return (Say,)


async def test_an_ear_that_is_late_is_not_waited_for(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    room.heard(begun_ns, *WORDS, stands=1)
    await room.run(1, NOISE)
    await room.release()
    await room.run(LATE_TICKS + 1)
    assert [each.code for each in room.of(Noted) if each.code.startswith("ear")] == ["ear_late"]
    assert len(room.of(CallTool)) == 1  # by the words that had come
    room.heard(begun_ns, "open", "the", "door", final=True)
    await room.run(3)
    assert len(room.of(CallTool)) == 1  # what comes now counts for nothing


async def test_an_ear_that_fails_leaves_the_others(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    await room.release()
    room.inbox.append(EarFailed(room.now_ns, begun_ns, "it was killed"))
    await room.run(2)
    codes = [each.code for each in room.of(Noted)]
    assert "ear_failed" in codes and not waits(session)
    assert "no_words" in codes or room.of(ReplyStarted)  # whatever a random ear makes of noise


async def test_where_it_heard_nothing_a_guess_of_the_others_is_none(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press(8)
    await room.release()
    room.heard(begun_ns, final=True)
    await room.run(2)
    assert not waits(session) and not room.of(ReplyStarted)
    assert "no_words" in [each.code for each in room.of(Noted)]


async def test_stop_while_it_is_waited_for(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    await room.release()
    room.type("stop")
    await room.run(1)
    assert room.of(Halt) and not waits(session) and not session.user.open
    room.heard(begun_ns, "open", "the", "door", final=True)
    await room.run(3)
    assert not room.of(CallTool)


async def test_the_next_turn_does_not_overtake(session: Session) -> None:
    """The user goes on while the last words are still awaited; both turns are answered, in order."""
    room = Room(session)
    first_ns = await room.press()
    room.heard(first_ns, "open", "the", stands=2)
    await room.run(1, NOISE)
    await room.release()
    second_ns = await room.press()
    assert second_ns != first_ns
    room.heard(second_ns, "turn", "on", stands=2)
    await room.run(1, NOISE)
    assert session.user.ids == session.user.ids_of(("open", "the"))  # the open turn waits for its place
    room.heard(first_ns, "open", "the", "door", final=True)
    await room.run(1, NOISE)
    await room.release()
    room.heard(second_ns, *WORDS, final=True)
    await room.run(4)
    assert [each.name for each in room.of(CallTool)] == ["open_door", "light"]
    assert len(room.of(TurnEnded)) == 2


async def test_a_second_end_closes_the_first(session: Session) -> None:
    room = Room(session)
    first_ns = await room.press()
    room.heard(first_ns, "open", "the", "door")
    await room.run(1, NOISE)
    await room.release()
    await room.press()
    await room.release()
    assert [each.name for each in room.of(CallTool)] == ["open_door"]
    assert session.last_words.closing is not None and session.last_words.closing.begun_ns != first_ns


async def test_what_is_typed_meanwhile_comes_after(session: Session) -> None:
    room = Room(session)
    first_ns = await room.press()
    room.heard(first_ns, "open", "the", "door")
    await room.run(1, NOISE)
    await room.release()
    room.type("turn on the kitchen light")
    await room.run(4)
    assert [each.name for each in room.of(CallTool)] == ["open_door", "light"]


async def test_nothing_is_guessed_of_a_turn_that_waits(session: Session) -> None:
    room = Room(session)
    begun_ns = await room.press()
    room.heard(begun_ns, "open", stands=1)
    await room.run(1, NOISE)
    await room.release()
    before = len(room.of(EndGuessed))
    await room.run(5)
    assert len(room.of(EndGuessed)) == before and waits(session)


def test_an_ear_that_is_too_slow_for_a_turn_is_said_to_be() -> None:
    assert EarLoaded("small", 3.0, 1.24).note == "small hears along; a look at what is being said takes it 1.2 s here"
    assert "take a smaller one" in EarLoaded("large", 3.0, 9.0).note
    quick, slow = (EarLoaded("stream", 3.0, look_s, block_ms=160).note for look_s in (0.3, 1.1))
    assert quick == "stream hears along, 160 ms at once; a second takes 0.30 s here"
    assert slow.endswith("takes 1.10 s here, longer than it lasts: take a smaller one")


class Line:
    """What is asked of a line to an ear."""

    def __init__(self) -> None:
        self.harks: list[Hark] = []
        self.settled_s: list[float] = []

    def obey(self, hark: Hark) -> None:
        self.harks.append(hark)

    async def settle(self, most_s: float = 99.0) -> None:
        self.settled_s.append(most_s)

    def close(self) -> None:
        self.harks.clear()


@pytest.mark.parametrize(("ahead_s", "settles"), [(-1.0, []), (1.0, [1.0]), (9.0, [2.0])])
async def test_sound_that_runs_ahead_of_time_waits_for_the_ear(ahead_s: float, settles: list[float]) -> None:
    async with open_session(AGENT, CONFIG, random_nano(), use_recogniser=False) as session:
        live = Live(
            session, lambda live: Hands((), live.put, live.now_ns), NullSpeaker(), None, None, lambda item: None
        )
        line: Any = Line()
        live.ear = line
        t_ns = live.now_ns() + int(ahead_s * 1e9)
        live.put(TalkPressed(t_ns))
        await live.step(Tick(0, NOISE[:TICK_SAMPLES], t_ns, 0))
        assert [hark.what for hark in line.harks] == ["begin", "more"]
        assert line.settled_s == pytest.approx(settles, abs=0.5)
        await live.close()
        assert not line.harks


async def test_a_replay_hears_the_words_without_an_ear(tmp_path: Path) -> None:
    path = tmp_path / "dictated.larec"
    async with open_session(AGENT, CONFIG, random_nano(), use_recogniser=False) as session:
        recorder = Recorder(path, header_of(AGENT, session.model, LANES, CONFIG, "voice", False))
        room = Room(session, recorder=recorder)
        begun_ns = await room.press()
        room.heard(begun_ns, "turn", "on", "a", stands=2)
        await room.run(1, NOISE)
        await room.release()
        room.heard(begun_ns, *WORDS, final=True)
        await room.run(4)
        begun_ns = await room.press()
        await room.release()
        room.heard(begun_ns, "something", "else", final=True)
        await room.run(3)
        begun_ns = await room.press()
        room.inbox.append(EarFailed(room.now_ns, begun_ns, "gone"))
        await room.run(1, NOISE)
        await room.release()
        await room.run(LATE_TICKS + 2)
        recorder.close()
    report = await _replayed(path)
    assert report.equal, report.difference
    assert report.tokens == len(room.tokens) > 0
    assert [event for _, event in report.events if isinstance(event, WordsHeard)] == room.of(WordsHeard)


async def _replayed(path: Path) -> Any:
    import asyncio

    return await asyncio.to_thread(replay, path, True, AGENT, random_nano())
