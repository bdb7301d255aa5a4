"""A recording, run again: the same ticks through the same session, and what it decided then beside what it decides now.

Replay opens no device, calls no tool and waits for nothing: what came from the world is in the recording.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveagent.action import Action
from liveagent.action import to_json as action_json
from liveagent.agent import Agent
from liveagent.audio import Samples, Tick
from liveagent.errors import ConfigError, ProtocolError
from liveagent.event import Event, Inbox
from liveagent.film import Film
from liveagent.journal import ATTENDED, Header, Recording, read
from liveagent.jsonform import Json
from liveagent.manners import Manners
from liveagent.plan import MOST_TOKENS
from liveagent.runtime.answer import Out
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.forget import State
from liveagent.runtime.listener import Listener
from liveagent.runtime.open_model import load_nets, read_model
from liveagent.runtime.record import header_of
from liveagent.runtime.session import SILENT_SAMPLES, Session, SessionConfig
from liveagent.runtime.weighing import is_checkpoint_name
from liveagent.stretch import seals, states
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets


MAX_LANES = 256
MAX_SLOTS = 1 << 16
SHOWN = 200


@dataclass(slots=True)
class RecordedTick:
    """One tick as it was: the input, and what the session made of it. `attended`: what was attended to before it, each
    time; what came of that is in `out`, before what came of the tick."""

    tick: Tick
    reference: Samples = field(default_factory=lambda: SILENT_SAMPLES)
    frame: VideoFrame | None = None
    inbox: list[Inbox] = field(default_factory=list)
    out: Out = field(default_factory=Out)
    attended: list[list[Inbox]] = field(default_factory=list)

    @property
    def came_in(self) -> list[Inbox]:
        return [*(event for inbox in self.attended for event in inbox), *self.inbox]

    async def again(self, session: Session) -> Out:
        """Let a session live through it."""
        out = Out()
        for inbox in self.attended:
            out.extend(await session.attend(inbox))
        out.extend(await session.tick(self.tick, self.inbox, self.reference, self.frame))
        return out


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that came out otherwise."""

    tick: int
    was: str
    now: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay gave. `events` and `actions` are those of now, with their ticks."""

    header: Header
    ticks: int
    trouble: str
    warnings: tuple[str, ...]
    tokens: int
    difference: Difference | None
    events: tuple[tuple[int, Event], ...]
    actions: tuple[tuple[int, Action], ...]
    sealed: int = 0
    """Ticks that were not decided again, because what they were about is forgotten."""

    @property
    def equal(self) -> bool:
        return self.difference is None


def ticks_of(recording: Recording) -> Iterator[RecordedTick]:
    """The recording, tick by tick. A last tick that is not whole is left out. ProtocolError for damaged records."""
    at, sounds, frame, inbox, out = -1, list[Samples](), None, list[Inbox](), Out()
    attended = list[list[Inbox]]()
    film = Film()
    for record in recording.records:
        if record.tick != at:
            at, sounds, frame, inbox, out, attended = record.tick, [], None, [], Out(), []
        if record.kind == "audio":
            sounds.append(record.samples)
        elif record.kind == "picture":
            frame = film.read(record.payload)
        elif record.kind == "event":
            inbox.append(record.event)  # type: ignore[arg-type]  # only the inbox is recorded
        elif record.kind == "action":
            out.actions.append(record.action)
        elif record.kind == "tokens":
            out.tokens += record.tokens
        elif record.kind == "json" and record.json == ATTENDED:
            attended.append(inbox)
            inbox = []
        elif record.kind == "json":  # closes a tick
            value = record.json
            if not sounds or not isinstance(value, dict):
                raise ProtocolError(f"recording: tick {at} has no sound")
            t_ns, gap = value.get("t_ns"), value.get("gap")
            if not isinstance(t_ns, int) or not isinstance(gap, int):
                raise ProtocolError(f"recording: tick {at} has no time")
            tick = Tick(at, sounds[0], t_ns, gap)
            reference = sounds[1] if len(sounds) > 1 else SILENT_SAMPLES
            yield RecordedTick(tick, reference, frame, inbox, out, attended)


def config_of(header: Header) -> SessionConfig:
    """The settings that the recorded session had. ConfigError for settings that this version does not know."""
    settings = header.more.get("settings")
    try:
        if not isinstance(settings, dict):
            raise TypeError("it names no settings")
        given = dict(settings)
        manners = given.pop("manners", {})
        if not isinstance(manners, dict):
            raise TypeError("its manners are no object")
        config = SessionConfig(**_typed(SessionConfig(), given), manners=Manners(**_typed(Manners(), manners)))
    except TypeError as error:
        raise ConfigError(f"the recording was made by another version of liveagent: {error}") from error
    most = MOST_TOKENS if "model" in header.more else MAX_SLOTS
    if not 1 <= config.slots <= most or not 4 <= header.lanes <= MAX_LANES:
        raise ConfigError(f"the recording wants {config.slots} slots and {header.lanes} lanes: no session has so many")
    return config


def _typed(known: SessionConfig | Manners, given: dict[str, Json]) -> dict[str, Any]:
    """Values from a header, each of the type that its setting has. TypeError."""
    kinds = {each.name: type(getattr(known, each.name)) for each in fields(known)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is None:
            raise TypeError(f"it has a setting {name!r}, which this version does not know")
        if kind is frozenset and isinstance(value, list) and all(isinstance(each, str) for each in value):
            values[name] = frozenset(str(each) for each in value)
        elif kind is float and type(value) is int or type(value) is kind:
            values[name] = value
        else:
            raise TypeError(f"its setting {name!r} is of another kind")
    return values


def load(path: Path) -> Recording:
    """Read a recording. ConfigError when there is none, or it cannot be read."""
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


async def run(session: Session, recording: Recording) -> Report:
    """Feed a recording's ticks to an open session and compare."""
    difference: Difference | None = None
    sealed = {tick for first, last in seals(recording.records) for tick in range(first, last + 1)}
    known = states(recording.records)
    passed = 0
    events: list[tuple[int, Event]] = []
    actions: list[tuple[int, Action]] = []
    tokens = count = 0
    for each in ticks_of(recording):
        if each.tick.index in sealed:  # decided by a session that knew what is forgotten
            passed += 1
            events += ((each.tick.index, event) for event in each.came_in)
            actions += ((each.tick.index, action) for action in each.out.actions)
            if (state := known.get(each.tick.index)) is not None:
                await session.restore(State.from_json(state))
            continue
        try:
            out = await each.again(session)
        except ProtocolError:
            if difference is None:
                raise
            break  # what the world answered then does not fit what is said now: there is nothing left to compare
        count += 1
        tokens += len(out.tokens)
        events += ((each.tick.index, event) for event in (*each.came_in, *out.events))
        actions += ((each.tick.index, action) for action in out.actions)
        if difference is None and (out.actions, out.tokens) != (each.out.actions, each.out.tokens):
            difference = difference_of(each, out)
    header, trouble = recording.header, recording.trouble
    return Report(header, count, trouble, (), tokens, difference, tuple(events), tuple(actions), passed)


