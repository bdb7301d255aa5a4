"""`Plan`: what an agent listens for, and `Cost`: what its model needs of a machine; both known without loading it.

The arithmetic is of what a checkpoint's settings and headers say (`Release`), and exact: the bytes of the weights as
they will lie in memory, and those of the rolling cache, layer by layer. How long a step takes is an estimate: a step
reads the decoder's weights once, so it takes at least their bytes divided by what the memory gives in a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liveagent.errors import ConfigError
from liveagent.header import Stored
from liveagent.release import Release
from liveagent.window import Budget

TICK_MS = 80.0
CACHE_TOKENS = 1536
"""What a session with nano holds unless it is told otherwise."""
OPEN_TOKENS = 8192
"""The same with an open model, where it reads so many: its tools and its pictures take more."""
FILM_ROWS = 70
"""Rows of a camera's picture, where no processor's file says otherwise."""
ASKING = 4
"""One layer in so many asks again who has changed (`liveagent.nn.vit`)."""
MOST_TOKENS = 1 << 20
BACK_TOKENS = 256
"""What layers with a window must be able to take back at any time, beside what they see."""
BLOCK_TOKENS = 32
"""The longest piece that is read at once."""
PICTURE_ROWS = 280
"""Of the largest picture, where a processor's file says nothing else: where its rows see each other, they are read at
once too."""
PROCESS_BYTES = 600_000_000
"""What a process with torch, a step's own numbers, and what is read of files at once take beside weights and cache."""
DTYPES = {"float32": 4, "bfloat16": 2}
NAMES = {"F64": "float32", "F32": "float32", "BF16": "bfloat16", "F16": "bfloat16"}
QUANTIZE = ("int8", "int4")
GROUP = 32
"""Numbers that share a step and a middle in int4, at most; in int8 a row shares a scale."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The layers of a decoder that hold keys. Of those that see everything: how many `layers`, their `heads` of keys
    and the heads' `width`; of those with a `window` the same, `near`; `row`: how many numbers an input row has.
    `places`: how many the model has learnt, None where nobody says; `ahead`: how many rows of a picture see each
    other, in layers with a window."""

    layers: int
    heads: int
    width: int
    near_layers: int
    near_heads: int
    near_width: int
    window: int
    row: int
    places: int | None = None
    ahead: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> CacheShape | None:
        """From a `config.json`; None where it speaks of no decoder whose cache rolls. ConfigError: it is damaged."""
        text = config.get("text_config", config)
        if not isinstance(text, Mapping) or "num_key_value_heads" not in text or config.get("is_encoder_decoder"):
            return None
        try:
            return cls._of(text, bool(config.get("vision_config")))
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            why = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"config.json says nothing sensible of the decoder's layers ({why}): fetch it again"
            ) from None

    @classmethod
    def _of(cls, text: Mapping[str, Any], sees: bool) -> CacheShape:
        count, width = int(text["num_hidden_layers"]), int(text["hidden_size"])
        kinds: Sequence[str] = text.get("layer_types") or ["full_attention"] * count
        if len(kinds) != count:
            raise ValueError(f"{len(kinds)} kinds of {count} layers")
        own = count - int(text.get("num_kv_shared_layers") or 0)
        heads, head = (
            int(text["num_key_value_heads"]),
            int(text.get("head_dim") or width // text["num_attention_heads"]),
        )
        each: Mapping[str, Any] = text.get("per_layer_config") or {}
        far_heads, far_head, near_heads, near_head = heads, head, heads, head
        if not each:  # older files name what is different of the layers that see everything
            far_head = int(text.get("global_head_dim") or head)
            if text.get("attention_k_eq_v"):
                far_heads = int(text.get("num_global_key_value_heads") or heads)
        for number, kind in enumerate(kinds):
            said = each.get(str(number), {})
            if kind == "full_attention":
                far_heads, far_head = said.get("num_key_value_heads", far_heads), said.get("head_dim", far_head)
            else:
                near_heads, near_head = said.get("num_key_value_heads", near_heads), said.get("head_dim", near_head)
        near = sum(1 for kind in kinds[:own] if kind != "full_attention")
        tables = bool(text.get("hidden_size_per_layer_input"))
        window = int(text["sliding_window"]) if near else 0
        places = places_of(text)
        ahead = PICTURE_ROWS if sees and text.get("use_bidirectional_attention") else 0
        row = width + tables + bool(ahead)
        return cls(own - near, far_heads, far_head, near, near_heads, near_head, window, row, places, ahead)

    def size_bytes(self, tokens: int, lanes: int, number_bytes: int, back: int = BACK_TOKENS) -> int:
        """What `KVCache` allocates: keys, values and raw keys of layers that see everything, keys and values of a ring
        of those that do not, rows, and the tables of slots."""
        ring = self.window + max(back, self.ahead) + BLOCK_TOKENS if self.near_layers else 0
        far = 3 * self.layers * self.heads * tokens * self.width
        near = 2 * self.near_layers * self.near_heads * ring * self.near_width
        tables = tokens * (4 * 8 + 1) + ring * 8 + 8 * 8
        return lanes * ((far + near) * number_bytes + tokens * self.row * 4 + tables)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model needs here. `weights`: bytes in memory of each part, "decoder", "ear", "eye", and "table", which is
    looked up in, quantised where they are, which is done as they are read (`nn/checkpoint.py`);
    `sorted_bytes`: of the second copy that a CPU's products read, sorted for them (`nn/linear.py`);
    `free_bytes` of the memory where it would run, None where nobody says; `bandwidth`: bytes a second
    that this memory gives, measured, None where it was not; `instead`: what would fit, where this does not;
    `ear`: of a pretrained ear that runs beside it, in a process of its own."""

    model: str
    family: str
    licence: str
    numbers: int
    file_bytes: int
    download_bytes: int
    dtype: str
    quantize: str | None
    cache_tokens: int
    lanes: int
    weights: Mapping[str, int]
    cache_bytes: int
    sight_bytes: int = 0
    sorted_bytes: int = 0
    free_bytes: int | None = None
    bandwidth: float | None = None
    instead: tuple[str, ...] = ()
    ear: Cost | None = None

    @property
    def weights_bytes(self) -> int:
        return sum(self.weights.values())

    @property
    def memory_bytes(self) -> int:
        """The most that it takes at any time, with the ear beside it."""
        return self.own_bytes + (0 if self.ear is None else self.ear.memory_bytes)

    @property
    def own_bytes(self) -> int:
        """The same without that ear."""
        return self.weights_bytes + self.sorted_bytes + self.cache_bytes + self.sight_bytes + PROCESS_BYTES

    @property
    def fits(self) -> bool | None:
        """Whether it fits into what is free; None where nobody knows what is."""
        return None if self.free_bytes is None else self.memory_bytes <= self.free_bytes

    @property
    def step_bytes(self) -> int:
        """What is read of memory to hear one piece of sound and read or write one token."""
        return self.weights.get("decoder", 0) + self.weights.get("ear", 0)

    @property
    def step_ms(self) -> float | None:
        """An estimate, and no promise: the weights' way through the memory, and nothing else."""
        return None if self.bandwidth is None else self.step_bytes / self.bandwidth * 1e3

    @property
    def tick_ms(self) -> float | None:
        """The tick to expect, estimated: the usual one where a step fits into it, else as long as a step."""
        return None if self.step_ms is None else max(TICK_MS, self.step_ms)

    @property
    def refusal(self) -> str | None:
        """Why it cannot be loaded, and what could; None where it can, as far as anybody knows."""
        if self.fits is not False:
            return None
        need, free = self.memory_bytes / 1e9, (self.free_bytes or 0) / 1e9
        would = f"; these would fit: {'; '.join(self.instead)}" if self.instead else "; take a smaller model"
        who = self.model if self.ear is None else f"{self.model} with the ear {self.ear.model}"
        return f"{who} needs {need:.1f} GB of memory, and {free:.1f} GB are free{would}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent will listen for and load, known without loading it. `cost`: of a model of a family's; None of nano,
    which costs next to nothing. `ear`: of its pretrained ear, None where it has none."""

    model: str
    weights: Path | None  # None: the weights that come with the package, or ones that are not there yet
    weights_bytes: int
    tools: tuple[str, ...]
    sentences: int  # that can be heard within the grammar
    words: int
    states: int
    typed_only: tuple[str, ...]  # phrases with free text: matched on words, never searched in sound
    camera: str | None  # what it looks at when nothing else is given
    watches: tuple[str, ...]  # the conditions that it waits for
    cost: Cost | None = None
    ear: Cost | None = None


def cost_of(
    release: Release,
    family: str,
    part_of: Iterable[tuple[str, str]] = (),
    dtype: str | None = None,
    quantize: str | None = None,
    cache_tokens: int = CACHE_TOKENS,
    lanes: int = 1,
    licence: str = "",
    sorts: bool = False,
) -> Cost:
    """What a model costs in memory. `part_of`: whose weights a tensor is among, by what its name contains; else the
    decoder's. `dtype`: None takes that in which most are stored. `sorts`: whether matrices are sorted for running,
    which those that are quantised are not. ConfigError for what nobody could load."""
    check_precision(dtype, quantize)
    if not 64 <= cache_tokens <= MOST_TOKENS:
        raise ConfigError(f"cache_tokens={cache_tokens}: give a number from 64 to {MOST_TOKENS}")
    chosen, parts = dtype or stored_dtype(release), tuple(part_of)
    untied = any(name.startswith("lm_head.") or ".lm_head." in name for name in release.tensors)
    copied = 0
    weights = dict.fromkeys(("decoder", "ear", "eye", "table"), 0)
    for name, tensor in release.tensors.items():
        part = next((part for contained, part in parts if contained in name), "decoder")
        if part == "decoder" and untied and name.endswith("embed_tokens.weight"):
            part = "table"  # rows of it are looked up, and the way back has weights of its own
        if (
            sorts
            and part in ("decoder", "ear", "eye")
            and tensor.is_float
            and len(tensor.shape) >= 2
            and tensor.shape[1] > 1
            and all(side == 1 for side in tensor.shape[2:])  # a convolution of one place is a matrix
            and (not quantize or part != "decoder")
        ):
            copied += tensor_bytes(tensor, chosen)
        rounded = quantize if part in ("decoder", "table") else None
        if rounded is not None and not untied and name.endswith("embed_tokens.weight"):
            rounded = "int8"  # what is the output too decides which word is said
        weights[part] += tensor_bytes(tensor, chosen, rounded)
    shape = CacheShape.of(release.config)
    if shape is not None:
        check_places(cache_tokens, shape.places, release.name)
    cache_bytes = 0 if shape is None else shape.size_bytes(cache_tokens, lanes, DTYPES[chosen])
    return Cost(
        model=release.name,
        family=family,
        licence=release.licence or licence,
        numbers=sum(each.count for each in release.tensors.values()),
        file_bytes=release.file_bytes,
        download_bytes=release.download_bytes,
        dtype=chosen,
        quantize=quantize,
        cache_tokens=0 if shape is None else cache_tokens,
        lanes=lanes,
        weights={part: size for part, size in weights.items() if size},
        cache_bytes=cache_bytes,
        sight_bytes=lanes * sight_numbers(release.config) * DTYPES[chosen],
        sorted_bytes=copied,
    )


def sight_numbers(config: Mapping[str, Any]) -> int:
    """How many numbers a lane keeps of the picture before, from which a vision transformer sees the next; those that an
    eye without one keeps are not worth counting."""
    said, text = config.get("vision_config"), config.get("text_config")
    if not isinstance(said, Mapping) or not isinstance(text, Mapping):
        return 0
    names = "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"
    layers, width, heads, kv_heads, head = (each if type(each := said.get(name)) is int else 0 for name in names)
    if not layers or not head:
        return 0
    group, rows = said.get("pooling_kernel_size"), text.get("hidden_size")
    patches = FILM_ROWS * (group if type(group) is int else 3) ** 2
    each = (layers + 1) * width + layers * (heads + 2 * kv_heads) * head
    asked = -(-layers // ASKING) * (width + heads * head + 1)
    return patches * (each + asked) + FILM_ROWS * (rows if type(rows) is int else 0)


def clip_bytes(config: Mapping[str, Any]) -> int:
    """What an ear that writes down whole clips keeps of one, in float32; 0 of an ear that does not."""
    names = ("decoder_layers", "d_model", "max_source_positions", "max_target_positions")
    layers, width, heard, written = (each if type(each := config.get(name)) is int else 0 for name in names)
    return 2 * layers * width * (heard + written) * DTYPES["float32"]


def check_precision(dtype: str | None, quantize: str | None) -> None:
    """ConfigError for a precision that no model's weights can have."""
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype={dtype!r}: give one of {', '.join(DTYPES)}")
    if quantize is not None and quantize not in QUANTIZE:
        raise ConfigError(f"quantize={quantize!r}: give one of {', '.join(QUANTIZE)}, or none")


def check_cache_tokens(tokens: int | None) -> None:
    """ConfigError for a number of tokens that no session's cache can have."""
    if tokens is None:
        return
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 0 < tokens <= MOST_TOKENS:
        raise ConfigError(f"cache_tokens={tokens!r}: give a whole number up to {MOST_TOKENS}, or none")
    Budget.of(tokens)


def check_places(tokens: int, places: int | None, model: str) -> None:
    """ConfigError: a cache of so many tokens is longer than what a model has learnt to read."""
    if places is not None and tokens > places:
        raise ConfigError(f"{model} reads {places} tokens at most, and not {tokens}: --cache-tokens {places} or fewer")


def places_of(config: Mapping[str, Any]) -> int | None:
    """How many places a decoder has learnt, as its `config.json` says it; None where it says nothing of them."""
    text = config.get("text_config", config)
    said = text.get("max_position_embeddings") if isinstance(text, Mapping) else None
    return said if type(said) is int and said > 0 else None


def usual_tokens(config: Mapping[str, Any]) -> int:
    """What a session with an open model holds unless it is told otherwise."""
    return min(OPEN_TOKENS, places_of(config) or OPEN_TOKENS)


def stored_dtype(release: Release) -> str:
    """The dtype in which most of a checkpoint's numbers lie."""
    counts: dict[str, int] = {}
    for each in release.tensors.values():
        if each.dtype in NAMES:
            counts[NAMES[each.dtype]] = counts.get(NAMES[each.dtype], 0) + each.count
    return max(counts, key=lambda name: counts[name], default="float32")


def tensor_bytes(tensor: Stored, dtype: str, quantize: str | None = None) -> int:
    """What a tensor takes in memory; of those that are quantised only matrices are, as `nn/quant.py` does it."""
    if not tensor.is_float:
        return tensor.size_bytes
    if quantize is None or len(tensor.shape) != 2:
        return tensor.count * DTYPES[dtype]
    rows, columns = tensor.shape
    if quantize == "int8" or columns % 16:
        return tensor.count + rows * DTYPES[dtype]
    return tensor.count // 2 + tensor.count // min(GROUP, columns & -columns) * 4


def with_advice(cost: Cost, others: Sequence[Cost], siblings: Mapping[str, float]) -> Cost:
    """The same cost with what would fit instead of it: the first of each precision of `others`, which are of the same
    model, and of `siblings`, by how many numbers they have, those that are smaller."""
    if cost.fits is not False or cost.free_bytes is None:
        return cost
    advice, kinds = [], set()
    for each in others:
        if each.memory_bytes <= cost.free_bytes and (kind := (each.dtype, each.quantize)) not in kinds:
            kinds.add(kind)
            told = [each.dtype] if each.dtype != cost.dtype else []
            told += [each.quantize] if each.quantize and each.quantize != cost.quantize else []
            told += [f"a cache of {each.cache_tokens} tokens"] if each.cache_tokens != cost.cache_tokens else []
            advice.append(f"{' with '.join(told)} ({each.memory_bytes / 1e9:.1f} GB)")
    if cost.ear is not None and cost.own_bytes <= cost.free_bytes:
        advice.append(f"no --ear ({cost.own_bytes / 1e9:.1f} GB)")
    for name, numbers in siblings.items():
        share = numbers / max(1, cost.numbers)
        about = share * (cost.weights_bytes + cost.sorted_bytes) + cost.memory_bytes - cost.own_bytes
        about += cost.cache_bytes + PROCESS_BYTES
        if share < 0.9 and about <= cost.free_bytes:
            advice.append(f"{name} (about {about / 1e9:.0f} GB)")
    return replace(cost, instead=tuple(advice))
