"""The contract `liveagent/v1` between an agent and a robot: every message, every topic, what an id may be.

    liveagent/v1/<site>/<robot>/
      connection      robot, kept by the broker    Connection     who is there, and in which epoch; the last will
      describe        robot, kept by the broker    Describe       what it can do, and within which limits
      cmd             agent                        Command        do this once, until then
      action/<id>     robot                        ActionUpdate   what became of a command
      cancel          agent                        Cancel         end one command, or "*"
      stop            anyone                       Stop           a software stop: latched, never refused, never late
      stop/ack        robot                        StopAck
      stop/reset      an operator                  Reset          the only way out of a stop
      lease           agent, 10 a second           Lease          "I am here and I drive"
      lease/echo      robot                        LeaseEcho      who drives, and what the two clocks say
      vel             agent, 10 to 20 a second     Velocity       speeds, good for 200 ms
      chunk           agent, 2 to 5 a second       Chunk          a stretch of actions for the robot's own loop
      state           robot, 10 to 50 a second     State
      camera/<name>/jpeg   robot                   a JPEG, bare

Both ends read this file, and nothing else of each other. Over a websocket the same messages travel as
`{"topic": "cmd", "payload": {…}}`, pictures as a binary frame of topic, newline, JPEG.

Times are milliseconds of Unix time on the clock of whoever sends; the robot learns from leases how far the agent's
clock is from its own. An epoch is one stretch of a robot's life without restart, stop or reset; it only grows, and what
was ordered for another one is refused. A grant is one unbroken lease; streams and motion name theirs, so that nothing
that was meant for before a gap moves anything after it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

PREFIX = "liveagent/v1"
SCHEMA = "liveagent.robot/1"

LEASE_PERIOD_MS = 100
LEASE_WINDOW_MS = 300
VELOCITY_WINDOW_MS = 200
START_DEADLINE_MS = 1000
MOST_SKEW_MS = 100.0
DUPLICATES_S = 600.0

MOST_ORDER_BYTES = 64 << 10
MOST_CHUNK_BYTES = 256 << 10
MOST_DESCRIBE_BYTES = 256 << 10
MOST_PICTURE_BYTES = 4 << 20
MOST_TOOLS = 64
MOST_SCHEMA_DEPTH = 16
MOST_SCHEMA_BYTES = 16 << 10
MOST_STEPS = 500
MOST_AXES = 64

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""Of a site, a robot, a command, a session: nothing that means something in a topic, and nothing long."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Ms = Annotated[float, Field(ge=0, le=1e14, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Words = Annotated[str, Field(max_length=500)]
Range = tuple[Number, Number]
Step = Annotated[list[Number], Field(min_length=1, max_length=MOST_AXES)]
Risk = Literal["observe", "reversible", "hazard", "forbidden"]


class ContractError(ValueError):
    """The peer sent what the contract does not allow. Says what, never what was in it."""


class Status(StrEnum):
    """Of a command, in VDA 5050's words."""

    WAITING = "WAITING"
    INITIALIZING = "INITIALIZING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    RETRIABLE = "RETRIABLE"
    FINISHED = "FINISHED"
    FAILED = "FAILED"

    @property
    def ends(self) -> bool:
        """Whether nothing comes after it."""
        return self in (Status.FINISHED, Status.FAILED, Status.RETRIABLE)


class Reason(StrEnum):
    """Why a command failed, a lease was not granted, or a robot holds."""

    EXPIRED = "EXPIRED"  # it came, or ended, after its deadline
    DUPLICATE = "DUPLICATE"  # another command has this id
    STOPPED = "STOPPED"  # a stop is latched
    LIMIT = "LIMIT"  # out of range, too many, too often
    NOT_CONFIRMED = "NOT_CONFIRMED"
    STALE_EPOCH = "STALE_EPOCH"
    CANCELLED = "CANCELLED"
    NO_LEASE = "NO_LEASE"  # whoever ordered it does not drive, or no longer
    CLOCK_SKEW = "CLOCK_SKEW"  # the two clocks are too far apart to tell late from early
    UNKNOWN_TOOL = "UNKNOWN_TOOL"
    BAD_ARGS = "BAD_ARGS"
    BUSY = "BUSY"
    CONFLICT = "CONFLICT"  # two robots say that they are this one
    LINK = "LINK"  # the way from agent to robot is broken
    STARVED = "STARVED"  # a stream ended without its end
    ERROR = "ERROR"  # the robot's own


