"""One response: from `response.created` to `response.done`, each exactly once, with nothing after it.

It is over when each of its outputs is, and no tool of the agent's own is still working for it. Such a tool is not shown
to a client, which could not run it: the response goes on with the reply that follows the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from liveagent.event import CacheChanged, ToolCalled
from liveagent.jsonform import Json
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.openai_out import Out
from liveagent.wire.openai_reply import Reply
from liveagent.wire.strict_json import write

Object = dict[str, Json]


@dataclass(slots=True)
class Wanted:
    """A response that a client has asked for and that has not begun. `lent`: settings ("tools", "voice") that were
    changed for it alone and are to be set back after it."""

    id: str
    metadata: dict[str, Json] | None
    spoken: bool
    max_output_tokens: Json
    asked_ns: int
    lent: frozenset[str] = frozenset()


@dataclass(slots=True)
class Response:
    """`expects`: a reply or a call is to follow. `working`: calls of the agent's own tools that it waits for."""

    id: str
    conversation_id: str
    output_format: str
    voice: Json
    spoken: bool
    metadata: dict[str, Json] | None = None
    max_output_tokens: Json = "inf"
    lent: frozenset[str] = frozenset()
    items: list[Item] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    working: list[str] = field(default_factory=list)
    memory: CacheChanged | None = None
    expects: bool = True
    done: bool = False

    def open(self, out: Out) -> None:
        out("response.created", response=self._object("in_progress", None, None))
        out("rate_limits.updated", rate_limits=[])

    def reply(self, reply: Reply, out: Out, conversation: Conversation) -> None:
        self.expects = False
        self.items.append(reply.item)
        self.replies.append(reply)
        reply.open(out, conversation)

    def call(self, called: ToolCalled, call_id: str, item: Item, out: Out, conversation: Conversation) -> None:
        """A call of a client's tool, on all three ways by which clients find out: the arguments, the item of the
        conversation, and the finished output with name, id and status."""
        self.expects = False
        index = len(self.items)
        self.items.append(item)
        arguments = write(dict(called.args))
        item.body["arguments"] = ""
        conversation.add(item)
        out("response.output_item.added", response_id=self.id, output_index=index, item=item.body)
        out.item("added", item, conversation)
        where: Object = {
            "response_id": self.id,
            "item_id": item.id,
            "output_index": index,
            "call_id": call_id,
        }
        out("response.function_call_arguments.delta", **where, delta=arguments)
        out("response.function_call_arguments.done", **where, name=called.name, arguments=arguments)
        item.body |= {"arguments": arguments, "status": "completed"}
        item.running = False
        conversation.weigh(item)
        out.item("done", item, conversation)
        out("response.output_item.done", response_id=self.id, output_index=index, item=item.body)

    @property
    def complete(self) -> bool:
        return not self.expects and not self.working and all(reply.closed for reply in self.replies)

    def finish(self, status: str, reason: str | None, out: Out, conversation: Conversation) -> None:
        """`status`: "completed", "cancelled" (`reason`: "turn_detected" or "client_cancelled") or "failed" (`reason`:
        a code)."""
        self.done = True
        for reply in self.replies:
            if not reply.closed:
                reply.close(out, conversation, complete=status == "completed")
        details: Object | None = None
        if status == "cancelled":
            details = {"type": "cancelled", "reason": reason}
        elif status == "failed":
            details = {"type": "failed", "error": {"type": "server_error", "code": reason}}
        out("response.done", response=self._object(status, details, self._usage()))

    def _object(self, status: str, details: Object | None, usage: Object | None) -> Object:
        format_: Object = {"type": self.output_format}
        if self.output_format == "audio/pcm":
            format_["rate"] = 24_000
        voice = self.voice.get("id") if isinstance(self.voice, dict) else self.voice
        return {
            "object": "realtime.response",
            "id": self.id,
            "conversation_id": self.conversation_id,
            "status": status,
            "status_details": details,
            "output": [item.body for item in self.items],
            "output_modalities": ["audio" if self.spoken else "text"],
            "max_output_tokens": self.max_output_tokens,
            "audio": {"output": {"format": format_, "voice": voice}},
            "usage": usage,
            "metadata": self.metadata,
        }

    def _usage(self) -> Object:
        """Tokens of the memory at the beginning, and of the words that were said: the voice makes sound of words, so
        there are no tokens of sound in what goes out."""
        used, kinds = (0, {}) if self.memory is None else (max(0, self.memory.used_tokens), self.memory.by_kind)
        sound = min(used, max(0, kinds.get("audio", 0)))
        pictures = min(used - sound, max(0, kinds.get("picture", 0)))
        said = sum(reply.tokens for reply in self.replies)
        return {
            "total_tokens": used + said,
            "input_tokens": used,
            "output_tokens": said,
            "input_token_details": {
                "text_tokens": used - sound - pictures,
                "audio_tokens": sound,
                "image_tokens": pictures,
                "cached_tokens": 0,
                "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": said, "audio_tokens": 0},
        }
