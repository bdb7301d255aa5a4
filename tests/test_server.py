"""The server on this machine, without a key: routes, sessions, parking, admission; real sockets, a real engine."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest
import websockets

from liveagent.runtime import admission, reception
from liveagent.runtime.cooldown import CoolDown
from liveagent.runtime.page import Page
from liveagent.runtime.server import Server
from tests.site import Site, Talk, eventually, serving, small_agent, write_weights

pytestmark = pytest.mark.slow
GEMINI = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    server = Server(small_agent(write_weights(tmp_path_factory.mktemp("weights"))))
    with serving(server) as site:
        yield site


@pytest.fixture(autouse=True)
async def alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with every seat free, and however slow this machine is just now."""
    monkeypatch.setattr(admission, "FULL", 1e9)
    await site.run(lambda: site.server.seats.end_all("test", 1001, "the test is over"))
    await eventually(lambda: site.server.engine.free_lanes == 4)


# --- plain HTTP


async def test_the_page_and_its_files_are_served_strictly(site: Site) -> None:
    names = Page().names
    assert {"index.html", "", "client.js", "style.css"} <= names
    for name, kind in [("", "text/html"), ("client.js", "text/javascript"), ("style.css", "text/css"),
                       ("icon.svg", "image/svg+xml")]:  # fmt: skip
        got = await site.http(f"/{name}")
        assert got.status == 200 and got.headers["content-type"].startswith(kind)
        assert got.headers["cache-control"] == "no-store" and got.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().split(" ", 1) for part in got.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
        own = f"127.0.0.1:{site.port}"
        assert policy["connect-src"] == f"'self' ws://{own} wss://{own}"
    head = await site.http("/client.js", "HEAD")
    assert head.status == 200 and head.body == b""


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/__init__.py", "//etc/passwd", "/__init__.py",
     "/web/../../errors.py", "/client.js/", "/\x7f", "/client.js%00.html", "/worklet.d.ts/../../x"],
)  # fmt: skip
async def test_no_path_leads_out_of_the_page(site: Site, path: str) -> None:
    got = await site.http(path)
    assert got.status in (400, 404) and b"liveagent.errors" not in got.body and b"root:" not in got.body


async def test_a_host_that_is_none_is_not_written_into_the_policy(site: Site) -> None:
    got = await site.http("/", headers={"Host": "x; script-src *"})
    assert got.headers["content-security-policy"].count("script-src") == 0


async def test_health_models_and_metrics(site: Site) -> None:
    health = await site.http("/healthz")
    assert health.status == 200 and health.json == {"status": "up", "lanes_free": 4}
    assert (await site.http("/v1/models")).json["data"][0]["id"] == site.server.agent.model
    async with site.talk() as talk:
        await talk.greeted()
        await talk.until("TickHeard")
        await asyncio.sleep(0.5)
        text = (await site.http("/metrics")).body.decode()
    for name in (
        "tick_seconds_count", "lag_seconds_bucket", 'sessions{state="active"} 1.0', 'sessions{state="parked"} 0.0',
        "lanes_free 3.0", "queue_bytes", "outbox_bytes", "engine_up 1.0", "engine_busy", "engine_restarts_total 0.0",
        'cache_tokens{kind="system"}', "tokens_total", "frames_dropped_total", "gap_samples_total", "load",
        'opened_total{protocol="native"}',
    ):  # fmt: skip
        assert f"liveagent_{name}" in text, name


async def test_what_is_not_there_is_404_and_a_post_of_nonsense_400(site: Site) -> None:
    assert (await site.http("/nowhere")).status == 404
    assert (await site.http("/", "DELETE")).status == 404
    secrets = "/v1/realtime/client_secrets"
    for body in (b"{", b"[]", b'{"session": 3}', b'{"expires_after": 3}', b'{"a": NaN}', b"[" * 50_000):
        assert (await site.http(secrets, "POST", body)).status == 400, body[:20]
    assert (await site.http(secrets, "POST", b"x" * 70_000)).status == 413


# --- sessions


async def test_a_page_talks(site: Site) -> None:
    async with site.talk() as talk:
        welcome = await talk.greeted()
        assert talk.socket.subprotocol == "liveagent.v1"
        assert welcome["agent"]["tools"][0]["name"] == "light" and not welcome["resumed"]
        assert "turn on the living room light" in welcome["agent"]["phrases"][0] or welcome["agent"]["phrases"]
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        called = await talk.until("ToolCalled")
        assert called["name"] == "light" and called["args"] == {"room": "kitchen", "state": "on"}
        await talk.until("ToolReturned")