class _Order(BaseModel):
    """What makes a robot do something: unknown fields are refused, since one of them may be the one that matters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Report(BaseModel):
    """What a robot tells; it may tell more than we know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Connection(_Report):
    """`boot`: made up at each start, so that two robots under one name can be told apart."""

    state: Literal["ONLINE", "OFFLINE", "CONNECTION_BROKEN", "CONFLICT"]
    epoch: Count
    boot: Id
    stop_id: Id | None = None


class ToolSpec(_Report):
    """One thing that a robot can do. `motion`: it moves, so whoever orders it must hold the lease."""

    name: Name
    description: Annotated[str, Field(min_length=1, max_length=1024)]
    parameters: dict[str, Any] = Field(default_factory=dict)
    risk: Risk = "reversible"
    motion: bool = True
    phrases: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=32)] = Field(default_factory=list)
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    cancel_on_barge_in: bool = False

    @field_validator("parameters", mode="before")
    @classmethod
    def _shallow(cls, value: Any) -> Any:
        if depth(value) > MOST_SCHEMA_DEPTH:
            raise ValueError(f"a schema nested deeper than {MOST_SCHEMA_DEPTH}")
        if len(json.dumps(value, default=str)) > MOST_SCHEMA_BYTES:
            raise ValueError(f"a schema longer than {MOST_SCHEMA_BYTES} bytes")
        return value


class LimitsSpec(_Report):
    """What the robot keeps to, whatever it is told; an agent mirrors it for better errors. Speeds in units a second."""

    speed: Annotated[dict[Name, Number], Field(max_length=MOST_AXES)] = Field(default_factory=dict)
    acceleration: Annotated[dict[Name, Number], Field(max_length=MOST_AXES)] = Field(default_factory=dict)
    box: Annotated[dict[Name, Range], Field(max_length=3)] = Field(default_factory=dict)
    joints: Annotated[dict[Name, Range], Field(max_length=MOST_AXES)] = Field(default_factory=dict)
    joint_step: Number | None = None
    rate_per_s: Number = 10.0
    tools: Annotated[list[Name], Field(max_length=MOST_TOOLS)] | None = None


class CameraSpec(_Report):
    name: Name
    width: Annotated[int, Field(gt=0, le=8192)] | None = None
    height: Annotated[int, Field(gt=0, le=8192)] | None = None
    fps: Annotated[float, Field(gt=0, le=120)] = 10.0


class Describe(_Report):
    """`standstill_ms`: from a zero setpoint until it stands, as declared by who built it; `ramp_ms`: from losing its
    driver's lead to a zero setpoint. `chunk`: what a chunk's columns are. `axes`: what a velocity's are."""

    # `schema` is a method of pydantic's; the field is called so on the wire alone.
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    schema_: Literal["liveagent.robot/1"] = Field(default="liveagent.robot/1", alias="schema")
    site: Id
    robot: Id
    boot: Id
    description: Words = ""
    features: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list)
    tools: Annotated[list[ToolSpec], Field(max_length=MOST_TOOLS)] = Field(default_factory=list)
    limits: LimitsSpec = Field(default_factory=LimitsSpec)
    axes: Annotated[list[Name], Field(max_length=MOST_AXES)] = Field(default_factory=list)
    joints: Annotated[list[Name], Field(max_length=MOST_AXES)] = Field(default_factory=list)
    chunk: Literal["position", "velocity"] | None = None
    frames: Annotated[list[CameraSpec], Field(max_length=8)] = Field(default_factory=list)
    tick_hz: Annotated[float, Field(gt=0, le=1000)] = 50.0
    standstill_ms: Ms = 0.0
    ramp_ms: Ms = 0.0

    @field_validator("tools")
    @classmethod
    def _one_of_each(cls, tools: list[ToolSpec]) -> list[ToolSpec]:
        if len({tool.name for tool in tools}) < len(tools):
            raise ValueError("two tools of one name")
        return tools


