"""`Dialogues`: seeded conversations in nano's prompt format, for training the decoder and for watching it.

A row is one prompt (instructions and tools) and several turns. Loss falls on the agent's tokens and on probes. Probes
(`<eou>`) are leaves: they see what is before them and nobody sees them. What a user says is sometimes damaged as an ear
would, cut into other pieces, or mixed softly with other pieces, because heard words enter the decoder as weighted sums
of embeddings.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveagent.argument import Argument
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template, result_words
from liveagent.sight import Sight
from liveagent.tool import Tool
from liveagent.train import paraphrases as said
from liveagent.train.questions import Asker
from liveagent.train.schemas import (
    EVERYDAY,
    EVERYDAY_HELD_OUT,
    UseCase,
    any_word,
    expand,
    fill,
    invented,
    parse,
    random_case,
    top_choice,
    values_of,
)
from liveagent.train.words import ADJECTIVES, NOUNS, SMALL, VERBS

AGAIN = "Say that again, please."
CANNOT = "I can't do that."
CAPITAL = {"the", "i", "there", "it", "your", "you", "we", "on", "they", "nothing", "no", "now", "this", "that"}
INSTRUCTIONS = ["be brief", "be brief", "", "be helpful", "be brief and friendly", "you are a helpful assistant",
                "answer in one sentence", "you are a robot", "help around the house", "be polite"]  # fmt: skip
FINISHED = (  # what is whole although more may follow
    "hello hi hey stop yes no okay thanks good well help repeat test wait great sorry bye right nice halt freeze"
).split() + ["thank you"]
TOOLS_DIR = Path(__file__).parents[2] / "tools"
USER_WEIGHT = 0.0
WATCH_WEIGHT = 1.5


@dataclass
class Row:
    """One training row: a trunk of tokens and leaves (probes) that hang on it.

    `targets[i]` is what trunk index i has to predict, with `weights[i]`. A leaf `(after, answer)` stands after trunk
    index `after` and has to answer `answer`. `mixes` are (index, other id, its share). `spans` are what is evaluated:
    (group, first, last exclusive) of predicting trunk indices. `times` says when each token came, in seconds. `cells`
    are the rows of pictures: (index, cell), with what the eye said of it in `sights`. `gazes` are (first, last
    exclusive of predicting indices, the cells' indices on which what is said there rests). `asides` are (first, last
    exclusive): what stands there sees the trunk before it, and nothing after it knows of it.
    """

    ids: list[int]
    targets: list[int]
    weights: list[float]
    leaves: list[tuple[int, int]]
    mixes: list[tuple[int, int, float]]
    spans: list[tuple[str, int, int]]
    times: list[float] = field(default_factory=list)
    cells: list[tuple[int, int]] = field(default_factory=list)
    sights: list[NDArray[np.float32]] = field(default_factory=list)
    gazes: list[tuple[int, int, list[int]]] = field(default_factory=list)
    asides: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Draft:
    """A row that is being written; `now_s` is the time of what is added next."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # of predicting this token
    leaves: list[tuple[int, int]] = field(default_factory=list)
    mixes: list[tuple[int, int, float]] = field(default_factory=list)
    groups: list[tuple[str, int, int]] = field(default_factory=list)  # over token indices
    now_s: float = 0.0
    times: list[float] = field(default_factory=list)
    cells: list[tuple[int, int]] = field(default_factory=list)
    sights: list[NDArray[np.float32]] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)  # of probes that stand in the trunk: index, answer
    gazes: list[tuple[int, int, list[int]]] = field(default_factory=list)
    asides: list[tuple[int, int]] = field(default_factory=list)

    def add(self, ids: list[int], weight: float = 0.0) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)
        self.times += [self.now_s] * len(ids)

    def see(self, template: Template, sight: Sight, cells: Sequence[int]) -> None:
        """A picture, of which these cells are kept."""
        self.cells += [(len(self.ids) + 1 + i, cell) for i, cell in enumerate(cells)]
        self.sights += [sight[cell] for cell in cells]
        self.add(template.picture(len(cells)))

    def probe(self, ids: list[int], answer: int, group: str) -> None:
        """A probe of several tokens in the trunk; only what comes after it in the row sees it."""
        self.add(ids)
        self.answers[len(self.ids) - 1] = answer
        self.groups.append((group, len(self.ids), len(self.ids) + 1))

    @contextmanager
    def aside(self, wanted: bool = True) -> Iterator[None]:
        """What is written meanwhile hangs on what stands here, and what comes later does not know of it."""
        first = len(self.ids)
        yield
        if wanted and len(self.ids) > first:
            self.asides.append((first, len(self.ids)))

    def ask(self, answer: int) -> None:
        self.leaves.append((len(self.ids) - 1, answer))

    def row(self) -> Row:
        spans = [(group, start - 1, end - 1) for group, start, end in self.groups]
        targets, weights = [*self.ids[1:], 0], [*self.weights[1:], 0.0]
        for at, answer in self.answers.items():
            targets[at], weights[at] = answer, WATCH_WEIGHT
        parts = (self.leaves, self.mixes, spans, self.times, self.cells, self.sights, self.gazes, self.asides)
        return Row(self.ids, targets, weights, *parts)


