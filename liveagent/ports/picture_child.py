"""The process in which peers' pictures are decoded: a picture that kills a decoder, or fills the memory, does it here.

Run by `Pictures`. Frames both ways, little-endian: in, u32 length and so many bytes of a picture; out, u8 kind, u32
height, u32 width, u32 length, and so many bytes: RGB (kind 0) or why not, in words (kind 1).
"""

from __future__ import annotations

import contextlib
import resource
import signal
import struct
import sys
from typing import BinaryIO

from liveagent.errors import LiveAgentError
from liveagent.ports.scaler import decode_picture

LENGTH = struct.Struct("<I")
ANSWER = struct.Struct("<BIII")
MEMORY_BYTES = 1 << 30
"""Of address space, of which decoding four million pixels needs a small part and the libraries most."""


def serve(inward: BinaryIO, outward: BinaryIO, most_px: int) -> None:
    """Decode until the parent is gone."""
    while len(head := inward.read(LENGTH.size)) == LENGTH.size:
        data = inward.read(LENGTH.unpack(head)[0])
        try:
            pixels = decode_picture(data, most_px=most_px)
            answer = ANSWER.pack(0, *pixels.shape[:2], pixels.size) + pixels.tobytes()
        except LiveAgentError as error:
            said = str(error).encode()
            answer = ANSWER.pack(1, 0, 0, len(said)) + said
        except MemoryError:
            said = b"this picture needs too much memory; send a smaller one"
            answer = ANSWER.pack(1, 0, 0, len(said)) + said
        outward.write(answer)
        outward.flush()


def main(arguments: list[str]) -> int:
    """`MOST_PX`: the longest side of what is answered."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with contextlib.suppress(ValueError, OSError):  # a system that does not bound it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer, int(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
