"""`Transaction`: one tool call on its way from a decision to an end, and what may follow what. Pure.

    decided ─► held ─► confirming ─► journalled ─► released ─► accepted ─► done | failed | expired | asked
       └─────────┴──────────┴────────────┴─► refused | expired | taken_back

Up to `journalled` nothing has left, so whatever goes wrong there is no question of what was done. From `released` on
something may have been: a call of which nobody can say how it ended is `asked` about, and never sent again (LAW 6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from liveagent.errors import ProtocolError
from liveagent.event import DecidedBy
from liveagent.jsonform import Json
from liveagent.policy import Risk, digest_of

State: TypeAlias = Literal[
    "decided", "held", "confirming", "journalled", "released", "accepted",
    "done", "failed", "refused", "expired", "taken_back", "asked",
]  # fmt: skip
"""held: in the window in which whoever speaks on takes it back. confirming: a person is asked. asked: its outcome is
not known, and the user is asked about it."""

ENDS: frozenset[State] = frozenset({"done", "failed", "refused", "expired", "taken_back", "asked"})
FOLLOWS: Mapping[State, tuple[State, ...]] = {
    "decided": ("held", "confirming", "journalled", "refused", "expired", "taken_back"),
    "held": ("confirming", "journalled", "refused", "expired", "taken_back"),
    "confirming": ("journalled", "refused", "expired", "taken_back"),
    "journalled": ("released", "refused", "expired", "taken_back"),
    "released": ("accepted", "done", "failed", "expired", "asked"),
    "accepted": ("done", "failed", "expired", "asked"),
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """`key`: the same for every try of this call, and of no other. `branch`: the utterance behind which it was decided.
    `heard_ns`: from when to when what it was decided on was heard or typed, `seen_ns`: when the newest picture was
    taken, both on the session's clock. `confirmed_by`: "button", "key", "phone", or "". `reason`: why it ended as it
    did, as a code."""

    key: str
    session: str
    call_id: str
    name: str
    args: Mapping[str, Json] = field(default_factory=dict)
    risk: Risk = "reversible"
    by: DecidedBy = "model"
    branch: int = 0
    deadline_ms: int = 10_000
    decided_ns: int = 0
    heard_ns: tuple[int, ...] = ()
    seen_ns: int | None = None
    confirmed_by: str = ""
    state: State = "decided"
    reason: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDS

    def to(self, state: State, reason: str = "") -> Transaction:
        """The same call, one step on. ProtocolError for a step that there is not, which is a fault of the caller's."""
        if state not in FOLLOWS.get(self.state, ()):
            raise ProtocolError(f"a call that is {self.state} cannot become {state}")
        return replace(self, state=state, reason=reason)


def key_of(session: str, call_id: str, name: str, args: Mapping[str, Json]) -> str:
    """Names one call among all calls of all sessions."""
    return hashlib.sha256(f"{session}\n{call_id}\n{digest_of(name, args)}".encode()).hexdigest()[:32]


def after_a_crash(state: State) -> State:
    """What a call is that was left in `state` by a process that is gone: what was not released was never sent, and is
    not sent any more; what was released may have been done, and is asked about."""
    if state in ENDS:
        return state
    return "asked" if state in ("released", "accepted") else "expired"