@pytest.mark.parametrize("path", ["/", "/live", "//live"])
async def test_the_native_protocol_is_at_the_root_too(site: Site, path: str) -> None:
    async with site.talk(path=path) as talk:
        assert await talk.greeted()


async def test_sound_and_pictures_come_through(site: Site) -> None:
    header = struct.Struct("<BBHIQ")
    sound = (np.random.default_rng(0).standard_normal(1280) * 3000).astype("<i2").tobytes()

    async def speak(talk: Talk) -> None:
        """Sound without end: on a slow machine a tick that is late says nothing of its level."""
        for at in itertools.count():
            await talk.socket.send(header.pack(1, 0, 0, at * 1280, at * 80_000) + sound)
            await asyncio.sleep(0.08)

    async with site.talk() as talk:
        await talk.greeted()
        await talk.socket.send(header.pack(3, 0, 0, 0, 0) + bytes(128 * 128 * 3))
        assert (await talk.until("FrameSeen"))["keyframe"]
        speaking = asyncio.create_task(speak(talk))
        while (await talk.until("TickHeard"))["level_dbfs"] < -40:
            pass
        speaking.cancel()


async def test_openais_protocol_answers_with_its_own_name_and_greets_at_once(site: Site) -> None:
    offered = ["realtime", "openai-insecure-api-key.sk-abc", "openai-agents-sdk.0.20.0"]
    async with site.connect("/v1/realtime?model=anything-at-all", subprotocols=offered) as socket:
        assert socket.subprotocol == "realtime"
        created = json.loads(await socket.recv())
        assert created["type"] == "session.created" and created["event_id"]
    async with site.connect("/v1/realtime", subprotocols=["other"]) as socket:
        assert socket.subprotocol is None


@pytest.mark.parametrize(
    "path", [GEMINI, "/" + GEMINI, GEMINI.replace("v1beta", "v1"), "/some/base" + GEMINI, GEMINI + "Constrained"]
)
async def test_gemini_is_found_at_any_path_that_its_clients_make(site: Site, path: str) -> None:
    async with site.connect(path, subprotocols=None) as socket:
        await socket.send(json.dumps({"setup": {"model": "models/whatever"}}))
        assert "setupComplete" in json.loads(await socket.recv())


async def test_a_path_that_is_nobodys_is_404(site: Site) -> None:
    for path in ("/v1/chat", "/ws/google.ai.generativelanguage.v1.GenerativeService.Other", "/live/live/live"):
        with pytest.raises(websockets.InvalidStatus) as why:
            await site.connect(path, subprotocols=None)
        assert why.value.response.status_code == 404


# --- parking


async def test_a_lost_link_is_taken_up_again_with_what_was_missed(site: Site) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolReturned")
        before, ticket = talk.seq, talk.ticket
        await talk.cut()
    await eventually(lambda: site.server.seats.parked == 1)
    async with site.talk(resume={**ticket, "seq": 0}) as again:
        welcome = await again.greeted()
        assert welcome["resumed"] and welcome["session"] == ticket["session"] and welcome["ago_ms"] >= 0
        assert welcome["secret"] != ticket["secret"], "the secret is good once"
        await again.until("ToolReturned")
        assert site.server.engine.free_lanes == 3
        await again.say({"type": "TextTyped", "text": "turn off the kitchen light"})
        assert (await again.until("ToolCalled", args={"room": "kitchen", "state": "off"}))["name"] == "light"
        assert again.seq > before


async def gone(site: Site, ticket: dict[str, object]) -> None:
    async with site.talk(resume=ticket) as talk:
        problem = await talk.until("problem")
        assert problem["code"] == "gone"
        with pytest.raises(websockets.ConnectionClosed) as why:
            await talk.until("welcome")
        assert why.value.rcvd is not None and why.value.rcvd.code == 4410


async def test_a_stolen_a_used_and_a_made_up_secret_open_nothing(site: Site) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        first = talk.ticket
        await talk.cut()
    await eventually(lambda: site.server.seats.parked == 1)
    await gone(site, {**first, "secret": first["secret"][:-1] + "x"})
    await gone(site, {**first, "session": "0123456789abcdef"})
    await gone(site, {**first, "secret": ""})
    async with site.talk(resume=first) as talk:
        await talk.greeted()
        await gone(site, first)  # used up; and whoever has the conversation keeps it
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolCalled")
        assert len(site.server.seats) == 1


