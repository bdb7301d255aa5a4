"""What can be done to a part of a device and what can be read from it, whoever made it.

A `Lever` is one thing that can be set: by one of a few words ("on", "off"), each with its payload, or by a number in a
range. A `Gauge` is one thing that is told: a state, a temperature. A lever whose effect is told has the gauge that
tells it. Everything here is data; who publishes and listens is elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from liveagent.announcement import Part
from liveagent.errors import ConfigError, ProtocolError
from liveagent.valuetemplate import CommandTemplate, ValueTemplate, as_text

CHOICES = 64
COLOURS = {
    "red": (255, 0, 0), "orange": (255, 128, 0), "yellow": (255, 220, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
    "purple": (160, 0, 255), "pink": (255, 90, 160), "white": (255, 255, 255),
}  # fmt: skip
_HUES = {
    "red": (0, 100), "orange": (30, 100), "yellow": (52, 100), "green": (120, 100), "blue": (240, 100),
    "purple": (278, 100), "pink": (335, 65), "white": (0, 0),
}  # fmt: skip
_XY = {
    "red": (0.701, 0.299), "orange": (0.61, 0.375), "yellow": (0.46, 0.47), "green": (0.172, 0.747),
    "blue": (0.136, 0.04), "purple": (0.24, 0.09), "pink": (0.45, 0.25), "white": (0.323, 0.329),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a topic tells. `words`: what the values of a state mean; empty: a number or a text as it stands. `factor`:
    of a number, how many of what is told are one of ours."""

    topic: str
    template: ValueTemplate = ValueTemplate()
    words: Mapping[str, str] = field(default_factory=dict)
    factor: float = 1.0

    def read(self, payload: bytes) -> str | float | None:
        """A state's word, a number, or a text; None where this message does not tell. ProtocolError."""
        raw = self.template.read(payload)
        if raw is None:
            return None
        if self.words:
            return self.words.get(raw, self.words.get(raw.lower()))
        try:
            number = float(raw)
        except ValueError:
            return raw[:200]
        return number / self.factor if number == number and abs(number) < 1e12 else None


@dataclass(frozen=True, slots=True)
class Lever:
    """`payloads`: word -> what to publish; or, where there are none, a number from `low` to `high`, published as
    `template` says, `factor` times and no less than `least`. `told`: word -> what the gauge may then say, beside the
    word itself."""

    what: str
    topic: str
    payloads: Mapping[str, str] = field(default_factory=dict)
    low: float = 0.0
    high: float = 100.0
    step: float = 1.0
    factor: float = 1.0
    least: float | None = None
    template: CommandTemplate = CommandTemplate()
    gauge: Gauge | None = None
    told: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    qos: int = 0
    retain: bool = False

    def payload(self, value: str | int | float) -> str:
        """What to publish. ConfigError for a value that it has not."""
        if self.payloads:
            if str(value) not in self.payloads:
                raise ConfigError(f"{value!r:.40} is none of {', '.join(self.payloads)}")
            return self.payloads[str(value)]
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            raise ConfigError(f"{value!r:.40} is no number from {self.low:g} to {self.high:g}")
        number = self._sent(value)
        return self.template.write(int(number) if number == int(number) else number)

    def _sent(self, value: float) -> float:
        """The number itself: on a step, and whole where it is scaled."""
        number = self.low + round((value - self.low) / self.step) * self.step
        if self.factor == 1.0:
            return round(number, 6)
        return max(round(number * self.factor), -1e12 if self.least is None else self.least)

    def confirms(self, value: str | int | float, told: str | float | None) -> bool:
        """Whether what its gauge tells is what was asked for."""
        if self.payloads:
            return told == value or told in self.told.get(str(value), ())
        if not isinstance(told, float) or not isinstance(value, int | float):
            return False
        return abs(told - self._sent(value) / self.factor) <= max(0.51 / self.factor, 0.51 * self.step)


