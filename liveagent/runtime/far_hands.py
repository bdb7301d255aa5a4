"""The hands of a session behind a link: the agent's own tools are called here, a peer's tools by the peer.

What a peer brings is the peer's to answer for: its calls pass no policy and no journal of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liveagent.action import CallTool, CallWatch, CancelCall, Halt, ReleaseCall
from liveagent.event import Inbox, ToolFailed
from liveagent.runtime.clearing import Terms
from liveagent.runtime.far_end import far_tools
from liveagent.runtime.hands import Hands
from liveagent.runtime.session import Session


class FarHands(Hands):
    """Calls this agent's own tools here; those that the peer brought are the peer's to run, within their deadline."""

    def __init__(
        self, session: Session, put: Callable[[Inbox], None], now_ns: Callable[[], int],
        terms: Terms | None = None,
    ) -> None:
        agent = session.agent
        super().__init__(agent.tools, put, now_ns, agent.watches, agent.policy, terms)
        self._session = session
        self._far: dict[str, asyncio.TimerHandle] = {}

    def obey(self, action: CallTool | ReleaseCall | CallWatch | CancelCall | Halt) -> None:
        if isinstance(action, CallTool) and action.name in far_tools(self._session.agent):
            if action.call_id not in self._far:
                late = asyncio.get_running_loop().call_later(
                    action.deadline_ms / 1000, self._late, action.call_id, action.deadline_ms
                )
                self._far[action.call_id] = late
            return
        super().obey(action)

    def returned(self, call_id: str) -> None:
        """The peer has answered a call."""
        if (timer := self._far.pop(call_id, None)) is not None:
            timer.cancel()

    def _late(self, call_id: str, deadline_ms: int) -> None:
        self._far.pop(call_id, None)
        self._put(ToolFailed(self._now_ns(), call_id, "deadline", f"no answer within {deadline_ms // 1000} s"))

    async def close(self) -> None:
        for timer in self._far.values():
            timer.cancel()
        self._far.clear()
        await super().close()
