"""README.md against the disk: the annotated tree, the two commands, and what each dependency is for.

`make tree` writes the tree anew: comments stay, files that are gone go, new ones get their docstring's first words.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
# In these folders every file has its line; elsewhere a line for the folder speaks for what is in it.
FILE_BY_FILE = ("liveagent", "tools", "pipelines", "clients", "examples", "setup")
IN_SUM = ("pipelines/nano/weights", "tests", "docs", "data")
COMMENT_CHARACTERS = 110


def on_disk(repo: Path) -> list[str]:
    """The files that belong to the repository: those that git knows, and new ones that it does not ignore."""
    ask = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ask, cwd=repo, capture_output=True, text=True)
    if listed.returncode == 0:
        names = [name for name in listed.stdout.split("\0") if name]
    else:  # an archive without .git
        names = [each.relative_to(repo).as_posix() for each in repo.rglob("*") if each.is_file()]
    hidden = re.compile(r"(^|/)(\.|__pycache__|build/|[^/]*\.egg-info)")
    return sorted(name for name in names if not hidden.search(name) and (repo / name).is_file())


def wanted(repo: Path) -> list[str]:
    """What the tree must name: folders with a slash at their end."""
    names = set()
    for path in on_disk(repo):
        parents = [f"{parent.as_posix()}/" for parent in Path(path).parents if parent != Path(".")]
        above = next((each for each in IN_SUM if path.startswith(f"{each}/")), None)
        names |= {each for each in parents if above is None or not each.startswith(f"{above}/") or each == f"{above}/"}
        empty_init = path.endswith("__init__.py") and not (repo / path).read_text().strip()
        if above is None and not empty_init and (not parents or path.startswith(FILE_BY_FILE)):
            names.add(path)
    return sorted(names)


def named(readme: str) -> dict[str, str]:
    """The tree in README.md: path -> comment. Two spaces deeper is one folder deeper."""
    block = re.search(r"<!-- tree -->\s*```text\n(.*?)```", readme, re.DOTALL)
    assert block, "README.md has no tree between <!-- tree --> and the end of its ```text block"
    tree: dict[str, str] = {}
    above: list[str] = []
    for line in block[1].splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, comment = line.strip().partition(" ")
        assert depth <= len(above), f"the tree jumps a level at {line!r}"
        path = "".join(above[:depth]) + name
        assert path not in tree, f"{path} is in the tree twice"
        tree[path] = comment.strip()
        above = [*above[:depth], name] if name.endswith("/") else above[:depth]
    return tree


def faults(repo: Path) -> list[str]:
    tree, disk = named((repo / "README.md").read_text()), wanted(repo)
    said = [f"not in the tree: {path}" for path in disk if path not in tree]
    said += [f"not on disk: {path}" for path in tree if path not in disk]
    said += [f"no comment: {path}" for path, comment in tree.items() if not comment]
    said += [f"a comment too long: {path}" for path, comment in tree.items() if len(comment) > COMMENT_CHARACTERS]
    return said


def skeleton(repo: Path) -> str:
    """The whole tree with the comments there are, and the first line of the docstring for those that are missing."""
    tree = named((repo / "README.md").read_text())
    lines = []
    for path in wanted(repo):
        first = ""
        if path.endswith(".py") and (found := re.match(r'"""(.+)', (repo / path).read_text())):
            first = re.split(r"[.:;] ", found[1].removesuffix('"""').rstrip("."))[0]
        parts = path.rstrip("/").split("/")
        name = "  " * (len(parts) - 1) + parts[-1] + ("/" if path.endswith("/") else "")
        lines.append(f"{name:<26} {tree.get(path) or first}".rstrip())
    return "\n".join(lines)


def test_the_tree_in_the_readme_is_the_tree_on_disk() -> None:
    assert faults(REPO) == [], "see `make tree`"


def test_a_tree_that_lies_is_caught(tmp_path: Path) -> None:
    (tmp_path / "liveagent").mkdir()
    for name in ("liveagent/mic.py", "liveagent/ear.py", "liveagent/voice.py", "setup.cfg"):
        (tmp_path / name).write_text("x = 1\n")
    tree = "README.md  this\nsetup.cfg  settings\nliveagent/  the package\n  mic.py  hears\n  ear.py\n  gone.py  old\n"
    (tmp_path / "README.md").write_text(f"# x\n<!-- tree -->\n```text\n{tree}```\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert faults(tmp_path) == [
        "not in the tree: liveagent/voice.py",
        "not on disk: liveagent/gone.py",
        "no comment: liveagent/ear.py",
    ]


@pytest.mark.parametrize("verb", ["run", "test"])
def test_the_two_commands_are_in_the_readme_and_the_makefile(verb: str) -> None:
    assert re.search(rf"^make {verb}\b", (REPO / "README.md").read_text(), re.MULTILINE)
    assert re.search(rf"^{verb}:", (REPO / "Makefile").read_text(), re.MULTILINE)


def test_each_dependency_has_its_reason_in_the_readme() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    listed = sum(project["optional-dependencies"].values(), start=project["dependencies"])
    names = {re.split(r"[<>=~!\[; ]", each)[0] for each in listed}
    section = (REPO / "README.md").read_text().split("## What it depends on")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    reasoned = {name.strip("` ") for row in cells if len(row[1]) > 10 for name in row[0].split(",")}
    assert reasoned == names


if __name__ == "__main__":
    readme = REPO / "README.md"
    block = re.compile(r"(<!-- tree -->\s*```text\n).*?(```)", re.DOTALL)
    whole = skeleton(REPO)
    readme.write_text(block.sub(lambda found: f"{found[1]}{whole}\n{found[2]}", readme.read_text()))
    print("\n".join(faults(REPO)) or "the tree in README.md is the tree on disk")
