"""`talk` and `serve`: an agent here and now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liveagent.cli.models import CacheTokens, Dtype, Lanes, ModelName, Quantize, with_model
from liveagent.cli.program import AgentName, Device, Ear, Language, app, set_threads, typed_errors, with_ear
from liveagent.cli.sources import Homes, Servers, with_sources
from liveagent.cli.voice import Voice, with_voice

if TYPE_CHECKING:
    from liveagent.agent import Agent


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
    journal: Path | None = None,
) -> int:
    """One session in this terminal, until it ends; returns an exit status. Ctrl-C raises KeyboardInterrupt.

    `name`: what a recording says the agent is, a pipeline's name or a file. `typed`: lines that stand for the
    keyboard, each typed when the one before has been answered. `journal`: where calls are written down, else where
    `liveagent audit` looks for them. Raises LiveAgentError for what is
    wrong, with the terminal put back.
    """
    set_threads()
    import asyncio

    from liveagent.clients.terminal import Terminal
    from liveagent.runtime.serve import calls_file
    from liveagent.runtime.talk import talk as run

    agent = with_model(agent, None)
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
                journal=journal or calls_file(),
            )
        )


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
    home: Homes = None,
    mcp: Servers = None,
    voice: Voice = None,
    model: ModelName = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    cache_tokens: CacheTokens = None,
    device: Device = None,
    ear: Ear = None,
    language: Language = None,
) -> None:
    """Talk with an agent in this terminal. Without a microphone a shipped clip is heard instead."""
    with typed_errors():
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
        made = with_voice(with_sources(load_agent(agent), home, mcp), voice)
        if device is not None:
            made = made.replace(device=device)
        made = with_ear(made, ear, language)
        made = with_model(made, model, dtype, quantize, cache_tokens)
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
    lanes: Lanes = 4,
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
    home: Homes = None,
    mcp: Servers = None,
    voice: Voice = None,
    model: ModelName = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    cache_tokens: CacheTokens = None,
    device: Device = None,
    ear: Ear = None,
    language: Language = None,
) -> None:
    """Serve an agent: its page, and clients of OpenAI Realtime and Gemini Live."""
    with typed_errors():
        import asyncio
        from functools import partial

        from liveagent.errors import ConfigError
        from liveagent.load import load_agent
        from liveagent.ports.webserver import event_loop
        from liveagent.runtime.house import House
        from liveagent.runtime.serve import Place, calls_file, write_log
        from liveagent.runtime.serve import serve as run

        if headphones and not mic:
            raise ConfigError("--headphones is about this machine's microphone: add --mic")
        house = partial(House.find, camera=camera, headphones=headphones) if mic else None
        made = with_voice(with_sources(load_agent(agent), home, mcp), voice)
        if device is not None:
            made = made.replace(device=device)
        made = with_ear(made, ear, language)
        made = with_model(made, model, dtype, quantize, cache_tokens, lanes)
        place = Place(host, port, tls_cert, tls_key, tls_self_signed, tuple(key or ()), tuple(origin or ()))
        place.check()
        write_log(log_json)
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(
                run(made, place, lanes=lanes, camera=None if mic else camera, house=house, tell=typer.echo,
                    open_page=not no_open, journal=calls_file())
            )  # fmt: skip
