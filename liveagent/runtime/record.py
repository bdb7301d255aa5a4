"""Recording a session, and what a recording must say so that it can be replayed.

Per tick: what the microphone gave (int16), what the loudspeaker played if anything, the picture that was looked at if
there was one, the inbox, then what the session decided: its actions and the tokens it chose. Only the first four are
input; the rest is what `replay --check` compares. A thread of the recorder's writes, so that a slow disk slows no tick;
what waits for it is bounded, and so is what pictures may take of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from liveagent import __version__
from liveagent.agent import Agent
from liveagent.audio import Samples, Tick
from liveagent.errors import DeviceError, LiveAgentError
from liveagent.event import Inbox
from liveagent.film import Film
from liveagent.journal import Header, JournalWriter, to_int16
from liveagent.jsonform import Json
from liveagent.runtime.answer import Out
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.nn.nano import Nano
    from liveagent.runtime.session import SessionConfig

LIMIT_BYTES = 4 << 20
"""What may wait for the disk: a minute and a half of sound."""
PICTURE_TICK_BYTES = 16 << 10
"""What pictures may take a tick, on average of the last seconds: 200 kB a second, eight noisy pictures of 128 px."""
PICTURE_SAVED_BYTES = 1 << 20
CLOSE_S = 10.0
HEARS = ("silero-vad", "pocketsphinx")
"""Packages whose own weights decide what is heard."""


def agent_hash(agent: Agent) -> str:
    """Changes with anything that changes what the agent decides."""
    tools = [
        [t.name, t.description, dict(t.schema), [p.text for p in t.phrases], t.confirm, t.timeout_s]
        for t in agent.tools
    ]
    said = dict(agent.pronounced)
    parts: list[Any] = [agent.instructions, tools, list(agent.questions), agent.wake, said]
    if agent.watches:
        watches = agent.watches
        parts.append([[w.name, w.condition, w.change, w.hold_s, w.again, w.says, w.action is None] for w in watches])
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def settings_of(config: SessionConfig) -> dict[str, Json]:
    """A session's settings as plain JSON."""

    def plain(value: Any) -> Json:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return sorted(value) if isinstance(value, frozenset) else value

    settings = plain(config)
    assert isinstance(settings, dict)
    return settings


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
            "settings": settings_of(config),
            "recogniser": recogniser,
            "hears": {name: _version(name) for name in (HEARS if recogniser else HEARS[:1])},
        },
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class Recorder:
    """Writes one session to a file, a tick at a time. Off unless asked for.

    Raises DeviceError when the file cannot be written or its disk does not keep up; from then on nothing is recorded,
    and what was written before stays readable.
    """

    def __init__(self, path: Path, header: Header, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._journal = JournalWriter(header, limit_bytes)
        self._news = threading.Condition()
        self._closing = False
        self._film = Film()
        self._saved_bytes = PICTURE_SAVED_BYTES  # what pictures may take now; below nothing none is taken
        self._broken = False  # a tick is missing: never closed as if it were whole
        self._error: OSError | None = None
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise DeviceError(f"cannot record to {path}: {error.strerror}; choose another place") from None
        try:
            self._write(self._journal.take())
        except OSError as error:
            self._file.close()
            raise DeviceError(f"cannot record to {path}: {error.strerror}; choose another place") from None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def takes_picture(self) -> bool:
        """Whether the next tick may have a picture. If not, the session must not see it either."""
        return self._saved_bytes > 0 or self._broken

    def tick(
        self, tick: Tick, reference: Samples, inbox: Sequence[Inbox], out: Out, frame: VideoFrame | None = None
    ) -> None:
        """Keep one tick; it is on its way to the disk when this returns. After an error it does nothing."""
        with self._news:
            if self._broken or self._closing:
                return
            try:
                if self._error is not None:
                    raise self._stopped(self._error)
                self._append(tick, reference, inbox, out, frame)
            except LiveAgentError:
                self._broken = True
                raise
            finally:
                self._news.notify()

    def close(self) -> None:
        """Write what waits, say that it ends here, and close. Raises DeviceError when that was not possible."""
        with self._news:
            if self._closing:
                return
            self._closing = True
            if not self._broken and self._error is None:
                try:
                    self._journal.close()
                except DeviceError:  # no room for even the end: the reader says that it was never closed
                    self._broken = True
            self._news.notify()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():  # the disk hangs; the thread ends with the process
            raise DeviceError(f"recording to {self.path}: the disk does not take its end; its beginning is kept")
        error = self._error
        try:
            self._file.close()
        except OSError as late:
            error = error or late
        if error is not None and not self._broken:
            raise self._stopped(error)

    def _stopped(self, error: OSError) -> DeviceError:
        return DeviceError(f"recording to {self.path} stopped: {error.strerror}; its beginning is kept")

    def _append(
        self, tick: Tick, reference: Samples, inbox: Sequence[Inbox], out: Out, frame: VideoFrame | None
    ) -> None:
        journal = self._journal
        journal.audio(tick.index, to_int16(tick.samples))
        if len(reference):
            journal.audio(tick.index, to_int16(reference))
        self._saved_bytes = min(self._saved_bytes + PICTURE_TICK_BYTES, PICTURE_SAVED_BYTES)
        if frame is not None:
            payload = self._film.write(frame)
            self._saved_bytes -= len(payload)
            journal.picture(tick.index, payload)
        for event in inbox:
            journal.event(tick.index, event)
        for action in out.actions:
            journal.action(tick.index, action)
        if out.tokens:
            journal.tokens(tick.index, out.tokens)
        journal.json(tick.index, {"t_ns": tick.t_ns, "gap": tick.gap_samples})

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._journal.waiting_bytes and not self._closing:
                    self._news.wait()
                data, last = self._journal.take(), self._closing
            try:
                self._write(data)
            except OSError as error:
                self._error = error
                return
            if last:
                return

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
