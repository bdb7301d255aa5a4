"""`Sentences`: seeded text in spoken form (lower case, a-z and ', numbers as words) for the ear to learn from.

Three kinds, mixed by weight: commands expanded from the phrases of tool files, small talk, and ordinary words in
templates and salad. At least half is not a command: an ear trained on commands alone learns the grammar and not the
sounds (a prototype had 80 % word errors on salad beside 8 % on commands).
"""

from __future__ import annotations

import ast
import itertools
import random
import re
from dataclasses import dataclass
from pathlib import Path

from liveagent.train.words import ADJECTIVES, ADVERBS, NAMES, NOUNS, SMALL, VERBS

TALK = [
    *"""hello|hi|hi there|hey there|hello there|how are you|how are you today|how is it going|what is your name|who are you
what can you do|what can you do for me|thank you|thanks|thank you very much|thanks a lot|good morning|good night
good evening|good afternoon|goodbye|bye|bye bye|see you later|see you tomorrow|tell me a joke|are you a robot|are you real
can you hear me|can you see me|say that again|repeat that|say it again please|never mind|forget it|yes|no|okay|wait|maybe
yes please|no thank you|wait a minute|wait a moment|hold on|hold on a second|how old are you|do you like music|what is this
what is that|i do not know|i don't know|i'm not sure|that's right|that is wrong|you are wrong|very good|well done|great
nice to meet you|what time is it|what day is it today|how is the weather|is it raining|help|help me|i need help|i'm fine
i am tired|i am hungry|i'm home|be quiet|listen|listen to me|look at this|what do you see|what is on the table
what are you doing|where are you|where do you live|who made you|do you understand|do you speak english|can you help me
sing a song|tell me a story|tell me something|what is new|excuse me|sorry|i am sorry|no problem|you are welcome
of course|sure|not now|later|come here|go away|slow down|speak up|louder please|be careful|stop talking|start over|go on
do it again|one more time|that is enough|that is all|what did you say|i didn't hear you|i can't hear you|are you there
are you listening|are you ready|i'm ready|let's go|let me think|i like you|you are funny|that's funny|happy birthday
what is the weather like today|how do you feel|what do you think|do you know me|remember me|my name is|i live in|right
is anybody home|what is for dinner|call me later|send a message|play some music|stop the music|turn it up|turn it down
next song|open the door|close the window|lock the door|turn it off|turn everything off|turn it on|cancel|cancel that|undo
""".replace("\n", "|").strip("|").split("|")
]

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS += "seventeen eighteen nineteen".split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()

TEMPLATES = [
    "{d} {n} is {a}",
    "{d} {a} {n} is {p} {d} {n}",
    "{d} {n} and {d} {n}",
    "i {v} {d} {n}",
    "i want to {v} {d} {a} {n}",
    "can you {v} {d} {n}",
    "please {v} {d} {n}",
    "do you {v} {d} {n}",
    "did you {v} my {n} {b}",
    "where is {d} {a} {n}",
    "what is {d} {n}",
    "who has {d} {n}",
    "how many {n}s are {p} {d} {n}",
    "there are {num} {n}s {p} {d} {n}",
    "{name} will {v} {d} {n} {b}",
    "{name} and {name} {v} {b}",
    "we should {v} {b}",
    "they {v} {d} {n} {p} {d} {n}",
    "my {n} is {a} and {a}",
    "is {d} {n} {a} or {a}",
    "{b} we {v} and {v}",
    "it was {a} {b}",
    "you must {v} {num} {n}s",
    "tell {name} to {v} {d} {n}",
    "call {name} {b}",
    "{v} {d} {n} {p} {d} {a} {n}",
    "set {d} {n} to {num}",
    "turn {d} {n} {p}",
    "show me {d} {n}",
    "{num} {n}s",
    "{num} and {num}",
    "what is {num} plus {num}",
    "{v} it",
    "{v} the {n}",
    "the {n}",
    "a {a} {n}",
    "{num} percent of {d} {n}",
    "i think {d} {n} is {b} {p} {d} {n}",
    "when does {d} {n} {v}",
    "why is {d} {n} so {a}",
    "play {d} {a} {n}",
    "{d} {n} of {d} {n}",
    "i do not {v} {d} {n}",
    "he could not {v} {d} {n} {b}",
    "she has {num} {a} {n}s",
    "let's {v} {d} {n} {p} {d} {n}",
]
_DETS = "the a my your this that his her our their some every another the the my".split()
_PREPS = "in on under near behind beside with from to by at over into above below off up down".split()


