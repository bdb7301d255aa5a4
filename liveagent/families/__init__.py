"""Families of open checkpoints: each is one file that says how a folder of weights becomes our networks.

A family maps names and options and builds; the networks are those of `nn`, which know no family. What can be said of a
family without importing it stands in `FAMILIES`, as plain values: `liveagent models` shows them, and `family_of` finds
the one file that a checkpoint needs by what its `config.json` calls itself.

A package of somebody else's adds one: its entry point in the group `liveagent.families` names a `Family` whose `module`
is the whole name of the file that reads it (`examples/new_family`). Every process finds it so, the engine's child too.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING

from liveagent.errors import ConfigError

if TYPE_CHECKING:
    from liveagent.nn.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Member:
    """One checkpoint: its name on the hub, how many numbers it has, and how many bytes they are there; None: not known
    here, for nobody has looked."""

    name: str
    numbers: float | None
    download_bytes: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """What is said of a family. `architectures`: what its `config.json` calls itself. `module`: the file of this folder
    that reads it, "" while there is none; of a family from outside, the whole name of the file to import. `proved`: of
    which parts the numbers were compared with `transformers`; no real weights were ever run where this was written.
    `live`: how it takes part in a conversation, "" while it does not; an `ear` stands in front of another model.
    `part_of`: whose weights a tensor is among, by what its name contains; what is named nowhere is the decoder's, and a
    table is looked up in and not multiplied with."""

    name: str
    title: str
    architectures: tuple[str, ...]
    module: str
    hears: str
    sees: str
    says: str
    licence: str
    members: tuple[Member, ...]
    proved: str = ""
    live: str = ""
    ear: bool = False
    part_of: tuple[tuple[str, str], ...] = ()

    @property
    def is_there(self) -> bool:
        return bool(self.module)


TOWERS = (
    ("audio_tower.", "ear"), ("embed_audio.", "ear"), ("vision_tower.", "eye"), ("embed_vision.", "eye"),
    ("vision_embedder.", "eye"), ("multi_modal_projector.", "eye"), ("embed_tokens_per_layer.", "table"),
)  # fmt: skip

FAMILIES = (
    Family(
        "nano", "nano", (), "", "its tools' commands, English", "the toy table", "words, by a voice", "Apache-2.0",
        (Member("nano", 8.65e6, 17.4e6),), "", live="talks, hears and sees",
    ),
    Family(
        "gemma4", "Gemma 4", ("Gemma4ForConditionalGeneration", "Gemma4ForCausalLM"), "gemma4", "sound, as it comes",
        "pictures, film", "words", "Apache-2.0",
        (Member("google/gemma-4-e2b-it", 5.10e9, 10.2e9), Member("google/gemma-4-e4b-it", 7.94e9, 15.9e9)),
        "decoder, ear, eye", live="talks, hears and sees for itself", part_of=TOWERS,
    ),
    Family(
        "gemma4_unified", "Gemma 4 12B", ("Gemma4UnifiedForConditionalGeneration", "Gemma4UnifiedForCausalLM"),
        "gemma4_unified", "sound, as it comes", "pictures, film", "words", "see its page",
        (Member("google/gemma-4-12B-it", 12e9, None),), "decoder, ear, eye, all together",
        live="talks, hears and sees for itself", part_of=TOWERS,
    ),
    Family(
        "whisper", "Whisper", ("WhisperForConditionalGeneration",), "whisper", "clips, 99 languages", "nothing",
        "what was said", "Apache-2.0",
        (Member("openai/whisper-small", 0.242e9, 0.97e9), Member("openai/whisper-large-v3", 1.54e9, 3.09e9)),
        "features, encoder, decoder", live="an ear: --ear", ear=True, part_of=(("", "ear"),),
    ),
    Family(
        "nemotron", "Nemotron", ("NemotronAsrStreamingForRNNT",), "nemotron", "speech as it comes, English", "nothing",
        "what was said", "NVIDIA Open Model License",
        (Member("nvidia/nemotron-speech-streaming-en-0.6b", 0.6e9, None),),
        "features, encoder, transducer", live="an ear: --ear", ear=True, part_of=(("", "ear"),),
    ),
    Family(
        "llama", "Llama", ("LlamaForCausalLM",), "llama", "nothing", "nothing", "words", "Llama 2",
        (Member("meta-llama/Llama-2-7b-chat-hf", 6.74e9, 13.5e9),), "decoder",
        part_of=TOWERS,
    ),
    Family(
        "llava", "LLaVA", ("LlavaForConditionalGeneration",), "llava", "nothing", "pictures", "words", "Llama 2",
        (Member("llava-hf/llava-1.5-7b-hf", 7.06e9, 14.1e9),), "eye, decoder, both together", part_of=TOWERS,
    ),
)  # fmt: skip


GROUP = "liveagent.families"
"""Of the entry points by which other packages name their families."""


def from_outside() -> tuple[Family, ...]:
    """The families that other packages bring. ConfigError: one of these packages names something else."""
    found = []
    for entry in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            family = entry.load()
        except Exception as error:  # whatever somebody else's code raises
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise ConfigError(f"the family {entry.name!r} ({entry.value}) cannot be read: {why}") from None
        if not isinstance(family, Family) or not family.is_there:
            raise ConfigError(f"the family {entry.name!r} ({entry.value}) is no Family with a module: mend its package")
        found.append(family)
    return tuple(found)


def described(architecture: str, where: str) -> Family:
    """What is said of the family that a checkpoint belongs to: of ours first, then of those from outside. ConfigError
    for one that nobody knows, or that is known and not there yet, with those that are there."""
    ours = next((each for each in FAMILIES if architecture in each.architectures), None)
    if ours is not None and ours.is_there:
        return ours
    others = from_outside()
    if (found := next((each for each in others if architecture in each.architectures), None)) is not None:
        return found
    known = ", ".join(each.title for each in (*FAMILIES, *others) if each.is_there)
    if ours is not None:
        raise ConfigError(f"{where} is a {ours.title}, which liveagent cannot read yet: choose one of {known}")
    what = f"a {architecture}" if architecture else "nothing that its config.json would name"
    raise ConfigError(f"{where} is {what}, which liveagent does not know: choose one of {known}")


def family_of(checkpoint: Checkpoint) -> ModuleType:
    """The module that reads a checkpoint, imported only now. Raises as `described`."""
    found = described(checkpoint.architecture, str(checkpoint.folder))
    if found in FAMILIES:
        return importlib.import_module(f"{__name__}.{found.module}")
    try:
        return importlib.import_module(found.module)
    except ImportError as error:
        raise ConfigError(f"{found.title} cannot be read: {error}; mend the package that brings it") from None
