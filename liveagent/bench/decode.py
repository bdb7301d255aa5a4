"""One token after another: how near is a step to what its own products cost, and how does it stand to `transformers`?

A step reads one token in one lane and gives the logits after it, with 4096 tokens in the cache. nano is the shipped
one; 0.3 B and E2B are Gemma 4's layers at those sizes with random weights, which are honest for speed. `transformers`
works on the same tensors in memory, at the same precision and with as many threads, with the faster of its dynamic and
static caches (`detail.…their_cache`); for nano it is a Llama of its sizes. Both take turns, times are medians of CPU
time.

    …_vs_kernels        a step over the sum of its own matrix products, those of the layers and of the output and
                        those of attention, called alone on tensors of their shapes, in their order          ≤ 1.3
    …_vs_transformers   tokens a second over those of `transformers`        ≥ 1.3 for nano and 0.3 B, ≥ 0.95 for E2B
    …_bandwidth_share   bytes of weights and cache that a step reads, over its time, over what a copy of 512 MB moves
                        in a second (it reads and writes)                                                    report

for `nano` (float32, as it ships), `third` (0.3 B, bfloat16), `third_fp32`, and `e2b` (bfloat16; null where memory is
too small for it).
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from liveagent.bench.proportions import E2B, THIRD, numbers, random_stack
from liveagent.bench.rival import Rival
from liveagent.memory import free_memory
from liveagent.nn.block import Block
from liveagent.nn.linear import sort_weights
from liveagent.nn.nano import Nano
from liveagent.nn.quant import weight_bytes
from liveagent.nn.stack import DecoderState, Stack

CONTEXT = 4096
E2B_BYTES = 17e9
"""Weights, and the sorted ones beside them."""


def in_turns(acts: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each, one after the other, after a round that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in acts}
    for number in range(rounds + 1):
        for name, act in acts.items():
            start = time.process_time()
            act()
            if number:
                took[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in took.items()}


def occupy(state: DecoderState, lane: int, tokens: int) -> None:
    """Let an empty lane hold so many tokens, whose keys and values are nought."""
    at = 0
    while at < tokens:
        spot = state.spot(lane, min(32, tokens - at))
        state.advance(spot)
        at += spot.count


def filled(net: Stack, tokens: int, room: int) -> DecoderState:
    """A lane that holds so many tokens, whose keys and values are drawn instead of computed."""
    state = net.init_state(1, tokens + room)
    occupy(state, 0, tokens)
    for slab in (state.keys, state.raw, state.values):
        slab[:, :, :, :tokens].normal_()
    for slab in (state.near_keys, state.near_values):
        slab.normal_()
    return state


def products(net: Stack, state: DecoderState) -> Callable[[], None]:
    """All matrix products of a step, and nothing else."""
    rows, dtype = 1 if net.rows_apart else net.pass_rows, net.embedding.dtype
    given = {width: torch.randn(rows, width).to(dtype) for width in _widths(net)}
    layers = [each for each in net.layers if isinstance(each, Block)]
    asked = {layer.config: torch.randn(1, layer.key_heads, layer.heads // layer.key_heads, layer.head_width).to(dtype)
             for layer in layers}  # fmt: skip
    before: Any = getattr(net, "before", None)
    extent, reach = int(state.extent[0]), min(state.ring, int(state.next_serial[0]))

    def all_() -> None:
        if before is not None:
            before(given[net.width])
        if net.shape.layer_vocab:
            net.layer_map(given[net.width])
        for number, layer in enumerate(layers):
            config, place = layer.config, net.shape.places[number]
            layer.qkv(given[config.width])
            keys, values = (state.near_keys, state.near_values) if config.window else (state.keys, state.values)
            seen = reach if config.window else extent
            F.scaled_dot_product_attention(
                asked[config], keys[:1, place, :, :seen], values[:1, place, :, :seen], scale=config.scale
            )
            layer.out(given[config.heads * config.head_width])
            layer.gate_up(given[config.width])
            layer.down(given[config.hidden])
            if config.layer_input:
                layer.layer_gate(given[config.width])
                layer.layer_out(given[config.layer_input])
        if net.shape.tied:
            net.embedding.product(given[net.width])
        else:
            net.head(given[net.width])

    return all_


def _widths(net: Stack) -> set[int]:
    found = {net.width}
    for each in net.shape.blocks:
        found |= {each.heads * each.head_width, each.hidden, each.layer_input or each.width}
    return found


def bytes_read(net: Stack, state: DecoderState) -> int:
    """What a step reads of weights and cache."""
    weights = weight_bytes(net)
    if net.shape.layer_vocab:  # of the table it reads a row
        weights -= weight_bytes(net.layer_table)
    cache = 0
    for number, block in enumerate(net.shape.blocks):
        keys = (state.near_keys if block.window else state.keys)[0, net.shape.places[number], :, : int(state.extent[0])]
        cache += 2 * keys.nbytes
    return weights + cache


def copied_per_s(size: int = 1 << 29) -> float:
    """Bytes that a copy reads and writes in a second, the best of some."""
    a, b = torch.ones(size // 4), torch.ones(size // 4)
    times = []
    for _ in range(5):
        start = time.process_time()
        b.copy_(a)
        times.append(time.process_time() - start)
    return 2 * size / min(times)


def measure(
    net: Stack, rival: Rival | None, rounds: int, copied: float, tokens: int = CONTEXT
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures of one stack and their detail."""
    state = filled(net, tokens, 4 * rounds + 64)
    blocks = enumerate(net.shape.blocks)
    keys = {number: (block.kv_heads, block.head_width) for number, block in blocks if block.keys_from is None}

    def ours() -> Tensor:
        return net.step(net.embed(torch.tensor([[5]])), [1], state)

    alone = in_turns({"step": ours, "products": products(net, state)}, rounds)
    detail: dict[str, Any] = {
        "weights": numbers(net),
        "step_ms": round(1000 * alone["step"], 3),
        "products_ms": round(1000 * alone["products"], 3),
    }
    figures = {
        "vs_kernels": round(alone["step"] / alone["products"], 3),
        "bandwidth_share": round(bytes_read(net, state) / alone["step"] / copied, 3),
    }
    if rival is not None:
        found: dict[str, dict[str, float]] = {}
        for kind in ("dynamic", "static"):
            rival.fill(kind, tokens, 2 * rounds + 8, keys, net.embedding.dtype)
            found[kind] = in_turns({"ours": ours, "theirs": lambda: rival.step(5)}, rounds)
            rival.cache = None
        best = min(found, key=lambda kind: found[kind]["theirs"] / found[kind]["ours"])
        figures["vs_transformers"] = round(found[best]["theirs"] / found[best]["ours"], 3)
        detail |= {
            "their_cache": best,
            "their_step_ms": {kind: round(1000 * each["theirs"], 3) for kind, each in found.items()},
            "tokens_per_s": round(1 / found[best]["ours"], 2),
        }
    return figures, detail


