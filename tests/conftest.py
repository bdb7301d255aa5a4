"""What holds for every test: threads that do not fight over two cores, and seeds."""

from __future__ import annotations

import os

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


@pytest.fixture(autouse=True, scope="session")
def state_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs leave behind stays with the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Python's and numpy's generators from the same place in each test; tests with torch seed it themselves."""
    random.seed(0)
    np.random.seed(0)
