"""The rolling cache: does it roll for hours at one cost, and is what is left what it should be?

Ten virtual hours of talk, calls, pictures and interruptions in one lane, with nano's decoder and the session's budgets;
`detail` says how many tokens that was, how often the window was turned over, and how often something was taken back.

    flatness              a step of the last minute over a step of a kept fork of the first minute in which the window
                          was full, timed alternately in CPU time, medians                                      ≤ 1.05
    rss_growth_mb         by how much the process, weighed every half hour and at the end, is larger at its largest than
                          in the hour after that fork                                                           ≤ 4
    evict_vs_reprefill    time to read anew what is kept, over the time to evict by moving                      ≥ 50
    evict_vs_rerotate     time to rotate every kept key anew, over the same                                     ≥ 2
    oracle_diff           largest difference of logits to a list of tokens that computes everything anew: over a log of
                          appends, take-backs and evictions of its own, and of the ten hours' cache twice an hour ≤ 1e-4
    divergence            KL in nats of the next token from a fresh prefill of what is kept, median over the words of a
                          user's turn, sampled all along two hours. It is not 0: values of what stays still carry what
                          they saw of what went, in every scheme that does not read anew
    divergence_streamingllm   the same for the oldest 4 tokens and the newest ones, in as many slots, re-indexed in the
                          cache (Xiao et al., "Efficient streaming language models with attention sinks", 2023)
    divergence_sliding    the same for a window of the newest tokens that is computed anew

The heap finds its size in the first hour, and the bench's own comparisons move it most: a window read anew, megabytes
at a time, may find no gap that is large enough. So `detail.in_use_mb` has what was in use at each weighing, as the
C library counts it, beside `detail.rss_mb`.

`detail.own_divergence` compares each with a fresh prefill of what it keeps itself: 0 for the last, by its making.
Keys in `_300m`: a random decoder of 0.3 B with shared key heads, five layers of local windows to one that sees all.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liveagent.bench.day import SAID, Day
from liveagent.bench.naive import Naive
from liveagent.ledger import CachePlan, Hole, Ledger, Move
from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState
from liveagent.nn.nano import Nano
from liveagent.nn.stack import Stack
from liveagent.runtime.core import Core
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.work import Done, Evict
from liveagent.window import Budget, plan

SINK = 4
FORK, FRESH, OTHER = 1, 2, 3  # lanes beside the one that lives


def large_config() -> DecoderConfig:
    """About 0.3 billion parameters, five layers of six with a local window."""
    windows = (512, 512, 512, 512, 512, 0) * 4
    return DecoderConfig(32_000, width=1024, layers=24, heads=16, kv_heads=4, hidden=2816, windows=windows)


def cpu_s(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


def feed(net: Stack, state: DecoderState, lane: int, rows: Tensor, times: Tensor) -> Tensor:
    """Read rows `[n, D]` in the engine's buckets; logits `[n, V]` after each."""
    return net.logits(torch.cat(read(net, state, lane, rows, times)))


def read(net: Stack, state: DecoderState, lane: int, rows: Tensor, times: Tensor) -> list[Tensor]:
    """As `feed`, but the hidden rows of each bucket."""
    parts, at = [], 0
    while at < len(rows):
        left = len(rows) - at
        size = 32 if left >= 32 else 8 if left > 1 else 1
        n = min(size, left)
        x, when = rows.new_zeros(state.lanes, size, net.row_width), torch.zeros(state.lanes, size, dtype=torch.float64)
        x[lane, :n], when[lane, :n] = rows[at : at + n], times[at : at + n]
        hidden = net.read(x, [n * (b == lane) for b in range(state.lanes)], state, when)
        parts.append(hidden[lane, :n])
        at += n
    return parts


def kept(state: DecoderState, lane: int) -> tuple[Tensor, Tensor]:
    """What a lane was fed of what it holds: rows `[n, D]` and times `[n]`."""
    order = state.order(lane)
    return state.rows[lane, order], state.time[lane, order]


def reprefill(net: Stack, state: DecoderState, lane: int, to: int = FRESH) -> None:
    """Read what `lane` holds anew into lane `to`."""
    state.reset(to)
    read(net, state, to, *kept(state, lane))  # no logits: nobody asks for them, and they are megabytes


