"""The web server: how much of what a peer sends is taken in before anybody asks for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import websockets

from liveagent.ports.webserver import AHEAD_BYTES, WebServer

pytestmark = pytest.mark.slow
SIZE, COUNT = 4096, 4000


async def test_what_an_app_does_not_ask_for_is_left_with_its_peer_and_comes_in_order_when_it_does() -> None:
    begin, came = asyncio.Event(), list[int]()
    most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await receive()
        await send({"type": "websocket.accept"})
        protocol = receive.__self__
        await begin.wait()
        for number in range(COUNT):
            most = max(most, sum(len(each.get("bytes") or b"") for each in protocol.queue._queue))
            message = await receive()
            came.append(int.from_bytes(message["bytes"][:4], "little"))
            if not number % 100:
                await asyncio.sleep(0)  # and what comes meanwhile is not more
        await send({"type": "websocket.send", "text": "all"})
        await receive()

    server = WebServer(app)
    server.bind()
    running = asyncio.create_task(server.run())
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/", compression=None) as peer:

        async def talk() -> None:
            for number in range(COUNT):
                await peer.send(number.to_bytes(4, "little") + bytes(SIZE - 4))

        talking = asyncio.create_task(talk())
        await asyncio.sleep(0.3)
        assert not talking.done(), "16 MB do not fit on the way: the peer is held back"
        begin.set()
        assert await asyncio.wait_for(peer.recv(), 60) == "all"
        await talking
    assert came == list(range(COUNT))
    # One read of the socket may bring several messages at once.
    assert 0 < most <= AHEAD_BYTES + (256 << 10)
    server.stop(at_once=True)
    await running
