"""`bench` and `train`: figures and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from liveagent.cli.program import AsJson, app, console, typed_errors


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of those listed, or `all`.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure. Without a name: what can be measured."""
    with typed_errors():
        import importlib
        import json

        from liveagent.errors import ConfigError

        known = _scripts("liveagent.bench", "def run(")
        if name is None:
            if as_json:
                typer.echo(json.dumps(known))
            for each, said in {} if as_json else known.items():
                typer.echo(f"{each:<10} {said}")
            return
        if name != "all" and name not in known:
            raise ConfigError(f"no bench is called {name!r}; there is {', '.join([*known, 'all'])}")
        results: dict[str, Any] = {}
        for each in known if name == "all" else [name]:
            results[each] = importlib.import_module(f"liveagent.bench.{each}").run()
            if not as_json:
                _print_figures(each, results[each])
        if as_json:
            typer.echo(json.dumps(results if name == "all" else results[name], indent=2))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
)
def train(
    context: typer.Context,
    step: Annotated[str | None, typer.Argument(metavar="[STEP]", help="One of those listed.")] = None,
) -> None:
    """Make nano again: data, tokenizer, ear, decoder. Without a step: the steps. `train STEP --help`: its options."""
    with typed_errors():
        import runpy
        import sys

        from liveagent.errors import ConfigError

        known = {f"liveagent.train.{key}": said for key, said in _scripts("liveagent.train", "__main__").items()}
        known |= {f"liveagent.pipelines.nano.{key}": said
                  for key, said in _scripts("liveagent.pipelines.nano", "__main__").items()}  # fmt: skip
        steps = {module.rpartition(".")[2]: module for module in known}
        if step is None:
            for each, module in steps.items():
                typer.echo(f"{each:<10} {known[module]}")
            return
        if step not in steps:
            raise ConfigError(f"no step of training is called {step!r}; there is {', '.join(steps)}")
        sys.argv = [f"liveagent train {step}", *context.args]
        runpy.run_module(steps[step], run_name="__main__")


def _scripts(package: str, has: str) -> dict[str, str]:
    """Modules of a package whose text has `has`, and the first line of what they say about themselves; none is run."""
    import ast
    import importlib.util

    spec = importlib.util.find_spec(package)
    folders = [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []
    found = {}
    for file in sorted(each for folder in folders for each in folder.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        if has in source and not file.stem.startswith("_"):
            said = ast.get_docstring(ast.parse(source)) or ""
            found[file.stem] = said.partition("\n")[0]
    return found


def _print_figures(name: str, figures: dict[str, Any], indent: int = 0) -> None:
    from rich.text import Text

    out = console()
    out.print(Text(" " * indent + name, "bold"))
    width = max((len(key) for key in figures), default=0)
    for key, value in figures.items():
        if isinstance(value, dict):
            _print_figures(key, value, indent + 2)
        else:
            said = f"{value:.4g}" if isinstance(value, float) else str(value)
            out.print(Text(f"{' ' * (indent + 2)}{key:<{width}}  {said}"))
