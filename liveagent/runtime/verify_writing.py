"""What `verify` can say of a checkpoint without its weights: how turns and calls are written, where a reply ends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liveagent.errors import ConfigError, ToolError
from liveagent.nn.chat import Chat, Message, Render
from liveagent.nn.model import Model
from liveagent.runtime.constraint import CallGrammar
from liveagent.runtime.user_turn import agreeing
from liveagent.runtime.verified import Check, check
from liveagent.tool import Tool

INSTRUCTIONS = "You are a helpful voice agent. Answer in one short sentence."
GENERATION = "generation_config.json"
SPAN = 24  # characters that are shown of a difference

TALKS: Mapping[str, tuple[str, ...]] = {
    "one question": ("hello there",),
    "four turns": (
        "what is the capital of france", "It is Paris.", "and of italy", "Rome.", "which is larger",
        "Rome has more people: 2.8 million.", "thank you",
    ),
    "signs and letters": (
        "what's 3 + 4, or 50%? ünïcödé, 你好 and 🎉", "It's 7; or \"0.5\" - see {braces} [brackets] <angles>, é à ñ.",
        "(yes)", "1) one\n2) two", "ok...",
    ),
    "a long one": ("tell me a story " * 12 + "please", "Once upon a time there was a house. " * 12, "go on"),
}  # fmt: skip
"""What is said in turn: by the user, by the agent, …, by the user."""


@dataclass(frozen=True, slots=True)
class Written:
    """A conversation as we write it, and as the checkpoint's template does."""

    name: str
    ours: list[int]
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


def check_writing(model: Model, render: Render, folder: Path, tools: Sequence[Tool]) -> Iterator[Check]:
    """`render`: the checkpoint's own chat template. A fault of what is checked is a failed check, never an error."""
    chat = model.template
    assert isinstance(chat, Chat)
    for looked in (
        lambda: check_turns(chat, render, tools),
        lambda: check_tokens(chat, render, tools),
        lambda: check_written_calls(chat, render, tools[0]),
        lambda: check_stops(chat, folder),
        lambda: check_grammar(model, tools),
    ):
        yield looked()


def talks(chat: Chat, tools: Sequence[Tool]) -> Iterator[Written]:
    """Whole conversations, each up to where the agent is to answer."""
    for name, turns in TALKS.items():
        yield _talk(chat, name, turns, ())
    yield _talk(chat, "with tools", TALKS["four turns"], tuple(tools))


def _talk(chat: Chat, name: str, turns: Sequence[str], tools: tuple[Tool, ...]) -> Written:
    ids = chat.prompt(INSTRUCTIONS, tools)
    messages: list[Message] = [{"role": "system", "content": INSTRUCTIONS}]
    for number, text in enumerate(turns):
        if number % 2:
            ids += [*chat.say_open, *chat.encode(text), *chat.reply_close(False)]
            messages.append({"role": "assistant", "content": text})
        else:
            ids += [*chat.user_open(False), *chat.words(text.split()), *chat.user_close, *chat.agent_open]
            messages.append({"role": "user", "content": " ".join(text.split())})
    return Written(name, ids, tuple(messages), tools)


def _rendered(written: Written, render: Render) -> str:
    return render(written.messages, [_schema(tool) for tool in written.tools], True)


def _schema(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.schema}
    return {"type": "function", "function": function}


def check_turns(chat: Chat, render: Render, tools: Sequence[Tool]) -> Check:
    """Our turns, as text, are those of the checkpoint's template."""
    names, left = list[str](), ""
    for written in talks(chat, tools):
        theirs = _rendered(written, render)
        ours = chat.tokens.decode(written.ours)
        if ours == theirs:
            names.append(written.name)
            continue
        past = _past_opening(chat, render)
        opening = chat.tokens.decode(chat.agent_open)
        if past != opening and _with_past(ours, opening, past) == theirs:
            names.append(written.name)
            left = (
                f"{opening!r} opens an answer, and the template shortens it to {past!r} in past turns: the cache "
                "keeps what was there"
            )
            continue
        where = f"the turns of {written.name!r} differ from the template's: {_difference(ours, theirs)}"
        return check("template", "loop", False, where)
    said = f"{len(names)} conversations are written as the checkpoint's template writes them ({', '.join(names)})"
    return Check("template", "loop", "noted" if left else "passed", left or said, {"conversations": len(names)})


