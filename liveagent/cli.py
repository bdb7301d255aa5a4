"""The command line. Everything it needs is imported by the command that needs it, so that `--help` is quick.

What is wrong is one line that says what to do, and an exit status that says whose it is: 2 the one who wrote the agent
or the command, or a file from another version, 3 the machine, 4 the way to elsewhere, 5 a peer, 6 a tool; 1 is a check
that did not hold, 70 a fault of liveagent's own. `LIVEAGENT_DEBUG=1` shows tracebacks instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from liveagent.agent import Agent

app = typer.Typer(
    help="An agent that hears, remembers, speaks and acts, on this machine alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_AGENT_HELP = "A pipeline's name, or a Python file that holds `agent = Agent(...)`."
AgentName = Annotated[str, typer.Argument(metavar="[FILE.py|PIPELINE]", help=_AGENT_HELP)]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda|cuda:0|mps", help="Where the model runs; else the agent's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Exactly one JSON value on standard output.")]


def main() -> None:
    """The entry point `liveagent`."""
    _set_threads()
    app()


def _set_threads() -> None:
    # Read when torch is loaded. Threads that wait by spinning, or two where one is enough, make small networks slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def talk_with(
    agent: Agent,
    name: str,
    *,
    source: str | None = None,
    text_only: bool = False,
    typed: Sequence[str] | None = None,
    record: Path | None = None,
    check: bool = True,
    fast: bool = False,
    headphones: bool = False,
    full_duplex: bool = False,
    push_to_talk: bool = False,
    camera: str | None = None,
) -> int:
    """One session in this terminal, until it ends; returns an exit status. Ctrl-C raises KeyboardInterrupt.

    `name`: what a recording says the agent is, a pipeline's name or a file. `typed`: lines that stand for the
    keyboard, each typed when the one before has been answered. Raises LiveAgentError for what is
    wrong, with the terminal put back.
    """
    _set_threads()
    import asyncio

    from liveagent.clients.terminal import Terminal
    from liveagent.runtime.talk import talk as run

    terminal = Terminal(Path(name).stem, agent.tools)
    terminal.script = typed
    with _ends_politely(), terminal.live():
        return asyncio.run(
            run(
                agent,
                source=source,
                text_only=text_only,
                record=record,
                terminal=terminal,
                check=check,
                fast=fast,
                origin=name,
                headphones=headphones,
                full_duplex=full_duplex,
                push_to_talk=push_to_talk,
                camera=camera,
            )
        )


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Typed errors become one line and an exit status. Ctrl-C is how one ends a session: status 0."""
    from liveagent.errors import ConfigError, DeviceError, LinkError, LiveAgentError, ProtocolError, ToolError

    codes = {ConfigError: 2, DeviceError: 3, LinkError: 4, ProtocolError: 5, ToolError: 6}
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(0) from None
    except LiveAgentError as error:
        if os.environ.get("LIVEAGENT_DEBUG"):
            raise
        typer.echo(f"liveagent: {error}", err=True)
        raise typer.Exit(next((code for kind, code in codes.items() if isinstance(error, kind)), 1)) from None
    except Exception as error:
        if os.environ.get("LIVEAGENT_DEBUG") or isinstance(error, typer.Exit):
            raise
        said = f"{type(error).__name__}: {error}".partition("\n")[0]
        typer.echo(f"liveagent: a fault of its own, {said}; LIVEAGENT_DEBUG=1 shows where", err=True)
        raise typer.Exit(70) from None


@contextmanager
def _ends_politely() -> Iterator[None]:
    """A polite kill ends like an error does: through every `finally`, so that the terminal is put back."""
    import signal
    import sys

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _version(wanted: bool) -> None:
    if wanted:
        from liveagent import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


