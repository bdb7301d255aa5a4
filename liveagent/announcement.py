"""What a device says of itself on Home Assistant's discovery topics, read into full words and checked.

    homeassistant/device/<id>/config                  a device with all its parts
    homeassistant/<component>/[<node>/]<id>/config    one part, with the device it belongs to

Keys may be written short (`cmd_t`) or full (`command_topic`), topics may begin or end with `~`, the base topic. This is
a stranger's message: whatever is wrong with it is a `ProtocolError` that names it, and concerns it alone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json, check_json

PREFIX = "homeassistant"
PAYLOAD_BYTES = 128 << 10
COMPONENTS = 128
NAME_CHARS = 80
TOPIC_BYTES = 512
KINDS = (
    "light", "switch", "cover", "climate", "fan", "lock", "button", "scene", "number", "select", "sensor",
    "binary_sensor",
)  # fmt: skip
"""What is made use of. Others (a camera, a tag, an update) are passed over."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NOT_IN_TOPICS = re.compile(r"[+#\x00-\x1f\x7f]")
_SHARED = ("availability", "availability_topic", "availability_mode", "availability_template", "payload_available",
           "payload_not_available", "command_topic", "state_topic", "qos", "encoding")  # fmt: skip

# Built from how the words are shortened; only what is read here is listed.
_WORDS = {
    "t": "topic", "tpl": "template", "cmd": "command", "stat": "state", "val": "value", "pl": "payload",
    "bri": "brightness", "pos": "position", "temp": "temperature", "pct": "percentage", "pow": "power",
    "avty": "availability", "avail": "available", "cls": "close", "unlk": "unlock", "prs": "press", "clsd": "closed",
    "scl": "scale", "curr": "current", "spd": "speed", "rng": "range", "sup": "supported", "clrm": "color_modes",
    "dev": "device", "cla": "class", "cat": "category", "ent": "entity", "uniq": "unique", "meas": "measurement",
    "obj": "object", "cod": "code", "form": "format", "opt": "optimistic", "ops": "options", "ret": "retain",
    "rgb": "rgb", "hs": "hs", "xy": "xy", "cmps": "components", "p": "platform", "o": "origin", "e": "encoding",
    "en": "enabled_by_default", "init": "initial",
}  # fmt: skip
_WHOLE = {
    "min_temp": "min_temp", "max_temp": "max_temp", "temp_step": "temp_step", "temp_unit": "temperature_unit",
    "clrm": "color_mode", "sup_clrm": "supported_color_modes", "bri_tpl": "brightness_template",
    "unit_of_meas": "unit_of_measurement", "on_cmd_type": "on_command_type",
}  # fmt: skip
Mode: TypeAlias = Literal["all", "any", "latest"]
_DEVICE = {"ids": "identifiers", "cns": "connections", "mf": "manufacturer", "mdl": "model", "sa": "suggested_area"}


@dataclass(frozen=True, slots=True)
class Available:
    """A topic that says whether a device is there."""

    topic: str
    template: str | None = None
    yes: str = "online"
    no: str = "offline"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing of a device: a lamp, a plug, a reading. `name` None: it is the device itself. `options` hold what was
    announced, in full words and with full topics."""

    kind: str
    id: str
    name: str | None
    options: Mapping[str, Json] = field(repr=False)
    available: tuple[Available, ...] = ()
    mode: Mode = "latest"

    def text(self, key: str, default: str | None = None) -> str | None:
        """A text option, or a number or yes/no written as one; None, or the default, where there is none."""
        value = self.options.get(key, default)
        return str(value) if isinstance(value, str | int | float) else None if value is None else default

    def number(self, key: str, default: float) -> float:
        """A number, perhaps written as a text; the default where it is none."""
        value = self.options.get(key)
        try:
            number = default if value is None or isinstance(value, bool | list | dict) else float(value)
        except ValueError:
            return default
        return number if math.isfinite(number) else default

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.options.get(key)
        return tuple(str(each) for each in value if isinstance(each, str | int)) if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True)
class Announcement:
    """A device, or a part of one. `device`: what its maker or owner calls it; `owner`: an id of the device itself, ""
    where there is none. `passed`: kinds of parts that are not made use of."""

    topic: str
    device: str
    owner: str
    area: str
    parts: tuple[Part, ...]
    passed: tuple[str, ...] = ()


def is_announcement(topic: str, prefix: str = PREFIX) -> bool:
    """Whether devices are announced on such a topic."""
    levels = topic.split("/")
    return topic.startswith(prefix + "/") and levels[-1] == "config" and len(levels) - prefix.count("/") in (4, 5)


def read_announcement(topic: str, payload: bytes, prefix: str = PREFIX) -> Announcement:
    """ProtocolError for what is no announcement, or one that nobody should act on."""
    levels = topic[len(prefix) + 1 :].split("/")
    if not is_announcement(topic, prefix) or not all(_ID.fullmatch(each) for each in levels):
        raise ProtocolError(f"{topic!r:.120} is no topic for an announcement")
    if len(payload) > PAYLOAD_BYTES:
        raise ProtocolError(f"{topic}: {len(payload)} bytes; an announcement has {PAYLOAD_BYTES} at most")
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{topic}: not JSON ({type(error).__name__})") from None
    said = check_json(said, topic)
    if not isinstance(said, dict):
        raise ProtocolError(f"{topic}: an announcement is an object")
    whole = _full(said, topic)
    device = whole.get("device", {})
    if not isinstance(device, dict):
        raise ProtocolError(f"{topic}: device must be an object")
    device = {_DEVICE.get(key, key): value for key, value in device.items()}
    kind, own_id = levels[0], "_".join(levels[1:-1])
    origin = whole.get("origin")
    if isinstance(origin, dict) and origin.get("name") == "liveagent":  # a robot that we announced ourselves
        return Announcement(topic, "", "", "", (), (kind,))
    if kind == "device":
        parts, passed = _parts(whole, topic, own_id)
    elif kind in KINDS:
        parts, passed = (_part(kind, own_id, whole, topic),), ()
    else:
        parts, passed = (), (kind,)
    return Announcement(topic, _name(device.get("name"), topic) or "", _owner(device), _name(
        device.get("suggested_area"), topic) or "", parts, passed)  # fmt: skip


def _parts(whole: Mapping[str, Json], topic: str, own_id: str) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    components = whole.get("components")
    if not isinstance(components, dict):
        raise ProtocolError(f"{topic}: a device has its parts in cmps")
    if len(components) > COMPONENTS:
        raise ProtocolError(f"{topic}: {len(components)} parts; {COMPONENTS} are the most")
    if not isinstance(whole.get("device"), dict) or not isinstance(whole.get("origin"), dict):
        raise ProtocolError(f"{topic}: a device announcement needs dev and o")
    shared = {key: whole[key] for key in (*_SHARED, "~") if key in whole}
    parts, passed = [], []
    for name, component in components.items():
        if not _ID.fullmatch(name) or not isinstance(component, dict):
            raise ProtocolError(f"{topic}: the part {name!r:.40} needs an id of letters, digits, _ and -")
        full = _full(component, topic)
        kind = full.get("platform")
        if not isinstance(kind, str):
            raise ProtocolError(f"{topic}: the part {name!r} does not say what it is (p)")
        if set(full) == {"platform"}:  # a part that is no longer there is announced by its kind alone
            continue
        if kind in KINDS:
            parts.append(_part(kind, f"{own_id}_{name}", {**shared, **full}, topic))
        else:
            passed.append(kind)
    return tuple(parts), tuple(passed)


def _part(kind: str, own_id: str, said: Mapping[str, Json], topic: str) -> Part:
    base = said.get("~")
    if base is not None and not isinstance(base, str):
        raise ProtocolError(f"{topic}: ~ must be a topic")
    options = {key: _spelled_out(value, base, key) for key, value in said.items() if key != "~"}
    for key, value in options.items():
        if key.endswith("topic") and value is not None:
            check_topic(value, f"{topic}: {key}")
    given = options.get("unique_id")
    name = options.get("name")
    words = _name(name, topic) if name is not None else None
    if "name" not in options:  # then it is called after what it measures, as Home Assistant does it
        words = _class_words(kind, options.get("device_class"))
    available, mode = _available(options, topic)
    part = Part(kind, given if isinstance(given, str) and given else own_id, words, options, available, mode)
    return replace(part, id=part.id[:128])


def _class_words(kind: str, device_class: Json) -> str | None:
    if kind not in ("sensor", "binary_sensor", "number") or not isinstance(device_class, str):
        return None
    return device_class.replace("_", " ")[:NAME_CHARS]


def _available(options: Mapping[str, Json], topic: str) -> tuple[tuple[Available, ...], Mode]:
    yes, no = options.get("payload_available", "online"), options.get("payload_not_available", "offline")
    found: list[Available] = []
    listed = options.get("availability")
    if isinstance(listed, dict):
        listed = [listed]
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict):
            raise ProtocolError(f"{topic}: availability must list objects")
        full = _full(each, topic)
        where = check_topic(full.get("topic"), f"{topic}: availability")
        template = full.get("value_template")
        found.append(Available(
            where, template if isinstance(template, str) else None,
            str(full.get("payload_available", yes)), str(full.get("payload_not_available", no)),
        ))  # fmt: skip
    alone = options.get("availability_topic")
    if isinstance(alone, str):
        template = options.get("availability_template")
        found.append(Available(alone, template if isinstance(template, str) else None, str(yes), str(no)))
    mode = options.get("availability_mode")
    return tuple(found[:8]), "all" if mode == "all" else "any" if mode == "any" else "latest"


def check_topic(value: Json, where: str) -> str:
    """The topic, if one may publish to it: no wildcards, not one of the broker's own, and no robot's, whose commands go
    another way. ProtocolError."""
    if not isinstance(value, str) or not value:
        raise ProtocolError(f"{where}: a topic is needed, not {value!r:.40}")
    if _NOT_IN_TOPICS.search(value):
        raise ProtocolError(f"{where}: {value!r:.80} has a wildcard or a control character in it")
    if value.startswith(("$", "liveagent/")) or len(value.encode()) > TOPIC_BYTES:
        raise ProtocolError(f"{where}: {value!r:.80} is no topic of a device's")
    return value


def _spelled_out(value: Json, base: str | None, key: str) -> Json:
    """The base topic put in for `~` at either end of what is a topic."""
    if base is None:
        return value
    if isinstance(value, str) and key.endswith("topic"):
        if value.startswith("~"):
            value = base + value[1:]
        elif value.endswith("~"):
            value = value[:-1] + base
    elif key == "availability" and isinstance(value, list):
        return [_spelled_out(each, base, key) for each in value]
    elif key == "availability" and isinstance(value, dict):
        keys = {"t": "topic", "topic": "topic"}
        return {name: _spelled_out(each, base, keys.get(name, "")) for name, each in value.items()}
    return value


def _full(said: Mapping[str, Json], topic: str) -> dict[str, Json]:
    """Keys in full words."""
    full: dict[str, Json] = {}
    for key, value in said.items():
        if len(key) > 64:
            raise ProtocolError(f"{topic}: {key!r:.40} is no key")
        full[full_key(key)] = value
    return full


def full_key(key: str) -> str:
    """`cmd_t` -> `command_topic`; a key in full words stays as it is."""
    if key in _WHOLE:
        return _WHOLE[key]
    return "_".join(_expand(key))


def _expand(key: str) -> Iterator[str]:
    for word in key.split("_"):
        yield _WORDS.get(word, word)


def _name(value: Json, topic: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ProtocolError(f"{topic}: a name is a text, not {type(value).__name__}")
    return " ".join("".join(each if each.isprintable() else " " for each in value).split())[:NAME_CHARS] or None


def _owner(device: Mapping[str, Json]) -> str:
    ids = device.get("identifiers")
    first = ids[0] if isinstance(ids, list) and ids else ids
    if isinstance(first, str):
        return first
    connections = device.get("connections")
    if isinstance(connections, list) and connections:
        return json.dumps(connections[0])
    return ""
