"""Things of a home as tools: one for each way of doing something, with the things it can be done to as its choices.

A tool for each lamp would fill a prompt; one tool that turns any of them takes a line, and is said as people say it:
"turn on the hallway lamp", "close the bedroom blinds", "set the thermostat to 21 degrees". What is a hazard has tools
of its own, so that a confirmation is asked for the lock and never for the lamp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from liveagent.argument import Argument, Value
from liveagent.declared import elsewhere
from liveagent.discovery import Danger, Thing
from liveagent.found import schema_of
from liveagent.lever import Lever
from liveagent.phrase import Phrase
from liveagent.spoken import spoken
from liveagent.tool import Tool

CHECK = "check"
_LIGHTS = "[light|lights|lamp]"
_BLINDS = "[blind|blinds|curtain|curtains|shutter|shutters]"


@dataclass(frozen=True, slots=True)
class HomeTool:
    """`tool` without a function. `what`: which lever it moves, or `CHECK`. `things`: by the words of its `device`."""

    tool: Tool
    what: str
    things: Mapping[str, Thing]
    value: str = ""
    """The name of the argument that says what to; "" for none."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of doing something. `phrases` say {device}, and {suffix} for words that may follow it."""

    what: str
    kinds: tuple[str, ...]
    name: str
    description: str
    phrases: tuple[str, ...]
    value: str = ""
    suffix: str = ""
    alone: tuple[str, ...] = ()
    """What may be said where there is one such thing only."""


_WAYS = (
    _Way("state", ("light", "switch", "fan"), "turn", "Turn a lamp or a device on or off.", (
        "[please] (turn|switch) {state} [the] {device} {suffix} [please]",
        "[please] (turn|switch) [the] {device} {suffix} {state} [please]",
    ), "state", _LIGHTS),
    _Way("brightness", ("light",), "set_brightness", "Set how bright a lamp is.", (
        "(dim|set) [the] {device} {suffix} to {percent} percent",
        "set [the] brightness of [the] {device} {suffix} to {percent} [percent]",
    ), "percent", _LIGHTS),
    _Way("colour", ("light",), "set_colour", "Set the colour of a lamp.", (
        "(turn|make) [the] {device} {suffix} {colour}",
        "set [the] {device} {suffix} to {colour}",
    ), "colour", _LIGHTS),
    _Way("move", ("cover",), "move_blinds", "Open, close or stop blinds.", (
        "[please] {action} [the] {device} {suffix} [please]",
    ), "action", _BLINDS),
    _Way("position", ("cover",), "set_blinds", "Set how far blinds are open.", (
        "(set|open|move) [the] {device} {suffix} to {percent} percent",
    ), "percent", _BLINDS),
    _Way("temperature", ("climate",), "set_temperature", "Set the temperature of a thermostat.", (
        "[please] set [the] {device} to {degrees} [degrees] [please]",
        "[please] set [the] temperature of [the] {device} to {degrees} [degrees] [please]",
    ), "degrees", alone=("[please] set [the] (thermostat|heating|temperature) to {degrees} [degrees] [please]",)),
    _Way("mode", ("climate",), "set_heating", "Set the mode of a thermostat.", (
        "(set|switch|turn) [the] {device} to {mode} [mode]",
    ), "mode"),
    _Way("lock", ("lock",), "lock", "Lock or unlock a door.", (
        "[please] {action} [the] {device} [please]",
    ), "action"),
    _Way("speed", ("fan",), "set_speed", "Set how fast a fan turns.", (
        "set [the] {device} to {percent} percent",
    ), "percent"),
    _Way("activate", ("scene",), "activate", "Activate a scene.", (
        "(activate|start) [the] {device} [scene]",
    )),
    _Way("press", ("button",), "press", "Press a button.", (
        "press [the] {device} [button]",
    )),
    _Way("value", ("number",), "set_number", "Set a number.", (
        "set [the] {device} to {number}",
    ), "number"),
    _Way("option", ("select",), "choose", "Choose an option.", (
        "(set|switch) [the] {device} to {option}",
    ), "option"),
)  # fmt: skip
_HAZARD_NAMES = {"turn": "turn_appliance", "move_blinds": "move_door", "set_blinds": "set_door"}
_CHECKS = (
    "what is [the] {device}", "what does [the] {device} (say|show)", "check [the] {device}",
    "is [the] {device} (on|off|open|closed|locked|unlocked)",
)  # fmt: skip


