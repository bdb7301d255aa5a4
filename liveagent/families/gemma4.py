"""Gemma 4 (Apache-2.0): text decoder of E2B, E4B and 31B, as `Gemma4ForConditionalGeneration` checkpoints lay it out.

Local layers see the last 512 tokens, every sixth or so all of them, with longer heads; the last layers read keys and
values of the last layer of their kind that has its own; each layer has an input of its own for every token. Ear and eye
are in `gemma4_ear.py` and `gemma4_eye.py`. Sources: the checkpoints' `config.json` and the implementation in
`transformers`, against which `tests/test_gemma4.py` compares every number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from liveagent.argument import Argument
from liveagent.errors import ConfigError, ToolError
from liveagent.families.gemma4_eye import most_rows
from liveagent.nn.block import Activation, BlockConfig
from liveagent.nn.chat import Mark, SenseMarks
from liveagent.nn.checkpoint import Checkpoint, Source
from liveagent.nn.rotary import Rope
from liveagent.nn.stack import Stack, StackConfig
from liveagent.tool import Tool

if TYPE_CHECKING:
    from liveagent.nn.framing import Budget
    from liveagent.nn.row_ear import RowEar
    from liveagent.nn.row_eye import RowEye

ARCHITECTURES = ("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM")
ACTIVATIONS: Mapping[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def text_config(checkpoint: Checkpoint, looks_ahead: str | None = None) -> StackConfig:
    """What the decoder of a checkpoint is. `looks_ahead`: whose rows see those behind them, where `config.json` does
    not say. ConfigError for what this family's larger members have and we lack.

    transformers 5.24 has two rules for "vision"; ours is the one by which these were trained (its issue 46711): in
    layers with a window a picture's rows see all of it that is within the window, in the others nobody looks ahead."""
    config: Mapping[str, Any] = checkpoint.config.get("text_config") or checkpoint.config
    if config.get("enable_moe_block"):
        raise ConfigError("Gemma 4 with experts (26B-A4B) is not there yet: take E2B or E4B")
    if (looks_ahead := config.get("use_bidirectional_attention", looks_ahead)) not in (None, "vision"):
        raise ConfigError(f"a Gemma 4 of which {looks_ahead!r} looks ahead cannot read token by token: take another")
    try:
        ahead = most_rows(checkpoint) if looks_ahead and checkpoint.config.get("vision_config") else 0
        return _text_config(config, bool(checkpoint.config.get("tie_word_embeddings", True)), ahead)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{checkpoint.folder}: config.json is no Gemma 4's ({type(error).__name__}: {error})"
        ) from None


def _text_config(config: Mapping[str, Any], tied: bool, ahead: int) -> StackConfig:
    kinds, layers = config["layer_types"], config["num_hidden_layers"]
    if len(kinds) != layers or set(kinds) - {LOCAL, GLOBAL}:
        raise ValueError(f"{layers} layers of kinds {sorted(set(kinds))}")
    first_shared = layers - config.get("num_kv_shared_layers", 0)
    ropes = config["rope_parameters"]
    per_layer = config.get("hidden_size_per_layer_input") or 0
    blocks = []
    for number, kind in enumerate(kinds):
        shared = number >= first_shared
        source = first_shared - 1 - list(reversed(kinds[:first_shared])).index(kind) if shared else None
        heads_of_keys, head_width = _heads(config, number, kind)
        wide = 2 if shared and config.get("use_double_wide_mlp") else 1
        blocks.append(
            BlockConfig(
                width=config["hidden_size"],
                heads=config["num_attention_heads"],
                kv_heads=heads_of_keys,
                head_width=head_width,
                hidden=config["intermediate_size"] * wide,
                norm_eps=config["rms_norm_eps"],
                window=config["sliding_window"] if kind == LOCAL else 0,
                activation=ACTIVATIONS[config["hidden_activation"]],
                scale=1.0,
                qkv_bias=bool(config.get("attention_bias")),
                out_bias=bool(config.get("attention_bias")),
                qk_norm=True,
                value_norm=True,
                post_norms=True,
                values_are_keys=bool(config.get("attention_k_eq_v")) and kind == GLOBAL,
                keys_from=source,
                layer_input=per_layer,
                scaled=True,
            )
        )
    return StackConfig(
        vocab_size=config["vocab_size"],
        width=config["hidden_size"],
        blocks=tuple(blocks),
        norm_eps=config["rms_norm_eps"],
        rope=_rope(ropes[GLOBAL]),
        near_rope=_rope(ropes[LOCAL]),
        embed_scale=config["hidden_size"] ** 0.5,
        tied=tied and bool(config.get("tie_word_embeddings", True)),
        softcap=config.get("final_logit_softcapping") or 0.0,
        layer_vocab=config["vocab_size_per_layer_input"] if per_layer else 0,
        ahead=ahead,
    )