@app.command()
def talk(
    agent: AgentName = "voice_video",
    source: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL|mic", help="What to hear: a file or URL as if it were the microphone, or mic."),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="No microphone: only what is typed.")] = False,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what is heard and decided, to `replay` it. Holds voices.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Hear a file as fast as it can be heard.")] = False,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="You wear some: replies can be interrupted by voice.")
    ] = False,
    full_duplex: Annotated[
        bool, typer.Option("--full-duplex", help="Interrupt by voice without headphones; trusts the echo gate.")
    ] = False,
    push_to_talk: Annotated[bool, typer.Option("--push-to-talk", help="Tab begins and ends what you say.")] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Skip the check of the microphone.")] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="table|camera|screen|/dev/...|FILE|URL|none",
            help="What to see: the toy table, a camera, the screen, a film. Else the source's own, or the agent's.",
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Talk with an agent in this terminal. Without a microphone a shipped clip is heard instead."""
    with _typed_errors():
        from liveagent.errors import ConfigError
        from liveagent.load import load_agent

        if text and source is not None:
            raise ConfigError("--text and --source together: choose one")
        if fast and source in (None, "mic"):
            raise ConfigError("--fast wants a file to hear: --source FILE")
        if fast and camera not in (None, "table", "none"):
            raise ConfigError("--fast cannot hurry a camera: --camera table or none, or a film as --source")
        if record is not None and not record.absolute().parent.is_dir():
            raise ConfigError(f"--record {record}: there is no folder {record.absolute().parent}; make it first")
        made = load_agent(agent)
        if device is not None:
            made = made.replace(device=device)
        status = talk_with(
            made,
            agent,
            source=source,
            text_only=text,
            record=record,
            check=not no_check,
            fast=fast,
            headphones=headphones,
            full_duplex=full_duplex,
            push_to_talk=push_to_talk,
            camera=camera,
        )
    raise typer.Exit(status)


@app.command()
def serve(
    agent: AgentName = "voice_video",
    host: Annotated[str, typer.Option(help="The address to listen at; others than this machine's need TLS and a key.")]
    = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="A certificate, as PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, as PEM.")] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="Make a certificate of one's own.")
    ] = False,
    key: Annotated[
        list[str] | None,
        typer.Option(envvar="LIVEAGENT_KEY", help="Whoever connects must show it. Others can read a command line."),
    ] = None,
    origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="Another page that may connect.")] = None,
    lanes: Annotated[int, typer.Option(min=4, help="How many may talk at once.")] = 4,
    camera: Annotated[
        str | None,
        typer.Option(metavar="table|camera|screen|/dev/...|FILE|URL", help="What it sees here, not at the far end."),
    ] = None,
    mic: Annotated[
        bool, typer.Option("--mic", help="Hear and speak here, page or no page; whoever opens the page looks on.")
    ] = False,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="With --mic: nothing of the loudspeaker reaches the microphone.")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="The log as JSON, a line each.")] = False,
    device: Device = None,
) -> None:
    """Serve an agent: its page, and clients of OpenAI Realtime and Gemini Live."""
    with _typed_errors():
        import asyncio
        from functools import partial

        from liveagent.errors import ConfigError
        from liveagent.load import load_agent
        from liveagent.ports.webserver import event_loop
        from liveagent.runtime.house import House
        from liveagent.runtime.serve import Place, write_log
        from liveagent.runtime.serve import serve as run

        if headphones and not mic:
            raise ConfigError("--headphones is about this machine's microphone: add --mic")
        house = partial(House.find, camera=camera, headphones=headphones) if mic else None
        made = load_agent(agent)
        if device is not None:
            made = made.replace(device=device)
        place = Place(host, port, tls_cert, tls_key, tls_self_signed, tuple(key or ()), tuple(origin or ()))
        place.check()
        write_log(log_json)
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(
                run(made, place, lanes=lanes, camera=None if mic else camera, house=house, tell=typer.echo,
                    open_page=not no_open)
            )  # fmt: skip


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `talk --record FILE` wrote.")],
    check: Annotated[bool, typer.Option("--check", help="Fail unless everything comes out as it did.")] = False,
) -> None:
    """Run a recording again: the same sound, the same words, the same decisions."""
    with _typed_errors():
        from liveagent.clients.terminal import Terminal
        from liveagent.runtime.replay import replay as run

        report = run(file, check)
        terminal = Terminal("replay", console=_console())
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

    console = Console(stderr=True)
    return progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@app.command()
def ask(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A film, or what `talk --record FILE` wrote.")],
    question: Annotated[str, typer.Argument(metavar='"QUESTION"', help='"when did the red ball appear"')],
    agent: Annotated[str, typer.Option("--agent", metavar="FILE.py|PIPELINE", help=_AGENT_HELP)] = "voice_video",
    as_json: AsJson = False,
) -> None:
    """Watch a film, faster than real time, and answer a question about it, with the moment it is about."""
    with _typed_errors():
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
    with _typed_errors():
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
def doctor(as_json: AsJson = False) -> None:
    """Look at the devices, libraries, weights and speed of this machine, and say what to mend."""
    with _typed_errors():
        from liveagent.runtime.doctor import probe_all

        findings = probe_all()
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps([dataclasses.asdict(each) for each in findings], indent=2))
        else:
            from rich.table import Table
            from rich.text import Text

            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column()
            table.add_column()
            table.add_column(overflow="fold")
            for each in findings:
                sign, color = ("ok", "green") if each.ok else ("MEND", "red") if each.needed else ("none", "yellow")
                said = Text.assemble(each.what, (f"\n{each.fix}", "yellow") if each.fix else "")
                table.add_row(Text(sign, color), Text(each.name), said)
            _console().print(table)
    raise typer.Exit(0 if all(each.ok or not each.needed for each in findings) else 1)


@app.command()
def plan(agent: AgentName = "voice_video") -> None:
    """Say what an agent listens for and loads, without loading it."""
    with _typed_errors():
        from liveagent.load import load_agent

        found = load_agent(agent).plan()
        typer.echo(f"model      {found.model}" + (f", {found.weights_bytes / 1e6:.1f} MB" if found.weights else ""))
        typer.echo(f"tools      {', '.join(found.tools) or 'none'}")
        typer.echo(f"hears      {found.sentences} sentences of {found.words} words ({found.states} states)")
        typer.echo(f"looks at   {found.camera or 'nothing'}")
        if found.watches:
            typer.echo("waits for  " + "; ".join(found.watches))
        if found.typed_only:
            typer.echo("typed only " + "; ".join(found.typed_only))


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of those listed, or `all`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure. Without a name: what can be measured."""
    with _typed_errors():
        import importlib
        import json

        from liveagent.errors import ConfigError

        known = _scripts("liveagent.bench", "def run(")
        if name is None:
            if as_json:
                typer.echo(json.dumps(known))
            for each, said in {} if as_json else known.items():
                typer.echo(f"{each:<10} {said}")
            return
        if name != "all" and name not in known:
            raise ConfigError(f"no bench is called {name!r}; there is {', '.join([*known, 'all'])}")
        results: dict[str, Any] = {}
        for each in known if name == "all" else [name]:
            results[each] = importlib.import_module(f"liveagent.bench.{each}").run()
            if not as_json:
                _print_figures(each, results[each])
        if as_json:
            typer.echo(json.dumps(results if name == "all" else results[name], indent=2))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)
