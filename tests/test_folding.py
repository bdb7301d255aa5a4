"""Weights that are rounded while they are read: the same to the bit as afterwards, and never whole in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from liveagent import ConfigError, DeviceError
from liveagent.nn import checkpoint, quant
from liveagent.nn.block import BlockConfig
from liveagent.nn.checkpoint import CONFIG, Checkpoint, Made, Source
from liveagent.nn.linear import Linear
from liveagent.nn.quant import KINDS, Folding, QuantEmbedding, quantised, weight_bytes
from liveagent.nn.stack import Stack, StackConfig

BLOCK = BlockConfig(64, 4, 2, 32, 128, qk_norm=True, layer_input=32, qkv_bias=True)


def config(tied: bool) -> StackConfig:
    return StackConfig(192, 64, (BLOCK, BLOCK), layer_vocab=192, tied=tied)


def written(folder: Path, tied: bool) -> dict[str, Source]:
    """A stack's weights in two files; where they stand: each alone, in three parts, or made of one."""
    torch.manual_seed(1)
    tensors = {name: torch.randn(each.shape).bfloat16() for name, each in Stack(config(tied)).state_dict().items()}
    sources: dict[str, Source] = {name: name for name in tensors}
    whole = tensors.pop("layers.0.qkv.weight")
    tensors |= {f"part{n}": each.contiguous() for n, each in enumerate(whole.split((100, 1, len(whole) - 101)))}
    sources["layers.0.qkv.weight"] = ("part0", "part1", "part2")
    sources["layers.1.down.weight"] = Made(("layers.1.down.weight",), torch.neg)
    names = sorted(tensors)
    places = {name: f"model-{n % 2}.safetensors" for n, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / CONFIG).write_text("{}")
    return sources


def filled(folder: Path, sources: dict[str, Source], tied: bool, dtype: torch.dtype, kind: str | None) -> Stack:
    found = Checkpoint.open(folder)
    found.fold = None if kind is None else Folding(kind)
    with torch.device("meta"):
        net = Stack(config(tied))
    found.fill(net, sources, dtype)
    assert not found.unread
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_is_rounded_afterwards_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, tied: bool, dtype: torch.dtype
) -> None:
    sources = written(tmp_path, tied)
    after = quantised(filled(tmp_path, sources, tied, dtype, None), kind)
    monkeypatch.setattr(checkpoint, "READ_BYTES", 1000)
    monkeypatch.setattr(quant, "TILE", 1000)
    net = filled(tmp_path, sources, tied, dtype, kind)
    assert not [each for each in net.modules() if type(each) is Linear] and isinstance(net.embedding, QuantEmbedding)
    ours, theirs = quantised(net, kind).state_dict(), after.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(each, theirs[name]) for name, each in ours.items())
    assert net.rows_apart == after.rows_apart and weight_bytes(net) == weight_bytes(after)
    rows = torch.randn(1, 5, 64)
    with torch.no_grad():
        assert torch.equal(net(torch.arange(5)[None]), after(torch.arange(5)[None])) and rows.isfinite().all()


def test_what_is_no_stack_is_left_as_it_is(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3, 32), "bias": torch.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / CONFIG).write_text("{}")
    found = Checkpoint.open(tmp_path)
    found.fold = Folding("int8")
    with torch.device("meta"):
        net = Linear(32, 3)
    found.fill(net, {"weight": "weight", "bias": "bias"})
    assert torch.equal(net.weight, torch.ones(3, 32))


def test_what_contradicts_the_config_is_said_as_ever(tmp_path: Path) -> None:
    sources = written(tmp_path, True)
    says = "has the shape .*, but config.json speaks of .*: take both from the same release"
    for wrong in ("part0", ("part0", "part1"), ("part0", "layers.0.down.weight")):
        with pytest.raises(ConfigError, match=says):
            filled(tmp_path, sources | {"layers.1.qkv.weight": wrong}, True, torch.float32, "int8")
    with pytest.raises(ConfigError, match="holds no weights 'part9'"):
        filled(tmp_path, sources | {"layers.1.qkv.weight": "part9"}, True, torch.float32, "int8")
    with pytest.raises(ConfigError, match="int8 or int4, not 'int3'"):
        Folding("int3")