def run(rounds: int = 40, sizes: Sequence[str] = ("nano", "third", "third_fp32", "e2b")) -> dict[str, Any]:
    """The figures; some minutes. `rounds`: steps that are timed, of E2B a fifth."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    detail: dict[str, Any] = {}
    try:
        with torch.inference_mode():
            copied = copied_per_s()
            detail |= {"threads": 1, "copied_gb_per_s": round(copied / 1e9, 2), "context_tokens": CONTEXT}
            for size in sizes:
                free = free_memory()
                if size == "e2b" and free is not None and free < E2B_BYTES:
                    result |= dict.fromkeys(f"{size}_{key}" for key in ("vs_kernels", "vs_transformers"))
                    detail[size] = {"note": f"{free / 1e9:.0f} GB of memory are free, E2B needs {E2B_BYTES / 1e9:.0f}"}
                    continue
                net, rival = made(size)
                figures, more = measure(net, rival, max(4, rounds // 5) if size == "e2b" else rounds, copied)
                result |= {f"{size}_{key}": value for key, value in figures.items()}
                detail[size] = more
                del net, rival
                gc.collect()
    finally:
        torch.set_num_threads(threads)
    return {**result, "detail": detail}


def made(size: str) -> tuple[Stack, Rival]:
    """A stack, ready to run, and its rival on the same weights."""
    if size == "nano":
        net = Nano.load().decoder
        return net, Rival.of_nano(net)
    config = E2B if size == "e2b" else THIRD
    stack = random_stack(config, torch.float32 if size == "third_fp32" else torch.bfloat16)
    rival = Rival.of(stack, config)
    sort_weights(stack)
    return stack, rival
