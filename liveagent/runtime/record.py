"""Recording a session, and what a recording must say so that it can be replayed.

Per tick: what the microphone gave (int16), what the loudspeaker played if anything, the picture that was looked at if
there was one, the inbox, then what the session decided: its actions and the tokens it chose. Only the first four are
input; the rest is what `replay --check` compares. A thread of the recorder's writes, so that a slow disk slows no tick;
what waits for it is bounded, and so is what pictures may take of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveagent import __version__
from liveagent.agent import Agent
from liveagent.audio import Samples, Tick
from liveagent.errors import DeviceError, LiveAgentError
from liveagent.event import Forgotten, Inbox
from liveagent.film import Film
from liveagent.journal import ATTENDED, Header, JournalWriter, Record, read, to_int16
from liveagent.jsonform import Json
from liveagent.runtime.answer import Out
from liveagent.runtime.open_model import is_checkpoint
from liveagent.stretch import Stretch, wiped
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.nn.model import Model
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
        [t.name, t.description, dict(t.schema), [p.text for p in t.phrases], False, t.timeout_s]
        for t in agent.tools
    ]
    said = dict(agent.pronounced)
    parts: list[Any] = [agent.instructions, tools, list(agent.questions), agent.wake, said]
    if not agent.answers or agent.remark:
        parts.append([agent.answers, agent.remark])
    told = [[t.hold_ms, t.tell, t.cancel_on_barge_in] for t in agent.tools]
    if any(each != [0, "pause", False] for each in told):
        parts.append(told)
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
    agent: Agent,
    model: Model,
    lanes: int,
    config: SessionConfig,
    origin: str,
    recogniser: bool,
    started_utc: str = "",
    pictures: bool = False,
) -> Header:
    """The header of a recording made now, here. `origin`: what `liveagent talk` was given (a pipeline or a file);
    `pictures`: whether it may hold some."""
    import torch

    return Header(
        liveagent=__version__,
        torch=torch.__version__,
        instruction_set=torch.backends.cpu.get_cpu_capability(),
        dtype=dtype_of(agent),
        lanes=lanes,
        seed=agent.seed,
        agent=agent_hash(agent),
        weights=model.fingerprint,
        holds_voices=True,
        started_utc=started_utc,
        more={
            "origin": origin,
            "settings": settings_of(config),
            "device": str(model.device),
            "holds_pictures": pictures,
            "recogniser": recogniser,
            "hears": {name: _version(name) for name in (HEARS if recogniser else HEARS[:1])},
            **({"ear": Path(agent.ear).name} if config.dictated and agent.ear else {}),
            **_model_of(agent),
        },
    )


def dtype_of(agent: Agent) -> str:
    """How precise its model's weights are where it runs."""
    if agent.dtype is not None or agent.model == "nano":
        return agent.dtype or "float32"
    return "float32" if agent.device == "cpu" or not is_checkpoint(agent.model) else "bfloat16"


def _model_of(agent: Agent) -> dict[str, Json]:
    """What a replay must load where it is not nano's; how much was held is among the settings."""
    if agent.model == "nano":
        return {}
    path = Path(agent.model)
    said: dict[str, Json] = {"model": str(path.absolute()) if path.exists() else agent.model}
    return said if agent.quantize is None else {**said, "quantize": agent.quantize}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write_whole(path: Path, header: Header, records: Sequence[Record], complete: bool) -> None:
    """Put a recording in the place of another, whole or not at all. OSError."""
    journal = JournalWriter(header, 1 << 62)
    for record in records:
        journal.copy(record)
    if complete:
        journal.close()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    beside = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(journal.take())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not every file system can
        folder = os.open(path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
        self._wipes: list[tuple[Forgotten, Json]] = []
        self._wiping = False
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
        self._keep(lambda: self._append(tick, reference, inbox, out, frame))

    def attended(self, index: int, inbox: Sequence[Inbox], out: Out) -> None:
        """Keep what was attended to before tick `index`; as `tick`."""
        self._keep(lambda: self._append_attended(index, inbox, out))

    def _keep(self, append: Callable[[], None]) -> None:
        with self._news:
            if self._broken or self._closing:
                return
            try:
                if self._error is not None:
                    raise self._stopped(self._error)
                append()
            except LiveAgentError:
                self._broken = True
                raise
            finally:
                self._news.notify()

    def forget(self, forgotten: Forgotten, state: Json) -> None:
        """Write the file anew without what was forgotten in the newest tick; `state`: what is still known. Done by the
        recorder's thread, in one step that leaves the old file or the new one. When it fails, the next `tick` or
        `close` raises DeviceError: then what was to be forgotten is still in the file."""
        with self._news:
            self._wipes.append((forgotten, state))
            self._film = Film()  # the next picture must not be a difference to one that is gone
            self._news.notify()

    def close(self) -> None:
        """Write what waits, say that it ends here, and close. Raises DeviceError when that was not possible."""
        with self._news:
            if self._closing:
                return
            self._news.wait_for(lambda: not (self._wipes or self._wiping) or self._error is not None, CLOSE_S)
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
        self._append_decided(tick.index, inbox, out)
        journal.json(tick.index, {"t_ns": tick.t_ns, "gap": tick.gap_samples})

    def _append_attended(self, index: int, inbox: Sequence[Inbox], out: Out) -> None:
        self._append_decided(index, inbox, out)
        self._journal.json(index, ATTENDED)

    def _append_decided(self, index: int, inbox: Sequence[Inbox], out: Out) -> None:
        journal = self._journal
        for event in inbox:
            journal.event(index, event)
        for action in out.actions:
            journal.action(index, action)
        if out.tokens:
            journal.tokens(index, out.tokens)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._journal.waiting_bytes and not self._wipes and not self._closing:
                    self._news.wait()
                data, last = self._journal.take(), self._closing
                wipes, self._wipes = self._wipes, []
                self._wiping = bool(wipes)
            try:
                self._write(data)
                if wipes:
                    self._wipe(wipes)
            except OSError as error:
                with self._news:
                    self._error = error
                    self._news.notify_all()
                return
            if last:
                return

    def _wipe(self, wipes: Sequence[tuple[Forgotten, Json]]) -> None:
        """The file as if what is forgotten had never been in it."""
        try:
            recording = read(self.path.read_bytes())
            records = list(recording.records)
            for forgotten, state in wipes:
                records = wiped(records, Stretch(forgotten.since_ns, forgotten.until_ns), forgotten, state)
            write_whole(self.path, recording.header, records, recording.complete)
            self._file.close()
            self._file = self.path.open("ab", buffering=0)
        except (OSError, LiveAgentError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise OSError(errno.EIO, f"{said}, and what was to be forgotten is still in it") from error
        with self._news:
            self._journal.records += len(records) - len(recording.records)
            self._wiping = False
            self._news.notify_all()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
