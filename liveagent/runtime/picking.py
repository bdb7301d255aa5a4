"""`Picking`: from "the blue cube" to where the arm must go, by looking, and by looking again.

All it is given is a picture, where the camera stands, and what the joints say. It finds things in pixels (`Finder`),
chooses how the fingers come down between neighbours, and sends the robot places in metres; whether something was
gripped, the robot feels. What cannot be seen is not guessed at.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from liveagent.errors import ToolError
from liveagent.nn.finder import COLOUR_SURE, Finder
from liveagent.spotted import Spotted, clear_turn, which
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

TRIES = 2
ROUND = ("ball", "cylinder")
TRAY_FLOOR_M = 0.004
ON_TRAY_M = (0.029, -0.029)
"""Where on a tray something is put, along one of its edges from its middle: two things have room side by side."""
APART_M = 0.050
SPOTS = {"left": (0.40, 0.20), "middle": (0.40, 0.0), "right": (0.40, -0.20), "front": (0.30, 0.0), "back": (0.52, 0.0)}
"""Places on the table, in the base's frame."""
FREE_M = 0.085
"""How far from everything else something is put down on the table."""
Told: TypeAlias = Callable[[float, str], None]
"""Told how far it is, from 0 to 1, and what is being done."""


def _nobody(share: float, note: str) -> None: ...


class Body(Protocol):
    """What a robot with an arm and a camera must offer here."""

    async def look(self) -> tuple[Pixels, Viewpoint]:
        """A picture that was taken after this was asked, and where it was taken from. ToolError for a blind robot."""
        ...

    async def do(self, action: str, args: dict[str, Any], told: Told) -> Mapping[str, Any]:
        """Have an action done, to its end; its result. ToolError says why it failed."""
        ...

    async def holding(self) -> bool:
        """Whether the fingers feel something."""
        ...

    async def stop(self, reason: str) -> None:
        """Stop whatever moves, now."""
        ...


class Picking:
    """One robot's; its calls come one after the other. What liveagent/tools/arm.py wants behind its words."""

    def __init__(self, finder: Finder, body: Body) -> None:
        self._finder, self._body = finder, body

    async def see(self) -> list[Spotted]:
        """What lies on the table, with the arm out of the way."""
        pixels, view = await self._body.look()
        spotted = await asyncio.to_thread(self._finder.find, pixels, view)
        return [each for each in spotted if each.colour_sure >= COLOUR_SURE]

    async def pick(self, color: str, shape: str, told: Told = _nobody) -> None:
        """Have it in the hand. ToolError when it cannot be seen, reached or gripped."""
        if await self._body.holding():
            raise ToolError("i am holding something already; tell me where to put it")
        lost: ToolError | None = None
        for left in reversed(range(TRIES)):
            await self._body.do("home", {}, _nobody)  # a try that was ended half way left the arm before the camera
            if lost is not None and await self._body.holding():
                raise lost  # it had it when it was ended: whoever asked decides how to go on
            spotted = await self.see()
            thing = _needed(spotted, shape, color)
            try:
                await self._body.do("pick", {"x": thing.x, "y": thing.y, "turn": grip(thing, spotted)}, told)
                return
            except ToolError as error:
                if not left:
                    raise
                lost = error

    async def place_on_tray(self, color: str, told: Told = _nobody) -> None:
        """Put what is held on a tray of that colour."""
        await self._need_held()
        await self._body.do("home", {}, _nobody)
        spotted = await self.see()
        x, y, turn = on_tray(_needed(spotted, "tray", color), spotted)
        await self._body.do("place", {"x": x, "y": y, "turn": turn, "height": TRAY_FLOOR_M}, told)

    async def place_at(self, spot: str, told: Told = _nobody) -> None:
        """Put what is held on the table, where there is room near a spot."""
        await self._need_held()
        await self._body.do("home", {}, _nobody)
        x, y = beside(SPOTS[spot], await self.see())
        await self._body.do("place", {"x": x, "y": y, "height": 0.0}, told)

    async def pick_and_place(self, color: str, shape: str, tray: str, told: Told = _nobody) -> None:
        """Both; nothing is moved unless both can be seen."""
        if not await self._body.holding():
            await self._body.do("home", {}, _nobody)
            _needed(await self.see(), "tray", tray)
        await self.pick(color, shape, lambda share, note: told(share / 2, note))
        await self.place_on_tray(tray, lambda share, note: told(0.5 + share / 2, note))

    async def names(self) -> list[str]:
        """What it sees, in words, from left to right."""
        return [each.name for each in sorted(await self.see(), key=lambda each: -each.y)]

    async def move(self, dx: float, dy: float, dz: float, told: Told = _nobody) -> bool:
        """The hand, so many metres; whether it could not go all the way."""
        done = await self._body.do("move", {"dx": dx, "dy": dy, "dz": dz}, told)
        return bool(done.get("clipped"))

    async def gripper(self, open: bool, told: Told = _nobody) -> bool:
        """Open or close; whether something is held."""
        done = await self._body.do("gripper", {"open": open}, told)
        return bool(done.get("holding"))

    async def home(self, told: Told = _nobody) -> None:
        """Out of the camera's sight."""
        await self._body.do("home", {}, told)

    async def stop(self, reason: str) -> None:
        """Stop whatever moves, now."""
        await self._body.stop(reason)

    async def _need_held(self) -> None:
        if not await self._body.holding():
            raise ToolError("i am not holding anything")


def grip(thing: Spotted, spotted: Sequence[Spotted]) -> float:
    """In which direction the fingers close on it: across its sides, or where there is most room."""
    if thing.kind in ROUND:
        along = math.atan2(thing.y, thing.x - 0.06) + math.pi / 2
        turns = [along + k * math.pi / 8 for k in (0, 1, -1, 2, -2, 3, -3, 4)]
    else:
        turns = [thing.turn, thing.turn + math.pi / 2]
    return clear_turn(thing, spotted, turns)


def on_tray(tray: Spotted, spotted: Sequence[Spotted]) -> tuple[float, float, float]:
    """A free place on it, and how the fingers stand there: across what may lie beside it. ToolError when it is full."""
    there = [each for each in spotted if each.kind != "tray"]
    for way in ON_TRAY_M:
        x, y = tray.x + way * math.cos(tray.turn), tray.y + way * math.sin(tray.turn)
        if all(math.hypot(x - each.x, y - each.y) > APART_M for each in there):
            return x, y, tray.turn + math.pi / 2
    raise ToolError(f"the {tray.name} is full")


def beside(spot: tuple[float, float], spotted: Sequence[Spotted]) -> tuple[float, float]:
    """The free place on the table nearest to a spot. ToolError when there is none."""
    steps = [(spot[0] + 0.02 * i, spot[1] + 0.02 * j) for i in range(-4, 5) for j in range(-5, 6)]
    inside = [(x, y) for x, y in steps if 0.26 <= x <= 0.56 and -0.26 <= y <= 0.26]

    def free(x: float, y: float) -> bool:
        return all(math.hypot(x - e.x, y - e.y) > FREE_M + (0.055 if e.kind == "tray" else 0) for e in spotted)

    found = [each for each in inside if free(*each)]
    if not found:
        raise ToolError("there is no room there")
    return min(found, key=lambda each: math.dist(each, spot))


def _needed(spotted: Sequence[Spotted], kind: str, colour: str) -> Spotted:
    found = which(spotted, kind, colour)
    if found is None:
        raise ToolError(f"i cannot see {'an' if colour[0] in 'aeiou' else 'a'} {colour} {kind}")
    return found
