"""The tool sets that are no game: timers that ring, what is kept in files, what is seen, services that are asked."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from liveagent.action import CallTool, Say
from liveagent.agent import Agent
from liveagent.call import Call, Seen
from liveagent.errors import ConfigError, ToolError
from liveagent.event import SayAsked
from liveagent.runtime.clearing import Terms
from liveagent.runtime.hands import Hands
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.tool import Tool, check_tools
from liveagent.tools import ask, facts, home, imagine, lists, look, robot, timers
from liveagent.tools.datafile import MOST_BYTES, DataFile
from tests.nano import random_nano
from tests.world import World


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data folder of this test alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "liveagent"


class Conversation:
    """What a call of a conversation's can do, written down."""

    def __init__(self, session: str = "s1", owner: str = "", seen: Seen | None = None) -> None:
        self.said: list[str] = []
        self.notes: list[str] = []
        self.over = False
        self.call = Call("c1", "k1", 1000, lambda share, note: self.notes.append(note), session=session, owner=owner,
                         say=self._say, sees=lambda: seen)  # fmt: skip

    async def _say(self, text: str) -> None:
        if self.over:
            raise ToolError("the conversation is over")
        self.said.append(text)

    async def does(self, tool: Tool, **args: Any) -> str:
        given = tool.validate(args)
        if tool.takes_call:
            given[tool.takes_call] = self.call
        result = await tool(**given)
        assert isinstance(result, str)
        return result


def test_all_tool_sets_can_stand_side_by_side() -> None:
    every = [value for module in (home, robot, timers, lists, facts, look, ask, imagine)
             for value in vars(module).values() if isinstance(value, Tool)]  # fmt: skip
    check_tools(every)
    assert len(every) == 28


# --- timers


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> timers.Timers:
    made = timers.Timers()
    monkeypatch.setattr(timers, "timers", made)
    monkeypatch.setattr(home, "timers", made)
    return made


async def test_a_timer_rings_in_its_own_conversation_and_a_cancelled_one_does_not(fresh: timers.Timers) -> None:
    one, other = Conversation("s1"), Conversation("s2")
    fresh.start(0.02, "short timer", one.call)
    fresh.start(0.02, "other timer", other.call)
    assert await other.does(home.cancel_timer) == "the timer is cancelled"
    assert await other.does(home.cancel_timer) == "there is no timer"
    await asyncio.sleep(0.2)
    assert one.said == ["The short timer is up."] and other.said == []
    assert fresh.left("s1") == []


async def test_a_conversation_that_is_over_is_not_rung(fresh: timers.Timers) -> None:
    gone = Conversation()
    fresh.start(0.01, "short timer", gone.call)
    gone.over = True
    await asyncio.sleep(0.1)
    assert gone.said == [] and fresh.left("s1") == []


async def test_timers_are_told_and_are_not_endless(fresh: timers.Timers) -> None:
    talk = Conversation()
    assert await talk.does(timers.timers_left) == "no timer is running"
    assert await talk.does(home.timer, minutes=5) == "timer set for 5 minutes"
    assert await talk.does(timers.timer_seconds, seconds=30) == "timer set for 30 seconds"
    assert await talk.does(timers.timers_left) == (
        "the thirty second timer is due in 30 seconds, the five minute timer is due in 5 minutes")
    for _ in range(timers.MOST - 2):
        await talk.does(home.timer, minutes=60)
    with pytest.raises(ToolError, match="cancel one"):
        await talk.does(home.timer, minutes=1)
    while await talk.does(home.cancel_timer) == "the timer is cancelled":
        pass


@pytest.mark.parametrize(
    ("said", "now", "seconds"),
    [
        ((7, 30, "am"), "2026-11-20 22:00", 9.5 * 3600),
        ((7, 30, "pm"), "2026-11-20 22:00", 21.5 * 3600),
        ((7, 0, None), "2026-11-20 22:00", 9 * 3600),
        ((7, 0, None), "2026-11-20 15:00", 4 * 3600),
        ((15, 0, None), "2026-11-20 14:00", 3600),
        ((15, 0, None), "2026-11-20 15:00", 24 * 3600),
        ((12, 0, "am"), "2026-11-20 23:00", 3600),
        ((12, 0, None), "2026-11-20 23:00", 3600),
        ((0, 0, None), "2026-11-20 23:00", 3600),
    ],
)
def test_an_alarm_is_for_when_the_clock_next_shows_it(
    said: tuple[int, int, str | None], now: str, seconds: float
) -> None:
    assert timers.seconds_until(said[0], said[1], said[2], datetime.fromisoformat(now)) == seconds


async def test_an_alarm_says_what_it_was_understood_as(fresh: timers.Timers) -> None:
    fresh.now = lambda: datetime.fromisoformat("2026-11-20 22:00")
    talk = Conversation()
    assert await talk.does(timers.alarm, hour=7, minute=5) == "the alarm is set for seven oh five in the morning"
    with pytest.raises(ToolError, match="no 13 am"):
        await talk.does(timers.alarm, hour=13, half="am")
    await talk.does(home.cancel_timer)


