"""A whole conversation, written by our `Chat` piece by piece and by `transformers` at once: the ids must be the same.

Instructions, tools, questions, replies, calls with every kind of argument, what they gave, a failure, two calls in one
turn of the agent's, a reply that was cut, a note, and sound where the model hears. `Chat` keeps in
the cache what the agent's turn was opened with (`Tongue.keeps`), a template leaves it out of turns that have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from liveagent.bench.rival import reference
from liveagent.bench.talks import HEARD, INSTRUCTIONS, TALK, TOOLS, Turn, drawn, messages, schemas
from liveagent.bench.tongues import TONGUES, Tongue
from liveagent.nn.chat import CallSyntax, Chat, Mark
from liveagent.nn.tokens import Tokens
from liveagent.ports.chat_template import ChatTemplate

ROWS = 25
"""Of a second of sound."""
DRAWN = 20
"""Conversations that are drawn for each tongue."""


def ours(chat: Chat, talk: Sequence[Turn], kept: Sequence[int] = ()) -> list[int]:
    """The pieces as a session puts them together. `kept`: of what the agent's turn is opened with, what is left away
    once it has been answered."""
    tools = {each.name: each for each in TOOLS}
    ids = chat.prompt(INSTRUCTIONS, TOOLS)
    for at, (kind, said) in enumerate(talk):
        if kind == "call":
            ids += chat.written(tools[said[0]], said[1])
        elif kind == "result":
            ids += chat.returned(said[0], said[1].removeprefix("failed: "), said[1].startswith("failed: "))
        elif kind == "reply":
            ids += [*chat.say_open, *chat.encode(said), *chat.reply_close(False)]
        elif kind == "cut":
            ids += [*chat.say_open, *chat.encode(said), *chat.cut_mark]
        elif kind == "note":
            ids += chat.note(said)
        elif kind == "picture":
            ids += [*chat.picture(said[0], said[1] * 1_000_000_000), *chat.picture_close()]
        else:
            ids += chat.user_open(False)
            if kind in ("sound", "shown"):
                ids += [*chat.sound_open, *[chat.sound_id] * ROWS, *chat.sound_close]
            if kind == "shown":
                rows, at_s, said = said
                ids += [*chat.picture(rows, at_s * 1_000_000_000, within=True), *chat.picture_close(within=True)]
            ids += [*chat.words(said.split(" ")), *chat.user_close, *chat.agent_open]
        if kept and at + 1 < len(talk) and ids[-len(kept) :] == list(kept):
            del ids[-len(kept) :]
    return ids


def tokenizer_of(folder: Path) -> Any:
    """Theirs, with the template."""
    return reference().AutoTokenizer.from_pretrained(str(folder))


def theirs(tokenizer: Any, tongue: Tongue, talk: Sequence[Turn]) -> list[int]:
    """What `transformers` makes of a conversation, with a second of sound in each place of one."""
    options = {"tools": schemas(TOOLS), "add_generation_prompt": True, "enable_thinking": False}
    if tongue.sound is None:
        found: list[int] = tokenizer.apply_chat_template(messages(talk), return_dict=False, **options)
        return found
    text = tokenizer.apply_chat_template(messages(talk), tokenize=False, **options).replace(
        tongue.sound[1], _sound(tongue)
    )
    for kind, said in talk:
        if kind in ("picture", "shown"):
            text = text.replace(tongue.film, _picture(tongue, *said[:2]), 1)
    found = tokenizer(text, add_special_tokens=False).input_ids
    return found


def _sound(tongue: Tongue) -> str:
    """What their processor writes in the place of a second of sound."""
    transformers = reference()
    assert tongue.sound is not None
    from transformers.models.gemma4.processing_gemma4 import Gemma4Processor

    opens, row, closes = tongue.sound
    heard = transformers.Gemma4AudioFeatureExtractor()([np.zeros(16_001, np.float32)], sampling_rate=16_000)
    names = SimpleNamespace(boa_token=opens, audio_token=row, eoa_token=closes)
    written: Any = Gemma4Processor.replace_audio_token
    return str(written(names, {"input_features_mask": heard["input_features_mask"]}, 0))


def _picture(tongue: Tongue, rows: int, at_s: int) -> str:
    """What their processor writes in the place of a film of one picture. (Its rows' places are held by another mark
    there, which no decoder reads.)"""
    assert tongue.picture is not None
    from transformers.models.gemma4.processing_gemma4 import Gemma4Processor

    opens, row, closes = tongue.picture
    names = SimpleNamespace(boi_token=opens, video_token=row, eoi_token=closes)
    film = {"num_soft_tokens_per_video": [rows], "video_metadata": [SimpleNamespace(fps=1.0, timestamps=[float(at_s)])]}
    written: Any = Gemma4Processor.replace_video_token
    return str(written(names, film, 0))


def chat_of(folder: Path, tongue: Tongue) -> Chat:
    return tongue.chat(Tokens.load(folder), ChatTemplate.load(folder).render)


# --- mistakes made on purpose


class Spoilt:
    """A `CallSyntax` with something wrong in what it writes."""

    def __init__(self, calls: CallSyntax, change: Callable[[str], str], of: str) -> None:
        self._calls, self._change, self._of = calls, change, of

    def write(self, name: str, args: Mapping[str, Any]) -> list[str]:
        return self._changed("write", self._calls.write(name, args))

    def result(self, name: str, text: str) -> list[str]:
        return self._changed("result", self._calls.result(name, text))

    def _changed(self, of: str, parts: list[str]) -> list[str]:
        return parts if of != self._of else [part if isinstance(part, Mark) else self._change(part) for part in parts]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._calls, name)


MISTAKES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "turns": {
        "a line end less behind a role": ("message.role }}\n", "message.role }}"),
        "a line end less behind a turn": ("<turn|>\n{% endif", "<turn|>{% endif"),
        "another name of the agent's": ("<|turn>model", "<|turn>assistant"),
        "the beginning twice": ("{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"),
        "tools without their descriptions": ("'description': tool.function.description, ", ""),
        "marks in another order": ("<turn|>", "<|turn>"),
    },
    "chatml": {
        "a line end less behind a role": ("message.role ~ '\\n'", "message.role ~ ''"),
        "a line end less behind a turn": ("{{- '<|im_end|>\\n' }}", "{{- '<|im_end|>' }}"),
        "another name of the agent's": ("<|im_start|>assistant", "<|im_start|>agent"),
        "a line end less between tools": ("'\\n' ~ (tool | tojson)", "(tool | tojson)"),
        "tools without quotes": ("(tool | tojson)", "(tool | string)"),
    },
    "headers": {
        "a line end less behind a role": ("<|end_header_id|>\\n\\n' ~", "<|end_header_id|>\\n' ~"),
        "a line end less before the agent": ("<|end_header_id|>\\n\\n' }}", "<|end_header_id|>\\n' }}"),
        "another name of the agent's": ("<|start_header_id|>assistant", "<|start_header_id|>agent"),
        "no beginning": ("{{- bos_token }}", ""),
        "tools in one line": ("tojson(indent=4)", "tojson"),
    },
}  # fmt: skip
"""What is replaced in the template that `Chat` is made of."""
OF_CALLS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "a space in a call": ("write", lambda part: part.replace(":", " :")),
    "a call's arguments in capitals": ("write", str.upper),
    "a space less in a result": ("result", lambda part: part.replace(" ", "", 1)),
}


def wrong(folder: Path, name: str, tongue: Tongue) -> Iterator[tuple[str, Chat]]:
    """Every mistake that can be made in a tongue, and the `Chat` that makes it."""
    tokens, right = Tokens.load(folder), ChatTemplate.load(folder)
    for mistake, (old, new) in MISTAKES.get(name.partition("_")[0], {}).items():
        yield mistake, tongue.chat(tokens, ChatTemplate(tongue.template.replace(old, new), tongue.settings).render)
    for mistake, (of, change) in OF_CALLS.items():
        yield mistake, tongue.chat(tokens, right.render, Spoilt(tongue.calls(), change, of))
    letters = Tokens.load(folder)
    letters.marked = letters.encode  # type: ignore[method-assign]
    chat = tongue.chat(tokens, right.render)
    chat.tokens = letters
    yield "marks as letters", chat
    if tongue.sound is not None:
        opens, row, closes = tongue.sound
        yield "sound's marks turned about", replace(tongue, sound=(closes, row, opens)).chat(tokens, right.render)
    if tongue.picture is not None:
        yield "pictures without their time", replace(tongue, film="").chat(tokens, right.render)


def compared(folder: Path) -> dict[str, Any]:
    """For each tongue whether the ids are the same, and the mistakes in it of which that is said too."""
    found, blind, made = dict[str, Any](), list[str](), 0
    for name, tongue in TONGUES.items():
        place = folder / name
        tongue.write(place)
        chat, talk = chat_of(place, tongue), HEARD if tongue.sound is not None else TALK
        kept = chat.tokens.marked(tongue.keeps) if tongue.keeps else []
        tokenizer = tokenizer_of(place)
        there = theirs(tokenizer, tongue, talk)
        others = [drawn(seed, tongue.sound is not None) for seed in range(DRAWN)]
        same = sum(ours(chat, each, kept) == theirs(tokenizer, tongue, each) for each in others)
        equal = ours(chat, talk, kept) == there and same == DRAWN
        found[name] = {"equal": equal, "ids": len(there), "drawn": f"{same} of {DRAWN}"}
        if tongue.keeps:
            found[name]["keeps"] = tongue.keeps
        for mistake, spoilt in wrong(place, name, tongue):
            made += 1
            if ours(spoilt, talk, kept) == there:
                blind.append(f"{name}: {mistake}")
    return found | {
        "equal": all(each["equal"] for each in found.values()),
        "mutations_caught": f"{made - len(blind)} of {made}",
        "not_caught": blind,
    }
