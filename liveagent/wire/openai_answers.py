"""The agent's answers as responses: which one is open, what belongs to it, and what came too late.

A session's answer begins with `AnswerStarted` and goes on with a reply or a call. What a client has cancelled is over
for it at once; whatever the conversation still does for that answer is not shown until the next one begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from liveagent.action import Say
from liveagent.event import AnswerStarted, CacheChanged, Interrupted, ReplyEnded, ReplyStarted, ToolCalled, Voiced
from liveagent.jsonform import Json
from liveagent.wire.codec import Spoken
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.openai_out import Out
from liveagent.wire.openai_reply import Reply
from liveagent.wire.openai_response import Response, Wanted
from liveagent.wire.openai_session import Settings
from liveagent.wire.openai_sound import Mouth

Reason = Literal["turn_detected", "client_cancelled"]

MOST_REPLIES = 256
MOST_CALLS = 512
MOST_EARLY = 64
MOST_CALL_ID = 32
WAIT_NS = 30_000_000_000
"""So long a response that was asked for may take to begin."""


class Answers:
    """All responses of a session. `settings` is what the client has set by now; `new_id` makes ids of a kind."""

    def __init__(
        self, out: Out, conversation: Conversation, settings: Callable[[], Settings], new_id: Callable[[str], str]
    ) -> None:
        self._out, self._conversation, self._settings, self._new_id = out, conversation, settings, new_id
        self._conversation_id = new_id("conv")
        self.response: Response | None = None
        self.wanted: Wanted | None = None
        self.lent: set[str] = set()
        """Settings ("tools", "voice") that were changed for one response and are to be set back."""
        self.calls: dict[str, str] = {}
        """The conversation's id of each call that a client was told of, by the client's."""
        self._replies: dict[int, Reply] = {}
        self._early: deque[Say] = deque(maxlen=MOST_EARLY)
        self._muted = False
        self._memory: CacheChanged | None = None

    @property
    def active(self) -> bool:
        """A response is open, or asked for."""
        return self.response is not None or self.wanted is not None

    @property
    def sounding(self) -> bool:
        """A reply may be playing at the client."""
        return any(not reply.ended for reply in self._replies.values())

    def reply(self, utterance: int) -> Reply | None:
        return self._replies.get(utterance)

    def reply_of(self, item_id: str) -> Reply | None:
        return next((each for each in self._replies.values() if each.item.id == item_id), None)

    def remember(self, memory: CacheChanged) -> None:
        self._memory = memory

    # ---- beginning

    def started(self, event: AnswerStarted) -> None:
        """An answer begins: a response of its own, or, after a result, the rest of the open one."""
        if event.why == "asked":
            wanted, ours = self.wanted, self.wanted is not None and event.ref in ("", self.wanted.id)
            if not ours:  # it was cancelled before it began
                self._abandon()
                self._muted = True
                return
            self._abandon()
            self.wanted = None
            self._open(wanted)
        elif event.why == "result" and self.response is not None:
            if self.response.working:
                self.response.working.pop(0)
            self.response.expects = True
        else:
            self._abandon()
            self._open(None)

    def _open(self, wanted: Wanted | None) -> Response:
        settings = self._settings()
        response = Response(
            self._new_id("resp") if wanted is None else wanted.id,
            self._conversation_id,
            settings.output_format,
            settings.voice,
            settings.spoken if wanted is None else wanted.spoken,
            memory=self._memory,
            max_output_tokens=settings.max_output_tokens,
        )
        if wanted is not None:
            response.metadata, response.lent = wanted.metadata, wanted.lent
            response.max_output_tokens = wanted.max_output_tokens
        self.response, self._muted = response, False
        response.open(self._out)
        return response

    def _abandon(self) -> None:
        """Another answer begins, so nothing more of the open one will come."""
        response = self.response
        if response is None:
            return
        said = response.items and not response.working and not response.expects
        if said and all(reply.complete for reply in response.replies):
            self._finish("completed")
        else:
            self._finish("cancelled", "turn_detected")

    # ---- going on

    def reply_started(self, event: ReplyStarted, starts: int) -> None:
        if self._muted or event.utterance in self._replies:
            return
        response = self.response or self._open(None)
        settings = self._settings()
        item_id = self._new_id("item")
        body: dict[str, Json] = {
            "id": item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        item = Item(item_id, body, event.t_ns, event.t_ns, ("agent",), running=True)
        mouth = Mouth(settings.output_format) if response.spoken else None
        reply = Reply(item, event.utterance, response.id, len(response.items), mouth, starts)
        self._replies[event.utterance] = reply
        response.reply(reply, self._out, self._conversation)
        early = [say for say in self._early if say.utterance == event.utterance]
        self._early = deque((say for say in self._early if say.utterance != event.utterance), MOST_EARLY)
        for say in early:
            self.say(say)
        while len(self._replies) > MOST_REPLIES:
            oldest = next((number for number, each in self._replies.items() if each.closed), None)
            if oldest is None:
                return
            del self._replies[oldest]

    def say(self, say: Say) -> None:
        reply = self._replies.get(say.utterance)
        if reply is None:
            self._early.append(say)  # perhaps of a reply that begins in this very moment
            return
        reply.say(say, self._out)
        self._close(reply)

    def spoken(self, spoken: Spoken) -> None:
        reply = self._replies.get(spoken.utterance)
        if reply is not None:
            reply.sound(spoken, self._out)
            self._close(reply)

    def voiced(self, voiced: Voiced) -> None:
        reply = self._replies.get(voiced.utterance)
        if reply is not None:
            reply.mark(voiced)

    def called(self, event: ToolCalled, far: bool) -> None:
        """`far`: the tool is the client's, and the client is to run it."""
        if self._muted:
            return
        response = self.response or self._open(None)
        if not far:
            response.expects = False
            response.working.append(event.call_id)
            return
        call_id = event.call_id
        if not 0 < len(call_id) <= MOST_CALL_ID or call_id in self.calls:
            call_id = self._new_id("call")
        self.calls[call_id] = event.call_id
        if len(self.calls) > MOST_CALLS:
            del self.calls[next(iter(self.calls))]
        item_id = self._new_id("item")
        body: dict[str, Json] = {
            "id": item_id,
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": event.name,
        }
        item = Item(item_id, body, event.t_ns, event.t_ns, ("agent",), running=True)
        response.call(event, call_id, item, self._out, self._conversation)
        self._mind_end()

    # ---- ending

    def call_dropped(self, call_id: str) -> None:
        """A call of an own tool will come to nothing."""
        response = self.response
        if response is not None and call_id in response.working:
            response.working.remove(call_id)
            if not response.working and not response.items:
                self._finish("cancelled", "turn_detected")
            else:
                self._mind_end()

    def taken_back(self, reply: Reply, reason: Reason) -> None:
        """The rest of a reply will not be heard."""
        reply.taken = True
        if not reply.closed:
            self._finish("cancelled", reason)

    def interrupted(self, event: Interrupted) -> None:
        reply = self._replies.get(event.utterance)
        if reply is not None:
            reply.ended = True
            reply.heard(len(event.heard))

    def reply_ended(self, event: ReplyEnded) -> None:
        reply = self._replies.get(event.utterance)
        if reply is None:
            return
        reply.ended = True
        if reply.closed:
            return
        if event.complete:
            reply.said = True
            self._close(reply, always=True)
        else:
            self._finish("cancelled", "turn_detected")

    def cancel(self, response_id: str | None) -> bool:
        """What a client wants no more. False: there is no such response."""
        open_id = self.response.id if self.response is not None else self.wanted.id if self.wanted is not None else None
        if open_id is None or (response_id is not None and response_id != open_id):
            return False
        if self.response is None:
            self._open_wanted()
        assert self.response is not None
        for reply in self.response.replies:
            reply.taken = True
        self._finish("cancelled", "client_cancelled")
        self._muted = True
        return True

    def fail(self, code: str, response_id: str | None = None) -> bool:
        """The open response, or the one asked for, comes to nothing. False: there is none (of that id)."""
        wanted, response = self.wanted, self.response
        if wanted is not None and response_id in (None, wanted.id) and response is None:
            self._open_wanted()
        elif response is None or response_id not in (None, response.id):
            return False
        self._finish("failed", code)
        self._muted = True
        return True

    def mind(self, t_ns: int) -> None:
        """A response that was asked for does not wait for ever."""
        if self.wanted is not None and self.response is None and t_ns - self.wanted.asked_ns > WAIT_NS:
            self.fail("server_error", self.wanted.id)

    def _open_wanted(self) -> None:
        wanted, self.wanted = self.wanted, None
        self._open(wanted)

    def _close(self, reply: Reply, always: bool = False) -> None:
        if not reply.closed and (reply.complete or always):
            reply.close(self._out, self._conversation, complete=True)
        self._mind_end()

    def _mind_end(self) -> None:
        if self.response is not None and self.response.complete:
            self._finish("completed")

    def _finish(self, status: str, reason: str | None = None) -> None:
        response, self.response = self.response, None
        if response is not None:
            self.lent |= response.lent
            response.finish(status, reason, self._out, self._conversation)