async def test_a_timer_that_is_due_is_said_aloud_through_hands_and_session(fresh: timers.Timers) -> None:
    agent = Agent("nano", instructions="be brief", tools=[home.timer])
    async with open_session(agent, SessionConfig(), random_nano(), use_recogniser=False) as session:
        world = World(session)
        hands = Hands(agent.tools, lambda event: world.inbox.append(event), lambda: world.now_ns,
                      terms=Terms(session="s9"))  # fmt: skip
        world.results = lambda call: "timer set"
        world.type("set a timer for one minute")
        await world.run(2)
        (call,) = world.of(CallTool)
        hands.obey(call)
        for _ in range(200):
            await asyncio.sleep(0.005)
            if fresh.left("s9"):
                break
        for _ in range(40):  # random weights make long speeches
            await world.run(20)
            if session.answer.reply is None:
                break
        before = len(world.of(Say))
        (one,) = fresh._set["s9"]
        assert one.handle is not None
        one.handle.cancel()
        fresh._ring(one, Call(session="s9", say=hands.saying(call.call_id)))  # an hour later, as it were
        await asyncio.sleep(0.05)
        await world.run(5)
        assert [say.text for say in world.of(Say)[before:]] == ["The one minute timer is up."]
        world.inbox.append(SayAsked(world.now_ns, "call_99", "never called"))
        world.inbox.append(SayAsked(world.now_ns, "halt_1", "nor this"))
        await world.run(40)
        assert "never called" not in [say.text for say in world.of(Say)]
        await hands.close()
        with pytest.raises(ToolError, match="over"):
            await hands.saying(call.call_id)("too late")


# --- what is kept


async def test_lists_are_kept_and_are_whose_they_are(folder: Path) -> None:
    mine, hers = Conversation(owner="a1"), Conversation(owner="b2")
    assert await mine.does(lists.add_to_list, item="Oat milk!") == "oat milk is on the shopping list"
    await mine.does(lists.add_to_list, item="paint", name="to do")
    await mine.does(lists.add_to_list, item="oat milk")
    assert await mine.does(lists.read_out_list, name="shopping") == "on the shopping list: oat milk"
    assert await hers.does(lists.read_out_list, name="shopping") == "the shopping list is empty"
    assert json.loads((folder / "lists-a1.json").read_text())["to do"] == ["paint"]
    assert await mine.does(lists.take_off_list, item="oat milk") == "oat milk is off the shopping list"
    with pytest.raises(ToolError, match="not on the shopping list"):
        await mine.does(lists.take_off_list, item="oat milk")
    await mine.does(lists.empty_list, name="to do")
    assert await mine.does(lists.read_out_list, name="to do") == "the to do list is empty"


async def test_a_list_is_bounded() -> None:
    talk = Conversation()
    for number in range(lists.MOST):
        await talk.does(lists.add_to_list, item=f"thing {number}")
    with pytest.raises(ToolError, match="enough"):
        await talk.does(lists.add_to_list, item="one more")
    assert "and 188 more" in await talk.does(lists.read_out_list, name="shopping")


async def test_facts_are_remembered_told_and_forgotten() -> None:
    talk, other = Conversation(owner="a1"), Conversation(owner="b2")
    await talk.does(facts.remember_fact, fact="the boiler man comes on Monday")
    await talk.does(facts.remember_fact, fact="Anna likes oat milk")
    assert await talk.does(facts.recall, topic="the boiler") == "you told me that the boiler man comes on monday"
    assert await talk.does(facts.recall, topic="the weather") == "you told me nothing about the weather"
    assert "nothing" in await other.does(facts.recall, topic="the boiler")
    assert await talk.does(facts.forget_fact, topic="the boiler") == "it is forgotten"
    assert "nothing" in await talk.does(facts.recall, topic="the boiler")
    assert "anna" in await talk.does(facts.recall, topic="anna")


async def test_a_file_that_is_damaged_is_set_aside_and_said(folder: Path) -> None:
    DataFile("lists").change(lambda held: None)
    (folder / "facts.json").write_text("{ not json")
    talk = Conversation()
    with pytest.raises(ToolError, match="facts.damaged"):
        await talk.does(facts.recall, topic="anna")
    assert (folder / "facts.damaged").read_text() == "{ not json"
    await talk.does(facts.remember_fact, fact="it goes on")
    (folder / "lists.json").write_text('{"shopping": "milk"}')
    with pytest.raises(ToolError, match="damaged"):
        await talk.does(lists.add_to_list, item="bread")


