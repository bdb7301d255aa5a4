"""Events and actions: one written form, strict both ways."""

from __future__ import annotations

import dataclasses
import json
import typing
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent import action, event
from liveagent.errors import ProtocolError
from liveagent.jsonform import Json, JsonForm

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _strategy(hint: Any) -> st.SearchStrategy[Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Json:
        return json_values
    if origin is typing.Literal:
        return st.sampled_from(args)
    if origin is tuple:
        return st.lists(_strategy(args[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(), _strategy(args[1]), max_size=3)
    if type(None) in args:
        return st.none() | _strategy(next(arg for arg in args if arg is not type(None)))
    if dataclasses.is_dataclass(hint):
        return _instances(typing.cast(type, hint))
    simple: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(),
        str: st.text(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
    }
    return simple[hint]


@cache
def _instances(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{f.name: _strategy(hints[f.name]) for f in dataclasses.fields(cls)})


@pytest.mark.parametrize("cls", [*event.INBOX, *event.NOTICES])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_event_survives_the_round_trip(cls: type, data: st.DataObject) -> None:
    value = data.draw(_instances(cls))
    text = event.to_json(value)
    assert text.isascii() and "\n" not in text
    again = event.from_json(text.encode())
    assert again == value and type(again) is cls


@pytest.mark.parametrize("cls", action.ACTIONS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_action_survives_the_round_trip(cls: type, data: st.DataObject) -> None:
    value = data.draw(_instances(cls))
    assert action.from_json(action.to_json(value)) == value


def test_every_event_is_stamped_frozen_and_listed_once() -> None:
    listed = [*event.INBOX, *event.NOTICES]
    assert len(set(listed)) == len(listed)
    written = {
        value
        for value in vars(event).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value) and value is not event.WordMark
    }
    assert written == set(listed)
    for cls in listed:
        assert dataclasses.fields(cls)[0].name == "t_ns"
        assert typing.cast(Any, cls).__dataclass_params__.frozen and hasattr(cls, "__slots__")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b"{}",
        b'{"type": 3}',
        b'{"type": "Nothing", "t_ns": 0}',
        b'{"type": "WordMark", "index": 0, "start_samples": 0, "end_samples": 0}',
        b'{"type": "TextTyped", "t_ns": 0}',
        b'{"type": "TextTyped", "t_ns": 0, "text": "a", "more": 1}',
        b'{"type": "TextTyped", "t_ns": 0.5, "text": "a"}',
        b'{"type": "TextTyped", "t_ns": true, "text": "a"}',
        b'{"type": "TextTyped", "t_ns": 0, "text": null}',
        b'{"type": "Voiced", "t_ns": 0, "utterance": 1, "samples": 5, "marks": {}}',
        b'{"type": "Voiced", "t_ns": 0, "utterance": 1, "samples": 5, "marks": [{"index": 1}]}',
        b'{"type": "WordsHeard", "t_ns": 0, "words": ["a"], "source": "radio"}',
        b'{"type": "WordsHeard", "t_ns": 0, "words": ["a", 1], "source": "ear"}',
        b'{"type": "EndGuessed", "t_ns": 0, "finished": NaN}',
        b'{"type": "EndGuessed", "t_ns": 0, "finished": "1"}',
        b'{"type": "CacheChanged", "t_ns": 0, "used_tokens": 1, "capacity_tokens": 2, "by_kind": {"a": 1.5}}',
        b'{"type": "CacheChanged", "t_ns": 0, "used_tokens": 1, "capacity_tokens": 2, "by_kind": []}',
        b'{"type": "LagNoted", "t_ns": 0, "tick": 0, "lag_ms": 1' + b"0" * 400 + b"}",
        b"[" * 100_000,
    ],
)
def test_what_is_not_an_event_is_a_protocol_error(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        event.from_json(text)


def test_deep_or_foreign_values_are_refused_when_written_and_when_read() -> None:
    deep: Any = []
    for _ in range(40):
        deep = [deep]
    values: list[Any] = [deep, float("inf"), {1: 2}, object()]
    for value in values:
        with pytest.raises(ProtocolError):
            event.to_json(event.ToolReturned(0, "c", value))
    line = json.dumps({"type": "ToolReturned", "t_ns": 0, "call_id": "c", "result": deep})
    with pytest.raises(ProtocolError, match="deeper"):
        event.from_json(line)
    with pytest.raises(ProtocolError, match="no written form"):
        JsonForm((event.TextTyped,)).encode(event.TalkPressed(0))  # type: ignore[arg-type]


def test_an_int_is_read_where_a_float_is_meant_and_literals_keep_their_type() -> None:
    read = event.from_json(b'{"type": "LagNoted", "t_ns": 0, "tick": 1, "lag_ms": 3}')
    assert isinstance(read, event.LagNoted) and type(read.lag_ms) is float
    with pytest.raises(ProtocolError):
        action.from_json(b'{"type": "Note", "code": "c", "level": 1}')


def test_a_message_names_the_field() -> None:
    with pytest.raises(ProtocolError, match=r"Voiced\.marks\[0\].*'start_samples' is missing"):
        event.from_json(b'{"type": "Voiced", "t_ns": 0, "utterance": 1, "samples": 5, "marks": [{"index": 1}]}')
