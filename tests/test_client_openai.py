"""The official Python client of OpenAI's, unmodified, in whole conversations with a real server."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openai.resources.realtime", reason="pip install 'openai[realtime]'")
pytest.importorskip("websockets")

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liveagent.runtime.server import Server
from liveagent.table import Thing
from tests.caller import AGENT, KEY, STAR, STORY, TABLE, Inside, jpeg, paced, patient, speech, until
from tests.openai_peer import Order, check
from tests.site import WAIT_S, Site, eventually, serving

pytestmark = [pytest.mark.slow, pytest.mark.clients]

RATE_HZ = 24_000
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Call:
    """A connection of the client's, and everything that came over it, which is checked as it comes."""

    def __init__(self, site: Site, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []
        self.site = site
        self._order = Order()
        self._seen = 0
        self._came = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                data = await self.connection.recv_bytes()
                told = json.loads(data)
                assert self.connection.parse_event(data).type == told["type"]
                self.events.append(told)
                self._came.set()
                check(told)
                self._order.feed(told)
        finally:
            self._came.set()

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next event of this kind, of those that nobody has waited for yet."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._seen < len(self.events):
                    event = self.events[self._seen]
                    self._seen += 1
                    if event["type"] == kind and all(event.get(name) == value for name, value in fields.items()):
                        return event
                if self._reading.done():
                    self._reading.result()
                    raise AssertionError(f"the connection ended before {kind}")
                self._came.clear()
                await self._came.wait()

    async def close(self) -> None:
        """Everything that came was in order."""
        self._reading.cancel()
        (why,) = await asyncio.gather(self._reading, return_exceptions=True)
        if isinstance(why, Exception) and not isinstance(why, ConnectionClosed):
            raise why

    async def settle(self, **session: Any) -> dict[str, Any]:
        """Part of the session, as it is told back."""
        change: Any = {"type": "realtime", **session}
        await self.connection.session.update(session=change)
        told: dict[str, Any] = (await self.until("session.updated"))["session"]
        return told

    async def say(self, words: str, silence_s: float = 1.2, at_once: bool = False) -> None:
        """Out loud."""
        pcm = speech(words, RATE_HZ, silence_s)
        if at_once:
            for at in range(0, len(pcm), RATE_HZ):
                await self.append(pcm[at : at + RATE_HZ].astype("<i2").tobytes())
            return
        async for piece in paced(pcm, RATE_HZ):
            await self.append(piece)

    async def append(self, piece: bytes) -> None:
        await self.connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

    async def type(self, words: str, **fields: Any) -> None:
        content = [{"type": "input_text", "text": words}]
        item: Any = {"type": "message", "role": "user", "content": content, **fields}
        await self.connection.conversation.item.create(item=item)

    async def show(self, *things: Thing, words: str = "") -> None:
        """A picture of these on the table, which is no question by itself."""
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg(*things)).decode()
        content: Any = [{"type": "input_image", "image_url": url, "detail": "auto"}]
        if words:
            content.insert(0, {"type": "input_text", "text": words})
        await self.connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})

    async def truncate(self, item_id: str, end_ms: int) -> str:
        """So much of it was heard; what the item says then."""
        connection = self.connection
        await connection.conversation.item.truncate(item_id=item_id, content_index=0, audio_end_ms=end_ms)
        assert (await self.until("conversation.item.truncated"))["audio_end_ms"] == end_ms
        await connection.conversation.item.retrieve(item_id=item_id)
        (part,) = (await self.until("conversation.item.retrieved"))["item"]["content"]
        return str(part["transcript"])

    async def answer(self) -> dict[str, Any]:
        """The response that ends next."""
        response: dict[str, Any] = (await self.until("response.done"))["response"]
        return response

    def sound(self, response: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.int16]]:
        """What was spoken in it."""
        pieces = [
            base64.b64decode(event["delta"])
            for event in self.events
            if event["type"] == "response.output_audio.delta" and event["response_id"] == response["id"]
        ]
        return np.frombuffer(b"".join(pieces), "<i2")

    @property
    def inside(self) -> Inside:
        return Inside(self.site, self.events[0]["session"]["id"])


