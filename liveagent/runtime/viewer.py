"""Whoever looks on at a session must not end it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from liveagent.action import Action
from liveagent.errors import LiveAgentError
from liveagent.event import Event

log = logging.getLogger(__name__)

FAULTS = 10
"""So many in a row, and it is told nothing more."""


class Viewer:
    """Hands events and actions to `view`. What it cannot show is left out, and logged by kind, without its words.

    Errors of the terminal itself (OSError: it is gone) and typed errors pass: they are how a session ends.
    """

    def __init__(self, view: Callable[[Event | Action], None]) -> None:
        self._view = view
        self._faults = 0

    def __call__(self, item: Event | Action) -> None:
        if self._faults >= FAULTS:
            return
        try:
            self._view(item)
            self._faults = 0
        except (OSError, LiveAgentError):
            raise
        except Exception as error:
            self._faults += 1
            log.warning("cannot show a %s: %s", type(item).__name__, type(error).__name__)
            if self._faults == FAULTS:
                log.warning("the view failed %d times in a row; the session goes on unseen", FAULTS)
