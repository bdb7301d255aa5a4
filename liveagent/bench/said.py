"""What the benches say: sentences with the call that is meant, in voices, and sounds that mean none. All from seeds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from liveagent.agent import Agent
from liveagent.audio import RATE_HZ, Samples
from liveagent.automaton import Parse
from liveagent.bench.wordings import WORDINGS
from liveagent.tool import Tool
from liveagent.train import paraphrases
from liveagent.train.schemas import EVERYDAY_HELD_OUT, expand, fill, parse, top_choice, values_of
from liveagent.train.sentences import Sentences
from liveagent.train.speech import SHARE, hash_seed, tool_files
from liveagent.train.voices import Utterance, espeak, speak

ROUNDS = 40  # of training speech whose pairs of sentence and voice are kept out; more than any training here has made
ROUND = 7777  # the seed of rate and pitch, which no round of training has
Call = tuple[str, tuple[tuple[str, Any], ...]]


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, the call it means (None: none), its voice or kind, and its sound (None: typed)."""

    text: str
    call: Call | None
    voice: str = "typed"
    sound: Samples | None = None


def call_of(tool: Tool, values: dict[str, Any]) -> Call:
    return tool.name, tuple(sorted(tool.validate(values).items()))


def held_out(agent: Agent, count: int, seed: int) -> list[Said]:
    """Wordings that no training sees, as many of each tool."""
    rng = random.Random(seed)
    return [_reworded(rng, agent.tools[at % len(agent.tools)], WORDINGS) for at in range(count)]


def _reworded(rng: random.Random, tool: Tool, wordings: dict[str, list[str]]) -> Said:
    phrase = rng.choice(wordings[tool.name])
    values = {argument.name: values_of(rng, argument) for argument in tool.arguments}
    while "=" in phrase.split(":")[0] and ":" in phrase:  # "state=off: kill the lights in the {room}"
        name, _, rest = phrase.partition("=")
        value, _, phrase = rest.partition(":")
        values[name.strip()] = value.strip()
    return Said(fill(rng, expand(rng, phrase), values), call_of(tool, dict(values)))


def never_seen(count: int, seed: int) -> tuple[Agent, list[Said]]:
    """An agent with eight tools that no training holds, and typed sentences for them."""
    rng = random.Random(seed)
    cases = parse(EVERYDAY_HELD_OUT)
    agent = Agent("nano", tools=[case.tool for case in cases])
    said = []
    for at in range(count):
        case = cases[at % len(cases)]
        said.append(_reworded(rng, case.tool, {case.tool.name: case.phrases}))
    return agent, said


def commands(agent: Agent, voices: Sequence[str], count: int, seed: int) -> list[Said]:
    """Sentences of the tools' phrases, turn by turn for each voice; none that this voice says in the training data."""
    rng = random.Random(seed)
    said: list[Said] = []
    known = {voice: trained(voice) for voice in voices}
    tools = [tool for tool in agent.tools if tool.phrases]
    while len(said) < count:
        voice = voices[len(said) % len(voices)]
        tool = rng.choice(tools)
        values: dict[str, str | Sequence[str]] = {each.name: list(each.slots) for each in tool.arguments}
        text = rng.choice(tool.phrases).sample(rng, values)
        found = agent.automaton.parse(text)
        if text not in known[voice] and isinstance(found, Parse) and found.tool.name == tool.name:
            known[voice].add(text)
            said.append(Said(text, call_of(tool, dict(found.args)), voice))
    return said


def trained(voice: str) -> set[str]:
    """What this voice says in `ROUNDS` rounds of training speech."""
    texts: set[str] = set()
    for number in range(ROUNDS if voice in SHARE else 0):
        source = Sentences(tool_files(), hash_seed(f"train-{number:03d}-{voice.replace('/', '-')}"))
        texts.update(source.next() for _ in range(SHARE[voice]))
    return texts


def spoken_by(voices: Iterable[str], said: Sequence[Said], seed: int) -> list[Said]:
    """The sentences with sound, each in its voice; what a voice cannot say is left out."""
    out = []
    for voice in voices:
        mine = [each for each in said if each.voice == voice]
        by_text: dict[str, list[Utterance]] = {}
        for made in speak(voice, [each.text for each in mine], ROUND + seed, espeak()):
            by_text.setdefault(made.text, []).append(made)
        out += [replace(each, sound=loud(by_text[each.text].pop().samples)) for each in mine if by_text.get(each.text)]
    return out


def loud(samples: np.ndarray, peak: float = 0.35) -> Samples:
    """int16 speech as float32 with this peak."""
    wave = samples.astype(np.float32)
    return wave * np.float32(peak / max(1.0, float(np.abs(wave).max())))


def nothing_asked(agent: Agent, count: int, seed: int) -> list[Said]:
    """Half typed, half sound: `voice` is the kind. None of it is a sentence of the grammar, or near one on purpose."""
    rng = random.Random(seed)
    source = Sentences(tool_files(), seed)
    typed: list[Said] = []
    while len(typed) < count // 2:
        kind = len(typed) % 4
        if kind == 0:
            text, name = source.ordinary(), "typed ordinary"
        elif kind == 1:
            text, name = source.salad(), "typed salad"
        elif kind == 2:
            text, name = fill(rng, expand(rng, top_choice(rng, paraphrases.UNKNOWN_HELD_OUT)), {}), "typed unknown"
        else:
            text, name = fill(rng, expand(rng, top_choice(rng, rng.choice(paraphrases.TALK)[0])), {}), "typed talk"
        if not isinstance(agent.automaton.parse(text), Parse):
            typed.append(Said(text, None, name))
    texts: list[str] = []
    while len(texts) < count // 2:
        text = source.ordinary() if len(texts) % 2 else source.salad()
        if not isinstance(agent.automaton.parse(text), Parse):
            texts.append(text)
    voices = ("flite/slt", "flite/rms", "flite/awb", "espeak")
    plain = [Said(text, None, voices[at % len(voices)]) for at, text in enumerate(texts)]
    sounds = [each for each in spoken_by(voices, plain, seed) if each.sound is not None]
    third = len(sounds) // 4
    spoken = [each.sound for each in sounds if each.sound is not None]
    babble = [Said("(babble)", None, "babble", _babble(rng.sample(spoken, 5))) for _ in range(third)]
    random_sound = np.random.default_rng(seed)
    noise = [Said("(noise)", None, "noise", _noise(random_sound)) for _ in range(max(1, third // 2))]
    alone = [replace(each, voice="spoken ordinary or salad") for each in sounds[: len(sounds) - third - len(noise)]]
    return [*typed, *alone, *babble, *noise]


def _babble(sounds: Sequence[Samples]) -> Samples:
    """Everybody at once, begun at different places."""
    mixed = np.zeros(3 * RATE_HZ, np.float32)
    for at, sound in enumerate(sounds):
        mixed += np.roll(np.resize(sound, len(mixed)), at * RATE_HZ // 3)
    return mixed * np.float32(0.35 / max(1e-6, float(np.abs(mixed).max())))


def _noise(rng: np.random.Generator) -> Samples:
    """Two seconds of bursts and hiss."""
    n = 2 * RATE_HZ
    swell = np.clip(np.sin(np.arange(n) * 2 * np.pi * rng.uniform(0.5, 4) / RATE_HZ), 0, 1)
    taps = rng.uniform(0.1, 1.0, int(rng.integers(1, 12)))
    hiss = np.convolve(rng.standard_normal(n) * swell, taps / np.abs(taps).sum(), "same")
    return (hiss * 0.3 / np.abs(hiss).max()).astype(np.float32)