def words(response: dict[str, Any]) -> str:
    """What the replies of a response say."""
    parts = [part for item in response["output"] for part in item.get("content", [])]
    return " ".join(part.get("transcript") or part.get("text") or "" for part in parts).strip()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving(patient(Server(AGENT, lanes=4, keys=[KEY], page=False))) as site:
        yield site


def client(site: Site, key: str = KEY) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{site.port}/v1", api_key=key, max_retries=0)


@asynccontextmanager
async def calling(site: Site, key: str = KEY) -> AsyncIterator[Call]:
    async with client(site, key) as http, http.realtime.connect(model="gpt-realtime") as connection:
        call = Call(site, connection)
        try:
            await call.until("session.created")
            yield call
        finally:
            await call.close()


@pytest.fixture
async def call(site: Site) -> AsyncIterator[Call]:
    async with calling(site) as call:
        yield call
    await eventually(lambda: not len(site.server.seats))


async def test_a_spoken_command_is_heard_done_and_answered_aloud(call: Call) -> None:
    await call.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    await call.say("turn on the kitchen light")
    heard = await call.until("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "turn on the kitchen light"
    response = await call.answer()
    assert response["status"] == "completed" and "kitchen light is on" in words(response)
    sound = call.sound(response)
    assert len(sound) > RATE_HZ // 2 and np.abs(sound).max() > 3000
    assert "turn on the kitchen light" in await call.inside.memory()


async def test_typed_words_are_answered_under_the_ids_and_metadata_of_the_client(call: Call) -> None:
    await call.type("set a timer for ten minutes", id="mine_1")
    added = await call.until("conversation.item.added")
    assert added["item"]["id"] == "mine_1" and added["previous_item_id"] is None
    await call.connection.response.create(response={"metadata": {"client_event_id": "7"}})
    assert (await call.until("response.created"))["response"]["metadata"] == {"client_event_id": "7"}
    response = await call.answer()
    assert "timer set for ten minutes" in words(response) and len(call.sound(response))


async def test_a_session_that_is_set_in_parts_keeps_each_of_them(call: Call) -> None:
    await call.settle(instructions="You are a home.")
    await call.settle(tools=[WEATHER], tool_choice="auto")
    told = await call.settle(audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 400}}})
    assert told["instructions"] == "You are a home." and told["tools"] == [WEATHER]
    detection = told["audio"]["input"]["turn_detection"]
    assert detection["silence_duration_ms"] == 400 and detection["interrupt_response"] is True
    told = await call.settle(tracing="auto")
    assert told["tools"] == [WEATHER] and told["audio"]["input"]["turn_detection"] == detection


async def test_replies_may_be_written(call: Call) -> None:
    assert (await call.settle(output_modalities=["text"]))["output_modalities"] == ["text"]
    await call.say("turn on the kitchen light")
    response = await call.answer()
    assert "kitchen light is on" in words(response) and not len(call.sound(response))
    assert (await call.settle(output_modalities=["audio"]))["output_modalities"] == ["audio"]
    await call.type("hello")
    await call.connection.response.create()
    assert len(call.sound(await call.answer()))


async def test_a_picture_is_seen(call: Call) -> None:
    await call.show(*TABLE, words="is there a red ball")
    item = (await call.until("conversation.item.added"))["item"]
    assert "image_url" not in json.dumps(item)
    await call.connection.response.create()
    response = await call.answer()
    assert response["status"] == "completed" and words(response)
    assert response["usage"]["input_token_details"]["image_tokens"] > 0
    assert await call.inside.pictures() == 1
    await call.type("what is on the table")
    await call.connection.response.create()
    assert "red ball" in words(await call.answer())


