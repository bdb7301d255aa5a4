"""The benches' pieces at tiny size, on random weights: they run, their keys are those promised, they can tell."""

from __future__ import annotations

import asyncio
import random
import shutil
from typing import Any

import numpy as np
import pytest

from liveagent.action import CallTool
from liveagent.bench import looked, nano, said, sessions, turn, unhear
from liveagent.bench.said import Said
from liveagent.bench.seats import Noting, Seat, seats, share
from liveagent.event import WordMark, WordsHeard
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.session import SessionConfig
from tests.nano import random_nano

KEYS = {
    "nano": {
        "typed_tool_exact", "typed_tool_exact_grammar", "spoken_tool_exact_seen", "spoken_tool_exact_seen_grammar",
        "spoken_tool_exact_unseen", "spoken_tool_exact_unseen_grammar", "false_accept", "shuffled_decoder",
        "human_clips", "colour", "shape", "count", "where", "exists", "blind_colour", "blind_shape", "blind_count",
        "blind_where", "blind_exists", "spoken_look", "memory_1min", "memory_10min", "detail",
    },
    "turn": {
        "vs_prefix_cache", "end_of_turn_to_first_token_steps", "cut_offs", "last_sample_to_first_played_ms_p50",
        "last_sample_to_first_played_ms_p95", "detail",
    },
    "unhear": {"logit_diff", "wrong_words_per_cut", "repair_ticks", "detail"},
    "sessions": {"sessions_per_core", "detail"},
}  # fmt: skip
HUM = (np.sin(np.arange(4000) / 9) * 0.1).astype(np.float32)


