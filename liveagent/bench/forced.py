"""What a model of `transformers` would say after each of 64 tokens is what ours would: of every family, of words alone
and behind sound or a picture, read whole and in pieces.

The tokens are drawn from what it says itself. Had it only ever said what is likeliest, random weights would repeat one
word for ever, and there would be one thing to agree about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveagent.bench import tiny
from liveagent.bench.beside import saved, sound, stream
from liveagent.bench.rival import reference
from liveagent.bench.tiny import ids_of, pieces_of, tiny_gemma, tiny_llama
from liveagent.families import gemma4, gemma4_unified, llama, llava, nemotron, whisper
from liveagent.nn import patches
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.scribe import Scribe
from liveagent.nn.sound import SoundEncoder
from liveagent.nn.stack import Stack
from liveagent.nn.transducer import NONE

TOKENS = 64
Logits = Callable[[Tensor], Tensor]
"""Their logits `[T, V]` for ids `[1, T]`."""


def drawn(theirs: Logits, ids: Tensor, tokens: int = TOKENS, words: int | None = None) -> tuple[Tensor, Tensor]:
    """What follows `ids [1, T]`, drawn from what they say, and at each place what they would have said, `[tokens]`.
    `words`: ids below are such, and alone are said."""
    generator, first = torch.Generator().manual_seed(17), ids.shape[1]
    for _ in range(tokens):
        odds = theirs(ids)[-1, :words].softmax(-1)
        ids = torch.cat([ids, torch.multinomial(odds, 1, generator=generator)[None]], dim=1)
    return ids[0, first:], theirs(ids)[first - 1 : -1, :words].argmax(-1)


def says_the_same(net: Stack, model: Any, tokens: int = TOKENS) -> bool:
    """Of a decoder of words."""
    ids = ids_of(8, 12)
    said, would = drawn(lambda ids: model(ids).logits[0], ids, tokens)
    whole = torch.cat([ids[0], said[:-1]])
    ours = net(whole[None])[0, 11:].argmax(-1)
    streamed = stream(net, net.embed(whole), [12] + [1] * (tokens - 1))[11:].argmax(-1)
    return torch.equal(ours, would) and torch.equal(streamed, would)


@dataclass(frozen=True)
class Asked:
    """A prompt in which sound or a picture stands: `ids [1, T]`, `rows [T, R]` that ours reads for it, and what
    `theirs` answers. `words`: ids below are such, and alone are said."""

    net: Stack
    ids: Tensor
    rows: Tensor
    theirs: Logits
    words: int

    @classmethod
    def of_gemma(cls, model: Any, checkpoint: Checkpoint) -> Asked:
        """Nine tokens of sound among words."""
        net, marks = gemma4.decoder(checkpoint), gemma4.sound_marks(checkpoint)
        assert marks is not None
        samples, words = sound(1, 9, 640), marks.opens - 4
        heard = reference().Gemma4AudioFeatureExtractor()(
            [np.pad(samples[0].numpy(), (0, 1))], return_tensors="pt", sampling_rate=16_000
        )
        ids = _prompt([7, 8, 9], [marks.opens, *[marks.row] * 9, marks.closes], words)
        rows = net.embed(ids[0])
        rows[ids[0] == marks.row] = net.rows(gemma4.own_ear(checkpoint).whole(samples)[0], marks.layers)
        features = {name: heard[name] for name in ("input_features", "input_features_mask")}
        return cls(net, ids, rows, lambda ids: model(input_ids=ids, **features).logits[0], words)

    @classmethod
    def of_seeing_gemma(cls, model: Any, checkpoint: Checkpoint) -> Asked:
        """A picture among words."""
        net, marks, px = gemma4.decoder(checkpoint), gemma4.picture_marks(checkpoint), tiny.GEMMA_PX
        assert marks is not None
        pixels = torch.randint(
            0, 256, (3, 6 * px, 8 * px), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
        )
        seen, words = gemma4.own_eye(checkpoint)(pixels[None])[0], marks.opens
        ids = _prompt([7, 8, 9], [marks.opens, *[marks.row] * len(seen), marks.closes], words)
        rows = net.embed(ids[0])
        rows[ids[0] == marks.row] = net.picture_rows(seen, marks.layers)
        down, across = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
        given = {
            "pixel_values": patches.cut(pixels, px).permute(0, 2, 3, 1).flatten(1).float()[None] / 255,
            "image_position_ids": torch.stack([across, down], -1).flatten(0, 1)[None],
        }
        return cls(net, ids, rows, lambda ids: model(input_ids=ids, **given).logits[0], words)

    @classmethod
    def of_llava(cls, model: Any, checkpoint: Checkpoint) -> Asked:
        """A picture among words."""
        net, row = llava.decoder(checkpoint), tiny.LLAVA_ROW
        px = tiny.LLAVA_PX * tiny.LLAVA_SIDE
        pixels = torch.randint(0, 256, (3, px, px), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
        seen = llava.eye(checkpoint)(pixels[None])[0]
        ids = _prompt([7, 8, 9], [row] * len(seen), row)
        rows = net.embed(ids[0])
        rows[ids[0] == row] = net.rows(seen, row)
        light = llava_light(pixels)[None]
        return cls(net, ids, rows, lambda ids: model(input_ids=ids, pixel_values=light).logits[0], row)

    @classmethod
    def of_unified(cls, model: Any, checkpoint: Checkpoint) -> Asked:
        """A picture and sound among words. Theirs with the masks that they make for generating: their plain forward
        follows another rule."""
        net, size = gemma4_unified.decoder(checkpoint), tiny.UNIFIED_SAMPLES
        look, hear = gemma4_unified.picture_marks(checkpoint), gemma4_unified.sound_marks(checkpoint)
        assert look is not None and hear is not None
        side, clip, words = tiny.GEMMA_PX * tiny.GEMMA_GROUP, sound(1, 7, size), look.opens
        generator = torch.Generator().manual_seed(4)
        pixels = torch.randint(0, 256, (3, 3 * side, 4 * side), dtype=torch.uint8, generator=generator)
        senses = [look.opens, *[look.row] * 12, look.closes, 11, 12, hear.opens, *[hear.row] * 7, hear.closes]
        ids = _prompt([7, 8, 9], senses, words)
        rows = net.embed(ids[0])
        rows[ids[0] == look.row] = net.picture_rows(gemma4_unified.own_eye(checkpoint)(pixels[None])[0], look.layers)
        rows[ids[0] == hear.row] = net.rows(gemma4_unified.own_ear(checkpoint)(clip)[0], hear.layers)
        down, across = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
        given = {
            "pixel_values": patches.cut(pixels, side).permute(0, 2, 3, 1).flatten(1).float()[None] / 255,
            "image_position_ids": torch.stack([across, down], -1).flatten(0, 1)[None],
            "input_features": clip.view(1, 7, size), "input_features_mask": torch.ones(1, 7, dtype=torch.bool),
        }  # fmt: skip

        def theirs(ids: Tensor) -> Tensor:
            kinds, time = (ids == look.row).long() + 3 * (ids == hear.row).long(), ids.shape[1]
            mask = model.create_masks_for_generate(
                model.config, torch.empty(1, time, 0), None, None, torch.arange(time)[None], mm_token_type_ids=kinds
            )
            found: Tensor = model(input_ids=ids, mm_token_type_ids=kinds, attention_mask=mask, **given).logits[0]
            return found

        return cls(net, ids, rows, theirs, words)

    def streamed(self, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        """Logits `[T, V]` of rows that come in pieces of about these sizes, into one lane of three."""
        net, at, out = self.net, 0, list[Tensor]()
        state = net.init_state(3, 256, back=16)
        while at < len(rows):
            size = net.piece(rows[at:], sizes[len(out) % len(sizes)])
            x = torch.zeros(3, max(size, net.pass_rows), rows.shape[1])
            x[1, :size], x[0, 0] = rows[at : at + size], rows[0]
            out.append(net.steps(x, [1, size, 0], state)[1, :size])
            at += size
        return torch.cat(out)

    def same(self, tokens: int = TOKENS) -> bool:
        (said, would), first = drawn(self.theirs, self.ids, tokens, self.words), self.ids.shape[1] - 1
        rows = torch.cat([self.rows, self.net.embed(said[:-1])])
        ours = self.net(rows=rows[None])[0, first:, : self.words].argmax(-1)
        streamed = self.streamed(rows, pieces_of(5, len(rows)))[first:, : self.words].argmax(-1)
        return torch.equal(ours, would) and torch.equal(streamed, would)


def _prompt(before: list[int], senses: list[int], words: int) -> Tensor:
    behind = torch.randint(8, words, (9,), generator=torch.Generator().manual_seed(6)).tolist()
    return torch.tensor([[*before, *senses, *behind]])


def llava_light(pixels: Tensor) -> Tensor:
    """As their processor would have it."""
    return (pixels.float() / 255 - tiny.LLAVA_MEAN) / tiny.LLAVA_STD


def whisper_nets(checkpoint: Checkpoint) -> tuple[SoundEncoder, Scribe]:
    hearing, writing = whisper.configs(checkpoint)
    encoder, scribe = SoundEncoder(hearing).eval(), Scribe(writing).eval()
    checkpoint.fill(encoder, whisper.sound_sources(hearing.layers))
    checkpoint.fill(scribe, whisper.scribe_sources(writing.layers, writing.tied))
    return encoder, scribe


def dictated(scribe: Scribe, heard: Tensor, ids: Tensor, sizes: Sequence[int]) -> Tensor:
    """Logits `[T, V]` of ids that come in pieces, in one lane of two."""
    state = scribe.init_state(2)
    scribe.listen(heard, state, 1)
    at, parts = 0, []
    for size in sizes:
        rows = torch.zeros(2, size, dtype=torch.long)
        rows[1] = ids[at : at + size]
        parts.append(scribe.step(rows, [0, size], state)[1, :size])
        at += size
    return torch.cat(parts)


# --- the families


def _words(make: Callable[[int], Any], read: Callable[[Checkpoint], Stack], folder: Path) -> bool:
    model = make(7)
    return says_the_same(read(Checkpoint.open(saved(model, folder))), model)


def _asked(made: Callable[[Path, bool], tiny.Written], asked: Callable[[Any, Checkpoint], Asked], folder: Path) -> bool:
    return asked(*made(folder, True)).same()


def _whisper(folder: Path) -> bool:
    model, checkpoint = tiny.whisper(folder, True)
    encoder, scribe = whisper_nets(checkpoint)
    mel = whisper.mel_of(checkpoint, whisper.configs(checkpoint)[0])(sound(1, 17, 1600))
    heard, encoded = encoder(mel), model.model.encoder(mel)
    begin = torch.tensor([[3]])
    said, would = drawn(
        lambda ids: model(encoder_outputs=(encoded.last_hidden_state,), decoder_input_ids=ids).logits[0], begin
    )
    whole = torch.cat([begin[0], said[:-1]])
    ours, streamed = (
        scribe(whole[None], heard)[0].argmax(-1),
        dictated(scribe, heard[0], whole, [1] * TOKENS).argmax(-1),
    )
    return torch.equal(ours, would) and torch.equal(streamed, would)


def _nemotron(folder: Path) -> bool:
    """What it writes of sound is read off its own states: a mistake would carry on."""
    model, _ = tiny.nemotron(folder, True)
    samples, extract = sound(1, 120, 1280), tiny.nemotron_features()
    mel = extract([np.pad(samples[0].numpy(), (0, 1280))], return_tensors="pt", sampling_rate=16_000).input_features
    mel = mel[:, : 8 * 120 - 7]
    given = {"attention_mask": torch.ones(mel.shape[:2], dtype=torch.bool), "num_lookahead_tokens": 1}
    tiny.talkative(model, model.get_audio_features(mel, **given).pooler_output[0])
    ear = nemotron.ear(Checkpoint.open(saved(model, folder)), 1)
    said = model.generate(input_features=mel, max_new_tokens=20 * mel.shape[1], **given).sequences[0]
    theirs = said[said != tiny.NEMOTRON_BLANK][:TOKENS].tolist()
    state, one = ear.init_state(1), torch.ones(1, dtype=torch.bool)
    parts = samples.split(ear.block_samples, dim=1)
    streamed = torch.cat([ear.step(each, state, one) for each in parts], dim=1)
    ours = [[int(each) for each in found.flatten() if each != NONE][:TOKENS] for found in (ear(samples), streamed)]
    return len(theirs) == TOKENS and ours == [theirs, theirs]


FAMILIES: Mapping[str, Callable[[Path], bool]] = {
    "gemma4": partial(_words, tiny_gemma, gemma4.decoder),
    "gemma4_heard": partial(_asked, tiny.heard_gemma, Asked.of_gemma),
    "gemma4_seen": partial(_asked, tiny.seen_gemma, Asked.of_seeing_gemma),
    "gemma4_unified": partial(_asked, tiny.unified, Asked.of_unified),
    "llama": partial(_words, tiny_llama, llama.decoder),
    "llava_clip": partial(_asked, partial(tiny.llava, "clip"), Asked.of_llava),
    "llava_siglip": partial(_asked, partial(tiny.llava, "siglip"), Asked.of_llava),
    "whisper": _whisper,
    "nemotron": _nemotron,
}


def compared(folder: Path) -> dict[str, bool | None]:
    """Of each family; None: this `transformers` lacks its class."""
    found: dict[str, bool | None] = {}
    for name, same in FAMILIES.items():
        try:
            found[name] = same(folder / name)
        except (AttributeError, ModuleNotFoundError) as missing:
            if "ransformers" not in str(missing):
                raise
            found[name] = None
    return found