def _heads(config: Mapping[str, Any], number: int, kind: str) -> tuple[int, int]:
    """Heads of keys and their width; hubs' files name the global ones, newer ones name what differs layer by layer."""
    heads, width = config["num_key_value_heads"], config["head_dim"]
    if kind == GLOBAL and "per_layer_config" not in config:
        width = config.get("global_head_dim", 512)
        if config.get("attention_k_eq_v"):
            heads = config.get("num_global_key_value_heads") or heads
    own = (config.get("per_layer_config") or {}).get(str(number), {})
    return own.get("num_key_value_heads", heads), own.get("head_dim", width)


def _rope(parameters: Mapping[str, Any]) -> Rope:
    kind = parameters["rope_type"]
    if kind not in ("default", "proportional"):
        raise ValueError(f"rope_type {kind!r}")
    share = parameters.get("partial_rotary_factor", 1.0) if kind == "proportional" else 1.0
    return Rope(float(parameters["rope_theta"]), float(share), float(parameters.get("factor", 1.0)))


def text_sources(config: StackConfig, prefix: str) -> dict[str, Source]:
    """Where the decoder's tensors stand in a checkpoint, behind `prefix`."""
    sources: dict[str, Source] = {
        "embedding.weight": f"{prefix}embed_tokens.weight",
        "norm.weight": f"{prefix}norm.weight",
    }
    if config.layer_vocab:
        sources["layer_table.weight"] = f"{prefix}embed_tokens_per_layer.weight"
        sources["layer_map.weight"] = f"{prefix}per_layer_model_projection.weight"
        sources["layer_norm.weight"] = f"{prefix}per_layer_projection_norm.weight"
    if not config.tied:
        sources["head.weight"] = "lm_head.weight"
    for number, block in enumerate(config.blocks):
        ours, theirs = f"layers.{number}.", f"{prefix}layers.{number}."
        asked = ["q_proj"]
        if block.keys_from is None:
            asked += ["k_proj"] if block.values_are_keys else ["k_proj", "v_proj"]
            sources[f"{ours}norm_keys.weight"] = f"{theirs}self_attn.k_norm.weight"
        for kind in ("weight", "bias") if block.qkv_bias else ("weight",):
            sources[f"{ours}qkv.{kind}"] = tuple(f"{theirs}self_attn.{each}.{kind}" for each in asked)
            sources[f"{ours}out.{kind}"] = f"{theirs}self_attn.o_proj.{kind}"
        sources |= {
            f"{ours}norm_queries.weight": f"{theirs}self_attn.q_norm.weight",
            f"{ours}norm_attend.weight": f"{theirs}input_layernorm.weight",
            f"{ours}norm_attended.weight": f"{theirs}post_attention_layernorm.weight",
            f"{ours}norm_feed.weight": f"{theirs}pre_feedforward_layernorm.weight",
            f"{ours}norm_fed.weight": f"{theirs}post_feedforward_layernorm.weight",
            f"{ours}gate_up.weight": (f"{theirs}mlp.gate_proj.weight", f"{theirs}mlp.up_proj.weight"),
            f"{ours}down.weight": f"{theirs}mlp.down_proj.weight",
            f"{ours}by": f"{theirs}layer_scalar",
        }
        if block.layer_input:
            sources |= {
                f"{ours}layer_gate.weight": f"{theirs}per_layer_input_gate.weight",
                f"{ours}layer_out.weight": f"{theirs}per_layer_projection.weight",
                f"{ours}norm_layer.weight": f"{theirs}post_per_layer_input_norm.weight",
            }
    return sources


