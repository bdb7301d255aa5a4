"""`--voice`: who speaks, from the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from liveagent.agent import Agent

Voice: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--voice", metavar="FILE.onnx[#SPEAKER]|NAME|none",
        help="Who speaks: a voice file of piper's or Kokoro's, one of espeak's names, or nobody.",
    ),
]  # fmt: skip


def with_voice(agent: Agent, voice: str | None) -> Agent:
    """The agent with this voice. ConfigError or DeviceError for a voice file that could not speak here."""
    if voice is not None:
        agent = agent.replace(voice=None if voice == "none" else voice)
    from liveagent.errors import DeviceError
    from liveagent.ports.voice_file import VoiceFile

    if agent.voice is not None and VoiceFile.of(agent.voice) is not None:
        from liveagent.runtime.devices import make_voice

        found = make_voice(agent.voice).probe()
        if not found.ok:
            raise DeviceError(f"--voice {agent.voice}: {found.what}; {found.fix}")
    return agent
