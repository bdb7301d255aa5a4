"""An espeak-ng that has said nothing yet: how it sounds depends on all that it said before, so in one process a test's
sound would depend on which tests came before it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest import mock

from liveagent.train.voices import Espeak


def new_espeak() -> Espeak:
    """From a copy of the library, whose state is its own."""
    import espeakng_loader

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(espeakng_loader.get_library_path(), folder))
        with mock.patch.object(espeakng_loader, "get_library_path", lambda: str(copy)):
            return Espeak()
