"""Keyframes: noise sends nothing, whatever is real is found, the exposure is no news, and everything is decided alike
when it is decided again."""

from __future__ import annotations

import numpy as np
import pytest

from liveagent.keyframe import Change, Keyframes, blocks, bucket, regrid
from liveagent.video import Pixels

FRAME_NS = 200_000_000


def room(seed: int = 0, height: int = 128, width: int = 128) -> np.ndarray:
    """Something to look at: fields of colour with a soft texture, float."""
    rng = np.random.default_rng(seed)
    fields = rng.integers(40, 200, (-(-height // 24), -(-width // 24), 3)).repeat(24, 0).repeat(24, 1)
    texture = rng.normal(0, 12, (-(-height // 2), -(-width // 2), 1)).repeat(2, 0).repeat(2, 1)
    return np.asarray(fields[:height, :width] + texture[:height, :width], np.float64)


def shot(light: np.ndarray, rng: np.random.Generator, noise: float = 3.0) -> Pixels:
    return np.clip(light + rng.normal(0, noise, light.shape) + 0.5, 0, 255).astype(np.uint8)


def settled(light: np.ndarray, rng: np.random.Generator, noise: float = 3.0, **how: float) -> tuple[Keyframes, int]:
    """Keyframes that have watched a still scene for a while, and the time after it."""
    keyframes = Keyframes(**{"refresh_s": 0.0, **how})  # type: ignore[arg-type]
    for i in range(20):
        keyframes.feed(shot(light, rng, noise), i * FRAME_NS)
    return keyframes, 20 * FRAME_NS


def at(row: int, col: int, side: int = 8) -> int:
    return row * side + col


@pytest.mark.parametrize("patch_px", [6, 14, 16, 32])
@pytest.mark.parametrize("shape", [(96, 96), (84, 112), (50, 70)])
def test_an_eye_with_patches_of_another_size_looks_at_all_that_moved(shape: tuple[int, int], patch_px: int) -> None:
    """Each patch of the eye that holds a pixel of a flagged one, and no other."""
    height, width = shape
    rng = np.random.default_rng(patch_px)
    for share in (0.0, 0.1, 1.0):
        flags = rng.random(-(-height // 16) * -(-width // 16)) < share
        pixels = flags.reshape(-1, -(-width // 16)).repeat(16, 0).repeat(16, 1)[:height, :width]
        rows, cols = height // patch_px, width // patch_px
        cut = pixels[: rows * patch_px, : cols * patch_px].reshape(rows, patch_px, cols, patch_px)
        assert np.array_equal(regrid(flags, height, width, patch_px), cut.any((1, 3)).ravel())


def test_blocks_are_the_means_of_their_pixels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    means = pixels.reshape(8, 4, 12, 4, 3).mean(axis=(1, 3))
    bright = means @ np.array([2, 5, 1]) / 8
    assert np.array_equal(blocks(pixels)[:, :, 0], bright.astype(np.float32))
    grey = np.repeat(pixels[:, :, :1], 3, axis=2)
    assert not blocks(grey)[:, :, 1:].any()  # grey has no colour


@pytest.mark.parametrize("noise", [0.0, 2.0, 5.0, 10.0])
def test_a_still_scene_sends_nothing_however_noisy(noise: float) -> None:
    rng, light = np.random.default_rng(2), room()
    keyframes = Keyframes(refresh_s=0)
    changes = [keyframes.feed(shot(light, rng, noise), i * FRAME_NS) for i in range(60)]
    assert changes[0].reason == "first" and changes[0].full and changes[0].count == 64
    assert {c.reason for c in changes[12:]} == {"still"} and not any(c.count for c in changes[12:])
    assert sum(c.moved for c in changes[1:12]) <= 16  # it is learnt quickly


def test_noise_is_found_in_a_small_thing_beside_it_is_not() -> None:
    """A dim ball of 6 px, hardly brighter than the noise of one pixel."""
    rng, light = np.random.default_rng(3), room()
    keyframes, t_ns = settled(light, rng)
    light = light.copy()
    light[50:56, 85:91] += 14
    change = keyframes.feed(shot(light, rng), t_ns)
    assert change.reason == "changed" and change.patches[at(3, 5)] and change.moved == 1
    assert keyframes.feed(shot(light, rng), t_ns + FRAME_NS).reason == "still"  # it is in the reference now


def test_a_bucket_is_filled_with_what_moved_most() -> None:
    rng, light = np.random.default_rng(4), room()
    keyframes, t_ns = settled(light, rng)
    plain, _ = settled(light, np.random.default_rng(4), fill=False)
    light = light.copy()
    light[16:32, 16:32] += 40
    light[96:112, 96:112] += 1.5  # less than what counts, more than everything else
    pixels = shot(light, rng)
    change, sent = keyframes.feed(pixels, t_ns), plain.feed(pixels, t_ns)
    assert sent.moved == 1 and sent.count == 1 and sent.patches[at(1, 1)]
    assert change.moved == 1 and change.count == 8 and change.patches[at(1, 1)] and change.patches[at(6, 6)]


def test_slow_drift_is_found_out() -> None:
    """A patch that brightens so slowly that no picture differs from the one before by more than the noise."""
    rng, light = np.random.default_rng(5), room()
    keyframes, t_ns = settled(light, rng)
    sent = []
    for i in range(60):
        light[32:48, 64:80] += 0.4
        change = keyframes.feed(shot(light, rng), t_ns + i * FRAME_NS)
        if change.moved:
            assert change.patches[at(2, 4)]
            sent.append(i)
    assert len(sent) >= 2 and sent[0] < 25  # 10 of 255 at most, and then again


@pytest.mark.parametrize("gain, offset", [(1.06, 0.0), (0.94, 2.0), (1.0, 5.0), (1.1, -6.0)])
def test_a_small_step_of_exposure_is_no_news_and_hides_none(gain: float, offset: float) -> None:
    rng, light = np.random.default_rng(6), room()
    keyframes, t_ns = settled(light, rng)
    for i in range(5):
        change = keyframes.feed(shot(light * gain + offset, rng), t_ns + i * FRAME_NS)
        assert change.reason == "still"
    light = light.copy()
    light[4:12, 100:108] -= 25
    change = keyframes.feed(shot(light * gain + offset, rng), t_ns + 6 * FRAME_NS)
    assert change.reason == "changed" and change.patches[at(0, 6)] and change.moved == 1
    back = keyframes.feed(shot(light, rng), t_ns + 7 * FRAME_NS)  # the reference was kept as at the first exposure
    assert back.reason == "still"


@pytest.mark.parametrize("gain, offset", [(1.4, 0.0), (0.6, 0.0), (1.0, 30.0), (1.0, -25.0)])
def test_a_large_step_of_exposure_is_a_new_scene(gain: float, offset: float) -> None:
    rng, light = np.random.default_rng(7), room()
    keyframes, t_ns = settled(light, rng)
    assert keyframes.feed(shot(light * gain + offset, rng), t_ns).reason == "cut"
    assert keyframes.feed(shot(light * gain + offset, rng), t_ns + FRAME_NS).reason == "still"


def test_a_scene_cut_is_seen_whole() -> None:
    rng = np.random.default_rng(8)
    keyframes, t_ns = settled(room(0), rng)
    change = keyframes.feed(shot(room(1), rng), t_ns)
    assert change.reason == "cut" and change.full and change.patches.all()
    assert keyframes.feed(shot(room(1), rng), t_ns + FRAME_NS).reason == "still"


def test_what_moves_is_not_learnt_as_noise() -> None:
    """A camera that pans from its first picture on, and then stands still before something dim that moves."""
    rng, light = np.random.default_rng(9), room(3, 128, 1024)
    keyframes = Keyframes(refresh_s=0)
    reasons = [keyframes.feed(shot(light[:, 9 * i : 9 * i + 128], rng), i * FRAME_NS).reason for i in range(60)]
    assert reasons == ["first"] + ["cut"] * 59
    for i in range(60, 80):
        keyframes.feed(shot(light[:, 540:668], rng), i * FRAME_NS)
    still = light[:, 540:668].copy()
    still[70:78, 70:78] += 20
    assert keyframes.feed(shot(still, rng), 80 * FRAME_NS).patches[at(4, 4)]


def test_a_camera_that_gets_noisy_is_learnt_again() -> None:
    rng, light = np.random.default_rng(10), room()
    keyframes, t_ns = settled(light, rng, 1.0)
    changes = [keyframes.feed(shot(light, rng, 8.0), t_ns + i * FRAME_NS) for i in range(160)]
    assert changes[0].count > 0 and sum(c.moved for c in changes[100:]) <= 2


def test_something_that_always_moves_is_seen_all_the_time() -> None:
    rng, light = np.random.default_rng(11), room()
    keyframes, t_ns = settled(light, rng)
    last = []
    for i in range(200):
        moved = light.copy()
        moved[20:28, 20 + 4 * (i % 2) : 28 + 4 * (i % 2)] += 60
        last.append(keyframes.feed(shot(moved, rng), t_ns + i * FRAME_NS).patches[at(1, 1)])
    assert all(last[-50:])


def test_everything_is_looked_at_again_every_ten_seconds() -> None:
    rng, light = np.random.default_rng(12), room()
    keyframes = Keyframes()
    full = [i for i in range(120) if keyframes.feed(shot(light, rng), i * FRAME_NS).full]
    assert full == [0, 50, 100]


def test_a_clock_that_jumps_back_changes_nothing() -> None:
    rng, light = np.random.default_rng(13), room()
    keyframes = Keyframes()
    for i in range(20):
        keyframes.feed(shot(light, rng), 10**12 + i * FRAME_NS)
    assert keyframes.feed(shot(light, rng), 5 * FRAME_NS).reason == "still"
    full = [i for i in range(60) if keyframes.feed(shot(light, rng), (6 + i) * FRAME_NS).full]
    assert full == [49]  # ten seconds after the jump


@pytest.mark.parametrize("height, width, patches", [(75, 130, 5 * 9), (1, 1, 1), (16, 16, 1), (224, 224, 196)])
def test_any_size(height: int, width: int, patches: int) -> None:
    rng = np.random.default_rng(14)
    light = room(5, height, width)
    keyframes = Keyframes(refresh_s=0)
    noise = 3.0 if min(height, width) > 4 else 0.0  # a block of one pixel, repeated, averages nothing away
    changes = [keyframes.feed(shot(light, rng, noise), i * FRAME_NS) for i in range(20)]
    assert all(c.patches.shape == (patches,) for c in changes) and changes[-1].reason == "still"
    assert keyframes.feed(shot(255 - light, rng), 20 * FRAME_NS).full


def test_a_picture_of_another_size_is_the_first() -> None:
    rng = np.random.default_rng(15)
    keyframes, t_ns = settled(room(), rng)
    change = keyframes.feed(shot(room(0, 96, 128), rng), t_ns)
    assert change.reason == "first" and len(change.patches) == 48


def test_4k_is_compared_too() -> None:
    keyframes = Keyframes()
    pixels = np.zeros((2160, 3840, 3), np.uint8)
    keyframes.feed(pixels, 0)
    pixels[1000, 2000] = 255
    change = keyframes.feed(pixels, FRAME_NS)
    assert change.moved == 1 and change.patches[1000 // 16 * 240 + 2000 // 16]


def test_at_threshold_0_any_change_of_a_block_counts() -> None:
    pixels = shot(room(), np.random.default_rng(16), 0)
    keyframes = Keyframes(threshold=0, refresh_s=0, fill=False)
    keyframes.feed(pixels, 0)
    assert keyframes.feed(pixels, FRAME_NS).reason == "still"
    pixels = pixels.copy()
    pixels[100, 20, 2] ^= 1
    change = keyframes.feed(pixels, 2 * FRAME_NS)
    assert np.flatnonzero(change.patches).tolist() == [at(6, 1)]
    filled = Keyframes(threshold=0, refresh_s=0)
    filled.feed(shot(room(), np.random.default_rng(16), 0), 0)
    assert filled.feed(pixels, FRAME_NS).count == 8


def test_the_same_pictures_are_decided_alike() -> None:
    def watch() -> list[Change]:
        rng, light, keyframes = np.random.default_rng(17), room(), Keyframes()
        found = []
        for i in range(60):
            light[16 * (i // 8) :, :40] += (i % 8 == 0) * 30
            found.append(keyframes.feed(shot(light, rng), i * FRAME_NS))
        return found

    for a, b in zip(watch(), watch(), strict=True):
        assert a.reason == b.reason and a.moved == b.moved and np.array_equal(a.patches, b.patches)


def test_buckets_hold_and_are_few() -> None:
    for of in (1, 16, 64, 196):
        sizes = {bucket(count, of) for count in range(1, of + 1)}
        assert all(count <= bucket(count, of) <= of for count in range(1, of + 1))
        assert len(sizes) <= of // 16 + 1 and bucket(0, of) == 0
    assert [bucket(n, 64) for n in (1, 8, 9, 16, 32, 33, 64)] == [8, 8, 16, 16, 32, 64, 64]
