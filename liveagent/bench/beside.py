"""A network beside the implementation in `transformers`, on random weights that this writes to disk itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liveagent.nn.stack import Stack

BAR = 1e-4
"""How far numbers may be apart, in standard deviations of the reference."""
FAR = 10 * BAR
"""A mutation that is not caught so clearly says that the comparison is blind to it."""


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
                weight.copy_(drawn * weight[0].numel() ** -0.5 * 1.3)
            elif name.endswith("bias"):
                weight.copy_(drawn * 0.3)
            else:
                weight.copy_(1.0 + 0.3 * drawn)


def tower_gains(net: torch.nn.Module, seed: int) -> None:
    """The same for an ear or an eye: norms of either sign, and bounds that cut something off everywhere."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> Tensor:
        return tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name.endswith("_min"):
            uniform(tensor, -2.5, -1.2)
        elif name.endswith("_max"):
            uniform(tensor, 1.2, 2.5)
        elif tensor.dim() > 1 or name.endswith(("per_dim_scale", "class_embedding")):
            scale = 0.7 if "embedding" in name else 1.0 if tensor.dim() < 2 else 1.2 * tensor[0].numel() ** -0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * scale)
        else:
            uniform(tensor, 0.3, 0.8).mul_(torch.randint(0, 2, tensor.shape, generator=generator) * 2.0 - 1)


def error(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference in standard deviations of theirs."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().std())


def saved(model: Any, folder: Path, shards: str | None = None) -> Path:
    """As the hub lays it out, in shards of at most so many bytes ("20kB")."""
    model.save_pretrained(str(folder), **({"max_shard_size": shards} if shards else {}))
    return folder


def stream(net: Stack, rows: Tensor, sizes: Sequence[int], lanes: int = 3, lane: int = 1, slots: int = 256) -> Tensor:
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


def listen(net: Any, samples: Tensor, sizes: Sequence[int], block: int, rest: bool = False) -> Tensor:
    """Rows of sound `[B, S]` that comes in pieces of so many blocks, over and over; `rest`: what is open at the end
    too."""
    state, active = net.init_state(len(samples)), torch.ones(len(samples), dtype=torch.bool)
    whole = samples.shape[1] // block * block
    parts, at, turn = [], 0, 0
    while at < whole:
        wide = min(sizes[turn % len(sizes)] * block, whole - at)
        parts.append(net.step(samples[:, at : at + wide], state, active))
        at, turn = at + wide, turn + 1
    if rest:
        parts.append(net.provisional(samples[:, at:], state))
    return torch.cat(parts, dim=1)


def sound(lanes: int, blocks: int, block: int, seed: int = 0) -> Tensor:
    """Noise that swells, with a tone, `[B, S]`."""
    generator = torch.Generator().manual_seed(seed * 7919 + lanes * 1000 + blocks)
    t = torch.arange(blocks * block) / 16_000
    tone = torch.sin(6.28 * (200 + 300 * torch.rand(lanes, 1, generator=generator)) * t)
    noise = torch.randn(lanes, blocks * block, generator=generator)
    return 0.3 * torch.rand(lanes, 1, generator=generator) * tone + 0.1 * noise * (1 + torch.sin(5 * t))


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


Compared = Callable[[Path, bool], dict[str, float]]
"""Writes a checkpoint to a folder, by default initialisation or with gains, and says the errors of `whole` and
`streamed`."""
