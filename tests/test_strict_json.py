"""JSON of a peer: what is refused, and that refusing costs little and never recurses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ProtocolError
from liveagent.wire.strict_json import MAX_VALUES, read_object, write

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.text(), PLAIN, max_size=5))
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    assert read_object(write(value)) == value
    assert read_object(write(value).encode()) == value
    assert read_object(json.dumps(value)) == value


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0dD8truefalsnN123.eE+- \n', max_size=60) | st.text())
def test_anything_is_read_as_the_standard_parser_does_or_refused(data: str | bytes) -> None:
    try:
        value = read_object(data)
    except ProtocolError:
        return
    assert value == json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "12",
        "null",
        '"a"',
        "{",
        '{"a":1}{"b":2}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":9223372036854775808}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":1,"a":2}',
        '{"b":{"a":1,"a":1}}',
        r'{"a":"\ud800"}',
        r'{"\udc00":1}',
        r'{"a":["x",{"b":"\ude00\ud83d"}]}',
        '{"a":"\ud800"}',
        "\ufeff{}",
        '{"a":"\n"}',
        b'{"a":"\xff"}',
        b"\xed\xa0\x80",
    ],
)
def test_refused(text: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        read_object(text)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert read_object(r'{"a":"\ud83d\ude00"}') == {"a": "\U0001f600"}


def test_a_backslash_before_a_u_is_no_surrogate() -> None:
    assert read_object(r'{"a":"\\ud800"}') == {"a": r"\ud800"}


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_hundred_thousand_brackets_do_not_recurse(opening: str) -> None:
    with pytest.raises(ProtocolError):
        read_object('{"a":' + opening * 100_000)


def test_depth_is_counted_outside_strings() -> None:
    assert read_object('{"a":"' + "[" * 100_000 + '"}') == {"a": "[" * 100_000}
    assert read_object('{"a":"' + r"\"[" * 1000 + '"}') == {"a": '"[' * 1000}
    deep = '{"a":' * 64 + "1" + "}" * 64
    assert read_object(deep)
    with pytest.raises(ProtocolError, match="deeper"):
        read_object('{"b":' + deep + "}")
    assert read_object('{"a":[' + "[]," * 500 + "[]]}", max_depth=3)


def test_values_and_bytes_are_bounded() -> None:
    with pytest.raises(ProtocolError, match="values"):
        read_object('{"a":[' + "0," * (MAX_VALUES + 1) + "0]}")
    with pytest.raises(ProtocolError, match="values"):
        read_object('{"a":[' + "[]," * (MAX_VALUES // 2 + 1) + "0]}")
    assert read_object('{"a":"' + "," * (MAX_VALUES + 1) + '"}')
    with pytest.raises(ProtocolError, match="longer"):
        read_object('{"a":"' + "x" * 100 + '"}', max_bytes=100)
    with pytest.raises(ProtocolError, match="longer"):
        read_object('{"a":"' + "é" * 60 + '"}', max_bytes=100)


def test_quotes_that_never_end_are_refused_at_once() -> None:
    with pytest.raises(ProtocolError):
        read_object('{"a":' + "[" * 100 + '"' + r"\"" * 500_000)


def test_a_number_that_is_none_is_not_written() -> None:
    with pytest.raises(ProtocolError):
        write({"a": float("nan")})
