"""The floors: what each folder may import, and that nothing happens at import. Read from the source, never by running.

The table below is DESIGN as data. Each rule is proved by planting what it forbids in a small tree and seeing it caught.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Floor:
    """One folder's rule. `floors`: which floors it may import; `lazily`: those only inside functions.

    packages: third-party packages, None for any. `banned`: modules it may not import, whoever makes them.
    outside: how many third-party packages one file may use, besides numpy and pydantic.
    """

    floors: frozenset[str]
    packages: frozenset[str] | None
    lazily: frozenset[str] = frozenset()
    banned: frozenset[str] = frozenset()
    outside: int | None = None
    prints: bool = False
    calls: bool = False  # whether a module may call things when it is imported


ALL = frozenset(
    {"root", "nn", "families", "ports", "wire", "runtime", "train", "bench", "cli", "pipelines", "tools", "clients"}
)
TORCH = frozenset({"torch", "torchaudio", "silero_vad"})
SOCKETS = frozenset({"socket", "ssl", "http", "urllib", "websockets", "aiomqtt"})
PURE = TORCH | SOCKETS | {"asyncio", "threading", "multiprocessing", "subprocess", "time", "sounddevice", "av"}

FLOORS = {
    "root": Floor(frozenset({"root"}), frozenset({"numpy", "pydantic"}), frozenset({"runtime", "ports", "cli"}), PURE),
    "nn": Floor(
        frozenset({"root", "nn"}),
        frozenset({"numpy", "torch", "torchaudio", "safetensors", "tokenizers"}),
        banned=SOCKETS | {"asyncio", "sounddevice"},
    ),
    "families": Floor(
        frozenset({"root", "nn", "families"}), frozenset({"numpy", "torch", "tokenizers"}), banned=SOCKETS
    ),
    "ports": Floor(frozenset({"root", "ports"}), None, banned=TORCH | {"safetensors", "tokenizers"}, outside=1),
    "wire": Floor(frozenset({"root", "wire"}), frozenset({"numpy", "pydantic"}), banned=PURE),
    "runtime": Floor(
        frozenset({"root", "nn", "families", "ports", "wire", "runtime"}),
        frozenset({"numpy", "pydantic", "torch", "llguidance"}),
    ),
    "train": Floor(
        frozenset({"root", "nn", "train", "tools", "clients"}),  # the simulated arm draws what the finder learns
        frozenset({"numpy", "torch", "torchaudio", "safetensors", "tokenizers", "av", "scipy", "espeakng_loader"}),
        prints=True,  # a training is a program that people watch for hours
    ),
    "bench": Floor(ALL, None),
    "cli": Floor(frozenset({"root", "cli"}), frozenset({"typer", "rich"}), lazily=ALL, prints=True),
    "pipelines": Floor(ALL, None, calls=True),
    "tools": Floor(frozenset({"root", "tools"}), None, banned=TORCH, outside=1),
    "clients": Floor(frozenset({"root", "clients"}), None, banned=TORCH, outside=1, prints=True),
    "examples": Floor(
        frozenset({"root", "tools", "pipelines", "clients"}), None, banned=TORCH, prints=True, calls=True
    ),
}  # fmt: skip

# Only these two files of the root open the door to what runs, and only when they are asked to.
DOORS = {"liveagent/agent.py", "liveagent/__init__.py"}
# What a robot and an agent say to each other: both ends read this file, and the runtime nothing else of a client.
CONTRACT = "liveagent.clients.robot.contract"
# Training is imported by nothing but itself, the recipe that makes nano, benches, and the command line.
TRAINERS = {"train", "bench", "cli", "pipelines"}
CLOCKS = {"now", "utcnow", "today", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time_ns"}
NAMELESS = {"utils", "util", "common", "base", "manager", "handler", "factory"}
EXAMPLE_LINES = 60

# What may be called while a module is imported: it makes a value and touches nothing. Own classes are values too.
MAKES_VALUES = {
    # builtins
    "bool", "bytes", "chr", "dict", "enumerate", "float", "frozenset", "int", "len", "list", "max", "min", "object",
    "ord", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip", "abs",
    "all", "any",
    # declarations
    "TypeVar", "ParamSpec", "NewType", "namedtuple", "NamedTuple", "field", "Field", "ConfigDict", "TypeAdapter",
    "auto", "re.compile", "logging.getLogger", "ContextVar", "contextvars.ContextVar", "itemgetter", "attrgetter",
    "partial", "get_args", "struct.Struct", "Struct", "Fraction", "MappingProxyType", "math.sqrt", "math.log",
    "np.dtype", "np.float32", "np.int16", "np.uint64", "np.iinfo", "np.finfo", "np.zeros", "np.array", "np.arange",
    "np.tile", "np.sin", "np.cos", "np.linspace",
    "threading.Lock", "threading.RLock", "ctypes.CFUNCTYPE", "ctypes.POINTER",
    "Family", "Member", "Path", "typer.Typer", "typer.Option", "typer.Argument",
}  # fmt: skip
VALUE_METHODS = {"split", "join", "items", "keys", "values", "strip", "lower", "upper", "format", "union", "replace"}
VALUE_METHODS |= {"resolve", "splitlines", "with_name", "get", "bit_length", "removeprefix", "removesuffix"}
VALUE_METHODS |= {"isalpha", "isdigit"}


@dataclass(frozen=True)
class Import:
    module: str
    line: int
    lazy: bool  # inside a function, or for types alone


def floor_of(path: str) -> str | None:
    """The floor that a file of the repository stands on; None for what has no floor (tests, set-up)."""
    parts = Path(path).parts
    if parts[0] == "liveagent":
        if len(parts) > 2:
            return parts[1]
        return "cli" if parts[1] == "__main__.py" else "root"
    if parts[0] == "examples" and len(parts) > 2:
        return "families"  # a folder there is a package of its own, which brings a family
    return parts[0] if parts[0] in FLOORS else None


def floor_of_import(module: str) -> str | None:
    """The floor that a name under `liveagent` belongs to; None for other packages."""
    parts = module.split(".")
    if parts[0] != "liveagent":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ALL else "root"


def carries(node: ast.AST) -> bool:
    """Whether a statement can be inside: all else is most of a tree."""
    return isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case)


def imports(tree: ast.Module, path: str) -> Iterator[Import]:
    """Every import, with relative ones resolved and `from a import b` giving both `a` and `a.b`."""
    package = list(Path(path).with_suffix("").parts[:-1])
    if package and package[0] in ("tools", "pipelines", "clients"):
        package.insert(0, "liveagent")

    todo: list[tuple[ast.AST, bool]] = [(tree, False)]
    while todo:
        node, lazy = todo.pop()
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield Import(module, node.lineno, lazy)
            if module.split(".")[0] == "liveagent":
                yield from (Import(f"{module}.{alias.name}", node.lineno, lazy) for alias in node.names)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        never: list[ast.stmt] = []
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            never = node.body
        todo += ((child, lazy or child in never) for child in ast.iter_child_nodes(node) if carries(child))


def import_faults(tree: ast.Module, path: str, floor: str) -> Iterator[tuple[int, str]]:
    rule = FLOORS[floor]
    outside: set[str] = set()
    for each in imports(tree, path):
        top = each.module.split(".")[0]
        if top in rule.banned:
            yield each.line, f"{floor} imports {top}"
            continue
        other = floor_of_import(each.module)
        if other is None:
            if top in sys.stdlib_module_names:
                continue
            if rule.packages is not None and top not in rule.packages and not (each.lazy and floor == "cli"):
                yield each.line, f"{floor} imports the package {top}"
            outside |= {top} - {"numpy", "pydantic"}
        elif other == "train" and floor not in TRAINERS:
            yield each.line, f"{floor} imports train"
        elif floor == "runtime" and f"{each.module}.".startswith(f"{CONTRACT}."):
            continue
        elif other not in rule.floors:
            open_door = floor != "root" or path in DOORS
            if not (other in rule.lazily and each.lazy and open_door):
                yield each.line, f"{floor} imports {other}" + ("" if each.lazy else " when it is imported")
    if rule.outside is not None and len(outside) > rule.outside:
        yield 1, f"{floor} uses more than one outside package: {', '.join(sorted(outside))}"


def is_script_part(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__")


def at_import(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """All that runs when a module is imported: not the insides of functions, nor a script's `if __name__` part."""
    for statement in body:
        if is_script_part(statement):
            continue
        todo: list[ast.AST] = [statement]
        while todo:
            node = todo.pop()
            yield node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                todo += [*node.args.defaults, *(each for each in node.args.kw_defaults if each)]
            elif isinstance(node, ast.ClassDef):
                todo += node.body  # decorators declare; their arguments are data
            elif not isinstance(node, ast.Lambda):
                todo += ast.iter_child_nodes(node)


