"""What is looked at: what was asked for, else the film's own pictures, else what the agent looks at, else nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from liveagent.agent import Agent
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports.toytable import ToyTableCamera
from liveagent.ports.videotrack import cameras
from liveagent.runtime.devices import find_camera, has_pictures
from tests.films import film, halves
from tests.test_media import make

BLIND, LOOKS = Agent("nano"), Agent("nano", camera="table")


def found(wanted: str | None, agent: Agent, sounds: str | None = None) -> tuple[object, list[str]]:
    notes: list[str] = []
    camera = find_camera(wanted, agent, sounds, lambda code, message: notes.append(code), lambda event: None)
    if camera is not None:
        camera.close()
    return camera, notes


def test_without_a_wish_the_agent_says_what_it_looks_at() -> None:
    assert found(None, BLIND) == (None, [])
    camera, notes = found(None, LOOKS)
    assert isinstance(camera, ToyTableCamera) and not notes
    assert isinstance(found("table", BLIND)[0], ToyTableCamera)
    assert found("none", LOOKS) == (None, [])


def test_a_film_brings_its_own_pictures_and_sound_alone_does_not(tmp_path: Path) -> None:
    shown = str(film(tmp_path / "a.mp4", [0.0, 0.1, 0.2], lambda at: halves()))
    heard = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=0.2))
    assert has_pictures(shown) and not has_pictures(heard) and not has_pictures("mic")
    assert found(None, LOOKS, shown) == (None, [])
    assert isinstance(found(None, LOOKS, heard)[0], ToyTableCamera)
    assert isinstance(found("table", LOOKS, shown)[0], ToyTableCamera)


@pytest.mark.skipif(bool(cameras()), reason="there is a camera here")
def test_a_camera_that_is_missing_is_noted_and_one_that_was_asked_for_is_an_error() -> None:
    assert found(None, Agent("nano", camera="camera")) == (None, ["no_camera"])
    with pytest.raises(DeviceError, match="no camera"):
        found("camera", LOOKS)
    with pytest.raises(ConfigError, match="does not exist"):
        found("/no/such/film.mp4", LOOKS)


@pytest.mark.parametrize("camera", ["", 3])
def test_an_agents_camera_is_a_name(camera: object) -> None:
    with pytest.raises(ConfigError, match="give table, camera, screen"):
        Agent("nano", camera=camera)  # type: ignore[arg-type]
