"""Frozen dataclasses as strict JSON, and back.

Events, actions and everything else that a journal or a link stores have one written form:
`{"type": "TextTyped", "t_ns": 80000000, "text": "hello"}`. The form is checked against the class's own annotations
when it is read, so that a peer's or a file's mistake becomes a `ProtocolError` at the edge and not an
`AttributeError` three floors further in. An unknown field is refused, not ignored: a field that is silently lost is
a replay that silently differs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from liveagent.errors import ProtocolError

if TYPE_CHECKING:
    Json: TypeAlias = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
else:  # a recursive alias cannot be compared by identity once its names are resolved
    Json = Any

T = TypeVar("T")

MAX_DEPTH = 32


def check_json(value: object, where: str, depth: int = 0) -> Json:
    """The value, if it is plain JSON (finite numbers, string keys, at most 32 levels); else `ProtocolError`."""
    if depth > MAX_DEPTH:
        raise ProtocolError(f"{where}: nested deeper than {MAX_DEPTH} levels; send flatter data")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ProtocolError(f"{where}: {value} is no JSON number; send a finite one")
        return value
    if isinstance(value, (list, tuple)):
        return [check_json(item, where, depth + 1) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ProtocolError(f"{where}: the keys of an object must be strings")
        return {key: check_json(item, where, depth + 1) for key, item in value.items()}
    raise ProtocolError(f"{where}: {type(value).__name__} has no JSON form")


def bounded_json(value: object, where: str, most: int) -> Json:
    """`check_json` of what is no longer than about `most` characters; `ProtocolError` for more, found out without
    walking through all of it."""
    left, todo = most, [value]
    while todo:
        each = todo.pop()
        left -= len(each) + 2 if isinstance(each, str | bytes | list | tuple | dict) else 4
        if left < 0:
            raise ProtocolError(f"{where}: it gave back more than {most} characters; give less")
        if isinstance(each, Mapping):
            todo += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple):
            todo += each
    return check_json(value, where)


def _write(value: object, where: str) -> Json:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _write(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_write(item, where) for item in value]
    return check_json(value, where)


def _read(hint: Any, value: object, where: str) -> Any:
    if hint is Json:
        return check_json(value, where)
    origin = typing.get_origin(hint)
    if origin is Literal:
        # `1 == True` in Python: compare the types too.
        if not any(type(value) is type(choice) and value == choice for choice in typing.get_args(hint)):
            raise ProtocolError(f"{where}: {value!r:.40} is none of {', '.join(map(repr, typing.get_args(hint)))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in typing.get_args(hint):
            return None
        (inner,) = (arg for arg in typing.get_args(hint) if arg is not type(None))
        return _read(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ProtocolError(f"{where}: a list is needed, not {type(value).__name__}")
        (inner, _) = typing.get_args(hint)
        return tuple(_read(inner, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ProtocolError(f"{where}: an object is needed, not {type(value).__name__}")
        return {key: _read(typing.get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _read_dataclass(hint, value, where)
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError as error:
            raise ProtocolError(f"{where}: the number is too large") from error
    if type(value) is not hint or (hint is float and not math.isfinite(typing.cast(float, value))):
        raise ProtocolError(f"{where}: {hint.__name__} is needed, not {value!r:.40}")
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _read_dataclass(cls: type, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ProtocolError(f"{where}: an object is needed, not {type(value).__name__}")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(value.keys() - fields.keys())
    if unknown:
        raise ProtocolError(f"{where}: unknown field {unknown[0]!r:.40}; it knows {', '.join(fields)}")
    given = {}
    for name, field in fields.items():
        if name in value:
            given[name] = _read(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ProtocolError(f"{where}: field {name!r} is missing")
    return cls(**given)


class JsonForm(Generic[T]):
    """The written form of a closed set of dataclasses, told apart by `"type"`.

    Fields may be bool, int, float, str, `Literal`, `X | None`, `tuple[X, ...]`, `dict[str, X]`, `Json` and
    dataclasses of these.
    """

    def __init__(self, classes: tuple[type[T], ...]) -> None:
        self._classes: dict[str, type[T]] = {cls.__name__: cls for cls in classes}

    def encode(self, value: T) -> str:
        """One line of ASCII. `ProtocolError` for a class outside the set or a number that JSON has not."""
        name = type(value).__name__
        if self._classes.get(name) is not type(value):
            raise ProtocolError(f"{name} has no written form here")
        body = typing.cast(dict[str, Json], _write(value, name))
        return json.dumps({"type": name, **body}, separators=(",", ":"), allow_nan=False)

    def decode(self, text: str | bytes) -> T:
        """What `encode` wrote. `ProtocolError` names the class and field that is wrong."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"not JSON: {type(error).__name__}") from error
        if not isinstance(value, dict):
            raise ProtocolError(f"an object with a 'type' is needed, not {type(value).__name__}")
        name = value.pop("type", None)
        cls = self._classes.get(name) if isinstance(name, str) else None
        if cls is None:
            raise ProtocolError(f"unknown type {name!r:.60}; this version knows {', '.join(sorted(self._classes))}")
        return typing.cast(T, _read_dataclass(cls, value, typing.cast(str, name)))