def ahead(net: Stack, state: DecoderState, lane: int, ids: list[int], now_s: float) -> Tensor:
    """Log-probabilities `[n, V]` after each of `ids`, on a branch that is dropped again."""
    state.fork(lane)
    times = torch.full((len(ids),), now_s, dtype=torch.float64)
    logits = feed(net, state, lane, net.embed(torch.tensor(ids)), times)
    state.drop(lane)
    return torch.log_softmax(logits.double(), -1)


def kl(true: Tensor, other: Tensor) -> list[float]:
    """KL(true || other) of each row."""
    return [float(each) for each in (true.exp() * (true - other)).sum(-1)]


class Evictions:
    """Times every eviction of a lane, and beside it what the other ways would have cost."""

    def __init__(self, net: Stack, state: DecoderState, lane: int, reprefill_every: int) -> None:
        self.net, self.state, self.lane, self.every = net, state, lane, reprefill_every
        self.ours: list[float] = []
        self.rerotated: list[float] = []
        self.reprefilled: list[float] = []

    def around(self, evict: Callable[[], Done]) -> Done:
        done: list[Done] = []
        self.ours.append(cpu_s(lambda: done.append(evict())))
        order = self.state.order(self.lane)
        self.rerotated.append(cpu_s(lambda: self.state._turn(self.lane, order, self.net._rope)))
        if len(self.ours) % self.every == 1 or self.every == 1:
            self.reprefilled.append(cpu_s(lambda: reprefill(self.net, self.state, self.lane)))
        return done[0]

    def figures(self, suffix: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        ours = statistics.mean(self.ours)
        return {
            f"evict_vs_reprefill{suffix}": round(statistics.mean(self.reprefilled) / ours, 1),
            f"evict_vs_rerotate{suffix}": round(statistics.mean(self.rerotated) / ours, 2),
        }, {
            "evictions": len(self.ours),
            "evict_ms": round(1000 * ours, 3),
            "evict_p99_ms": round(1000 * sorted(self.ours)[int(0.99 * (len(self.ours) - 1))], 3),
            "rerotate_ms": round(1000 * statistics.mean(self.rerotated), 3),
            "reprefill_ms": round(1000 * statistics.mean(self.reprefilled), 1),
        }


# --- ten hours


def rss_mb() -> float:
    """What the process holds now; where the system does not say, the most that it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "a b c d hblkhd e f uordblks g h".split()]  # noqa: RUF012


def in_use_mb() -> float:
    """What the C library has handed out and not got back; 0 where it does not say."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return 0.0
    mallinfo.restype = _Mallinfo
    found = mallinfo()
    return (found.hblkhd + found.uordblks) / 1e6


def weigh() -> tuple[float, float]:
    gc.collect()
    return round(rss_mb(), 1), round(in_use_mb(), 2)


def flatness(net: Stack, state: DecoderState, lane: int, fork: int, steps: int) -> tuple[float, float]:
    """Median step of `lane` over that of `fork`, one after the other; and the former, in seconds."""
    x = net.embed(torch.tensor([5] * state.lanes))[:, None]
    times: dict[int, list[float]] = {lane: [], fork: []}
    for _ in range(steps):
        for each in (lane, fork):
            state.fork(each)
            count = [int(b == each) for b in range(state.lanes)]
            times[each].append(cpu_s(lambda count=count: net.step(x, count, state)))  # type: ignore[misc]
            state.drop(each)
    one, other = (statistics.median(times[each]) for each in (lane, fork))
    return one / other, one


async def hours(
    model: Nano, minutes: int, seed: int, steps: int, budget: Budget | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    budget = budget or SessionConfig().budget
    core = Core(model, 4, budget.capacity_tokens)
    net, state, day = model.decoder, core._cache, Day(model, core, seed, budget)
    lane = day.hand.number
    evictions = Evictions(net, state, lane, reprefill_every=40)
    day.hand.around = evictions.around
    await day.open()
    while not day.evictions or day.context.ledger.used_tokens < budget.low_tokens:
        await day.minute()
    state.copy_lane(lane, state, FORK)
    first = int(state.length[lane])
    worst = _snapshot(model, state, lane, day.context.now_s)
    flatness(net, state, lane, FORK, 3)
    for lane_ in (FRESH, OTHER):  # every page of the slab is touched before the process is weighed
        state.copy_lane(lane, state, lane_)
    weighed = [weigh()]
    full = day.minutes
    while day.minutes < minutes:
        await day.minute()
        if day.minutes % 30 == 0:
            worst = max(worst, _snapshot(model, state, lane, day.context.now_s))
            weighed.append(weigh())
    weighed.append(weigh())
    rss, in_use = zip(*weighed, strict=True)
    grown = max(rss) - max(rss[:3])
    flat, step_s = flatness(net, state, lane, FORK, steps)
    ratios, detail = evictions.figures()
    figures = {"flatness": round(flat, 4), "rss_growth_mb": round(grown, 2), **ratios, "oracle_diff": worst}
    turned = day.context.evicted_tokens / (day.context.ledger.used_tokens - day.context.ledger.pinned_tokens)
    return figures, {
        "virtual_hours": round(day.minutes / 60, 2),
        "first_full_minute": full,
        "tokens": day.read_tokens,
        "tokens_per_virtual_minute": round(day.read_tokens / day.minutes, 1),
        "window_turned_over": round(turned, 1),
        "take_backs": day.take_backs,
        "window_tokens": {"first": first, "last": int(state.length[lane]), "extent": int(state.extent[lane])},
        "kinds": {use.kind: use.tokens for use in day.context.ledger.use()},
        "step_ms": round(1000 * step_s, 3),
        "rss_mb": rss,
        "in_use_mb": in_use,
        **detail,
    }


def _snapshot(model: Nano, state: DecoderState, lane: int, now_s: float) -> float:
    """The cache as it is against its own raw keys, values and order, computed anew."""
    net = model.decoder
    ids = model.template.user_turn(SAID[0])[:4]
    naive = Naive.of(net, state, lane)
    logits = naive.read(net.embed(torch.tensor(ids)), [now_s] * len(ids))
    return float((torch.log_softmax(logits.double(), -1) - ahead(net, state, lane, ids, now_s)[-1]).abs().max())


# --- against the oracle


def against_oracle(net: Stack, tokens: int, seed: int, budget: Budget | None = None) -> float:
    """The largest difference of logits between a lane and the oracle over one log; at least `tokens` are read."""
    budget = budget or Budget(256, 150, 110, 50, 36)
    rng, state, naive, ledger = random.Random(seed), net.init_state(4, budget.capacity_tokens), Naive(net), Ledger()
    worst, now_s, read = 0.0, 0.0, 0

    def add(kind: Any, count: int) -> None:
        nonlocal worst, now_s, read
        rows = net.embed(torch.tensor([rng.randrange(net.shape.vocab_size) for _ in range(count)]))
        now_s += rng.random() * 20
        times = [now_s] * count
        logits = feed(net, state, 0, rows, torch.tensor(times, dtype=torch.float64))[-1]
        worst = max(worst, float((logits - naive.read(rows, times)).abs().max()))
        ledger.append(kind, count, round(now_s * 1e9))
        read += count

    add("system", 30)
    while read < tokens:
        ledger.begin_turn()
        add("audio", rng.randint(2, 12))
        add("text", rng.randint(2, 12))
        if rng.random() < 0.5:
            place = ledger.end - rng.randint(1, 6)
            state.rewind(0, place - ledger.first)
            naive.rewind(place - ledger.first)
            ledger.truncate(place)
            add("mark", 1)
        add("picture", rng.randint(3, 9))
        if todo := plan(ledger, budget):
            first = ledger.first
            net.evict(todo, first, state, 0)
            naive.evict({slot - first for hole in todo.holes for slot in range(hole.start, hole.end)})
            ledger.apply(todo)
    return worst


# --- divergence


async def divergences(
    model: Nano, minutes: int, seed: int, budget: Budget | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ours, StreamingLLM's and a sliding window's next-token distributions, over one conversation."""
    budget = budget or SessionConfig().budget
    core = Core(model, 4, budget.capacity_tokens)
    net, state, day = model.decoder, core._cache, Day(model, core, seed, budget)
    lane, other = day.hand.number, core.open()
    day.hand.mirror = other
    await day.open()
    ours: list[float] = []
    streaming: list[float] = []
    sliding: list[float] = []
    streaming_own: list[float] = []
    while day.minutes < minutes:
        await day.minute()
        length, window = int(state.length[other]), int(state.length[lane])
        if length > window:  # as many slots as ours has, the first four pinned
            hole, move = Hole(SINK, length - window), Move(0, SINK, length - window)
            core.run(other, Evict(CachePlan((hole,), (move,)), 0))
        if not day.evictions or day.minutes % 5:
            continue
        ids = model.template.user_turn(day.rng.choice(SAID))
        now_s = day.context.now_s + 5
        reprefill(net, state, lane)
        true = ahead(net, state, FRESH, ids, now_s)
        ours += kl(true, ahead(net, state, lane, ids, now_s))
        streamed = ahead(net, state, other, ids, now_s)
        streaming += kl(true, streamed)
        reprefill(net, state, other)
        streaming_own += kl(ahead(net, state, FRESH, ids, now_s), streamed)
        rows, times = kept(state, other)  # the four of the beginning are no part of a sliding window
        state.reset(FRESH)
        feed(net, state, FRESH, rows[SINK:], times[SINK:])
        sliding += kl(true, ahead(net, state, FRESH, ids, now_s))
    medians = [statistics.median(each) for each in (ours, streaming, sliding)]
    names = "divergence", "divergence_streamingllm", "divergence_sliding"
    return dict(zip(names, (float(f"{each:.3g}") for each in medians), strict=True)), {
        "divergence_samples": len(ours),
        "divergence_mean": float(f"{statistics.mean(ours):.3g}"),
        "own_divergence": {
            "ours": float(f"{medians[0]:.3g}"),
            "streamingllm": float(f"{statistics.median(streaming_own):.3g}"),
            "sliding": 0.0,
        },
    }


# --- 0.3 B


def large(config: DecoderConfig, evictions: int, seed: int, budget: Budget) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evict figures on a random decoder of that shape; one re-prefill, for it takes long."""
    torch.manual_seed(seed)
    net = Decoder(config).eval().requires_grad_(False)
    state, ledger = net.init_state(4, budget.capacity_tokens), Ledger()
    timed = Evictions(net, state, 0, reprefill_every=max(1, evictions))
    now_s = 0.0

    def add(kind: Any, count: int) -> None:
        nonlocal now_s
        now_s += 1
        rows = net.embed(torch.randint(0, config.vocab_size, (count,)))
        feed(net, state, 0, rows, torch.full((count,), now_s, dtype=torch.float64))
        ledger.append(kind, count, round(now_s * 1e9))

    add("system", budget.low_tokens // 7)  # as large a part of the window as the day's prompt is
    while len(timed.ours) < evictions:
        ledger.begin_turn()
        add("text", max(1, budget.high_tokens // 15))
        add("picture", max(1, budget.high_tokens // 100))
        if todo := plan(ledger, budget):
            first = ledger.first
            timed.around(lambda todo=todo, first=first: net.evict(todo, first, state, 0))  # type: ignore
            ledger.apply(todo)
    figures, detail = timed.figures("_300m")
    return figures, {"parameters": sum(weight.numel() for weight in net.parameters()), **detail}


# --- all


def run(
    weights: str | Path | None = None, minutes: int = 600, seed: int = 43, steps: int = 200, evictions_300m: int = 8
) -> dict[str, Any]:
    """The figures; a few minutes. `weights`: another folder than the shipped one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            model = Nano.load(weights)
            apart, detail = asyncio.run(divergences(model, max(10, minutes // 5), seed))
            worst = against_oracle(model.decoder, min(800, 2 * minutes), seed)
            figures, lived = asyncio.run(hours(model, minutes, seed, steps))
            figures["oracle_diff"] = max(figures["oracle_diff"], worst)
            ratios, big = large(large_config(), evictions_300m, seed, SessionConfig().budget)
    finally:
        torch.set_num_threads(threads)
    return {**figures, **apart, **ratios, "detail": {"weights": model.fingerprint, **lived, **detail, "300m": big}}
