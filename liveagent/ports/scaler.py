"""From FFmpeg's pictures to ours: upright RGB of a bounded size; and one picture file decoded, its header first."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveagent.errors import ConfigError, LiveAgentError, ProtocolError
from liveagent.picture import HEADER_BYTES, MAX_PX, check_header
from liveagent.video import Pixels

if TYPE_CHECKING:
    from av.video.reformatter import VideoReformatter

MOST_SIDE_PX = 1_280
GREY = 128
MAX_BYTES = 64 << 20  # of a picture file


class Scaler:
    """Scales pictures down, in FFmpeg, straight from the decoder's own form: a 4K picture never becomes 25 MB of RGB.

    size_px: square pictures, `[size_px, size_px, 3]`, the proportions kept and the rest mid-grey, as in `video.resize`.
    None: no more than the picture, at most `most_px` long.
    """

    def __init__(self, size_px: int | None, most_px: int = MOST_SIDE_PX) -> None:
        if size_px is not None and not 8 <= size_px <= MOST_SIDE_PX:
            raise ConfigError(f"pictures of {size_px} px: choose between 8 and {MOST_SIDE_PX}")
        self._size_px, self._most_px = size_px, most_px
        self._reformatter: VideoReformatter | None = None

    def scale(self, frame: Any) -> Pixels:
        """frame: an `av.VideoFrame`, of any size and form. Raises what FFmpeg raises for a form it cannot read."""
        if self._reformatter is None:
            from av.video.reformatter import VideoReformatter

            self._reformatter = VideoReformatter()
        most = self._size_px or min(self._most_px, max(frame.width, frame.height))
        scale = most / max(frame.width, frame.height)
        width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
        small = self._reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA")
        pixels: Pixels = np.rot90(small.to_ndarray(), _quarter_turns(frame))
        if self._size_px is None or width == height:
            return np.ascontiguousarray(pixels)
        whole = np.full((most, most, 3), GREY, np.uint8)
        high, wide = pixels.shape[:2]
        top, left = (most - high) // 2, (most - wide) // 2
        whole[top : top + high, left : left + wide] = pixels
        return whole


def _quarter_turns(frame: Any) -> int:
    """Counterclockwise, as the file's own metadata wants it shown."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


def decode_picture(data: bytes, size_px: int | None = None, most_px: int = MOST_SIDE_PX) -> Pixels:
    """One JPEG, PNG, GIF (its first picture) or WebP. Raises ProtocolError that says what is wrong with it."""
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"a picture of {len(data) >> 20} MB is too large; send at most {MAX_BYTES >> 20} MB")
    check_header(data)
    import av

    scaler = Scaler(size_px, most_px)
    limits = {"max_pixels": str(MAX_PX)}  # the header is not all that may lie
    try:
        with av.open(BytesIO(data), "r", options=limits) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = dict(limits)
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                return scaler.scale(frame)
    except (av.error.FFmpegError, ValueError, IndexError, OSError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise ProtocolError(f"this picture cannot be decoded ({said}); send it again") from error
    raise ProtocolError("this picture holds nothing; send it again")


def read_picture(path: str | Path, size_px: int | None = None) -> Pixels:
    """The same from a file. Raises ConfigError that names it."""
    file = Path(path)
    try:
        with file.open("rb") as opened:
            data = opened.read(HEADER_BYTES)
            check_header(data)  # before the rest is even read
            data += opened.read(MAX_BYTES + 1 - len(data))
        return decode_picture(data, size_px)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); choose another file") from error
    except LiveAgentError as error:
        raise ConfigError(f"{file.name}: {error}") from error
