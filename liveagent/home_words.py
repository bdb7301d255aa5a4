"""What is said of a home's things: what came of a call, and how they are. Written for a voice: no signs, no units that
nobody says."""

from __future__ import annotations

from collections.abc import Mapping

from liveagent.discovery import Thing
from liveagent.lever import Lever
from liveagent.spoken import spoken

UNITS = {
    "°C": "degrees", "°F": "degrees", "%": "percent", "W": "watts", "kW": "kilowatts", "kWh": "kilowatt hours",
    "Wh": "watt hours", "V": "volts", "A": "amperes", "lx": "lux", "hPa": "hectopascals", "ppm": "parts per million",
    "min": "minutes", "s": "seconds", "h": "hours", "m": "meters", "cm": "centimeters", "mm": "millimeters",
    "L": "liters", "m³": "cubic meters", "dB": "decibels", "km/h": "kilometers an hour", "µg/m³": "micrograms",
}  # fmt: skip
_OPENS = {"door", "window", "garage_door", "opening", "lock"}
_PRESENCE = {"motion": "motion", "occupancy": "somebody", "presence": "somebody", "smoke": "smoke", "gas": "gas",
             "moisture": "water", "vibration": "vibration", "sound": "sound"}  # fmt: skip


def be(name: str) -> str:
    """Whether one says "is" or "are" of it."""
    last = name.split()[-1] if name else ""
    return "are" if last.endswith("s") and not last.endswith("ss") else "is"


def number_words(value: float) -> str:
    """A number as short as it is said: 21.5, 21, 0.25."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def done(thing: Thing, lever: Lever, value: str | int | float, told: str | float | None) -> str:
    """What is said once it is done. `told`: what the thing itself said."""
    name = f"the {thing.name} {be(thing.name)}"
    match lever.what:
        case "brightness" | "speed" | "position":
            return f"{name} at {number_words(float(value))} percent"
        case "temperature":
            return f"{name} set to {number_words(float(value))} degrees"
        case "press":
            return f"pressed the {thing.name} button"
        case "activate":
            return f"started {thing.name}"
        case "value":
            return f"{name} {number_words(float(value))}"
        case "mode" | "option":
            return f"{name} set to {spoken(str(value))}"
        case "lock":
            return f"{name} {told if isinstance(told, str) else 'locked' if value == 'lock' else 'unlocked'}"
        case "move":
            word = {"open": "open", "close": "closed", "stop": "stopped"}[str(value)]
            return f"{name} {told if isinstance(told, str) and value != 'stop' else word}"
    return f"{name} {value}"


def sent(thing: Thing, lever: Lever, value: str | int | float) -> str:
    """What is said of a thing that does not tell how it is."""
    if lever.what in ("press", "activate"):
        return done(thing, lever, value, None)
    return f"sent to the {thing.name}, which does not say how it is"


def not_confirmed(thing: Thing) -> str:
    """What is said where a thing tells how it is, and has not said that it has done this."""
    return f"sent, but the {thing.name} {'have' if be(thing.name) == 'are' else 'has'} not confirmed it"


def how_it_is(thing: Thing, told: Mapping[str, str | float | None]) -> str:
    """What a thing says of itself, as one sentence."""
    known = {key: value for key, value in told.items() if value is not None}
    name = f"the {thing.name} {be(thing.name)}"
    if not known:
        return f"the {thing.name} {'have' if be(thing.name) == 'are' else 'has'} not said anything yet"
    device_class = thing.part.text("device_class", "") or ""
    if thing.kind == "binary_sensor":
        on = known.get("state") == "on"
        if device_class in _OPENS:
            return f"{name} {'open' if on else 'closed'}"
        if device_class in _PRESENCE:
            return f"there is {_PRESENCE[device_class] if on else _none(device_class)} at the {thing.name}"
        return f"{name} {'on' if on else 'off'}"
    if thing.kind == "climate":
        parts = []
        if isinstance(current := known.get("temperature"), float):
            parts.append(f"it is {number_words(current)} degrees")
        if isinstance(target := known.get("target"), float):
            parts.append(f"{name} set to {number_words(target)} degrees")
        elif "mode" in known:
            parts.append(f"{name} set to {spoken(str(known['mode']))}")
        return ", ".join(parts) or f"{name} there"
    value = next(iter(known.values()))
    if isinstance(value, float):
        unit = "percent" if "position" in known else UNITS.get(thing.unit, thing.unit)
        return " ".join(filter(None, (name, number_words(value), unit)))
    return f"{name} {value}"


def _none(device_class: str) -> str:
    return "nobody" if _PRESENCE[device_class] == "somebody" else f"no {_PRESENCE[device_class]}"
