"""Weights on disk: one safetensors file (read, never run) that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from liveagent.errors import ConfigError


def save(net: nn.Module, path: str | Path, kind: str, version: int, config: dict[str, Any]) -> None:
    """Write a network's weights (fp16) and sizes. `kind`: "liveagent.ear" and its like."""
    meta = {"format": kind, "version": str(version), "config": json.dumps(config)}
    weights = {k: v.detach().to(torch.float16).contiguous() for k, v in net.state_dict().items()}
    save_file(weights, str(path), metadata=meta)


def load(path: str | Path, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `save` wrote: weights as fp32, and what the file says of itself.

    Raises:
        ConfigError: the file is missing, damaged, of another kind or version.
    """
    name = kind.removeprefix("liveagent.")
    if not Path(path).is_file():
        raise ConfigError(f"{path} is missing: reinstall, or train an {name} and export it there")
    try:
        with safe_open(str(path), framework="pt") as f:
            meta = f.metadata() or {}
            weights = {key: f.get_tensor(key).float() for key in f.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} is damaged ({error}): fetch it again or export it anew") from None
    if meta.get("format") != kind or meta.get("version") != str(version):
        found = f"{meta.get('format')} version {meta.get('version')}"
        raise ConfigError(f"{path} holds {found}, wanted {kind} version {version}: export it anew")
    return weights, meta
