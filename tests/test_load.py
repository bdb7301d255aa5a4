"""Loading an agent: names and files, and what is said when it does not work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from liveagent import ConfigError
from liveagent.load import load_agent, pipelines


@pytest.fixture(autouse=True)
def path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_pipeline_by_its_name() -> None:
    assert {"voice", "voice_video"} <= set(pipelines()) and not {"nano", "looks"} & set(pipelines())
    assert "light" in [tool.name for tool in load_agent("voice").tools]


def test_a_file_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "lamp_of_mine.py").write_text(
        "from liveagent import tool\n@tool(phrases=['lamp on'])\n"
        "def lamp() -> str:\n    'Switch it on.'\n    return 'on'\n"
    )
    file = tmp_path / "timer.py"
    file.write_text("from liveagent import Agent\nimport lamp_of_mine\nagent = Agent(tools=[lamp_of_mine.lamp])\n")
    assert [tool.name for tool in load_agent(file).tools] == ["lamp"]
    assert "timer" not in sys.modules


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "holds no `agent`"),
        ("agent = 3\n", "`agent` is of type int"),
        ("from liveagent import Agent\nbot = Agent()\n", "call 'bot' `agent`"),
        ("a = 1\ndef f():\n    return a / 0\nf()\n", "line 3: ZeroDivisionError: division by zero"),
        ("a = 1\nb = (\n", "line 2: '(' was never closed"),
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
        ("from liveagent import tool\n\n@tool\ndef f() -> str:\n    return ''\n", "line 3: tool 'f' has no docstring"),
        ("raise SystemExit(1)\n", "line 1: it ends the program"),
    ],
)
def test_a_file_that_does_not_work_says_where_and_what(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_agent(file)
    assert says in str(caught.value) and "mine.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no pipeline is called 'voices'; there is .*voice"):
        load_agent("voices")
    with pytest.raises(ConfigError, match="does not exist"):
        load_agent(tmp_path / "none.py")
    with pytest.raises(ConfigError, match="is a folder"):
        load_agent(tmp_path)
    (tmp_path / "latin.py").write_bytes(b"# -*- coding: utf-8 -*-\nx = '\xff'\n")
    with pytest.raises(ConfigError, match=r"latin\.py"):
        load_agent(tmp_path / "latin.py")
