"""`Checkpoint`: a folder as model hubs lay it out, `config.json` beside one or more safetensors files, read lazily.

Nothing in it is run: pickled weights and code that comes with a checkpoint are refused (`Release`, which also sees that
no file is missing or cut short before the first is read). A family (`families/`) says under which names a network's
tensors stand here; `fill` puts them there and says what is missing, of another shape, or more than fits into memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from liveagent.errors import ConfigError, DeviceError
from liveagent.memory import free_memory
from liveagent.release import CONFIG, INDEX, WHOLE, Release, read_json

__all__ = ["CONFIG", "INDEX", "WHOLE", "Checkpoint", "Made", "Source"]


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
        release = Release.of_folder(folder)
        folder = Path(folder)
        return cls(folder, release.config, {name: folder / file for name, file in release.places.items()})

    @property
    def architecture(self) -> str:
        """What `config.json` calls it ("Gemma4ForConditionalGeneration"), "" where it says nothing."""
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""

    def settings(self, file: str) -> Mapping[str, Any]:
        """Another JSON file of the folder, such as `preprocessor_config.json`; empty where there is none."""
        return read_json(self.folder / file) if (self.folder / file).is_file() else {}

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
        or holds it in another shape than its `config.json` speaks of. DeviceError: it does not fit into what is free of
        this machine's memory; nothing has been read then.
        """
        wanted = net.state_dict()
        if unknown := sorted(wanted.keys() - sources.keys()):
            raise ConfigError(f"nothing says where {unknown[0]} comes from ({len(unknown)} of {len(wanted)} tensors)")
        self._check_memory(wanted, dtype)
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

    def _check_memory(self, wanted: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        """Weights are read into this machine's memory first, wherever they go."""
        needed = sum(
            math.prod(each.shape) * (dtype.itemsize if each.is_floating_point() else each.dtype.itemsize)
            for each in wanted.values()
        )
        free = free_memory()
        if free is not None and needed > free:
            raise DeviceError(
                f"{self.folder} needs {needed / 1e9:.1f} GB as {str(dtype).removeprefix('torch.')}, and "
                f"{free / 1e9:.1f} GB of memory are free: `liveagent plan {self.folder}` says what would fit"
            )

    @property
    def unread(self) -> frozenset[str]:
        """What nobody has asked for yet: a family that leaves some of it out has misread the checkpoint."""
        return self.names - self._read
