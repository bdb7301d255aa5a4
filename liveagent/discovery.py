"""The home as its devices announce it: `Discovery` takes announcements and gives the things that one can speak of.

A thing is a part of a device with a name that people would say, what can be done to it, and how dangerous that is. Each
announcement stands alone: one that is wrong is left out and named, the others live. What there is depends on what was
announced and in which order, and on nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from liveagent.announcement import PREFIX, Announcement, Part, is_announcement, read_announcement
from liveagent.errors import ProtocolError
from liveagent.lever import Levers, levers_of
from liveagent.spoken import spoken

Danger: TypeAlias = Literal["observe", "reversible", "hazard"]

ANNOUNCEMENTS = 1024
THINGS = 256
NAME_WORDS = 8
_OPENINGS = {"garage", "gate", "door", "window", "damper"}
_DANGEROUS = frozenset((
    "heater", "heating", "heat", "oven", "stove", "hob", "kettle", "iron", "boiler", "furnace", "fireplace", "grill",
    "sauna", "garage", "gate", "door", "doors", "lock", "unlock", "alarm", "siren", "valve", "gas", "pump", "blanket",
    "toaster", "fryer", "saw", "drill", "welder", "charger", "thermostat", "radiator", "arm", "disarm", "opener",
))  # fmt: skip
"""Words of a name that make a switch or a button no light matter."""
_IDLE_BUTTONS = {"identify"}


@dataclass(frozen=True, slots=True)
class Thing:
    """`name`: what people say, in spoken form. `danger`: of moving its levers. `topic`: where it was announced."""

    name: str
    part: Part
    levers: Levers
    danger: Danger
    topic: str
    unit: str = ""

    @property
    def kind(self) -> str:
        return self.part.kind


class Discovery:
    """Everything announced under one prefix."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self._found: dict[str, Announcement] = {}
        self._wrong: dict[str, str] = {}
        self._raw: dict[str, bytes] = {}  # digests
        self._overflow = 0
        self._gathered: tuple[tuple[Thing, ...], tuple[str, ...]] | None = None

    @property
    def things(self) -> tuple[Thing, ...]:
        """What there is now."""
        return self._gather()[0]

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out, each named in a line."""
        return self._gather()[1]

    def feed(self, topic: str, payload: bytes) -> bool:
        """An announcement, or with an empty payload the end of one. False when it is what was said before."""
        digest = hashlib.sha256(payload).digest() if payload else b""
        if not is_announcement(topic, self.prefix) or self._raw.get(topic, b"") == digest:
            return False
        self._gathered = None
        known = topic in self._raw
        if not payload:
            del self._raw[topic]
            self._found.pop(topic, None)
            self._wrong.pop(topic, None)
        elif not known and len(self._raw) >= ANNOUNCEMENTS:
            self._overflow += 1
        else:
            self._raw[topic] = digest
            self._found.pop(topic, None)
            self._wrong.pop(topic, None)
            try:
                self._found[topic] = read_announcement(topic, payload, self.prefix)
            except ProtocolError as error:
                self._wrong[topic] = str(error)
        return True

    def clear(self) -> None:
        """As if nothing had been announced."""
        self._found.clear()
        self._wrong.clear()
        self._raw.clear()
        self._overflow = 0
        self._gathered = None

    def _gather(self) -> tuple[tuple[Thing, ...], tuple[str, ...]]:
        if self._gathered is not None:
            return self._gathered
        problems = list(self._wrong.values())
        if self._overflow:
            problems.append(f"more than {ANNOUNCEMENTS} announcements; {self._overflow} were not read")
        whose: dict[str, str] = {}
        found: list[tuple[Announcement, Part, Levers]] = []
        for each in self._found.values():
            for part in each.parts:
                owner = f"{part.kind} {part.id}"
                if owner in whose:
                    problems.append(f"{each.topic}: {whose[owner]} has the id {part.id!r} already; it is left out")
                    continue
                whose[owner] = each.topic
                if part.options.get("enabled_by_default") is False or part.options.get("entity_category"):
                    continue  # its settings and its health: nothing that one speaks of
                try:
                    levers = levers_of(part)
                except ProtocolError as error:
                    problems.append(f"{each.topic}: {error}")
                    continue
                problems += (f"{each.topic}: {each_one}" for each_one in levers.problems)
                found.append((each, part, levers))
        names = _names([(known_as(announced, self._found.values()), part) for announced, part, _ in found])
        things: list[Thing] = []
        taken: set[tuple[str, bool]] = set()
        hazards = {
            lever.topic for announced, part, levers in found
            if danger_of(announced, part) == "hazard" for lever in levers.levers
        }  # fmt: skip
        for (announced, part, levers), name in zip(found, names, strict=True):
            if not name or len(name.split()) > NAME_WORDS:
                problems.append(f"{announced.topic}: {part.id} has no name that can be said in {NAME_WORDS} words")
            elif (name, bool(levers.levers)) in taken:
                problems.append(f"{announced.topic}: something else is called {name!r}, too; rename one of them")
            elif len(things) >= THINGS:
                problems.append(f"{announced.topic}: {name!r} is one too many; {THINGS} can be told apart")
            else:
                taken.add((name, bool(levers.levers)))
                danger = danger_of(announced, part)
                if any(lever.topic in hazards for lever in levers.levers):
                    danger = "hazard"  # who can speak to a lock's topic can open the lock
                unit = part.text("unit_of_measurement", "") or ""
                things.append(Thing(name, part, levers, danger, announced.topic, unit[:16]))
        self._gathered = tuple(things), tuple(problems)
        return self._gathered


def known_as(announced: Announcement, others: Iterable[Announcement]) -> Announcement:
    """With its device's name: of several announcements of one device, perhaps only one has it."""
    if announced.device or not announced.owner:
        return announced
    name = next((each.device for each in others if each.owner == announced.owner and each.device), "")
    return replace(announced, device=name)


