"""Families of open checkpoints: each is one file that says how a folder of weights becomes our networks.

A family maps names and options and builds; the networks are those of `nn`, which know no family. What can be said of a
family without importing it stands in `FAMILIES`, as plain values: `liveagent models` shows them, and `family_of` finds
the one file that a checkpoint needs by what its `config.json` calls itself.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
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
    that reads it, "" while there is none. `proved`: of which parts the numbers were compared with `transformers`; no
    real weights were ever run where this was written. `live`: how it takes part in a conversation, "" while it does
    not; an `ear` stands in front of another model. `part_of`: whose weights a tensor is among, by what its name
    contains; what is named nowhere is the decoder's, and a table is looked up in and not multiplied with."""

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
        "decoder, ear, eye", live="talks, and hears for itself; blind", part_of=TOWERS,
    ),
    Family(
        "gemma4_unified", "Gemma 4 12B", ("Gemma4UnifiedForConditionalGeneration", "Gemma4UnifiedForCausalLM"),
        "gemma4_unified", "sound, as it comes", "pictures, film", "words", "see its page",
        (Member("google/gemma-4-12B-it", 12e9, None),), "decoder, ear, eye, all together",
        live="talks, and hears for itself; blind", part_of=TOWERS,
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
        "features, encoder, transducer", ear=True, part_of=(("", "ear"),),
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


def described(architecture: str, where: str) -> Family:
    """What is said of the family that a checkpoint belongs to. ConfigError for one that nobody knows, or that is known
    and not there yet, with those that are there."""
    found = next((each for each in FAMILIES if architecture in each.architectures), None)
    if found is not None and found.is_there:
        return found
    known = ", ".join(each.title for each in FAMILIES if each.is_there)
    if found is not None:
        raise ConfigError(f"{where} is a {found.title}, which liveagent cannot read yet: choose one of {known}")
    what = f"a {architecture}" if architecture else "nothing that its config.json would name"
    raise ConfigError(f"{where} is {what}, which liveagent does not know: choose one of {known}")


def family_of(checkpoint: Checkpoint) -> ModuleType:
    """The module that reads a checkpoint, imported only now. Raises as `described`."""
    found = described(checkpoint.architecture, str(checkpoint.folder))
    return importlib.import_module(f"{__name__}.{found.module}")
