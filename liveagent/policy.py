"""What a call may do, decided outside the model: risk, rates, ranges, lists, and who may say yes.

    Agent(..., policy=Policy(limits={"heat": Limits(risk="hazard", ranges={"celsius": (5, 24)}, per_minute=2)}))

A tool says how much is at risk (`risk=`), and a policy may only be stricter. What is a hazard waits for a person, who
is shown the exact arguments and answers by button, key or phone: with a token that was given to their link alone, is
good for one answer to one question, and for fifteen seconds at most. Nothing that is heard, typed into the
conversation, seen, or returned by a tool can hold such a token, so none of it can release a call, whatever the model
makes of it.

Nothing here reads a clock or makes up a token: both are given.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from liveagent.errors import ConfigError
from liveagent.jsonform import Json

Risk: TypeAlias = Literal["observe", "reversible", "hazard", "forbidden"]
"""observe: reads, and changes nothing. reversible: what it does can be undone. hazard: it cannot, or somebody may be
hurt or locked out; a person confirms each call. forbidden: never called."""
RISKS: tuple[Risk, ...] = get_args(Risk)

LONGEST_CONFIRM_S = 15.0
MOST_QUESTIONS = 3
"""Questions that may be open in one conversation: more than a person can read is consent to nothing."""
WRONG_TOKENS = 3
"""After so many wrong answers a question is closed."""
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy says of one tool. `risk`: a stricter one than its own. `per_second`, `per_minute`: how often it is
    called at most; None for the policy's own. `ranges`: the least and the most that a number may be. `only`: the values
    that an argument may have."""

    risk: Risk | None = None
    per_second: int | None = None
    per_minute: int | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    only: Mapping[str, Collection[str | int | float | bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.risk is not None and self.risk not in RISKS:
            raise ConfigError(f"Limits(risk={self.risk!r}): use one of {', '.join(RISKS)}")
        for name in ("per_second", "per_minute"):
            _check_rate(name, getattr(self, name))
        for argument, (low, high) in self.ranges.items():
            if not low <= high:
                raise ConfigError(f"Limits(ranges): {argument} goes from {low} to {high}; the least comes first")


@dataclass(frozen=True, slots=True)
class Policy:
    """One agent's. `allow`: the tools that may be called, None for all it has. `limits`: by a tool's name.
    `per_second`, `per_minute`: how often any one tool is called at most. `confirm_s`: how long a question is open.
    A tool named `stop` that needs no argument is never held back."""

    allow: Collection[str] | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    per_second: int = 8
    per_minute: int = 120
    confirm_s: float = LONGEST_CONFIRM_S

    def __post_init__(self) -> None:
        if isinstance(self.allow, str):
            raise ConfigError("Policy(allow=) wants a list of tools' names, not one string")
        _check_rate("per_second", self.per_second)
        _check_rate("per_minute", self.per_minute)
        if not 0 < self.confirm_s <= LONGEST_CONFIRM_S:
            raise ConfigError(f"Policy(confirm_s={self.confirm_s}): more than 0, and {LONGEST_CONFIRM_S:.0f} at most")

    def risk(self, name: str, own: Risk) -> Risk:
        """What is at risk when the tool of that name is called, whose own word is `own`."""
        limits = self.limits.get(name)
        if limits is None or limits.risk is None:
            return own
        return RISKS[max(RISKS.index(own), RISKS.index(limits.risk))]


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may be sent."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The call may be sent once a person has said yes to exactly these arguments."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The call is not sent. `why` is worded for the model."""

    reason: Literal["forbidden", "not_allowed", "range", "value", "rate"]
    why: str


Decision: TypeAlias = Allowed | Confirm | Refused


class Judge:
    """Applies a policy to one conversation's calls, which it counts."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._called: dict[str, deque[int]] = {}

    def judge(self, name: str, risk: Risk, args: Mapping[str, Json], t_ns: int) -> Decision:
        """Whether the tool `name`, whose own word on it is `risk`, may be called with `args`, which are valid, at
        `t_ns`. What is not refused counts as called."""
        policy = self.policy
        risk = policy.risk(name, risk)
        if risk == "forbidden":
            return Refused("forbidden", f"{name} is never called")
        if policy.allow is not None and name not in policy.allow:
            return Refused("not_allowed", f"{name} is not among what may be called here")
        limits = policy.limits.get(name, Limits())
        for argument, (low, high) in limits.ranges.items():
            value = args.get(argument)
            if value is not None and not (_is_number(value) and low <= value <= high):  # type: ignore[operator]
                return Refused("range", f"{name}: {argument} must be from {low:g} to {high:g}")
        for argument, only in limits.only.items():
            value = args.get(argument)
            if value is not None and not any(type(each) is type(value) and each == value for each in only):
                return Refused("value", f"{name}: {argument} may only be {', '.join(map(str, only))}")
        if name == "stop" and not args:
            return Allowed()
        if not self._count(name, limits, t_ns):
            return Refused("rate", f"{name} was called too often; wait")
        return Confirm() if risk == "hazard" else Allowed()

    def _count(self, name: str, limits: Limits, t_ns: int) -> bool:
        per_second = self.policy.per_second if limits.per_second is None else limits.per_second
        per_minute = self.policy.per_minute if limits.per_minute is None else limits.per_minute
        called = self._called.setdefault(name, deque())
        while called and called[0] <= t_ns - MINUTE_NS:
            called.popleft()
        if len(called) >= per_minute or sum(each > t_ns - SECOND_NS for each in called) >= per_second:
            return False
        called.append(t_ns)
        return True


@dataclass(frozen=True, slots=True)
class Question:
    """A hazard that waits for a person. `digest` is that of the tool's name and the exact arguments."""

    call_id: str
    name: str
    args: Mapping[str, Json]
    digest: str
    expires_ns: int


@dataclass(slots=True)
class _Open:
    question: Question
    token: bytes
    wrong: int = 0


Answered: TypeAlias = Literal["yes", "no", "unknown", "expired", "wrong", "changed", "closed"]
"""What came of an answer: "wrong" is a token that is none or another's, "changed" says that the call is not any more
what was asked about, "closed" that too many answers were wrong."""


class Confirmations:
    """One conversation's open questions. `fresh` makes a token that nobody can guess."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        self._fresh = fresh
        self._open: dict[str, _Open] = {}

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(each.question for each in self._open.values())

    def ask(self, call_id: str, name: str, args: Mapping[str, Json], expires_ns: int) -> tuple[Question, str] | None:
        """A question, and the token that answers it, for the link of whoever is to be asked. None: enough is asked."""
        if len(self._open) >= MOST_QUESTIONS or call_id in self._open:
            return None
        question = Question(call_id, name, dict(args), digest_of(name, args), expires_ns)
        token = self._fresh()
        self._open[call_id] = _Open(question, _hashed(token))
        return question, token

    def again(self, call_id: str) -> str | None:
        """Another token for the same question, for another link; the one before is worth nothing any more."""
        found = self._open.get(call_id)
        if found is None:
            return None
        token = self._fresh()
        found.token = _hashed(token)
        return token

    def answer(self, call_id: str, token: str, yes: bool, name: str, args: Mapping[str, Json], t_ns: int) -> Answered:
        """What a person said, with the call as it is now. An answer that counts is the only one."""
        found = self._open.get(call_id)
        if found is None:
            return "unknown"
        if t_ns >= found.question.expires_ns:
            del self._open[call_id]
            return "expired"
        if not hmac.compare_digest(found.token, _hashed(token)):
            found.wrong += 1
            if found.wrong < WRONG_TOKENS:
                return "wrong"
            del self._open[call_id]
            return "closed"
        del self._open[call_id]
        if found.question.digest != digest_of(name, args):
            return "changed"
        return "yes" if yes else "no"

    def drop(self, call_id: str) -> None:
        """The question is not asked any more."""
        self._open.pop(call_id, None)


def digest_of(name: str, args: Mapping[str, Json]) -> str:
    """The same for the same call and no other, whatever order its arguments have."""
    written = json.dumps([name, dict(args)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_rate(name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigError(f"{name}={value!r}: give a whole number from 0")
