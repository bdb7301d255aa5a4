"""What a model would cost on this machine, before it is fetched or loaded, and the folder of one that fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from liveagent.errors import ConfigError, DeviceError
from liveagent.families import FAMILIES, Family, described
from liveagent.memory import free_memory
from liveagent.plan import CACHE_TOKENS, Cost, clip_bytes, cost_of, usual_tokens, with_advice
from liveagent.ports.hub import NAME, Hub, Offer, Progress
from liveagent.release import CONFIG

LANES = 4
"""A session's engine has no fewer."""
LEAST_CACHE = 768
"""A smaller one is not offered: a few tools would fill it."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A model that was looked at: where it is or can be had, whose family it is, and what it costs here."""

    offer: Offer
    family: Family
    cost: Cost


def is_checkpoint_name(model: str) -> bool:
    """Whether a model's name means a checkpoint of a family: a hub's name, or a folder as hubs lay it out."""
    path = Path(model).expanduser()
    return (path / CONFIG).is_file() or (NAME.fullmatch(model) is not None and not path.exists())


def weigh(
    model: str,
    device: str = "cpu",
    *,
    dtype: str | None = None,
    quantize: str | None = None,
    cache_tokens: int | None = None,
    lanes: int = LANES,
    ear: str | None = None,
    bandwidth: Callable[[str], float | None] | None = None,
    hub: Hub | None = None,
) -> Weighed:
    """Look at a model's settings and headers, and at this machine. `ear`: a pretrained one that is to run beside it.
    `bandwidth`: how that of a device is measured.

    Raises:
        ConfigError: there is no such model or ear, or none that liveagent can read.
        LinkError: the hub cannot be reached.
    """
    hub = hub or Hub()
    offer = hub.look(model)
    heard = None if ear is None else weigh_ear(ear, device, hub)
    family = described(offer.release.architecture, model)
    tokens = cache_tokens or usual_tokens(offer.release.config)
    chosen = dtype or dtype_on(device)

    def cost(dtype: str, quantize: str | None, tokens: int) -> Cost:
        sorts = sorts_on(device, dtype)
        found = cost_of(
            offer.release, family.name, family.part_of, dtype, quantize, tokens, lanes, family.licence, sorts
        )  # fmt: skip
        return replace(found, ear=heard)

    asked = replace(
        cost(chosen, quantize, tokens),
        model=model,
        free_bytes=free_bytes(device),
        bandwidth=(bandwidth or memory_bandwidth)(device),
    )
    fewer = sorted((tokens // 2, tokens // 4, CACHE_TOKENS), reverse=True)
    smaller = [tokens] + [each for each in fewer if LEAST_CACHE <= each < asked.cache_tokens]
    kinds = [(chosen, quantize), ("bfloat16", quantize), ("bfloat16", "int8"), ("bfloat16", "int4")]
    others = [cost(kind, rounded, each) for (kind, rounded), each in product(dict.fromkeys(kinds), smaller)]
    others = [each for each in others if each.memory_bytes < asked.memory_bytes]
    siblings = {each.name: each.numbers for each in family.members if each.numbers is not None and each.name != model}
    return Weighed(offer, family, with_advice(asked, others, siblings))


def weigh_ear(ear: str, device: str = "cpu", hub: Hub | None = None) -> Cost:
    """What a pretrained ear costs there, which runs in float32. Raises as `weigh`."""
    offer = (hub or Hub()).look(ear)
    family = described(offer.release.architecture, ear)
    if not family.ear:
        raise ConfigError(f"{ear} is a {family.title}, which is no ear that could stand in front of another model")
    sorts = sorts_on(device, "float32")
    cost = cost_of(
        offer.release, family.name, family.part_of, "float32", lanes=1, licence=family.licence, sorts=sorts
    )  # fmt: skip
    cost = replace(cost, model=ear, cache_tokens=0, cache_bytes=clip_bytes(offer.release.config))
    siblings = {each.name: each.numbers for each in family.members if each.numbers is not None and each.name != ear}
    return with_advice(replace(cost, free_bytes=free_bytes(device)), [], siblings)


def check_ear(ear: str, device: str = "cpu") -> None:
    """DeviceError: a pretrained ear does not fit into memory. Raises as `weigh`, too."""
    if (refusal := weigh_ear(ear, device).refusal) is not None:
        raise DeviceError(refusal)


def dtype_on(device: str) -> str:
    """How precise an open checkpoint's weights are on a device, unless somebody says otherwise."""
    return "float32" if device == "cpu" else "bfloat16"


def sorts_on(device: str, dtype: str) -> bool:
    """Whether a network's matrices are sorted for running there, which takes as much again (`nn/linear.py`)."""
    import torch

    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return wide and (dtype == "float32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


def fetched(
    model: str,
    device: str = "cpu",
    progress: Progress | None = None,
    *,
    dtype: str | None = None,
    quantize: str | None = None,
    cache_tokens: int | None = None,
    lanes: int = LANES,
    ear: str | None = None,
    hub: Hub | None = None,
) -> Path:
    """The folder of a model that can hold a conversation here, fetched where it is not there yet. `ear`: a pretrained
    one that must have room beside it, and is not fetched.

    Raises:
        DeviceError: it does not fit into memory or onto the disk; said before a byte of its weights comes.
        ConfigError: there is no such model, or none that liveagent can talk with.
        LinkError: the hub cannot be reached, or breaks off.
    """
    hub = hub or Hub()
    found = weigh(
        model, device, dtype=dtype, quantize=quantize, cache_tokens=cache_tokens, lanes=lanes,
        ear=ear, bandwidth=lambda _: None, hub=hub,
    )  # fmt: skip
    if found.family.ear:
        raise ConfigError(
            f"{model} is a {found.family.title}, which only hears: choose a model that answers, such as nano"
        )
    if not found.family.live:
        live = ", ".join(each.title for each in FAMILIES if each.live and not each.ear)
        raise ConfigError(
            f"{model} is a {found.family.title}, which liveagent can read and not talk with yet: choose one of {live}"
        )
    if (refusal := found.cost.refusal) is not None:
        raise DeviceError(refusal)
    return hub.fetch(found.offer, progress)


def free_bytes(device: str) -> int | None:
    """What is free of the memory that a model would take there; None where nobody says. DeviceError: no such device."""
    if not device.startswith("cuda"):
        return free_memory()
    import torch

    if not torch.cuda.is_available():
        raise DeviceError(f"device={device!r}: torch finds no GPU here; take cpu, or install a build of torch for it")
    return int(torch.cuda.mem_get_info(torch.device(device))[0])


def memory_bandwidth(device: str) -> float | None:
    """Bytes a second that a device's memory gives, measured; None where it is not known how."""
    if device.startswith("cuda"):
        return _of_gpu(device)
    if device != "cpu":
        return None
    from liveagent.ports.bandwidth import memory_bandwidth

    return memory_bandwidth()


def _of_gpu(device: str, size_bytes: int = 1 << 29, tries: int = 5) -> float:
    """Copying reads and writes every byte."""
    import torch

    source = torch.zeros(size_bytes, dtype=torch.uint8, device=device)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(tries):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize(torch.device(device))
        best = min(best, start.elapsed_time(end) / 1e3)
    return 2 * size_bytes / best