class Dialogues:
    """Rows from a seed. `held_out` draws the phrasings and tools that training never sees (and no damage)."""

    def __init__(self, pieces: Pieces, seed: int, held_out: bool = False, max_tokens: int = 940) -> None:
        self.template, self.rng, self.held_out = Template(pieces), random.Random(seed), held_out
        self.pieces, self.max_tokens = pieces, max_tokens
        self.most = max_tokens  # of the row at hand
        self.ease = 0.0  # share of rows with few tools
        self.calm = False  # nothing is damaged in the row at hand
        self.looks = 3.0  # weight of questions that need eyes
        self.asker = Asker(self.rng, held_out, part=0.0 if held_out else 0.7)
        self.home, self.robot = _module("home"), _module("robot")
        self.shipped = [self._shipped(tool, module) for module in (self.home, self.robot) for tool in _tools(module)]
        self.everyday = parse(EVERYDAY_HELD_OUT if held_out else EVERYDAY)
        self._words: dict[str, list[int]] = {}
        self._finished = set(FINISHED)
        self._pieces_by_text = {pieces.piece(i): i for i in pieces.ear_ids}

    def _shipped(self, tool: Tool, module: ModuleType) -> UseCase:
        if self.held_out:
            phrases = said.HELD_OUT[tool.name]
        else:
            phrases = [phrase.text for phrase in tool.phrases] * 2 + said.PARAPHRASES[tool.name]
        missing = [] if self.held_out else said.MISSING.get(tool.name, [])
        return UseCase(tool, phrases, [], missing)

    # --- one row

    def _pause(self, draft: Draft) -> None:
        """Time goes by between turns."""
        rng = self.rng
        draft.now_s += rng.expovariate(0.2) if rng.random() < 0.85 else 10 ** rng.uniform(1.0, 3.3)

    def _look_turn(self, draft: Draft, cases: list[UseCase]) -> str:
        """A question that needs eyes; there are none here."""
        if any(case.tool.name in LOOKING for case in cases):
            return ""
        asked = self.asker.blind()
        self._user(draft, asked.words, polite=0.1)
        return self._say(draft, asked.answer, asked.kind)

    def next(self) -> Row:
        """The next row of the stream."""
        rng = self.rng
        self.home.home.__init__()
        self.robot.arm.__init__()
        draft = Draft()
        cases, strangers = self._begin(draft)
        apart = not self.held_out and rng.random() < 0.5
        reply = ""
        turns = rng.randint(8, 13)
        for _ in range(turns):
            if len(draft.ids) > self.most - 90:
                break
            self._pause(draft)
            with draft.aside(apart):
                reply = self._turn(draft, cases, strangers, reply)
            reply = "" if apart else reply
        return draft.row()

    def _begin(self, draft: Draft) -> tuple[list[UseCase], list[UseCase]]:
        """Write the prompt; the tools in it, and some that are not there."""
        self.most = self.max_tokens
        cases, strangers = self._cast()
        draft.add(self.template.prompt(self.rng.choice(INSTRUCTIONS), [case.tool for case in cases]))
        return cases, strangers

    def _turn(self, draft: Draft, cases: list[UseCase], strangers: list[UseCase], reply: str) -> str:
        """One turn of any kind; `reply` is what was said last, and what is said now comes back."""
        rng = self.rng
        kind = rng.choices(["call", "talk", "chatter", "cannot", "missing", "again", "fragment", "look"],
                           [57, 11, 11, 11, 4, 2, 5, self.looks])[0]  # fmt: skip
        if kind == "call" or (kind == "missing" and not any(c.missing for c in cases)):
            reply = self._call_turn(draft, rng.choice(cases))
        elif kind == "missing":
            reply = self._missing_turn(draft, rng.choice([c for c in cases if c.missing]))
        elif kind == "look":
            reply = self._look_turn(draft, cases) or reply
        elif kind == "talk":
            phrase, answer = rng.choice(said.TALK)
            words = fill(rng, expand(rng, top_choice(rng, phrase)), {})
            self._user(draft, words, polite=0.1)
            reply = self._say(draft, answer, "talk")
        elif kind == "again":
            self._user(draft, expand(rng, top_choice(rng, said.AGAIN)), polite=0.1)
            reply = self._say(draft, reply or AGAIN, "again", whole=True)
        elif kind == "cannot":
            self._user(draft, self._unknown(cases, strangers), polite=0.2)
            reply = self._say(draft, CANNOT, "reject")
        elif kind == "fragment":
            begun = self._sentence(rng.choice(cases if rng.random() < 0.6 else strangers))[0].split()
            cut = begun[: rng.randint(1, max(1, len(begun) // 2))]
            if " ".join(cut) in self._finished or any(self._complete(c, cut) for c in cases):
                return reply
            self._user(draft, " ".join(cut), polite=0, finished=False)
            reply = self._say(draft, AGAIN, "reject")
        else:
            self._user(draft, self._chatter(), polite=0, asked=rng.random() < 0.3)
            reply = self._say(draft, AGAIN, "reject")
        return reply

    def _cast(self) -> tuple[list[UseCase], list[UseCase]]:
        """The tools of a row, and some that are not there."""
        rng = self.rng
        u = rng.random()
        home, robot = self.shipped[:9], self.shipped[9:]
        easy = rng.random() < self.ease
        if easy:
            u = 0.38 + 0.62 * u
        if u < 0.65:
            if u < 0.18:
                cases = list(home)
            elif u < 0.28:
                cases = [*home, *robot]
            elif u < 0.38:
                cases = list(robot)
            else:
                cases = rng.sample(self.shipped, rng.randint(1, 2) if easy else rng.randint(2, 6))
                if rng.random() < 0.6:
                    cases = [self._altered(case) for case in cases]
                if rng.random() < 0.3:
                    cases += [random_case(rng) for _ in range(rng.randint(1, 2))]
            if u >= 0.28 and rng.random() < 0.2:
                cases = rng.sample(cases, len(cases))
            if self.held_out and u >= 0.38:
                cases = list(home) if rng.random() < 0.6 else list(robot)
        else:
            count = rng.randint(1, 2) if easy else rng.randint(2, 6)
            cases = []
            for _ in range(count):
                if rng.random() < 0.42:
                    case = rng.choice(self.everyday)
                    cases.append(case if rng.random() < 0.5 else self._altered(case))
                else:
                    cases.append(random_case(rng))
        cases = list({case.tool.name: case for case in cases}.values())
        return cases, self._strangers(cases)

    def _strangers(self, cases: list[UseCase]) -> list[UseCase]:
        """Some tools that are not there."""
        rng = self.rng
        seen = {case.tool.name for case in cases}
        pool = [case for case in [*self.shipped, *self.everyday] if case.tool.name not in seen]
        return rng.sample(pool, min(4, len(pool))) + [random_case(rng), random_case(rng)]

    def _altered(self, case: UseCase) -> UseCase:
        """The same tool with some of its values left out, others put in, and its arguments' values shuffled."""
        rng = self.rng
        arguments = []
        for arg in case.tool.arguments:
            if arg.kind == "choice" and len(arg.choices) > 2:
                keep = rng.sample(arg.choices, rng.randint(2, min(8, len(arg.choices))))
                if rng.random() < 0.4 and all(isinstance(c, str) for c in keep):
                    keep = [c if rng.random() < 0.6 else any_word(rng, NOUNS) for c in keep]
                arg = Argument(arg.name, "choice", choices=tuple(dict.fromkeys(keep)))
            arguments.append(arg)
        tool = case.tool
        altered = Tool(tool.name, tool.description, tool.function, tuple(arguments))
        results = case.results or ["{n} is {a}", "done", "the {n} is {a}", "it is done"]
        return UseCase(altered, case.phrases, results, case.missing)

    # --- turns

    def _sentence(self, case: UseCase, phrase: str | None = None) -> tuple[str, dict[str, str]]:
        """Something that calls the tool, and the words of its arguments."""
        rng = self.rng
        phrase = rng.choice(case.phrases) if phrase is None else phrase
        fixed: dict[str, str] = {}
        while "=" in phrase.split(":")[0] and ":" in phrase:
            name, _, rest = phrase.partition("=")
            value, _, phrase = rest.partition(":")
            fixed[name.strip()] = value.strip()
        values = {arg.name: fixed.get(arg.name) or values_of(rng, arg) for arg in case.tool.arguments}
        return fill(rng, expand(rng, phrase), values), values

    def _complete(self, case: UseCase, words: list[str]) -> bool:
        return not case.tool.arguments and len(words) > 1

    def _call_turn(self, draft: Draft, case: UseCase) -> str:
        words, values = self._sentence(case)
        whole = any(arg.kind == "text" for arg in case.tool.arguments)
        self._user(draft, words, polite=0.0 if self.held_out and case in self.shipped else 0.35,
                   keep=set(" ".join(values.values()).split()), free=whole)  # fmt: skip
        return self._act(draft, case, values, self._group(case))

    def _group(self, case: UseCase) -> str:
        if case in self.shipped:
            return "call"
        return "call_everyday" if case.tool.name in {c.tool.name for c in self.everyday} else "call_random"

    def _act(self, draft: Draft, case: UseCase, values: Mapping[str, str], group: str) -> str:
        """The call, its result and the reply."""
        rng, template = self.rng, self.template
        self._agent(draft, template.call_turn(case.tool, values), group)
        failed = False
        result = fill(rng, rng.choice(case.results), values) if case.results else _run(case.tool, values)
        if rng.random() < 0.06:
            failed, result = True, fill(rng, rng.choice(FAILURES), {})
        draft.add(template.result_turn(result, failed))
        return self._say(draft, spoken_reply(result, failed), "reply")

    def _missing_turn(self, draft: Draft, case: UseCase) -> str:
        rng = self.rng
        phrase, name, question = rng.choice(case.missing)
        values = {arg.name: values_of(rng, arg) for arg in case.tool.arguments}
        fixed = {"on": "on", "off": "off"}
        words = fill(rng, expand(rng, phrase), values)
        self._user(draft, words, polite=0.3)
        reply = self._say(draft, question, "ask")
        if rng.random() < 0.8:
            for word in words.split():
                if word in fixed and "state" in values:
                    values["state"] = word
            answer = expand(rng, rng.choice(["[the] {v}", "[in|to|on] the {v}", "{v} please", "{v}", "the {v} one"]))
            self._user(draft, fill(rng, answer, {"v": values[name]}), polite=0.1, keep=set(values[name].split()))
            reply = self._act(draft, case, values, "call_answer")
        return reply

    def _unknown(self, cases: list[UseCase], strangers: list[UseCase]) -> str:
        rng = self.rng
        u = rng.random()
        near = [phrase for case in cases for phrase in case.near]
        if u < 0.3:
            return self._sentence(rng.choice(strangers))[0]
        if u < 0.45 and near:
            return rng.choice(near)
        if u < 0.6:  # a value that the tool does not have
            with_choice = [c for c in cases if any(a.kind == "choice" and len(a.choices) > 2 for a in c.tool.arguments)]
            if with_choice:
                case = rng.choice(with_choice)
                for _ in range(5):
                    words, values = self._sentence(case)
                    arg = rng.choice([a for a in case.tool.arguments if a.kind == "choice" and len(a.choices) > 2])
                    other = any_word(rng, NOUNS)
                    plain = all(isinstance(c, str) for c in arg.choices)
                    if values[arg.name] in words and plain and other not in arg.slots:
                        return words.replace(values[arg.name], other)
        text = said.UNKNOWN_HELD_OUT if self.held_out else said.UNKNOWN
        names = {case.tool.name for case in cases}
        for _ in range(8):
            words = fill(rng, expand(rng, top_choice(rng, text)), {})
            if not any(key in words and tool in names for key, tool in CLASHES):
                return words
        return "what is a " + rng.choice(NOUNS)

    def _chatter(self) -> str:
        rng = self.rng
        u = rng.random()
        if u < 0.45:
            return fill(rng, expand(rng, top_choice(rng, said.CHATTER)), {})
        pools = [NOUNS, SMALL, VERBS, ADJECTIVES, SMALL]
        if u < 0.85:
            return " ".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 8)))
        if u < 0.93:
            return " ".join(invented(rng) for _ in range(rng.randint(1, 4)))
        case = rng.choice([*self.shipped, *self.everyday])  # words of a command in no order
        words = self._sentence(case)[0].split()
        rng.shuffle(words)
        return " ".join(words[: rng.randint(1, max(1, len(words) - 2))])

    # --- writing into the draft

    def _agent(self, draft: Draft, ids: list[int], group: str) -> None:
        """A turn that starts with `<agent>`; the rest is the agent's own."""
        draft.add(ids[:1])
        draft.groups.append((group, len(draft.ids), len(draft.ids) + len(ids) - 1))
        draft.add(ids[1:], 1.0)

    def _say(self, draft: Draft, text: str, group: str, whole: bool = False) -> str:
        ids = self.template.say_turn(text)
        if (
            not whole and not self.held_out and not self.calm and self.rng.random() < 0.06
        ):  # interrupted, perhaps at once
            starts = [i for i in range(2, len(ids)) if self.pieces.piece(ids[i]).startswith("▁")]
            cut = self.rng.choice([2, *starts])
            draft.add(ids[:1])
            draft.add(ids[1:cut], 1.0)
            draft.add([self.template.cut])
            return text
        self._agent(draft, ids, group)
        return text

    def _encode(self, word: str) -> list[int]:
        ids = self._words.get(word)
        if ids is None:
            ids = self._words[word] = self.pieces.encode(word)
        return ids

    def _user(
        self,
        draft: Draft,
        words: str,
        polite: float,
        finished: bool = True,
        asked: bool = True,
        keep: set[str] | None = None,
        free: bool = False,
    ) -> None:
        """A user's turn with probes. `keep` are words that carry values and are only lightly damaged."""
        rng, template = self.rng, self.template
        text = words
        if rng.random() < polite:
            text = f"{rng.choice(said.BEFORE)} {text}"
        core = len(text.split())
        if rng.random() < polite / 2 and not free:
            text = f"{text} {rng.choice(said.AFTER)}"
        whole = text.split()
        calm = self.held_out or self.calm
        damage = 0.0 if calm or rng.random() < 0.72 else rng.choice([0.04, 0.08, 0.14])
        recut = not calm and rng.random() < 0.12
        soft = not calm and rng.random() < 0.3
        draft.add([template.user])
        word_s = 0.0 if rng.random() < 0.4 else rng.uniform(0.2, 0.5)  # typed, or spoken
        asks = rng.random() < 0.5 and asked
        at = {rng.randrange(len(whole)) for _ in range(rng.choice([1, 2]))} if asks else set()
        for i, word in enumerate(whole):
            draft.now_s += word_s
            ids = self._encode(word)
            if recut and rng.random() < 0.5:
                ids = self._recut(word)
            if damage and not free:
                ids = self._damaged(ids, damage, bool(keep and word in keep))
            if i in at and len(ids) > 1 and rng.random() < 0.15:
                draft.add(ids[:1], USER_WEIGHT)
                draft.ask(template.no)
                ids = ids[1:]
                at.discard(i)
            start = len(draft.ids)
            draft.add(ids, 0.0 if damage or recut else USER_WEIGHT)
            if soft:
                for j in range(start, len(draft.ids)):
                    if rng.random() < 0.35:
                        draft.mixes.append((j, rng.choice(self.pieces.ear_ids), 0.5 * rng.random() ** 1.5))
            if i in at and i < core - 1:
                if " ".join(whole[: i + 1]) not in self._finished:
                    draft.ask(template.no)
            elif asks and i >= core - 1 and (i == core - 1 or i == len(whole) - 1):
                draft.ask(template.yes if finished else template.no)
        draft.now_s += word_s
        draft.add([template.end])

    def _recut(self, word: str) -> list[int]:
        """Another way to write a word with the ear's pieces, as the ear may hear it."""
        text, ids = "▁" + word, []
        while text:
            sizes = [n for n in (1, 2, 3, 4) if text[:n] in self._pieces_by_text and len(text) >= n]
            if not sizes:
                return self._encode(word)
            size = self.rng.choice(sizes)
            ids.append(self._pieces_by_text[text[:size]])
            text = text[size:]
        return ids

    def _damaged(self, ids: list[int], rate: float, keep: bool) -> list[int]:
        rng = self.rng
        if keep and (len(ids) < 2 or rng.random() < 0.5):
            return ids
        out: list[int] = []
        hurt = False
        for piece in ids:
            u = rng.random()
            if u < rate and not (keep and hurt):
                hurt = True
                v = rng.random()
                if v < 0.4:
                    continue
                if v < 0.8:
                    out.append(rng.choice(self.pieces.ear_ids))
                    continue
                out += [piece, rng.choice(self.pieces.ear_ids)]
                continue
            out.append(piece)
        return out or ids