def number_words(n: int) -> str:
    """`42 -> "forty two"`, 0 to 999."""
    if n < 20:
        return _UNITS[n]
    if n < 100:
        return _TENS[n // 10] + ("" if n % 10 == 0 else " " + _UNITS[n % 10])
    rest = n % 100
    return _UNITS[n // 100] + " hundred" + ("" if rest == 0 else " " + number_words(rest))


@dataclass(frozen=True)
class Phrase:
    """One phrase of a tool and what its parameters may be in words."""

    text: str
    values: dict[str, list[str]]

    def sample(self, rng: random.Random) -> str:
        """One utterance of the phrase."""
        text = re.sub(r"\[([^\[\]]*)\]", lambda m: m[1] if rng.random() < 0.4 else "", self.text)
        text = re.sub(r"\(([^()]*)\)", lambda m: rng.choice(m[1].split("|")), text)
        text = re.sub(r"\{(\w+)\}", lambda m: rng.choice(self.values[m[1]]), text)
        return " ".join(text.split())


def _values(node: ast.expr, names: dict[str, list[str]]) -> list[str]:
    if isinstance(node, ast.Name):
        return names.get(node.id, [])
    found = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Annotated":
        lo, hi = (int(v) for v in found if isinstance(v, int))
        found = list(range(lo, hi + 1))
    return [number_words(v) if isinstance(v, int) else str(v) for v in found]


def phrases(paths: list[Path]) -> list[Phrase]:
    """The phrases of tool files, read from their source so that nothing is imported or run."""
    out: list[Phrase] = []
    for path in paths:
        tree = ast.parse(path.read_text())
        names: dict[str, list[str]] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                names[ast.unparse(node.targets[0])] = _values(node.value, names)
            if not isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
                continue
            args = {a.arg: _values(a.annotation, names) for a in node.args.args if a.annotation}
            calls = [d for d in node.decorator_list if isinstance(d, ast.Call)]
            for keyword in itertools.chain.from_iterable(c.keywords for c in calls):
                if keyword.arg == "phrases" and isinstance(keyword.value, ast.List):
                    for text in keyword.value.elts:
                        if isinstance(text, ast.Constant):
                            out.append(Phrase(str(text.value), args))
    return out


class Sentences:
    """A seeded source of sentences: `next()` gives one in spoken form."""

    def __init__(self, tools: list[Path], seed: int) -> None:
        """`tools` are the files whose phrases are commands; equal seeds give equal sentences."""
        self.phrases = phrases(tools)
        self.rng = random.Random(seed)
        self.words = [*dict.fromkeys(NOUNS + VERBS + ADJECTIVES + ADVERBS + SMALL + NAMES)]

    def command(self) -> str:
        """A sentence of the tools' grammar."""
        return self.rng.choice(self.phrases).sample(self.rng)

    def salad(self) -> str:
        """Two to seven words in no order."""
        return " ".join(self.rng.choice(self.words) for _ in range(self.rng.randint(2, 7)))

    def ordinary(self) -> str:
        """A sentence shape with ordinary words, sensible or not."""
        r = self.rng
        kinds = {"n": NOUNS, "v": VERBS, "a": ADJECTIVES, "b": ADVERBS, "d": _DETS, "p": _PREPS, "name": NAMES}

        def fill(m: re.Match[str]) -> str:
            return number_words(r.randint(0, 100)) if m[1] == "num" else r.choice(kinds[m[1]])

        return re.sub(r"\{(\w+)\}", fill, r.choice(TEMPLATES))

    def near(self) -> str:
        """A command with some words replaced or cut: sounds like one, is none."""
        words = self.command().split()
        words = [self.rng.choice(self.words) if self.rng.random() < 0.3 else w for w in words]
        cut = self.rng.randint(1, len(words))
        return " ".join(words[:cut] if self.rng.random() < 0.5 else words[-cut:])

    def next(self) -> str:
        """One sentence: 36 % commands, 10 % small talk, 10 % near-commands, 24 % ordinary, 20 % salad."""
        u = self.rng.random()
        if u < 0.36:
            return self.command()
        if u < 0.46:
            return self.rng.choice(TALK)
        if u < 0.56:
            return self.near()
        return self.ordinary() if u < 0.80 else self.salad()
