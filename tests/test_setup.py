"""Set-up's choice of torch, against package indexes on disk: no network, and no package of any size."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parent
PYTHON = Path(sys.executable)


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("liveagent_setup_venv", HERE.parent / "setup" / "venv.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def add_wheel(index: Path, name: str, version: str, needs: tuple[str, ...] = ()) -> None:
    """A wheel with nothing in it, in a simple index."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", metadata + "".join(f"Requires-Dist: {need}\n" for need in needs))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    links = "".join(f'<a href="{each.name}">{each.name}</a>' for each in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, on a Linux without a GPU whose package index has CUDA builds and whose CPU index is empty."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "TORCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "usual").as_uri())
    add_wheel(tmp_path / "usual", "torch", "2.12.0", ("nvidia-cublas",))
    add_wheel(tmp_path / "usual", "nvidia-cublas", "13.0")
    (tmp_path / "cpu").mkdir()
    module = load()
    monkeypatch.setattr(module, "TORCH_INDEX", (tmp_path / "cpu").as_uri())
    monkeypatch.setattr(module, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(sys, "platform", "linux")
    return module


@pytest.mark.slow
def test_pips_own_configuration_comes_first(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_wheel(tmp_path / "own", "torch", "2.12.0+cpu")
    add_wheel(tmp_path / "cpu", "torch", "2.13.1+cpu")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "own" / "torch"))
    assert setup.choose_torch(PYTHON) == ["torch==2.12.0+cpu"]


@pytest.mark.slow
def test_then_the_cpu_index_is_asked(setup: ModuleType, tmp_path: Path) -> None:
    for version in ("2.9.0+cpu", "2.11.0+cpu", "2.12.1+cpu", "2.99.0+cpu", "2.12.3"):
        add_wheel(tmp_path / "cpu", "torch", version)
    chosen = setup.choose_torch(PYTHON)
    assert chosen == ["torch==2.12.1+cpu", "--extra-index-url", (tmp_path / "cpu").as_uri()]
    # and what pip then resolves has no CUDA in it
    setup.refuse_cuda(setup.plan(PYTHON, ["--target", str(tmp_path / "site"), "--ignore-installed", *chosen]))


@pytest.mark.slow
def test_without_a_cpu_build_nothing_is_fetched(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match="no CPU build of torch was found.*(?s:.)*TORCH_INDEX="):
        setup.choose_torch(PYTHON)


@pytest.mark.slow
def test_an_index_out_of_reach_is_the_same_as_an_empty_one(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "TORCH_INDEX", "http://127.0.0.1:9/simple")
    with pytest.raises(setup.SetupError, match="nothing was fetched"):
        setup.choose_torch(PYTHON)


@pytest.mark.slow
def test_a_gpu_takes_what_the_usual_index_has(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "has_nvidia_gpu", lambda: True)
    assert setup.choose_torch(PYTHON) == []
    monkeypatch.setenv("TORCH", "cpu")
    with pytest.raises(setup.SetupError, match="no CPU build"):
        setup.choose_torch(PYTHON)
    monkeypatch.setenv("TORCH", "rocm")
    with pytest.raises(setup.SetupError, match="say cpu or cuda"):
        setup.choose_torch(PYTHON)


def test_cuda_by_another_way_is_refused(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = setup.plan(PYTHON, ["--target", str(tmp_path / "site"), "--ignore-installed", "torch==2.12.0"])
    assert {name for name, _ in fetched} == {"torch 2.12.0", "nvidia-cublas 13.0"}
    with pytest.raises(setup.SetupError, match="would fetch nvidia-cublas"):
        setup.refuse_cuda(fetched)
    monkeypatch.setenv("TORCH", "cuda")
    setup.refuse_cuda(fetched)


def test_it_says_how_much_before_it_fetches(
    setup: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    big = tmp_path / "big.whl"
    big.write_bytes(bytes(3_000_000))
    setup.say_plan([("torch 2.12.0+cpu", big.as_uri()), ("lost 1.0", (tmp_path / "lost.whl").as_uri())])
    said = capsys.readouterr().out
    assert "2 packages to fetch, 3 MB, and 1 that do not say their size" in said
    assert "torch 2.12.0+cpu 3 MB" in said


@pytest.mark.slow
def test_a_resolution_that_fails_says_why(setup: ModuleType) -> None:
    with pytest.raises(setup.SetupError, match="No matching distribution found for no-such-package"):
        setup.plan(PYTHON, ["no-such-package"])


def test_a_missing_system_library_is_named(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.ctypes.util, "find_library", lambda name: None)
    assert any("apt-get install libportaudio2" in line for line in setup.missing_libraries())
    monkeypatch.setattr(setup.ctypes.util, "find_library", lambda name: f"lib{name}.so")
    assert setup.missing_libraries() == []


def test_the_range_of_torch_is_read_from_pyproject(setup: ModuleType) -> None:
    low, high = setup.torch_range()
    assert (2, 11) <= low < high
