"""JSON of a peer, read within bounds, for every codec.

Stricter than RFC 8259 asks for, each time because something further in would break: a key that comes twice has two
meanings, NaN and Infinity are no JSON, a number beyond 64 bits overflows, half of a surrogate pair cannot be sent on,
and Python's parser recurses, so depth is counted before it runs. What a message may cost is bounded by its bytes, its
depth and the number of its values.
"""

from __future__ import annotations

import json
import math
import re
from typing import cast

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 200_000
_LARGEST = 2**63
_MAX_QUOTES = 2_000_000

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_object(data: str | bytes, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> dict[str, Json]:
    """One JSON object. `ProtocolError`, in words for the peer, for anything else."""
    text = _text(data, max_bytes)
    _check_shape(text, max_depth)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_real, parse_int=_integer
        )
    except ProtocolError:
        raise
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise ProtocolError(f"not JSON{where}") from error
    if not isinstance(value, dict):
        raise ProtocolError("a JSON object is needed")
    if _SURROGATE.search(text):
        _check_surrogates(value)
    return value


def write(value: Json) -> str:
    """One line, in UTF-8 where that is possible. `ProtocolError` for a number that JSON has not."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        if text.isascii():
            return text
        text.encode()
        return text
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ProtocolError("a number that JSON cannot hold") from error


def _text(data: str | bytes, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise ProtocolError(f"the message is longer than {max_bytes} bytes")
    if isinstance(data, str):
        if data.isascii():
            return data
        try:
            size = len(data.encode())
        except UnicodeEncodeError as error:
            raise ProtocolError("the message holds half of a surrogate pair") from error
        if size > max_bytes:
            raise ProtocolError(f"the message is longer than {max_bytes} bytes")
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError("the message is not UTF-8") from error


def _check_shape(text: str, max_depth: int) -> None:
    """Depth and number of values, without recursion and without building anything."""
    brackets = text.count("[") + text.count("{")
    if brackets <= max_depth and text.count(",") <= MAX_VALUES:
        return
    if text.count('"') > _MAX_QUOTES:
        raise ProtocolError("the message holds too many strings")
    bare = _STRING.sub(_blank, text)
    if bare.count(",") + bare.count("[") + bare.count("{") > MAX_VALUES:
        raise ProtocolError(f"the message holds more than {MAX_VALUES} values")
    depth = 0
    for match in _BRACKET.finditer(bare):
        if match[0] in "[{":
            depth += 1
            if depth > max_depth:
                raise ProtocolError(f"the message is nested deeper than {max_depth} levels")
        else:
            depth -= 1


def _blank(match: re.Match[str]) -> str:
    if len(match[0]) == 1:
        raise ProtocolError("not JSON: a string does not end")
    return ""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ProtocolError(f"the key {ascii(twice)[:60]} comes twice")
    return out


def _constant(name: str) -> Json:
    raise ProtocolError(f"{name} is no JSON number")


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ProtocolError("a number is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= (value := int(text)) < _LARGEST:
        raise ProtocolError("a number is too large: it must fit into 64 bits")
    return value


def _check_surrogates(value: Json) -> None:
    rest: list[Json] = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, str):
            try:
                each.encode()
            except UnicodeEncodeError as error:
                raise ProtocolError("a string holds half of a surrogate pair") from error
        elif isinstance(each, dict):
            rest += each.values()
            rest += cast("list[Json]", list(each))
        elif isinstance(each, list):
            rest += each
