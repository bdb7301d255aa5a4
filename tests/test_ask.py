"""`liveagent ask`: a film or a recording, a question, and the moment that the answer is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from liveagent import ConfigError
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES
from liveagent.cli import app
from liveagent.event import TextTyped
from liveagent.film import Film
from liveagent.journal import Header, JournalWriter
from liveagent.ports.media import write_wav
from liveagent.runtime import talk
from liveagent.runtime.ask import ask, clock, rests_on
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.runtime.work import Seen
from liveagent.sight import Sight, of_things
from liveagent.table import Table, draw
from liveagent.video import Pixels, VideoFrame
from tests.films import film
from tests.nano import random_nano
from tests.test_watcher import BOTH, CUBE, MOVED, Knowing, Room, watching

AGENT = Agent("nano", instructions="be brief")
TABLES = (CUBE, BOTH, MOVED, CUBE)
SECONDS = (2.0, 4.0, 6.0, 8.0)
"""When each of them ends."""


def table_at(second: float) -> Table:
    return next(table for table, end in zip(TABLES, SECONDS, strict=True) if second < end)


def nearest(pixels: Pixels) -> Sight:
    """What a perfect eye says of a picture that went through a camera: that of the drawn one it is nearest to."""
    apart = [np.abs(draw(table).astype(int) - pixels).mean() for table in TABLES]
    table = TABLES[int(np.argmin(apart))]
    return of_things([(t.colour, t.shape, t.x, t.y) for t in table.things])


class Perfect(Knowing):
    """A lane whose eye and watches know the truth of a film's pictures; all the rest is as it is."""

    def __init__(self, engine: Engine, number: int) -> None:
        super().__init__(Lane(engine, number), random_nano())

    async def see(self, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
        self.sights[pixels.tobytes()] = nearest(pixels)
        return await super().see(pixels, patches)


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "Lane", Perfect)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of a table, as a film."""
    times = [i / 10 for i in range(80)]
    return film(tmp_path_factory.mktemp("films") / "table.mkv", times, lambda i: draw(table_at(times[i])))


@pytest.mark.parametrize(
    ("question", "answer", "at_s"),
    [
        ("When did the red ball appear?", "It was there from 0:02 on.", 2.0),
        ("when did the red ball move", "It moved at 0:04.", 4.0),
        ("when was the red ball taken away", "It was gone at 0:06.", 6.0),
        ("when did the blue cube leave", "It never left.", None),
        ("tell me when the blue cube appears", "It was there from 0:00 on.", 0.0),
    ],
)
def test_when_it_happened(shown: Path, sees: None, question: str, answer: str, at_s: float | None) -> None:
    done: list[tuple[float, float]] = []
    found = ask(shown, question, AGENT, random_nano(), lambda now, of: done.append((now, of)))
    assert found.answer == answer
    assert (found.at_s is None) == (at_s is None)
    if at_s is not None:
        assert found.at_s is not None and at_s <= found.at_s <= at_s + 0.8 and found.sure > 0.8
        assert found.all_at_s == (found.at_s,)
    assert found.pictures == 4 and abs(found.film_s - 8.0) < 0.2
    assert done == sorted(done) and done[-1][0] == pytest.approx(7.9, abs=0.2) and abs(done[0][1] - 8) < 0.3


@pytest.mark.slow
def test_any_other_question_is_asked_when_the_film_is_over(shown: Path, sees: None) -> None:
    found = ask(shown, "What is on the table?", AGENT, random_nano())
    assert found.answer and 0 <= found.sure <= 1 and found.at_s is not None and found.at == clock(found.at_s)
    assert found.pictures == 4 and not found.all_at_s


def recorded(path: Path, pictures: bool = True) -> Path:
    """A recording of a session that saw the same, and was typed at."""
    journal = JournalWriter(Header("0", "0", "0", "float32", 4, 0, "0"), 1 << 30)
    film, begin_ns = Film(), 5_000_000_000_000
    for tick in range(100):
        t_ns = begin_ns + tick * TICK_NS
        journal.audio(tick, np.zeros(TICK_SAMPLES, np.int16))
        if pictures and tick % 2 == 0:
            journal.picture(tick, film.write(VideoFrame(draw(table_at(tick * 0.08)), t_ns)))
        if tick == 3:
            journal.event(tick, TextTyped(t_ns, "tell me when the red ball appears"))
        journal.json(tick, {"t_ns": t_ns, "gap": 0})
    journal.close()
    path.write_bytes(journal.take())
    return path


def test_a_recording_can_be_asked_too(tmp_path: Path, sees: None) -> None:
    found = ask(recorded(tmp_path / "anything"), "when did the red ball move", AGENT, random_nano())
    assert found.answer == "It moved at 0:04." and found.at_s is not None and 4.0 <= found.at_s <= 4.8


def test_what_cannot_be_asked_or_watched_says_so(tmp_path: Path, shown: Path) -> None:
    model = random_nano()
    write_wav(tmp_path / "sound.wav", np.zeros(16000, np.float32))
    (tmp_path / "text.mp4").write_text("no film")
    for path, question, says in (
        (shown, "?!", "there is no question"),
        (shown, "when did the dog bark", "things of the toy table"),
        (tmp_path / "none.mp4", "what is there", "does not exist"),
        (tmp_path / "sound.wav", "what is there", "no pictures"),
        (tmp_path / "text.mp4", "what is there", "text.mp4"),
        (recorded(tmp_path / "blind.larec", False), "what is there", "no pictures"),
    ):
        with pytest.raises(ConfigError, match=says):
            ask(path, question, AGENT, model)


@pytest.mark.slow
async def test_the_picture_that_an_answer_rests_on() -> None:
    """One of those that are kept; and finding it out leaves everything as it was."""
    async with watching(AGENT, SessionConfig(voice=False, echo_gate=False)) as session:
        room = Room(session, CUBE)
        for table in (CUBE, BOTH, MOVED):
            await room.show(table, 12)
        await room.say("what is on the table", 14)
        held, ids = session.context.held(), session.context.ids
        found = await rests_on(session)
        assert session.context.ids == ids
        assert [each.span.kind for each in session.context.held()] == [each.span.kind for each in held]
        assert found is not None and found[0] in [each.span.t_ns for each in held if each.span.kind == "picture"]
        assert 0 <= found[1] <= 1


async def test_nothing_rests_on_pictures_that_are_not_there() -> None:
    async with open_session(AGENT, SessionConfig(voice=False), random_nano(), use_recogniser=False) as session:
        assert await rests_on(session) is None


def test_on_the_command_line(tmp_path: Path, shown: Path) -> None:
    for arguments, says in (
        (["ask", str(tmp_path / "none.mp4"), "what is there"], "does not exist"),
        (["ask", str(shown), "when did the dog bark"], "things of the toy table"),
        (["forget", str(tmp_path / "none.larec"), "--from", "0:01", "--to", "0:02"], "cannot read"),
        (["forget", str(shown), "--from", "soon", "--to", "0:02"], "is no time"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2 and says in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.4, "1:15"), (59.99, "0:59"), (3723, "1:02:03")])
def test_moments_as_people_write_them(seconds: float, text: str) -> None:
    assert clock(seconds) == text
