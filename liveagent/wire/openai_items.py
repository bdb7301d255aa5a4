"""The conversation as clients see it: items in order, and when each of them entered the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from liveagent.jsonform import Json
from liveagent.wire.openai_fields import Refused
from liveagent.wire.strict_json import write

Side: TypeAlias = Literal["user", "agent", "picture"]
Object = dict[str, Json]

MOST_ITEMS = 1_000
MOST_ITEM_BYTES = 512 * 1024
"""An item is told back in one message, and some clients take no more than a MiB."""
MOST_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Item:
    """One item. `body` is what clients are told, without media.

    since_ns, until_ns: between these times, both included, what it says entered the memory; None while that is not
    known. sides: as what. event_id: the client's event that created it. running: a response is still making it.
    deleted: before it was known when; it is to be forgotten once it is.
    """

    id: str
    body: Object
    since_ns: int | None = None
    until_ns: int | None = None
    sides: tuple[Side, ...] = ()
    event_id: str | None = None
    running: bool = False
    deleted: bool = False
    bytes: int = 0

    @property
    def kind(self) -> str:
        """ "user", "assistant", "system", "function_call" or "function_call_output"."""
        return str(self.body.get("role") or self.body["type"])


class Conversation:
    """Items in order, bounded in number and bytes: the oldest are forgotten here first."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._bytes = 0

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def __iter__(self) -> Iterator[Item]:
        return (self._items[each] for each in self._order)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, item_id: str) -> Item | None:
        return self._items.get(item_id)

    @property
    def last(self) -> str | None:
        return self._order[-1] if self._order else None

    def before(self, item_id: str) -> str | None:
        """The item in front of it; None at the head, or where it is not known any more."""
        if item_id not in self._items:
            return None
        at = self._order.index(item_id)
        return self._order[at - 1] if at else None

    def add(self, item: Item, after: str | None = None) -> None:
        """Behind the item `after`, at the head for "root", at the end for None. `Refused` for one that is unknown."""
        at = len(self._order)
        if after == "root":
            at = 0
        elif after is not None:
            if after not in self._items:
                raise Refused(
                    f"Error creating item: the previous item '{after[:80]}' does not exist.",
                    "item_create_invalid_previous_item_id",
                    "previous_item_id",
                )
            at = self._order.index(after) + 1
        self._items[item.id] = item
        self._order.insert(at, item.id)
        self.weigh(item)
        self._trim(item.id)

    def weigh(self, item: Item) -> None:
        """Its body has changed."""
        if item.id in self._items:
            size = len(write(item.body).encode())
            self._bytes += size - item.bytes
            item.bytes = size

    def remove(self, item_id: str) -> None:
        self._order.remove(item_id)
        self._bytes -= self._items.pop(item_id).bytes

    def _trim(self, newest: str) -> None:
        while len(self._order) > MOST_ITEMS or self._bytes > MOST_BYTES:
            oldest = next((each for each in self._order if each != newest and not self._items[each].running), None)
            if oldest is None:
                return
            self.remove(oldest)
