"""`verify`: some minutes with the real weights of an open checkpoint, in the loop that people will talk with.

Parity on random weights proves networks; it proves neither template nor stop tokens nor that anything sensible is said.
So what was written elsewhere is asked here of the checkpoint itself, on the machine where it is to run. The shipped
engine, session and listener are what is checked; only people, microphone and loudspeaker are pretended.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from liveagent.agent import Agent
from liveagent.errors import ConfigError, LiveAgentError
from liveagent.plan import Cost
from liveagent.runtime.open_model import is_checkpoint
from liveagent.runtime.pretence import Clock
from liveagent.runtime.verified import Check, Verified, check, places_of, shared, title_of
from liveagent.runtime.verify_measure import latency, rolling
from liveagent.runtime.verify_stage import Asked, Stage, written_tools
from liveagent.runtime.verify_talk import calls, facts, interruption, picture_question, replies_end, spoken_question
from liveagent.runtime.verify_writing import check_writing

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

ROLL_MINUTES = 2.0
"""Of the clock on the wall, for the rolling part: with the rest about five on a machine that keeps up."""
Progress: TypeAlias = Callable[[str, Check | None], None]

ASKED: Mapping[str, Asked] = {
    "where replies end": replies_end,
    "tools": calls,
    "a spoken question": spoken_question,
    "a picture question": picture_question,
    "an interruption": interruption,
    "rolling": rolling,
    "latency": latency,
    "facts": facts,
}


async def verify(
    agent: Agent,
    title: str = "",
    *,
    minutes: float = ROLL_MINUTES,
    cost: Cost | None = None,
    progress: Progress = lambda name, found: None,
    clock: Clock = time.perf_counter,
    use_recogniser: bool = True,
) -> Verified:
    """Look at the checkpoint that an agent names, which is a folder. `title`: what it is called in the report;
    `minutes`: how long the rolling part takes; `cost`: what was planned; `progress`: told what is looked at now, and
    what came of it.

    Raises:
        ConfigError: it is no checkpoint that can talk, or it is damaged.
        DeviceError: there is no such device.
    """
    from liveagent.runtime.talk import load_model

    if not 0 < minutes <= 600:
        raise ConfigError(f"minutes={minutes}: give a number above 0, up to 600")
    if agent.model == "nano" or not is_checkpoint(agent.model):
        raise ConfigError(
            f"{title or agent.model} is no open checkpoint: give a hub's name such as owner/name, or a folder with "
            "config.json, weights and tokenizer (nano's own figures are in docs/FIGURES.md)"
        )
    folder, begun = Path(agent.model), clock()
    title = title or title_of(agent.model)
    places = places_of(folder, title)
    progress("reading the weights", None)
    model = load_model(agent)
    found: list[Check] = []

    def note(each: Check) -> None:
        clean = Check(each.name, each.part, each.outcome, shared(each.said, places), each.figures)
        found.append(clean)
        progress(each.name, clean)

    progress("template, tokens, calls", None)
    for each in _written(model, folder):
        note(each)
    stage = Stage(agent, model, folder, clock, minutes, cost, use_recogniser)
    try:
        for name, asked in ASKED.items():
            progress(name, None)
            for each in await _tried(name, asked, stage):
                note(each)
    finally:
        stage.close()
    return Verified(title, _about(stage), tuple(found), clock() - begun)


def _written(model: Nets, folder: Path) -> list[Check]:
    from liveagent.ports.chat_template import ChatTemplate

    return list(check_writing(model, ChatTemplate.load(folder).render, folder, written_tools()))


async def _tried(name: str, asked: Asked, stage: Stage) -> list[Check]:
    """A check that breaks off has failed, and ends none of the others."""
    try:
        return await asked(stage)
    except LiveAgentError as error:
        return [check(name, "loop", False, f"it broke off: {error}")]
    except Exception as error:  # a fault of ours is what is looked for here
        return [check(name, "loop", False, f"it broke off with a fault of its own, {type(error).__name__}: {error}")]


def _about(stage: Stage) -> dict[str, str]:
    """Versions, and the machine in general words."""
    import torch

    from liveagent.nn.checkpoint import Checkpoint

    agent = stage.agent
    gpu = torch.cuda.get_device_name(agent.device) if agent.device.startswith("cuda") else ""
    try:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory"
    except (ValueError, OSError, AttributeError):
        memory = ""
    return {
        "architecture": Checkpoint.open(stage.folder).architecture,
        "fingerprint": stage.model.fingerprint,
        "device": f"{agent.device}, {stage.dtype}" + (f", {agent.quantize}" if agent.quantize else ""),
        "machine": f"{os.cpu_count()} cores ({platform.system()} {platform.machine()}){memory}"
        + (f", {gpu}" if gpu else ""),
        "versions": f"liveagent {_version()}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _version() -> str:
    try:
        return importlib.metadata.version("liveagent")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"
