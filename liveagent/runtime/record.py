"""Recording a session, and what a recording must say so that it can be replayed.

Per tick: what the microphone gave (int16), what the loudspeaker played if anything, the inbox, then what the session
decided: its actions and the tokens it chose. Only the first three are input; the rest is what `replay --check`
compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from liveagent import __version__
from liveagent.agent import Agent
from liveagent.audio import Samples, Tick
from liveagent.errors import DeviceError
from liveagent.event import Inbox
from liveagent.journal import Header, JournalWriter, to_int16
from liveagent.runtime.answer import Out

if TYPE_CHECKING:
    from liveagent.nn.nano import Nano
    from liveagent.runtime.session import SessionConfig


def agent_hash(agent: Agent) -> str:
    """Changes with anything that changes what the agent decides."""
    tools = [[t.name, t.description, dict(t.schema), [p.text for p in t.phrases], t.confirm] for t in agent.tools]
    text = json.dumps([agent.instructions, tools, list(agent.questions), agent.wake, agent.seed], default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def header_of(
    agent: Agent, model: Nano, lanes: int, config: SessionConfig, origin: str, recogniser: bool, started_utc: str = ""
) -> Header:
    """The header of a recording made now, here. `origin`: what `liveagent talk` was given (a pipeline or a file)."""
    return Header(
        liveagent=__version__,
        torch=torch.__version__,
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        dtype="float32",
        lanes=lanes,
        seed=agent.seed,
        agent=agent_hash(agent),
        weights=model.fingerprint,
        holds_voices=True,
        started_utc=started_utc,
        more={
            "origin": origin,
            "voice": config.voice,
            "grammar": config.grammar,
            "half_duplex": config.manners.half_duplex,
            "recogniser": recogniser,
        },
    )


class Recorder:
    """Writes one session to a file, a tick at a time. Off unless asked for.

    Raises DeviceError when the file cannot be written; what was written before stays readable.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self._journal = JournalWriter(header)
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise DeviceError(f"cannot record to {path}: {error.strerror}; choose another place") from None
        self._write()

    def tick(self, tick: Tick, reference: Samples, inbox: Sequence[Inbox], out: Out) -> None:
        journal = self._journal
        journal.audio(tick.index, to_int16(tick.samples))
        if len(reference):
            journal.audio(tick.index, to_int16(reference))
        for event in inbox:
            journal.event(tick.index, event)
        for action in out.actions:
            journal.action(tick.index, action)
        if out.tokens:
            journal.tokens(tick.index, out.tokens)
        journal.json(tick.index, {"t_ns": tick.t_ns, "gap": tick.gap_samples})
        self._write()

    def close(self) -> None:
        if not self._file.closed:
            self._journal.close()
            self._write()
            self._file.close()

    def _write(self) -> None:
        try:
            self._file.write(self._journal.take())
            self._file.flush()
        except OSError as error:
            raise DeviceError(f"recording to {self.path} stopped: {error.strerror}; what was written is kept") from None