class Command(_Order):
    """Do this, once. `deadline_ms`: when it must have begun. `grant`: of the lease under which it moves. `dry_run`:
    answer whether it would be done, and do not; the tool `noop` does nothing either way."""

    id: Id
    tool: Name
    args: dict[str, Any] = Field(default_factory=dict)
    sent_ms: Ms
    deadline_ms: Ms
    epoch: Count
    session: Id
    grant: Count | None = None
    confirm_token: Annotated[str, Field(max_length=200)] | None = None
    dry_run: bool = False

    @property
    def digest(self) -> str:
        """Of what it asks for, whenever and by whomever."""
        return digest(self.tool, self.args)


class ActionUpdate(_Report):
    """`duplicate`: the command came again, and this is what became of it the first time. `seq` grows."""

    id: Id
    status: Status
    progress: Annotated[float, Field(ge=0, le=1)] = 0.0
    result: Any = None
    reason: Reason | None = None
    detail: Words = ""
    duplicate: bool = False
    seq: Count = 0
    epoch: Count = 0
    at_ms: Ms = 0.0


class Cancel(_Order):
    """`id`: of a command, or "*" for all. Speech that is cut off sends none of these by itself."""

    id: Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$")]
    session: Id
    reason: Words = ""


class Stop(_Order):
    """A software stop. `src`: spoken, typed, page, watch, … `dry_run`: answer, and do not stop."""

    id: Id
    reason: Words = ""
    src: Words = ""
    sent_ms: Ms = 0.0
    dry_run: bool = False


class StopAck(_Report):
    """`stop_id`: what is latched now, which is what a reset must name. `at_ms`: when the setpoint was zero."""

    id: Id
    stop_id: Id | None = None
    epoch: Count
    at_ms: Ms
    dry_run: bool = False


class Reset(_Order):
    id: Id
    stop_id: Id


class Lease(_Order):
    """A heartbeat. `offset_ms`: how far the robot's clock is ahead of the agent's, as the agent has it from echoes;
    `rtt_ms`: the round trip in which it learnt that."""

    session: Id
    epoch: Count
    seq: Count
    sent_ms: Ms
    deadline_ms: Ms
    offset_ms: Annotated[float, Field(ge=-1e14, le=1e14)] | None = None
    rtt_ms: Ms | None = None


class LeaseEcho(_Report):
    """`grant`: of the lease that is held by `holder`, whoever that is."""

    session: Id
    seq: Count
    sent_ms: Ms
    received_ms: Ms
    granted: bool
    grant: Count
    holder: Id | None = None
    epoch: Count = 0
    reason: Reason | None = None


class _Stream(_Order):
    seq: Count
    epoch: Count
    session: Id
    grant: Count
    sent_ms: Ms
    deadline_ms: Ms


class Velocity(_Stream):
    """Speeds by axis; axes that are left out are zero."""

    axes: Annotated[dict[Name, Number], Field(max_length=MOST_AXES)]


class Chunk(_Stream):
    """Actions for t0, t0 + dt, …; what lies before action number `replaces_from` is left as it was planned before.
    `last`: nothing follows, so running out of it is no fault."""

    t0_ms: Ms
    dt_ms: Annotated[float, Field(ge=1, le=1000)]
    actions: Annotated[list[Step], Field(min_length=1, max_length=MOST_STEPS)]
    replaces_from: Annotated[int, Field(ge=0, le=MOST_STEPS)] = 0
    last: bool = False


