"""Virtual hours of one conversation in one lane: talk, calls, pictures and interruptions, minute by minute."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import cast

import numpy as np

from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Lane
from liveagent.runtime.work import Append, Decode, Done, Evict, Rewind, Sights, Work
from liveagent.sight import COLOURS, SHAPES, of_things
from liveagent.window import Budget

SAID = (
    "turn on the kitchen light",
    "what is on my list",
    "is there a red ball on the table",
    "set a timer for five minutes",
)
REPLIES = ("The kitchen light is on, and the one in the bedroom is off.", "Your list has milk, bread and eggs on it.")
MEANWHILE = ("no wait", "i meant the other one", "thank you very much")


class Hand:
    """A lane without thread or loop: what is asked is done at once. `around` may time an eviction, `mirror` is a lane
    that is given the same tokens and take-backs, but evicts by a rule of its own."""

    def __init__(self, core: Core, number: int) -> None:
        self.core, self.number = core, number
        self.around: Callable[[Callable[[], Done]], Done] | None = None
        self.mirror: int | None = None

    async def do(self, work: Work) -> Done:
        return self.now(work)

    def now(self, work: Work) -> Done:
        before = self.core._lane[self.number].length

        def act() -> Done:
            return cast(Done, self.core.run(self.number, work))

        done = self.around(act) if isinstance(work, Evict) and self.around is not None else act()
        if self.mirror is None:
            return done
        if isinstance(work, Append):
            self.core.run(self.mirror, work)
        elif isinstance(work, Decode):
            self.core.run(self.mirror, Append(done.ids, t_s=work.t_s))
        elif isinstance(work, Rewind):
            length = self.core._lane[self.mirror].length
            self.core.run(self.mirror, Rewind(length - (before - work.length)))
        return done


class Day:
    """What fills the cache of a lane that is talked to and looks on: every minute a reply that is interrupted and taken
    back, and two pictures, of which one only tells what changed; every third minute an exchange that is heard out, and
    now and then with a call. `tools`: how many of the voice agent's, for its whole prompt is most of a window."""

    def __init__(self, model: Nano, core: Core, seed: int, budget: Budget, tools: int = 3) -> None:
        self.model, self.rng = model, random.Random(seed)
        self.hand = Hand(core, core.open())
        self.context = Context(cast(Lane, self.hand), budget)
        agent = load_agent("voice")
        self.instructions, self.tools = agent.instructions, tuple(agent.tools[:tools])
        self.minutes = self.read_tokens = self.take_backs = self.evictions = 0

    async def open(self) -> None:
        await self.context.open(self.tools)
        await self.context.add("system", self.model.template.prompt(self.instructions, self.tools), 0)

    async def minute(self) -> None:
        context, rng, template = self.context, self.rng, self.model.template
        start = context.end
        await self._at(0)
        await self._look(keyframe=True)
        for second, cut in ((8, False), (30, True)):
            if not cut and self.minutes % 3:
                continue
            await self._at(second)
            context.ledger.begin_turn()
            await context.add("audio", [*template.user_turn(rng.choice(SAID)), template.agent], self.t_ns)
            if not cut and self.minutes % 2:
                await self._call()
            await context.add("reply", [template.say], self.t_ns)
            ids = [*template.encode(rng.choice(REPLIES)), template.end]
            await context.add("reply", ids, self.t_ns, grow=True)
            if cut:
                await self._interrupt(len(ids))
            context.ledger.mark_heard(context.end)
            self.evictions += bool(await context.trim())
        await self._at(50)
        await self._look(keyframe=False)
        self.evictions += bool(await context.trim())
        self.minutes += 1
        self.read_tokens += context.end - start

    @property
    def t_ns(self) -> int:
        return round(self.context.now_s * 1e9)

    async def _at(self, second: float) -> None:
        self.context.now_s = self.minutes * 60 + second

    async def _call(self) -> None:
        template, ledger = self.model.template, self.context.ledger
        call = [template.call, *template.encode("light ; room = kitchen ; state = on"), template.end]
        await self.context.add("call", call, self.t_ns)
        needs = [ledger.spans[-1].id]
        result = [*template.result_turn("the kitchen light is on"), template.agent]
        await self.context.add("result", result, self.t_ns, depends_on=needs)

    async def _interrupt(self, length: int) -> None:
        """The user speaks into the reply; what was not heard of it is taken back."""
        context, template = self.context, self.model.template
        later = context.end
        keep = self.rng.randint(1, length - 1)
        context.ledger.begin_turn()
        words = [template.user, *self.model.pieces.encode(self.rng.choice(MEANWHILE))]
        await context.add("audio", words, self.t_ns)
        context.ledger.mark_heard(later - length + keep)
        await context.take_back(later - length + keep, later, [template.cut], self.t_ns)
        await context.add("audio", [template.end, template.agent], self.t_ns, grow=True)
        await context.add("reply", [template.say, *template.encode("All right."), template.end], self.t_ns)
        self.take_backs += 1

    async def _look(self, keyframe: bool) -> None:
        rng, context = self.rng, self.context
        things = [
            (rng.randrange(len(COLOURS)), rng.randrange(len(SHAPES)), rng.random(), rng.random())
            for _ in range(rng.randint(1, 4) if keyframe else 1)
        ]
        said = of_things(things)
        cells = np.flatnonzero(said[:, 0] < 0.5)
        sights = Sights(said[cells], cells) if self.model.decoder.projector is not None else None
        frames = [span.id for span in context.ledger.of_kind("picture") if not span.depends_on]
        needs = [] if keyframe else frames[-1:]
        ids = self.model.template.picture(len(cells))
        await context.add("picture", ids, self.t_ns, sights=sights, depends_on=needs)
