"""What holds for every test: threads that do not fight over two cores, seeds, and files that are not read in vain."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Generator
from pathlib import Path

# Before anything imports torch: spinning threads on a shared machine make small networks many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import random

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every machine; no deadline, since no test may depend on how fast a machine is.
settings.register_profile("liveagent", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("liveagent")


# The two parts of `make test`. A file is imported only for a part that takes something of it: what the slow tests bring
# along (transformers, SDKs, a browser's driver) costs each process seconds, and memory that its collector walks over.
FAST, SLOW = "not slow and not audio", "slow or audio"
MARKED = re.compile(r"pytest\.mark\.(slow|audio)\b")
WHOLLY = re.compile(r"^pytestmark = (\[$.*?^\]|.*?$)", re.MULTILINE | re.DOTALL)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    part = config.getoption("markexpr")
    if part not in (FAST, SLOW) or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text()
    if part == SLOW:
        return None if MARKED.search(text) else True
    wholly = WHOLLY.search(text)
    return True if wholly and MARKED.search(wholly[1]) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays to the end, so the collector need not look at it again and again, nor so often at what
    tests leave."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 20)
        gc.enable()


@pytest.fixture(autouse=True, scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs leave behind stays with the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Python's and numpy's generators from the same place in each test; tests with torch seed it themselves."""
    random.seed(0)
    np.random.seed(0)
