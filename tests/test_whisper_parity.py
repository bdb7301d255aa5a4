"""Whisper beside the library that its checkpoints are written with: features, encoder, decoder, rules, texts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.families import whisper
from liveagent.nn import torchaudio_cpu
from liveagent.nn.clip_mel import ClipMel
from liveagent.nn.transcriber import Marks, Transcriber
from tests import tiny_whisper

os.environ["HF_HUB_OFFLINE"] = "1"
torchaudio_cpu.load()  # before transformers does
transformers = pytest.importorskip("transformers", reason="no transformers: pip install transformers==5.24")
pytestmark = pytest.mark.slow

BAR = 1e-4
TOKENS = 64


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, in standard deviations of the reference."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.std())


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """A swelling chord in noise, quiet and then loud."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16_000)) / 16_000
    chord = sum(np.sin(6.28 * hz * t) for hz in (170, 340, 900 + 300 * np.sin(3 * t), 2500))
    sound = (chord * (0.01 + 0.1 * (1 + np.sin(4 * t))) + 0.01 * rng.standard_normal(len(t))).astype(np.float32)
    return np.asarray(sound)


def gains(net: torch.nn.Module, seed: int) -> None:
    """Weights that leave nothing near zero or one."""
    torch.manual_seed(seed)
    for name, weight in net.named_parameters():
        if "layer_norm" in name and name.endswith("weight"):
            weight.data = 0.5 + 1.5 * torch.rand_like(weight)
        elif weight.ndim == 1:
            weight.data = 0.3 * torch.randn_like(weight)
        elif "embed" in name:
            weight.data = torch.randn_like(weight)
        else:
            weight.data = 1.5 * torch.randn_like(weight) * weight[0].numel() ** -0.5


def folder_of(path: Path, seed: int | None, **more: Any) -> Any:
    """Write a tiny checkpoint with the other library; returns its network. `seed`: of drawn gains, None: as made."""
    words = tiny_whisper.tokenizer()
    several = more.pop("several", True)
    torch.manual_seed(7)
    said = transformers.WhisperConfig(**{**tiny_whisper.config(words), **more})
    net = transformers.WhisperForConditionalGeneration(said).eval()
    if seed is not None:
        gains(net, seed)
    net.save_pretrained(path)
    tiny_whisper.write_beside(path, words, bands=said.num_mel_bins, several=several)
    return transformers.WhisperForConditionalGeneration.from_pretrained(path).eval()


Pair = tuple[Any, Transcriber]