def danger_of(announced: Announcement, part: Part) -> Danger:
    """How dangerous it is to move a part, by what it is and by what it is called."""
    words = set(spoken(f"{announced.device} {part.name or ''}").split())
    if part.kind in ("sensor", "binary_sensor"):
        return "observe"
    if part.kind in ("lock", "climate"):
        return "hazard"
    device_class = part.text("device_class", "") or ""
    if part.kind == "cover":
        return "hazard" if device_class in _OPENINGS or words & _DANGEROUS else "reversible"
    if part.kind == "button":  # what a button does cannot be undone, nor known
        return "reversible" if device_class in _IDLE_BUTTONS else "hazard"
    if part.kind in ("light", "scene"):
        return "reversible"
    return "hazard" if words & _DANGEROUS else "reversible"


def _names(parts: Sequence[tuple[Announcement, Part]]) -> list[str]:
    """What each is called: by its own name where that says enough and nothing else has it, else with its device's."""
    own = [_own_name(announced, part) for announced, part in parts]
    shared = Counter(zip(own, (part.kind in ("sensor", "binary_sensor") for _, part in parts), strict=True))
    names: list[str] = []
    for (announced, part), name in zip(parts, own, strict=True):
        reads = part.kind in ("sensor", "binary_sensor")
        if shared[name, reads] > 1 and announced.area:
            area = spoken(announced.area)
            name = name if name.startswith(f"{area} ") else f"{area} {name}"
        names.append(name)
    return names


def _own_name(announced: Announcement, part: Part) -> str:
    device, name = spoken(_apart(announced.device)), spoken(_apart(part.name or ""))
    if not name:
        return device
    if not device or name == device or name.startswith(f"{device} "):
        return name
    if device.endswith(f" {name}"):
        return device
    enough = len(re.sub(r"\b(zero|one|two|three|four|five|six|seven|eight|nine|ten)\b", "", name).split()) > 1
    return name if enough and part.kind not in ("sensor", "binary_sensor") else f"{device} {name}"


def _apart(name: str) -> str:
    """`hallway_lamp` and `HallwayLamp` as words; an address such as 0x00158d0001 is no name at all."""
    name = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", " ", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.sub(r"[_./-]+", " ", name)
