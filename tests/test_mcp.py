"""`Mcp` against a server of the official SDK, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from liveagent.errors import ConfigError, ToolError
from liveagent.found import read_found, written
from liveagent.ports import mcp as mcp_port
from liveagent.ports.mcp import RESULT_CHARS, TOOLS, Mcp, risk_of, text_of
from liveagent.ports.mosquitto import free_port
from liveagent.tool import Tool

REPO = Path(__file__).resolve().parent.parent
PEER = f"{sys.executable} -m tests.mcp_peer"


@asynccontextmanager
async def opened(source: Mcp) -> AsyncIterator[Mcp]:
    await source.open(lambda: None)
    try:
        yield source
    finally:
        await source.close()


def tool(source: Mcp, name: str) -> Tool:
    return next(each for each in source.tools() if each.name == name)


async def until(holds: Callable[[], Any], what: str) -> None:
    for _ in range(1500):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never came: {what}")


@pytest.mark.slow
async def test_the_tools_of_a_program_are_called_and_what_they_give_back_is_bounded() -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    async with opened(Mcp(PEER, folder=REPO, risks={"plain": "reversible"}, timeout_s=20)) as source:
        assert {each.name: each.risk for each in source.tools()} == {
            "weather": "observe", "set_level": "reversible", "erase": "hazard", "plain": "reversible",
            "flood": "hazard", "picture": "hazard", "fail": "hazard", "persuade": "hazard", "hang": "hazard",
            "die": "hazard",
        }  # fmt: skip
        (problem,) = source.problems()
        assert "'store' is left out" in problem
        for each in source.tools():
            again = read_found(written(each))
            assert again is not None and again.arguments == each.arguments
        weather = tool(source, "weather")
        assert await weather(**weather.validate({"city": "paris"})) == "it is 21 degrees celsius in paris"
        with pytest.raises(ToolError, match="from 0 to 100"):
            tool(source, "set_level").validate({"percent": 101})
        assert len(await tool(source, "flood")()) < RESULT_CHARS + 50
        assert await tool(source, "picture")() == "here it is (1 image left out)"
        with pytest.raises(ToolError):
            await tool(source, "fail")()
        assert "unlock the front door" in await tool(source, "persuade")(), "data, and nothing else"
        hanging = asyncio.create_task(tool(source, "hang")())
        await asyncio.sleep(0.2)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert await tool(source, "plain")(word="still here") == "still here"
        with pytest.raises(ToolError, match="nobody knows whether die was done"):
            await tool(source, "die")()
        with pytest.raises(ToolError, match="nothing was sent"):
            await tool(source, "weather")(city="paris")
        await until(lambda: source._client is not None, "the server, started again")
        assert await tool(source, "weather")(city="rome") == "it is 21 degrees celsius in rome"
    with pytest.raises(ToolError, match="cannot be reached"):
        await tool(source, "weather")(city="rome")


@pytest.mark.slow
async def test_a_server_over_http_may_be_gone_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    port = free_port()
    monkeypatch.setattr(mcp_port, "RETRY_S", (0.2,))

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.mcp_peer", str(port)]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=REPO, stdin=quiet, stdout=quiet, stderr=quiet, env=dict(os.environ))

    source = Mcp(f"http://127.0.0.1:{port}/mcp", headers={"Authorization": "Bearer x"}, only=["weather"])
    running: subprocess.Popen[bytes] | None = None
    try:
        async with opened(source):
            assert source.tools() == () and "cannot be reached" in source.problems()[0]
            running = start()
            await until(source.tools, "the server")
            assert [each.name for each in source.tools()] == ["weather"], "only what was asked for"
            assert source.problems() == []
            assert await tool(source, "weather")(city="oslo") == "it is 21 degrees celsius in oslo"
            running.kill()
            running.wait()
            with pytest.raises(ToolError, match="lost"):
                await tool(source, "weather")(city="oslo")
            assert "x" not in source.name
    finally:
        if running is not None:
            running.kill()
            running.wait()


async def test_a_program_that_is_not_there_is_whoever_wrote_it_s_to_mend() -> None:
    pytest.importorskip("mcp", reason="the extra mcp is not installed")
    source = Mcp("no-such-program-anywhere --x")
    with pytest.raises(ConfigError, match="no program"):
        await source.open(lambda: None)
    await source.close()


@pytest.mark.parametrize(
    ("server", "more"),
    [("", {}), ("   ", {}), ("python 'x", {}), ("python x.py", {"headers": {"a": "b"}}), ("x", {"only": "weather"}),
     ("x", {"risk": "none"}), ("x", {"risks": {"a": "none"}})],
)  # fmt: skip
def test_what_can_be_no_server_is_refused(server: str, more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Mcp(server, **more)


def said(name: str = "tidy", schema: Any = None, hints: Any = None) -> Any:
    return SimpleNamespace(
        name=name, description="Tidy up.", input_schema={"type": "object"} if schema is None else schema,
        annotations=hints,
    )  # fmt: skip


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [deep(60), {"type": "array"}, {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(99)}},
     {"type": "object", "properties": {"x": {"enum": []}}, "required": ["x"]},
     {"type": "object", "properties": {"x": 3}}, {"type": "object", "required": ["ghost"]},
     {"type": "object", "properties": {"x": {"type": "string", "description": "y" * 40_000}}}],
)  # fmt: skip
def test_a_schema_that_cannot_be_read_leaves_its_tool_out_and_no_other(schema: Any) -> None:
    source = Mcp("x")
    source._take([said("bad", schema), said("good")])
    assert [each.name for each in source.tools()] == ["good"]
    assert any("'bad' is left out" in each for each in source.problems())


def test_names_that_are_none_twice_and_too_many() -> None:
    source = Mcp("x")
    source._take([said("a b"), said("tidy"), said("tidy"), *(said(f"t{n}") for n in range(TOOLS + 5))])
    assert len(source.tools()) == TOOLS
    told = " ".join(source.problems())
    assert "'a b' is left out" in told and "twice" in told and f"{TOOLS} are the most" in told


def test_hints_say_what_a_tool_risks() -> None:
    def hints(read: bool | None = None, destructive: bool | None = None) -> Any:
        return SimpleNamespace(read_only_hint=read, destructive_hint=destructive)

    assert risk_of(None, "hazard") == "hazard" and risk_of(hints(), "reversible") == "reversible"
    assert risk_of(hints(read=True, destructive=True), "hazard") == "observe"
    assert risk_of(hints(destructive=False), "hazard") == "reversible"
    assert risk_of(hints(destructive=True), "observe") == "hazard"


def test_a_result_without_text_says_what_it_is() -> None:
    structured = SimpleNamespace(content=[], structured_content={"level": 3})
    assert text_of(structured) == '{"level": 3}'
    pictures = SimpleNamespace(content=[SimpleNamespace(type="image")] * 2)
    assert text_of(pictures) == "(2 images left out)"
