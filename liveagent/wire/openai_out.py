"""Server events on their way out: each with an id of its own, in order."""

from __future__ import annotations

from liveagent.jsonform import Json
from liveagent.wire.codec import Ids
from liveagent.wire.openai_items import Conversation, Item
from liveagent.wire.strict_json import write

MOST_MESSAGE = 400
FATAL_CODES = ("insufficient_quota", "invalid_api_key")
"""Clients that are told one of these stop for good; nothing here deserves it."""


class Out:
    """What is to be sent. `event_id` is on every event and never null: clients drop an event without it."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._frames: list[str] = []

    def __call__(self, type_: str, **fields: Json) -> None:
        self._frames.append(write({"type": type_, "event_id": self._ids("event"), **fields}))

    def error(
        self,
        message: str,
        code: str | None,
        param: str | None = None,
        event_id: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """The connection stays open. `event_id`: the client's own, of what it sent."""
        if code in FATAL_CODES:
            code = "server_error"
        body: dict[str, Json] = {"type": kind, "code": code, "message": message[:MOST_MESSAGE]}
        self("error", error={**body, "param": param, "event_id": event_id})

    def item(self, event: str, item: Item, conversation: Conversation) -> None:
        """`conversation.item.added` or `.done`, with the item's true predecessor."""
        self(f"conversation.item.{event}", previous_item_id=conversation.before(item.id), item=item.body)

    def take(self) -> list[str]:
        frames, self._frames = self._frames, []
        return frames