def home_tools(things: Sequence[Thing]) -> tuple[HomeTool, ...]:
    """Tools for all that can be done to these things, the most used first, and one that tells how they are."""
    names = {each.name for each in things}
    found: list[HomeTool] = []
    for way in _WAYS:
        for danger in ("reversible", "hazard"):
            moved = [
                (each, lever) for each in things if each.kind in way.kinds and each.danger == danger
                for lever in each.levers.levers if lever.what == way.what
            ]  # fmt: skip
            if moved:
                found.append(_tool(way, "hazard" if danger == "hazard" else "reversible", moved, names))
    told: dict[str, Thing] = {}
    for each in sorted(things, key=lambda thing: not thing.levers.levers):
        if each.levers.gauges:
            told.setdefault(each.name, each)
    if told:
        device = Argument("device", "choice", tuple(told), description="what to look at")
        found.append(HomeTool(_made(
            "check_home", "Say how something in the home is.", (device,), _CHECKS, "observe"), CHECK, told))
    return tuple(found)


def _tool(way: _Way, danger: Danger, moved: Sequence[tuple[Thing, Lever]], names: Iterable[str]) -> HomeTool:
    things = {thing.name: thing for thing, _ in moved}
    only = next(iter(things)) if len(things) == 1 and way.alone else None
    device = Argument("device", "choice", tuple(things), required=only is None, default=only)
    arguments: tuple[Argument, ...] = (device,)
    if way.value:
        value = _value(way.value, [lever for _, lever in moved])
        arguments = (device, value) if only is None else (value, device)
    suffix = way.suffix
    if any(f"{name} {word}" in names for name in things for word in suffix.strip("[]").split("|")):
        suffix = ""  # "the garage" and "the garage light" are two things
    phrases = [phrase.replace("{suffix}", suffix) for phrase in (*way.phrases, *(way.alone if only else ()))]
    name, description = way.name, way.description
    if danger == "hazard" and name in _HAZARD_NAMES:
        name, description = _HAZARD_NAMES[name], f"{way.description[:-1]}, with care."
    elif danger == "hazard" and way.what in ("press", "value", "option", "speed"):
        name, description = f"{name}_with_care", f"{way.description[:-1]}, with care."
    return HomeTool(_made(name, description, arguments, phrases, danger), way.what, things, way.value)


def _value(name: str, levers: Sequence[Lever]) -> Argument:
    if levers[0].payloads:
        words: dict[str, Value] = {}
        for lever in levers:
            for word in lever.payloads:
                if spoken(word):
                    words.setdefault(spoken(word), word)
        return Argument(name, "choice", tuple(words.values()))
    steps = {lever.step for lever in levers}
    low, high = min(lever.low for lever in levers), max(lever.high for lever in levers)
    whole = all(step == int(step) for step in steps) and low == int(low)
    return Argument(name, "int" if whole else "float", low=low, high=high)


def _made(
    name: str, description: str, arguments: tuple[Argument, ...], phrases: Iterable[str], danger: Danger
) -> Tool:
    said = tuple(Phrase.of(phrase, name) for phrase in phrases)
    return Tool(name, description, elsewhere, arguments, said, risk=danger, moves=danger == "hazard", timeout_s=10.0,
                schema=schema_of(arguments))  # fmt: skip


def with_function(tool: HomeTool, function: Callable[..., object]) -> Tool:
    """The tool with what it does."""
    return replace(tool.tool, function=function)