def _past_opening(chat: Chat, render: Render) -> str:
    """What the template writes between a user's turn and an answer that was given."""
    talk = ({"role": "system", "content": "-"}, {"role": "user", "content": "qusera"})
    whole = render([*talk, {"role": "assistant", "content": "qagentb"}, {"role": "user", "content": "x"}], (), False)
    between = whole.partition("qusera")[2].partition("qagentb")[0]
    return between.removeprefix(chat.tokens.decode(chat.user_close))


def _with_past(ours: str, opening: str, past: str) -> str:
    """Every opening but the last as in the past."""
    before, found, _ = ours.rpartition(opening)
    return before.replace(opening, past) + found if found else ours


def check_tokens(chat: Chat, render: Render, tools: Sequence[Tool]) -> Check:
    """The tokenizer reads the template's whole text as the very tokens that we put together piece by piece."""
    count, past = 0, _past_opening(chat, render)
    opening = chat.tokens.decode(chat.agent_open)
    for written in talks(chat, tools):
        text = _rendered(written, render)
        ours, theirs = written.ours, chat.tokens.marked(text)
        if past != opening:
            text = chat.tokens.decode(ours)
            theirs = chat.tokens.marked(text)
        if ours != theirs:
            at = _parting(ours, theirs)
            mine, its = (_pieces(chat, ids[at : at + 4]) for ids in (ours, theirs))
            where = f"token {at} of {written.name!r}: ours are {mine}, the tokenizer's, of the whole text, {its}"
            return check("tokens", "loop", False, where, tokens_agree=count + at)
        count += len(ours)
    return check("tokens", "loop", True, f"{count} tokens equal the tokenizer's of the whole text", tokens_agree=count)


def _pieces(chat: Chat, ids: Sequence[int]) -> str:
    return " ".join(repr(chat.tokens.piece(id)) for id in ids) or "at their end"


def _parting(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    """Where two begin to differ."""
    return len(agreeing(ours, theirs))


def _difference(ours: str, theirs: str) -> str:
    at = _parting(ours, theirs)
    start = max(0, at - 8)
    return f"we write {ours[start : at + SPAN]!r} where it has {theirs[start : at + SPAN]!r}"


def check_written_calls(chat: Chat, render: Render, tool: Tool) -> Check:
    """A call, its result and the answer, where the template has a place for them."""
    name, args, gave, answer = "calls as written", {"room": "kitchen"}, "it is 21 degrees", "It is 21 degrees there."
    ids = chat.prompt(INSTRUCTIONS, (tool,))
    ids += [*chat.user_open(False), *chat.words(["how", "warm", "is", "it"]), *chat.user_close, *chat.agent_open]
    ids += [*chat.written(tool, args), *chat.returned(tool.name, gave), *chat.say_open, *chat.encode(answer)]
    ids += chat.reply_close(False)
    call = {"id": "call_1", "type": "function", "function": {"name": tool.name, "arguments": args}}
    messages: list[Message] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": "how warm is it"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "name": tool.name, "content": gave},
        {"role": "assistant", "content": answer},
    ]
    try:
        theirs = render(messages, [_schema(tool)], False)
    except ConfigError as error:
        return Check(name, "loop", "absent", f"the template takes no calls of the past ({error})")
    behind = theirs.partition("how warm is it")[2]
    if tool.name not in behind or gave not in behind:
        return Check(name, "loop", "absent", "the template has no place for calls and what they gave")
    ours = chat.tokens.decode(ids)
    past, opening = _past_opening(chat, render), chat.tokens.decode(chat.agent_open)
    if ours == theirs or (past != opening and ours.replace(opening, past) == theirs):
        return check(name, "loop", True, "a call, its result and the answer stand as the template writes them")
    return check(name, "loop", False, f"a call and its result differ: {_difference(ours, theirs)}")


