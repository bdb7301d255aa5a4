"""Announcements of devices, as Zigbee2MQTT, Tasmota and ESPHome write them, and what people can say to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from liveagent.announcement import COMPONENTS, PAYLOAD_BYTES, full_key, read_announcement
from liveagent.automaton import Automaton, Parse
from liveagent.discovery import ANNOUNCEMENTS, Discovery, Thing
from liveagent.errors import ConfigError, ProtocolError
from liveagent.found import read_found, written
from liveagent.home_tools import home_tools
from liveagent.lever import Lever
from liveagent.tool import check_tools
from liveagent.valuetemplate import CommandTemplate, ValueTemplate

BRIDGE = [
    {"topic": "zigbee2mqtt/bridge/state", "value_template": "{{ value_json.state }}"},
    {"topic": "zigbee2mqtt/hallway lamp/availability", "value_template": "{{ value_json.state }}"},
]
ZIGBEE: dict[str, dict[str, Any]] = {
    "homeassistant/light/0x00158d0001/light/config": {
        "availability": BRIDGE, "availability_mode": "all", "brightness": True, "brightness_scale": 254,
        "command_topic": "zigbee2mqtt/hallway lamp/set", "name": None, "object_id": "hallway_lamp", "schema": "json",
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0001"], "name": "hallway lamp", "manufacturer": "IKEA"},
        "origin": {"name": "Zigbee2MQTT", "sw": "2.1.0"}, "state_topic": "zigbee2mqtt/hallway lamp",
        "supported_color_modes": ["xy", "color_temp"], "unique_id": "0x00158d0001_light_zigbee2mqtt",
    },
    "homeassistant/cover/0x00158d0002/cover/config": {
        "command_topic": "zigbee2mqtt/bedroom blinds/set", "name": None, "unique_id": "0x00158d0002_cover",
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0002"], "name": "bedroom blinds"},
        "position_template": "{{ value_json.position }}", "position_topic": "zigbee2mqtt/bedroom blinds",
        "set_position_template": '{ "position": {{ position }} }',
        "set_position_topic": "zigbee2mqtt/bedroom blinds/set",
        "state_closed": "CLOSE", "state_open": "OPEN", "state_topic": "zigbee2mqtt/bedroom blinds",
        "value_template": "{{ value_json.state }}",
    },
    "homeassistant/climate/0x00158d0003/climate/config": {
        "action_template": "{% set values = {None:None,'idle':'idle'} %}{{ values[value_json.running_state] }}",
        "action_topic": "zigbee2mqtt/trv", "current_temperature_template": "{{ value_json.local_temperature }}",
        "current_temperature_topic": "zigbee2mqtt/trv", "max_temp": "30", "min_temp": "5", "temp_step": 0.5,
        "device": {"identifiers": "zigbee2mqtt_0x00158d0003", "name": "bathroom thermostat"}, "name": None,
        "mode_command_topic": "zigbee2mqtt/trv/set/system_mode", "mode_state_template": "{{ value_json.system_mode }}",
        "mode_state_topic": "zigbee2mqtt/trv", "modes": ["off", "heat", "auto"], "unique_id": "0x00158d0003_climate",
        "temperature_command_topic": "zigbee2mqtt/trv/set/occupied_heating_setpoint",
        "temperature_state_template": "{{ value_json.occupied_heating_setpoint }}",
        "temperature_state_topic": "zigbee2mqtt/trv", "temperature_unit": "C",
    },
    "homeassistant/sensor/0x00158d0003/linkquality/config": {
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0003"], "name": "bathroom thermostat"},
        "entity_category": "diagnostic", "name": "Linkquality", "state_topic": "zigbee2mqtt/trv",
        "unique_id": "0x00158d0003_linkquality", "value_template": "{{ value_json.linkquality }}",
    },
    "homeassistant/lock/0x00158d0004/lock/config": {
        "command_topic": "zigbee2mqtt/front door/set", "name": None, "payload_lock": "LOCK", "payload_unlock": "UNLOCK",
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0004"], "name": "front door"}, "state_locked": "LOCK",
        "state_topic": "zigbee2mqtt/front door", "state_unlocked": "UNLOCK", "unique_id": "0x00158d0004_lock",
        "value_template": "{{ value_json.state }}",
    },
    "homeassistant/select/0x00158d0004/sound/config": {
        "command_topic": "zigbee2mqtt/front door/set", "command_template": '{"sound": "{{ value }}"}',
        "name": "Sound level",
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0004"], "name": "front door"}, "options": ["quiet", "loud"],
        "unique_id": "0x00158d0004_sound",
    },
    "homeassistant/binary_sensor/0x00158d0005/contact/config": {
        "device": {"identifiers": ["zigbee2mqtt_0x00158d0005"], "name": "kitchen window"}, "device_class": "window",
        "payload_off": True, "payload_on": False, "state_topic": "zigbee2mqtt/kitchen window",
        "unique_id": "0x00158d0005_contact", "value_template": "{{ value_json.contact }}",
    },
}  # fmt: skip
TASMOTA: dict[str, dict[str, Any]] = {
    "homeassistant/light/A1B2C3_LI_1/config": {
        "name": "Desk lamp", "stat_t": "tele/tasmota_A1/STATE", "avty_t": "tele/tasmota_A1/LWT", "pl_avail": "Online",
        "pl_not_avail": "Offline", "cmd_t": "cmnd/tasmota_A1/POWER", "val_tpl": "{{value_json.POWER}}", "pl_off": "OFF",
        "pl_on": "ON", "uniq_id": "A1B2C3_LI_1", "dev": {"ids": ["A1B2C3"], "name": "Tasmota"},
        "bri_cmd_t": "cmnd/tasmota_A1/Dimmer", "bri_stat_t": "tele/tasmota_A1/STATE", "bri_scl": 100,
        "on_cmd_type": "brightness", "bri_val_tpl": "{{value_json.Dimmer}}",
        "rgb_cmd_t": "cmnd/tasmota_A1/Color2", "rgb_stat_t": "tele/tasmota_A1/STATE",
        "rgb_val_tpl": "{{value_json.Color.split(',')[0:3]|join(',')}}",
    },
    "homeassistant/switch/D4E5F6_RL_1/config": {
        "name": None, "stat_t": "tele/kettle/STATE", "avty_t": "tele/kettle/LWT", "pl_avail": "Online",
        "pl_not_avail": "Offline", "cmd_t": "cmnd/kettle/POWER", "val_tpl": "{{value_json.POWER}}", "pl_off": "OFF",
        "pl_on": "ON", "uniq_id": "D4E5F6_RL_1", "dev": {"ids": ["D4E5F6"], "name": "Kettle"},
    },
    "homeassistant/sensor/D4E5F6_ENERGY_Power/config": {
        "name": "Power", "stat_t": "tele/kettle/SENSOR", "val_tpl": "{{value_json['ENERGY']['Power']}}",
        "dev_cla": "power", "unit_of_meas": "W", "uniq_id": "D4E5F6_ENERGY_Power", "dev": {"ids": ["D4E5F6"]},
    },
}  # fmt: skip
NODE = {"ids": "24a160aabbcc", "name": "greenhouse node", "sw": "2026.10.0", "mdl": "esp32dev", "mf": "Espressif"}
ESPHOME: dict[str, dict[str, Any]] = {
    "homeassistant/light/greenhouse/grow_light/config": {
        "schema": "json", "brightness": True, "clrm": True, "sup_clrm": ["rgb"], "name": "Grow Light",
        "stat_t": "greenhouse/light/grow_light/state", "cmd_t": "greenhouse/light/grow_light/command",
        "avty_t": "greenhouse/status", "uniq_id": "ESPlightgrow_light", "dev": NODE,
    },
    "homeassistant/fan/greenhouse/vent/config": {
        "name": "Roof Fan", "stat_t": "greenhouse/fan/vent/state", "cmd_t": "greenhouse/fan/vent/command",
        "pct_stat_t": "greenhouse/fan/vent/speed/state", "pct_cmd_t": "greenhouse/fan/vent/speed/command",
        "spd_rng_max": 3, "avty_t": "greenhouse/status", "uniq_id": "ESPfanvent", "dev": NODE,
    },
    "homeassistant/number/greenhouse/soak/config": {
        "min": 1, "max": 60, "step": 1, "unit_of_meas": "min", "name": "Soak Time",
        "stat_t": "greenhouse/number/soak/state", "cmd_t": "greenhouse/number/soak/command",
        "avty_t": "greenhouse/status", "uniq_id": "ESPnumbersoak", "dev": NODE,
    },
    "homeassistant/button/greenhouse/restart/config": {
        "dev_cla": "restart", "name": "Restart Node", "cmd_t": "greenhouse/button/restart/command",
        "uniq_id": "ESPbuttonrestart", "dev": NODE,
    },
}  # fmt: skip
DEVICE: dict[str, dict[str, Any]] = {
    "homeassistant/device/garage_box/config": {
        "dev": {"ids": "garage_box", "name": "Garage box", "sa": "Garage"}, "o": {"name": "box", "sw": "1.0"},
        "~": "garage", "avty_t": "~/online", "qos": 1,
        "cmps": {
            "door": {"p": "cover", "dev_cla": "garage", "uniq_id": "box_door", "name": "Main door",
                     "cmd_t": "~/door/set", "stat_t": "~/door"},
            "lamp": {"p": "light", "uniq_id": "box_lamp", "name": "Work light",
                     "cmd_t": "~/lamp/set", "stat_t": "~/lamp"},
            "party": {"p": "scene", "uniq_id": "box_party", "name": "Party time",
                      "cmd_t": "~/scene", "pl_on": "party"},
            "cam": {"p": "camera", "uniq_id": "box_cam", "t": "~/cam"},
            "gone": {"p": "switch"},
        },
    },
}  # fmt: skip


def found(*groups: dict[str, Any]) -> Discovery:
    discovery = Discovery()
    for group in groups:
        for topic, payload in group.items():
            discovery.feed(topic, json.dumps(payload).encode())
    return discovery


def thing(discovery: Discovery, name: str) -> Thing:
    return next(each for each in discovery.things if each.name == name)


def lever(discovery: Discovery, name: str, what: str) -> Lever:
    return next(each for each in thing(discovery, name).levers.levers if each.what == what)


ALL = (ZIGBEE, TASMOTA, ESPHOME, DEVICE)


def test_everything_that_is_announced_has_a_name_that_one_can_say() -> None:
    discovery = found(*ALL)
    assert {each.name: (each.kind, each.danger) for each in discovery.things} == {
        "hallway lamp": ("light", "reversible"),
        "bedroom blinds": ("cover", "reversible"),
        "bathroom thermostat": ("climate", "hazard"),
        "front door": ("lock", "hazard"),
        "sound level": ("select", "hazard"),  # it is on the lock's own topic
        "kitchen window": ("binary_sensor", "observe"),
        "desk lamp": ("light", "reversible"),
        "kettle": ("switch", "hazard"),
        "kettle power": ("sensor", "observe"),
        "grow light": ("light", "reversible"),
        "roof fan": ("fan", "reversible"),
        "soak time": ("number", "reversible"),
        "restart node": ("button", "hazard"),
        "main door": ("cover", "hazard"),
        "work light": ("light", "reversible"),
        "party time": ("scene", "reversible"),
    }
    assert discovery.problems == ()


@pytest.mark.parametrize(
    ("name", "what", "value", "topic", "payload"),
    [
        ("hallway lamp", "state", "on", "zigbee2mqtt/hallway lamp/set", '{"state": "ON"}'),
        ("hallway lamp", "brightness", 50, "zigbee2mqtt/hallway lamp/set", '{"state": "ON", "brightness": 127}'),
        ("grow light", "colour", "blue", "greenhouse/light/grow_light/command",
         '{"state": "ON", "color": {"r": 0, "g": 0, "b": 255}}'),
        ("bedroom blinds", "move", "close", "zigbee2mqtt/bedroom blinds/set", "CLOSE"),
        ("bedroom blinds", "position", 30, "zigbee2mqtt/bedroom blinds/set", '{ "position": 30 }'),
        ("bathroom thermostat", "temperature", 21.5, "zigbee2mqtt/trv/set/occupied_heating_setpoint", "21.5"),
        ("bathroom thermostat", "mode", "heat", "zigbee2mqtt/trv/set/system_mode", "heat"),
        ("front door", "lock", "unlock", "zigbee2mqtt/front door/set", "UNLOCK"),
        ("sound level", "option", "loud", "zigbee2mqtt/front door/set", '{"sound": "loud"}'),
        ("desk lamp", "state", "on", "cmnd/tasmota_A1/POWER", "ON"),
        ("desk lamp", "brightness", 40, "cmnd/tasmota_A1/Dimmer", "40"),
        ("desk lamp", "colour", "red", "cmnd/tasmota_A1/Color2", "255,0,0"),
        ("roof fan", "speed", 50, "greenhouse/fan/vent/speed/command", "2"),
        ("roof fan", "speed", 1, "greenhouse/fan/vent/speed/command", "1"),
        ("soak time", "value", 15, "greenhouse/number/soak/command", "15"),
        ("restart node", "press", "press", "greenhouse/button/restart/command", "PRESS"),
        ("main door", "move", "open", "garage/door/set", "OPEN"),
        ("party time", "activate", "activate", "garage/scene", "party"),
    ],
)  # fmt: skip
def test_what_is_sent_is_what_the_device_understands(
    name: str, what: str, value: Any, topic: str, payload: str
) -> None:
    moved = lever(found(*ALL), name, what)
    assert (moved.topic, moved.payload(value)) == (topic, payload)


@pytest.mark.parametrize(
    ("name", "what", "value", "told", "meant"),
    [
        ("hallway lamp", "state", "on", {"state": "ON", "brightness": 254}, True),
        ("hallway lamp", "state", "on", {"state": "OFF"}, False),
        ("hallway lamp", "brightness", 50, {"state": "ON", "brightness": 127}, True),
        ("hallway lamp", "brightness", 50, {"state": "ON", "brightness": 90}, False),
        ("hallway lamp", "brightness", 50, {"state": "ON"}, False),
        ("bedroom blinds", "position", 30, {"position": 30}, True),
        ("bedroom blinds", "move", "close", {"state": "CLOSE"}, True),
        ("bathroom thermostat", "temperature", 21.5, {"occupied_heating_setpoint": 21.5}, True),
        ("bathroom thermostat", "temperature", 21.5, {"occupied_heating_setpoint": 20}, False),
        ("front door", "lock", "lock", {"state": "LOCK"}, True),
        ("desk lamp", "state", "off", {"POWER": "OFF"}, True),
    ],
)
def test_a_device_confirms_what_it_does(name: str, what: str, value: Any, told: Any, meant: bool) -> None:
    moved = lever(found(*ALL), name, what)
    assert moved.gauge is not None
    assert moved.confirms(value, moved.gauge.read(json.dumps(told).encode())) is meant


def test_a_light_that_is_only_ever_switched_on_by_its_brightness() -> None:
    payload = {"cmd_t": "a/set", "bri_cmd_t": "a/bri", "on_cmd_type": "brightness", "name": "Old lamp"}
    discovery = found({"homeassistant/light/old/config": payload})
    assert lever(discovery, "old lamp", "state").payload("on") == "255"


@pytest.mark.parametrize(
    ("said", "tool", "args"),
    [
        ("turn on the hallway lamp", "turn", {"device": "hallway lamp", "state": "on"}),
        ("please switch the desk lamp off", "turn", {"device": "desk lamp", "state": "off"}),
        ("dim the hallway lamp to 20 percent", "set_brightness", {"device": "hallway lamp", "percent": 20}),
        ("make the grow light purple", "set_colour", {"device": "grow light", "colour": "purple"}),
        ("close the bedroom blinds", "move_blinds", {"device": "bedroom blinds", "action": "close"}),
        ("set the thermostat to 21 degrees", "set_temperature", {"degrees": 21}),
        ("set the bathroom thermostat to 21.5", "set_temperature", {"device": "bathroom thermostat", "degrees": 21.5}),
        ("unlock the front door", "lock", {"device": "front door", "action": "unlock"}),
        ("open the main door", "move_door", {"device": "main door", "action": "open"}),
        ("turn on the kettle", "turn_appliance", {"device": "kettle", "state": "on"}),
        ("activate party time", "activate", {"device": "party time"}),
        ("set the soak time to five", "set_number", {"device": "soak time", "number": 5}),
        ("is the front door locked", "check_home", {"device": "front door"}),
        ("what is the kettle power", "check_home", {"device": "kettle power"}),
    ],
)
def test_what_people_say_is_a_call(said: str, tool: str, args: dict[str, Any]) -> None:
    tools = [each.tool for each in home_tools(found(*ALL).things)]
    check_tools(tools)
    parse = Automaton.of(tools).parse(said)
    assert isinstance(parse, Parse) and (parse.tool.name, dict(parse.args)) == (tool, args)


def test_what_is_a_hazard_has_tools_of_its_own() -> None:
    risks = {each.tool.name: each.tool.risk for each in home_tools(found(*ALL).things)}
    assert risks["turn"] == risks["set_colour"] == risks["move_blinds"] == "reversible"
    assert {risks[name] for name in ("turn_appliance", "set_temperature", "lock", "move_door")} == {"hazard"}
    assert risks["check_home"] == "observe"


def test_found_tools_are_the_same_when_they_are_read_again() -> None:
    for each in home_tools(found(*ALL).things):
        again = read_found(json.loads(json.dumps(written(each.tool))))
        assert again is not None and again.arguments == each.tool.arguments and again.phrases == each.tool.phrases
        assert (again.risk, again.moves, again.timeout_s) == (each.tool.risk, each.tool.moves, each.tool.timeout_s)


# --- what comes and goes


def test_an_empty_payload_ends_a_device() -> None:
    discovery = found(TASMOTA)
    assert discovery.feed("homeassistant/switch/D4E5F6_RL_1/config", b"")
    assert "kettle" not in {each.name for each in discovery.things}
    assert not discovery.feed("homeassistant/switch/D4E5F6_RL_1/config", b"")


def test_the_same_again_changes_nothing() -> None:
    discovery = found(TASMOTA)
    topic, payload = next(iter(TASMOTA.items()))
    assert not discovery.feed(topic, json.dumps(payload).encode())


def test_two_with_one_id_are_one_and_a_problem_until_the_first_is_gone() -> None:
    discovery = found(TASMOTA)
    other = {**TASMOTA["homeassistant/switch/D4E5F6_RL_1/config"], "cmd_t": "evil/POWER", "dev": {"name": "Oven"}}
    discovery.feed("homeassistant/switch/other/config", json.dumps(other).encode())
    names = {each.name for each in discovery.things}
    assert "oven" not in names and "kettle" in names
    (problem,) = discovery.problems
    assert "homeassistant/switch/other/config" in problem and "D4E5F6_RL_1" in problem
    discovery.feed("homeassistant/switch/D4E5F6_RL_1/config", b"")
    assert "oven" in {each.name for each in discovery.things} and discovery.problems == ()


def test_two_with_one_name_are_told_apart_by_their_rooms_or_not_at_all() -> None:
    def lamp(area: str) -> dict[str, Any]:
        return {"cmd_t": f"{area}/set", "uniq_id": area, "dev": {"name": "Lamp", "sa": area}}

    rooms = found({"homeassistant/light/a/config": lamp("Attic"), "homeassistant/light/b/config": lamp("Cellar")})
    assert [each.name for each in rooms.things] == ["attic lamp", "cellar lamp"]
    no_rooms = found({f"homeassistant/light/{each}/config": lamp("") | {"uniq_id": each} for each in "ab"})
    assert [each.name for each in no_rooms.things] == ["lamp"]
    assert "'lamp'" in no_rooms.problems[0]


# --- bad input: each concerns itself alone


def nested(levels: int) -> bytes:
    return b'{"cmd_t":' + b"[" * levels + b"]" * levels + b"}"


BAD: list[tuple[str, bytes]] = [
    ("homeassistant/light/x/config", b"\xff\xfe garbage"),
    ("homeassistant/light/x/config", b"[]"),
    ("homeassistant/light/x/config", b'"on"'),
    ("homeassistant/light/x/config", b"{}"),
    ("homeassistant/light/x/config", nested(100)),
    ("homeassistant/light/x/config", nested(60_000)),
    ("homeassistant/light/x/config", b'{"cmd_t":"' + b"a" * PAYLOAD_BYTES + b'"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"home/+/set","name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"home/#","name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"$SYS/broker","name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a\\u0000b","name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"liveagent/v1/lab/arm/stop/reset","name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":7,"name":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":["x"]}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","dev":"x"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":"x","schema":"template"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":"x","cmd_tpl":"{% if value %}1{% endif %}"}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":"x","avty":[{"t":"a/+"}]}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":"x","max":1e999}'),
    ("homeassistant/light/x/config", b'{"cmd_t":"a","name":"!!!"}'),
    ("homeassistant/number/x/config", b'{"cmd_t":"a","name":"x","min":5,"max":5}'),
    ("homeassistant/number/x/config", b'{"cmd_t":"a","name":"x","min":0,"max":1e300,"step":1}'),
    ("homeassistant/number/x/config", b'{"cmd_t":"a","name":"x","step":0}'),
    ("homeassistant/select/x/config", b'{"cmd_t":"a","name":"x","options":[]}'),
    ("homeassistant/lock/x/config", b'{"cmd_t":"a","name":"x","code_format":"^\\\\d{4}$"}'),
    ("homeassistant/device/x/config", b'{"dev":{"name":"x"},"o":{},"cmps":[]}'),
    ("homeassistant/device/x/config", b'{"cmps":{"a":{"p":"light","cmd_t":"a"}}}'),
    ("homeassistant/device/x/config", b'{"dev":{},"o":{},"cmps":{"a":{"cmd_t":"a"}}}'),
    ("homeassistant/device/x/config", b'{"dev":{},"o":{},"cmps":{"a/+":{"p":"light","cmd_t":"a"}}}'),
    ("homeassistant/device/x/config", json.dumps({
        "dev": {}, "o": {}, "cmps": {f"c{n}": {"p": "switch", "cmd_t": "a"} for n in range(COMPONENTS + 1)}
    }).encode()),
    ("homeassistant/light/x y/config", b'{"cmd_t":"a","name":"x"}'),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "payload"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_left_out_and_named_and_the_others_live(topic: str, payload: bytes) -> None:
    discovery = found(ZIGBEE)
    before = discovery.things
    discovery.feed(topic, payload)
    assert discovery.things == before
    assert any(topic in problem for problem in discovery.problems)


def test_a_part_that_is_wrong_in_one_place_keeps_what_is_right() -> None:
    payload = {"cmd_t": "a/set", "stat_t": "a", "name": "Lamp two", "val_tpl": "{{ states('x') }}"}
    discovery = found({"homeassistant/light/x/config": payload})
    assert lever(discovery, "lamp two", "state").gauge is None
    assert "states('x')" in discovery.problems[0]


def test_a_flood_of_announcements_is_bounded() -> None:
    discovery = Discovery()
    for number in range(ANNOUNCEMENTS + 3):
        discovery.feed(f"homeassistant/tag/t{number}/config", b'{"t":"a"}')
    assert discovery.things == () and "3 were not read" in discovery.problems[0]


def test_an_announcement_alone_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="wildcard"):
        read_announcement("homeassistant/light/x/config", b'{"cmd_t":"a/+/b"}')
    with pytest.raises(ProtocolError, match="no topic"):
        read_announcement("homeassistant/light/config", b"{}")


# --- words and templates


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("cmd_t", "command_topic"), ("stat_t", "state_topic"), ("val_tpl", "value_template"),
        ("pl_cls", "payload_close"),
        ("pos_clsd", "position_closed"), ("set_pos_tpl", "set_position_template"), ("bri_scl", "brightness_scale"),
        ("temp_stat_tpl", "temperature_state_template"), ("min_temp", "min_temp"),
        ("sup_clrm", "supported_color_modes"),
        ("stat_val_tpl", "state_value_template"), ("spd_rng_max", "speed_range_max"), ("ent_cat", "entity_category"),
        ("cod_form", "code_format"), ("curr_temp_t", "current_temperature_topic"), ("uniq_id", "unique_id"),
        ("pl_not_avail", "payload_not_available"), ("on_cmd_type", "on_command_type"), ("ops", "options"),
        ("command_topic", "command_topic"), ("temperature_command_template", "temperature_command_template"),
    ],
)  # fmt: skip
def test_short_keys_mean_full_ones(short: str, full: str) -> None:
    assert full_key(short) == full


@pytest.mark.parametrize(
    ("template", "payload", "value"),
    [
        (None, b"ON", "ON"),
        ("{{ value }}", b"21.5", "21.5"),
        ("{{value_json.POWER}}", b'{"POWER": "ON"}', "ON"),
        ("{{ value_json['ENERGY'].Power }}", b'{"ENERGY": {"Power": 12}}', "12"),
        ('{{ value_json["a b"][1] }}', b'{"a b": [1, 2.5]}', "2.5"),
        ("{{ value_json.on }}", b'{"on": true}', "True"),
        ("{{ value_json.t | float | round(1) }}", b'{"t": "21.55"}', "21.6"),
        ("{{ value_json.t | int }}", b'{"t": 21.9}', "21"),
        ("{{ value_json.missing }}", b'{"on": true}', None),
        ("{{ value_json.deep.er }}", b'{"deep": 1}', None),
    ],
)
def test_a_value_is_read_where_its_template_says(template: str | None, payload: bytes, value: str | None) -> None:
    assert ValueTemplate.of(template).read(payload) == value


@pytest.mark.parametrize(
    "template",
    [
        "{{ value_json.x if true else 1 }}", "{% if value %}x{% endif %}", "{{ states('light.x') }}",
        "{{ value_json.x() }}",
        "{{ value_json.a }}{{ value_json.b }}", "{{ value.x }}", "{{ value_json.x | regex_replace('a') }}",
        "{{ value_json" + ".x" * 20 + " }}", "{{", "x",
    ],
)  # fmt: skip
def test_a_template_that_is_more_than_a_path_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="not understood"):
        ValueTemplate.of(template)


def test_a_command_template_is_a_text_with_the_value_in_it() -> None:
    assert CommandTemplate.of('{"p": {{ position|int }}}', "position").write(3.0) == '{"p": 3}'
    assert CommandTemplate.of(None).write("ON") == "ON"
    for text in ("{{ other }}", "{% x %}", "{{ value | evil }}", "{{ value.__class__ }}"):
        with pytest.raises(ConfigError):
            CommandTemplate.of(text)


def test_a_state_that_cannot_be_read_is_a_protocol_error() -> None:
    for payload in (b"\xff", b"{", nested(50_000)):
        with pytest.raises(ProtocolError):
            ValueTemplate.of("{{ value_json.x }}").read(payload)
