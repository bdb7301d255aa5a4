"""What a Gemini Live client puts into the conversation: realtime input, and contents with their turns and parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal, TypeAlias

from liveagent.errors import ProtocolError
from liveagent.event import MessageAdded
from liveagent.jsonform import check_json
from liveagent.wire.codec import Asked
from liveagent.wire.gemini_read import Fields, is_picture, read_picture, read_sound

Role: TypeAlias = Literal["user", "assistant", "system"]
ROLES: dict[str, Role] = {
    "": "user", "user": "user", "model": "assistant", "assistant": "assistant", "system": "system"
}  # fmt: skip


def read_turn(turn: Fields, t_ns: int) -> Iterator[Asked]:
    """The messages and pictures of one content, in order. Calls and results of an earlier conversation become a line of
    the system's, so that they are known. ProtocolError for parts that nobody here could look at."""
    role = ROLES.get(turn.text("role").lower())
    if role is None:
        raise ProtocolError(f'"{turn.text("role")[:40]}" is no role; it is user or model')
    said: list[str] = []
    for part in turn.each("parts"):
        blob = part.fields("inlineData")
        line = _line(part)
        if blob is not None or line:
            yield from _message(role, said, t_ns)
            said = []
        if blob is not None:
            yield read_picture(blob, live=False)
        elif line:
            yield MessageAdded(t_ns, "system", line)
        elif "fileData" in part:
            raise ProtocolError("files are not fetched from elsewhere; send inlineData")
        elif not part.flag("thought") and part.text("text"):
            said.append(part.text("text"))
    yield from _message(role, said, t_ns)


def _message(role: Role, said: list[str], t_ns: int) -> Iterator[Asked]:
    text = "\n".join(said)
    if text.strip():
        yield MessageAdded(t_ns, role, text)


def _line(part: Fields) -> str:
    if (call := part.fields("functionCall")) is not None:
        return f"called {call.text('name')} with {json.dumps(check_json(call.get('args') or {}, 'args'))}"
    if (result := part.fields("functionResponse")) is not None:
        return f"{result.text('name')} returned {json.dumps(check_json(result.get('response') or {}, 'response'))}"
    return ""


def read_media(realtime: Fields) -> Iterator[Asked]:
    """Sound and pictures of a `realtimeInput`: `audio`, `video`, and the older `mediaChunks` that hold either."""
    for blob in realtime.each("mediaChunks"):
        if is_picture(blob):
            yield read_picture(blob, live=True)
        else:
            yield from read_sound(blob)
    if (audio := realtime.fields("audio")) is not None:
        yield from read_sound(audio)
    if (video := realtime.fields("video")) is not None:
        yield read_picture(video, live=True)