def check_stops(chat: Chat, folder: Path) -> Check:
    """What the checkpoint says ends a reply is what we stop at; what else it names can be neither chosen nor spoken."""
    name, ends = "stop tokens", _eos(folder)
    ours = [_named(chat, id) for id in chat.reply_stop]
    if isinstance(ends, str):
        return check(name, "loop", False, ends)
    if not ends:
        return Check(name, "loop", "absent", f"{GENERATION} names no end of a reply; we stop at {', '.join(ours)}")
    stops = {*chat.reply_stop, *chat.call_stop}
    spoken = [id for id in ends if id not in stops and id not in chat.never]
    if not stops.intersection(ends):
        theirs = ", ".join(_named(chat, id) for id in ends)
        return check(name, "loop", False, f"{GENERATION} ends replies with {theirs}; we stop at {', '.join(ours)}")
    if spoken:
        theirs = ", ".join(_named(chat, id) for id in spoken)
        return check(name, "loop", False, f"{GENERATION} also ends replies with {theirs}, which we would speak")
    never = [_named(chat, id) for id in ends if id not in stops]
    also = f"; {', '.join(never)}, named there too, can never be chosen" if never else ""
    return check(name, "loop", True, f"we stop at {', '.join(ours)}, as {GENERATION} says{also}", ends=ends)


def _eos(folder: Path) -> list[int] | str:
    """The ids that end a generation, by the checkpoint's own files; or what is wrong with them."""
    for file in (GENERATION, "config.json"):
        if not (folder / file).is_file():
            continue
        try:
            said = json.loads((folder / file).read_text(encoding="utf-8"))
            found = said.get("eos_token_id", (said.get("text_config") or {}).get("eos_token_id"))
        except (OSError, ValueError, AttributeError) as error:
            return f"{file} is damaged ({error}): fetch it again"
        if found is None:
            continue
        ids = found if isinstance(found, list) else [found]
        return ids if all(type(id) is int for id in ids) else f"{file} ends replies with {found!r}, which is no id"
    return []


def ends_of(folder: Path) -> list[int]:
    """The ids that end a generation, by the checkpoint's own files; none where they are damaged or say nothing."""
    found = _eos(folder)
    return [] if isinstance(found, str) else found


def _named(chat: Chat, id: int) -> str:
    return f"{chat.tokens.piece(id)} ({id})"


def check_grammar(model: Model, tools: Sequence[Tool]) -> Check:
    """Calls as we write them pass the grammar, and are read back as they were."""
    chat, count = model.template, 0
    for tool in tools:
        for args in _drawn(tool):
            try:
                ids = chat.written(tool, args)
                name, back = chat.parse(ids, tools)
                if name != tool.name or repr(back) != repr(args):  # 0 is equal to False
                    return check("call syntax", "loop", False, f"a call of {tool.name} is read back as another one")
                matcher = CallGrammar(tools, model.pieces, chat).matcher()
                for id in ids[len(chat.call_open) :]:
                    if not matcher.mask()[id]:
                        piece = model.pieces.decode([id])
                        where = f"the grammar refuses {piece!r} in a call of {tool.name}"
                        return check("call syntax", "loop", False, where)
                    matcher.consume(id)
            except (ToolError, ConfigError) as error:
                return check("call syntax", "loop", False, f"a call of {tool.name} cannot be read back: {error}")
            count += 1
    return check("call syntax", "loop", True, f"{count} calls pass the grammar and are read back as they were written")


def _drawn(tool: Tool) -> Iterator[dict[str, Any]]:
    """Every choice with every other, and awkward words."""
    kinds: Mapping[str, Sequence[Any]] = {
        "int": (0, 1, 7, 40), "float": (0.5, 20.0), "bool": (True, False),
        "text": ("milk", "two: {a}, [b]", "it's \"so\""),
    }  # fmt: skip
    values = [each.choices or kinds[each.kind] for each in tool.arguments]
    for drawn in itertools.product(*values):
        yield dict(zip((each.name for each in tool.arguments), drawn, strict=True))
