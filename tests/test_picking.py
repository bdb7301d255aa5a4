"""From pixels to places: the camera's geometry, how fingers choose their way, the finder, and picking by sight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ConfigError, DeviceError, ProtocolError, ToolError
from liveagent.nn.finder import FILE, Finder, FinderConfig
from liveagent.nn.model import weights_folder
from liveagent.runtime.picking import Picking, beside, grip, on_tray
from liveagent.sight import COLOURS
from liveagent.spotted import Spotted, clear_turn, which
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

VIEW = Viewpoint((0.1, 0.0, 1.16), (0.0, -1.0, 0.0), (0.92379455, 0.0, 0.38288855), 41.0)


@given(st.floats(0.2, 0.6), st.floats(-0.3, 0.3), st.floats(0.39, 0.5))
def test_a_place_is_a_pixel_is_a_place(x: float, y: float, z: float) -> None:
    pixel = VIEW.pixel(x, y, z)
    assert pixel is not None
    assert VIEW.place(*pixel, z) == pytest.approx((x, y), abs=1e-6)


def test_left_is_left_and_far_is_up() -> None:
    near, far, left = (VIEW.pixel(x, y, 0.4) for x, y in ((0.3, 0), (0.5, 0), (0.3, 0.1)))
    assert near is not None and far is not None and left is not None
    assert far[1] < near[1] and left[0] < near[0]


def test_behind_and_beside_there_is_nothing() -> None:
    assert VIEW.pixel(-2.0, 0.0, 2.0) is None
    level = Viewpoint((0, 0, 1), (0, -1, 0), (0, 0, 1), 40)
    assert level.place(0.5, 0.5, 0.4) is None and level.place(0.5, 0.2, 0.4) is None


@pytest.mark.parametrize(
    "said",
    [{}, {"at": [0, 0, 1], "right": [1, 0, 0], "up": [1, 0, 0], "fov_deg": 40}, {**VIEW.said(), "fov_deg": 0},
     {**VIEW.said(), "at": [0, 0]}, {**VIEW.said(), "at": "nowhere"}, {**VIEW.said(), "right": [0, 0, math.nan]}],
)  # fmt: skip
def test_a_camera_that_is_none_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        Viewpoint.read(said)


def test_a_camera_is_read_as_it_is_said() -> None:
    assert Viewpoint.read(VIEW.said()) == VIEW


def thing(kind: str, x: float, y: float, colour: str = "blue", **more: float) -> Spotted:
    return Spotted(kind, COLOURS.index(colour), x, y, **more)


def test_fingers_come_down_where_there_is_room() -> None:
    cube, neighbour = thing("cube", 0.4, 0.0), thing("ball", 0.4, 0.075)
    assert clear_turn(cube, [cube, neighbour], [math.pi / 2, 0.0]) == 0.0
    assert clear_turn(cube, [cube], [math.pi / 2, 0.0]) == math.pi / 2
    assert abs(math.cos(grip(thing("ball", 0.4, 0.0), [neighbour]))) > 0.7
    assert grip(thing("cube", 0.4, 0.0, turn=0.3), []) == 0.3


def test_the_surest_of_a_name_is_taken() -> None:
    seen = [thing("cube", 0.3, 0, sure=0.6), thing("cube", 0.5, 0, sure=0.9), thing("ball", 0.4, 0)]
    found = which(seen, "cube", "blue")
    assert found is not None and found.x == 0.5
    assert which(seen, "cube", "red") is None


def test_a_tray_fills_up() -> None:
    tray, there = thing("tray", 0.4, 0.0, "red", turn=0.1), [thing("ball", 0.3, 0.1)]
    for _ in range(2):
        x, y, turn = on_tray(tray, there)
        assert math.dist((x, y), (0.4, 0.0)) < 0.035
        assert abs(math.cos(turn - math.atan2(y, x - 0.4))) < 0.01  # no finger between the two
        there.append(thing("ball", x, y))
    with pytest.raises(ToolError, match="the red tray is full"):
        on_tray(tray, there)


def test_on_the_table_there_is_room_beside_what_lies_there() -> None:
    x, y = beside((0.4, 0.0), [thing("ball", 0.4, 0.0)])
    assert 0.085 < math.dist((x, y), (0.4, 0.0)) < 0.15
    with pytest.raises(ToolError, match="no room"):
        beside((0.4, 0.0), [thing("tray", 0.3 + 0.1 * i, -0.2 + 0.1 * j) for i in range(3) for j in range(5)])


def test_an_untrained_finder_finds_nothing_and_a_damaged_one_is_named(tmp_path: Any) -> None:
    torch.manual_seed(0)
    finder = Finder(FinderConfig(width=8, layers=1)).eval()
    assert finder.find(np.zeros((128, 128, 3), np.uint8), VIEW) == []
    finder.save(tmp_path / FILE)
    assert Finder.load(tmp_path / FILE).config == finder.config
    (tmp_path / FILE).write_bytes(b"x" * 100)
    with pytest.raises(ConfigError, match="damaged"):
        Finder.load(tmp_path / FILE)
    with pytest.raises(ConfigError, match="missing"):
        Finder.load(tmp_path / "none")


# ---- with the simulated arm ------------------------------------------------------------------------------------------

mujoco = pytest.importorskip("mujoco", reason="pip install 'liveagent[robot]'")

from liveagent.bench.pick import Virtual  # noqa: E402
from liveagent.clients.arm.scene import HELD_OUT, Item, Light, Scene  # noqa: E402
from liveagent.train.finder import score, targets  # noqa: E402
from liveagent.train.shots import Studio  # noqa: E402

LAID = Scene(
    (Item("cube", 2, 0.40, 0.10, 0.5), Item("ball", 0, 0.35, -0.12), Item("cylinder", 2, 0.50, 0.0)),
    (Item("tray", 0, 0.45, -0.20), Item("tray", 1, 0.45, 0.22)),
)


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder.load(weights_folder() / FILE)


@pytest.fixture(scope="module")
def body() -> Iterator[Virtual]:
    try:
        made = Virtual()
    except DeviceError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture(scope="module")
def studio(body: Virtual) -> Iterator[Studio]:
    made = Studio()
    yield made
    made.close()


@pytest.mark.slow
def test_a_shot_is_its_seeds_and_says_what_can_be_seen(studio: Studio) -> None:
    shots = [studio.shot(seed) for seed in range(60)]
    again = studio.shot(11)
    assert np.array_equal(again.pixels, shots[11].pixels) and again.items == shots[11].items
    assert any(shot.doubtful for shot in shots) and all(shot.pixels.shape == (256, 256, 3) for shot in shots)
    shot = next(shot for shot in shots if len(shot.items) > 3)
    plain, mirrored = (targets(shot, FinderConfig().kinds, mirror) for mirror in (False, True))
    assert (plain["heat"] == 1).sum() == len(shot.items) == (mirrored["heat"] == 1).sum()


@pytest.mark.slow
def test_each_scene_has_its_own_lamp(body: Virtual) -> None:
    body.lay(replace(LAID, light=Light(lamp=(-0.3, 0.8, 1.5))))
    one = body.lens.read()
    body.lay(replace(LAID, light=Light(lamp=(0.8, -0.8, 2.0))))
    assert np.abs(body.lens.read().astype(float) - one).mean() > 2


@pytest.mark.slow
def test_the_shipped_finder_knows_scenes_that_it_never_saw(finder: Finder, studio: Studio) -> None:
    found = score(finder, studio, 60, HELD_OUT + (1 << 30))
    assert found["found"] > 0.97 and found["false"] < 0.02 and found["colour"] > 0.98
    assert found["off_mm"] < 2.5 and found["turn_deg"] < 5


@pytest.mark.slow
async def test_it_picks_and_places_by_sight(finder: Finder, body: Virtual) -> None:
    body.lay(LAID)
    picking = Picking(finder, body)
    assert await picking.names() == ["green tray", "blue cube", "blue cylinder", "red ball", "red tray"]
    shares: list[float] = []
    await picking.pick_and_place("blue", "cube", "red", lambda share, note: shares.append(share))
    assert body.on_tray(0, 0) and not body.moved_m(1, 2) > 0.01
    assert shares == sorted(shares) and shares[-1] == 1
    await picking.pick("blue", "cylinder")
    with pytest.raises(ToolError, match="holding something already"):
        await picking.pick("red", "ball")
    await picking.place_at("left")
    assert not await body.holding()
    await picking.pick_and_place("red", "ball", "red")  # beside the cube
    assert body.on_tray(0, 0) and body.on_tray(1, 0)


@pytest.mark.slow
async def test_what_it_cannot_see_it_does_not_try(finder: Finder, body: Virtual) -> None:
    body.lay(LAID)
    picking = Picking(finder, body)
    for color, shape, tray, why in (("red", "cube", "red", "red cube"), ("blue", "cube", "black", "black tray")):
        with pytest.raises(ToolError, match=f"i cannot see a {why}"):
            await picking.pick_and_place(color, shape, tray)
    with pytest.raises(ToolError, match="not holding anything"):
        await picking.place_on_tray("red")
    body.covered = True
    with pytest.raises(ToolError, match="i cannot see a"):
        await picking.pick_and_place("blue", "cube", "red")
    assert body.moved_m(0, 1, 2) < 0.005


class Clumsy:
    """A body whose first grips fail; with `kept` it is only told so, and has the thing."""

    def __init__(self, body: Virtual, fails: int, kept: bool = False) -> None:
        self._body, self._fails, self._kept, self.tries, self.did = body, fails, kept, 0, list[str]()

    async def look(self) -> tuple[Pixels, Viewpoint]:
        return await self._body.look()

    async def holding(self) -> bool:
        return await self._body.holding()

    async def stop(self, reason: str) -> None: ...

    async def do(self, action: str, args: dict[str, Any], told: Any) -> Mapping[str, Any]:
        self.did.append(action)
        if action == "pick":
            self.tries += 1
            if self.tries <= self._fails:
                if self._kept:
                    await self._body.do(action, args, told)
                raise ToolError("there is nothing between the fingers")
        return await self._body.do(action, args, told)


@pytest.mark.slow
async def test_a_failed_grip_is_tried_once_more_and_then_told(finder: Finder, body: Virtual) -> None:
    body.lay(LAID)
    once = Clumsy(body, 1)
    await Picking(finder, once).pick("blue", "cube")
    assert once.tries == 2 and await body.holding()
    assert once.did == ["home", "pick", "home", "pick"]  # out of the way before each look
    body.lay(LAID)
    kept = Clumsy(body, 1, kept=True)
    with pytest.raises(ToolError, match="nothing between the fingers"):
        await Picking(finder, kept).pick("blue", "cube")
    assert kept.tries == 1 and await body.holding()  # it is not looked for on the table
    body.lay(LAID)
    with pytest.raises(ToolError, match="nothing between the fingers"):
        await Picking(finder, Clumsy(body, 2)).pick("blue", "cube")
