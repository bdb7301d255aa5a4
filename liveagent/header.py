"""`Header`: what a safetensors file says that it holds, read without its weights and without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from liveagent.errors import ConfigError

BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip
"""The bits of a number, by the name that safetensors has for its kind."""

PREFIX = 8
"""Bytes in front of a header, which say how long it is."""
MOST = 100_000_000
"""A header that claims to be longer than this is none: it is what safetensors itself refuses."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as it lies in a file: `dtype` by safetensors' name of it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.count * BITS[self.dtype] // 8

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("F", "BF"))


@dataclass(frozen=True, slots=True)
class Header:
    """`tensors` by name, and `file_bytes`: how long the whole file must be."""

    tensors: Mapping[str, Stored]
    file_bytes: int

    @classmethod
    def parse(cls, head: bytes, where: str) -> Header:
        """The header at the beginning of a file; `head` may go on behind it. `where` is what errors call the file.

        ConfigError: it is none, or says what cannot be.
        """
        length = header_bytes(head, where)
        if len(head) < PREFIX + length:
            raise ConfigError(f"{where} is cut short: fetch it again")
        try:
            said = json.loads(head[PREFIX : PREFIX + length])
            said.pop("__metadata__", None)
            tensors = {name: _stored(each) for name, each in said.items()}
            end = max((int(each["data_offsets"][1]) for each in said.values()), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{where} is damaged ({type(error).__name__} in its header): fetch it again") from None
        if end != sum(each.size_bytes for each in tensors.values()):
            raise ConfigError(f"{where} is damaged (its header contradicts itself): fetch it again")
        return cls(tensors, PREFIX + length + end)

    @classmethod
    def read(cls, path: Path) -> Header:
        """The header of a file on this disk. ConfigError: the file is missing, damaged or cut short."""
        try:
            with path.open("rb") as file:
                head = file.read(PREFIX)
                head += file.read(header_bytes(head, str(path)))
            size = path.stat().st_size
        except FileNotFoundError:
            raise ConfigError(f"{path} is missing: fetch it again") from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error.strerror}): fetch it again") from None
        found = cls.parse(head, str(path))
        if size < found.file_bytes:
            raise ConfigError(f"{path} is cut short ({size} of {found.file_bytes} bytes): fetch it again")
        if size > found.file_bytes:
            raise ConfigError(f"{path} is damaged ({size - found.file_bytes} bytes too long): fetch it again")
        return found


def header_bytes(head: bytes, where: str) -> int:
    """How long the header is that begins with these bytes. ConfigError when this is no safetensors file."""
    if len(head) < PREFIX:
        raise ConfigError(f"{where} is cut short: fetch it again")
    length = int.from_bytes(head[:PREFIX], "little")
    if not 2 <= length <= MOST:
        raise ConfigError(f"{where} is no safetensors file: fetch it again")
    return length


def _stored(said: Mapping[str, object]) -> Stored:
    dtype, shape = said["dtype"], said["shape"]
    if dtype not in BITS or not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{dtype} {shape}")
    return Stored(str(dtype), tuple(shape))
