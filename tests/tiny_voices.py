"""Voices in the right shape with almost nothing in them: each phone a tone of its own, each blank silence.

Every phone but blanks and punctuation lasts two frames and sounds; a blank lasts longer and is silent. So where a word
is can be heard in the samples themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto as T  # noqa: E402
from onnx import helper as h  # noqa: E402
from onnx import numpy_helper  # noqa: E402

SILENT = " ,.;:!?—…"
PIPER_HZ, PIPER_HOP = 22_050, 256
KOKORO_HZ, KOKORO_HOP = 24_000, 600
SOUND_FRAMES, SILENT_FRAMES = 2.0, 8.0


def _constants(**values: Any) -> list[Any]:
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _speech(
    ids: str, scale: str, frames: dict[int, float], rounded: str, hz: int, hop: int
) -> tuple[list[Any], list[Any]]:
    """Nodes from `ids` [1, L] and `scale` [1] to `widths` [1, L], in frames, and `wave` [samples]."""
    size = max(frames) + 1
    lasts = np.zeros(size, np.float32)
    tone = np.zeros(size, np.float32)
    loud = np.zeros(size, np.float32)
    for number, count in frames.items():
        lasts[number], tone[number] = count, 300 + 10 * number
        loud[number] = 0.5 if 0 < count <= SOUND_FRAMES else 0.0
    constants = _constants(
        lasts=lasts, tone=2 * np.pi / hz * tone, loud=loud, one=np.array([1], np.int64), zero=np.int64(0),
        step=np.int64(1), hop=np.int64(hop), column=np.array([-1, 1], np.int64), flat=np.array([-1], np.int64),
    )  # fmt: skip
    n = h.make_node
    nodes = [
        n("Gather", ["lasts", ids], ["each"]),
        n("Mul", ["each", scale], ["scaled"]),
        n(rounded, ["scaled"], ["widths"]),
        n("Reshape", ["widths", "flat"], ["row"]),
        n("CumSum", ["row", "zero"], ["ends"]),
        n("ReduceSum", ["row"], ["sum"], keepdims=0),
        n("Cast", ["sum"], ["total"], to=T.INT64),
        n("Range", ["zero", "total", "step"], ["frames"]),
        n("Cast", ["frames"], ["frames_f"], to=T.FLOAT),
        n("Reshape", ["frames_f", "column"], ["frame_column"]),
        n("LessOrEqual", ["ends", "frame_column"], ["past"]),
        n("Cast", ["past"], ["past_n"], to=T.INT64),
        n("ReduceSum", ["past_n", "one"], ["which"], keepdims=0),
        n("Reshape", [ids, "flat"], ["id_row"]),
        n("Gather", ["id_row", "which"], ["sounding"]),
        n("Gather", ["tone", "sounding"], ["tones"]),
        n("Gather", ["loud", "sounding"], ["louds"]),
        n("Reshape", ["tones", "column"], ["tone_column"]),
        n("Reshape", ["louds", "column"], ["loud_column"]),
        n("Mul", ["total", "hop"], ["samples"]),
        n("Range", ["zero", "samples", "step"], ["times"]),
        n("Cast", ["times"], ["times_f"], to=T.FLOAT),
        n("Concat", ["flat", "hops"], ["grid"], axis=0),
        n("Reshape", ["times_f", "grid"], ["time_grid"]),
        n("Mul", ["time_grid", "tone_column"], ["angle"]),
        n("Sin", ["angle"], ["sine"]),
        n("Mul", ["sine", "loud_column"], ["waves"]),
        n("Reshape", ["waves", "flat"], ["wave"]),
    ]
    return nodes, [*constants, *_constants(hops=np.array([hop], np.int64))]


def _forever(ids: str, more_than: int) -> tuple[list[Any], list[Any]]:
    """`still` [], a zero that takes longer than anybody waits where there are more ids than that."""
    body = h.make_graph(
        [h.make_node("Identity", ["on"], ["on_out"]), h.make_node("MatMul", ["held", "held"], ["held_out"])],
        "again",
        [
            h.make_tensor_value_info("turn", T.INT64, []),
            h.make_tensor_value_info("on", T.BOOL, []),
            h.make_tensor_value_info("held", T.FLOAT, [64, 64]),
        ],
        [h.make_tensor_value_info("on_out", T.BOOL, []), h.make_tensor_value_info("held_out", T.FLOAT, [64, 64])],
    )
    nodes = [
        h.make_node("Size", [ids], ["size"]),
        h.make_node("Greater", ["size", "most"], ["too_many"]),
        h.make_node("Cast", ["too_many"], ["too_many_n"], to=T.INT64),
        h.make_node("Mul", ["too_many_n", "long"], ["turns"]),
        h.make_node("Loop", ["turns", "yes", "nothing"], ["last"], body=body),
        h.make_node("ReduceSum", ["last"], ["still"], keepdims=0),
    ]
    return nodes, _constants(
        most=np.int64(more_than), long=np.int64(1 << 40), yes=np.bool_(True), nothing=np.zeros((64, 64), np.float32)
    )


def _save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]) -> Path:
    graph = h.make_graph(nodes, "voice", inputs, outputs, constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def piper_voice(
    folder: Path, name: str = "tiny", *, tells: bool = True, language: str = "en-us", speakers: int = 1,
    hangs_above: int = 0, kind: str = "espeak",
) -> Path:  # fmt: skip
    """A file as piper's, with its settings. tells: whether durations can be had from it. hangs_above: more ids than
    that are never done."""
    from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP

    ids = {phone: list(numbers) for phone, numbers in DEFAULT_PHONEME_ID_MAP.items()}
    frames = {
        numbers[0]: 0.0 if phone in "_^$ˈˌ" else SILENT_FRAMES if phone in SILENT else SOUND_FRAMES
        for phone, numbers in ids.items()
    }
    nodes, constants = _speech("input", "length_scale", frames, "Ceil" if tells else "Round", PIPER_HZ, PIPER_HOP)
    nodes.insert(0, h.make_node("Gather", ["scales", "second"], ["length_scale"]))
    constants += _constants(second=np.array([1], np.int64), shape=np.array([1, 1, 1, -1], np.int64))
    last = "wave"
    if hangs_above:
        more, held = _forever("input", hangs_above)
        nodes += [*more, h.make_node("Add", ["wave", "still"], ["waited"])]
        constants += held
        last = "waited"
    nodes.append(h.make_node("Reshape", [last, "shape"], ["output"]))
    inputs = [
        h.make_tensor_value_info("input", T.INT64, [1, "phonemes"]),
        h.make_tensor_value_info("input_lengths", T.INT64, [1]),
        h.make_tensor_value_info("scales", T.FLOAT, [3]),
    ]
    if speakers > 1:
        inputs.append(h.make_tensor_value_info("sid", T.INT64, [1]))
    output = h.make_tensor_value_info("output", T.FLOAT, [1, 1, 1, "samples"])
    path = _save(folder / f"{name}.onnx", nodes, inputs, [output], constants)
    settings = {
        "audio": {"sample_rate": PIPER_HZ, "quality": "tiny"}, "espeak": {"voice": language}, "phoneme_type": kind,
        "num_symbols": 256, "num_speakers": speakers, "hop_length": PIPER_HOP, "phoneme_id_map": ids,
        "speaker_id_map": {f"speaker{n}": n for n in range(speakers)} if speakers > 1 else {},
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
    }  # fmt: skip
    path.with_name(f"{path.name}.json").write_text(json.dumps(settings))
    return path


def kokoro_voice(folder: Path, name: str = "kokoro", *, tells: bool = True, hangs_above: int = 0) -> Path:
    """A file as Kokoro's with three speakers beside it, the second half as loud as the first. tells: whether it hands
    out durations."""
    from kokoro_onnx.config import DEFAULT_VOCAB

    frames = {
        number: 0.0 if phone in "ˈˌ" else SILENT_FRAMES / 2 if phone in SILENT else SOUND_FRAMES
        for phone, number in DEFAULT_VOCAB.items()
    } | {0: SILENT_FRAMES}
    nodes, constants = _speech("tokens", "slow", frames, "Ceil", KOKORO_HZ, KOKORO_HOP)
    nodes.insert(0, h.make_node("Reciprocal", ["speed"], ["slow"]))
    nodes += [
        h.make_node("ReduceMean", ["style"], ["volume"], keepdims=0),
        h.make_node("Mul", ["wave", "volume"], ["said"]),
    ]
    last = "said"
    if hangs_above:
        more, held = _forever("tokens", hangs_above)
        nodes += [*more, h.make_node("Add", ["said", "still"], ["waited"])]
        constants += held
        last = "waited"
    nodes.append(h.make_node("Identity", [last], ["audio"]))
    inputs = [
        h.make_tensor_value_info("tokens", T.INT64, [1, "tokens"]),
        h.make_tensor_value_info("style", T.FLOAT, [1, 256]),
        h.make_tensor_value_info("speed", T.FLOAT, [1]),
    ]
    outputs = [h.make_tensor_value_info("audio", T.FLOAT, ["samples"])]
    if tells:
        nodes.append(h.make_node("Cast", ["row"], ["duration"], to=T.INT64))
        outputs.append(h.make_tensor_value_info("duration", T.INT64, ["tokens"]))
    path = _save(folder / f"{name}.onnx", nodes, inputs, outputs, constants)
    style = np.ones((510, 1, 256), np.float32)
    with (folder / "voices-v1.0.bin").open("wb") as file:
        np.savez(file, af_heart=style, bf_emma=style / 2, xx_nobody=style)
    return path
