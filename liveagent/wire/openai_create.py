"""`conversation.item.create`: an item that a client adds, and what the conversation is asked for it.

A picture goes on to the host and is never told back: it would be megabytes in a message that clients cap at one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from liveagent.event import MessageAdded, TalkPressed, TalkReleased, ToolReturned
from liveagent.jsonform import Json
from liveagent.wire.codec import Asked, Picture, Sound
from liveagent.wire.openai_fields import Fields, Refused, decoded
from liveagent.wire.openai_items import MOST_ITEM_BYTES, Item, Side
from liveagent.wire.openai_sound import Ear
from liveagent.wire.strict_json import write

Object = dict[str, Json]

MOST_PICTURE_BYTES = 8 * 1024 * 1024
MOST_PARTS = 32
MOST_SOUND_S = 120
MOST_ID = 128
_MAGIC = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "image/webp": b"RIFF"}


@dataclass(slots=True)
class Created:
    """A new item and what is asked for it, in order. `samples`: of sound in it, whose words come later.
    `output_of`: it is what the call of this id returned; `calls`: it is the call of this id, from an older session."""

    item: Item
    asks: list[Asked] = field(default_factory=list)
    samples: int = 0
    output_of: str | None = None
    calls: str | None = None

    @property
    def heard(self) -> bool:
        return self.samples > 0


def read_item(item: Fields, item_id: str, t_ns: int, input_format: str, sees: bool) -> Created:
    """The item of a client's message, under the id that stands for it. Raises `Refused`."""
    kind = item.choice("type", ("message", "function_call", "function_call_output"))
    if kind == "message":
        made = _message(item, item_id, t_ns, input_format, sees)
    else:
        made = _call(item, item_id, t_ns) if kind == "function_call" else _output(item, item_id, t_ns)
    if len(write(made.item.body).encode()) > MOST_ITEM_BYTES:
        raise Refused(f"The item is longer than {MOST_ITEM_BYTES} bytes.", "string_above_max_length", item.where)
    return made


def _message(item: Fields, item_id: str, t_ns: int, input_format: str, sees: bool) -> Created:
    role = item.choice("role", ("user", "assistant", "system"))
    content: list[Json] = []
    body: Object = {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "role": role,
        "status": "completed",
        "content": content,
    }
    made = Created(Item(item_id, body, t_ns, t_ns))
    sides: list[Side] = []
    for part in item.objects("content", MOST_PARTS):
        side = _part(part, role, made, t_ns, input_format, sees)
        sides += [] if side is None or side in sides else [side]
    made.item.sides = tuple(sides)
    return made


def _part(part: Fields, role: str, made: Created, t_ns: int, input_format: str, sees: bool) -> Side | None:
    """One part of a message's content. As what it enters the memory, if it does."""
    known = {
        "user": ("input_text", "input_audio", "input_image", "text"),
        "assistant": ("output_text", "output_audio", "text", "audio"),
        "system": ("input_text", "text"),
    }[role]
    kind = part.choice("type", known)
    content = made.item.body["content"]
    assert isinstance(content, list)
    if kind == "input_image":
        if not sees:
            raise Refused("This model has no eyes: it cannot be shown pictures.", "invalid_value", part.path("type"))
        detail: Object = {"detail": part.choice("detail", ("auto", "low", "high"))} if part.given("detail") else {}
        made.asks.append(_picture(part, made.item.id))
        content.append({"type": "input_image", **detail})
        return "picture"
    if kind == "input_audio":
        text = part.text("transcript", MOST_ITEM_BYTES, "")
        content.append({"type": "input_audio", "transcript": text or None})
        if not text:
            _sound(part, made, t_ns, input_format)
            return "user"
    elif kind in ("output_audio", "audio"):
        text = part.text("transcript", MOST_ITEM_BYTES, "")
        content.append({"type": "output_audio", "transcript": text})
    else:
        text = part.text("text", MOST_ITEM_BYTES)
        content.append({"type": "output_text" if role == "assistant" else "input_text", "text": text})
    if not text.strip():
        return None
    if role == "assistant":
        made.asks.append(MessageAdded(t_ns, "assistant", text))
        return "agent"
    made.asks.append(MessageAdded(t_ns, "system" if role == "system" else "user", text))
    return "user"


def _picture(part: Fields, item_id: str) -> Picture:
    url = part.text("image_url", MOST_PICTURE_BYTES * 4 // 3 + 256)
    where = part.path("image_url")
    head, comma, data = url.partition(",")
    kind = head.removeprefix("data:").removesuffix(";base64").lower()
    kind = "image/jpeg" if kind == "image/jpg" else kind
    if not head.startswith("data:") or not head.endswith(";base64") or not comma or kind not in _MAGIC:
        raise Refused(
            f"Invalid '{where}': a data URL of a JPEG, PNG or WebP is needed ('data:image/jpeg;base64,…').",
            "invalid_value",
            where,
        )
    picture = decoded(data, where)
    if len(picture) > MOST_PICTURE_BYTES:
        raise Refused(f"The picture is longer than {MOST_PICTURE_BYTES} bytes.", "image_too_large", where)
    if not picture.startswith(_MAGIC[kind]):
        raise Refused(f"Invalid '{where}': that is no {kind}.", "invalid_value", where)
    return Picture(picture, kind, live=False, ref=item_id)


def _sound(part: Fields, made: Created, t_ns: int, input_format: str) -> None:
    """Sound inside an item is said between a press and a release, as if a key had been held for it."""
    if made.heard:
        raise Refused("An item holds sound once.", "invalid_value", part.path("audio"))
    ear = Ear(input_format)
    pcm = ear.feed(part.base64("audio", 16 * 1024 * 1024))
    if len(pcm) > MOST_SOUND_S * ear.rate_hz:
        raise Refused(f"The sound is longer than {MOST_SOUND_S} s.", "invalid_value", part.path("audio"))
    if not len(pcm):
        raise Refused("The sound is empty.", "invalid_value", part.path("audio"))
    made.samples = len(pcm)
    made.asks += [TalkPressed(t_ns), Sound(np.ascontiguousarray(pcm), ear.rate_hz), TalkReleased(t_ns)]


def _call(item: Fields, item_id: str, t_ns: int) -> Created:
    """A call from a conversation that went before: it is known, and not made again."""
    call_id = item.text("call_id", 256, item_id, least=1)
    body: Object = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": "completed",
        "call_id": call_id,
        "name": item.text("name", 128, least=1),
        "arguments": item.text("arguments", MOST_ITEM_BYTES, "{}"),
    }
    return Created(Item(item_id, body, t_ns, t_ns), calls=call_id)


def _output(item: Fields, item_id: str, t_ns: int) -> Created:
    call_id = item.text("call_id", 256, least=1)
    output = item.text("output", MOST_ITEM_BYTES)
    body: Object = {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call_output",
        "status": "completed",
        "call_id": call_id,
        "output": output,
    }
    return Created(
        Item(item_id, body, t_ns, t_ns, ("user",)),
        [ToolReturned(t_ns, call_id, output, answer=False)],
        output_of=call_id,
    )
