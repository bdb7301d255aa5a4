"""The ear: is the stream the whole, and what does carrying state save against encoding the context again.

`vs_own_context` compares one streaming step with encoding the same block behind the model's own left context from
scratch, which is what an encoder without carried state must do for each block to see as much. The baseline runs the
same layers, at its exact length, without a cache; both run all lanes of a slab. Timed in turns, in CPU time, so that a
busy machine disturbs both alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as fn

from liveagent.nn.conformer import Block
from liveagent.nn.ear import CHUNK, Ear, EarConfig
from liveagent.nn.mel import HOP
from liveagent.train.speech import top

LANES = 4  # never fewer in a live engine


def sound(lanes: int, count: int) -> Tensor:
    """Seeded sound with swells, gaps and a moving tone."""
    generator = torch.Generator().manual_seed(7)
    t = torch.arange(count) / 16_000
    swell = (torch.sin(2.1 * t) > -0.3).float()
    tone = torch.sin(2 * torch.pi * (180 * t + 40 * torch.sin(3 * t)))
    return swell * (0.2 * tone + 0.05 * torch.randn(lanes, count, generator=generator))


def encode_again(ear: Ear, samples: Tensor) -> Tensor:
    """The last block's tokens from `left + CHUNK` tokens' samples and no state: [B, S] -> hidden [B, CHUNK, D]."""
    c = ear.config
    with torch.no_grad():
        x = ear.stem(ear.mel(samples))
        at = torch.arange(x.shape[1])
        start = at // CHUNK * CHUNK
        mask = (at[None, :] >= start[:, None] - c.left) & (at[None, :] < start[:, None] + CHUNK)
        rope = (ear.cos, ear.sin)
        none = x.new_zeros(len(x), 0, c.width)
        past = x.new_zeros(len(x), c.kernel - 1, c.width)
        for block in ear.blocks:
            assert isinstance(block, Block)
            x, _ = block.step(x, (none, none, past), mask, rope)
        x = x[:, -CHUNK:]
        fn.log_softmax(ear.head(ear.norm(x)), dim=-1)
        return x


def in_turns(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median CPU seconds of each, called in turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 2):
        for call, times in zip((first, second), spent, strict=True):
            began = time.process_time()
            call()
            if i >= 2:
                times.append(time.process_time() - began)
    return sorted(spent[0])[rounds // 2], sorted(spent[1])[rounds // 2]


def stream_error(ear: Ear, blocks: int = 75) -> float:
    """Largest difference between streaming and whole clips in log-probabilities, hidden states and kinds."""
    samples = sound(LANES, blocks * ear.block_samples)
    state, active = ear.init_state(LANES), torch.ones(LANES, dtype=torch.bool)
    parts = [ear.step(piece, state, active) for piece in samples.split(ear.block_samples, dim=1)]
    with torch.no_grad():
        whole = ear(samples)
    return max(float((torch.cat([p[i] for p in parts], dim=1) - whole[i]).abs().max()) for i in range(3))


def mel_bit_equal(ear: Ear) -> bool:
    """Whether every chunking tried gives the bits of the whole."""
    samples = sound(LANES, 400 * HOP)
    whole, active = ear.mel(samples), torch.ones(LANES, dtype=torch.bool)
    for hops in (1, 2, 3, 7, 8, 16, 100, 133):
        state = ear.mel.init_state(LANES)
        parts = [ear.mel.step(piece, state, active) for piece in samples.split(hops * HOP, dim=1)]
        if not torch.equal(torch.cat(parts, dim=1), whole):
            return False
    return True


def saving(ear: Ear, rounds: int) -> tuple[float, float]:
    """(times that encoding again costs of a step, CPU seconds of a step)."""
    c = ear.config
    window = sound(LANES, (c.left + CHUNK) * ear.block_samples // CHUNK)
    block = window[:, -ear.block_samples :].contiguous()
    state, active = ear.init_state(LANES), torch.ones(LANES, dtype=torch.bool)
    again, step = in_turns(lambda: encode_again(ear, window), lambda: ear.step(block, state, active), rounds)
    return again / step, step


def run() -> dict[str, Any]:
    """Measure on one thread; the shipped weights where they are, else random ones of that shape."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        shipped: Path = top() / "pipelines" / "nano" / "weights" / "ear.safetensors"
        nano = Ear.load(shipped) if shipped.is_file() else Ear(EarConfig(pieces=301)).eval()
        ratio, step_s = saving(nano, 40)
        big = Ear(EarConfig(pieces=301, width=768, layers=8, heads=8, times=4)).eval()  # some 100 M, random
        big_ratio, _ = saving(big, 8)
        return {
            "mel_bit_equal": mel_bit_equal(nano),
            "stream_max_abs": stream_error(nano),
            "vs_own_context": {"nano": round(ratio, 2), "100M": round(big_ratio, 2)},
            "rtf": round(step_s / (nano.block_samples / 16_000), 4),
        }
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    print(run())
