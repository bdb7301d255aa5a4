"""Reading what a Gemini Live client sends: fields by either of their names, and media in either alphabet of base64.

Protocol buffers have two spellings in JSON, `camelCase` and the field's own `snake_case`, and a reader takes both
(protobuf.dev, "ProtoJSON Format"). Clients mix them within one message. So nobody above asks a dict by a key: `Fields`
knows both spellings. What a user named (arguments, properties of a schema) is never spelled anew.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import cache

import numpy as np

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json
from liveagent.wire.codec import Frame, Picture, Sound
from liveagent.wire.strict_json import read_object

MAX_MESSAGE_BYTES = 15 << 20
MIN_RATE_HZ, MAX_RATE_HZ = 8_000, 96_000
DEFAULT_RATE_HZ = 16_000
PICTURES = {
    "image/jpeg": "image/jpeg", "image/jpg": "image/jpeg", "image/png": "image/png", "image/webp": "image/webp",
    "image/gif": "image/gif",
}  # fmt: skip
_UPPER = re.compile(r"(?<!^)(?=[A-Z])")


def read_message(data: Frame) -> Fields:
    """One message. ProtocolError for whatever is no single, bounded JSON object."""
    return Fields(read_object(data, MAX_MESSAGE_BYTES), "message")


@cache
def snake(name: str) -> str:
    """`silence_duration_ms` for `silenceDurationMs`. Of names that stand in this code alone: the cache is bounded."""
    return _UPPER.sub("_", name).lower()


class Fields:
    """One object of a message; `where` says in errors which. Null is absent. All but `raw` raise ProtocolError when
    what is there is of another kind."""

    def __init__(self, value: Json, where: str) -> None:
        if not isinstance(value, dict):
            raise ProtocolError(f"{where} must be an object")
        self.raw: dict[str, Json] = value
        self.where = where

    def get(self, name: str) -> Json:
        """The value of the field called `name` in camelCase, whichever way it is spelled."""
        value, other = self.raw.get(name), snake(name)
        if other == name or other not in self.raw:
            return value
        if value is not None:
            raise ProtocolError(f"{self.where}.{name} is given in two spellings")
        return self.raw[other]

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def fields(self, name: str) -> Fields | None:
        value = self.get(name)
        return None if value is None else Fields(value, name)

    def all(self, name: str) -> list[Json]:
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise ProtocolError(f"{self.where}.{name} must be a list")
        return value

    def each(self, name: str) -> list[Fields]:
        return [Fields(value, f"{name}[{at}]") for at, value in enumerate(self.all(name))]

    def text(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise ProtocolError(f"{self.where}.{name} must be a string")
        return value

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise ProtocolError(f"{self.where}.{name} must be true or false")
        return value

    def whole(self, name: str) -> int | None:
        """A number that is not negative; ProtoJSON writes large ones as strings."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ProtocolError(f"{self.where}.{name} must be a whole number, 0 or more")
        return value


def one_of(message: Fields, names: tuple[str, ...]) -> tuple[str, Fields]:
    """The one field that a message consists of, and what it holds. ProtocolError for none, several, or another."""
    known = {name: name for name in names} | {snake(name): name for name in names}
    for key in message.raw:
        if key not in known:
            raise ProtocolError(f'unknown name "{key[:40]}": a message is one of {", ".join(names)}')
    there = [name for name in names if name in message]
    if len(there) != 1:
        raise ProtocolError(f"a message is exactly one of {', '.join(names)}")
    return there[0], Fields(message.get(there[0]), there[0])


# ---- media -----------------------------------------------------------------------------------------------------------


def read_sound(blob: Fields) -> list[Sound]:
    """`{data, mimeType: "audio/pcm;rate=16000"}`: 16 bits, little-endian, mono; in pieces of at most a second."""
    kind, params = _mime(blob)
    if kind != "audio/pcm":
        raise ProtocolError(f'{blob.where}: "{kind[:40]}" is no sound that is read here; send audio/pcm;rate=16000')
    if params.get("channels", "1") != "1":
        raise ProtocolError(f"{blob.where}: send one channel")
    rate = params.get("rate", str(DEFAULT_RATE_HZ))
    rate_hz = int(rate) if rate.isascii() and rate.isdigit() and len(rate) <= 6 else 0
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ProtocolError(f"{blob.where}: a rate lies between {MIN_RATE_HZ} and {MAX_RATE_HZ} Hz")
    data = _bytes(blob)
    if len(data) % 2:
        raise ProtocolError(f"{blob.where}: sound is 16 bits a sample; this is an odd number of bytes")
    pcm = np.frombuffer(data, "<i2").astype(np.int16)
    return [Sound(pcm[at : at + rate_hz], rate_hz) for at in range(0, len(pcm), rate_hz)]


def read_picture(blob: Fields, live: bool) -> Picture:
    """`{data, mimeType: "image/jpeg"}`. What it holds is looked at by whoever decodes it."""
    kind, _ = _mime(blob)
    if kind not in PICTURES:
        raise ProtocolError(f'{blob.where}: "{kind[:40]}" is no picture; send image/jpeg, png, webp or gif')
    data = _bytes(blob)
    if not data:
        raise ProtocolError(f"{blob.where}: the picture is empty")
    return Picture(data, PICTURES[kind], live=live)


def is_picture(blob: Fields) -> bool:
    return _mime(blob)[0].startswith("image/")


def _mime(blob: Fields) -> tuple[str, dict[str, str]]:
    kind, *params = blob.text("mimeType").lower().split(";")
    return kind.strip(), {key.strip(): value.strip() for key, _, value in (each.partition("=") for each in params)}


def _bytes(blob: Fields) -> bytes:
    """Base64 with `+/` or `-_`, padded or not (RFC 4648, 4 and 5)."""
    text = blob.text("data").rstrip("=")
    try:
        plain = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(f"{blob.where}.data is no base64") from error
