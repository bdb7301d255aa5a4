"""Picking by sight: is what was asked for on the tray that was asked for, and has nothing else been moved?

Scenes on the simulated arm's table that no training ever drew (two to five things, one to three trays, light and
table of their own), in virtual time, with real contacts. Each is asked for once: "pick up the blue cube and put it on
the red tray". What acts is the shipped agent with its session, what it calls goes through the tools of `make robot`; it
gets the camera's picture (a sensor's noise, a JPEG) and what the joints and fingers feel. Where things are, only the
score knows.

    typed               the thing lies on the tray, of the sentences of the tools' phrases, as shipped           ≥ 0.8
    spoken              the same, spoken in voices that nano was never trained on                               report
    blind               typed, with the camera covered                                                        ≤ chance
    wrong_object_moved  of the typed and the spoken, in how many a thing or a tray that nobody asked for moved by
                        over 2 cm                                                                              ≤ 0.02

`detail` has the same by the model alone (`…_by_model`, the grammar of the phrases unused; `free_by_model`: wordings
that no phrase holds), what `chance` gives (a hand that goes to places drawn by lot), how many calls were exactly the
one meant, how far from the tray's middle things came to lie, how long the robot took, and why the rest failed.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from types import TracebackType
from typing import Any, Self

import numpy as np

from liveagent.action import CallTool, Halt
from liveagent.agent import Agent
from liveagent.bench.said import Said, call_of, spoken_by
from liveagent.bench.seats import Seat, seats, share
from liveagent.call import Call
from liveagent.clients.arm.arm import Arm, Failed
from liveagent.clients.arm.body import CAMERA_AT, FOV_DEG, mast_axes
from liveagent.clients.arm.camera import Lens
from liveagent.clients.arm.jpeg import jpeg, pixels_of
from liveagent.clients.arm.scene import FAR_M, HELD_OUT, NEAR_M, SIDE_M, TABLE_M, Scene, scene
from liveagent.clients.arm.world import TICK_S
from liveagent.errors import ToolError
from liveagent.event import ReplyStarted
from liveagent.load import load_agent
from liveagent.nn.finder import FILE, Finder
from liveagent.nn.model import weights_folder
from liveagent.nn.nano import Nano
from liveagent.runtime.picking import Picking, Told
from liveagent.runtime.session import SessionConfig
from liveagent.sight import COLOURS
from liveagent.tools.arm import arm_tools
from liveagent.train.voices import HELD_OUT as VOICES
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

FIRST = HELD_OUT + (1 << 24)
"""The finder's own held-out scenes lie before it."""
MOVED_M = 0.02
ON_TRAY_M = 0.055
SETTLE_TICKS = 50
QUIET_TICKS, WAIT_TICKS = 6, 26
MODEL = ("typed_by_model", "spoken_by_model", "free_by_model")
FREE = (
    "could you take the {color} {shape} and set it down on the {tray} tray",
    "i want the {color} {shape} in the {tray} tray",
    "get me the {color} {shape} and leave it on the {tray} tray",
    "the {color} {shape} belongs on the {tray} tray",
    "would you move that {color} {shape} over to the {tray} tray",
    "lift the {color} {shape} and lay it in the {tray} tray",
)
"""Wordings that are none of the tools' phrases."""