def call_faults(tree: ast.Module) -> Iterator[tuple[int, str]]:
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for each in tree.body:  # a noun of the pure root can do nothing but be a value
        if isinstance(each, ast.ImportFrom) and floor_of_import(each.module or "") == "root":
            own |= {alias.name for alias in each.names if alias.name[0].isupper()}
    for node in at_import(tree.body):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name not in MAKES_VALUES | own and method not in VALUE_METHODS:
                yield node.lineno, f"calls {name} when it is imported"
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute | ast.Subscript):
                    yield node.lineno, f"changes {ast.unparse(target)} when it is imported"


def clock_faults(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            yield node.lineno, f"root reads a clock: {ast.unparse(node.func)}"


def print_faults(tree: ast.Module, nodes: list[ast.AST], floor: str) -> Iterator[tuple[int, str]]:
    script = {id(inside) for node in tree.body if is_script_part(node) for inside in ast.walk(node)}
    for node in nodes:
        if not isinstance(node, ast.Call) or id(node) in script:
            continue
        of, name = node.func, ""
        if isinstance(of, ast.Name):
            name = of.id
        elif isinstance(of, ast.Attribute) and of.attr == "write":
            name = ast.unparse(of)
        if name in ("print", "sys.stdout.write", "sys.stderr.write"):
            yield node.lineno, f"{floor} prints"


def name_faults(nodes: list[ast.AST], path: str) -> Iterator[tuple[int, str]]:
    def nameless(name: str) -> set[str]:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
        return NAMELESS & set(words)

    for part in Path(path).with_suffix("").parts:
        if found := nameless(part):
            yield 1, f"a file or folder is called {found.pop()}"
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (found := nameless(node.name)):
            yield node.lineno, f"{node.name} says {found.pop()}: name what it is"


def faults(repo: Path) -> list[str]:
    """Every breach of a floor in the tree under `repo`, as `path:line: what`."""
    said = []
    tops = sorted({"liveagent", *FLOORS})  # not the tree's other folders, of which one is an environment
    for file in sorted(file for top in tops for file in (repo / top).rglob("*.py")):
        path = file.relative_to(repo).as_posix()
        floor = floor_of(path)
        if floor is None:
            continue
        if floor not in FLOORS:
            said.append(f"{path}:1: {floor} is a floor without a rule")
            continue
        tree = ast.parse(file.read_text(), path)
        nodes = list(ast.walk(tree))
        found = [*import_faults(tree, path, floor), *name_faults(nodes, path)]
        if not FLOORS[floor].calls:
            found += call_faults(tree)
        if not FLOORS[floor].prints:
            found += print_faults(tree, nodes, floor)
        if floor == "root":
            found += clock_faults(nodes)
        if floor == "examples" and len(file.read_text().splitlines()) >= EXAMPLE_LINES:
            found.append((EXAMPLE_LINES, f"an example has {EXAMPLE_LINES} lines or more"))
        said += [f"{path}:{line}: {what}" for line, what in found]
    return said


def test_the_floors_hold() -> None:
    assert faults(REPO) == []


CLEAN = {
    "liveagent/agent.py": (
        "import re\nimport numpy as np\nfrom pydantic import BaseModel\nfrom . import errors\n"
        "WORD = re.compile('a')\n"
        "class Agent:\n    def talk(self):\n        from liveagent.runtime.talk import talk\n        talk(self)\n"
    ),
    "liveagent/__init__.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from liveagent.runtime.engine import Engine\n"
    ),
    "liveagent/nn/ear.py": "import torch\nfrom torch import nn\nfrom liveagent.audio import AudioChunk\n",
    "liveagent/ports/mic.py": "import sounddevice\nimport numpy as np\nimport asyncio\n",
    "liveagent/runtime/robot.py": "from liveagent.clients.robot.contract import Stop\n",
    "liveagent/runtime/engine.py": "import torch\nimport llguidance\nfrom ..nn import ear\nfrom ..ports import mic\n",
    "liveagent/train/fit.py": "import torch\nfrom ..nn import ear\nif __name__ == '__main__':\n    print(1)\n",
    "liveagent/cli/talk.py": (
        "import typer\napp = typer.Typer()\n"
        "def main():\n    import torch\n    from liveagent.train import fit\n    print('hello')\n"
    ),
    "tools/lamp.py": "import serial\nfrom liveagent import tool\n@tool(phrases=['on'])\ndef on(): ...\n",
    "pipelines/home.py": "from liveagent import Agent\nagent = Agent('nano')\n",
    "clients/gate.py": "import websockets\nfrom liveagent.event import Event\ndef main():\n    print('up')\n",
    "examples/qwen/qwen.py": "import torch\nfrom liveagent.nn import stack\nfrom liveagent.families import llama\n",
    "examples/lamp.py": "from liveagent import Agent\nAgent('nano').talk()\n",
}

