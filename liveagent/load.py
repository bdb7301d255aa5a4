"""`load_agent`: from what a person names, a ready-made pipeline or a file of their own, to the agent in it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from types import ModuleType, TracebackType

from liveagent.agent import Agent
from liveagent.errors import ConfigError, LiveAgentError

EXAMPLE = "agent = Agent('nano', tools=[...])"


def load_agent(name: str | os.PathLike[str]) -> Agent:
    """The agent of a pipeline's name ("voice"), or of a Python file that holds `agent = Agent(...)`.

    The file is run, with its folder first on the import path. Raises ConfigError for a name that nothing has, a file
    without an agent, and a file that fails; the message names the file's own line.
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    if path.suffix == ".py" or os.sep in text or path.is_file():
        return _agent_of(_from_file(path), text)
    if text not in pipelines():
        raise ConfigError(
            f"no pipeline is called {text!r}; there is {', '.join(pipelines())}, or give a file: my_agent.py"
        )
    return _agent_of(importlib.import_module(f"liveagent.pipelines.{text}"), text)


def pipelines() -> list[str]:
    """The names of the ready-made agents; what else lies beside them holds no `agent`."""
    home = importlib.import_module("liveagent.pipelines")
    files = [Path(folder) / f"{each.name}.py" for folder in home.__path__ for each in pkgutil.iter_modules([folder])]
    return sorted(file.stem for file in files if file.is_file() and "\nagent = " in file.read_text(encoding="utf-8"))


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"{path} {what}; give a Python file that holds `{EXAMPLE}`, or a pipeline's name")
    # A name of its own, so that a file called timer.py or home.py hides nothing and is hidden by nothing.
    spec = importlib.util.spec_from_file_location(f"liveagent_file_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; give one that ends in .py")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not written in UTF-8") from error
    except LiveAgentError as error:
        raise ConfigError(f"{path}, line {_line_in(path, error.__traceback__)}: {error}") from error
    except Exception as error:
        where = f"{path}, line {_line_in(path, error.__traceback__)}"
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
    except SystemExit as error:
        where = f"{path}, line {_line_in(path, error.__traceback__)}"
        raise ConfigError(f"{where}: it ends the program; put that below `if __name__ == '__main__':`") from error
    return module


def _line_in(path: Path, trace: TracebackType | None) -> int:
    """The line of the user's own file that an error came through last."""
    found = 0
    wanted = str(path.resolve())
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == wanted:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _agent_of(module: ModuleType, name: str) -> Agent:
    agent = getattr(module, "agent", None)
    if isinstance(agent, Agent):
        return agent
    if agent is not None:
        raise ConfigError(f"{name}: `agent` is of type {type(agent).__name__}; write `{EXAMPLE}`")
    others = [key for key, value in vars(module).items() if isinstance(value, Agent)]
    hint = f"; call {others[0]!r} `agent`" if others else f"; write `{EXAMPLE}` in it"
    raise ConfigError(f"{name} holds no `agent`{hint}")
