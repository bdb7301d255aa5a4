"""A client's JSON object, read field by field: what is wrong is said with the path and the code that clients know."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json


class Refused(ProtocolError):
    """What a client asked cannot be. `code` and `param` go into the `error` event."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class Fields:
    """One object of a message. `where` is its path ("session.audio.input"). Unknown fields are passed over: a newer
    client's field must not end the session of anybody. Every method raises `Refused`."""

    def __init__(self, values: Mapping[str, Json], where: str = "") -> None:
        self.values, self.where = values, where

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def is_null(self, name: str) -> bool:
        """There, and null."""
        return name in self.values and self.values[name] is None

    def given(self, name: str) -> bool:
        """There, and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, most: int, default: str | None = None, least: int = 0) -> str:
        """A string of `least` to `most` characters; `default` stands for one that is absent or null."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.wrong(name, "a string", value)
        if not least <= len(value) <= most:
            code = "string_above_max_length" if len(value) > most else "string_below_min_length"
            raise Refused(
                f"Invalid '{self.path(name)}': {len(value)} characters are not between {least} and {most}.",
                code,
                self.path(name),
            )
        return value

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        value = self.text(name, 1_000, default)
        if value not in choices:
            raise Refused(
                f"Invalid value: {value[:60]!r}. Supported values are: {', '.join(map(repr, choices))}.",
                "invalid_value",
                self.path(name),
            )
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "a boolean", value)
        return value

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> int:
        value = self._get(name, default)
        if isinstance(value, float) and value.is_integer():  # JavaScript knows one kind of number
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "an integer", value)
        if not least <= value <= most:
            raise self._outside(name, value, least, most)
        return value

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number", value)
        if not least <= value <= most:
            raise self._outside(name, value, least, most)
        return float(value)

    def fields(self, name: str) -> Fields:
        """An object inside this one."""
        value = self._get(name, None)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object", value)
        return Fields(value, self.path(name))

    def items(self, name: str, most: int) -> list[Json]:
        value = self._get(name, None)
        if not isinstance(value, list):
            raise self.wrong(name, "an array", value)
        if len(value) > most:
            raise Refused(
                f"Invalid '{self.path(name)}': at most {most} entries.", "array_above_max_length", self.path(name)
            )
        return value

    def objects(self, name: str, most: int) -> list[Fields]:
        """A list of objects."""
        out = []
        for at, each in enumerate(self.items(name, most)):
            if not isinstance(each, dict):
                raise self.wrong(f"{name}[{at}]", "an object", each)
            out.append(Fields(each, self.path(f"{name}[{at}]")))
        return out

    def base64(self, name: str, most: int) -> bytes:
        """Bytes written as base64, at most `most` characters of it."""
        return decoded(self.text(name, most), self.path(name))

    def wrong(self, name: str, needed: str, value: object) -> Refused:
        kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array"}
        is_ = "null" if value is None else kinds.get(type(value), "an object")
        return Refused(
            f"Invalid type for '{self.path(name)}': {needed} is expected, not {is_}.", "invalid_type", self.path(name)
        )

    def _get(self, name: str, default: Json) -> Json:
        value = self.values.get(name)
        if value is not None:
            return value
        if default is not None:
            return default
        if name in self.values:
            return None
        raise Refused(
            f"Missing required parameter: '{self.path(name)}'.", "missing_required_parameter", self.path(name)
        )

    def _outside(self, name: str, value: float, least: float, most: float) -> Refused:
        return Refused(
            f"Invalid '{self.path(name)}': {value} is not between {least} and {most}.", "invalid_value", self.path(name)
        )


def decoded(text: str, where: str) -> bytes:
    """The bytes of strict base64. `Refused` for anything else."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"Invalid '{where}': not valid base64.", "invalid_value", where) from error
