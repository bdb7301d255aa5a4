"""`torchaudio`, importable beside a CPU build of torch.

The published torchaudio wheels are linked against CUDA, and their package fails to import when torch has none. The
parts used here (resampling, mel filters) are pure Python on torch operators, so on that failure the compiled extension
is replaced by a stand-in that says it is absent, which is a state torchaudio itself knows.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def _absent(function: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"torchaudio.{function.__name__} needs torchaudio's compiled extension, absent here")

    return refuse


def load() -> ModuleType:
    """Import torchaudio, with its compiled extension or without it; call before other packages import it."""
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
            del sys.modules[name]
    stand_in = ModuleType("torchaudio._extension")
    for flag in ("_IS_TORCHAUDIO_EXT_AVAILABLE", "_IS_ALIGN_AVAILABLE", "_IS_RIR_AVAILABLE"):
        setattr(stand_in, flag, False)
    for gate in ("fail_if_no_align", "fail_if_no_rir"):
        setattr(stand_in, gate, _absent)
    stand_in._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    sys.modules["torchaudio._extension"] = stand_in
    return importlib.import_module("torchaudio")
