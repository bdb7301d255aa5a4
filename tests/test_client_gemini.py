"""Google's official Python client, unmodified, in whole Gemini Live conversations with a real server over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("google.genai", reason="pip install google-genai")

from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.exceptions import InvalidStatus

from liveagent.ports.certificate import self_signed
from liveagent.runtime.server import Server
from tests.caller import AGENT, KEY, STAR, STORY, TABLE, Inside, jpeg, paced, patient, speech, until
from tests.site import WAIT_S, Site, eventually, serving

pytestmark = [pytest.mark.slow, pytest.mark.clients]

RATE_HZ = 16_000
SPEECH = f"audio/pcm;rate={RATE_HZ}"
WEATHER = {
    "function_declarations": [
        {
            "name": "get_weather",
            "description": "Get the current weather for a city",
            "parameters_json_schema": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        }
    ]
}


class Call:
    """A session of the client's, and everything that came over it."""

    def __init__(self, site: Site, session: AsyncSession) -> None:
        self.site, self.session = site, session
        self.told: list[types.LiveServerMessage] = []
        self._seen = 0
        self._came = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                async for message in self.session.receive():  # it ends with every turn
                    self.told.append(message)
                    self._came.set()
        finally:
            self._came.set()

    async def until(self, wanted: Any) -> types.LiveServerMessage:
        """The next message for which this holds, of those that nobody has waited for yet."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._seen < len(self.told):
                    message = self.told[self._seen]
                    self._seen += 1
                    if wanted(message):
                        return message
                if self.reading.done():
                    self.reading.result()
                self._came.clear()
                await self._came.wait()

    async def turn(self) -> Turn:
        """Everything up to the end of the next turn."""
        since = self._seen
        await self.until(lambda message: message.server_content and message.server_content.turn_complete)
        return Turn(self.told[since : self._seen])

    async def hear(self, words: str, silence_s: float = 1.2) -> None:
        async for piece in paced(speech(words, RATE_HZ, silence_s), RATE_HZ):
            await self.session.send_realtime_input(audio=types.Blob(data=piece, mime_type=SPEECH))

    async def ask(self, *parts: types.Part) -> Turn:
        await self.session.send_client_content(turns=types.Content(role="user", parts=list(parts)))
        return await self.turn()

    @property
    def inside(self) -> Inside:
        assert self.session.session_id is not None
        return Inside(self.site, self.session.session_id)


class Turn:
    """What came in one turn."""

    def __init__(self, messages: list[types.LiveServerMessage]) -> None:
        self.content = [message.server_content for message in messages if message.server_content]
        self.usage = messages[-1].usage_metadata

    @property
    def heard(self) -> str:
        return " ".join(c.input_transcription.text or "" for c in self.content if c.input_transcription).strip()

    @property
    def said(self) -> str:
        return "".join(c.output_transcription.text or "" for c in self.content if c.output_transcription).strip()

    @property
    def written(self) -> str:
        return "".join(part.text or "" for part in self._parts).strip()

    @property
    def interrupted(self) -> bool:
        return any(c.interrupted for c in self.content)

    @property
    def sound(self) -> np.ndarray[Any, np.dtype[np.int16]]:
        blobs = [part.inline_data for part in self._parts if part.inline_data]
        assert {blob.mime_type for blob in blobs} <= {"audio/pcm;rate=24000"}
        return np.frombuffer(b"".join(blob.data or b"" for blob in blobs), "<i2")

    @property
    def _parts(self) -> list[types.Part]:
        return [part for c in self.content if c.model_turn for part in c.model_turn.parts or ()]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"), ["localhost", "127.0.0.1"])


@pytest.fixture(scope="module")
def site(certificate: tuple[Path, Path]) -> Iterator[Site]:
    server = Server(AGENT, lanes=4, keys=[KEY], page=False)
    with serving(patient(server), certificate=certificate) as site:
        yield site


def client_of(site: Site, certificate: tuple[Path, Path], key: str = KEY, vertexai: bool = False) -> genai.Client:
    trust = ssl.create_default_context(cafile=str(certificate[0]))
    options = types.HttpOptions(base_url=f"https://127.0.0.1:{site.port}", async_client_args={"ssl": trust})
    return genai.Client(api_key=key, vertexai=vertexai, http_options=options)


@pytest.fixture
def client(site: Site, certificate: tuple[Path, Path]) -> Iterator[genai.Client]:
    yield client_of(site, certificate)


@asynccontextmanager
async def calling(site: Site, client: genai.Client, **config: Any) -> AsyncIterator[Call]:
    config = {"response_modalities": ["AUDIO"], "input_audio_transcription": {}, "output_audio_transcription": {},
              **config}  # fmt: skip
    setup = types.LiveConnectConfig.model_validate(config)
    async with client.aio.live.connect(model="gemini-live", config=setup) as session:
        call = Call(site, session)
        try:
            yield call
        finally:
            call.reading.cancel()
            await asyncio.gather(call.reading, return_exceptions=True)


@pytest.fixture(autouse=True)
async def everybody_goes(site: Site) -> AsyncIterator[None]:
    yield
    await eventually(lambda: len(site.server.seats) == site.server.seats.parked)


async def test_a_spoken_command_is_heard_done_and_answered_aloud(site: Site, client: genai.Client) -> None:
    async with calling(site, client) as call:
        await call.hear("turn on the kitchen light")
        turn = await call.turn()
        assert turn.heard == "turn on the kitchen light" and "kitchen light is on" in turn.said
        assert len(turn.sound) > 12_000 and np.abs(turn.sound).max() > 3000
        assert turn.usage is not None and (turn.usage.total_token_count or 0) > 0
        assert turn.content[-2].generation_complete or any(c.generation_complete for c in turn.content)
        assert "turn on the kitchen light" in await call.inside.memory()


async def test_typed_words_both_ways(site: Site, client: genai.Client) -> None:
    async with calling(site, client) as call:
        turn = await call.ask(types.Part(text="set a timer for ten minutes"))
        assert "timer set for ten minutes" in turn.said and len(turn.sound) and not turn.interrupted
        await call.session.send_realtime_input(text="turn on the kitchen light")
        assert "kitchen light is on" in (await call.turn()).said


async def test_the_vertex_client_is_served_too(site: Site, certificate: tuple[Path, Path]) -> None:
    async with calling(site, client_of(site, certificate, vertexai=True)) as call:
        assert "kitchen light is on" in (await call.ask(types.Part(text="turn on the kitchen light"))).said


async def test_replies_may_be_written(site: Site, client: genai.Client) -> None:
    async with calling(site, client, response_modalities=["TEXT"]) as call:
        await call.hear("turn on the kitchen light")
        turn = await call.turn()
        assert "kitchen light is on" in turn.written and not len(turn.sound) and not turn.said


async def test_a_picture_in_a_message_is_seen(site: Site, client: genai.Client) -> None:
    async with calling(site, client) as call:
        turn = await call.ask(
            types.Part.from_bytes(data=jpeg(*TABLE), mime_type="image/jpeg"), types.Part(text="is there a red ball")
        )
        assert turn.said and await call.inside.pictures() == 1
        assert "red ball" in (await call.ask(types.Part(text="what is on the table"))).said


async def test_live_frames_are_seen_and_make_no_turn(site: Site, client: genai.Client) -> None:
    async with calling(site, client) as call:
        for _ in range(3):
            await call.session.send_realtime_input(video=types.Blob(data=jpeg(*TABLE), mime_type="image/jpeg"))
            await asyncio.sleep(0.4)

        async def seen() -> bool:
            return await call.inside.pictures() > 0

        await until(seen)
        assert not call.told
        await call.hear("what is on the table")
        turn = await call.turn()
        assert turn.heard == "what is on the table" and "red ball" in turn.said


async def test_a_tool_of_the_clients_is_called_answered_and_spoken_of(site: Site, client: genai.Client) -> None:
    async with calling(site, client, tools=[WEATHER]) as call:
        await call.session.send_realtime_input(text="what is the weather in paris")
        asked = (await call.until(lambda message: message.tool_call)).tool_call
        assert asked is not None and asked.function_calls is not None
        (function,) = asked.function_calls
        assert function.name == "get_weather" and function.args == {"city": "paris"} and function.id
        answer = types.FunctionResponse(id=function.id, name=function.name, response={"result": "it is raining"})
        await call.session.send_tool_response(function_responses=[answer])
        turn = await call.turn()
        assert "raining" in turn.said and len(turn.sound)


async def test_turns_by_hand(site: Site, client: genai.Client) -> None:
    by_hand = {"automatic_activity_detection": {"disabled": True}}
    async with calling(site, client, realtime_input_config=by_hand) as call:
        await call.session.send_realtime_input(activity_start=types.ActivityStart())
        await call.hear("turn on the kitchen light", 0.2)
        await asyncio.sleep(1.5)
        assert not call.told
        await call.session.send_realtime_input(activity_end=types.ActivityEnd())
        turn = await call.turn()
        assert turn.heard == "turn on the kitchen light" and "kitchen light is on" in turn.said


async def test_who_speaks_into_a_reply_ends_it_and_what_was_not_heard_is_not_remembered(
    site: Site, client: genai.Client
) -> None:
    async with calling(site, client) as call:
        await call.session.send_realtime_input(video=types.Blob(data=jpeg(*STAR), mime_type="image/jpeg"))
        await call.until(lambda message: message.data)
        await asyncio.sleep(1.0)
        speaking = asyncio.create_task(call.hear("turn on the kitchen light"))
        cut = await call.turn()
        assert cut.interrupted and not cut.content[-1].interrupted
        turn = await call.turn()
        await speaking
        assert turn.heard == "turn on the kitchen light" and "kitchen light is on" in turn.said
        memory = await call.inside.memory()
        assert STORY.split()[0] in memory and " ".join(STORY.split()[-12:]) not in memory


async def test_a_broken_message_closes_with_its_reason(site: Site, client: genai.Client) -> None:
    for broken in ("{", "[]", '{"nonsense": {}}', b"\x00\x01", '{"setup": {"model": "again"}}',
                   '{"realtimeInput": {"audio": {"data": "%%%", "mimeType": "audio/pcm"}}}'):  # fmt: skip
        async with calling(site, client) as call:
            await call.session._ws.send(broken)
            with pytest.raises(errors.APIError) as closed:
                await call.until(lambda message: False)
            assert closed.value.code == 1007 and len(str(closed.value)) > len("1007 None. ")
        await eventually(lambda: not len(site.server.seats))


async def test_a_broken_message_costs_the_connection_and_not_the_conversation(site: Site, client: genai.Client) -> None:
    async with calling(site, client, session_resumption={}) as call:
        update = (await call.until(lambda message: message.session_resumption_update)).session_resumption_update
        assert update is not None
        await call.ask(types.Part(text="remember this number nine seven five"))
        await call.session._ws.send("{")
        with pytest.raises(errors.APIError):
            await call.until(lambda message: False)
    async with calling(site, client, session_resumption={"handle": update.new_handle}) as call:
        assert "nine seven five" in await call.inside.memory()
        assert "kitchen light is on" in (await call.ask(types.Part(text="turn on the kitchen light"))).said


async def test_a_setup_that_cannot_be_closes_with_its_reason(site: Site, client: genai.Client) -> None:
    with pytest.raises(errors.APIError) as closed:
        async with calling(site, client, response_modalities=["IMAGE"]):
            pass
    assert closed.value.code == 1007


async def test_who_comes_back_over_another_connection_is_remembered(site: Site, client: genai.Client) -> None:
    async with calling(site, client, session_resumption={}) as call:
        update = (await call.until(lambda message: message.session_resumption_update)).session_resumption_update
        assert update is not None and update.resumable and update.new_handle
        await call.ask(types.Part(text="remember this number nine seven five"))
        number = call.inside.number
        call.session._ws.transport.abort()  # the cable is pulled
        await eventually(lambda: site.server.seats.parked == 1)
    async with calling(site, client, session_resumption={"handle": update.new_handle}) as call:
        assert call.session.session_id == number
        assert "nine seven five" in await call.inside.memory()
        fresh = (await call.until(lambda message: message.session_resumption_update)).session_resumption_update
        assert fresh is not None and fresh.new_handle not in ("", update.new_handle)
        assert "kitchen light is on" in (await call.ask(types.Part(text="turn on the kitchen light"))).said
    with pytest.raises(errors.APIError) as closed:  # a handle is good once
        async with calling(site, client, session_resumption={"handle": update.new_handle}):
            pass
    assert closed.value.code == 1008


async def test_a_server_that_stops_says_so(site: Site, client: genai.Client) -> None:
    async with calling(site, client) as call:
        await call.session.send_realtime_input(video=types.Blob(data=jpeg(*STAR), mime_type="image/jpeg"))
        await call.until(lambda message: message.data)
        stopping = asyncio.create_task(site.run(site.server.stop))
        going = (await call.until(lambda message: message.go_away)).go_away
        assert going is not None and going.time_left
        with pytest.raises(errors.APIError) as closed:
            await call.until(lambda message: False)
        assert closed.value.code == 1001
        await stopping


async def test_a_wrong_key_is_refused(site: Site, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with calling(site, client_of(site, certificate, "a-key-that-nobody-has-given")):
            pass
    assert refused.value.response.status_code == 401


async def test_who_comes_to_a_full_server_is_told_to_come_again(site: Site, client: genai.Client) -> None:
    await site.run(lambda: site.server.seats.end_all("stopped", 1001, ""))  # those that are parked
    async with AsyncExitStack() as calls:
        for _ in range(4):
            await calls.enter_async_context(calling(site, client))
        with pytest.raises(errors.APIError, match="try again later") as refused:
            async with calling(site, client):
                pass
        assert refused.value.code == 1013
