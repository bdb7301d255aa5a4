"""The message boundary between a server and the process that holds the weights.

A message is u32 length (little-endian), then a pickled tuple. Pickle runs whatever it is told to, so it is spoken here
alone: between two processes of ours, over a pair of sockets that has no name and that nobody else can open. Nothing
that a peer sends is ever unpickled; it arrives as plain arrays and strings inside our own dataclasses.

    to the child     ("work", id, lane, Work)   ("release", lane)   ("ping", number)   ("end",)
    to the parent    ("loaded", Loaded)   ("refused", error)   ("done", id, Reply or error)   ("pong", number, Busy)

and with the process of a pretrained ear (PCM is 16-bit at 16 kHz; an utterance is named by when it began):

    to the child     ("begin", session, begun_ns, pcm)   ("more", session, begun_ns, pcm, quiet)
                     ("end", session, begun_ns)   ("cancel", session, begun_ns)   ("ping", number)   ("end_all",)
    to the parent    ("loaded", EarLoaded)   ("refused", error)   ("pong", number)   ("failed", session, begun_ns, why)
                     ("heard", session, begun_ns, words, stands, final, confidence)
"""

from __future__ import annotations

import dataclasses
import pickle
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

from liveagent.errors import DeviceError, LiveAgentError
from liveagent.runtime.work import Decode, Reset, Work
from liveagent.tool import Tool

Message: TypeAlias = tuple[Any, ...]
_LENGTH = struct.Struct("<I")
TOO_SLOW_S = 8.0
MOST_BYTES = 256 << 20
"""Of one message: a length over this is a damaged stream, not a message."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the child has loaded. `weights_bytes`: of the files."""

    fingerprint: str
    weights_bytes: int
    load_s: float
    device: str
    sees: bool


@dataclass(frozen=True, slots=True)
class EarLoaded:
    """A pretrained ear that stands; `look_s`: how long it takes here to hear a clip, or a second of a stream;
    `block_ms`: how much of a stream it hears at once, 0 of clips."""

    name: str
    load_s: float
    look_s: float
    block_ms: float = 0.0

    @property
    def note(self) -> str:
        """For the user."""
        if self.block_ms:
            said = f"{self.name} hears along, {self.block_ms:.0f} ms at once; a second takes {self.look_s:.2f} s here"
            return said + (", longer than it lasts: take a smaller one" if self.look_s > 1 else "")
        said = f"{self.name} hears along; a look at what is being said takes it {self.look_s:.1f} s here"
        return said + (", longer than a turn waits for: take a smaller one" if self.look_s > TOO_SLOW_S else "")


@dataclass(frozen=True, slots=True)
class Busy:
    """How the child fares: the share of the time since the last report that it computed, rounds of the core so far,
    and its resident memory."""

    share: float = 0.0
    rounds: int = 0
    rss_bytes: int = 0


def pack(message: Message) -> bytes:
    """One message as it travels. Raises whatever cannot be pickled raises."""
    body = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Bytes as they come, to messages. Holds no more than one unfinished message."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. DeviceError for a stream that is damaged."""
        self._rest += data
        messages: list[Message] = []
        at = 0
        while len(self._rest) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest, at)
            if length > MOST_BYTES:
                raise DeviceError("the engine's messages are damaged; start again")
            end = at + _LENGTH.size + length
            if len(self._rest) < end:
                break
            messages.append(pickle.loads(memoryview(self._rest)[at + _LENGTH.size : end]))
            at = end
        if at:
            del self._rest[:at]
        return messages


def portable(work: Work) -> Work:
    """Work as it can leave the process: the grammar needs names, descriptions and arguments of tools, and their
    functions stay here."""
    if isinstance(work, Reset | Decode) and work.tools:
        return dataclasses.replace(work, tools=tuple(_bare(tool) for tool in work.tools))
    return work


def portable_error(error: BaseException) -> LiveAgentError:
    """An error as it can leave the process: of its own kind where it is one of ours."""
    if isinstance(error, LiveAgentError):
        return type(error)(str(error))
    return DeviceError(f"the engine failed: {type(error).__name__}: {error}; see `liveagent doctor`")


def _bare(tool: Tool) -> Tool:
    arguments = tuple(dataclasses.replace(each, default=None, enum_type=None) for each in tool.arguments)
    return dataclasses.replace(tool, function=elsewhere, arguments=arguments, phrases=(), say={}, schema={})


def elsewhere(*_: object, **__: object) -> None:
    """Stands for a tool's function where there is none."""
    raise DeviceError("this tool's function lives in another process")