def decoder(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, looks_ahead: str | None = None) -> Stack:
    """The text decoder of a checkpoint, ready to run; `looks_ahead` as for `text_config`. ConfigError: weights and
    `config.json` do not fit."""
    config = text_config(checkpoint, looks_ahead)
    prefix = "model.language_model." if "model.language_model.norm.weight" in checkpoint.names else "model."
    with torch.device("meta"):
        net = Stack(config)
    checkpoint.fill(net, text_sources(config, prefix), dtype)
    return net.eval().requires_grad_(False)


# --- how it hears


def sound_marks(checkpoint: Checkpoint) -> SenseMarks | None:
    """What stands around sound; None for a checkpoint without an ear. Where layers look ids up, sound is padding.
    ConfigError: `config.json` names ids that the decoder has not."""
    said, text = checkpoint.config, checkpoint.config.get("text_config") or {}
    if not said.get("audio_config"):
        return None
    closes = said.get("eoa_token_id", said.get("eoa_token_index", 258_883))
    ids = said.get("boa_token_id", 256_000), said.get("audio_token_id", 258_881), closes, text.get("pad_token_id") or 0
    if not all(type(each) is int and 0 <= each < text.get("vocab_size", 0) for each in ids):
        raise ConfigError(f"{checkpoint.folder}: config.json marks sound with {ids}, which its decoder does not know")
    return SenseMarks(*ids)


