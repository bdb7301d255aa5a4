"""`replay`, `ask` and `forget`: what was recorded or filmed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liveagent.cli.program import AGENT_HELP, AsJson, app, console, typed_errors

if TYPE_CHECKING:
    from rich.progress import Progress


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `talk --record FILE` wrote.")],
    check: Annotated[bool, typer.Option("--check", help="Fail unless everything comes out as it did.")] = False,
) -> None:
    """Run a recording again: the same sound, the same words, the same decisions."""
    with typed_errors():
        from liveagent.clients.terminal import Terminal
        from liveagent.runtime.replay import replay as run

        report = run(file, check)
        terminal = Terminal("replay", console=console())
        terminal.plain = True
        with terminal.live():
            for _, item in sorted((*report.events, *report.actions), key=lambda each: each[0]):
                terminal.feed(item)
        for warning in report.warnings:
            typer.echo(f"warning: {warning}", err=True)
        if report.trouble:
            typer.echo(f"the recording is broken: {report.trouble}; what comes before was replayed", err=True)
        seconds = report.ticks * 0.08
        typer.echo(f"{report.ticks} ticks ({seconds:.1f} s), {report.tokens} tokens of the agent's")
        if report.difference is None:
            typer.echo("everything came out as it was recorded")
        else:
            which = report.difference
            typer.echo(f"tick {which.tick} came out otherwise\n  was: {which.was}\n  now: {which.now}")
    raise typer.Exit(1 if check and report.difference is not None else 0)


def _watched(progress: Callable[..., Progress], *columns: Any) -> Progress:
    """A bar on standard error, where somebody looks at it."""
    from rich.console import Console

    error = Console(stderr=True)
    return progress(*columns, console=error, transient=True, disable=not error.is_terminal)


@app.command()
def ask(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A film, or what `talk --record FILE` wrote.")],
    question: Annotated[str, typer.Argument(metavar='"QUESTION"', help='"when did the red ball appear"')],
    agent: Annotated[str, typer.Option("--agent", metavar="FILE.py|PIPELINE", help=AGENT_HELP)] = "voice_video",
    as_json: AsJson = False,
) -> None:
    """Watch a film, faster than real time, and answer a question about it, with the moment it is about."""
    with typed_errors():
        import dataclasses
        import json

        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        from liveagent.load import load_agent
        from liveagent.runtime.ask import ask as run
        from liveagent.runtime.ask import clock

        made = load_agent(agent)
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
        with _watched(Progress, *columns) as bar:
            task = bar.add_task("watching", total=None)

            def progress(done_s: float, of_s: float) -> None:
                bar.update(task, completed=done_s, total=of_s or None, description=f"watching {clock(done_s)}")

            answered = run(file, question, made, progress=progress)
        if answered.damage:
            typer.echo(f"warning: {file.name}: {answered.damage}", err=True)
        if as_json:
            typer.echo(json.dumps({**dataclasses.asdict(answered), "at": answered.at}, indent=2))
        else:
            when = f"{answered.at}  " if answered.at else ""
            typer.echo(f"{when}{answered.answer}  ({answered.sure:.0%} sure)")


@app.command()
def forget(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `talk --record FILE` wrote.")],
    since: Annotated[str, typer.Option("--from", metavar="M:SS", help="Where what is to be forgotten begins.")],
    until: Annotated[str, typer.Option("--to", metavar="M:SS", help="Where it ends.")],
    as_json: AsJson = False,
) -> None:
    """Take a stretch out of a recording: sound, pictures, words, and every answer that would have been another."""
    with typed_errors():
        import dataclasses
        import json

        from rich.progress import BarColumn, Progress, TextColumn

        from liveagent.runtime.ask import clock
        from liveagent.runtime.unrecord import seconds_of, unrecord

        columns = TextColumn("{task.description}"), BarColumn()
        with _watched(Progress, *columns) as bar:
            task = bar.add_task("forgetting", total=None)

            def progress(done_s: float, of_s: float) -> None:
                bar.update(task, completed=done_s, total=of_s or None)

            gone = unrecord(file, seconds_of(since), seconds_of(until), progress=progress)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(each) for each in gone], indent=2))
        else:
            for each in gone:
                why = "" if each.asked else ", for what was said there would have been something else"
                typer.echo(f"forgotten: {clock(each.since_s)} to {clock(each.until_s)}{why}")
