"""Under the grammar every decoder writes calls that its tools accept, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import torch
from pydantic import Field

from liveagent import tool
from liveagent.errors import ConfigError, ToolError
from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template, parse_call
from liveagent.runtime.constraint import CallGrammar

PIECES = Pieces.load(Path(__file__).parents[1] / "pipelines" / "nano" / "weights" / "pieces.json")


@tool
def light(room: Literal["kitchen", "living room", "bath"], state: Literal["on", "off"]) -> str:
    """Switch a light."""
    return f"{room} {state}"


@tool
def timer(minutes: Annotated[int, Field(ge=1, le=60)], loud: bool = False) -> str:
    """Start a timer."""
    return f"{minutes} {loud}"


@tool
def note(words: str) -> str:
    """Write a note."""
    return words


@tool
def heat(degrees: Annotated[float, Field(ge=-5, le=40)]) -> str:
    """Heat."""
    return str(degrees)


@tool
def count(to: int) -> str:
    """Count up to any number."""
    return str(to)


@tool
def go_home() -> str:
    """Go home."""
    return "home"


TOOLS = [light, timer, note, heat, go_home]


def decode(net: Decoder, grammar: CallGrammar, seed: int) -> list[int]:
    """Greedy under the mask, from a random prompt."""
    generator = torch.Generator().manual_seed(seed)
    state = net.init_state(4, 256)
    prompt = torch.randint(0, PIECES.vocab_size, (8,), generator=generator)
    x = torch.zeros(4, 8, net.width)
    x[1] = net.embed(prompt)
    logits = net.step(x, [0, 8, 0, 0], state)[1]
    matcher, ids = grammar.matcher(), []
    while not matcher.is_done:
        mask = torch.from_numpy(matcher.mask())
        assert mask.any()
        ids.append(int(logits.masked_fill(~mask, float("-inf")).argmax()))
        matcher.consume(ids[-1])
        x = torch.zeros(4, 1, net.width)
        x[1, 0] = net.embed(torch.tensor(ids[-1]))
        logits = net.step(x, [0, 1, 0, 0], state)[1]
    return ids


def test_every_masked_decode_is_a_valid_call() -> None:
    torch.manual_seed(5)
    net = Decoder(DecoderConfig(PIECES.vocab_size, width=32, layers=1, heads=2, hidden=32)).eval()
    torch.nn.init.normal_(net.embedding.weight)  # far from uniform, so that different prompts give different calls
    grammar = CallGrammar(TOOLS, PIECES)
    names = set()
    with torch.inference_mode():
        for seed in range(24):
            torch.nn.init.normal_(net.embedding.weight, generator=torch.Generator().manual_seed(seed))
            ids = decode(net, grammar, seed)
            name, args = parse_call(PIECES.decode(ids[:-1]), TOOLS)
            chosen = next(tool for tool in TOOLS if tool.name == name)
            chosen.validate(args)
            names.add(name)
    assert len(names) >= 3


@pytest.mark.parametrize(
    ("chosen", "words", "args"),
    [
        (light, {"room": "living room", "state": "off"}, {"room": "living room", "state": "off"}),
        (timer, {"minutes": "twenty five"}, {"minutes": 25}),
        (timer, {"minutes": "one", "loud": "yes"}, {"minutes": 1, "loud": True}),
        (note, {"words": "buy the zonkerberry jam"}, {"words": "buy the zonkerberry jam"}),
        (heat, {"degrees": "minus two point five"}, {"degrees": -2.5}),
        (go_home, {}, {}),
    ],
)
def test_what_the_template_writes_is_in_the_grammar_and_reads_back(chosen, words, args) -> None:  # type: ignore[no-untyped-def]
    template = Template(PIECES)
    ids = template.call_turn(chosen, words)
    assert ids[:2] == [template.agent, template.call]
    matcher = CallGrammar(TOOLS, PIECES).matcher()
    for piece in ids[2:]:
        assert matcher.mask()[piece]
        matcher.consume(piece)
    assert matcher.is_done and not matcher.mask().any()
    assert parse_call(PIECES.decode(ids[2:-1]), TOOLS) == (chosen.name, args)


def test_refuses_what_is_no_call_and_stays_usable() -> None:
    matcher = CallGrammar(TOOLS, PIECES).matcher()
    wrong = PIECES.encode("garage")[0]
    with pytest.raises(ConfigError, match="cannot come here"):
        matcher.consume(wrong)
    assert not matcher.mask()[PIECES.id("<end>")]
    for piece in PIECES.encode("go home"):
        matcher.consume(piece)
    assert matcher.mask()[PIECES.id("<end>")]


def test_rollback_returns_to_the_same_masks() -> None:
    template, matcher = Template(PIECES), CallGrammar(TOOLS, PIECES).matcher()
    ids = template.call_turn(light, {"room": "bath", "state": "on"})[2:]
    masks = []
    for piece in ids:
        masks.append(matcher.mask())
        matcher.consume(piece)
    matcher.rollback(3)
    assert np.array_equal(matcher.mask(), masks[-3]) and not matcher.is_done
    for piece in ids[-3:]:
        matcher.consume(piece)
    assert not matcher.mask().any()  # closed again
    with pytest.raises(ConfigError, match="take back"):
        matcher.rollback(len(ids) + 1)


def test_a_number_without_bounds_is_still_words_of_a_number() -> None:
    matcher = CallGrammar([count], PIECES).matcher()
    for piece in Template(PIECES).call_turn(count, {"to": "nine thousand and one"})[2:]:
        matcher.consume(piece)
    assert matcher.is_done


def test_bytes_and_specials_are_never_allowed() -> None:
    mask = CallGrammar(TOOLS, PIECES).matcher().mask()
    for i in np.flatnonzero(mask):
        assert not PIECES.piece(int(i)).startswith("<")


def test_tools_that_cannot_be_told_apart() -> None:
    @tool(name="go_Home")
    def other() -> str:
        """Go home as well."""
        return ""

    with pytest.raises(ConfigError, match="differ"):
        CallGrammar([go_home, other], PIECES)
    with pytest.raises(ConfigError, match="at least one"):
        CallGrammar([], PIECES)


@pytest.mark.parametrize(
    "text", ["", "fly", "light ; room", "light ; color = red", "timer ; minutes = one ; minutes = two"]
)
def test_reading_what_is_no_call(text: str) -> None:
    with pytest.raises(ToolError):
        parse_call(text, TOOLS)