FAILURES = ["no link", "the {n} did not answer", "it took too long", "the {n} is {a}", "not allowed", "no {n}",
            "out of reach"]  # fmt: skip
LOOKING = {"robot_vision", "where_is_it", "photo"}  # tools of which one might think when asked what is there
CLASHES = [  # words that ask for a tool of this name after all
    ("weather", "weather"), ("rain", "weather"), ("time is it", "clock"), ("day is it", "date"), ("date", "date"),
    ("call", "call"), ("email", "message"), ("letter", "message"), ("search", "search"), ("play", "play"),
    ("translate", "translate"), ("german", "translate"), ("where can i", "search"), ("open", "gate"), ("close", "gate"),
    ("bring the", "place"), ("read", "read_notes"), ("buy", "add_item"), ("order", "add_item"), ("music", "play"),
]  # fmt: skip


def spoken_reply(result: str, failed: bool = False) -> str:
    """How nano passes on a tool's result: the result's own words, as a sentence."""
    words = result_words(result) or "done"
    if failed:
        return f"Sorry, that failed: {words}."
    first, _, rest = words.partition(" ")
    if first in CAPITAL:
        return f"{first.capitalize()} {rest}." if rest else f"{first.capitalize()}."
    return f"Okay, {words}."


def _module(name: str) -> ModuleType:
    """A shipped tool file as a module of its own, so that its state is nobody else's."""
    spec = importlib.util.spec_from_file_location(f"_dialogues_{name}", TOOLS_DIR / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _tools(module: ModuleType) -> list[Tool]:
    return [value for value in vars(module).values() if isinstance(value, Tool)]


def _run(tool: Tool, words: Mapping[str, str]) -> str:
    """Call a shipped tool for its answer; they await nothing."""
    call: Any = tool(**tool.validate(dict(words)))
    try:
        call.send(None)
    except StopIteration as done:
        return str(done.value)
    raise RuntimeError(f"{tool.name} awaits something")
