"""The templates that device announcements carry, in the simple forms that their documentation shows.

    {{ value }}   {{ value_json.state }}   {{ value_json['ENERGY'].Power }}   {{ value_json.rooms[0].on | float }}
    { "position": {{ position }} }

Home Assistant runs anything in Jinja; here nothing is run. What is more than a path into the payload, or a text with
the value in it, is no template that is understood, and whoever announced it is told so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from liveagent.errors import ConfigError, ProtocolError
from liveagent.jsonform import Json

PATH_STEPS = 8
_EXPRESSION = re.compile(r"\s*\{\{-?\s*(.*?)\s*-?\}\}\s*", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[\s*'([^'\\]*)'\s*\]|\[\s*\"([^\"\\]*)\"\s*\]|\[\s*(\d{1,4})\s*\]")
_FILTER = re.compile(r"\s*\|\s*([a-z_]+)\s*(?:\(\s*(-?\d+(?:\.\d+)?)?\s*\))?")
_SLOT = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)\s*((?:\|\s*[a-z_]+\s*(?:\(\s*(?:-?\d+(?:\.\d+)?)?\s*\))?\s*)*)-?\}\}")

Filter: TypeAlias = tuple[str, float | None]


@dataclass(frozen=True, slots=True)
class ValueTemplate:
    """Where in a payload the value stands. `path` empty and not `json`: the payload is the value."""

    path: tuple[str | int, ...] = ()
    json: bool = False
    filters: tuple[Filter, ...] = ()

    @classmethod
    def of(cls, text: str | None) -> ValueTemplate:
        """ConfigError for a template that is more than a path."""
        if text is None or not text.strip():
            return cls()
        whole = _EXPRESSION.fullmatch(text)
        inside = whole[1] if whole else ""
        name = re.match(r"value_json\b|value\b", inside)
        if whole is None or name is None or "{{" in inside:
            raise ConfigError(f"the template {text!r:.80} is not understood; {{{{ value_json.x }}}} is")
        at, path = name.end(), list[str | int]()
        while step := _STEP.match(inside, at):
            key = next(each for each in step.groups() if each is not None)
            path.append(int(key) if step[4] is not None else key)
            at = step.end()
        filters, at = _filters(inside, at)
        if at != len(inside) or len(path) > PATH_STEPS or (path and name[0] == "value"):
            raise ConfigError(f"the template {text!r:.80} is not understood; {{{{ value_json.x }}}} is")
        return cls(tuple(path), name[0] == "value_json", filters)

    def read(self, payload: bytes) -> str | None:
        """The value as a text, as Home Assistant would compare it; None where this payload does not hold it.
        ProtocolError for a payload that cannot be read."""
        try:
            text = payload.decode()
            value: Json = json.loads(text) if self.json else text
        except (ValueError, RecursionError) as error:
            wanted = "JSON" if self.json else "text"
            raise ProtocolError(f"a state that is no {wanted} ({type(error).__name__})") from None
        for step in self.path:
            if isinstance(value, dict) and step in value:
                value = value[str(step)]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                value = value[step]
            else:
                return None
        if value is None or isinstance(value, dict | list):
            return None
        return _filtered(value, self.filters)


@dataclass(frozen=True, slots=True)
class CommandTemplate:
    """A text with the value in it: `parts` are texts, and between each two of them stands the value once."""

    parts: tuple[str, ...] = ("", "")
    filters: tuple[tuple[Filter, ...], ...] = ((),)

    PLAIN: ClassVar[str] = "{{ value }}"

    @classmethod
    def of(cls, text: str | None, name: str = "value") -> CommandTemplate:
        """`name`: what the value is also called in it ("position"). ConfigError for anything but a text with it."""
        text = text or cls.PLAIN
        parts, filters, at = [""], list[tuple[Filter, ...]](), 0
        for slot in _SLOT.finditer(text):
            parts[-1] += text[at : slot.start()]
            found, end = _filters(slot[2], 0)
            if slot[1] not in ("value", name) or slot[2][end:].strip():
                raise ConfigError(f"the template {text!r:.80} is not understood; a text with {{{{ {name} }}}} in it is")
            parts.append("")
            filters.append(found)
            at = slot.end()
        parts[-1] += text[at:]
        if any("{{" in part or "{%" in part or "{#" in part for part in parts):
            raise ConfigError(f"the template {text!r:.80} is not understood; a text with {{{{ {name} }}}} in it is")
        return cls(tuple(parts), tuple(filters))

    def write(self, value: str | int | float) -> str:
        """What to send for a value."""
        said = self.parts[0]
        for part, filters in zip(self.parts[1:], self.filters, strict=True):
            said += _filtered(value, filters) + part
        return said


def _filters(text: str, at: int) -> tuple[tuple[Filter, ...], int]:
    found: list[Filter] = []
    while step := _FILTER.match(text, at):
        if step[1] not in _FILTERS:
            break
        found.append((step[1], float(step[2]) if step[2] is not None else None))
        at = step.end()
    return tuple(found), at


def as_text(value: str | int | float | bool) -> str:
    """A JSON value as a text: true is "True", 21.0 is "21.0"."""
    return value if isinstance(value, str) else str(value)


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0


_FILTERS: dict[str, Callable[[str | int | float | bool, float | None], str | int | float]] = {
    "int": lambda value, given: int(_number(value)),
    "float": lambda value, given: _number(value),
    "round": lambda value, given: round(_number(value), int(given or 0)),
    "lower": lambda value, given: as_text(value).lower(),
    "upper": lambda value, given: as_text(value).upper(),
    "string": lambda value, given: as_text(value),
    "tojson": lambda value, given: json.dumps(value),
    "to_json": lambda value, given: json.dumps(value),
}


def _filtered(value: str | int | float | bool, filters: tuple[Filter, ...]) -> str:
    try:
        for name, given in filters:
            value = _FILTERS[name](value, given)
    except (OverflowError, ValueError):
        return "0"
    return as_text(value)
