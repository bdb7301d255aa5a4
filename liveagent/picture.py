"""How large a picture is, read from its first bytes: before anything is decoded, whatever it claims to hold.

A few kilobytes can decode to gigabytes. So whoever is handed a picture calls `check_header` first.
"""

from __future__ import annotations

from liveagent.errors import ProtocolError

MAX_SIDE_PX = 8_192
MAX_PX = 40_000_000
HEADER_BYTES = 1 << 20  # a JPEG's size may stand behind a profile and a thumbnail

_NO_SIZE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers that stand alone
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})


def check_header(data: bytes) -> tuple[int, int]:
    """(width, height) in px of a JPEG, PNG, GIF or WebP that begins with `data`; the first MB is enough of it.

    Raises ProtocolError when it is none of these, when its header is damaged or cut off, and when it is larger than
    8192 px on a side or 40 million px in all.
    """
    data = data[:HEADER_BYTES]
    if data.startswith(b"\xff\xd8"):
        kind, size = "JPEG", _jpeg(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        kind, size = "PNG", _big(data, 16, 4) if data[12:16] == b"IHDR" else None
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        kind, size = "GIF", _little(data, 6, 2)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind, size = "WebP", _webp(data)
    else:
        raise ProtocolError("this is no picture: send a JPEG, PNG, GIF or WebP")
    if size is None:
        raise ProtocolError(f"the header of this {kind} is damaged or cut off; send the picture again")
    check_size(*size)
    return size


def check_size(width: int, height: int) -> None:
    """Raises ProtocolError when no picture of that size is taken."""
    if width < 1 or height < 1:
        raise ProtocolError(f"a picture of {width} x {height} px holds nothing; send one that does")
    if max(width, height) > MAX_SIDE_PX or width * height > MAX_PX:
        raise ProtocolError(
            f"a picture of {width} x {height} px is too large; scale it down to at most {MAX_SIDE_PX} px on a side "
            f"and {MAX_PX // 1_000_000} million px in all"
        )


def _big(data: bytes, at: int, each: int) -> tuple[int, int] | None:
    if len(data) < at + 2 * each:
        return None
    return int.from_bytes(data[at : at + each], "big"), int.from_bytes(data[at + each : at + 2 * each], "big")


def _little(data: bytes, at: int, each: int) -> tuple[int, int] | None:
    if len(data) < at + 2 * each:
        return None
    return int.from_bytes(data[at : at + each], "little"), int.from_bytes(data[at + each : at + 2 * each], "little")


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """ITU-T T.81, B.2: segments of a marker and a length, up to the frame header, which has height before width."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _NO_SIZE:
            at += 2
        elif marker in _FRAMES:
            size = _big(data, at + 5, 2)
            return None if size is None else (size[1], size[0])
        elif marker in (0xD9, 0xDA):  # the end, or the scan, without a frame header before it
            return None
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: lossy (a VP8 key frame), lossless (14 bits each, less one) or extended (24 bits each, less one)."""
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        size = _little(data, 26, 2)
        return None if size is None else (size[0] & 0x3FFF, size[1] & 0x3FFF)
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        size = _little(data, 24, 3)
        return None if size is None else (size[0] + 1, size[1] + 1)
    return None
