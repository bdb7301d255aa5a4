"""Ours inside somebody else's: three lines in FastAPI and Starlette, whatever the path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from liveagent.ports.webserver import App
from liveagent.runtime import admission
from liveagent.runtime.server import Server
from tests.site import serving, small_agent, write_weights

pytestmark = pytest.mark.slow


def in_fastapi(server: Server) -> App:
    app = FastAPI(lifespan=server.lifespan)
    app.mount("/agents/home", server)

    @app.get("/own")
    async def own() -> dict[str, str]:
        return {"whose": "yours"}

    return app


def in_starlette(server: Server) -> App:
    return Starlette(routes=[Mount("/agents/home", app=server)], lifespan=server.lifespan)


@pytest.mark.parametrize("mounted", [in_fastapi, in_starlette])
async def test_mounted(mounted: Callable[[Server], App], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FULL", 1e9)
    server = Server(small_agent(write_weights(tmp_path)))
    with serving(server, mounted(server)) as site:
        page = await site.http("/agents/home/")
        assert page.status == 200 and b"<!doctype html>" in page.body
        assert (await site.http("/agents/home/client.js")).status == 200
        assert (await site.http("/agents/home/healthz")).json["status"] == "up"
        assert (await site.http("/healthz")).status == 404
        if mounted is in_fastapi:
            assert (await site.http("/own")).json == {"whose": "yours"}
        for path in ("/agents/home/live", "/agents/home/"):
            async with site.talk(path=path) as talk:
                await talk.greeted()
                await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
                assert (await talk.until("ToolCalled"))["name"] == "light"
        async with site.connect("/agents/home/v1/realtime", subprotocols=["realtime"]) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"


async def test_its_own_lifespan_says_what_is_wrong_with_the_weights(tmp_path: Path) -> None:
    """As the outermost app it needs nobody's help; what is missing is said at the start."""
    server = Server(small_agent(write_weights(tmp_path)))
    (tmp_path / "ear.safetensors").write_bytes(b"damaged")
    said: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, object]) -> None:
        said.append(message)

    await server({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]
    assert said[-1]["type"] == "lifespan.startup.failed" and "damaged" in str(said[-1]["message"])
    assert server.engine.pid is None