class State(_Report):
    """`joints`: by name. `pose`: x, y, z, yaw in metres and radians, as far as it has them. `applied`: the setpoint
    that the robot gives its motors, after all limits. `refused`: how much of streams was refused, by reason, since
    nobody is answered about those. `more`: what this robot alone knows, plain values."""

    t_ms: Ms
    seq: Count
    epoch: Count
    boot: Id
    stop_id: Id | None = None
    holder: Id | None = None
    grant: Count = 0
    hold: Reason | None = None
    joints: Annotated[dict[Name, Number], Field(max_length=MOST_AXES)] = Field(default_factory=dict)
    pose: Annotated[dict[Name, Number], Field(max_length=16)] = Field(default_factory=dict)
    applied: Annotated[dict[Name, Number], Field(max_length=MOST_AXES)] = Field(default_factory=dict)
    actions: Annotated[list[Id], Field(max_length=64)] = Field(default_factory=list)
    starved_ticks: Count = 0
    refused: Annotated[dict[Name, Count], Field(max_length=32)] = Field(default_factory=dict)
    more: Annotated[dict[Name, Any], Field(max_length=64)] = Field(default_factory=dict)


M = TypeVar("M", bound=BaseModel)


def topic(site: str, robot: str, tail: str) -> str:
    """The whole topic. ContractError for what cannot be in one."""
    return f"{PREFIX}/{checked(site)}/{checked(robot)}/{tail}"


def tail(whole: str, site: str, robot: str) -> str | None:
    """What follows the robot in a topic; None for another robot's."""
    top = f"{PREFIX}/{site}/{robot}/"
    return whole.removeprefix(top) if whole.startswith(top) else None


def named(whole: str) -> tuple[str, str, str] | None:
    """Site, robot and the rest of a topic; None for one that is not of this contract."""
    parts = whole.split("/", 4)
    if len(parts) < 5 or "/".join(parts[:2]) != PREFIX or not all(map(ID.fullmatch, parts[2:4])):
        return None
    return parts[2], parts[3], parts[4]


def checked(name: str) -> str:
    """The same id. ContractError for what none may be: wildcards, $, /, blanks, more than 64 characters."""
    if not isinstance(name, str) or not ID.fullmatch(name):
        raise ContractError(f"{name!r:.80} cannot be an id; use up to 64 letters, digits, _ . and -")
    return name


def read(kind: type[M], payload: str | bytes, most_bytes: int = MOST_ORDER_BYTES) -> M:
    """A message. ContractError for what is none."""
    if len(payload) > most_bytes:
        raise ContractError(f"{kind.__name__}: {len(payload)} bytes; {most_bytes} are the most")
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        raise ContractError(f"{kind.__name__}: not JSON") from None
    if depth(value) > MOST_SCHEMA_DEPTH + 8:
        raise ContractError(f"{kind.__name__}: nested too deep")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ContractError(f"{kind.__name__}: {where:.80}: {first['msg']:.200}") from None


def write(message: BaseModel) -> bytes:
    return message.model_dump_json(exclude_none=True, by_alias=True).encode()


def depth(value: Any, most: int = 64) -> int:
    """How deep lists and objects are nested, counted no further than `most`; without recursion."""
    level, layer = 0, [value]
    while layer and level <= most:
        nests = [one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list)]
        level += bool(nests)
        layer = [each for nest in nests for each in nest]
    return level


def digest(tool: str, args: Mapping[str, Any]) -> str:
    """Of a call's exact arguments."""
    body = json.dumps([tool, args], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(body.encode()).hexdigest()[:32]


def confirm_token(key: bytes, command_id: str, tool: str, args: Mapping[str, Any], expires_ms: float) -> str:
    """That somebody confirmed exactly this call: for one command, these arguments, until then."""
    signed = f"{command_id}|{digest(tool, args)}|{expires_ms:.0f}"
    return f"{expires_ms:.0f}.{hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()}"


def is_confirmed(key: bytes, command: Command, now_ms: float) -> bool:
    """Whether its token is good; `now_ms` on the clock of whoever made the token."""
    token = command.confirm_token or ""
    expires, _, _ = token.partition(".")
    if not expires.isdigit() or float(expires) < now_ms:
        return False
    good = confirm_token(key, command.id, command.tool, command.args, float(expires))
    return hmac.compare_digest(good, token)
