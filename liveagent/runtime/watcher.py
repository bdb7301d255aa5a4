"""What a session waits for: its watches asked at each kept picture, and what it says unprompted.

Each watch is a question on the scratch branch: the newest picture, read again on its own behind the prompt, then
`<event> a red ball is on the table <end>`, answered by `<yes>` or `<no>`. The branch sees no older picture, so that
what was there cannot be taken for what is, and no word of the conversation; it is dropped, so asking leaves no trace.

Where the condition is about one thing that the eye can name, eye and decoder must agree: the decoder is asked about
those cells of the picture alone that may hold the thing by the eye's reading (several, where it lies between them), and
the less sure of the two has the word. So a red cube beside a blue ball is no red ball. Whether such a thing moved is
read off its places in the newest two pictures. Any other condition is the decoder's alone: of the newest picture, or,
if it is that something moved, of all that the cache holds.

It is asked between turns and while somebody speaks, never inside a reply that is still being decoded: then as soon as
that has ended. What is to be said waits until nobody speaks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from liveagent.action import CallWatch
from liveagent.agent import Agent
from liveagent.errors import ConfigError, ProtocolError
from liveagent.event import Event, Noted, SayAsked, Watched, WatchFailed, WatchFired, WatchSet
from liveagent.news import NEAR_CELLS
from liveagent.runtime.answer import Answer
from liveagent.runtime.context import Context, Kept, Token
from liveagent.runtime.user_turn import UserTurn
from liveagent.runtime.work import Sights
from liveagent.sight import COLOUR, COUNT, GRID, SHAPE, Sight
from liveagent.sight import PLACE as SIGHT_PLACE
from liveagent.stretch import Stretch
from liveagent.watch import MAX_WATCHES, Watch, Watching, WatchState
from liveagent.wish import moving_thing, standing_thing, wish

if TYPE_CHECKING:
    from liveagent.nn.model import Model

WAITING_SAYINGS = 8
STALE_NS = 30_000_000_000
"""What could not be said for so long is not said any more."""
AGREED = "I will tell you."
ENDED = "All right, I stopped watching."
NOTHING = "I am not watching for anything."
FULL = f"I watch for {MAX_WATCHES} things already."
TOY_ONLY = "I only know the toy table yet."
SURE_NATS = 4.0
MAYBE, SEEN = 0.1, 0.4
SURE_BETWEEN, WHOLE = 0.65, 0.6
"""A thing that no cell has to more than WHOLE lies between cells, and is there if they have so much of it together."""
MISSING_NS = 1_500_000_000
WATCH_FIELDS = ("name", "condition", "change", "hold_s", "again", "text")


Place: TypeAlias = tuple[float, float]
Thing: TypeAlias = tuple[int | None, int | None]
"""A thing's places in COLOURS and SHAPES; None: whichever."""


