"""What is said of families without importing any, and the one that a checkpoint needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from liveagent import ConfigError
from liveagent.families import FAMILIES, described, family_of, from_outside
from liveagent.nn.checkpoint import CONFIG, WHOLE, Checkpoint

HERE = Path(__file__).resolve().parent.parent / "liveagent" / "families"


def checkpoint(folder: Path, architecture: str | None) -> Checkpoint:
    (folder / CONFIG).write_text(json.dumps({"architectures": [architecture]} if architecture else {}))
    save_file({"a": torch.ones(1)}, folder / WHOLE)
    return Checkpoint.open(folder)


@pytest.mark.parametrize("family", [each for each in FAMILIES if each.module], ids=lambda family: family.name)
def test_each_that_is_there_is_found_by_its_architecture(tmp_path: Path, family: object) -> None:
    assert family in FAMILIES
    found = next(each for each in FAMILIES if each is family)
    for architecture in found.architectures:
        assert family_of(checkpoint(tmp_path, architecture)).__name__ == f"liveagent.families.{found.module}"


def test_what_is_said_is_whole_and_names_what_is_on_the_disk() -> None:
    assert len({each.name for each in FAMILIES}) == len(FAMILIES)
    architectures = [name for each in FAMILIES for name in each.architectures]
    assert len(set(architectures)) == len(architectures)
    for each in FAMILIES:
        assert each.members and each.licence and each.hears and each.sees and each.says and each.title
        assert not each.module or (HERE / f"{each.module}.py").is_file()
        assert each.module or not each.proved, "what is not there was not compared"
        assert each.module or each.name == "nano" or not each.live


def test_an_unknown_architecture_names_those_that_are_known(tmp_path: Path) -> None:
    known = ", ".join(each.title for each in FAMILIES if each.module)
    for architecture, says in [("BertModel", "is a BertModel"), (None, "is nothing that its config.json would name")]:
        with pytest.raises(ConfigError) as caught:
            family_of(checkpoint(tmp_path, architecture))
        said = str(caught.value)
        assert says in said and said.endswith(f"choose one of {known}") and "\n" not in said


def test_one_that_is_not_there_yet_says_so() -> None:
    for family in FAMILIES:
        for architecture in family.architectures:
            if not family.module:
                with pytest.raises(
                    ConfigError, match=f"is a {family.title}, which liveagent cannot read yet: choose one"
                ):
                    described(architecture, "here")


def test_reading_what_is_said_imports_no_family_and_no_torch() -> None:
    code = (
        "import sys; from liveagent.families import described; described('WhisperForConditionalGeneration', 'x')\n"
        "assert not [m for m in sys.modules if m.startswith('liveagent.families.') or m == 'torch']"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def bring(site: Path, value: str, text: str = "", name: str = "theirs") -> None:
    """Lay out a package of somebody else's, as pip does it, whose entry point is `value`."""
    (site / f"{name}.py").write_text(text)
    info = site / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[liveagent.families]\n{name} = {value}\n")


THEIRS = """
from liveagent.families import Family, Member
FAMILY = Family("bert", "Bert", ("BertModel", "Gemma4ForCausalLM"), __name__, "nothing", "nothing", "words", "MIT",
                (Member("a/b", 1.0, 2.0),))
"""


def test_another_package_brings_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, "theirs:FAMILY", THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    assert "Bert" in [each.title for each in from_outside()]
    assert family_of(checkpoint(tmp_path, "BertModel")).__name__ == "theirs"
    assert described("Gemma4ForCausalLM", "here").name == "gemma4", "what is ours stays ours"
    with pytest.raises(ConfigError, match=r"choose one of .*, Bert$"):
        described("OtherModel", "here")


@pytest.mark.parametrize(
    ("value", "text", "why"),
    [
        ("theirs:FAMILY", "", "AttributeError"),
        ("nowhere:FAMILY", "", "No module named 'nowhere'"),
        ("theirs:FAMILY", "raise OSError('two\\nlines')", "OSError: two$"),
        ("theirs:FAMILY", "FAMILY = 3", "no Family"),
        ("theirs:FAMILY", THEIRS.replace("__name__", "''"), "no Family with a module"),
    ],
)
def test_a_package_that_brings_something_else_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, text: str, why: str
) -> None:
    bring(tmp_path, value, text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    assert described("LlamaForCausalLM", "here").name == "llama", "nobody else's code runs for what is ours"
    with pytest.raises(ConfigError, match=why) as caught:
        described("BertModel", "here")
    assert "'theirs'" in str(caught.value) and "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, "theirs:FAMILY", THEIRS.replace("__name__", "'gone.away'"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    with pytest.raises(ConfigError, match="Bert cannot be read: No module named 'gone'"):
        family_of(checkpoint(tmp_path, "BertModel"))
