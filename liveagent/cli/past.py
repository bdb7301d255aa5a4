"""`replay`, `ask`, `forget` and `audit`: what was recorded, filmed, and done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liveagent.cli.program import AGENT_HELP, AsJson, Ear, Language, app, console, typed_errors, with_ear

if TYPE_CHECKING:
    from rich.progress import Progress

    from liveagent.ports.call_journal import Row


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `talk --record FILE` wrote.")],
    check: Annotated[bool, typer.Option("--check", help="Fail unless everything comes out as it did.")] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FOLDER", help="Where its model is, if not where it was."),
    ] = None,
) -> None:
    """Run a recording again: the same sound, the same words, the same decisions."""
    with typed_errors():
        from liveagent.clients.terminal import Terminal
        from liveagent.runtime.replay import replay as run

        report = run(file, check, named=model)
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
    ear: Ear = None,
    language: Language = None,
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

        made = with_ear(load_agent(agent), ear, language)
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


@app.command()
def audit(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A journal of calls; else the one of `talk` and `serve`.")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=20_000, help="How many of the newest calls.")] = 30,
    as_json: AsJson = False,
) -> None:
    """What was called: with which arguments, decided on what was heard and seen when, confirmed by whom, how it ended.
    Of the words of whoever spoke there is nothing but the arguments."""
    with typed_errors():
        import dataclasses
        import json

        from liveagent.ports.call_journal import read_rows
        from liveagent.runtime.serve import calls_file

        rows = read_rows(file or calls_file(), last)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=2))
        else:
            _print_calls(rows)


def _print_calls(rows: Sequence[Row]) -> None:
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("when", "session", "call", "risk", "by", "heard", "seen", "yes", "took", "state"):
        table.add_column(name, overflow="fold", no_wrap=name != "call")
    colours = {"done": "green", "failed": "red", "asked": "bold yellow", "refused": "yellow"}
    for row in rows:
        call = row.call
        args = ", ".join(f"{name}={json_of(value)}" for name, value in call.args.items())
        when = datetime.fromtimestamp(row.at_ms / 1000).strftime("%m-%d %H:%M:%S")
        heard = "-" if not call.heard_ns else _before(call.decided_ns, call.heard_ns[0])
        took = "-" if row.released_ms is None or row.ended_ms is None else f"{row.ended_ms - row.released_ms} ms"
        state = Text(call.state + (f" ({call.reason})" if call.reason else ""), colours.get(call.state, ""))
        table.add_row(
            when, call.session[:6], Text(f"{call.name}({args}) {call.call_id}"), call.risk, call.by, heard,
            "-" if call.seen_ns is None else _before(call.decided_ns, call.seen_ns), call.confirmed_by or "-", took,
            state,
        )  # fmt: skip
    console().print(table if rows else "nothing was called")


def _before(decided_ns: int, t_ns: int) -> str:
    """How long before the decision it was, in seconds."""
    return f"{max(0, decided_ns - t_ns) / 1e9:.1f} s before"


def json_of(value: object) -> str:
    """An argument on one line, so that nothing in it moves a cursor."""
    import json

    return json.dumps(value)
