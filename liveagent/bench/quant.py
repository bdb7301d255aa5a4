"""Weights of 8 and 4 bits: how much smaller, how fast, how far off, and what does nano forget?

    …_size                  bytes of the weights over those of the precise ones, in bfloat16 and, behind `_vs_fp32`,
                            in float32                                                                      report
    …_tokens_per_s          steps of one token a second; `…_vs_precise` over those of the same stack in bfloat16, with
                            sorted weights, in turns, medians of CPU time                                   report
    …_logit_error           the root mean square of what logits are off by, over their standard deviation, of nano on
                            its own prompts                                                                 report
    …_points_lost           of 100 of nano's typed commands and questions about pictures, how many fewer are right than
                            with precise weights                                                    ≤ 1 for int8

for `int8` and `int4`. Size and speed are those of a random stack of 0.3 B (bench `decode` says which); `detail` has
nano's accuracy by kind, with precise weights too, and the same of 1 to 4 lanes at once.
"""

from __future__ import annotations

import asyncio
import copy
import gc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from liveagent.agent import Agent
from liveagent.bench import looked, nano
from liveagent.bench.decode import filled, in_turns
from liveagent.bench.proportions import THIRD, random_stack
from liveagent.bench.said import held_out
from liveagent.load import load_agent
from liveagent.nn.linear import sort_weights
from liveagent.nn.nano import Nano
from liveagent.nn.quant import KINDS, quantised, weight_bytes
from liveagent.nn.stack import Stack

ASKED = ("colour", "count", "where")


def speeds(config: Mapping[str, Any], rounds: int, tokens: int = 1024) -> tuple[dict[str, float], dict[str, Any]]:
    """Size and steps of each kind beside the precise stack."""
    figures: dict[str, float] = {}
    detail: dict[str, Any] = {}
    for kind in KINDS:
        precise = random_stack(config, torch.bfloat16)
        before = weight_bytes(precise)
        small = quantised(random_stack(config, torch.bfloat16), kind)
        sort_weights(precise)
        figures[f"{kind}_size"] = round(weight_bytes(small) / before, 3)
        figures[f"{kind}_size_vs_fp32"] = round(weight_bytes(small) / before / 2, 3)
        acts = {"precise": _step(precise, 1, tokens), "small": _step(small, 1, tokens)}
        took = in_turns(acts, rounds)
        figures[f"{kind}_tokens_per_s"] = round(1 / took["small"], 2)
        figures[f"{kind}_vs_precise"] = round(took["precise"] / took["small"], 3)
        took = in_turns({"precise": _step(precise, 4, tokens), "small": _step(small, 4, tokens)}, rounds)
        detail[f"{kind}_vs_precise_4_lanes"] = round(took["precise"] / took["small"], 3)
        del precise, small, acts
        gc.collect()
    return figures, detail


def _step(net: Stack, lanes: int, tokens: int) -> Any:
    """Reads a token in each lane; what is read is taken back, so the cache stays as full as it is."""
    one = filled(net, tokens, 8)
    state = net.init_state(lanes, tokens + 8)
    for lane in range(lanes):
        one.copy_lane(0, state, lane)

    def act() -> None:
        net.step(net.embed(torch.full((lanes, 1), 5)), [1] * lanes, state)
        for lane in range(lanes):
            state.rewind(lane, tokens)

    return act


def logit_error(model: Nano, small: Stack, agent: Agent) -> float:
    """On what the agent's prompt and its phrases make of logits."""
    ids = torch.tensor([model.template.prompt(agent.instructions, agent.tools)])
    true, found = model.decoder(ids).float(), small(ids).float()
    return float((found - true).square().mean().sqrt() / true.std())


async def accuracy(model: Nano, agent: Agent, cell: int, seed: int) -> dict[str, tuple[int, int]]:
    """How many were right, of how many, by kind."""
    said = held_out(agent, cell, seed)
    outcomes = await nano.measure(model, agent, said)
    found = {"typed": (sum(each.call == one.call for one, each in zip(said, outcomes, strict=True)), len(said))}
    if model.sees:
        async with looked.watchers(model, agent) as made:
            for kind in ASKED:
                asked = looked.questions(kind, cell, seed)
                replies = await looked.measure(made, asked)
                found[kind] = (round(looked.exact(asked, replies) * len(asked)), len(asked))
    return found


async def _nano(model: Nano, cell: int, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    agent = load_agent("voice")
    figures: dict[str, float] = {}
    true = await accuracy(model, agent, cell, seed)
    detail: dict[str, Any] = {"precise": true}
    for kind in KINDS:
        small = quantised(copy.deepcopy(model.decoder), kind)
        figures[f"{kind}_logit_error"] = round(logit_error(model, small, agent), 4)
        made = Nano(model.ear, small, model.vad, model.pieces, f"{model.fingerprint}-{kind}", model.eye)  # type: ignore[arg-type]
        detail[kind] = found = await accuracy(made, agent, cell, seed)
        asked = sum(of for _, of in true.values())
        lost = sum(right for right, _ in true.values()) - sum(right for right, _ in found.values())
        figures[f"{kind}_points_lost"] = round(100 * lost / asked, 2)
        detail[f"nano_{kind}_size"] = round(weight_bytes(small) / weight_bytes(model.decoder), 3)
    return figures, detail


def run(weights: str | Path | None = None, cell: int = 100, rounds: int = 40, seed: int = 17) -> dict[str, Any]:
    """The figures; some minutes. `cell`: how many commands, and questions of each kind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            quick, detail = speeds(THIRD, rounds)
            figures, more = asyncio.run(_nano(Nano.load(weights), cell, seed))
    finally:
        torch.set_num_threads(threads)
    ordered = {key: value for kind in KINDS for key, value in {**quick, **figures}.items() if key.startswith(kind)}
    return {**ordered, "detail": {**detail, "nano": more}}