async def test_a_peer_that_comes_back_before_its_loss_was_noticed_gets_the_conversation(site: Site) -> None:
    async with site.talk() as old:
        await old.greeted()
        async with site.talk(resume=old.ticket) as new:
            assert (await new.greeted())["resumed"]
            with pytest.raises(websockets.ConnectionClosed):
                while True:
                    await old.next()
            await new.say({"type": "TextTyped", "text": "turn on the kitchen light"})
            await new.until("ToolCalled")
        assert len(site.server.seats) <= 1


async def test_whoever_says_goodbye_is_not_waited_for(site: Site) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        ticket = talk.ticket
    await eventually(lambda: site.server.engine.free_lanes == 4)
    await gone(site, ticket)


async def test_gemini_takes_up_with_a_handle_and_says_when_there_is_nothing(site: Site) -> None:
    setup = {"model": "models/x", "sessionResumption": {}}
    async with site.connect(GEMINI) as socket:
        await socket.send(json.dumps({"setup": setup}))
        said = [json.loads(await socket.recv()) for _ in range(2)]
        (handle,) = (each["sessionResumptionUpdate"]["newHandle"] for each in said if "setupComplete" not in each)
    await eventually(lambda: site.server.seats.parked == 1)
    for number in range(2):
        async with site.connect(GEMINI) as socket:
            await socket.send(json.dumps({"setup": {**setup, "sessionResumption": {"handle": handle}}}))
            if number == 0:
                assert "setupComplete" in json.loads(await socket.recv())
                assert len(site.server.seats) == 1
            else:
                with pytest.raises(websockets.ConnectionClosed) as why:
                    await socket.recv()
                assert why.value.rcvd is not None and why.value.rcvd.code == 1008


async def test_the_parked_keep_their_lane_until_their_time_is_over(site: Site) -> None:
    seats = site.server.seats
    for _ in range(4):
        async with site.talk() as talk:
            await talk.greeted()
            await talk.cut()
    await eventually(lambda: seats.parked == 4)
    async with site.talk() as talk:  # it is heard, for it might have come to resume, and is then refused
        with pytest.raises(websockets.ConnectionClosed) as why:
            await talk.greeted()
        assert why.value.rcvd is not None and why.value.rcvd.code == 1013
    assert seats.parked == 4
    oldest = next(iter(seats._seats.values()))
    assert oldest.parked_s is not None
    oldest.parked_s -= 121
    await eventually(lambda: seats.parked == 3 and site.server.engine.free_lanes == 1)
    async with site.talk() as talk:
        assert not (await talk.greeted())["resumed"]


# --- admission


async def test_when_every_seat_is_taken_the_next_gets_503_before_there_is_a_connection(site: Site) -> None:
    sockets = [await site.connect("/v1/realtime", subprotocols=None) for _ in range(4)]
    try:
        for socket in sockets:
            await socket.recv()
        with pytest.raises(websockets.InvalidStatus) as why:
            await site.connect("/v1/realtime", subprotocols=None)
        assert why.value.response.status_code == 503 and int(why.value.response.headers["Retry-After"]) > 0
    finally:
        for socket in sockets:
            await socket.close()
    await eventually(lambda: site.server.engine.free_lanes == 4)
    async with site.connect("/v1/realtime", subprotocols=None) as socket:
        assert json.loads(await socket.recv())["type"] == "session.created"


async def test_under_load_nobody_more_is_let_in(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FULL", 0.7)
    async with site.connect("/v1/realtime", subprotocols=None) as socket:
        await socket.recv()
        weighed = site.server.admission
        for _ in range(20):
            weighed.feed(time.monotonic(), 1.0)
        with pytest.raises(websockets.InvalidStatus) as why:
            await site.connect("/v1/realtime", subprotocols=None)
        assert why.value.response.status_code == 503
    await eventually(lambda: weighed.load < 0.5)


# --- what strangers send


async def test_pages_of_others_are_refused(site: Site) -> None:
    for origin in ("http://evil.example", "null", f"http://localhost.evil.example:{site.port}"):
        with pytest.raises(websockets.InvalidStatus) as why:
            await site.connect("/live", origin=origin)
        assert why.value.response.status_code == 403
        assert (await site.http("/v1/realtime/client_secrets", "POST", b"{}", headers={"Origin": origin})).status == 403
    async with site.talk(origin=f"http://127.0.0.1:{site.port}") as talk:
        await talk.greeted()


async def test_a_name_that_was_made_to_point_here_is_no_name_of_ours(site: Site) -> None:
    host = f"evil.example:{site.port}"
    with pytest.raises(websockets.InvalidStatus) as why:
        async with websockets.connect(
            f"ws://{host}/v1/realtime", host="127.0.0.1", port=site.port, origin=f"http://{host}"  # type: ignore[arg-type]
        ):
            pass
    assert why.value.response.status_code == 401
    assert (await site.http("/metrics", headers={"Host": host})).status == 401


async def test_whoever_says_nothing_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "HELLO_S", 0.2)
    async with site.connect("/live") as socket:
        with pytest.raises(websockets.ConnectionClosed) as why:
            await socket.recv()
        assert why.value.rcvd is not None and why.value.rcvd.code == 1008
    assert len(site.server.seats) == 0