async def test_a_picture_that_is_none_is_an_error_that_names_its_event(call: Call) -> None:
    url = "data:image/jpeg;base64," + base64.b64encode(jpeg(*TABLE)[:200]).decode()
    content: Any = [{"type": "input_image", "image_url": url}]
    await call.connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": content}, event_id="evt_picture"
    )
    error = (await call.until("error"))["error"]
    assert error["event_id"] == "evt_picture" and error["code"] == "bad_picture"
    await call.type("hello")
    await call.connection.response.create()
    assert (await call.answer())["status"] == "completed"


async def test_a_tool_of_the_clients_is_called_answered_and_spoken_of(call: Call) -> None:
    await call.settle(tools=[WEATHER])
    await call.type("what is the weather in paris")
    await call.connection.response.create()
    asked = await call.until("response.function_call_arguments.done")
    assert asked["name"] == "get_weather" and json.loads(asked["arguments"]) == {"city": "paris"}
    done = await call.answer()
    (item,) = done["output"]
    assert item["type"] == "function_call" and item["status"] == "completed" and item["call_id"] == asked["call_id"]
    output: Any = {"type": "function_call_output", "call_id": item["call_id"], "output": "it is raining in paris"}
    await call.connection.conversation.item.create(item=output)
    await call.connection.response.create()
    response = await call.answer()
    assert "raining" in words(response) and len(call.sound(response))