def difference_of(each: RecordedTick, out: Out) -> Difference:
    for was, now in zip(each.out.actions, out.actions, strict=False):
        if was != now:
            return Difference(each.tick.index, action_json(was)[:SHOWN], action_json(now)[:SHOWN])
    if len(each.out.actions) != len(out.actions):
        return Difference(each.tick.index, f"{len(each.out.actions)} actions", f"{len(out.actions)} actions")
    return Difference(each.tick.index, f"tokens {each.out.tokens}", f"tokens {out.tokens}")


class Stage:
    """What a recording is played on again: its agent, weights and settings, as they are here and now. `named`: a folder
    or a hub's name to take the weights from, instead of where they were. `warnings`: what of them is not as it was.
    ConfigError: for settings that this version does not know, and for weights of another checkpoint than it was
    recorded with, before they are loaded."""

    def __init__(
        self, recording: Recording, agent: Agent | None = None, model: Nets | None = None, named: str | None = None
    ) -> None:
        from liveagent.load import load_agent

        header = self.header = recording.header
        self.agent = agent or _with_model(load_agent(str(header.more.get("origin", "voice"))), header, named)
        self.model = model or _load(self.agent, header)
        self.config = config_of(header)
        listener = self._listener()
        now = header_of(self.agent, self.model, header.lanes, self.config, "", listener.has_recogniser)
        warnings = tuple(
            f"recorded with {name} {getattr(header, name)}, here it is {getattr(now, name)}"
            for name in ("liveagent", "torch", "instruction_set", "dtype", "seed", "agent", "weights")
            if getattr(header, name) != getattr(now, name)
        )
        ran, runs = header.more.get("device", "cpu"), now.more["device"]
        if ran != runs:
            warnings += (f"recorded on {ran}, here it runs on {runs}",)
        rounded, rounds = header.more.get("quantize"), now.more.get("quantize")
        if rounded != rounds:
            warnings += (f"recorded with quantize {rounded or 'none'}, here it is {rounds or 'none'}",)
        if bool(header.more.get("recogniser")) != listener.has_recogniser:
            with_, without = ("here", "then") if listener.has_recogniser else ("then", "here")
            warnings += (f"PocketSphinx listened {with_}, and not {without}",)
        elif header.more.get("hears") != now.more["hears"]:
            warnings += (f"heard with {header.more.get('hears')}, here it is {now.more['hears']}",)
        self.warnings = warnings

    def _listener(self) -> Listener:
        return Listener.of(self.agent, self.model, use_recogniser=bool(self.header.more.get("recogniser", False)))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One that has lived through nothing yet."""
        engine = Engine(Core(self.model, self.header.lanes, self.config.slots))
        try:
            session = Session(self.agent, self.model, Lane(engine, engine.open()), self._listener(), self.config)
            await session.open()
            yield session
        finally:
            engine.close()


def _with_model(agent: Agent, header: Header, named: str | None) -> Agent:
    """The agent with the model that a session was recorded with, as precise as it was. Raises as `Agent.fetch`."""
    more = header.more
    was = more.get("model")
    if named is None and was is None:
        return agent
    if named is None and not Path(str(was)).exists():
        raise ConfigError(f"recorded with {was}, which is not here: give its folder or its hub's name as --model")
    given: dict[str, Any] = {"model": named or str(was)}
    if was is not None:
        quantize = more.get("quantize")
        given["quantize"] = None if quantize is None else str(quantize)
        given["dtype"] = header.dtype if is_checkpoint_name(given["model"]) else None
    return agent.replace(**given).fetch()


def _load(agent: Agent, header: Header) -> Nets:
    """Its weights. ConfigError where they are not those that a recording with an open model was made with."""
    folder = None if agent.model == "nano" else agent.model
    if "model" in header.more and (found := read_model(folder, agent.device).fingerprint) != header.weights:
        raise ConfigError(
            f"recorded with other weights ({header.weights}) than those of {agent.model} ({found}), which would decide "
            "otherwise: give the checkpoint that it was recorded with as --model"
        )
    return load_nets(folder, agent.device, agent.dtype, agent.quantize)


def replay(
    path: Path, check: bool = False, agent: Agent | None = None, model: Nets | None = None, named: str | None = None
) -> Report:
    """Replay a file. With `check`, a recording from another build, agent or weights raises ConfigError: its numbers
    cannot be expected to be the same; without, the differences in the header come back as warnings. One that was
    recorded with an open model is replayed with that very checkpoint or not at all; `named`: where it is now.
    """
    recording = load(path)
    stage = Stage(recording, agent, model, named)
    if check and stage.warnings:
        raise ConfigError("this recording cannot be checked here: " + "; ".join(stage.warnings))

    async def go() -> Report:
        async with stage.session() as session:
            return await run(session, recording)

    try:
        report = asyncio.run(go())
    except ProtocolError as error:
        raise ConfigError(f"{path} is damaged inside: {error}") from error
    return replace(report, warnings=stage.warnings)