def test_a_change_that_fails_leaves_the_file_as_it_was_and_two_at_once_lose_nothing(tmp_path: Path) -> None:
    file = DataFile("x", tmp_path)
    file.change(lambda held: held.update(a=1))

    def broken(held: dict[str, Any]) -> None:
        held["a"] = 2
        raise ToolError("no")

    with pytest.raises(ToolError):
        file.change(broken)
    with pytest.raises(ToolError, match="no room"):
        file.change(lambda held: held.update(a="x" * MOST_BYTES))
    assert file.read() == {"a": 1}
    threads = [threading.Thread(target=lambda: file.change(lambda held: held.update(n=held.get("n", 0) + 1)))
               for _ in range(20)]  # fmt: skip
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert file.read()["n"] == 20
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x.json", "x.lock"]
    assert DataFile("x", tmp_path).path("../../etc/passwd").parent == tmp_path


# --- what is seen


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "i see nothing: there is no camera"),
        (Seen(()), "i see nothing on the table"),
        (Seen(("red ball", "red ball", "orange cup")), "i see 2 red balls and an orange cup"),
        (Seen(("red ball",), known=False), "i see something that i do not know"),
    ],
)
async def test_what_is_seen_now_is_told(seen: Seen | None, said: str) -> None:
    assert await Conversation(seen=seen).does(look.look) == said


# --- services


class Service(ThreadingHTTPServer):
    """A text model and an image service that say what they are told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.answer, self.asked = 200, b"", list[tuple[str, str, Any]]()
        self.location = ""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization", ""), body))
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # of what is far too long nobody reads the end
            self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.shutdown()
    made.server_close()


def spoken_answer(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


async def test_a_question_is_handed_on_and_the_answer_is_made_for_a_voice(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEAGENT_ASK_URL", service.url)
    monkeypatch.setenv("LIVEAGENT_ASK_MODEL", "big")
    monkeypatch.setenv("LIVEAGENT_ASK_KEY", "sesame")
    service.answer = spoken_answer("<think>hm</think> **Blue** light\nscatters most.")
    assert await Conversation().does(ask.ask, question="why is the sky blue") == "Blue light scatters most."
    ((path, key, body),) = service.asked
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer sesame", "big")
    assert body["messages"][-1] == {"role": "user", "content": "why is the sky blue"}
    service.answer = spoken_answer("One sentence. " * 100)
    assert len(await Conversation().does(ask.asking(service.url, "big"), question="x")) <= ask.ANSWER_CHARS
    assert service.asked[-1][1] == "", "a key is for the service that it was given for"


async def test_a_service_that_is_not_configured_refuses_or_talks_nonsense_is_a_tool_error(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LIVEAGENT_ASK_URL", "LIVEAGENT_ASK_MODEL", "LIVEAGENT_IMAGINE_URL"):
        monkeypatch.delenv(name, raising=False)
    talk = Conversation()
    with pytest.raises(ToolError, match="LIVEAGENT_ASK_URL"):
        await talk.does(ask.ask, question="x")
    with pytest.raises(ToolError, match="LIVEAGENT_IMAGINE_URL"):
        await talk.does(imagine.imagine, scene="x")
    with pytest.raises(ConfigError):
        ask.asking("localhost", "m")
    with pytest.raises(ToolError, match="does not answer"):
        await talk.does(ask.asking("http://127.0.0.1:1/v1", "m"), question="x")
    tool = ask.asking(service.url, "m", "sesame")
    for answer in (b"", b"not json", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": " "}}]}',
                   b"[" * 50_000, b'"' + b"x" * 2_000_000 + b'"'):  # fmt: skip
        service.answer = answer
        with pytest.raises(ToolError):
            await talk.does(tool, question="x")
    service.status = 401
    with pytest.raises(ToolError, match="key"):
        await talk.does(tool, question="x")
    service.status, service.location = 302, "http://127.0.0.1:1/elsewhere"
    with pytest.raises(ToolError, match="refuses"):
        await talk.does(tool, question="x")


async def test_a_picture_is_made_and_kept(service: Service, tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + b"0" * 100
    service.answer = json.dumps({"data": [{"b64_json": base64.b64encode(picture).decode()}]}).encode()
    talk, tool = Conversation(), imagine.imagining(service.url, "sd", folder=tmp_path / "p")
    for name in ("a-red-fox.png", "a-red-fox-2.png"):
        assert await talk.does(tool, scene="A red fox") == "the picture of a red fox is ready"
        assert (tmp_path / "p" / name).read_bytes() == picture
        assert talk.notes[-1] == f"picture: {tmp_path / 'p' / name}"
    service.answer = json.dumps({"data": [{"url": "https://example.org/fox.png"}]}).encode()
    await talk.does(tool, scene="a red fox")
    assert talk.notes[-1] == "picture: https://example.org/fox.png"
    for bad in ({"b64_json": "%%%"}, {"b64_json": base64.b64encode(b"<html>").decode()}, {"url": "file:///etc/passwd"},
                {"url": 7}, {}):  # fmt: skip
        service.answer = json.dumps({"data": [bad]}).encode()
        with pytest.raises(ToolError):
            await talk.does(tool, scene="../../x")
