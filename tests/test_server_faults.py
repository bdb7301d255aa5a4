"""What goes wrong around a server: an engine that dies or stops, peers that do not read or answer, or send rubbish."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import signal
import socket as sockets
from collections.abc import Iterator

import pytest
import websockets

from liveagent.ports import webserver
from liveagent.runtime import admission, engine_process
from liveagent.runtime import link as link_module
from liveagent.runtime.server import Server
from tests.site import Site, eventually, serving, small_agent, write_weights

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:  # read when a server is made
        patch.setattr(webserver, "PING_S", 2.0)
        server = Server(small_agent(write_weights(tmp_path_factory.mktemp("weights"))))
        with serving(server) as site:
            yield site


@pytest.fixture(autouse=True)
async def alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FULL", 1e9)
    await site.run(lambda: site.server.seats.end_all("test", 1001, "the test is over"))
    await eventually(lambda: site.server.engine.free_lanes == 4)


# --- the engine


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_engine_that_goes_takes_no_connection_along(
    site: Site, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "FROZEN_S", 1.5)
    engine = site.server.engine
    before = engine.restarts
    async with site.talk() as one, site.talk() as other:
        for talk in (one, other):
            await talk.greeted()
            await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
            await talk.until("ToolReturned")
        pid = engine.pid
        assert pid is not None
        os.kill(pid, how)
        assert (await one.until("problem"))["code"] == "engine_lost"
        await eventually(lambda: engine.restarts == before + 1 and engine.state == "up")
        for talk in (one, other):
            await talk.say({"type": "TextTyped", "text": "turn off the kitchen light"})
            await talk.until("ToolCalled", args={"room": "kitchen", "state": "off"})
        assert engine.free_lanes == 2 and engine.pid != pid
    metrics = (await site.http("/metrics")).body.decode()
    assert f"liveagent_engine_restarts_total {float(engine.restarts)}" in metrics


async def test_whoever_comes_while_the_engine_is_started_again_waits_or_is_told(site: Site) -> None:
    engine = site.server.engine
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: engine.state == "loading")
    with pytest.raises(websockets.InvalidStatus) as why:
        await site.connect("/v1/realtime", subprotocols=None)
    assert why.value.response.status_code == 503
    assert (await site.http("/healthz")).status == 503
    async with site.talk() as talk:
        assert (await talk.until("loading"))["of_bytes"] > 0
        await talk.greeted()


async def test_an_engine_that_stays_down_is_said_to_everybody(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = Server(small_agent(write_weights(tmp_path_factory.mktemp("weights"))))
    with serving(server) as site, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_process, "RESTARTS_S", 1e9)
        async with site.talk() as talk:
            await talk.greeted()
            for death in range(4):
                await eventually(lambda death=death: server.engine.restarts == death and server.engine.state == "up")  # type: ignore[misc]
                pid = server.engine.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(websockets.ConnectionClosed) as why:
                while True:
                    await talk.next()
            assert why.value.rcvd is not None and why.value.rcvd.code == 1011
        assert (await site.http("/healthz")).json["status"] == "down"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await site.connect("/live")
        assert refused.value.response.status_code == 503


# --- peers


async def test_a_peer_that_does_not_read_is_let_go_and_its_conversation_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SEND_S", 0.5)
    async with site.talk() as neighbour:
        await neighbour.greeted()
        raw = sockets.socket()
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", site.port))
        slow = await site.connect("/live", sock=raw, ping_interval=None)
        await slow.send(json.dumps({"type": "hello", "v": 1, "speak": False}))
        await eventually(lambda: len(site.server.seats) == 2)
        slow.transport.pause_reading()
        stuffed = next(each for each in site.server.seats._seats.values() if each.link is not None
                       and each.id != neighbour.welcome["session"])  # fmt: skip
        for _ in range(400):  # what it asks for itself
            await site.run(lambda: _problem(stuffed.conversation))
            if stuffed.parked_s is not None:
                break
        await eventually(lambda: stuffed.parked_s is not None)
        assert stuffed.conversation.stats.outbox_bytes <= 1 << 20
        await neighbour.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await neighbour.until("ToolCalled")
        slow.transport.abort()


async def _problem(conversation: object) -> None:
    conversation.problem("x", "y" * 20_000)  # type: ignore[attr-defined]
    await asyncio.sleep(0.005)


async def test_a_peer_that_is_silently_gone_is_parked(site: Site) -> None:
    """It takes what it is sent, and never answers a ping."""
    async with site.talk() as talk:
        await talk.greeted()
        talk.socket.protocol.receive_data = lambda data: None  # type: ignore[method-assign]
        await eventually(lambda: site.server.seats.parked == 1)
        await talk.cut()


async def test_a_thousand_garbage_connections_leave_nothing_behind(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    luck = random.Random(7)
    upgrade = (
        b"GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        rubbish = luck.randbytes(luck.randrange(1, 400))
        kind = number % 5
        try:
            if kind == 0:
                writer.write(rubbish)
            elif kind == 1:
                writer.write(b"GET / HTTP/1.1\r\n" + rubbish + b"\r\n\r\n")
            elif kind == 2:
                writer.write(upgrade + rubbish)
            elif kind == 3:
                writer.write(upgrade[: luck.randrange(len(upgrade))])
            else:
                head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400\r\n\r\n"
                writer.write(head + rubbish)
            await writer.drain()
            if luck.random() < 0.5:
                await asyncio.wait_for(reader.read(200), 0.05)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    with caplog.at_level(logging.DEBUG):
        for at in range(0, 1000, 10):
            await asyncio.gather(*(one(number) for number in range(at, at + 10)))
    assert not [each for each in caplog.records if each.exc_info], "no traceback"
    await eventually(lambda: len(site.server.seats) == 0 and not site.server.door._pending)
    assert site.server.engine.free_lanes == 4
    async with site.talk() as talk:
        await talk.greeted()


async def test_whoever_never_ends_a_request_is_let_go_and_does_not_block_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webserver, "HEAD_S", 1.0)
    slow = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(webserver.PENDING_AN_ADDRESS)]
    for _, writer in slow:
        writer.write(b"GET / HT")
    await asyncio.sleep(0.2)
    extra = await asyncio.open_connection("127.0.0.1", site.port)
    assert await asyncio.wait_for(_end(extra[0]), 30) == b"", "one too many of this address"
    ended = await asyncio.gather(*(asyncio.wait_for(_end(reader), 30) for reader, _ in slow))
    assert ended == [b""] * len(slow)
    for _, writer in [*slow, extra]:
        writer.transport.abort()
    assert (await site.http("/healthz")).status == 200


async def _end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_a_bomb_of_json_is_refused_and_ends_nothing(site: Site) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        deep = '{"a":' * 10_000 + "1" + "}" * 10_000
        for bomb in ("[" * 60_000, deep, '{"type":"TextTyped","text":NaN}', '{"a":1e999}'):
            await talk.socket.send(bomb)
            assert (await talk.until("problem"))["code"] == "bad_message"
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolCalled")


async def test_a_message_over_sixteen_megabytes_closes_that_connection(site: Site) -> None:
    async with site.talk(path="/live") as talk:
        await talk.greeted()
        with pytest.raises(websockets.ConnectionClosed):
            await talk.socket.send(b"\0" * ((16 << 20) + 1))
            while True:
                await talk.next()


async def test_opening_and_leaving_again_and_again_leaves_no_task_and_no_file(site: Site) -> None:
    async def tasks() -> int:
        gc.collect()
        return len(asyncio.all_tasks())

    async def once() -> None:
        async with site.talk() as talk:
            await talk.greeted()

    for _ in range(3):
        await once()
    await eventually(lambda: site.server.engine.free_lanes == 4)
    files, running = len(os.listdir("/proc/self/fd")), await site.run(tasks)
    for _ in range(15):
        await once()
    await eventually(lambda: site.server.engine.free_lanes == 4)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)
    async with asyncio.timeout(60):
        while await site.run(tasks) > running:  # noqa: ASYNC110 (of another loop)
            await asyncio.sleep(0.1)
