"""How many frames a piper voice gives to each phone: computed within the file, and not among what it hands out.

The one node that rounds durations up is made an output, in memory; the file stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import onnx

from liveagent.errors import DeviceError


def with_durations(path: Path) -> bytes | None:
    """The file with durations as its second output; None where it hands them out already, or has none that could be
    told apart. Raises DeviceError for a damaged file."""
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's own kinds of error, and the system's
        raise DeviceError(f"{path.name} is damaged or no ONNX file ({type(error).__name__}): get it again") from None
    rounded = {name for node in model.graph.node if node.op_type == "Ceil" for name in node.output}
    if len(model.graph.output) != 1 or len(rounded) != 1:
        return None
    model.graph.output.add().name = rounded.pop()
    whole: bytes = model.SerializeToString()
    return whole
