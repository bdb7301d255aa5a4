"""A real server on a free port of the loopback, for tests: uvicorn, the engine's child, and clients of both kinds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from liveagent.agent import Agent
from liveagent.nn.model import EYE_FILE
from liveagent.ports.webserver import App, WebServer
from liveagent.runtime import admission
from liveagent.runtime.server import Server
from liveagent.tools import home
from tests.nano import PIECES, random_nano

WAIT_S = 60.0


def write_weights(folder: Path) -> Path:
    """A folder of small random weights, as a release would hold them."""
    nano = random_nano()
    assert nano.eye is not None
    nano.ear.save(folder / "ear.safetensors")
    nano.decoder.save(folder / "decoder.safetensors", nano.pieces.hash)
    nano.eye.save(folder / EYE_FILE)
    (folder / "pieces.json").write_bytes(PIECES.read_bytes())
    return folder


def small_agent(weights: Path, **more: Any) -> Agent:
    return Agent(str(weights), tools=[home.light], voice=None, **more)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """A server that runs in a thread with a loop of its own, so that one serves many tests."""

    def __init__(self, server: Server, app: App | None = None, certificate: tuple[Path, Path] | None = None) -> None:
        self.server = server
        self.web = WebServer(app or server, certificate=certificate)
        self.web.bind()
        self.port = self.web.port
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            async with self.server.lifespan():
                running = asyncio.create_task(self.web.run())
                self._ready.set()
                await self._stop.wait()
                self.web.stop()
                await running
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def __enter__(self) -> Site:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    async def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Something done inside the server's loop."""
        assert self._loop is not None
        done = asyncio.run_coroutine_threadsafe(work(), self._loop)
        return await asyncio.wait_for(asyncio.wrap_future(done), WAIT_S)

    # --- clients

    async def http(
        self, path: str, method: str = "GET", body: bytes = b"", *, ssl: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, written by hand: nothing is tidied up on the way."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=ssl)
        given = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", "Content-Length": str(len(body))}
        given |= headers or {}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in given.items())
        writer.write(head.encode() + b"\r\n" + body)
        raw = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
        top, _, rest = raw.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        found = dict(line.split(": ", 1) for line in lines[1:])
        return Answer(int(lines[0].split()[1]), {name.lower(): value for name, value in found.items()}, rest)

    def connect(self, path: str = "/live", scheme: str = "ws", **more: Any) -> Any:
        more.setdefault("subprotocols", ["liveagent.v1"] if path.endswith("live") else None)
        more.setdefault("max_queue", None)  # a client that reads, so that it answers pings
        return websockets.connect(f"{scheme}://127.0.0.1:{self.port}{path}", max_size=1 << 24, **more)

    @asynccontextmanager
    async def talk(
        self, resume: Mapping[str, Any] | None = None, path: str = "/live", **more: Any
    ) -> AsyncIterator[Talk]:
        async with self.connect(path, **more) as socket:
            talk = Talk(socket)
            hello = {"type": "hello", "v": 1, "speak": False}
            await talk.say({**hello, "resume": resume} if resume else hello)
            yield talk


class Talk:
    """The native protocol's client side."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.welcome: dict[str, Any] = {}
        self.told: list[dict[str, Any]] = []
        self.seq = 0

    async def say(self, message: Mapping[str, Any]) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self) -> dict[str, Any]:
        while True:
            message = await asyncio.wait_for(self.socket.recv(), WAIT_S)
            if isinstance(message, str):
                break
        said: dict[str, Any] = json.loads(message)
        self.seq = said.get("seq", self.seq)
        self.told.append(said)
        if said.get("type") == "welcome":
            self.welcome = said
        return said

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message, or event, of this kind with these fields."""
        while True:
            said = await self.next()
            inner = said.get("e", said)
            if inner.get("type") == kind and all(inner.get(name) == value for name, value in fields.items()):
                return inner

    async def greeted(self) -> dict[str, Any]:
        return await self.until("welcome")

    @property
    def ticket(self) -> dict[str, Any]:
        """What to resume with."""
        return {"session": self.welcome["session"], "secret": self.welcome["secret"], "seq": self.seq}

    async def cut(self) -> None:
        """Lose the connection without a goodbye."""
        transport = self.socket.transport
        transport.abort()
        with contextlib.suppress(websockets.ConnectionClosed, OSError):
            await self.socket.wait_closed()


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something holds; the limit is for hangs."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 (it is about another thread's state)
            await asyncio.sleep(0.02)


@contextmanager
def serving(server: Server, app: App | None = None, certificate: tuple[Path, Path] | None = None) -> Iterator[Site]:
    """However slow this machine is just now, it is at no moment too busy for one more; not between two tests either,
    since a server that was full stays so for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "FULL", 1e9)
        with Site(server, app, certificate) as site:
            yield site
