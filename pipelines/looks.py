"""What may be asked about the toy table in so many words: phrases for `Agent(questions=LOOK_QUESTIONS)`.

A recogniser hears best what it expects; these are the questions that it can hear word for word. `SPOKEN` has them with
gaps: `{x}` a thing, `{c}` a colour, `{n}` things in the plural, `{a}` a thing with its
article, `{ago}` how long ago.
"""

from __future__ import annotations

from liveagent.sight import COLOURS, SHAPES

SPOKEN: dict[str, tuple[str, ...]] = {
    "colour": ("(what|which) color is the {x}",),
    "shape": ("what is the {c} thing", "(what|which) shape is the {c} thing"),
    "count": ("how many {n} are (there|on the table)", "how many {n} do you see"),
    "where": ("where is the {x}",),
    "exists": ("is there {a} [on the table]", "do you see {a}"),
    "list": ("what is on the table", "what do you see"),
    "left": ("what is left of the {x}",),
    "right": ("what is right of the {x}",),
    "then_list": ("what was on the table {ago}",),
    "then_exists": ("was there {a} {ago}",),
    "moved": ("what [just] moved",),
    "changed": ("what has [just] changed",),
}

_COLOUR, _SHAPE = f"({'|'.join(COLOURS)})", f"({'|'.join(SHAPES)})"
_PLURAL = f"({'|'.join(shape + 's' for shape in SHAPES)}|things)"
_ARTICLE = f"(an orange|a ({'|'.join(c for c in COLOURS if c != 'orange')}))"
GAPS = {
    "x": f"[{_COLOUR}] {_SHAPE}",
    "c": _COLOUR,
    "n": f"[{_COLOUR}] {_PLURAL}",
    "a": f"({_ARTICLE} {_SHAPE}|a {_SHAPE})",
    "ago": "(a minute|two minutes|five minutes|ten minutes) ago",
}


def _filled(phrase: str) -> str:
    for name, words in GAPS.items():
        phrase = phrase.replace("{" + name + "}", words)
    return phrase


LOOK_QUESTIONS = tuple(_filled(phrase) for phrases in SPOKEN.values() for phrase in phrases)
"""Every one of them, for an agent."""