def far(one: Place, other: Place) -> bool:
    """Whether two places are so far apart that what is there has moved."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > NEAR_CELLS


def cells_of(picture: Kept) -> list[Token]:
    """The tokens of a picture that are what the eye saw in a cell."""
    return [token for token in picture.tokens if isinstance(token.sense, Sights)]


def row_of(cell: Token) -> np.ndarray:
    assert isinstance(cell.sense, Sights)
    row: np.ndarray = cell.sense.sight[0]
    return row


def likely_there(row: np.ndarray, thing: Thing) -> float:
    """By the eye's own reading of a cell, how likely a thing is there. Where it saw several, its reading is their mean,
    and half of one is one."""
    colour, shape = thing
    nothing, _, several = (float(part) for part in row[COUNT])
    looks = 1.0 if colour is None else min(1.0, float(row[COLOUR][colour]) * (1.0 + several))
    looks *= 1.0 if shape is None else min(1.0, float(row[SHAPE][shape]) * (1.0 + several))
    return (1.0 - nothing) * looks


def odds(likely: float) -> float:
    """Log-odds of a probability, as sure as an eye may be."""
    return max(-SURE_NATS, min(SURE_NATS, math.log(max(likely, 1e-9) / max(1.0 - likely, 1e-9))))


@dataclass(frozen=True, slots=True)
class Picture:
    """The newest picture in the cache: when it was taken, and the things in it, in words."""

    t_ns: int
    things: tuple[str, ...] = ()


class Watcher:
    """The watches of one session. `seen` is told of pictures, `ask` asks, `tick` lets time pass, `next_words` is what
    to say now."""

    def __init__(self, agent: Agent, model: Model, context: Context, user: UserTurn, answer: Answer) -> None:
        self.agent, self.model, self.context, self.user, self.answer = agent, model, context, user, answer
        self.watchings = [Watching(each) for each in agent.watches]
        self.calls = 0
        self._picture: Picture | None = None
        self._due = False
        self._sayings: deque[tuple[int, str]] = deque(maxlen=WAITING_SAYINGS)
        self._called: dict[str, str] = {}  # of calls of functions: which watch's
        self._places: dict[str, tuple[Place | None, int | None]] = {}  # where what moves was last, and missing since

    @property
    def waits(self) -> bool:
        """Whether something is to be said."""
        return bool(self._sayings)

    # --- what a user asks for

    def hear(self, words: str, t_ns: int) -> str | None:
        """Arm or end what these words ask for, and what to answer; None when they ask for nothing of the kind."""
        if not self.model.sees:
            return None
        asked = wish(words)
        if asked is None:
            return None
        if asked.watch is None:
            said = [each for each in self.watchings if each.by_user]
            for each in said:
                self._end(each, t_ns)
            return ENDED if said else NOTHING
        if self.model.names_things and not asked.toy:  # what else nano's eye could be asked for it has not learnt
            return TOY_ONLY
        watch = asked.watch
        for each in [each for each in self.watchings if each.by_user and each.watch.name == watch.name]:
            self._end(each, t_ns)
        if len(self.watchings) >= MAX_WATCHES:
            return FULL
        self.watchings.append(Watching(watch, by_user=True, set_ns=t_ns))
        self._note(WatchSet(t_ns, watch.name, "user"))
        self._due = self._picture is not None
        return AGREED

    def _end(self, watching: Watching, t_ns: int) -> None:
        self.watchings.remove(watching)
        self._note(WatchSet(t_ns, watching.watch.name, "user" if watching.by_user else "agent", False))

    # --- what is seen

    def seen(self, t_ns: int, things: Sequence[str] = ()) -> None:
        """A picture taken at `t_ns` is in the cache now, behind everything else: the watches are to be asked."""
        self._picture, self._due = Picture(t_ns, tuple(things)), True

    async def ask(self, t_ns: int) -> None:
        """Ask what is due, if the cache is between two turns or in the user's."""
        reply, picture = self.answer.reply, self.context.newest_picture
        if not self._due or self._picture is None or not self.watchings or (reply is not None and not reply.ended):
            return
        self._due = False
        if picture is None:  # it has left the cache meanwhile
            return
        for each in list(self.watchings):
            fired = each.feed(self._picture.t_ns, await self._log_odds(each.watch, picture, t_ns))
            self._note(Watched(t_ns, each.watch.name, round(each.state.likely, 4)))
            if fired:
                self._fire(each, t_ns)

    async def _log_odds(self, watch: Watch, picture: Kept, t_ns: int) -> float:
        """Of the watch's condition being true of the newest picture."""
        template = self.model.template
        ids, want = template.watch(watch.condition), template.answers
        if watch.change != "move":
            standing = standing_thing(watch.condition) if self.model.names_things else None
            if standing is None:
                return await self._ask_alone(picture, ids)
            cells = [cell for cell in cells_of(picture) if likely_there(row_of(cell), standing) >= MAYBE]
            if not cells:
                return -SURE_NATS
            likely = [likely_there(row_of(cell), standing) for cell in cells]
            if sum(likely) >= SURE_BETWEEN and max(likely) < WHOLE:  # the decoder has read too few things between cells
                return odds(sum(likely))
            alone = await self._ask_alone(Kept(picture.span, (picture.tokens[0], *cells)), ids)
            return min(alone, odds(sum(likely)))
        thing = moving_thing(watch.condition) if self.model.names_things else None
        if thing is None:
            begun = await self.user.step_aside()
            yes, no = await self.context.probe(ids, want)
            await self.user.step_back(begun, t_ns)
            return yes - no
        seen_ns = picture.span.t_ns
        before, missing_ns = self._places.get(watch.name, (None, None))
        now = self._place(picture, thing)
        if now is None:  # perhaps another thing is in front of it for a moment
            missing_ns = seen_ns if missing_ns is None else missing_ns
            self._places[watch.name] = before, missing_ns
            return -SURE_NATS
        self._places[watch.name] = now, None
        lost = before is None or (missing_ns is not None and seen_ns - missing_ns > MISSING_NS)
        return SURE_NATS if not lost and before is not None and far(before, now) else -SURE_NATS

    async def _ask_alone(self, picture: Kept, ids: Sequence[int]) -> float:
        template = self.model.template
        yes, no = await self.context.probe_picture(picture, ids, template.answers)
        return yes - no

    @staticmethod
    def _place(picture: Kept, thing: Thing) -> Place | None:
        """Where the eye saw a thing, in cells from the top left of the picture; None when it is not surely there."""
        cells = [cell for cell in cells_of(picture) if likely_there(row_of(cell), thing) >= MAYBE]
        likely = [likely_there(row_of(cell), thing) for cell in cells]
        if sum(likely) < SEEN:
            return None
        cell = cells[max(range(len(cells)), key=likely.__getitem__)]
        assert isinstance(cell.sense, Sights)
        at, (x, y) = int(cell.sense.cells[0]), (0.5 + 0.5 * float(part) for part in row_of(cell)[SIGHT_PLACE])
        return at % GRID + x, at // GRID + y

    def tick(self, t_ns: int, sight: Sight | None = None) -> None:
        """A picture of `t_ns` was looked at and was no news: what was answered last still stands. `sight`: what the eye
        says of it; an answer that waits to have held is left waiting while the eye says otherwise."""
        if self._due:
            return
        for each in list(self.watchings):
            if not self._contradicts(sight, each) and each.tick(t_ns):
                self._fire(each, t_ns)

    @staticmethod
    def _contradicts(sight: Sight | None, watching: Watching) -> bool:
        thing, turning = standing_thing(watching.watch.condition), watching.state.turning
        if sight is None or thing is None or turning is None:
            return False
        return (sum(likely_there(row, thing) for row in sight) >= 0.5) != turning

    def _fire(self, watching: Watching, t_ns: int) -> None:
        watch, picture = watching.watch, self._picture
        assert picture is not None
        self._note(WatchFired(picture.t_ns, watch.name, watch.change))
        if watch.action is None:
            self._sayings.append((t_ns, watch.says))
        else:
            self.calls += 1
            call_id = f"watch_{self.calls}"
            self._called[call_id] = watch.name
            while len(self._called) > MAX_WATCHES * 8:
                self._called.pop(next(iter(self._called)))
            holds = round(watching.state.likely, 4)
            self.answer.out.actions.append(
                CallWatch(call_id, watch.name, watch.change, picture.t_ns, holds, picture.things)
            )
        if watching.over:
            self._end(watching, t_ns)

    # --- what is said

    def take(self, event: SayAsked | WatchFailed) -> None:
        """What a tool or a watch's function wants said, or that the latter failed. Of calls that are not known,
        nothing."""
        name = self._called.get(event.call_id)
        if name is None:
            if isinstance(event, SayAsked) and self.answer.made(event.call_id):
                self._sayings.append((event.t_ns, event.text))
            return
        if isinstance(event, SayAsked):
            self._sayings.append((event.t_ns, event.text))
        else:
            self._note(Noted(event.t_ns, "watch_failed", f"watch {name!r}: {event.message}"))

    def next_words(self, t_ns: int) -> str | None:
        """The oldest thing to say, for a moment in which nobody speaks; what is stale is left out, and noted."""
        while self._sayings:
            asked_ns, text = self._sayings.popleft()
            if t_ns - asked_ns <= STALE_NS:
                return text
            self._note(Noted(t_ns, "not_said", "somebody else spoke for too long; what was to be said was not"))
        return None

    # --- what is left after something was forgotten

    def state(self, gone: Stretch) -> list[dict[str, Any]]:
        """How each watch stands, but those that were asked for in what is forgotten; as plain JSON."""
        return [
            {
                **{name: getattr(each.watch, name) for name in WATCH_FIELDS},
                "by_user": each.by_user, "set_ns": each.set_ns, "holds": each.state.holds, "fired": each.state.fired,
            }
            for each in self.watchings
            if not (each.by_user and gone.holds(each.set_ns - 1))
        ]  # fmt: skip

    def restore(self, state: Sequence[dict[str, Any]], calls: int) -> None:
        """Stand as `state` says, without a picture and with nothing to say. ProtocolError for another's state."""
        own = {each.name: each for each in self.agent.watches}
        self.watchings, self.calls = [], calls
        self._picture, self._due = None, False
        self._sayings.clear()
        self._called.clear()
        self._places.clear()
        try:
            for each in state:
                watch = Watch(**{name: each[name] for name in WATCH_FIELDS}) if each["by_user"] else own[each["name"]]
                held = WatchState(holds=each["holds"], fired=each["fired"])
                self.watchings.append(Watching(watch, held, each["by_user"], each["set_ns"]))
        except (KeyError, TypeError, ConfigError) as error:
            raise ProtocolError("recording: what the session still watched for is damaged") from error

    def _note(self, event: Event) -> None:
        self.answer.out.events.append(event)
