"""Comparing our networks with the implementation in `transformers`, on random weights that it writes to disk itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

BAR = 1e-4
"""How far numbers may be apart, in standard deviations of the reference."""
FAR = 10 * BAR
"""A mutation that is not caught so clearly says that the comparison is blind to it."""


def reference() -> ModuleType:
    """`transformers`, quiet and offline; skips the test where it is not installed."""
    from liveagent.nn import torchaudio_cpu

    torchaudio_cpu.load()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_OFFLINE", "1")
        module: ModuleType = pytest.importorskip("transformers")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def gains(model: torch.nn.Module, seed: int) -> None:
    """Weights that hide nothing: norms, biases, scalars away from zero and one, products of about unit size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in [*model.named_parameters(), *model.named_buffers()]:
            if (
                not weight.is_floating_point()
                or not weight.isfinite().all()
                or "inv_freq" in name
                or "embed_scale" in name
            ):
                continue
            drawn = torch.randn(weight.shape, generator=generator)
            if weight.ndim >= 2:
                weight.copy_(drawn * weight[0].numel() ** -0.5)
            elif name.endswith("bias"):
                weight.copy_(drawn * 0.3)
            else:
                weight.copy_(1.0 + 0.3 * drawn)


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference in standard deviations of theirs."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().std())


def saved(model: Any, folder: Path, shards: str | None = None) -> Path:
    """As the hub lays it out, in shards of at most so many bytes ("20kB")."""
    model.save_pretrained(str(folder), **({"max_shard_size": shards} if shards else {}))
    return folder


def stream(net: Any, rows: Tensor, sizes: Sequence[int], lanes: int = 3, lane: int = 1, slots: int = 256) -> Tensor:
    """Logits `[T, V]` of rows `[T, R]` that come in pieces of these sizes, into one lane of several; the lane beside
    it hears something else."""
    state = net.init_state(lanes, slots, back=16)
    out, at = [], 0
    for size in sizes:
        part = rows[at : at + size]
        x = torch.zeros(lanes, net.pass_rows if size < net.pass_rows else size, rows.shape[1])
        x[lane, : len(part)] = part
        x[0, 0] = rows[0]
        out.append(net.steps(x, [1, len(part), 0], state)[lane, : len(part)])
        at += len(part)
    return torch.cat(out)


@contextmanager
def exact() -> Iterator[None]:
    """One thread, no gradients: the same numbers every time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
