"""The program itself: its name, its errors, its exit statuses, and what several commands take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from liveagent.agent import Agent

app = typer.Typer(
    help="An agent that hears, remembers, speaks and acts, on this machine alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AGENT_HELP = "A pipeline's name, or a Python file that holds `agent = Agent(...)`."
AgentName = Annotated[str, typer.Argument(metavar="[FILE.py|PIPELINE]", help=AGENT_HELP)]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda|cuda:0|mps", help="Where the model runs; else the agent's.")
]
Ear = Annotated[
    str | None,
    typer.Option("--ear", metavar="FOLDER|NAME", help="A pretrained ear that hears along: openai/whisper-small."),
]
Language = Annotated[
    str | None,
    typer.Option("--language", metavar="CODE|NAME", help="What the pretrained ear hears: de, or german."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Exactly one JSON value on standard output.")]


def main() -> None:
    """The entry point `liveagent`."""
    set_threads()
    app()


def set_threads() -> None:
    """How many threads, and how they wait: before torch is loaded."""
    # Read when torch is loaded. Threads that wait by spinning, or two where one is enough, make small networks slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def with_ear(agent: Agent, ear: str | None, language: str | None) -> Agent:
    """The agent with another pretrained ear, if one is named, that writes in this language. ConfigError."""
    asked = {"ear": ear, "language": language}
    return agent.replace(**{name: value for name, value in asked.items() if value is not None})


@contextmanager
def typed_errors() -> Iterator[None]:
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


def console() -> Console:
    """Where tables and figures are printed."""
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