@pytest.fixture(scope="module", params=[None, 3], ids=["as made", "drawn gains"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    path = tmp_path_factory.mktemp("whisper")
    theirs = folder_of(path, request.param)
    with torch.inference_mode():
        yield theirs, whisper.load(path)


@pytest.mark.parametrize(("bands", "seconds"), [(80, 30), (128, 30), (80, 2)])
def test_features(bands: int, seconds: int) -> None:
    extract = transformers.WhisperFeatureExtractor(feature_size=bands, chunk_length=seconds)
    mel = ClipMel(bands, seconds=seconds)
    for sound in (speech(1.3), speech(seconds), speech(seconds + 1.7), np.zeros(16_000, np.float32), speech(0.01)):
        theirs = torch.from_numpy(extract(sound, sampling_rate=16_000, return_tensors="np").input_features)
        ours = mel(torch.from_numpy(sound)[None])
        assert (ours - theirs).abs().max() <= BAR * max(1e-2, float(theirs.std()))


def features(ours: Transcriber, seed: int = 0) -> torch.Tensor:
    return ours.mel(torch.from_numpy(speech(1.7, seed))[None])


def test_encoder_and_decoder(pair: Pair) -> None:
    theirs, ours = pair
    mel = features(ours)
    encoded = theirs.model.encoder(mel).last_hidden_state
    assert apart(ours.encoder(mel), encoded) <= BAR
    torch.manual_seed(5)
    ids = torch.randint(0, ours.scribe.config.vocab_size, (2, TOKENS))
    both = encoded.expand(2, -1, -1)
    logits = theirs(encoder_outputs=(both,), decoder_input_ids=ids).logits
    assert apart(ours.scribe(ids, both), logits) <= BAR
    assert torch.equal(ours.scribe(ids, both).argmax(-1), logits.argmax(-1))  # teacher forced


@pytest.mark.parametrize("sizes", [[1], [3, 1, 7, 2], [TOKENS]])
def test_token_by_token(pair: Pair, sizes: list[int]) -> None:
    """Streamed in any pieces, lanes of different lengths beside each other."""
    theirs, ours = pair
    encoded = torch.stack([theirs.model.encoder(features(ours, each)).last_hidden_state[0] for each in (1, 2)])
    torch.manual_seed(6)
    ids = torch.randint(0, ours.scribe.config.vocab_size, (2, TOKENS))
    logits = theirs(encoder_outputs=(encoded,), decoder_input_ids=ids).logits
    state = ours.scribe.init_state(2)
    for lane in range(2):
        ours.scribe.listen(encoded[lane], state, lane)
    done, turn = [0, 0], 0
    found = torch.full_like(logits, torch.nan)
    while min(done) < TOKENS:
        counts = [min(sizes[(turn + lane) % len(sizes)], TOKENS - done[lane]) for lane in range(2)]
        rows = torch.zeros(2, max(counts), dtype=torch.int64)
        for lane, count in enumerate(counts):
            rows[lane, :count] = ids[lane, done[lane] : done[lane] + count]
        here = ours.scribe.step(rows, counts, state)
        for lane, count in enumerate(counts):
            found[lane, done[lane] : done[lane] + count] = here[lane, :count]
            done[lane] += count
        turn += 1
    assert apart(found, logits) <= BAR


@pytest.mark.parametrize("with_times", [False, True], ids=["words", "words and times"])
@pytest.mark.parametrize("language", ["zh", None])
def test_greedy_texts(pair: Pair, with_times: bool, language: str | None) -> None:
    theirs, ours = pair
    for seed in range(2):
        sound = speech(1.7, seed)
        given = ours.mel(torch.from_numpy(sound)[None])
        said = theirs.generate(
            given, language=language, task="transcribe", return_timestamps=with_times, max_new_tokens=TOKENS,
            do_sample=False, num_beams=1, force_unique_generate_call=True, return_dict_in_generate=True,
            output_scores=True,
        )  # fmt: skip
        written = ours.write(sound, language, with_times=with_times, most_tokens=TOKENS)
        prompt = ours.marks.prompt(written.language, with_times=with_times)
        ids = said.sequences[0].tolist()
        assert ids[: len(prompt)] == prompt
        end = [ours.marks.end] if written.ended else []
        assert ids[len(prompt) :] == [*written.ids, *end]
        chosen = [score[0].log_softmax(-1).max().item() for score in said.scores]
        assert written.logp == pytest.approx(sum(chosen) / len(chosen), abs=1e-4)
        first = theirs(given, decoder_input_ids=torch.tensor([[ours.marks.start]])).logits[0, 0]
        assert written.no_speech == pytest.approx(first.softmax(-1)[ours.marks.no_times - 1].item(), abs=1e-5)
        if language is None:
            heard = theirs.detect_language(given).tolist()
            assert heard == [ours.marks.languages[written.language or ""]]


@pytest.mark.parametrize("forced", [False, True], ids=["asked for", "of a checkpoint made for it"])
@pytest.mark.parametrize("language", ["de", "zh"])
def test_the_ids_that_a_language_forces(tmp_path: Path, language: str, forced: bool) -> None:
    theirs = folder_of(tmp_path, 5)
    if forced:
        path = tmp_path / "generation_config.json"
        said = json.loads(path.read_text())
        ids = [[1, said["lang_to_id"][f"<|{language}|>"]], [2, said["task_to_id"]["transcribe"]]]
        path.write_text(json.dumps(said | {"forced_decoder_ids": ids}))
        theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    ours = whisper.load(tmp_path)
    assert ours.marks.usual == (language if forced else None)
    sound = speech(1.1)
    asked = {} if forced else {"language": language, "task": "transcribe"}
    ids = theirs.generate(
        ours.mel(torch.from_numpy(sound)[None]), max_new_tokens=TOKENS, do_sample=False, num_beams=1,
        force_unique_generate_call=True, return_dict_in_generate=True, **asked,
    ).sequences[0].tolist()  # fmt: skip
    chosen = ours.marks.language(None if forced else language)
    written = ours.write(sound, chosen, most_tokens=TOKENS)
    prompt = ours.marks.prompt(chosen)
    assert ids[: len(prompt)] == prompt and ids[len(prompt) :][: len(written.ids)] == list(written.ids)
    assert ours.marks.prompt("en") != prompt and written.language == language


def test_one_language_alone(tmp_path: Path) -> None:
    theirs = folder_of(tmp_path, 4, several=False)
    ours = whisper.load(tmp_path)
    sound = speech(1.2)
    said = theirs.generate(
        ours.mel(torch.from_numpy(sound)[None]), max_new_tokens=TOKENS, do_sample=False, num_beams=1,
        force_unique_generate_call=True,
    )  # fmt: skip
    written = ours.write(sound, most_tokens=TOKENS)
    assert said[0].tolist()[2 : 2 + len(written.ids)] == list(written.ids) and written.language is None


@pytest.mark.parametrize(
    "more",
    [
        {"encoder_layers": 1, "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 8},
        {"encoder_ffn_dim": 20, "decoder_ffn_dim": 70, "num_mel_bins": 128, "max_target_positions": 96},
        {"activation_function": "relu", "tie_word_embeddings": False, "d_model": 48},
        {"activation_function": "gelu_new", "d_model": 40},
    ],
    ids=["layers and heads", "widths and bands", "relu, untied", "tanh"],
)
def test_other_shapes(tmp_path: Path, more: dict[str, Any]) -> None:
    theirs = folder_of(tmp_path, 8, **more)
    ours = whisper.load(tmp_path)
    with torch.inference_mode():
        mel = ours.mel(torch.from_numpy(speech(1.1))[None])
        ids = torch.arange(40)[None] * 31
        logits = theirs(mel, decoder_input_ids=ids).logits
        assert apart(ours.scribe(ids, ours.encoder(mel)), logits) <= BAR


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    heads=st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 3])),
    head_width=st.sampled_from([12, 24, 36]),
    layers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    hidden=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    bands=st.sampled_from([80, 128]),
    places=st.sampled_from([41, 64, 448]),
    tied=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_legal_shape(
    tmp_path_factory: pytest.TempPathFactory,
    heads: tuple[int, int],
    head_width: int,
    layers: tuple[int, int],
    hidden: tuple[int, int],
    bands: int,
    places: int,
    tied: bool,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("drawn")
    theirs = folder_of(
        path, seed, d_model=6 * head_width, encoder_layers=layers[0], decoder_layers=layers[1], num_mel_bins=bands,
        encoder_attention_heads=2 * heads[0], decoder_attention_heads=2 * heads[1], tie_word_embeddings=tied,
        encoder_ffn_dim=hidden[0], decoder_ffn_dim=hidden[1], max_target_positions=places,
    )  # fmt: skip
    ours = whisper.load(path)
    with torch.inference_mode():
        mel = ours.mel(torch.from_numpy(speech(1.1, seed))[None])
        ids = (torch.arange(40)[None] * 31 + seed) % ours.scribe.config.vocab_size
        logits = theirs(mel, decoder_input_ids=ids).logits
        assert apart(ours.scribe(ids, ours.encoder(mel)), logits) <= BAR


def test_weights_in_half_and_in_pieces(tmp_path: Path) -> None:
    """As large checkpoints come: 16 bits, several files."""
    net = folder_of(tmp_path / "whole", 9)
    net.to(torch.bfloat16).save_pretrained(tmp_path, max_shard_size="60KB")
    tiny_whisper.write_beside(tmp_path, tiny_whisper.tokenizer())
    assert (tmp_path / "model.safetensors.index.json").is_file()
    theirs = transformers.WhisperForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ours = whisper.load(tmp_path)
    with torch.inference_mode():
        mel = ours.mel(torch.from_numpy(speech(1.4))[None])
        assert apart(ours.encoder(mel), theirs.model.encoder(mel).last_hidden_state) <= BAR


def test_rules_on_any_text() -> None:
    """The rules alone, on texts and scores drawn at random, most of which no network would write."""
    from transformers.generation.logits_process import (
        SuppressTokensAtBeginLogitsProcessor,
        SuppressTokensLogitsProcessor,
        WhisperTimeStampLogitsProcessor,
    )

    words = tiny_whisper.tokenizer()
    said = tiny_whisper.settings(words)
    config = transformers.GenerationConfig(**said)
    begin = 3
    theirs: list[Callable[..., torch.Tensor]] = [
        SuppressTokensAtBeginLogitsProcessor(said["begin_suppress_tokens"], begin),
        SuppressTokensLogitsProcessor(said["suppress_tokens"]),
        WhisperTimeStampLogitsProcessor(config, begin),
    ]
    end, no_times, size = said["eos_token_id"], said["no_timestamps_token_id"], words.get_vocab_size()
    ours = Marks(
        said["decoder_start_token_id"], end, no_times, no_times - 1, suppressed=tuple(said["suppress_tokens"]),
        suppressed_first=tuple(said["begin_suppress_tokens"]), latest_first=50,
    )  # fmt: skip
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for turn in range(300):
        text = rng.choice([int(rng.integers(0, end)), int(rng.integers(no_times + 1, size))], rng.integers(0, 6))
        scores = torch.randn(1, size) * 3
        scores[:, no_times + 1 :] += float(rng.normal(0, 4)) if turn % 2 else 0.0
        ids, expected = torch.tensor([[0] * begin + [int(each) for each in text]]), scores
        for each in theirs:
            expected = each(ids, expected)
        assert torch.equal(ours.allow(scores[0], [int(each) for each in text], True), expected[0])


@pytest.mark.parametrize("mutation", ["eps", "head order", "window", "scale", "position", "clip", "key bias"])
def test_the_bar_can_be_missed(tmp_path: Path, mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = folder_of(tmp_path, 11)
    ours = whisper.load(tmp_path)
    scribe, encoder = ours.scribe, ours.encoder
    layer: Any = scribe.layers[0]
    if mutation == "eps":
        for norm in [each for each in encoder.modules() if isinstance(each, torch.nn.LayerNorm)]:
            norm.eps = 1e-2
    elif mutation == "head order":
        layer.clip_out.weight.data = layer.clip_out.weight.data.roll(8, 1)
        layer.clip_out.sort_weights()
    elif mutation == "position":
        scribe.positions.data = scribe.positions.data.roll(1, 0)
    elif mutation == "clip":
        encoder.positions.data = encoder.positions.data.roll(1, 0)
    elif mutation == "scale":
        layer.clip_q.weight.data *= 1.1
        layer.clip_q.sort_weights()
    elif mutation == "key bias":  # in the place of the values'
        layer.qkv.bias.data = layer.qkv.bias.data.roll(32)
    mel = ours.mel(torch.from_numpy(speech(1.6))[None])
    if mutation == "window":  # a frame later
        mel = mel.roll(1, 2)
    with torch.inference_mode():
        ids = torch.arange(40)[None] * 31
        real = theirs(ours.mel(torch.from_numpy(speech(1.6))[None]), decoder_input_ids=ids).logits
        assert apart(scribe(ids, encoder(mel)), real) > 10 * BAR