class Virtual:
    """The arm in virtual time, as `Picking` wants a body; the second half is the score's alone. Used with `with`."""

    def __init__(self, seed: int = 0) -> None:
        self.arm = Arm()
        self.lens = Lens(self.arm.world)
        self.covered = False
        self.lots: random.Random | None = None
        """With these the hand goes where they fall, not where it is sent: what chance gives."""
        self._rng = np.random.default_rng(seed)
        self._view = Viewpoint(CAMERA_AT, *mast_axes(), FOV_DEG)
        self._before: dict[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lens.close()

    # --- what the agent gets

    async def look(self) -> tuple[Pixels, Viewpoint]:
        return self.picture(), self._view

    async def do(self, action: str, args: dict[str, Any], told: Told) -> Mapping[str, Any]:
        if self.lots is not None and "x" in args:
            args = {**args, "x": self.lots.uniform(NEAR_M, FAR_M), "y": self.lots.uniform(-SIDE_M, SIDE_M)}
        try:
            done = self.arm.run(getattr(self.arm, action)(**args))
        except Failed as error:
            raise ToolError(str(error)) from None
        if done.status != "FINISHED":
            raise ToolError(done.reason)
        told(1.0, "")
        return done.result

    async def holding(self) -> bool:
        return self.arm.holding

    async def stop(self, reason: str) -> None:
        self.arm.stop()

    def picture(self) -> Pixels:
        """What the camera gives now."""
        if self.covered:
            return np.zeros((256, 256, 3), np.uint8)
        noisy = self.lens.read() + self._rng.normal(0, 3, (256, 256, 3))
        return pixels_of(jpeg(np.asarray(np.clip(noisy, 0, 255), np.uint8)))

    # --- what the score knows

    def lay(self, laid: Scene) -> None:
        """A new scene, the camera uncovered."""
        self.arm.pour(laid)
        self.covered, self.lots = False, None
        self._before = {name: self._at(name) for name in self._names()}

    def settle(self) -> None:
        """Let what rolls roll."""
        for _ in range(SETTLE_TICKS):
            self.arm.tick()

    def moved_m(self, *things: int) -> float:
        """How far the farthest of these things is from where it was laid."""
        return max(math.dist(self._at(f"thing{at}"), self._before[f"thing{at}"]) for at in things)

    def wrong(self, thing: int, tray: int) -> list[str]:
        """What has moved and was not asked to."""
        asked = {f"thing{thing}", f"tray{tray}"}
        return [n for n in self._names() if n not in asked and math.dist(self._at(n), self._before[n]) > MOVED_M]

    def off_tray_m(self, thing: int, tray: int) -> float:
        """How far a thing is from a tray's middle, along its sides."""
        (x, y), (tx, ty) = self._at(f"thing{thing}"), self._at(f"tray{tray}")
        return max(abs(x - tx), abs(y - ty))

    def on_tray(self, thing: int, tray: int) -> bool:
        """Whether it lies there, let go of."""
        high = self.arm.world.pose(f"thing{thing}").z - TABLE_M
        return not self.arm.holding and 0 < high < 0.06 and self.off_tray_m(thing, tray) < ON_TRAY_M

    def _names(self) -> list[str]:
        laid = self.arm.world.scene
        return [*(f"thing{at}" for at in range(len(laid.things))), *(f"tray{at}" for at in range(len(laid.trays)))]

    def _at(self, name: str) -> tuple[float, float]:
        pose = self.arm.world.pose(name)
        return pose.x, pose.y


@dataclass(frozen=True, slots=True)
class Wish:
    """One scene and what is asked for in it; `pixels`: what the session's own eyes see."""

    laid: Scene
    thing: int
    tray: int
    said: Said
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a wish."""

    on_tray: bool
    wrong: tuple[str, ...]
    why: str
    off_m: float
    took_s: float
    exact: bool
    by: str


def wishes(agent: Agent, body: Virtual, count: int, seed: int, free: bool = False) -> list[Wish]:
    """So many scenes, each with a sentence of the tool's phrases (`free`: of none)."""
    rng = random.Random(seed)
    tool = agent.tool("pick_and_place")
    found = []
    for at in range(count):
        laid = scene(FIRST + at)
        thing, tray = rng.randrange(len(laid.things)), rng.randrange(len(laid.trays))
        args = {"color": COLOURS[laid.things[thing].colour], "shape": laid.things[thing].kind,
                "tray": COLOURS[laid.trays[tray].colour]}  # fmt: skip
        if free:
            text = FREE[at % len(FREE)].format(**args)
        else:
            text = rng.choice(tool.phrases).sample(rng, {name: [value] for name, value in args.items()})
        body.lay(laid)
        found.append(Wish(laid, thing, tray, Said(text, call_of(tool, dict(args))), body.picture()))
    return found


async def ask(seat: Seat, wish: Wish) -> CallTool | None:
    """One turn; the call that it led to."""
    seat.show(wish.pixels)
    if wish.said.sound is None:
        await seat.ticks(2)
        seat.write(wish.said.text)
        await seat.ticks(3, (CallTool, Halt, ReplyStarted))
    else:
        await seat.ticks(QUIET_TICKS)
        await seat.hear(wish.said.sound)
        await seat.ticks(WAIT_TICKS, (CallTool, ReplyStarted))
    calls = seat.of(CallTool)
    return calls[0] if calls else None


async def asked(model: Nano, agent: Agent, wanted: Sequence[Wish], grammar: bool) -> list[CallTool | None]:
    """All turns, by the shipped session."""
    heard = any(each.said.sound is not None for each in wanted)
    async with seats(agent, model, 4, SessionConfig(voice=False, grammar=grammar), heard) as made:
        return await share(made, wanted, ask)


async def act(agent: Agent, body: Virtual, wish: Wish, call: CallTool | None, how: str = "") -> Came:
    """Do what was called, on the arm, and look what came of it. `how`: "blind", or "chance"."""
    body.lay(wish.laid)
    body.covered = how == "blind"
    body.lots = random.Random(wish.said.text) if how == "chance" else None
    began, why, exact = body.arm.ticks, "no call", False
    if call is not None:
        tool = agent.tool(call.name)
        args = tool.validate(call.args)
        exact = (call.name, tuple(sorted(args.items()))) == wish.said.call
        why = "it is not on the tray" if exact else f"called {call.name}"
        if tool.takes_call:
            args[tool.takes_call] = Call("c", "c", 120_000, lambda share, note: None)
        try:
            await tool(**args)
        except ToolError as error:
            said = "it cannot be seen" if "cannot see" in str(error) else str(error)
            why = said if exact else f"{why}: {said}"
    took_s = (body.arm.ticks - began) * TICK_S
    body.settle()
    done = body.on_tray(wish.thing, wish.tray)
    return Came(
        done, tuple(body.wrong(wish.thing, wish.tray)), "" if done else why,
        body.off_tray_m(wish.thing, wish.tray), took_s, exact, call.by if call is not None else "",
    )  # fmt: skip


async def _all(model: Nano, count: int, seed: int) -> dict[str, Any]:
    finder = Finder.load(weights_folder() / FILE)
    with Virtual(seed) as body:
        picking = Picking(finder, body)

        async def arm() -> Picking:
            return picking

        agent = load_agent("robot_arm").replace(tools=arm_tools(arm))
        typed = wishes(agent, body, count, seed)
        free = wishes(agent, body, count, seed, free=True)
        voices = [replace(each.said, voice=VOICES[at % len(VOICES)]) for at, each in enumerate(typed)]
        sounds = {(s.voice, s.text): s.sound for s in spoken_by(VOICES, voices, seed)}
        spoken = [
            replace(wish, said=replace(said, sound=sounds[said.voice, said.text]))
            for wish, said in zip(typed, voices, strict=True) if (said.voice, said.text) in sounds
        ]  # fmt: skip
        came: dict[str, list[Came]] = {}
        calls: list[CallTool | None] = []
        for name, wanted, grammar, how in (
            ("typed", typed, True, ""),
            ("blind", typed, True, "blind"),
            ("chance", typed, True, "chance"),
            ("spoken", spoken, True, ""),
            *((name, wanted, False, "") for name, wanted in zip(MODEL, (typed, spoken, free), strict=True)),
        ):
            if not how:  # else the calls are those of the turns before
                calls = await asked(model, agent, wanted, grammar)
            came[name] = [await act(agent, body, w, c, how) for w, c in zip(wanted, calls, strict=True)]
    figures = {name: _share(each.on_tray for each in found) for name, found in came.items()}
    acted = came["typed"] + came["spoken"]
    done = [each for each in acted if each.on_tray]
    return {
        "typed": figures["typed"],
        "spoken": figures["spoken"] if spoken else None,
        "blind": figures["blind"],
        "wrong_object_moved": _share(bool(each.wrong) for each in acted),
        "detail": {
            **{name: figures[name] for name in ("chance", *MODEL)},
            "scenes": count,
            "spoken_scenes": len(spoken),
            "wrong_by_model": _share(bool(each.wrong) for name in MODEL for each in came[name]),
            "exact_calls": {name: _share(each.exact for each in found) for name, found in came.items()},
            "by": dict(Counter(each.by or "nobody" for each in came["typed"])),
            "off_tray_middle_mm": round(1000 * median(each.off_m for each in done), 1) if done else None,
            "robot_s": round(median(each.took_s for each in done), 1) if done else None,
            "failed": {n: dict(Counter(each.why for each in found if each.why)) for n, found in came.items()},
            "voices": {
                voice: _share(c.on_tray for c, w in zip(came["spoken"], spoken, strict=True) if w.said.voice == voice)
                for voice in VOICES
            },
        },
    }


def _share(found: Any) -> float:
    each = [bool(one) for one in found]
    return round(sum(each) / max(1, len(each)), 4)


def run(scenes: int = 100, seed: int = 1) -> dict[str, Any]:
    """The keys above."""
    import torch

    torch.set_num_threads(1)
    return asyncio.run(_all(Nano.load(), scenes, seed))

