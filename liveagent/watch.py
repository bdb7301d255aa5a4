"""Watches: conditions that the agent waits for, and when each has come true.

    @watch("a red ball is on the table", hold_s=1)
    async def ball(sight, session):
        await session.say("There it is.")

A watch is asked as a yes/no question on the scratch branch each time a new picture is in the cache. `Watching` takes
the answers and says when to speak: two thresholds, so that an answer that wavers fires once; a time that the answer has
to hold; and re-arming only when the opposite has held as long. It reads no clock.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from liveagent.errors import ConfigError
from liveagent.spoken import spoken

Change: TypeAlias = Literal["appear", "leave", "move"]
WatchAction: TypeAlias = Callable[["Sighting", Any], Awaitable[None]]

MAX_WATCHES = 8
"""Of one session, the agent's and the said ones together: each costs a few decoder steps at each kept picture."""
MAX_WORDS = 24
MAX_HOLD_S = 3600.0
HIGH, LOW = 0.5, 0.4
MOVE_REST_S = 1.0
"""A thing that has not moved for so long may move again, and that is told again."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """What a watch's function is told: which watch, what changed, when its picture was taken, how likely (0 to 1) the
    condition is now, and the things in that picture, in words ("red ball")."""

    watch: str
    change: Change
    t_ns: int
    holds: float
    things: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Watch:
    """Something to wait for.

    `condition` is a sentence that is true or not of what is seen, in spoken form. `change`: "appear" when it becomes
    true (being true at the first look counts), "leave" when it stops being true, "move" for a condition that is true
    at the moment of a change ("the red ball moved"). `hold_s`: how long that must last before it counts. `again`: wait
    for the next time, too. `action`: what to do; None says a sentence made from the condition, or `text`.
    """

    name: str
    condition: str
    change: Change = "appear"
    hold_s: float = 0.0
    again: bool = True
    action: WatchAction | None = None
    text: str = ""

    def __post_init__(self) -> None:
        words = spoken(self.condition).split() if isinstance(self.condition, str) else []
        if not words:
            raise ConfigError(f"watch {self.name!r} has no condition: @watch(\"a red ball is on the table\")")
        if len(words) > MAX_WORDS:
            raise ConfigError(f"watch {self.name!r}: a condition of {len(words)} words; say it in {MAX_WORDS}")
        object.__setattr__(self, "condition", " ".join(words))
        if self.change not in get_args(Change):
            raise ConfigError(f"watch {self.name!r}: on={self.change!r}; use one of {', '.join(get_args(Change))}")
        hold = self.hold_s
        if isinstance(hold, bool) or not isinstance(hold, int | float) or not 0 <= hold <= MAX_HOLD_S:
            raise ConfigError(f"watch {self.name!r}: hold_s={hold!r}; give seconds from 0 to {MAX_HOLD_S:.0f}")

    async def __call__(self, sight: Sighting, session: Any) -> None:
        """Calls the function, as if it had no @watch above it."""
        if self.action is not None:
            await self.action(sight, session)

    @property
    def says(self) -> str:
        """What is said when it fires and nobody wrote a function for that."""
        if self.text:
            return self.text
        thing = self.condition.removesuffix(" is on the table")
        if thing != self.condition:
            the = "the " + thing.partition(" ")[2] if thing.startswith(("a ", "an ")) else thing
            said = f"{the} is {'gone' if self.change == 'leave' else 'there'}"
        else:
            said = f"no longer: {self.condition}" if self.change == "leave" else self.condition
        return f"{said[0].upper()}{said[1:]}."


def watch(
    condition: str, /, *, hold_s: float = 0.0, on: Change = "appear", again: bool = True, name: str | None = None
) -> Callable[[WatchAction], Watch]:
    """Make a watch of `async def ball(sight, session)`: it is called when `condition` has become true (`on` "appear"),
    has stopped being true ("leave"), or is true of a moment ("move"), and that has lasted `hold_s` seconds.

    `again=False`: only the first time. Raises ConfigError, which says what to mend.
    """

    def make(action: WatchAction) -> Watch:
        title = str(name or getattr(action, "__name__", ""))
        if not inspect.iscoroutinefunction(action):
            raise ConfigError(f"watch {title!r}: put @watch above an `async def {title or 'seen'}(sight, session)`")
        try:
            inspect.signature(action).bind(None, None)
        except TypeError:
            raise ConfigError(f"watch {title!r} is given two arguments: `async def {title}(sight, session)`") from None
        return Watch(title, condition, on, hold_s, again, action)

    if not isinstance(condition, str):
        raise ConfigError('@watch wants a condition: @watch("a red ball is on the table")')
    return make


def check_watches(watches: Sequence[Watch]) -> None:
    """Raises ConfigError for what is no watch, for two of one name, and for too many."""
    names: set[str] = set()
    for each in watches:
        if not isinstance(each, Watch):
            raise ConfigError(f"{getattr(each, '__name__', each)!r} is not a watch: put @watch(\"…\") above it")
        if each.name in names:
            raise ConfigError(f"two watches are named {each.name!r}: rename one, with @watch(..., name=...)")
        names.add(each.name)
    if len(watches) > MAX_WATCHES:
        raise ConfigError(f"{len(watches)} watches; each costs time at every picture, so at most {MAX_WATCHES}")


@dataclass(slots=True)
class WatchState:
    """`holds`: what stands (None before the first answer). `likely`: the newest answer, 0 to 1, given at `asked_ns`.
    `turning`: what it has been since `turning_ns`, other than `holds`; None while it agrees."""

    holds: bool | None = None
    likely: float = 0.5
    turning: bool | None = None
    turning_ns: int = 0
    asked_ns: int | None = None
    fired: int = 0


@dataclass(slots=True)
class Watching:
    """One watch and how it stands. `feed` takes an answer, `tick` lets time pass; True is when it fires."""

    watch: Watch
    state: WatchState = field(default_factory=WatchState)
    by_user: bool = False
    set_ns: int = 0

    @property
    def over(self) -> bool:
        """It has fired, and was to fire once."""
        return self.state.fired > 0 and not self.watch.again

    @property
    def waits(self) -> bool:
        """Whether an answer stands that has not held long enough yet."""
        return self.state.turning is not None

    def feed(self, t_ns: int, log_odds: float) -> bool:
        """The answer to the newest picture: log p(yes) − log p(no). NaN is no answer."""
        if math.isnan(log_odds):
            return False
        state = self.state
        state.likely = 1.0 / (1.0 + math.exp(min(60.0, max(-60.0, -log_odds))))
        state.asked_ns = t_ns
        said = True if state.likely >= HIGH else False if state.likely <= LOW else None
        if said is None or said == state.holds:
            state.turning = None
            return False
        if state.turning != said:
            state.turning, state.turning_ns = said, t_ns
        return self._turn(t_ns)

    def tick(self, t_ns: int) -> bool:
        """Nothing new was seen up to `t_ns`: what was answered last still stands."""
        state, asked_ns = self.state, self.state.asked_ns
        rested = asked_ns is not None and t_ns - asked_ns >= MOVE_REST_S * 1e9
        if self.watch.change == "move" and state.holds and rested:  # the moment of that movement is over
            state.holds = False
        return self._turn(t_ns)

    def _turn(self, t_ns: int) -> bool:
        state, watch = self.state, self.watch
        if state.turning is None or t_ns - state.turning_ns < watch.hold_s * 1e9:
            return False
        before, state.holds, state.turning = state.holds, state.turning, None
        if watch.change == "leave":
            fires = before is True and not state.holds
        elif watch.change == "move":
            fires = before is not None and state.holds
        else:
            fires = state.holds
        if fires and not self.over:
            state.fired += 1
            return True
        return False
