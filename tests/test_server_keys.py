"""A server that can be reached from elsewhere: keys, keys for one session, who is who, TLS."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from liveagent.ports.certificate import fingerprint, make, own_names, self_signed
from liveagent.runtime import admission
from liveagent.runtime.request import Options, Refused, Request
from liveagent.runtime.server import Server
from tests.site import Site, eventually, serving, small_agent, write_weights

pytestmark = pytest.mark.slow
ANNA, BERT = "key-of-anna-0123456789", "key-of-bert-0123456789"
GEMINI = "/ws/google.ai.generativelanguage.v1.GenerativeService.BidiGenerateContent"
SECRETS = "/v1/realtime/client_secrets"


async def admit(request: Request) -> Options:
    """Bert may not have cameras, and somebody called Mallory may have nothing."""
    if request.headers.get("x-user") == "mallory":
        raise Refused("not you", status=403)
    if request.key == BERT:
        return Options(user="bert", instructions="Be very brief.", tools=[])
    return Options(user=request.headers.get("x-user", ""))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def context(tls: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tls[0]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tls: tuple[Path, Path]) -> Iterator[Site]:
    agent = small_agent(write_weights(tmp_path_factory.mktemp("weights")))
    with serving(Server(agent, keys=[ANNA, BERT], admit=admit), certificate=tls) as site:
        yield site


@pytest.fixture(autouse=True)
async def alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FULL", 1e9)
    await site.run(lambda: site.server.seats.end_all("test", 1001, "the test is over"))
    await eventually(lambda: site.server.engine.free_lanes == 4)


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


async def status(site: Site, context: ssl.SSLContext, path: str, **more: object) -> int:
    """The HTTP status of a handshake that is refused."""
    with pytest.raises(websockets.InvalidStatus) as why:
        await site.connect(path, "wss", ssl=context, **more)
    return why.value.response.status_code


async def test_nobody_comes_in_without_a_key(site: Site, context: ssl.SSLContext) -> None:
    for path in ("/v1/realtime", GEMINI):
        assert await status(site, context, path) == 401
        assert await status(site, context, path, additional_headers=bearer("wrong-key-0123456789")) == 401
    assert await status(site, context, f"/v1/realtime?key={ANNA}") == 401, "no key in an address, but where it must be"
    for path in ("/metrics", "/v1/models"):
        assert (await site.http(path, ssl=context)).status == 401
        assert (await site.http(path, ssl=context, headers=bearer(ANNA))).status == 200
    assert (await site.http(SECRETS, "POST", b"{}", ssl=context)).status == 401
    assert (await site.http("/healthz", ssl=context)).status == 200
    assert (await site.http("/", ssl=context)).status == 200, "the page itself is no secret, and asks for the key"


async def test_a_page_without_a_key_is_told_so_in_a_way_that_a_page_can_hear(
    site: Site, context: ssl.SSLContext
) -> None:
    for offered in (["liveagent.v1"], ["liveagent.v1", "liveagent.key.wrong-key-0123456789"]):
        async with site.connect("/live", "wss", ssl=context, subprotocols=offered) as socket:
            assert socket.subprotocol == "liveagent.v1"
            with pytest.raises(websockets.ConnectionClosed) as why:
                await socket.recv()
            assert why.value.rcvd is not None and why.value.rcvd.code == 4401
    async with site.talk(scheme="wss", ssl=context, subprotocols=["liveagent.v1", f"liveagent.key.{ANNA}"]) as talk:
        await talk.greeted()
        assert talk.socket.subprotocol == "liveagent.v1", "and never the key"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/realtime", {"additional_headers": bearer(ANNA)}),
        ("/v1/realtime", {"subprotocols": ["realtime", f"openai-insecure-api-key.{ANNA}"]}),
        (GEMINI, {"additional_headers": {"x-goog-api-key": ANNA}}),
        (f"{GEMINI}?key={ANNA}", {}),
        (f"{GEMINI}Constrained?access_token={ANNA}", {}),
        (f"{GEMINI}Constrained", {"additional_headers": {"Authorization": f"Token {ANNA}"}}),
    ],
)
async def test_a_key_is_taken_where_clients_put_it(
    site: Site, context: ssl.SSLContext, path: str, more: dict[str, object]
) -> None:
    async with site.connect(path, "wss", ssl=context, **more) as socket:
        if "GenerativeService" in path:
            await socket.send('{"setup":{}}')
        said = json.loads(await socket.recv())
        assert said.get("type") == "session.created" or "setupComplete" in said


async def test_a_key_for_one_session_opens_one_session_and_brings_its_settings(
    site: Site, context: ssl.SSLContext
) -> None:
    wanted = {"expires_after": {"anchor": "created_at", "seconds": 30},
              "session": {"type": "realtime", "instructions": "Only whisper."}}  # fmt: skip
    made = await site.http(SECRETS, "POST", json.dumps(wanted).encode(), ssl=context, headers=bearer(ANNA))
    assert made.status == 200
    key = made.json["value"]
    assert key.startswith("ek_") and 0 < made.json["expires_at"] - time.time() <= 30
    assert made.json["session"]["instructions"] == "Only whisper."
    another = await site.http(SECRETS, "POST", b"{}", ssl=context, headers=bearer(key))
    assert another.status == 401, "it makes no others"
    assert (await site.http("/metrics", ssl=context, headers=bearer(key))).status == 401
    offered = ["realtime", f"openai-insecure-api-key.{key}"]
    async with site.connect("/v1/realtime", "wss", ssl=context, subprotocols=offered) as socket:
        while (said := json.loads(await socket.recv()))["type"] != "session.updated":
            pass
        assert said["session"]["instructions"] == "Only whisper."
    assert await status(site, context, "/v1/realtime", subprotocols=offered) == 401


async def test_geminis_keys_for_one_session_are_made_and_used_up_too(site: Site, context: ssl.SSLContext) -> None:
    assert (await site.http("/v1alpha/auth_tokens", "POST", b"{}", ssl=context)).status == 401
    anna = {"x-goog-api-key": ANNA}
    made = await site.http("/v1alpha/auth_tokens", "POST", b'{"uses":5}', ssl=context, headers=anna)
    token = made.json["name"]
    assert token.startswith("auth_tokens/")
    path, shown = f"{GEMINI}Constrained", {"Authorization": f"Token {token}"}
    async with site.connect(path, "wss", ssl=context, additional_headers=shown) as socket:
        await socket.send('{"setup":{}}')
        assert "setupComplete" in json.loads(await socket.recv())
    assert await status(site, context, path, additional_headers=shown) == 401


async def test_an_expired_key_for_one_session_opens_none(site: Site, context: ssl.SSLContext) -> None:
    made = await site.http(SECRETS, "POST", b"{}", ssl=context, headers=bearer(ANNA))
    key = made.json["value"]
    door = site.server.door
    now = door._now_s
    door._now_s = lambda: now() + 601
    try:
        assert await status(site, context, "/v1/realtime", additional_headers=bearer(key)) == 401
    finally:
        door._now_s = now


async def test_a_conversation_is_its_owners_alone(site: Site, context: ssl.SSLContext) -> None:
    def as_who(key: str, **more: str) -> dict[str, Any]:
        return {"scheme": "wss", "ssl": context, "additional_headers": bearer(key, **more)}

    async with site.talk(**as_who(ANNA, **{"x-user": "a1"})) as talk:
        await talk.greeted()
        ticket = talk.ticket
        await talk.cut()
    await eventually(lambda: site.server.seats.parked == 1)
    for thief in (as_who(BERT), as_who(ANNA, **{"x-user": "a2"}), as_who(ANNA)):
        async with site.talk(resume=ticket, **thief) as talk:
            assert (await talk.until("problem"))["code"] == "gone"
    made = await site.http(SECRETS, "POST", b"{}", ssl=context, headers=bearer(ANNA))
    again = as_who(made.json["value"], **{"x-user": "a1"})  # a key for one session is its maker's
    async with site.talk(resume=ticket, **again) as talk:
        assert (await talk.greeted())["resumed"]


async def test_whoever_admits_decides_what_a_session_is(site: Site, context: ssl.SSLContext) -> None:
    async with site.talk(scheme="wss", ssl=context, additional_headers=bearer(BERT)) as talk:
        agent = (await talk.greeted())["agent"]
        assert agent["instructions"] == "Be very brief." and agent["tools"] == []
    async with site.talk(scheme="wss", ssl=context, additional_headers=bearer(ANNA)) as talk:
        assert (await talk.greeted())["agent"]["tools"]
    mallory = bearer(ANNA, **{"x-user": "mallory"})
    assert await status(site, context, "/live", additional_headers=mallory) == 403


async def test_plain_http_is_not_spoken_where_there_is_tls(site: Site) -> None:
    with pytest.raises((websockets.InvalidHandshake, OSError, EOFError)):
        await site.connect("/live")


# --- the certificate


def test_a_certificate_is_good_for_every_name_of_this_machine(tls: tuple[Path, Path], context: ssl.SSLContext) -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= set(own_names())
    assert tls[1].stat().st_mode & 0o077 == 0, "the key is its owner's alone"
    assert len(fingerprint(tls[0])) == 32 * 3 - 1
    subject = next(iter(context.get_ca_certs()))["subjectAltName"]
    assert ("DNS", "localhost") in subject and ("IP Address", "127.0.0.1") in subject


def test_it_is_made_once_and_anew_when_a_name_is_missing(tmp_path: Path) -> None:
    first = self_signed(tmp_path, ["localhost"])[0].read_bytes()
    assert self_signed(tmp_path, ["localhost"])[0].read_bytes() == first
    assert self_signed(tmp_path, ["localhost", "192.168.1.20"])[0].read_bytes() != first
    (tmp_path / "liveagent.crt").write_bytes(b"damaged")
    assert b"BEGIN CERTIFICATE" in self_signed(tmp_path, ["localhost"])[0].read_bytes()


def test_two_certificates_have_two_keys() -> None:
    assert make(["localhost"])[1] != make(["localhost"])[1]
