"""`Checkpoint`: a folder as model hubs lay it out, `config.json` beside one or more safetensors files, read lazily.

Nothing in it is run: pickled weights and code that comes with a checkpoint are refused (`Release`, which also sees that
no file is missing or cut short before the first is read). A family (`families/`) says under which names a network's
tensors stand here; `fill` puts them there and says what is missing, of another shape, or more than fits into memory.

With a `Fold` a matrix is never whole in memory: its rows are read and rounded a few at a time. Files are mapped, and
what was read of them counts as this process's memory until they are let go; so then they are, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

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


READ_BYTES = 64 << 20
"""So much of a file is read row by row before it is let go and opened again."""


class Rows(Protocol):
    """A matrix `[out, in]`, or one whose rows are read as they are asked for."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


class Fold(Protocol):
    """What becomes of some of a network's weights while they are read (`nn/quant.py`)."""

    device: torch.device

    def taken(self, net: nn.Module) -> Sequence[str]:
        """The names of those weights, as in the network's `state_dict`."""
        ...

    def put(self, net: nn.Module, name: str, weight: Rows) -> None:
        """Take one of them, which is on `device` already or comes there as it is asked for."""
        ...

    def size_bytes(self, net: nn.Module, name: str, shape: torch.Size, dtype: torch.dtype) -> int:
        """What one of them takes of this machine's memory then."""
        ...


class Checkpoint:
    """`folder`, `config` (of `config.json`), `names` of all its tensors. `fold`: what networks that are filled from
    here on have their weights folded by; None: they stay as they are."""

    fold: Fold | None = None

    def __init__(self, folder: Path, config: Mapping[str, Any], places: Mapping[str, Path]) -> None:
        self.folder, self.config, self._places = folder, config, dict(places)
        self.names = frozenset(places)
        self._open: dict[Path, Any] = {}
        self._mapped_bytes: dict[Path, int] = {}  # of what is open, what was read row by row
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

    def read(self, name: str, rows: slice | None = None) -> Tensor:
        """One tensor as it is stored, or some rows of it. ConfigError when it is missing or its file damaged."""
        with self._file_of(name) as (path, file):
            tensor: Tensor = file.get_tensor(name)
        self._read.add(name)
        if rows is None:
            return tensor
        self._mapped_bytes[path] += tensor[rows].nbytes
        return tensor[rows]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, unread. Raises as `read`."""
        with self._file_of(name) as (_, file):
            return tuple(file.get_slice(name).get_shape())

    @contextmanager
    def _file_of(self, name: str) -> Iterator[tuple[Path, Any]]:
        path = self._places.get(name)
        if path is None:
            raise ConfigError(f"{self.folder} holds no weights {name!r}: its {CONFIG} is of another checkpoint")
        try:
            if path not in self._open or self._mapped_bytes[path] >= READ_BYTES:
                self._open[path], self._mapped_bytes[path] = safe_open(str(path), framework="pt"), 0
            yield path, self._open[path]
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again") from None

    def fill(self, net: nn.Module, sources: Mapping[str, Source], dtype: torch.dtype = torch.float32) -> None:
        """Give a network, which may stand on the device "meta", all its weights, as `dtype`.

        `sources` says for each name in its `state_dict` where that comes from. ConfigError: the checkpoint lacks one,
        or holds it in another shape than its `config.json` speaks of. DeviceError: it does not fit into what is free of
        this machine's memory; nothing has been read then.
        """
        wanted = net.state_dict()
        if unknown := sorted(wanted.keys() - sources.keys()):
            raise ConfigError(f"nothing says where {unknown[0]} comes from ({len(unknown)} of {len(wanted)} tensors)")
        fold = self.fold
        folded = {} if fold is None else dict.fromkeys(fold.taken(net))
        self._check_memory(net, wanted, dtype, folded)
        found: dict[str, Tensor] = {}
        for name in (each for each in wanted if each not in folded):
            found[name] = self._whole(sources[name], wanted[name].shape, dtype)
        net.load_state_dict(found, strict=not folded, assign=True)
        for name in folded:
            assert fold is not None
            source, shape = sources[name], wanted[name].shape
            if isinstance(source, Made):
                fold.put(net, name, self._whole(source, shape, dtype).to(fold.device))
            else:
                fold.put(net, name, FileRows(self, _names(source), shape, dtype, fold.device))

    def _whole(self, source: Source, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        names = _names(source)
        parts = [self.read(each) for each in names]
        try:
            tensor = (
                source.by(*parts) if isinstance(source, Made) else parts[0] if len(parts) == 1 else torch.cat(parts)
            )
        except RuntimeError as error:
            raise ConfigError(f"{', '.join(names)} in {self.folder} do not fit together: {error}") from None
        self.check_shape(names, tensor.shape, shape)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def check_shape(self, names: Sequence[str], found: Sequence[int], wanted: Sequence[int]) -> None:
        """ConfigError where what stands under these names is not what `config.json` speaks of."""
        if tuple(found) != tuple(wanted):
            raise ConfigError(
                f"{', '.join(names)} in {self.folder} has the shape {tuple(found)}, but {CONFIG} speaks of "
                f"{tuple(wanted)}: take both from the same release"
            )

    def _check_memory(
        self, net: nn.Module, wanted: Mapping[str, Tensor], dtype: torch.dtype, folded: Collection[str]
    ) -> None:
        """Weights are read into this machine's memory first, wherever they go."""
        fold = self.fold
        needed = sum(
            fold.size_bytes(net, name, each.shape, dtype)
            if fold is not None and name in folded
            else math.prod(each.shape) * (dtype.itemsize if each.is_floating_point() else each.dtype.itemsize)
            for name, each in wanted.items()
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


class FileRows:
    """The rows of one of a checkpoint's tensors, or of several one above the other, read as they are asked for; as
    `dtype`, on `device`. ConfigError: together they have not the shape that is wanted."""

    def __init__(
        self, checkpoint: Checkpoint, names: Sequence[str], shape: torch.Size, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._checkpoint, self.shape, self.dtype, self.device = checkpoint, shape, dtype, device
        self._parts: list[tuple[str, int]] = []
        for name in names:
            found = checkpoint.shape(name)
            if len(names) == 1 or found[1:] != shape[1:]:
                checkpoint.check_shape(names, found, shape)
            self._parts.append((name, found[0]))
        if sum(rows for _, rows in self._parts) != shape[0]:
            checkpoint.check_shape(names, (sum(rows for _, rows in self._parts), *shape[1:]), shape)

    def __getitem__(self, rows: slice) -> Tensor:
        first, last, _ = rows.indices(self.shape[0])
        found, at = [], 0
        for name, count in self._parts:
            part = slice(max(0, first - at), min(count, last - at))
            if part.start < part.stop:
                found.append(self._checkpoint.read(name, part).to(self.device, self.dtype))
            at += count
        return found[0] if len(found) == 1 else torch.cat(found)


def _names(source: Source) -> tuple[str, ...]:
    return source.names if isinstance(source, Made) else (source,) if isinstance(source, str) else source
