"""nano's decoder: a small `Stack` over pieces, and what an ear and an eye put into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn.block import BlockConfig
from liveagent.nn.linear import Linear
from liveagent.nn.projector import Projector
from liveagent.nn.rotary import Rope
from liveagent.nn.stack import DecoderState, Stack, StackConfig

__all__ = ["Decoder", "DecoderConfig", "DecoderState"]

FORMAT, VERSION = "liveagent.decoder", 1


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that fixes the decoder's tensors' shapes and its arithmetic."""

    vocab_size: int
    width: int = 256
    layers: int = 4
    heads: int = 4
    hidden: int = 640
    hear_width: int = 160
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    time_pairs: int = 0
    """How many of a head's slowest pairs turn with time instead of place in order."""
    sight_width: int = 0
    """Numbers an eye says of a cell, 0: no eyes."""
    sight_cells: int = 16
    kv_heads: int = 0
    """Heads of keys and values, each read by `heads / kv_heads` heads of queries; 0: as many as `heads`."""
    windows: tuple[int, ...] = ()
    """For each layer how many of the last tokens it sees, 0: all of them; (): every layer sees all of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))  # a list, where it comes from a file

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def key_heads(self) -> int:
        return self.kv_heads or self.heads

    def window(self, layer: int) -> int:
        """How many of the last tokens a layer sees; 0: all of them."""
        return self.windows[layer] if self.windows else 0

    def stack(self) -> StackConfig:
        """What this is as a stack of blocks."""
        rope = Rope(self.rope_base)
        blocks = (
            BlockConfig(
                self.width, self.heads, self.key_heads, self.head_width, self.hidden, self.norm_eps, self.window(number)
            )
            for number in range(self.layers)
        )
        return StackConfig(
            self.vocab_size, self.width, tuple(blocks), self.norm_eps, rope, rope, time_pairs=self.time_pairs
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Decoder(Stack):
    """Causal decoder with tied embeddings. B lanes, T time, D width, V pieces.

    Each token's input also holds a map of the input before it. So a single attention layer can find "what came after
    this piece last time", which is what copying words into arguments needs; learning it from scratch is slow.

    Live, a row's numbers depend on that row alone, and the shape of its pass on nobody else: the linear parts run over
    `pass_rows` rows at least, attention lane by lane over exactly that lane's slots.
    """

    def __init__(self, config: DecoderConfig) -> None:
        if config.width % config.heads or config.head_width % 2:
            raise ConfigError(f"width {config.width} does not split into {config.heads} heads of even width")
        if config.heads % config.key_heads or len(config.windows) not in (0, config.layers):
            raise ConfigError(
                f"{config.heads} heads do not share {config.key_heads} heads of keys, or {len(config.windows)} windows "
                f"are not one for each of {config.layers} layers"
            )
        super().__init__(config.stack())
        self.config = config
        self.before = Linear(config.width, config.width, bias=False)
        self.hear = Linear(config.hear_width, config.width, bias=False)
        self.projector = Projector(config.sight_width, config.sight_cells, config.width) if config.sight_width else None
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.orthogonal_(self.before.weight, gain=0.7)
        nn.init.zeros_(self.hear.weight)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name.startswith("layers."):
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.05 / (2 * config.layers) ** 0.5 if last else 0.05)

    def enter(self, rows: Tensor, before: Tensor) -> Tensor:
        return rows + self.before(before)

    def hear_embed(self, pieces: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows `[..., D]` for heard pieces: `pieces` are ids `[...]` or weights over all pieces `[..., V]`
        (float, each row summing to 1), `hidden` the ear's state `[..., hear_width]` beside them."""
        rows = self.embedding.mix_of(pieces) if pieces.is_floating_point() else self.embed(pieces)
        return rows if hidden is None else rows + self.hear(hidden)

    def see_embed(self, sight: Tensor, cells: Tensor, pictures: Tensor | None = None) -> Tensor:
        """Input rows `[..., k, D]` for what the eye said of cells of one picture: `sight [..., k, sight_width]`, `cells
        [..., k]` int64; of several pictures, where `pictures [k]` says which cell belongs to which. ConfigError for a
        decoder without eyes."""
        if self.projector is None:
            raise ConfigError("this decoder has no eyes: take weights that were trained with pictures")
        rows: Tensor = self.projector(sight, cells, pictures)
        return rows

    # --- files

    def save(self, path: str | Path, pieces_hash: str, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights (fp16), sizes, the tokenizer's hash and notes as one safetensors file. An input path from the
        ear that was never trained (all zero) is left out."""
        meta = {
            "format": FORMAT, "version": str(VERSION), "config": json.dumps(self.config.as_dict()),
            "pieces": pieces_hash, "notes": json.dumps(dict(notes or {})),
        }  # fmt: skip
        weights = {name: p.detach().to(torch.float16).contiguous() for name, p in self.state_dict().items()}
        if not weights["hear.weight"].any():
            del weights["hear.weight"]
        save_file(weights, str(path), metadata=meta)

    @classmethod
    def load(cls, path: str | Path, pieces_hash: str, hear_width: int | None = None) -> Decoder:
        """Read what `save` wrote, as fp32. `pieces_hash` is that of the tokenizer here, `hear_width` the ear's width.

        Raises:
            ConfigError: the file is missing, cut short, of another version, or made with another tokenizer or ear.
        """
        if not Path(path).is_file():
            raise ConfigError(f"{path} is missing: install again, or export a trained decoder there")
        try:
            with safe_open(str(path), framework="pt") as file:
                meta = file.metadata() or {}
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again or export it anew") from None
        if meta.get("format") != FORMAT or meta.get("version") != str(VERSION):
            found = f"{meta.get('format')} version {meta.get('version')}"
            raise ConfigError(f"{path} holds {found}, wanted {FORMAT} version {VERSION}: export it anew")
        if meta.get("pieces") != pieces_hash:
            raise ConfigError(f"{path} was trained with another pieces.json: take both from the same release")
        try:
            config = DecoderConfig(**json.loads(meta["config"]))
            if "hear.weight" not in weights:
                config = replace(config, hear_width=hear_width or config.hear_width)
                weights["hear.weight"] = torch.zeros(config.width, config.hear_width)
            decoder = cls(config)
            decoder.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        if hear_width is not None and decoder.config.hear_width != hear_width:
            raise ConfigError(f"{path} was trained with an ear of width {decoder.config.hear_width}, not {hear_width}")
        return decoder.eval()
