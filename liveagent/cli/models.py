"""`plan` and `models`: what an agent listens for and what its model costs here, and which models there are.
`--model`: another one than the agent's, looked at, weighed and fetched before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from liveagent.cli.program import AsJson, Device, Ear, Language, app, console, typed_errors

if TYPE_CHECKING:
    from liveagent.agent import Agent
    from liveagent.families import Family
    from liveagent.plan import Cost, Plan

ModelName: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FOLDER", help="Another model than the agent's: a hub's name, or a folder."),
]


Dtype: TypeAlias = Annotated[
    str | None,
    typer.Option("--dtype", metavar="float32|bfloat16", help="How precise an open model's weights are in memory."),
]
Quantize: TypeAlias = Annotated[
    str | None, typer.Option("--quantize", metavar="int8|int4", help="An open model's weights rounded to 8 or 4 bits.")
]
CacheTokens: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--cache-tokens",
        metavar="N",
        help="How many tokens a session holds, and the oldest go; else 1536, of an open model 8192.",
    ),
]
Lanes: TypeAlias = Annotated[int, typer.Option("--lanes", min=4, help="How many may talk at once.")]


@app.command()
def plan(
    agent: Annotated[
        str,
        typer.Argument(
            metavar="[FILE.py|PIPELINE|MODEL]",
            help="An agent, or a model: a hub's name such as owner/name, or a folder.",
        ),
    ] = "voice_video",
    model: ModelName = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    cache_tokens: CacheTokens = None,
    lanes: Lanes = 4,
    device: Device = None,
    ear: Ear = None,
    language: Language = None,
    as_json: AsJson = False,
) -> None:
    """Say what an agent listens for, and what its model costs here, before anything is fetched or loaded."""
    with typed_errors():
        import dataclasses
        import json

        from liveagent.agent import Agent
        from liveagent.load import load_agent
        from liveagent.runtime.weighing import is_checkpoint_name

        of_model = not agent.endswith(".py") and is_checkpoint_name(agent)
        made = Agent(agent) if of_model else load_agent(agent)
        asked = {
            "model": model, "device": device, "dtype": dtype, "quantize": quantize, "cache_tokens": cache_tokens,
            "ear": ear, "language": language,
        }  # fmt: skip
        made = made.replace(**{name: value for name, value in asked.items() if value is not None})
        found = made.plan(lanes=lanes)
        if as_json:
            costs = {"cost": found.cost, "ear": found.ear}
            said = dataclasses.asdict(found) | {name: each and _as_json(each) for name, each in costs.items()}
            typer.echo(json.dumps(said, indent=2, default=str))
        else:
            for name, value in (*_costing(found), *(() if of_model else _listening(found))):
                typer.echo(f"{name:<10} {value}")


def _listening(found: Plan) -> Iterator[tuple[str, str]]:
    yield "tools", ", ".join(found.tools) or "none"
    yield "hears", f"{found.sentences} sentences of {found.words} words ({found.states} states)"
    yield "looks at", found.camera or "nothing"
    if found.watches:
        yield "waits for", "; ".join(found.watches)
    if found.typed_only:
        yield "typed only", "; ".join(found.typed_only)


def _costing(found: Plan) -> Iterator[tuple[str, str]]:
    cost, ear = found.cost, found.ear
    if cost is None:
        yield "model", found.model + (f", {found.weights_bytes / 1e6:.1f} MB" if found.weights else "")
    else:
        yield from _described("model", cost)
    if ear is not None:
        yield from _described("ear", ear)
    last = cost or ear
    if last is None:
        return
    if cost is not None and ear is not None:
        yield "both", f"{_size(cost.memory_bytes)} at most"
    if last.free_bytes is not None:
        yield "free", f"{_size(last.free_bytes)}: {'it fits' if last.fits else 'it does not fit'}"
    for each in last.instead:
        yield "would fit", each
    if cost is not None and cost.tick_ms is not None and cost.step_ms is not None and cost.bandwidth is not None:
        how = (
            f"a step reads {_size(cost.step_bytes)} of weights, and memory gives {cost.bandwidth / 1e9:.1f} GB a second"
        )
        yield "tick", f"about {cost.tick_ms:.0f} ms, an estimate: {how}"


def _described(what: str, cost: Cost) -> Iterator[tuple[str, str]]:
    """A model or an ear, each for itself."""
    yield what, f"{cost.model}, {cost.numbers / 1e9:.2f} billion numbers"
    yield "licence", cost.licence or "nobody says: look at its page"
    yield "download", f"{_size(cost.download_bytes)}" if cost.download_bytes else "nothing: it is there"
    parts = [f"{part} {_size(size)}" for part, size in cost.weights.items()]
    if cost.sorted_bytes:
        parts.append(f"sorted for this CPU {_size(cost.sorted_bytes)}")
    if cost.sight_bytes:
        parts.append(f"pictures before {_size(cost.sight_bytes)}")
    if cost.cache_bytes:
        lanes = f"cache {_size(cost.cache_bytes)} ({cost.cache_tokens} tokens, {cost.lanes} lanes)"
        parts.append(lanes if cost.cache_tokens else f"a clip {_size(cost.cache_bytes)}")
    kind = cost.dtype + (f" and {cost.quantize}" if cost.quantize else "")
    yield "memory", f"{_size(cost.own_bytes)} at most as {kind}: {', '.join(parts)}"


def _as_json(cost: Cost) -> dict[str, object]:
    """With what is worked out of it."""
    import dataclasses

    names = ("weights_bytes", "own_bytes", "memory_bytes", "fits", "step_bytes", "step_ms", "tick_ms")
    said = dataclasses.asdict(cost) | {name: getattr(cost, name) for name in names}
    return {name: each for name, each in said.items() if name != "ear"}


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


@app.command()
def models(as_json: AsJson = False) -> None:
    """Which models there are: what each hears, sees and says, its licence and size, and what was proved of it."""
    with typed_errors():
        import dataclasses
        import json

        from liveagent.families import FAMILIES, from_outside

        every = (*FAMILIES, *from_outside())
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(each) | {"state": _state(each)} for each in every], indent=2))
            return
        from rich.text import Text

        out = console()
        for each in every:
            out.print(Text.assemble((each.title, "bold"), f", {each.licence}: {_state(each)}"))
            out.print(Text(f"  hears {each.hears}; sees {each.sees}; says {each.says}"))
            parity = f"parity proved: {each.proved or 'no'}; real weights run: no"
            out.print(Text(f"  {parity if each.architectures else 'trained here: see docs/FIGURES.md'}", "dim"))
            for member in each.members:
                numbers = "?" if member.numbers is None else f"{member.numbers / 1e9:.2f} billion numbers"
                size = "size unknown" if member.download_bytes is None else _size(member.download_bytes)
                out.print(Text.assemble("  ", (f"{member.name:<42}", "cyan"), f" {numbers}, {size}"))


def _state(family: Family) -> str:
    return family.live or ("can be read, takes no part in conversations yet" if family.module else "not there yet")


def with_model(
    agent: Agent,
    model: str | None,
    dtype: str | None = None,
    quantize: str | None = None,
    cache_tokens: int | None = None,
    lanes: int | None = None,
) -> Agent:
    """The agent with another model, if one is named, on this disk, as precise as asked, its sessions as long. Raises as
    `Agent.fetch`."""
    asked = {"model": model, "dtype": dtype, "quantize": quantize, "cache_tokens": cache_tokens}
    agent = agent.replace(**{name: value for name, value in asked.items() if value is not None})
    if agent.model == "nano":
        return agent.fetch()
    with _fetching() as progress:
        return agent.fetch(progress, lanes=lanes)


@contextmanager
def _fetching() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, where somebody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    error = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=error, transient=True, disable=not error.is_terminal) as bar:
        task = bar.add_task("fetching", total=None, visible=False)

        def progress(name: str, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"fetching {name}", visible=True)

        yield progress
