"""NVIDIA's streaming FastConformer against transformers': rows, pieces and their times, on random weights it wrote."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import nemotron
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.row_ear import RowEar, RowEarConfig
from liveagent.nn.speller import Speller, TimedWord
from liveagent.nn.transducer import NONE, Transducer
from tests.laws import sound
from tests.tiny_nemotron import (
    BLANK,
    ENCODER,
    EXTRACTOR,
    MOST,
    PIECES,
    TOKEN,
    as_on_the_hub,
    draw_gains,
    features,
    pieces_there,
    rows_there,
    there,
    tokenizer,
    written,
)

pytestmark = pytest.mark.slow

BAR = 1e-4  # largest error, in standard deviations of the reference


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def off(ours: Tensor, reference: Tensor) -> float:
    """The largest error, in what the reference changes over time."""
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.std(1).mean())


def streamed(net: RowEar | Transducer, samples: Tensor, sizes: list[int]) -> Tensor:
    state, active = net.init_state(len(samples)), torch.ones(len(samples), dtype=torch.bool)
    parts, at, i = [], 0, 0
    while at < samples.shape[1]:
        wide = min(sizes[i % len(sizes)] * net.block_samples, samples.shape[1] - at)
        parts.append(net.step(samples[:, at : at + wide], state, active))  # type: ignore[arg-type]
        at, i = at + wide, i + 1
    return torch.cat(parts, dim=1)


def pieces_here(written_ids: Tensor) -> list[tuple[int, int]]:
    return [(t, piece) for t, ids in enumerate(written_ids.tolist()) for piece in ids if piece != NONE]


@pytest.fixture(scope="module", params=[False, True], ids=["default", "gains"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Checkpoint]:
    torch.manual_seed(1)
    return written(tmp_path_factory.mktemp("nemotron"), request.param)


@pytest.mark.parametrize("lookahead", [13, 6, 1, 0])
def test_rows_are_theirs_whole_and_streamed(pair: tuple[Any, Checkpoint], lookahead: int) -> None:
    net, checkpoint = pair
    ear, samples = nemotron.ear(checkpoint, lookahead), sound(4, 56, TOKEN)
    reference = rows_there(net, samples, lookahead)
    with torch.no_grad():
        assert off(ear.ear(samples), reference) <= BAR
    for sizes in ([1], [2, 1]):
        assert off(streamed(ear.ear, samples, sizes), reference) <= BAR
    assert ear.block_samples == (lookahead + 1) * TOKEN and ear.token_ms == 80.0
    assert not [name for name in checkpoint.unread if "relative_k" not in name]


@pytest.mark.parametrize("lookahead", [6, 0])
def test_pieces_and_their_times_are_theirs(tmp_path: Path, lookahead: int) -> None:
    net, checkpoint = written(tmp_path)
    ear, samples = nemotron.ear(checkpoint, lookahead), sound(4, 56, TOKEN)
    ids = streamed(ear, samples, [1, 2])
    assert torch.equal(ids, ear.whole(samples))
    for lane in range(2):
        ours = pieces_here(ids[lane])
        assert ours == pieces_there(net, samples[lane : lane + 1], lookahead)
        assert len({piece for _, piece in ours}) > 3 and 10 < len({t for t, _ in ours}) < 50  # it says something
    counts = (ids != NONE).sum(-1).flatten().tolist()
    assert {0, MOST} < set(counts)  # blanks, tokens cut short, and others


def test_scores_along_a_given_text_are_theirs(pair: tuple[Any, Checkpoint]) -> None:
    net, checkpoint = pair
    ear = nemotron.ear(checkpoint)
    rows = rows_there(net, sound(1, 56, TOKEN), 1)
    text = torch.randint(0, BLANK, (1, 56))
    said_there = net.decoder(torch.cat([torch.tensor([[BLANK]]), text], dim=1))[:, :56]
    reference = net.joint(encoder_hidden_states=rows, decoder_hidden_states=said_there)
    everyone, state = torch.tensor([True]), ear.init_state(1)
    memory, said = ear._after(torch.tensor([BLANK]), everyone, (state.hidden, state.cell), state.said)
    scores = []
    with torch.no_grad():
        for t in range(56):
            scores.append(ear.scores(rows[:, t], said))
            memory, said = ear._after(text[:, t], everyone, memory, said)
    assert float((torch.stack(scores, 1) - reference).abs().max() / reference.std()) <= BAR
    assert torch.equal(torch.stack(scores, 1).argmax(-1), reference.argmax(-1))


def mutants(config: RowEarConfig) -> dict[str, RowEarConfig]:
    def block(**more: Any) -> RowEarConfig:
        return dataclasses.replace(config, block=dataclasses.replace(config.block, **more))

    def stem(**more: Any) -> RowEarConfig:
        return dataclasses.replace(config, stem=dataclasses.replace(config.stem, **more))

    return {
        "eps": block(eps=1e-2),
        "eps of the convolution": block(mid_eps=1e-1),
        "window + 1": block(left=config.block.left + 1),
        "window - 1": block(left=config.block.left - 1),
        "chunk": block(chunk=1, left=config.block.left + 1),
        "residual": block(residual=0.51),
        "scale": stem(scale=config.stem.scale * 1.01),
    }


def test_each_mutation_is_seen(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path)
    samples = sound(1, 56, TOKEN)
    reference = rows_there(net, samples, 1)
    right = nemotron.ear(checkpoint, 1).ear.config

    def read(config: RowEarConfig, change: Callable[[RowEar], Any] = lambda ear: None) -> float:
        ear = Transducer(RowEar(nemotron.mel_of(checkpoint), config), nemotron.transducer_config(checkpoint))
        checkpoint.fill(ear, nemotron.sources(config, ear.config))
        change(ear.ear)
        with torch.no_grad():
            return off(ear.ear(samples), reference)

    assert read(right) <= BAR
    wrong = {name: read(config) for name, config in mutants(right).items()}

    def swap_heads(ear: RowEar) -> None:
        for block in ear.blocks:
            weight: Tensor = block.attention.qkv.weight.data  # type: ignore[union-attr, assignment]
            weight[:32] = weight[:32].view(4, 8, -1).flip(0).flatten(0, 1)

    def swap_biases(ear: RowEar) -> None:
        for block in ear.blocks:
            a: Any = block.attention
            a.token_bias, a.distance_bias = a.distance_bias, a.token_bias

    def shift_distances(ear: RowEar) -> None:
        for block in ear.blocks:
            a: Any = block.attention
            a.distances.data = a.distances.data.roll(1, 0)

    for change in (swap_heads, swap_biases, shift_distances):
        wrong[change.__name__] = read(right, change)
    assert not {name: error for name, error in wrong.items() if error <= 10 * BAR}


@settings(max_examples=6)
@given(
    heads=st.sampled_from([1, 2, 4]), size=st.sampled_from([4, 10]), layers=st.integers(1, 2),
    kernel=st.integers(1, 9), window=st.integers(1, 30), lookahead=st.sampled_from([0, 1, 6, 13]),
    factor=st.sampled_from([4, 8]), scaled=st.booleans(), bias=st.booleans(), mixed=st.booleans(),
)  # fmt: skip
def test_any_legal_configuration(
    tmp_path_factory: pytest.TempPathFactory, heads: int, size: int, layers: int, kernel: int, window: int,
    lookahead: int, factor: int, scaled: bool, bias: bool, mixed: bool,
) -> None:  # fmt: skip
    torch.manual_seed(3)
    encoder = {
        "hidden_size": heads * size, "num_attention_heads": heads, "num_hidden_layers": layers,
        "conv_kernel_size": kernel, "sliding_window": window, "subsampling_factor": factor, "scale_input": scaled,
        "attention_bias": bias, "convolution_bias": mixed,
    }  # fmt: skip
    config = there.NemotronAsrStreamingConfig(encoder_config=ENCODER | encoder, vocab_size=PIECES, blank_token_id=BLANK)
    net = there.NemotronAsrStreamingForRNNT(config).eval().requires_grad_(False)
    draw_gains(net.encoder)
    folder = tmp_path_factory.mktemp("drawn")
    net.save_pretrained(folder)
    EXTRACTOR.save_pretrained(folder)
    ear = nemotron.ear(Checkpoint.open(folder), lookahead)
    samples = sound(2, 28 * factor // 8, TOKEN)
    mel = EXTRACTOR([np.pad(c.numpy(), (0, 999)) for c in samples], return_tensors="pt", sampling_rate=16_000)
    mel = mel.input_features[:, : samples.shape[1] // 160 - factor + 1]
    seen = torch.ones(mel.shape[:2], dtype=torch.bool)
    reference = net.get_audio_features(mel, attention_mask=seen, num_lookahead_tokens=lookahead).pooler_output
    assert off(streamed(ear.ear, samples, [1]), reference) <= BAR


def test_mel_is_theirs() -> None:
    checkpoint = Checkpoint(Path("nowhere"), {"encoder_config": ENCODER}, {})
    samples = torch.randn(2, 30 * TOKEN) * torch.tensor([[0.1], [1e-3]])
    reference = features(samples)
    ours = nemotron.mel_of(checkpoint)(samples)
    assert off(ours[:, 7:], reference) <= BAR


def test_words_come_with_times(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    ear = nemotron.ear(checkpoint)
    ids = ear.whole(sound(1, 56, TOKEN))[0].tolist()
    whole, apart = (nemotron.spellers(checkpoint, ear)() for _ in range(2))
    words = whole.feed(ids) + whole.end()
    flat = [piece for token in ids for piece in token if piece not in (NONE, 0)]
    assert " ".join(word.text for word in words) == tokenizer().decode(flat).strip() and len(words) > 3
    assert all(0 <= a.start_ms < a.end_ms <= 56 * 80 for a in words)
    assert all(a.start_ms <= b.start_ms for a, b in itertools.pairwise(words))
    assert [word for token in ids for word in apart.feed([token])] + apart.end() == words


def test_sound_of_any_length_becomes_words(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    tokenizer().save(str(tmp_path / "tokenizer.json"))
    ear = nemotron.ear(checkpoint)
    samples = sound(1, 56, TOKEN)[:, : -TOKEN - 77]
    padded = torch.nn.functional.pad(samples, (0, TOKEN + 77 + ear.block_samples))
    whole = nemotron.spellers(checkpoint, ear)()
    reference = whole.feed(ear.whole(padded)[0].tolist()) + whole.end()
    stream = nemotron.words(checkpoint, ear)
    for _ in range(2):  # and the second time as if it had heard nothing
        words: list[TimedWord] = []
        for piece in samples[0].split([7, 0, 5000, 2560, 1, 30_000, samples.shape[1] - 37_568]):
            words += stream.feed(piece.numpy())
        assert stream.partial is not None
        assert words + stream.end() == reference and len(reference) > 3 and stream.partial is None


def test_a_word_grows_until_the_next_begins() -> None:
    speller = Speller(tokenizer(), 80.0, frozenset({0}))
    lo, ax, the = (int(tokenizer().token_to_id(piece) or 0) for piece in ("\u2581ay", "ax", "\u2581bx"))
    assert speller.feed([[lo, NONE], [NONE], [0]]) == []
    assert speller.partial is not None and (speller.partial.text, speller.partial.end_ms) == ("ay", 80.0)
    assert speller.feed([[ax]]) == []
    (word,) = speller.feed([[the]])
    assert (word.text, word.start_ms, word.end_ms) == ("ayax", 0.0, 320.0)
    (word,) = speller.end()
    assert (word.text, word.start_ms, word.end_ms) == ("bx", 320.0, 400.0) and speller.end() == []
    assert len(speller.feed([[ax] * 100])) == 1  # what never begins anew is cut


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architectures": ["ParakeetForCTC"]}, "is no Nemotron"),
        ({"encoder_config": None}, "encoder"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"blank_token_id": 99}, "damaged"),
        ({"vocab_size": 60}, "shape"),
        ({"vocab_size": "all"}, "settings are no"),
        ({"encoder_config": ENCODER | {"subsampling_factor": 0}}, "settings are no"),
        ({"encoder_config": ENCODER | {"hidden_size": None}}, "settings are no"),
        ({"encoder_config": ENCODER | {"subsampling_factor": 6}}, "6th"),
        ({"encoder_config": ENCODER | {"num_mel_bins": 80}}, "feature_size"),
    ],
)
def test_a_bad_config_says_what_to_do(pair: tuple[Any, Checkpoint], change: dict[str, Any], says: str) -> None:
    checkpoint = pair[1]
    spoilt = Checkpoint(checkpoint.folder, dict(checkpoint.config) | change, checkpoint._places)
    with pytest.raises(ConfigError, match=says):
        nemotron.ear(spoilt)


def test_only_trained_lookaheads_are_taken(pair: tuple[Any, Checkpoint]) -> None:
    with pytest.raises(ConfigError, match="choose 13, 6, 1, 0"):
        nemotron.ear(pair[1], 3)


def test_a_damaged_tokenizer_says_so(pair: tuple[Any, Checkpoint]) -> None:
    ear = nemotron.ear(pair[1])
    path = pair[1].folder / "tokenizer.json"
    with pytest.raises(ConfigError, match="missing"):
        nemotron.spellers(pair[1], ear)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="damaged"):
        nemotron.spellers(pair[1], ear)
    for count in (BLANK - 1, PIECES + 1):
        Tokenizer(models.WordLevel({f"a{each}": each for each in range(count)}, "a0")).save(str(path))
        with pytest.raises(ConfigError, match=f"has {count} pieces, the ear writes {BLANK}"):
            nemotron.spellers(pair[1], ear)
    path.unlink()


def test_the_hubs_tokenizer_has_marks_behind_the_pieces(tmp_path: Path) -> None:
    as_on_the_hub(tmp_path)
    marks = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert (marks.token_to_id("<pad>"), marks.token_to_id("<blank>")) == (BLANK, BLANK + 1)
    checkpoint = Checkpoint.open(tmp_path)
    assert checkpoint.architecture == "NemotronAsrStreamingForRNNT" and nemotron.lookaheads(checkpoint) == (13, 6, 1, 0)
    assert nemotron.mel_of(checkpoint).n_mels == checkpoint.config["encoder_config"]["num_mel_bins"]
    stream = nemotron.words(checkpoint, nemotron.ear(checkpoint))
    beside, clip = stream.another(), sound(1, 56, TOKEN)[0].numpy()
    words = stream.feed(clip)
    assert len(words) > 3 and 0 < stream.confidence < 1 and beside.confidence == 0
    assert beside.feed(clip) == words and beside.confidence == stream.confidence


def test_confidence_is_how_likely_the_pieces_were(tmp_path: Path) -> None:
    """Of two lanes, one of which rests for a while, against the scores of each piece as it is given."""
    _, checkpoint = written(tmp_path)
    net, clips, both = nemotron.ear(checkpoint), sound(2, 56, TOKEN), torch.tensor([True, True])
    state = net.init_state(2)
    assert net.confidence(state, 0) == 0.0
    net.step(clips[:, : 28 * TOKEN], state, both)
    net.step(clips[:, 28 * TOKEN :], state, torch.tensor([True, False]))
    with torch.no_grad():
        rows = net.ear(clips)
        for lane, tokens in ((0, 56), (1, 28)):
            alone, one = net.init_state(1), torch.tensor([True])
            memory, said = net._after(torch.tensor([BLANK]), one, (alone.hidden, alone.cell), alone.said)
            logps = []
            for t, piece in pieces_here(net(clips)[lane][:tokens]):
                logps.append(float(net.scores(rows[lane, t][None], said).log_softmax(-1)[0, piece]))
                memory, said = net._after(torch.tensor([piece]), one, memory, said)
            assert len(logps) > 5
            assert net.confidence(state, lane) == pytest.approx(float(np.exp(np.mean(logps))), rel=1e-4)
