"""`Link`: one websocket, as ASGI gives it, with deadlines; and the two pumps between it and a conversation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from liveagent.runtime.scope import Receive, Scope, Send
from liveagent.wire.codec import Frame

if TYPE_CHECKING:
    from liveagent.runtime.conversation import Conversation
    from liveagent.runtime.request import Refused

Ending: TypeAlias = Literal["left", "closed", "slow"]

SEND_S = 5.0
"""A peer that has not taken a frame after this is too slow, and is let go."""
WATCH_S = 0.5
GOODBYE_S = 2.0
TOO_SLOW = 1013
MOST_REASON_BYTES = 120


class Link:
    """Nothing here raises because of the peer: one that is gone reads as None and takes nothing more."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._open = False
        self.gone = False
        self._heard_out = False
        self.slow = False
        """It was let go because it did not take what it was sent."""
        self._pushed_s: float | None = None
        self.code = 0
        """With which the peer closed it; 1000 is a goodbye, everything else may be a mishap."""

    async def begin(self) -> None:
        """Take the request in; before anything else."""
        await self._receive()

    async def accept(self, subprotocol: str | None = None) -> None:
        await self._put({"type": "websocket.accept", "subprotocol": subprotocol, "headers": []})
        self._open = not self.gone

    async def refuse(self, why: Refused) -> None:
        """Say no before there is a connection, with an HTTP status where the server can."""
        if self._open:
            await self.close(1013 if why.status == 503 else 1008, str(why))
            return
        if "websocket.http.response" not in self._scope.get("extensions", {}):
            await self._put({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        if why.retry_s is not None:
            headers.append((b"retry-after", str(why.retry_s).encode()))
        await self._put({"type": "websocket.http.response.start", "status": why.status, "headers": headers})
        await self._put({"type": "websocket.http.response.body", "body": f"{why}\n".encode()})

    async def fail(self) -> None:
        """Something of ours went wrong."""
        if self._open:
            await self.close(1011, "a fault of the server's own")
        else:
            await self._put({"type": "websocket.close", "code": 1011, "reason": ""})

    async def read(self) -> Frame | None:
        """The next message; None once the peer is gone and all it had sent is read, its closing code last."""
        if self._heard_out or self.slow:
            return None
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self.gone = self._heard_out = True
            self.code = message.get("code") or 0
            return None
        text, data = message.get("text"), message.get("bytes")
        return text if text is not None else data or b""

    async def write(self, frame: Frame) -> bool:
        """False when the peer did not take it in time, or is gone."""
        kind = "text" if isinstance(frame, str) else "bytes"
        return await self._put({"type": "websocket.send", kind: frame})

    async def push(self, frame: Frame) -> bool:
        """As `write`, but whoever pushes watches `pushing_s` by itself: a deadline of its own for each frame of sound
        would cost a tenth of the frame."""
        if self.gone:
            return False
        kind = "text" if isinstance(frame, str) else "bytes"
        self._pushed_s = asyncio.get_running_loop().time()
        try:
            await self._send({"type": "websocket.send", kind: frame})
        except Exception:  # as in `_put`
            self.gone = True
            return False
        finally:
            self._pushed_s = None
        return True

    @property
    def pushing_s(self) -> float:
        """For how long a push has been waiting for the peer."""
        return 0.0 if self._pushed_s is None else asyncio.get_running_loop().time() - self._pushed_s

    async def close(self, code: int, reason: str = "") -> None:
        if not self.gone:
            said = reason.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
            await self._put({"type": "websocket.close", "code": code, "reason": said})
            self.gone = True

    async def _put(self, message: MutableMapping[str, Any]) -> bool:
        if self.gone:
            return False
        try:
            async with asyncio.timeout(SEND_S):
                await self._send(message)
        except TimeoutError:
            self.gone = self.slow = True
            return False
        except Exception:  # each server has an error of its own for a peer that has gone
            self.gone = True
            return False
        return True


async def pump(link: Link, conversation: Conversation) -> Ending:
    """Until one of the two has enough. The conversation lives on."""

    async def inward() -> Ending:
        while (frame := await link.read()) is not None:
            await conversation.receive(frame)
            if conversation.closing is not None:
                await asyncio.Event().wait()  # what is still to be said is said by the other
        return "left"

    async def outward() -> Ending:
        while True:
            frames = await conversation.outgoing()
            for frame in frames:
                if not await link.push(frame):
                    await asyncio.sleep(GOODBYE_S)  # what it closed with comes in by the other way
                    return "left"
            if (closing := conversation.closing) is not None:
                await link.close(*closing)
                return "slow" if closing[0] == TOO_SLOW else "closed"
            if not frames:
                await link.close(1000, "the conversation has ended")
                return "closed"

    async def watch() -> Ending:
        while link.pushing_s <= SEND_S:  # noqa: ASYNC110 (time is all that it waits for)
            await asyncio.sleep(WATCH_S)
        link.gone = link.slow = True
        return "slow"

    tasks = [asyncio.create_task(each()) for each in (inward, outward, watch)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(iter(done)).result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
