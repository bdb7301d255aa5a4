"""What `verify` measures: whether it rolls on for as long as one likes, and how long everything takes."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path
from typing import Any

from liveagent.action import CallTool
from liveagent.audio import TICK_NS
from liveagent.event import ReplyEnded, ToolReturned
from liveagent.runtime.pretence import Pretence, percentile
from liveagent.runtime.verified import Check, check
from liveagent.runtime.verify_stage import Stage, tools

ENOUGH_EVICTIONS = 6
GROWN_BYTES, GROWN_SHARE = 64_000_000, 0.02
SLOWER, SLOWER_MS = 1.5, 1.0
QUESTION = "what is the capital of france"
SAY_MUCH = (
    "i want to tell you about a walk that we took last summer along the river where the old mill stands and the "
    "water is so clear that one can count the stones and then say in a few words what you think of it"
)
RESULT = "the river is at 120 centimetres and falls by 3 in an hour " * 8


# --- hours


async def rolling(stage: Stage) -> list[Check]:
    """Talk on and on at the real budget: older turns go, everything else stays as it was."""
    name, has = "rolling", tools()
    roll = Roll()
    async with stage.talk(has, {each.name: RESULT for each in has}) as talk:
        lane, context = talk.lane, talk.session.context
        prompt = list(context.ids)
        begun = stage.clock()
        while True:
            past = (stage.clock() - begun) / 60
            if past >= 2 * stage.minutes or (past >= stage.minutes and lane.account.evictions >= ENOUGH_EVICTIONS):
                break
            lost = await _exchange(talk, roll, prompt, stage)
            if lost:
                return [check(name, "loop", False, f"in exchange {roll.exchanges}: {lost}")]
        evictions, gone = lane.account.evictions, context.evicted_tokens
        virtual = talk.index * TICK_NS / 60e9
    if evictions < ENOUGH_EVICTIONS:
        said = f"too slow here to fill the cache in {2 * stage.minutes:g} minutes: give --minutes more"
        return [Check(name, "loop", "absent", said, {"exchanges": roll.exchanges, "evictions": evictions})]
    said = (
        f"{roll.exchanges} exchanges in {virtual:.1f} minutes of talk, {gone} tokens left the cache, nothing else did"
    )
    found = [check(name, "loop", True, said, exchanges=roll.exchanges, evictions=evictions, evicted_tokens=gone)]
    return [*found, *roll.checks()]


class Roll:
    """What was measured along the way, exchange by exchange since the cache was full."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.memory: list[int] = []
        self.step_ms: list[float] = []

    def checks(self) -> list[Check]:
        third = max(1, len(self.memory) // 3)
        first, last = max(self.memory[:third]), max(self.memory[-third:])
        grown = last - first
        flat = grown <= max(GROWN_BYTES, first * GROWN_SHARE)
        early, late = statistics.median(self.step_ms[:third]), statistics.median(self.step_ms[-third:])
        steady = late <= early * SLOWER + SLOWER_MS
        held = f"{first / 1e6:.0f} MB when the cache was full, {last / 1e6:.0f} MB at the end"
        took = f"a token took {early:.1f} ms when the cache was full, {late:.1f} ms at the end"
        return [
            check("memory is flat", "loop", flat, held, grown_mb=round(grown / 1e6, 1)),
            check("steps are flat", "loop", steady, took, first_ms=round(early, 2), last_ms=round(late, 2)),
        ]


async def _exchange(talk: Pretence, roll: Roll, prompt: list[int], stage: Stage) -> str:
    """One more; returns what was lost."""
    lane, context = talk.lane, talk.session.context
    roll.exchanges += 1
    talk.log.clear()
    talk.tick_s.clear()
    lane.account.times.clear()
    lane.bound(least=12, most=24)
    lane.calls_next = calls = roll.exchanges % 3 == 0
    talk.type(f"{roll.exchanges} {SAY_MUCH}")
    if not await talk.settle():
        return "it did not come to an end"
    await talk.ticks(12)
    made = talk.since(0, CallTool)
    if len(made) < calls or len(made) != len(talk.since(0, ToolReturned)):
        return "a call was lost, or what it gave"
    if not talk.since(0, ReplyEnded) or not all(each.complete for each in talk.since(0, ReplyEnded)):
        return "an answer was lost"
    held, rest = list(context.ids), list(context.ids)[len(prompt) :]
    if held[: len(prompt)] != prompt:
        return "the instructions are not in the cache any more"
    if held != lane.account.held or rest != lane.account.whole[len(lane.account.whole) - len(rest) :]:
        return "what the cache holds is not what was said last"
    if rest and rest[: len(stage.model.template.user_open(False))] != stage.model.template.user_open(False):
        return "the oldest turn in the cache has lost its beginning"
    if lane.account.evictions:
        roll.memory.append(_memory_bytes(stage.agent.device))
        steps = [
            each.seconds / each.tokens for each in lane.account.times if each.work == "decode" and each.tokens >= 4
        ]
        roll.step_ms.append(statistics.median(steps) * 1e3 if steps else 0.0)
    return ""


def _memory_bytes(device: str) -> int:
    """What this process holds now, and on the GPU; where nobody says, the most it ever did."""
    used = 0
    if device.startswith("cuda"):
        import torch

        used = int(torch.cuda.memory_allocated(device))
    try:
        return used + int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return used
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used + most * (1 if platform.system() == "Darwin" else 1024)


# --- how long it takes


async def latency(stage: Stage) -> list[Check]:
    form, clock = stage.model.template, stage.clock
    async with stage.talk(tools()) as talk:
        await talk.ticks(20)
        talk.tick_s.clear()
        await talk.ticks(120)
        ticks = [each * 1e3 for each in talk.tick_s]
        context = talk.session.context
        start, firsts, typed = context.end, [], []
        for _ in range(5):
            await context.add("text", [*form.user_open(False), *form.words(QUESTION.split())], 0)
            begun = clock()
            await context.add("text", [*form.user_close, *form.agent_open], 0, want=form.choice)
            await context.decode("reply", 0, max_tokens=1, stop=(), never=form.never)
            firsts.append((clock() - begun) * 1e3)
            await context.rewind(start)
            begun = clock()
            turn = [*form.user_open(False), *form.words(QUESTION.split()), *form.user_close, *form.agent_open]
            await context.add("text", turn, 0, want=form.choice)
            await context.decode("reply", 0, max_tokens=1, stop=(), never=form.never)
            typed.append((clock() - begun) * 1e3)
        steps = []
        for _ in range(64):
            begun = clock()
            await context.decode("reply", 0, max_tokens=1, stop=(), never=(*form.never, *form.reply_stop), grow=True)
            steps.append((clock() - begun) * 1e3)
    first, step = statistics.median(firsts), percentile(steps, 0.5)
    figures: dict[str, Any] = {
        "first_token_ms": round(first, 1), "first_token_typed_ms": round(statistics.median(typed), 1),
        "tokens_per_s": round(1e3 / step, 1) if step else None,
        "step_p50_ms": round(step, 2), "step_p99_ms": round(percentile(steps, 0.99), 2),
        "tick_p50_ms": round(percentile(ticks, 0.5), 2), "tick_p99_ms": round(percentile(ticks, 0.99), 2),
    }  # fmt: skip
    planned = ""
    if stage.cost is not None and stage.cost.step_ms is not None:
        figures |= {
            "planned_step_ms": round(stage.cost.step_ms, 2),
            "planned_tick_ms": round(stage.cost.tick_ms or 0, 1),
        }
        planned = f" (the plan said {stage.cost.step_ms:.2g})"
    said = (
        f"first token {first:.0f} ms after the turn; {figures['tokens_per_s']} tokens a second, a token {step:.1f} ms"
        f"{planned}; a tick of listening {figures['tick_p50_ms']} ms, p99 {figures['tick_p99_ms']} ms"
    )
    return [Check("latency", "speed", "noted", said, figures)]
