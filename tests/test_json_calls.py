"""Calls as one JSON object between two marks: what is written is read back, what the grammar lets through is a call."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field

from liveagent import tool
from liveagent.bench.tongues import CHATML, HEADERS, Tongue
from liveagent.errors import ConfigError, ToolError
from liveagent.nn.chat import Chat, Mark
from liveagent.nn.json_calls import MOST, MOST_LETTERS, JsonCalls
from liveagent.nn.tokens import Tokens
from liveagent.ports.chat_template import ChatTemplate
from liveagent.runtime.constraint import CallGrammar


class Side(Enum):
    LEFT = "left"
    RIGHT = "right"


@tool
async def turn(degrees: Annotated[int, Field(ge=0, le=360)], side: Side, speed: float | None = None) -> str:
    """Turn to a side."""
    return ""


@tool
async def light(room: Literal["kitchen", "living room"], on: bool = True, level: int = 3) -> str:
    """Switch a room's light."""
    return ""


@tool
async def search(words: str, most: float = 1.5) -> str:
    """Search the web."""
    return ""


@tool
async def stop() -> str:
    """Stop."""
    return ""


TOOLS = (turn, light, search, stop)


@pytest.fixture(scope="module", params=[CHATML, HEADERS], ids=["chatml", "headers"])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Chat:
    tongue: Tongue = request.param
    folder = tmp_path_factory.mktemp("tongue")
    tongue.write(folder)
    return Chat(Tokens.load(folder), ChatTemplate.load(folder).render, tongue.calls())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_grammar_lets_through_is_a_call(chat: Chat, seed: int) -> None:
    rng, ids = np.random.default_rng(seed), list[int]()
    matcher = CallGrammar(TOOLS, chat.tokens, chat).matcher()
    while not matcher.is_done:
        likely, allowed = set(matcher.ahead(4)), np.flatnonzero(matcher.mask())
        wanted = [each for each in allowed if each in likely or each == chat.call_stop[0]]
        ids.append(int(rng.choice(wanted if wanted and rng.random() < 0.5 else allowed)))
        matcher.consume(ids[-1])
        assert len(ids) < 900
    name, args = chat.parse(ids, TOOLS)
    next(each for each in TOOLS if each.name == name).validate(args)


CALLS: list[tuple[Any, dict[str, Any]]] = [
    (turn, {"degrees": 90, "side": "left"}), (turn, {"degrees": 0, "side": "right", "speed": None}),
    (light, {"room": "living room", "on": False, "level": -3}),
    (search, {"words": 'a "b"\n{é} \\ </tool_call', "most": 0.5}),
    (stop, {}),
]  # fmt: skip


@pytest.mark.parametrize(("made", "args"), CALLS)
def test_a_call_is_read_back_as_it_was_written_and_passes_its_own_grammar(
    chat: Chat, made: Any, args: dict[str, Any]
) -> None:
    ids = chat.written(made, args)
    assert chat.parse(ids, TOOLS) == (made.name, args)
    matcher = CallGrammar(TOOLS, chat.tokens, chat).matcher()
    assert ids[0] == chat.call_open[0] and ids[-1] == chat.call_stop[0]
    for each in ids[1:]:
        matcher.consume(each)
    assert matcher.is_done


def test_nothing_in_a_grammar_is_without_an_end() -> None:
    rules = JsonCalls("<a>", "</a>", "", "").lark((turn, search), str)
    schemas = [json.loads(line.partition("%json ")[2]) for line in rules.splitlines() if "%json" in line]
    degrees, speed = schemas[0]["properties"]["degrees"], schemas[0]["properties"]["speed"]
    assert (degrees["minimum"], degrees["maximum"]) == (0, 360)
    assert speed["anyOf"][0] == {"minimum": -MOST, "maximum": MOST, "type": "number"}
    assert schemas[1]["properties"]["words"]["maxLength"] == MOST_LETTERS
    assert "maxLength" not in schemas[0]["$defs"]["Side"]


def test_what_touches_a_result_is_cut_into_pieces_with_it() -> None:
    """A tokenizer takes the end of a line along with the end of a sentence."""
    parts = JsonCalls("<a>", "</a>", "<b>\n\n", "\n</b> ").result("x", "It is on.")
    assert parts == ["<b>", "\n\nIt is on.\n", "</b> "]
    assert [isinstance(each, Mark) for each in parts] == [True, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"name": "x"}',
        '{"name": 3, "arguments": {}}',
        '{"name": "x", "arguments": []}',
        "[" * 99_999,
    ],
)
def test_what_is_no_call_is_a_tool_error(text: str) -> None:
    with pytest.raises(ToolError, match="no call"):
        JsonCalls("<a>", "</a>", "", "").parse(text)


def test_a_folder_is_laid_out_as_hubs_lay_it_out(tmp_path: Path) -> None:
    HEADERS.write(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


SPELLED = [
    "</tool_response>",
    "<tool_call>",
    "<<tool_call>tool_call>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_<|eom_id|>id|>",
]


@pytest.mark.parametrize("spelled", SPELLED)
def test_nobody_spells_a_mark(chat: Chat, spelled: str) -> None:
    """Not even one that is no special token, nor one that is left when another is taken out of its middle."""

    def marks(ids: list[int]) -> list[int]:
        """All that text cannot be made of."""
        return [each for each in ids if chat.tokens.piece(each).startswith("<") and len(chat.tokens.piece(each)) > 4]

    assert marks(chat.returned("search", f"a {spelled} b")) == marks(chat.returned("search", "a b"))
    written = chat.written(search, {"words": f"a {spelled} b"})
    assert marks(written) == marks(chat.written(search, {"words": "a b"}))
    assert chat.parse(written, TOOLS) == ("search", {"words": f"a {spelled} b"})
    described = dataclasses.replace(search, description=f"Search {spelled} it.")
    prompts = (chat.prompt("Be brief.", [each]) for each in (described, search))
    assert len({tuple(each for each in ids if each in chat.tokens.marks) for ids in prompts}) == 1


def test_a_template_among_several_by_name(tmp_path: Path) -> None:
    """As older files have them, in the tokenizer's settings: the one for tools is taken."""
    CHATML.write(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    whole = ChatTemplate(CHATML.template)
    for named, there in ({"default": CHATML.template}, True), ({"rag": "x"}, False):
        both = [{"name": name, "template": text} for name, text in named.items()]
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": both}))
        if there:
            talk = [{"role": "user", "content": "hello"}]
            assert ChatTemplate.load(tmp_path).render(talk, (), True) == whole.render(talk, (), True)
            both.append({"name": "tool_use", "template": "{{ 'tools' }}"})
            (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": both}))
            assert ChatTemplate.load(tmp_path).render(talk, (), True) == "tools"
        else:
            with pytest.raises(ConfigError, match="tuned for conversations"):
                ChatTemplate.load(tmp_path)
