"""`Checkpoint`: a folder as model hubs lay it out, `config.json` beside one or more safetensors files, read lazily.

Nothing in it is run: pickled weights and code that comes with a checkpoint are refused. A family (`families/`) says
under which names a network's tensors stand here; `fill` puts them there and says what is missing or of another shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from liveagent.errors import ConfigError

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Made:
    """A tensor that `by` makes of the checkpoint's tensors `names`."""

    names: tuple[str, ...]
    by: Callable[..., Tensor]


Source: TypeAlias = str | tuple[str, ...] | Made
"""Where a tensor comes from: one of the checkpoint's, several one above the other (dim 0), or made of some."""


class Checkpoint:
    """`folder`, `config` (of `config.json`), `names` of all its tensors."""

    def __init__(self, folder: Path, config: Mapping[str, Any], places: Mapping[str, Path]) -> None:
        self.folder, self.config, self._places = folder, config, dict(places)
        self.names = frozenset(places)
        self._open: dict[Path, Any] = {}
        self._read: set[str] = set()

    @classmethod
    def open(cls, folder: str | Path) -> Checkpoint:
        """Read what a folder holds, and no weights yet.

        Raises:
            ConfigError: a file is missing or damaged, the weights are pickled, or the folder asks to run its own code.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}: give one that holds {CONFIG} and safetensors files")
        config = _json(folder / CONFIG)
        if "auto_map" in config:
            raise ConfigError(f"{folder} brings code of its own (auto_map in {CONFIG}); liveagent runs none")
        return cls(folder, config, _places(folder))

    @property
    def architecture(self) -> str:
        """What `config.json` calls it ("Gemma4ForConditionalGeneration"), "" where it says nothing."""
        named = self.config.get("architectures") or [""]
        return str(named[0])

    def settings(self, file: str) -> Mapping[str, Any]:
        """Another JSON file of the folder, such as `preprocessor_config.json`; empty where there is none."""
        return _json(self.folder / file) if (self.folder / file).is_file() else {}

    def read(self, name: str) -> Tensor:
        """One tensor as it is stored. ConfigError when it is missing or its file damaged."""
        path = self._places.get(name)
        if path is None:
            raise ConfigError(f"{self.folder} holds no weights {name!r}: its {CONFIG} is of another checkpoint")
        try:
            if path not in self._open:
                self._open[path] = safe_open(str(path), framework="pt")
            self._read.add(name)
            tensor: Tensor = self._open[path].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again") from None
        return tensor

    def fill(self, net: nn.Module, sources: Mapping[str, Source], dtype: torch.dtype = torch.float32) -> None:
        """Give a network, which may stand on the device "meta", all its weights, as `dtype`.

        `sources` says for each name in its `state_dict` where that comes from. ConfigError: the checkpoint lacks one,
        or holds it in another shape than its `config.json` speaks of.
        """
        wanted = net.state_dict()
        if unknown := sorted(wanted.keys() - sources.keys()):
            raise ConfigError(f"nothing says where {unknown[0]} comes from ({len(unknown)} of {len(wanted)} tensors)")
        found: dict[str, Tensor] = {}
        for name, like in wanted.items():
            source = sources[name]
            names = source.names if isinstance(source, Made) else (source,) if isinstance(source, str) else source
            parts = [self.read(each) for each in names]
            try:
                tensor = (
                    source.by(*parts) if isinstance(source, Made) else parts[0] if len(parts) == 1 else torch.cat(parts)
                )
            except RuntimeError as error:
                raise ConfigError(f"{', '.join(names)} in {self.folder} do not fit together: {error}") from None
            if tensor.shape != like.shape:
                raise ConfigError(
                    f"{', '.join(names)} in {self.folder} has the shape {tuple(tensor.shape)}, but {CONFIG} speaks of "
                    f"{tuple(like.shape)}: take both from the same release"
                )
            found[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
        net.load_state_dict(found, assign=True)

    @property
    def unread(self) -> frozenset[str]:
        """What nobody has asked for yet: a family that leaves some of it out has misread the checkpoint."""
        return self.names - self._read


def _places(folder: Path) -> dict[str, Path]:
    """Each tensor's file."""
    if (folder / INDEX).is_file():
        index = _json(folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise ConfigError(f"{folder / INDEX} has no weight_map: fetch it again")
        if outside := [file for file in index.values() if Path(file).name != file]:
            raise ConfigError(f"{folder / INDEX} names {outside[0]!r}, which is outside its folder")
        missing = sorted({file for file in index.values() if not (folder / file).is_file()})
        if missing:
            raise ConfigError(f"{folder} lacks {', '.join(missing)}: fetch the missing files again")
        return {name: folder / file for name, file in index.items()}
    whole = folder / WHOLE
    if not whole.is_file():
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        if pickled:
            raise ConfigError(f"{pickled[0]} is pickled, which can run code; liveagent reads safetensors only")
        raise ConfigError(f"{folder} holds neither {WHOLE} nor {INDEX}: fetch the checkpoint again")
    try:
        with safe_open(str(whole), framework="pt") as file:
            return {name: whole for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{whole} is damaged ({error}): fetch it again") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: give a whole checkpoint's folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged ({error}): fetch it again") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no settings: fetch it again")
    return value
