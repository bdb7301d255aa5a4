"""`verify`: some minutes with a model's real weights, and a report that can be shown to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liveagent.cli.models import CacheTokens, Dtype, Quantize, with_model
from liveagent.cli.program import AsJson, Device, app, console, typed_errors

if TYPE_CHECKING:
    from liveagent.runtime.verified import Check, Verified


@app.command()
def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A hub's name such as owner/name, or a folder.")],
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    cache_tokens: CacheTokens = None,
    minutes: Annotated[float, typer.Option(help="How long the rolling part goes on, on the clock.")] = 2.0,
    as_json: AsJson = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.md", help="Write the report there, to be shared.")
    ] = None,
) -> None:
    """Try a model with its real weights, here, for about five minutes: template, stop tokens, tools, speech, pictures,
    interruptions, hours, latency, and whether it knows anything. Status 1: something of the loop did not hold."""
    with typed_errors():
        import asyncio
        import json

        from liveagent.agent import Agent
        from liveagent.errors import ConfigError
        from liveagent.runtime.verified import title_of
        from liveagent.runtime.verify import verify as verified

        if report is not None and (report.is_dir() or not report.parent.is_dir()):
            raise ConfigError(f"--report {report}: give a file in a folder that is there")
        agent = Agent(model)
        asked = {"device": device, "dtype": dtype, "quantize": quantize, "cache_tokens": cache_tokens}
        agent = agent.replace(**{name: value for name, value in asked.items() if value is not None})
        title = title_of(model)
        here = with_model(agent, None)
        cost = here.plan().cost
        try:
            found = asyncio.run(verified(here, title, minutes=minutes, cost=cost, progress=_tell))
        except KeyboardInterrupt:  # half a proof is none
            raise typer.Exit(1) from None
        if report is not None:
            try:
                report.write_text(found.markdown(), encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"--report {report}: it cannot be written ({error.strerror})") from None
        if as_json:
            typer.echo(json.dumps(found.to_json(), indent=2))
        else:
            _show(found)
    raise typer.Exit(0 if found.holds else 1)


def _tell(name: str, found: Check | None) -> None:
    """A line on standard error for everything that is looked at, and for what came of it."""
    typer.echo(f"… {name}" if found is None else f"  {found.sign:<6} {found.name}", err=True)


def _show(found: Verified) -> None:
    from rich.table import Table
    from rich.text import Text

    from liveagent.runtime.verified import MEANT

    colors = {"passed": "green", "failed": "red", "noted": "cyan", "absent": "yellow"}
    out = console()
    out.print(Text(found.model, "bold"))
    for name, value in found.about.items():
        out.print(Text(f"  {name}: {value}", "dim"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for fold in (False, False, False, True):
        table.add_column(overflow="fold" if fold else "ellipsis", no_wrap=not fold)
    for each in found.checks:
        color = "yellow" if each.outcome == "failed" and each.part != "loop" else colors[each.outcome]
        table.add_row(Text(each.sign, color), Text(each.part, "dim"), Text(each.name), Text(each.said))
    out.print(table)
    out.print(Text(found.verdict, "bold green" if found.holds else "bold red"))
    for part, what in MEANT:
        out.print(Text(f"  {part}: {what}", "dim"))