def test_it_asks_for_the_memory_of_what_is_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = written(tmp_path, False)
    needed = weight_bytes(filled(tmp_path, sources, False, torch.float32, "int4"))
    monkeypatch.setattr(checkpoint, "free_memory", lambda: needed)
    filled(tmp_path, sources, False, torch.float32, "int4")
    with pytest.raises(DeviceError, match="of memory are free"):
        filled(tmp_path, sources, False, torch.float32, None)
    monkeypatch.setattr(checkpoint, "free_memory", lambda: needed - 1)
    with pytest.raises(DeviceError, match="of memory are free"):
        filled(tmp_path, sources, False, torch.float32, "int4")


def test_a_row_that_is_read_alone_is_that_row(tmp_path: Path) -> None:
    written(tmp_path, True)
    found = Checkpoint.open(tmp_path)
    whole: Tensor = found.read("part0")
    assert found.shape("part0") == whole.shape
    assert torch.equal(found.read("part0", slice(7, 9)), whole[7:9])


CHILD = """
import sys
from pathlib import Path
import torch
from liveagent.nn import checkpoint as files
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.quant import Folding, quantised, weight_bytes
from liveagent.families.llama import decoder

folder, status = Path(sys.argv[1]), Path("/proc/self/status")
files.READ_BYTES = 16 << 20
quantised(decoder(Checkpoint.open(folder / "small")), "int8")  # what torch takes once

def said(name):
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name)) * 1024

for dtype, reading in ((torch.bfloat16, True), (torch.float32, True), (torch.float32, False)):
    Path("/proc/self/clear_refs").write_text("5")
    before, checkpoint = said("VmRSS"), Checkpoint.open(folder)
    checkpoint.fold = Folding("int8") if reading else None
    net = quantised(decoder(checkpoint, dtype), "int8")
    print(weight_bytes(net), said("VmHWM") - before)
    del net, checkpoint
"""


def llama(folder: Path, width: int, vocab: int, layers: int) -> int:
    """A Llama of nothing but noughts and one; returns how many bytes it has."""
    folder.mkdir(exist_ok=True)
    said = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": width, "intermediate_size": 3 * width,
        "num_hidden_layers": layers, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": vocab,
        "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(said))
    tensors: dict[str, tuple[int, ...]] = {"model.norm.weight": (width,)}
    tensors |= {name: (vocab, width) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    for n in range(layers):
        at = f"model.layers.{n}."
        tensors |= {f"{at}self_attn.{each}_proj.weight": (width, width) for each in "qkvo"}
        tensors |= {f"{at}{each}_layernorm.weight": (width,) for each in ("input", "post_attention")}
        tensors |= {f"{at}mlp.{each}_proj.weight": (3 * width, width) for each in ("gate", "up")}
        tensors[f"{at}mlp.down_proj.weight"] = width, 3 * width
    held = {name: torch.ones(shape, dtype=torch.bfloat16) for name, shape in tensors.items()}
    save_file(held, folder / "model.safetensors")
    return sum(each.nbytes for each in held.values())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no /proc that says what a process held at most")
def test_what_is_held_at_most_is_what_is_rounded_and_a_few_rows(tmp_path: Path) -> None:
    """Of a checkpoint of 300 MB, two thirds of it two tables; measured by the kernel."""
    stored = llama(tmp_path, 1024, 50_000, 4)
    llama(tmp_path / "small", 64, 100, 1)
    told = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], check=True, text=True, timeout=120, stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1], env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    halves, floats, afterwards = ([int(each) for each in line.split()] for line in told.stdout.splitlines())
    for weights, _ in (halves, floats, afterwards):
        assert stored * 0.5 <= weights < stored * 0.52
    assert halves[1] < 1.5 * halves[0] and floats[1] < 1.5 * floats[0]
    assert afterwards[1] > 3 * afterwards[0]
