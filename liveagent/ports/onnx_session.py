"""`OnnxSession`: an ONNX file that can be stopped while it runs, with threads that do not spin.

A library that was given one runs it as onnxruntime's own: what is not here is passed on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime

from liveagent.errors import DeviceError

MOST_THREADS = 4


class OnnxSession:
    """`model`: a file's path or its bytes. Raises DeviceError for a file that cannot be read."""

    def __init__(self, model: str | bytes, called: str) -> None:
        options = onnxruntime.SessionOptions()
        # One core stays for the ear and the engine. Threads that wait by spinning would take it from them.
        options.intra_op_num_threads = max(1, min(MOST_THREADS, len(os.sched_getaffinity(0)) - 1))
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own kinds of error are not public
            first = str(error).partition("\n")[0][:160]
            raise DeviceError(f"{called} is damaged or no ONNX file ({first}): get it again") from None
        self._options = onnxruntime.RunOptions()

    def begin(self) -> None:
        """Forget a `stop` that came before."""
        self._options = onnxruntime.RunOptions()

    def stop(self) -> None:
        """Abort `run`, from another thread: it ends between two of the network's nodes."""
        self._options.terminate = True

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> Any:
        return self.session.run(names, feeds, self._options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)