async def test_what_is_no_hello_ends_that_connection_and_frees_the_lane(site: Site) -> None:
    for nonsense in ("hello", "{}", "[" * 100_000, '{"type":"hello","v":2}', b"\0\0\0", '{"type":"hello","v":1,"v":1}'):
        assert site.server.engine.free_lanes == 4, "no lane is taken for it"
        async with site.connect("/live") as socket:
            await socket.send(nonsense)
            with pytest.raises(websockets.ConnectionClosed) as why:
                while True:
                    await asyncio.wait_for(socket.recv(), 30)
            assert why.value.rcvd is not None and why.value.rcvd.code == 4400
    async with site.connect(GEMINI) as socket:
        await socket.send('{"setup": 3}')
        with pytest.raises(websockets.ConnectionClosed) as why:
            await socket.recv()
        assert why.value.rcvd is not None and why.value.rcvd.code == 1007
    assert site.server.engine.free_lanes == 4


async def test_whoever_is_thrown_out_again_and_again_waits_and_nobody_loses_a_conversation_by_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.server.seats, "cooldown", CoolDown(lambda: 100.0))
    async with site.talk() as kept:
        await kept.greeted()
        await kept.cut()
    for _ in range(3):
        async with site.talk() as talk:
            await talk.greeted()
            with pytest.raises(websockets.ConnectionClosed) as why:
                for _ in range(60):
                    await talk.socket.send("[")
                while True:
                    await talk.next()
            assert why.value.rcvd is not None and why.value.rcvd.code == 4400
    async with site.talk() as talk:
        with pytest.raises(websockets.ConnectionClosed) as why:
            await talk.greeted()
        assert why.value.rcvd is not None and why.value.rcvd.code == 1013
        assert "begin again in 1 s" in why.value.rcvd.reason
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with site.connect("/v1/realtime"):
            pass
    assert refused.value.response.status_code == 503 and refused.value.response.headers["Retry-After"] == "1"
    async with site.talk(resume=kept.ticket) as talk:
        assert (await talk.greeted())["resumed"]


async def test_no_words_and_no_keys_in_any_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    words, key = "turn on the kitchen light canarybird", "canarykey-0123456789"
    with caplog.at_level(logging.DEBUG):
        async with site.talk() as talk:
            await talk.greeted()
            await talk.say({"type": "TextTyped", "text": words})
            await talk.until("TextTyped")
            secret = talk.welcome["secret"]
            await talk.cut()
        async with site.connect(f"{GEMINI}?key={key}") as socket:
            instruction = {"parts": [{"text": words}]}
            await socket.send(json.dumps({"setup": {"model": "models/x", "systemInstruction": instruction}}))
            await socket.recv()
        async with site.connect("/v1/realtime", additional_headers={"Authorization": f"Bearer {key}"}) as socket:
            await socket.recv()
            await socket.send(json.dumps({"type": words}))
            await socket.recv()
        await site.http(f"/nowhere?key={key}")
        asked = json.dumps({"session": {"instructions": words}}).encode()
        await site.http("/v1/realtime/client_secrets", "POST", asked)
        await eventually(lambda: site.server.seats.parked == 1)
    ours = [each for each in caplog.records if not each.name.startswith("websockets.client")]
    assert any(each.name == "liveagent.server" for each in ours)
    said = "\n".join(logging.Formatter().format(each) + str(vars(each)) for each in ours)
    for canary in ("canary", secret):
        assert canary not in said
    metrics = (await site.http("/metrics")).body.decode()
    assert "canary" not in metrics and secret not in metrics


