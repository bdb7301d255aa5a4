"""Calls that are out, and what comes back for them.

Results are spoken of once for each answer that made calls: with the last of its results, not with every one.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from liveagent.errors import ProtocolError
from liveagent.event import AnswerStopped, MessageAdded, ToolFailed, ToolReturned
from liveagent.jsonform import Json, check_json
from liveagent.wire.codec import Asked
from liveagent.wire.gemini_read import Fields, is_picture, read_picture

MAX_OUT = 1_024
MAX_SETTLED = 4_096


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    turn: int
    shown: bool  # to the client, who is to run it


class Calls:
    """`lenient`: the client may have been given calls over a connection before this one."""

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self._out: OrderedDict[str, _Call] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._owed: set[int] = set()  # turns of which a result came that is to be spoken of

    def called(self, call_id: str, name: str, turn: int, shown: bool) -> bool:
        """A call goes out; False if it did already."""
        if call_id in self._out or call_id in self._settled:
            return False
        if len(self._out) >= MAX_OUT:
            self.settle(next(iter(self._out)))
        self._out[call_id] = _Call(name, turn, shown)
        return True

    def is_out(self, turn: int) -> bool:
        """Whether a call of that turn has not come back."""
        return any(call.turn == turn for call in self._out.values())

    def settle(self, call_id: str) -> tuple[int, bool] | None:
        """The call is over: its turn, and whether the client was to run it. None if it was not out."""
        call = self._out.pop(call_id, None)
        if call is None:
            return None
        self._settled[call_id] = None
        if len(self._settled) > MAX_SETTLED:
            self._settled.popitem(last=False)
        if not self.is_out(call.turn):
            self._owed.discard(call.turn)
        return call.turn, call.shown

    def returned(self, response: Fields, t_ns: int, speaking: bool) -> tuple[list[Asked], int | None]:
        """What one function response asks for; and the turn that is over by it, if nothing is to be said. A second
        response to a call does nothing. `speaking`: a reply is under way. ProtocolError for a call that never was."""
        call_id = self._named(response)
        call = self._out.get(call_id)
        if call is None and (call_id in self._settled or not self._lenient):
            if call_id in self._settled:
                return [], None
            raise ProtocolError(f'no call has the id "{call_id[:40]}"')
        asked: list[Asked] = [*_pictures(response)]
        failure, result = _outcome(response)
        if response.flag("willContinue"):
            asked.append(MessageAdded(t_ns, "system", f"{response.text('name')} so far: {json.dumps(result)}"))
            return asked, None
        scheduling = response.text("scheduling").upper()
        wanted = scheduling != "SILENT"
        answer = wanted
        if call is not None:
            owed = wanted or call.turn in self._owed
            self.settle(call_id)
            last = not self.is_out(call.turn)
            answer = owed and last
            if owed and not last:
                self._owed.add(call.turn)
        if scheduling == "INTERRUPT" and speaking and answer:
            asked.append(AnswerStopped(t_ns, "tool_result"))
        if failure is not None:
            asked.append(ToolFailed(t_ns, call_id, "error", failure, answer))
        else:
            asked.append(ToolReturned(t_ns, call_id, result, answer))
        over = call is not None and not answer and not self.is_out(call.turn)
        return asked, call.turn if call is not None and over else None

    def _named(self, response: Fields) -> str:
        """The call's id; where a client leaves it out, the oldest call of that name."""
        if call_id := response.text("id"):
            return call_id
        name = response.text("name")
        for call_id, call in self._out.items():
            if call.shown and call.name == name:
                return call_id
        raise ProtocolError("a function response needs the id of its call")


def _outcome(response: Fields) -> tuple[str | None, Json]:
    """Why it failed, if it did, and the result itself where it is wrapped as clients wrap it: `{"output": …}`, or
    `{"result": …}` alone."""
    body = response.fields("response")
    if body is None:
        return None, {}
    check_json(body.raw, "response")
    error = body.raw.get("error")
    if error is not None and error is not False and error != "":
        return (error if isinstance(error, str) else json.dumps(error)), None
    if "output" in body.raw:
        return None, body.raw["output"]
    return None, body.raw["result"] if [*body.raw] == ["result"] else body.raw


def _pictures(response: Fields) -> Iterator[Asked]:
    for part in response.each("parts"):
        blob = part.fields("inlineData")
        if blob is not None and is_picture(blob):
            yield read_picture(blob, live=False)