@dataclass(frozen=True, slots=True)
class Levers:
    """A part's. `gauges`: what it tells beside what its levers confirm. `problems`: what could not be made of it."""

    levers: tuple[Lever, ...] = ()
    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def levers_of(part: Part) -> Levers:
    """What a part can do and tell. ProtocolError where it can do nothing at all, and is no reading."""
    reader = _Reader(part)
    getattr(reader, part.kind)()
    if not reader.levers and not reader.gauges:
        raise ProtocolError("; ".join(reader.problems) or f"a {part.kind} without a topic for commands")
    return Levers(tuple(reader.levers), reader.gauges, tuple(reader.problems))


class _Reader:
    """One method for each kind of part."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.levers: list[Lever] = []
        self.gauges: dict[str, Gauge] = {}
        self.problems: list[str] = []

    # --- the pieces that they are made of

    def gauge(
        self, topic: str, *templates: str, words: Mapping[str, str] | None = None, factor: float = 1.0,
        told: str | None = None,
    ) -> Gauge | None:
        """None without a topic, and with a template that is not understood, which is a problem then. `told`: the
        template where none is given."""
        where = self.part.text(topic)
        if where is None:
            return None
        text = next((each for name in templates if (each := self.part.text(name)) is not None), told)
        try:
            return Gauge(where, ValueTemplate.of(text), words or {}, factor)
        except ConfigError as error:
            self.problems.append(f"its {topic.removesuffix('_topic').replace('_', ' ')} is not read: {error}")
            return None

    def template(self, key: str, name: str = "value") -> CommandTemplate | None:
        """None for one that is not understood, which is a problem then."""
        try:
            return CommandTemplate.of(self.part.text(key), name)
        except ConfigError as error:
            self.problems.append(f"its {key.removesuffix('_template').replace('_', ' ')} is not sent: {error}")
            return None

    def add(self, what: str, topic: str, payloads: Mapping[str, str] | None = None, **more: object) -> None:
        """A lever, if there is a topic for it."""
        where = self.part.text(topic)
        if where is None or (payloads is not None and not payloads):
            return
        retain, qos = self.part.options.get("retain") is True, int(self.part.number("qos", 0))
        lever = Lever(what, where, payloads or {}, qos=qos if qos in (0, 1, 2) else 0, retain=retain)
        self.levers.append(replace(lever, **more))  # type: ignore[arg-type]

    def numeric(
        self, what: str, topic: str, template: str, low: float, high: float, step: float = 1.0, factor: float = 1.0,
        gauge: Gauge | None = None, name: str = "value", least: float | None = None,
    ) -> None:
        """A lever for a number."""
        if not (low < high and step > 0 and factor > 0 and high - low < 1e6 and (high - low) / step <= 100_000):
            self.problems.append(f"its {what} goes from {low:g} to {high:g} in steps of {step:g}, which is no range")
            return
        how = self.template(template, name)
        if how is not None:
            self.add(what, topic, low=low, high=high, step=step, factor=factor, template=how, gauge=gauge,
                     least=least)  # fmt: skip

    def on_off(self, command: str = "command_topic", state: str = "state_topic", *templates: str) -> None:
        """The lever "state" with on and off."""
        on, off = self.part.text("payload_on", "ON") or "ON", self.part.text("payload_off", "OFF") or "OFF"
        words = {self.part.text("state_off", off) or off: "off", self.part.text("state_on", on) or on: "on"}
        gauge = self.gauge(state, *(templates or ("value_template", "state_value_template")), words=words)
        how = self.template("command_template")
        if how is not None:
            payloads = {"on": how.write(on), "off": how.write(off)}
            self.add("state", command, payloads, gauge=gauge)
        if gauge is not None:
            self.gauges["state"] = gauge

    # --- the kinds

    def light(self) -> None:
        schema = self.part.text("schema", "basic")
        if schema == "json":
            self._json_light()
        elif schema in ("basic", "default"):
            self._basic_light()
        else:
            self.problems.append(f"a light of the schema {schema!r:.20} is not understood; basic and json are")

    def _json_light(self) -> None:
        part = self.part
        gauge = self.gauge("state_topic", told="{{ value_json.state }}", words={"ON": "on", "OFF": "off"})
        self.add("state", "command_topic", {"on": '{"state": "ON"}', "off": '{"state": "OFF"}'}, gauge=gauge)
        if gauge is not None:
            self.gauges["state"] = gauge
        modes = set(part.texts("supported_color_modes"))
        scale = part.number("brightness_scale", 255.0)
        if part.options.get("brightness") is True or modes - {"onoff"}:
            level = self.gauge("state_topic", told="{{ value_json.brightness }}", factor=scale / 100)
            if scale > 0:
                how = CommandTemplate(('{"state": "ON", "brightness": ', "}"), ((),))
                self.add("brightness", "command_topic", low=1.0, factor=scale / 100, least=1.0, template=how,
                         gauge=level)  # fmt: skip
        for mode, colours in (
            ("rgb", {name: dict(zip("rgb", rgb, strict=True)) for name, rgb in COLOURS.items()}),
            ("xy", {name: dict(zip("xy", xy, strict=True)) for name, xy in _XY.items()}),
            ("hs", {name: dict(zip("hs", hs, strict=True)) for name, hs in _HUES.items()}),
        ):
            if mode in modes:
                payloads = {name: json.dumps({"state": "ON", "color": colour}) for name, colour in colours.items()}
                self.add("colour", "command_topic", payloads)
                break

    def _basic_light(self) -> None:
        part = self.part
        self.on_off()
        scale = part.number("brightness_scale", 255.0)
        if part.text("brightness_command_topic") is not None and scale > 0:
            level = self.gauge("brightness_state_topic", "brightness_value_template", factor=scale / 100)
            self.numeric("brightness", "brightness_command_topic", "brightness_command_template", 1.0, 100.0,
                         factor=scale / 100, gauge=level, least=1.0)  # fmt: skip
            full = as_text(round(scale))
            for at, lever in enumerate(self.levers):  # one that is only ever switched on by its brightness
                alone = part.text("on_command_type") == "brightness" and part.text("payload_on") is None
                if lever.what == "state" and alone:
                    self.levers[at] = replace(lever, payloads={"on": full, "off": lever.payloads["off"]})
        rgb = self.part.text("rgb_command_topic")
        if rgb is not None and part.text("rgb_command_template") is None:
            self.add("colour", "rgb_command_topic", {name: ",".join(map(str, rgb)) for name, rgb in COLOURS.items()})

    def switch(self) -> None:
        self.on_off()

    def fan(self) -> None:
        part = self.part
        self.on_off("command_topic", "state_topic", "state_value_template", "value_template")
        low, high = part.number("speed_range_min", 1.0), part.number("speed_range_max", 100.0)
        if high > low > 0:
            speed = self.gauge("percentage_state_topic", "percentage_value_template", factor=high / 100)
            self.numeric("speed", "percentage_command_topic", "percentage_command_template", 1.0, 100.0,
                         factor=high / 100, gauge=speed, least=low)  # fmt: skip

    def cover(self) -> None:
        part = self.part
        states = ("stopped", "opening", "closing", "open", "closed")
        words = {part.text(f"state_{name}", name) or name: name for name in states}
        gauge = self.gauge("state_topic", "value_template", "state_template", words=words)
        places = part.number("position_closed", 0.0), part.number("position_open", 100.0)
        position = self.gauge("position_topic", "position_template", "value_template")
        upright = places == (0.0, 100.0)
        if not upright:
            self.problems.append("its positions do not go from 0, closed, to 100, open; it is only opened and closed")
        if gauge is None and position is not None and upright:
            self.gauges["position"] = position
        elif gauge is not None:
            self.gauges["state"] = gauge
        payloads = {}
        for word in ("open", "close", "stop"):
            payload = part.options.get(f"payload_{word}", word.upper())
            if isinstance(payload, str):  # null: it cannot do that
                payloads[word] = payload
        told = {"open": ("opening",), "close": ("closed", "closing"), "stop": ("stopped", "open", "closed")}
        self.add("move", "command_topic", payloads, gauge=gauge, told=told)
        if upright:
            self.numeric("position", "set_position_topic", "set_position_template", 0.0, 100.0, gauge=position,
                        name="position")  # fmt: skip

    def climate(self) -> None:
        part = self.part
        fahrenheit = part.text("temperature_unit", "C") == "F"
        low = part.number("min_temp", 45.0 if fahrenheit else 7.0)
        high = part.number("max_temp", 95.0 if fahrenheit else 35.0)
        target = self.gauge("temperature_state_topic", "temperature_state_template", "value_template")
        self.numeric("temperature", "temperature_command_topic", "temperature_command_template", low, high,
                    part.number("temp_step", 1.0), gauge=target)  # fmt: skip
        modes = part.texts("modes") or ("auto", "off", "cool", "heat", "dry", "fan_only")
        how = self.template("mode_command_template")
        state = self.gauge("mode_state_topic", "mode_state_template", "value_template", words={m: m for m in modes})
        if how is not None:
            self.add("mode", "mode_command_topic", {mode: how.write(mode) for mode in modes[:CHOICES]}, gauge=state)
        current = self.gauge("current_temperature_topic", "current_temperature_template", "value_template")
        self.gauges.update({
            name: gauge for name, gauge in (("temperature", current), ("target", target), ("mode", state))
            if gauge is not None
        })  # fmt: skip

    def lock(self) -> None:
        part = self.part
        if part.text("code_format") is not None:
            self.problems.append("it wants a code, which nobody should say aloud; it is left out")
            return
        words = {
            part.text("state_locked", "LOCKED") or "LOCKED": "locked",
            part.text("state_unlocked", "UNLOCKED") or "UNLOCKED": "unlocked",
        }
        gauge = self.gauge("state_topic", "value_template", words=words)
        how = self.template("command_template")
        if how is not None:
            orders = {"lock": "locked", "unlock": "unlocked"}
            payloads = {word: how.write(part.text(f"payload_{word}", word.upper()) or "") for word in orders}
            told = {word: (state,) for word, state in orders.items()}
            self.add("lock", "command_topic", payloads, gauge=gauge, told=told)
        if gauge is not None:
            self.gauges["state"] = gauge

    def button(self) -> None:
        how = self.template("command_template")
        if how is not None:
            payload = self.part.text("payload_press", "PRESS") or "PRESS"
            self.add("press", "command_topic", {"press": how.write(payload)})

    def scene(self) -> None:
        self.add("activate", "command_topic", {"activate": self.part.text("payload_on", "ON") or "ON"})

    def number(self) -> None:
        part = self.part
        gauge = self.gauge("state_topic", "value_template")
        self.numeric("value", "command_topic", "command_template", part.number("min", 1.0), part.number("max", 100.0),
                    part.number("step", 1.0), gauge=gauge)  # fmt: skip
        if gauge is not None:
            self.gauges["value"] = gauge

    def select(self) -> None:
        options = self.part.texts("options")
        if not options or len(options) > CHOICES:
            self.problems.append(f"it has {len(options)} options; from 1 to {CHOICES} can be said")
            return
        gauge = self.gauge("state_topic", "value_template", words={option: option for option in options})
        how = self.template("command_template")
        if how is not None:
            self.add("option", "command_topic", {option: how.write(option) for option in options}, gauge=gauge)
        if gauge is not None:
            self.gauges["option"] = gauge

    def sensor(self) -> None:
        gauge = self.gauge("state_topic", "value_template")
        if gauge is not None:
            self.gauges["value"] = gauge

    def binary_sensor(self) -> None:
        on, off = self.part.text("payload_on", "ON") or "ON", self.part.text("payload_off", "OFF") or "OFF"
        gauge = self.gauge("state_topic", "value_template", words={off: "off", on: "on"})
        if gauge is not None:
            self.gauges["state"] = gauge
