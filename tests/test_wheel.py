"""The wheel: what is in it, and that it works from an empty folder, without the repository and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
FOLDERS = {"liveagent": "liveagent", "tools": "liveagent/tools", "pipelines": "liveagent/pipelines",
           "clients": "liveagent/clients"}  # fmt: skip
SHIPPED = {".py", ".json", ".safetensors", ".md", ".typed", ".wav", ".flac", ".opus", ".ogg", ".html", ".js", ".css",
           ".svg"}  # fmt: skip


def run(*command: str, cwd: Path, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env={**clean, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_repo() -> dict[str, Path]:
    """What the wheel must hold: name in the wheel -> file here. Read from git, so that strays do not count."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *FOLDERS, cwd=REPO)
    files = {}
    for name in filter(None, listed.split("\0")):
        top, _, rest = name.partition("/")
        if (REPO / name).suffix in SHIPPED and (REPO / name).is_file():
            files[f"{FOLDERS[top]}/{rest}"] = REPO / name
    return files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the repository and nothing of an earlier build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    for file in in_repo().values():
        target = copy / file.relative_to(REPO)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for extra in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        (copy / extra).write_bytes((REPO / extra).read_bytes())
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", str(folder / "out"), str(copy), cwd=folder)
    (built,) = (folder / "out").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed alone into an empty folder."""
    folder = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder))
    run(*pip, str(wheel), cwd=folder)
    return folder


def elsewhere(code: str, site: Path, tmp_path: Path) -> str:
    """Runs `code` in an empty folder, with the wheel before everything that is installed. Returns what it prints."""
    where = "import liveagent, sys; assert liveagent.__file__.startswith(sys.argv[1]), liveagent.__file__\n"
    return run(sys.executable, "-c", where + code, str(site), cwd=tmp_path, PYTHONPATH=str(site))


def test_every_package_on_disk_is_listed() -> None:
    listed = set(tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {str(Path(name).parent).replace("/", ".") for name in in_repo() if name.endswith(".py")}
    assert listed == there


@pytest.mark.slow
def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == set(in_repo())
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in info}


@pytest.mark.slow
def test_nothing_but_liveagent_lands_in_site_packages(site: Path) -> None:
    assert {each.name for each in site.iterdir() if not each.name.endswith(".dist-info")} <= {"liveagent", "bin"}
    assert (site / "bin" / "liveagent").exists()


@pytest.mark.slow
def test_it_works_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    said = elsewhere(
        "from importlib import import_module, resources\n"
        "home = import_module('liveagent.tools.home')\n"
        "weights = resources.files('liveagent.pipelines') / 'nano' / 'weights'\n"
        "print(home.__file__, type(home.light).__name__, sorted(each.name for each in weights.iterdir()))\n",
        site,
        tmp_path,
    )
    assert str(site / "liveagent" / "tools" / "home.py") in said
    assert " Tool " in said
    assert "'pieces.json'" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_weights_in_the_wheel_are_the_weights_here(site: Path) -> None:
    here = REPO / "pipelines" / "nano" / "weights"
    there = site / "liveagent" / "pipelines" / "nano" / "weights"
    assert any(here.iterdir())
    for file in here.iterdir():
        assert (there / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
def test_the_root_and_the_tools_need_neither_torch_nor_devices(site: Path, tmp_path: Path) -> None:
    """What a robot's side gets by `pip install --no-deps liveagent`, beside numpy and pydantic."""
    root = sorted(path.stem for path in (REPO / "liveagent").glob("*.py") if path.stem not in ("cli", "__main__"))
    modules = ["liveagent", *(f"liveagent.{stem}" for stem in root if stem != "__init__"), "liveagent.tools.home"]
    elsewhere(
        "for name in ('torch', 'torchaudio', 'sounddevice', 'av', 'pocketsphinx', 'llguidance', 'tokenizers',\n"
        "             'safetensors', 'silero_vad', 'typer', 'rich'):\n"
        "    sys.modules[name] = None\n"
        "from importlib import import_module\n"
        f"for name in {modules}:\n"
        "    import_module(name)\n",
        site,
        tmp_path,
    )