PLANTED = [
    ("liveagent/x.py", "import torch\n", "root imports torch"),
    ("liveagent/x.py", "def f():\n    import asyncio\n", "root imports asyncio"),
    ("liveagent/x.py", "from socket import socket\n", "root imports socket"),
    ("liveagent/x.py", "import time\n", "root imports time"),
    ("liveagent/x.py", "from time import monotonic\n", "root imports time"),
    ("liveagent/x.py", "def f(d):\n    return d.datetime.now()\n", "root reads a clock"),
    ("liveagent/x.py", "import requests\n", "root imports the package requests"),
    ("liveagent/x.py", "from liveagent.nn import ear\n", "root imports nn"),
    ("liveagent/x.py", "def f():\n    from .runtime import engine\n", "root imports runtime"),
    ("liveagent/agent.py", "from liveagent.runtime import talk\n", "root imports runtime when it is imported"),
    ("liveagent/agent.py", "def f():\n    from liveagent.nn import ear\n", "root imports nn"),
    ("liveagent/x.py", "if TYPE_CHECKING:\n    from liveagent.runtime import engine\n", "root imports runtime"),
    ("liveagent/__init__.py", "if TYPE_CHECKING:\n    import asyncio\n", "root imports asyncio"),
    ("liveagent/__init__.py", "if TYPE_CHECKING:\n    a = 1\nelse:\n    import liveagent.nn\n", "root imports nn"),
    ("liveagent/nn/x.py", "import asyncio\n", "nn imports asyncio"),
    ("liveagent/nn/x.py", "import socket\n", "nn imports socket"),
    ("liveagent/nn/x.py", "from ..ports import mic\n", "nn imports ports"),
    ("liveagent/nn/x.py", "import liveagent.runtime.engine\n", "nn imports runtime"),
    ("liveagent/nn/x.py", "import llguidance\n", "nn imports the package llguidance"),
    ("liveagent/ports/x.py", "import torch\n", "ports imports torch"),
    ("liveagent/ports/x.py", "def f():\n    from torchaudio import functional\n", "ports imports torchaudio"),
    ("liveagent/ports/x.py", "from liveagent.nn import ear\n", "ports imports nn"),
    ("liveagent/ports/x.py", "import av\nimport sounddevice\n", "ports uses more than one outside package"),
    ("liveagent/runtime/x.py", "import rich\n", "runtime imports the package rich"),
    ("liveagent/runtime/x.py", "from liveagent.clients.robot.gate import Gate\n", "runtime imports clients"),
    ("liveagent/runtime/x.py", "from liveagent.train import fit\n", "runtime imports train"),
    ("liveagent/runtime/x.py", "def f():\n    import liveagent.train\n", "runtime imports train"),
    ("liveagent/nn/x.py", "from liveagent import train\n", "nn imports train"),
    ("liveagent/train/x.py", "from liveagent.ports import mic\n", "train imports ports"),
    ("liveagent/cli/talk.py", "from liveagent.train import fit\n", "cli imports train when it is imported"),
    ("liveagent/cli/talk.py", "import torch\n", "cli imports the package torch"),
    ("liveagent/cli/talk.py", "from liveagent.runtime import engine\n", "cli imports runtime when it is imported"),
    ("tools/x.py", "import torch\n", "tools imports torch"),
    ("tools/x.py", "from liveagent.runtime import engine\n", "tools imports runtime"),
    ("tools/x.py", "import serial\nimport bluetooth\n", "tools uses more than one outside package"),
    ("clients/x.py", "from liveagent.ports import mic\n", "clients imports ports"),
    ("clients/x.py", "import torch\n", "clients imports torch"),
    ("clients/x.py", "import websockets\nimport rich\n", "clients uses more than one outside package"),
    ("examples/x.py", "from liveagent.nn import ear\n", "examples imports nn"),
    ("examples/x.py", "a = 1\n" * 60, "an example has 60 lines or more"),
    ("examples/a/x.py", "from liveagent.runtime import engine\n", "families imports runtime"),
    ("examples/a/x.py", "import torch\nX = torch.zeros(3)\n", "calls torch.zeros when it is imported"),
    ("liveagent/brain/x.py", "", "brain is a floor without a rule"),
    ("liveagent/utils.py", "", "a file or folder is called utils"),
    ("liveagent/nn/common/ear.py", "", "a file or folder is called common"),
    ("liveagent/x.py", "class AudioManager: ...\n", "AudioManager says manager"),
    ("liveagent/x.py", "class Base: ...\n", "Base says base"),
    ("liveagent/runtime/x.py", "def tool_handler(): ...\n", "tool_handler says handler"),
    ("liveagent/runtime/x.py", "class LinkFactory: ...\n", "LinkFactory says factory"),
    ("liveagent/x.py", "open('a')\n", "calls open when it is imported"),
    ("liveagent/nn/x.py", "import torch\nX = torch.zeros(3)\n", "calls torch.zeros when it is imported"),
    ("liveagent/nn/x.py", "import torch\ntorch.set_num_threads(1)\n", "calls torch.set_num_threads"),
    ("tools/x.py", "from liveagent.runtime import Engine\nE = Engine()\n", "calls Engine when it is imported"),
    ("liveagent/x.py", "def f(a=load()): ...\n", "calls load when it is imported"),
    ("liveagent/x.py", "class A:\n    b = load()\n", "calls load when it is imported"),
    ("liveagent/x.py", "try:\n    load()\nexcept OSError:\n    pass\n", "calls load when it is imported"),
    ("liveagent/x.py", "import os\nos.environ['A'] = 'b'\n", "changes os.environ['A'] when it is imported"),
    ("liveagent/runtime/x.py", "def f():\n    print('x')\n", "runtime prints"),
    ("tools/x.py", "import sys\ndef f():\n    sys.stdout.write('x')\n", "tools prints"),
    ("liveagent/bench/x.py", "def f():\n    print('x')\n", "bench prints"),
]


def plant(repo: Path, files: dict[str, str]) -> list[str]:
    for path, text in files.items():
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text(text)
    return faults(repo)


def test_a_clean_tree_is_clean(tmp_path: Path) -> None:
    assert plant(tmp_path, CLEAN) == []


@pytest.mark.parametrize(("path", "text", "what"), PLANTED, ids=[f"{path}: {what}" for path, _, what in PLANTED])
def test_what_a_floor_forbids_is_caught(tmp_path: Path, path: str, text: str, what: str) -> None:
    found = plant(tmp_path, {**CLEAN, path: text})
    assert found, "nothing was caught"
    assert all(line.startswith(f"{path}:") for line in found)
    assert any(what in line for line in found), found