@pytest.fixture
def no_synthesis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sounds without flite and festival, and no waiting in real time: what the benches compute with is theirs."""

    def hummed(voices: Any, sentences: Any, seed: int) -> list[Said]:
        return [Said(each.text, each.call, each.voice, HUM) for each in sentences]

    for module in (nano, looked, turn, sessions, said):
        monkeypatch.setattr(module, "spoken_by", hummed, raising=False)

    async def nothing(*_: Any) -> list[dict[str, float | None]]:
        return [{"decided": 300.0, "played": 400.0}, {"decided": 310.0, "played": 500.0}]

    monkeypatch.setattr(turn, "waits", nothing)
    monkeypatch.setattr(turn, "paused", lambda agent, count, seed: [Said("a | b", None, "hum", HUM)] * count)
    monkeypatch.setattr(sessions, "sounds", lambda seed: (HUM, HUM))
    monkeypatch.setattr(said, "ROUNDS", 0)
    monkeypatch.setattr(looked, "LENGTH_S", 80)
    monkeypatch.setattr(looked, "AGES_S", {"memory_1min": 30, "memory_10min": 60})
    deaf = Noting.of
    monkeypatch.setattr(Noting, "of", lambda agent, model, use_recogniser: deaf(agent, model, use_recogniser=False))


@pytest.mark.slow
@pytest.mark.usefixtures("no_synthesis")
def test_keys_are_those_of_the_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_clips(model: Nano) -> tuple[int, dict[str, Any]]:
        return 8, {}

    async def no_loudspeaker(model: Nano, cuts: int, seed: int) -> tuple[str, list[dict[str, Any]]]:
        return "none", [{"utterance": 1, "believed": 3, "recorded": 2, "ticks": 1}]

    monkeypatch.setattr(nano, "human_clips", no_clips)
    monkeypatch.setattr(unhear, "live", no_loudspeaker)
    model = random_nano()
    results = {
        "nano": asyncio.run(nano._all(model, 2, 1)),
        "turn": asyncio.run(turn._all(model, 1, 1, 1, 1)),
        "unhear": asyncio.run(unhear._all(model, 4, 1, 1)),
        "sessions": asyncio.run(sessions._all(model, 4, 4, 6, 1)),
    }
    assert {name: set(result) for name, result in results.items()} == KEYS
    assert results["unhear"]["logit_diff"] <= 1e-4
    assert results["unhear"]["wrong_words_per_cut"] == 1
    assert results["turn"]["last_sample_to_first_played_ms_p95"] == 500.0


def test_a_typed_sentence_counts_only_with_every_argument() -> None:
    agent = load_agent("voice")
    right = Said("turn on the kitchen light", ("light", (("room", "kitchen"), ("state", "on"))))
    other = Said("turn on the kitchen light", ("light", (("room", "kitchen"), ("state", "off"))))
    found = asyncio.run(nano.measure(random_nano(), agent, [right, other], grammar=True))
    assert nano.exact([right], found[:1]) == 1.0 and nano.exact([other], found[1:]) == 0.0


def test_by_grammar_from_the_words_that_were_heard() -> None:
    agent = load_agent("voice")
    heard = [nano.Outcome(None, "go home"), nano.Outcome(None, "go home", unsure=True), nano.Outcome(None, "")]
    found = asyncio.run(nano.with_grammar(random_nano(), agent, heard))
    assert [each.call for each in found] == [("go_home", ()), None, None]


def test_every_conversation_of_a_seat_is_fresh() -> None:
    async def typed(seat: Seat, text: str) -> tuple[int, int, list[str]]:
        before = seat.session.context.end
        seat.write(text)
        await seat.ticks(1)
        return before, seat.index, [call.name for call in seat.of(CallTool)]

    async def all_of_them() -> list[tuple[int, int, list[str]]]:
        async with seats(load_agent("voice"), random_nano(), 4, SessionConfig(voice=False)) as made:
            return await share(made, ["go home", "cancel my timer"] * 3, typed)

    found = asyncio.run(all_of_them())
    assert len({before for before, _, _ in found}) == 1 and {ticks for _, ticks, _ in found} == {1}
    assert [names for _, _, names in found] == [["go_home"], ["cancel_timer"]] * 3


def test_held_out_wordings_mean_their_tool_and_repeat() -> None:
    agent = load_agent("voice")
    one, other = (said.held_out(agent, 60, 5) for _ in range(2))
    assert one == other
    assert {each.call[0] for each in one if each.call} == {tool.name for tool in agent.tools}
    dark = [each for each in one if "kill the lights" in each.text]
    assert all(each.call is not None and dict(each.call[1])["state"] == "off" for each in dark)
    assert "{" not in " ".join(each.text for each in one)


def test_no_spoken_sentence_is_one_that_its_voice_was_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = load_agent("voice")
    monkeypatch.setattr(said, "ROUNDS", 2)
    known = said.trained("flite/awb")
    made = said.commands(agent, ["flite/awb", "flite/slt"], 40, 3)
    assert len(known) > 100 and not any(each.voice == "flite/awb" and each.text in known for each in made)
    assert said.trained("flite/slt") == set()  # held out of training altogether
    assert all(agent.automaton.accepts(each.text) for each in made)


def test_shuffling_moves_weights_and_leaves_the_model_alone() -> None:
    model = random_nano()
    mixed = nano.shuffled(model)
    one, other = model.decoder.layers[0].qkv.weight, mixed.decoder.layers[0].qkv.weight  # type: ignore[union-attr]
    assert not (one == other).all() and (one.flatten().sort()[0] == other.flatten().sort()[0]).all()  # type: ignore[operator,union-attr]


def test_words_are_found_in_a_recording_up_to_the_cut_and_over_a_stutter() -> None:
    rng = np.random.default_rng(0)
    voice = rng.standard_normal(24_000).astype(np.float32) * 0.2
    marks = [WordMark(at, at * 6000, (at + 1) * 6000) for at in range(4)]
    uttered = unhear.Uttered([voice], marks)
    room = np.zeros(8000, np.float32)
    cut = np.concatenate([room, voice[:11_000], room])  # the second word is cut
    assert uttered.truly_heard(cut) == 1
    stutter = np.concatenate([room, voice[:7000], room, voice[7000:], room])
    assert uttered.truly_heard(stutter) == 4
    assert uttered.truly_heard(room) is None


@pytest.mark.slow
def test_a_pair_that_keeps_unheard_words_differs() -> None:
    worst, detail = asyncio.run(unhear.against_oracle(random_nano(), 12, 7, per_talk=12))
    assert worst <= 1e-4 < 1e-3 < detail["left_in"]


@pytest.mark.slow
def test_eviction_comes_between_interruptions() -> None:
    async def talk() -> tuple[int, float]:
        from liveagent.bench.seats import Direct
        from liveagent.runtime.core import Core

        core = Core(random_nano(), 4, 1024)
        pump = asyncio.create_task(Direct(core).pump())
        pair = unhear.Pair(random_nano(), core, random.Random(2))
        await pair.open()
        worst = max([await pair.interruption() for _ in range(14)])
        pump.cancel()
        return pair.evictions, worst

    evictions, worst = asyncio.run(talk())
    assert evictions >= 1 and worst <= 1e-4


def test_what_a_tick_costs_is_told_by_part() -> None:
    measured, parts, _ = asyncio.run(sessions.ticks_ms(random_nano(), 4, 4, HUM, HUM, warm_up=1))
    assert len(measured) == 4 and {"ear", "vad", "decoder", "echo gate", "rest", "all"} <= set(parts)
    assert abs(sum(parts.values()) - 2 * parts["all"]) < 0.1
    assert "step" not in vars(random_nano().ear)  # nothing is left watched
    assert sessions.p95(list(range(1, 101))) == 95


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed (apt-get install flite)")
def test_a_pause_lies_inside_a_sentence() -> None:
    agent = load_agent("voice")
    for each in turn.paused(agent, 4, 2):
        begun, _, rest = each.text.partition(" | ")
        assert rest and not agent.automaton.accepts(begun)
        assert each.sound is not None and len(each.sound) > 16_000


def test_words_heard_are_the_final_ones() -> None:
    async def typed() -> list[str]:
        async with seats(load_agent("voice"), random_nano(), 4, SessionConfig(voice=False)) as made:
            made[0].write("Turn on the kitchen light!")
            await made[0].ticks(1)
            return [" ".join(each.words) for each in made[0].of(WordsHeard) if each.final]

    assert asyncio.run(typed()) == ["turn on the kitchen light"]