def train(
    context: typer.Context,
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="One of those listed.")] = None,
) -> None:
    """Make nano again: data, tokenizer, ear, decoder. Without a step: the steps. `train STEP --help`: its options."""
    with _typed_errors():
        import runpy
        import sys

        from liveagent.errors import ConfigError

        known = {f"liveagent.train.{key}": said for key, said in _scripts("liveagent.train", "__main__").items()}
        known |= {f"liveagent.pipelines.nano.{key}": said
                  for key, said in _scripts("liveagent.pipelines.nano", "__main__").items()}  # fmt: skip
        steps = {module.rpartition(".")[2]: module for module in known}
        if step is None:
            for each, module in steps.items():
                typer.echo(f"{each:<10} {known[module]}")
            return
        if step not in steps:
            raise ConfigError(f"no step of training is called {step!r}; there is {', '.join(steps)}")
        sys.argv = [f"liveagent train {step}", *context.args]
        runpy.run_module(steps[step], run_name="__main__")


def _scripts(package: str, has: str) -> dict[str, str]:
    """Modules of a package whose text has `has`, and the first line of what they say about themselves; none is run."""
    import ast
    import importlib.util

    spec = importlib.util.find_spec(package)
    folders = [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []
    found = {}
    for file in sorted(each for folder in folders for each in folder.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        if has in source and not file.stem.startswith("_"):
            said = ast.get_docstring(ast.parse(source)) or ""
            found[file.stem] = said.partition("\n")[0]
    return found


def _print_figures(name: str, figures: dict[str, Any], indent: int = 0) -> None:
    from rich.text import Text

    console = _console()
    console.print(Text(" " * indent + name, "bold"))
    width = max((len(key) for key in figures), default=0)
    for key, value in figures.items():
        if isinstance(value, dict):
            _print_figures(key, value, indent + 2)
        else:
            said = f"{value:.4g}" if isinstance(value, float) else str(value)
            console.print(Text(f"{' ' * (indent + 2)}{key:<{width}}  {said}"))