def own_ear(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RowEar:
    """The ear whose rows the decoder reads."""
    from liveagent.families.gemma4_ear import ear

    return ear(checkpoint, dtype)


# --- how it sees


def picture_marks(checkpoint: Checkpoint) -> SenseMarks | None:
    """What stands around a picture; None for a checkpoint without an eye. A camera's are written as a film's: the time,
    then the picture. ConfigError: `config.json` names ids that the decoder has not."""
    said, text = checkpoint.config, checkpoint.config.get("text_config") or {}
    if not said.get("vision_config"):
        return None
    ids = (
        said.get("boi_token_id", 255_999), said.get("image_token_id", 258_880), said.get("eoi_token_id", 258_882),
        text.get("pad_token_id") or 0,
    )  # fmt: skip
    if not all(type(each) is int and 0 <= each < text.get("vocab_size", 0) for each in ids):
        raise ConfigError(f"{checkpoint.folder}: config.json marks pictures with {ids}, which its decoder lacks")
    return SenseMarks(*ids, timed=True)


def own_eye(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RowEye:
    """The eye whose rows the decoder reads."""
    from liveagent.families.gemma4_eye import eye

    return eye(checkpoint, dtype)


def framing(checkpoint: Checkpoint) -> Budget:
    """How a camera's pictures are brought to the size of that eye."""
    from liveagent.families.gemma4_eye import video_framing

    return video_framing(checkpoint)


# --- how it calls tools


class Calls:
    """`call:light{room:<|"|>kitchen<|"|>,level:3}` between its marks; strings between marks of their own, so that
    nothing in them need be escaped. Source: "Gemma 4 prompt formatting", ai.google.dev."""

    def __init__(self) -> None:
        self.opens, self.closes, self.quote = Mark("<|tool_call>"), Mark("<tool_call|>"), Mark('<|"|>')

    def write(self, name: str, args: Mapping[str, Any]) -> list[str]:
        return _joined([f"call:{name}", *self._mapping(args)])

    def result(self, name: str, text: str) -> list[str]:
        said = _joined([f"response:{name}", *self._mapping({"value": text})])
        return [Mark("<|tool_response>"), *said, Mark("<tool_response|>")]

    def _mapping(self, values: Mapping[str, Any]) -> list[str]:
        parts = ["{"]
        for number, (key, value) in enumerate(values.items()):
            parts += [f"{',' if number else ''}{key}:", *self._value(value)]
        return [*parts, "}"]

    def _value(self, value: Any) -> list[str]:
        if isinstance(value, str):
            return [self.quote, value, self.quote]
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, list | tuple):
            parts = ["["]
            for number, each in enumerate(value):
                parts += [*([","] if number else []), *self._value(each)]
            return [*parts, "]"]
        if value is None or isinstance(value, bool):  # 0 and 1 are equal to booleans, and none
            return ["null" if value is None else str(value).lower()]
        return [repr(value)]

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        body = text.replace(self.opens, "").replace(self.closes, "").strip()
        found = re.match(r"call:([\w.-]+)(?=\{)", body)
        try:
            if found is None:
                raise ValueError("it does not begin with call:NAME{")
            args, end = self._read(body, found.end())
            if body[end:].strip() or not isinstance(args, dict):
                raise ValueError("something stands behind it")
        except (ValueError, IndexError, RecursionError) as error:
            raise ToolError(f"that is no call ({error}); write call:NAME{{argument:value}}") from None
        return found[1], args

    def _read(self, text: str, at: int) -> tuple[Any, int]:
        """The value that begins at a place, and where it ends. ValueError, IndexError."""
        if text.startswith(self.quote, at):
            end = text.index(self.quote, at + len(self.quote))
            return text[at + len(self.quote) : end], end + len(self.quote)
        if text[at] in "{[":
            named, closing = text[at] == "{", "}" if text[at] == "{" else "]"
            mapping, values, at = dict[str, Any](), list[Any](), at + 1
            while text[at] != closing:
                if named:
                    colon = text.index(":", at)
                    key, at = text[at:colon].strip().strip('"').replace(self.quote, ""), colon + 1
                    mapping[key], at = self._read(text, at)
                else:
                    value, at = self._read(text, at)
                    values.append(value)
                if text[at] == ",":
                    at += 1
            return mapping if named else values, at + 1
        plain = re.compile(r'"(?:[^"\\]|\\.)*"|[^,{}\[\]]+').match(text, at)
        if plain is None:
            raise ValueError(f"nothing stands at {at}")
        return json.loads(plain[0].strip()), plain.end()

    def lark(self, tools: Sequence[Tool], mark: Callable[[str], str]) -> str:
        quote, rules = mark(self.quote), list[str]()
        for number, tool in enumerate(tools):
            rules.append(f'tool{number}: "{tool.name}{{" args{number}_0_0 "}}"')
            arguments = tool.arguments
            for at, argument in enumerate(arguments):
                value = _lark_value(argument, quote)
                for comma in ("0", "1") if at else ("0",):
                    one = f'"{"," if comma == "1" else ""}{argument.name}:" {value} args{number}_{at + 1}_1'
                    left_out = "" if argument.required else f" | args{number}_{at + 1}_{comma}"
                    rules.append(f"args{number}_{at}_{comma}: {one}{left_out}")
            for comma in ("0", "1") if arguments else ("0",):
                rules.append(f'args{number}_{len(arguments)}_{comma}: ""')
        which = " | ".join(f"tool{number}" for number in range(len(tools)))
        return "\n".join([f'start: "call:" ({which})', *rules])


def _joined(parts: Sequence[str]) -> list[str]:
    """What stands between two marks as one text: so it was cut into pieces where the model learnt it."""
    found: list[str] = []
    for part in parts:
        if found and not isinstance(part, Mark) and not isinstance(found[-1], Mark):
            found[-1] += part
        else:
            found.append(part)
    return found


LISTED = 300
"""Up to so many values of a number are listed in the grammar; over that any passes, and the tool's check decides."""


def _lark_value(argument: Argument, quote: str) -> str:
    if argument.kind == "text":
        return f"{quote} /[^<\\n]{{1,400}}/ {quote}"
    if argument.kind == "bool":
        return '("true" | "false")'
    if argument.kind in ("int", "float") and len(argument.slots) > LISTED:
        whole = "-?(0|[1-9][0-9]{0,8})"
        return f"/{whole}/" if argument.kind == "int" else f"/{whole}(\\.[0-9]{{1,6}})?/"
    values = dict.fromkeys(argument.choices or argument.slots.values())
    written = (f"{quote} {json.dumps(v)} {quote}" if isinstance(v, str) else json.dumps(json.dumps(v)) for v in values)
    return f"({' | '.join(written)})"
