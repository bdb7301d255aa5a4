"""Languages by code and by name."""

from __future__ import annotations

from typing import Any

import pytest

from liveagent import Agent, ConfigError
from liveagent.languages import _codes, code_of


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ("de", "de"), (" DE ", "de"), ("German", "de"), ("haitian creole", "ht"), ("Mandarin", "zh"), ("yue", "yue"),
        ("lao", "lo"), ("xx", "xx"), ("klingon", None), ("", None), ("d", None), ("d3", None), ("de-AT", None),
    ],
)  # fmt: skip
def test_a_language_by_its_code_or_its_name(named: str, code: str | None) -> None:
    assert code_of(named) == code


def test_every_name_is_of_one_language() -> None:
    codes = _codes()
    assert len(set(codes.values())) == 100 and all(2 <= len(each) <= 3 for each in codes.values())
    assert all(code_of(name) == code for name, code in codes.items())


def test_an_agents_is_kept_by_its_code() -> None:
    assert Agent(ear="owner/ear", language="German").language == "de" == Agent(ear="owner/ear", language="DE").language
    none: Any = 3
    for wrong in ("klingon", "x", none):
        with pytest.raises(ConfigError, match="give a language's code or English name, such as de or german"):
            Agent(ear="owner/ear", language=wrong)
    with pytest.raises(ConfigError, match="give an ear= too"):
        Agent(language="de")