async def test_turns_by_hand(call: Call) -> None:
    await call.settle(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    await call.connection.input_audio_buffer.commit()
    assert (await call.until("error"))["error"]["code"] == "input_audio_buffer_commit_empty"
    await call.say("turn on the bedroom light", at_once=True)
    await call.connection.input_audio_buffer.clear()
    await call.until("input_audio_buffer.cleared")
    await call.say("turn on the kitchen light", silence_s=0.1, at_once=True)
    await call.connection.input_audio_buffer.commit()
    await call.until("input_audio_buffer.committed")
    heard = await call.until("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "turn on the kitchen light"
    assert not [event for event in call.events if event["type"] == "response.created"]
    await call.connection.response.create()
    assert "kitchen light is on" in words(await call.answer())
    assert "bedroom" not in await call.inside.memory()


async def test_who_speaks_into_a_reply_ends_it_and_what_was_not_heard_is_not_remembered(call: Call) -> None:
    await call.show(*STAR)
    first = await call.until("response.output_audio.delta")
    await asyncio.sleep(1.5)
    speaking = asyncio.create_task(call.say("turn on the kitchen light"))
    started = await call.until("input_audio_buffer.speech_started")
    done = await call.answer()
    assert done["id"] == first["response_id"] and done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    kept = await call.truncate(first["item_id"], 1200)
    assert STORY.startswith(kept) and 1 < len(kept.split()) < 7
    assert (await call.until("input_audio_buffer.committed"))["item_id"] == started["item_id"]
    assert "kitchen light is on" in words(await call.answer())
    await speaking
    memory = await call.inside.memory()
    assert kept in memory and " ".join(STORY.split()[:9]) not in memory


async def test_who_speaks_while_a_finished_response_still_sounds_is_heard_and_the_rest_is_not_remembered(
    call: Call,
) -> None:
    await call.type("count to nine")
    await call.connection.response.create()
    done = await call.answer()
    assert done["status"] == "completed" and len(words(done).split()) >= 7
    await asyncio.sleep(0.5)
    speaking = asyncio.create_task(call.say("turn on the kitchen light"))
    await call.until("input_audio_buffer.speech_started")
    kept = await call.truncate(done["output"][0]["id"], 1200)
    assert kept and words(done).startswith(kept) and "six" not in kept
    assert "kitchen light is on" in words(await call.answer())
    await speaking
    said = (await call.inside.memory()).partition("<result>")[2].partition("<say>")[2]
    assert kept.split()[-1] in said and "seven" not in said


async def test_a_response_is_cancelled(call: Call) -> None:
    await call.show(*STAR)
    first = await call.until("response.output_audio.delta")
    await call.connection.response.cancel(response_id=first["response_id"])
    done = await call.answer()
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    await call.connection.response.cancel(event_id="evt_late")
    error = (await call.until("error"))["error"]
    assert error["code"] == "response_cancel_not_active" and error["event_id"] == "evt_late"
    await call.type("hello")
    await call.connection.response.create()
    assert (await call.answer())["status"] == "completed"
    assert STORY not in await call.inside.memory()


async def test_what_is_deleted_is_not_known_any_more(call: Call) -> None:
    await call.type("the code is nine seven five", id="secret")
    await call.type("hello", id="open")
    await call.connection.conversation.item.retrieve(item_id="secret")
    assert (await call.until("conversation.item.retrieved"))["item"]["id"] == "secret"

    async def known() -> bool:
        return "nine seven five" in await call.inside.memory()

    await until(known)
    await call.connection.conversation.item.delete(item_id="secret")
    await call.until("conversation.item.deleted", item_id="secret")

    async def forgotten() -> bool:
        return not await known()

    await until(forgotten)
    assert "hello" in await call.inside.memory()
    await call.connection.conversation.item.retrieve(item_id="secret")
    assert (await call.until("error"))["error"]["code"] == "item_retrieve_invalid_item_id"


async def test_broken_messages_are_answered_and_the_conversation_goes_on(call: Call) -> None:
    await call.type("turn on the kitchen light")
    link = call.connection._connection
    for broken in ('{"type": ', "[]", '{"type": "nonsense", "event_id": "evt_1"}', b"\x00\x01", "[" * 10_000,
                   '{"type": "input_audio_buffer.append", "audio": "%%%"}'):  # fmt: skip
        await link.send(broken)
        error = (await call.until("error"))["error"]
        assert error["type"] == "invalid_request_error" and error["code"] and error["message"]
        assert error["event_id"] == ("evt_1" if "evt_1" in str(broken) else None)
    await call.connection.response.create()
    assert "kitchen light is on" in words(await call.answer())


async def test_a_key_for_one_session_opens_one_that_is_set_already(site: Site) -> None:
    async with client(site) as http:
        assert [model.id async for model in http.models.list()] == ["nano"]
        made = await http.realtime.client_secrets.create(
            session={"type": "realtime", "instructions": "You are a home.", "output_modalities": ["text"]}
        )
    assert made.value.startswith("ek_")
    async with calling(site, made.value) as call:
        await call.type("hello")
        await call.connection.response.create()
        response = await call.answer()
        assert words(response) and not len(call.sound(response))
        assert (await call.settle(tracing=None))["instructions"] == "You are a home."
    for spent in (made.value, "a-key-that-nobody-has-given"):
        with pytest.raises(InvalidStatus) as refused:
            async with calling(site, spent):
                pass
        assert refused.value.response.status_code == 401


async def test_who_comes_to_a_full_server_is_told_when_to_come_again(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await eventually(lambda: site.server.engine.free_lanes == 4)
    async with AsyncExitStack() as calls:
        opened = [await calls.enter_async_context(calling(site)) for _ in range(4)]
        with pytest.raises(InvalidStatus) as refused:
            async with calling(site):
                pass
        response = refused.value.response
        assert response.status_code == 503 and int(response.headers["Retry-After"]) > 0
        await opened[0].type("hello")
        await opened[0].connection.response.create()
        assert (await opened[0].answer())["status"] == "completed"  # those who are there notice nothing
    await eventually(lambda: site.server.engine.free_lanes == 4)
    async with calling(site):
        pass
    assert not [each for each in caplog.records if each.levelname == "ERROR"]  # to refuse is no fault


async def test_a_server_that_stops_closes_in_the_middle_of_a_reply(site: Site) -> None:
    async with calling(site) as call:
        await call.show(*STAR)
        await call.until("response.output_audio.delta")
        stopping = asyncio.create_task(site.run(site.server.stop))
        with pytest.raises(ConnectionClosed) as closed:
            await call.until("never")
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
    await stopping
    assert not len(site.server.seats)
