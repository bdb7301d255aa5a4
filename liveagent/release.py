"""`Release`: a checkpoint before it is read: its settings, which tensors it holds and where, its size, its licence.

All of that stands in small JSON files and in the first bytes of large ones. So it can be known of a folder in
milliseconds, and of a model on a hub before its weights are fetched (`ports/hub.py`). Pickled weights and code that
comes with a checkpoint are refused here, for whoever reads a checkpoint begins here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liveagent.errors import ConfigError
from liveagent.header import Header, Stored

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


@dataclass(frozen=True)
class Release:
    """`name` as errors call it; `config` of its `config.json`; `tensors` by name, and the file of each in `places`.
    `download_bytes`: what is yet to be fetched, 0 of a folder. `licence`: as the hub has it, "" where nobody says."""

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    places: Mapping[str, str]
    file_bytes: int
    download_bytes: int = 0
    licence: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        config: Mapping[str, Any],
        headers: Mapping[str, Header],
        weight_map: Mapping[str, str] | None = None,
        download_bytes: int = 0,
        licence: str = "",
    ) -> Release:
        """From what was read of it. `weight_map`: what its index says, None where it has none.

        ConfigError: it brings code of its own, or index and files contradict each other.
        """
        check_config(config, name)
        held = {tensor: file for file, header in headers.items() for tensor in header.tensors}
        lost = sorted(each for each, file in (weight_map or {}).items() if held.get(each) != file)
        if weight_map is not None and lost:
            raise ConfigError(f"{name}: {weight_map[lost[0]]} lacks {lost[0]}, which {INDEX} promises: fetch it again")
        return cls(
            name,
            config,
            {tensor: each for header in headers.values() for tensor, each in header.tensors.items()},
            held,
            sum(header.file_bytes for header in headers.values()),
            download_bytes,
            licence,
        )

    @classmethod
    def of_folder(cls, folder: str | Path) -> Release:
        """Read what a folder holds, and no weights.

        Raises:
            ConfigError: a file is missing, damaged or cut short, the weights are pickled, or the folder asks to run its
                own code.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConfigError(f"there is no folder {folder}: give one that holds {CONFIG} and safetensors files")
        config = read_json(folder / CONFIG)
        check_config(config, str(folder))  # before anything else is looked at
        names = [each.name for each in folder.iterdir()]
        index = read_json(folder / INDEX) if INDEX in names else None
        weight_map = None if index is None else weight_map_of(index, str(folder / INDEX))
        files = weight_files(names, weight_map, str(folder))
        headers = {file: Header.read(folder / file) for file in files}
        return cls.of(str(folder), config, headers, weight_map, licence=_licence(folder))

    @property
    def architecture(self) -> str:
        """What `config.json` calls it ("Gemma4ForConditionalGeneration"), "" where it says nothing."""
        named = self.config.get("architectures")
        return str(named[0]) if isinstance(named, list) and named else ""


def check_config(config: Mapping[str, Any], name: str) -> None:
    """ConfigError where a checkpoint wants to be run by its own code."""
    if "auto_map" in config:
        raise ConfigError(f"{name} brings code of its own (auto_map in {CONFIG}); liveagent runs none: choose another")


def weight_map_of(index: Mapping[str, Any], where: str) -> Mapping[str, str]:
    """Which file each tensor is in. ConfigError when an index says nothing of it, or names a file elsewhere."""
    found = index.get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(file, str) for file in found.values()):
        raise ConfigError(f"{where} has no weight_map: fetch it again")
    if outside := [file for file in found.values() if Path(file).name != file]:
        raise ConfigError(f"{where} names {outside[0]!r}, which is outside its folder: choose another release")
    if pickled := [file for file in found.values() if not file.endswith(".safetensors")]:
        raise ConfigError(f"{where} names {pickled[0]}, which is no safetensors file: choose a release that has them")
    return found


def weight_files(names: Sequence[str], weight_map: Mapping[str, str] | None, where: str) -> list[str]:
    """Which of the files `names` hold the weights.

    ConfigError: one is missing, or there are none but pickled ones.
    """
    if weight_map is not None:
        wanted = sorted(set(weight_map.values()))
        if missing := [file for file in wanted if file not in names]:
            raise ConfigError(f"{where} lacks {', '.join(missing)}: fetch the missing files again")
        return wanted
    if WHOLE in names:
        return [WHOLE]
    if pickled := sorted(file for file in names if file.endswith(PICKLED)):
        raise ConfigError(
            f"the weights of {where} are pickled ({pickled[0]}), which can run code; liveagent reads safetensors only: "
            f"choose a release that has them"
        )
    raise ConfigError(f"{where} holds neither {WHOLE} nor {INDEX}: give a whole checkpoint")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint. ConfigError: it is missing, damaged or no object."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing: give a whole checkpoint's folder") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): fetch it again") from None
    return parse_json(text, str(path))


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is damaged ({str(error).partition(chr(10))[0]}): fetch it again") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where} holds no settings: fetch it again")
    return value


def _licence(folder: Path) -> str:
    """What a model card beside the weights says in its first lines; "" where there is none."""
    try:
        with (folder / "README.md").open(encoding="utf-8") as card:
            head = card.read(4096).partition("\n---")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in head[1:])}
    return said.get("license", "") if head[:1] == ["---"] else ""
