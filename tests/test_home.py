"""`Home` against a real broker and devices that speak as Zigbee2MQTT's and Tasmota's do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from liveagent.clients.robot import contract
from liveagent.errors import ConfigError, ToolError
from liveagent.ports.mosquitto import Mosquitto
from liveagent.ports.mqtt import Message, Mqtt
from liveagent.runtime.home import Home
from tests.broker import broker as broker
from tests.test_discovery import TASMOTA, ZIGBEE

pytestmark = pytest.mark.slow

LAMP_CONFIG, LAMP = "homeassistant/light/0x00158d0001/light/config", "zigbee2mqtt/hallway lamp"


async def until(holds: Callable[[], Any], what: str) -> None:
    """Wait for the world to get there: a second here, and a test that cannot get there fails by its name."""
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never came: {what}")


class Devices:
    """Plays devices: keeps what it was sent, and answers as `answers` says: topic -> (payload -> topic, payload)."""

    def __init__(self, link: Mqtt) -> None:
        self.link = link
        self.got: list[Message] = []
        self.answers: dict[str, Callable[[bytes], tuple[str, str]]] = {}

    async def announce(self, topic: str, payload: Any) -> None:
        text = "" if payload is None else payload if isinstance(payload, str) else json.dumps(payload)
        await self.link.publish(topic, text, qos=1, retain=True)

    async def tell(self, topic: str, payload: Any, retain: bool = False) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        await self.link.publish(topic, text, qos=1, retain=retain)

    async def run(self, *topics: str) -> None:
        async for message in await self.link.subscribe(*topics):
            self.got.append(message)
            if message.topic in self.answers:
                await self.tell(*self.answers[message.topic](message.payload))


@asynccontextmanager
async def devices(broker: Mosquitto) -> AsyncIterator[Devices]:
    async with Mqtt(broker.url()) as link:
        played = Devices(link)
        running = asyncio.create_task(played.run("zigbee2mqtt/+/set/#", "cmnd/#"))
        yield played
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def home(broker: Mosquitto, **more: Any) -> AsyncIterator[Home]:
    made = Home(broker.url(), confirm_s=1.0, **more)
    await made.open(lambda: None)
    try:
        yield made
    finally:
        await made.close()


async def call(home: Home, name: str, **args: Any) -> str:
    tool = next(each for each in home.tools() if each.name == name)
    said = await tool(**tool.validate(args))
    assert isinstance(said, str)
    return said


def lamp(payload: bytes) -> tuple[str, str]:
    """What a Zigbee lamp tells once it was told something."""
    return LAMP, json.dumps({"brightness": 127, **json.loads(payload)})


async def test_a_lamp_that_is_announced_is_turned_on_and_says_so(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        for topic, payload in ZIGBEE.items():
            await played.announce(topic, payload)
        played.answers[f"{LAMP}/set"] = lamp
        async with home(broker) as found:
            assert "turn" in {tool.name for tool in found.tools()}, "what was announced before is there at once"
            assert await call(found, "turn", device="hallway lamp", state="on") == "the hallway lamp is on"
            assert await call(found, "set_brightness", device="hallway lamp", percent=50) == (
                "the hallway lamp is at 50 percent")
            assert await call(found, "check_home", device="hallway lamp") == "the hallway lamp is on"
            assert [json.loads(each.payload) for each in played.got] == [
                {"state": "ON"}, {"state": "ON", "brightness": 127}]
            assert not any(each.retain for each in played.got)
            assert found.problems() == []


async def test_what_a_device_does_not_confirm_is_said_to_be_sent_and_no_more(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        await played.announce(LAMP_CONFIG, ZIGBEE[LAMP_CONFIG])
        await played.tell(LAMP, {"state": "OFF"}, retain=True)
        async with home(broker) as found:
            said = await call(found, "turn", device="hallway lamp", state="on")
            assert said == "sent, but the hallway lamp has not confirmed it"
            played.answers[f"{LAMP}/set"] = lambda payload: (LAMP, '{"state": "OFF"}')  # it says no
            assert "not confirmed" in await call(found, "turn", device="hallway lamp", state="on")
            assert await call(found, "turn", device="hallway lamp", state="off") == "the hallway lamp is off"


async def test_a_lamp_that_is_on_already_is_on(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        await played.announce(LAMP_CONFIG, ZIGBEE[LAMP_CONFIG])
        await played.tell(LAMP, {"state": "ON"}, retain=True)
        async with home(broker) as found:
            await until(lambda: found._states, "the lamp's state")
            assert await call(found, "turn", device="hallway lamp", state="on") == "the hallway lamp is on"


async def test_devices_that_appear_and_vanish_change_the_tools_at_once(broker: Mosquitto) -> None:
    changes: list[int] = []
    made = Home(broker.url())
    await made.open(lambda: changes.append(1))
    try:
        async with devices(broker) as played:
            assert made.tools() == ()
            await played.announce(LAMP_CONFIG, ZIGBEE[LAMP_CONFIG])
            await until(lambda: made.tools(), "the lamp")
            assert changes
            turn = next(tool for tool in made.tools() if tool.name == "turn")
            await played.announce(LAMP_CONFIG, None)
            await until(lambda: not made.tools(), "the end of the lamp")
            with pytest.raises(ToolError, match="not there any more"):
                await turn(device="hallway lamp", state="on")
            assert played.got == []
    finally:
        await made.close()


async def test_garbage_is_named_and_the_others_live(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        await played.announce("homeassistant/light/bad/config", "{" * 5000)
        await played.announce("homeassistant/light/wild/config", {"cmd_t": "home/#", "name": "Wild lamp"})
        await played.announce("homeassistant/switch/huge/config", "x" * 300_000)
        for topic, payload in (ZIGBEE | TASMOTA).items():
            await played.announce(topic, payload)
        await played.tell("zigbee2mqtt/trv", "\x00 not json")
        async with home(broker) as found:
            problems = "\n".join(found.problems())
            assert all(name in problems for name in ("light/bad", "light/wild", "switch/huge"))
            assert {"turn", "turn_appliance", "lock"} <= {tool.name for tool in found.tools()}
            assert "not said anything" in await call(found, "check_home", device="bathroom thermostat")


async def test_what_says_it_is_away_is_sent_nothing(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        await played.announce(*next(iter(TASMOTA.items())))
        await played.tell("tele/tasmota_A1/LWT", "Offline", retain=True)
        async with home(broker) as found:
            await until(lambda: found._states, "its last will")
            with pytest.raises(ToolError, match="cannot be reached"):
                await call(found, "turn", device="desk lamp", state="on")
            await played.tell("tele/tasmota_A1/LWT", "Online", retain=True)
            played.answers["cmnd/tasmota_A1/POWER"] = lambda payload: ("tele/tasmota_A1/STATE", '{"POWER": "ON"}')
            await until(lambda: found._states.get("tele/tasmota_A1/LWT") == b"Online", "that it is back")
            assert await call(found, "turn", device="desk lamp", state="on") == "the desk lamp is on"


async def test_while_the_broker_is_gone_nothing_is_sent_and_nothing_is_made_up_for(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        await played.announce(LAMP_CONFIG, ZIGBEE[LAMP_CONFIG])
        async with home(broker) as found:
            assert found.tools()
            broker.kill()
            await until(lambda: found._link is None, "that the broker is gone")
            with pytest.raises(ToolError, match="nothing was sent"):
                await call(found, "turn", device="hallway lamp", state="on")
            assert found.problems() and found.tools(), "what there was is still known"
            broker.start()
            async with devices(broker) as again:
                again.answers[f"{LAMP}/set"] = lamp
                await again.announce(LAMP_CONFIG, ZIGBEE[LAMP_CONFIG])
                await until(lambda: found._link is not None, "the broker again")
                await until(lambda: found.problems() == [], "no problem")
                await asyncio.sleep(0.3)
                assert again.got == []
                assert await call(found, "turn", device="hallway lamp", state="on") == "the hallway lamp is on"


async def test_what_the_owner_calls_harmless_asks_for_no_confirmation(broker: Mosquitto) -> None:
    async with devices(broker) as played:
        for topic, payload in TASMOTA.items():
            await played.announce(topic, payload)
        async with home(broker, harmless=["the kettle"]) as found:
            assert {tool.name: tool.risk for tool in found.tools()}["turn"] == "reversible"
            assert "turn_appliance" not in {tool.name for tool in found.tools()}


async def test_a_broker_that_is_not_there_yet_is_waited_for_and_one_that_refuses_is_told() -> None:
    absent = Home("mqtt://127.0.0.1:1")
    await absent.open(lambda: None)
    assert absent.tools() == () and "no broker" in absent.problems()[0]
    await absent.close()
    with pytest.raises(ConfigError):
        Home("http://example.org")
    with Mosquitto(users={"anna": "secret"}) as strict:
        stranger = Home(strict.url())
        with pytest.raises(ConfigError, match="will not have us"):
            await stranger.open(lambda: None)
        await stranger.close()


DESCRIBE = {"schema": "liveagent.robot/1", "site": "lab", "robot": "arm_1", "boot": "b1", "description": "An arm",
            "frames": [{"name": "mast"}]}  # fmt: skip


async def test_our_robots_are_announced_again_when_home_assistant_starts_and_taken_back(broker: Mosquitto) -> None:
    where = "homeassistant/device/liveagent_lab_arm_1/config"
    async with devices(broker) as played:
        seen: list[Message] = []

        async def watch() -> None:
            async for message in await played.link.subscribe(where):
                seen.append(message)

        watching = asyncio.create_task(watch())
        await played.announce("liveagent/v1/lab/arm_1/describe", DESCRIBE)
        await played.announce("liveagent/v1/lab/liar/describe", DESCRIBE)
        await played.announce("liveagent/v1/lab/garbage/describe", "{")
        async with home(broker) as found:
            await until(lambda: seen, "the announcement")
            said = json.loads(seen[0].payload)
            assert said["o"]["name"] == "liveagent" and set(said["cmps"]) == {
                "connection", "stopped", "stop", "camera_mast"}
            top = "liveagent/v1/lab/arm_1"
            assert said["cmps"]["stop"]["cmd_t"] == f"{top}/stop" and said["avty"][0]["t"] == f"{top}/connection"
            order = re.sub(r"\{\{[^}]*\}\}", "1790000000000", said["cmps"]["stop"]["cmd_tpl"])
            stop = contract.read(contract.Stop, order)
            assert (stop.id, stop.src) == ("ha-1790000000000", "home_assistant")
            assert said["cmps"]["camera_mast"]["t"] == f"{top}/camera/mast/jpeg"
            await played.tell("homeassistant/status", "online")
            await until(lambda: len(seen) == 2, "the second announcement")
            assert seen[1].payload == seen[0].payload
            assert found.tools() == () and found.problems() == [], "our own robots are no devices of the home"
            await played.announce("liveagent/v1/lab/arm_1/describe", None)
            await until(lambda: len(seen) == 3, "that it is taken back")
            assert seen[2].payload == b""
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_person_types_and_the_lamp_goes_on_and_the_door_stays_locked(broker: Mosquitto, tmp_path: Path) -> None:
    """All of it: an agent with a home in a program of its own, a broker, and devices that speak as real ones do."""
    program = (
        "from liveagent import Agent, Home\nfrom liveagent.policy import Policy\n"
        f"agent = Agent('nano', tools=[Home({broker.url()!r})], voice=None, policy=Policy(confirm_s=0.5))\n"
        "agent.talk(typed=['turn on the hallway lamp', 'unlock the front door'])\n"
    )
    async with devices(broker) as played:
        for topic, payload in ZIGBEE.items():
            await played.announce(topic, payload)
        played.answers[f"{LAMP}/set"] = lamp
        running = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "COLUMNS": "200"},
        )  # fmt: skip
        said, _ = await running.communicate()
        text = said.decode(errors="replace")
        assert running.returncode == 0, text
        assert [(each.topic, json.loads(each.payload)) for each in played.got] == [(f"{LAMP}/set", {"state": "ON"})]
        assert "hallway lamp is on" in text.lower(), text
