"""A peer for the web page: serves `clients/web` on 127.0.0.1 and plays scenes through the real `NativeCodec`.

Its conversation is scripted, its voice is a tone for each word; what was heard is counted by the real `Playback` from
what the page reports. `python -m tests.page_peer` serves a conversation to look at, until it is interrupted.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import mimetypes
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from liveagent import action as act
from liveagent import event as ev
from liveagent.errors import ProtocolError
from liveagent.ledger import KINDS, Span
from liveagent.playback import Playback
from liveagent.wire.codec import Memory, Patches, Picture, Sound, Spoken, Told, Welcome
from liveagent.wire.native import Hello, NativeCodec, loading, read_hello

PAGE = Path(__file__).resolve().parent.parent / "clients" / "web"
POLICY = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
WORD_SAMPLES = 4800
PHRASES = (
    "turn on the kitchen light", "what is on the table", "where is the red ball", "set a timer for two minutes",
    "tell me when a red ball appears", "how many things are there", "pick up the cup",
)  # fmt: skip
T = TypeVar("T")


class Peer:
    """`with Peer() as peer:` serves at `peer.url` in a thread of its own. Everything that is told runs there.

    mode: "open"; "loading" (weights are read, and never end); "busy" (503); "down" (closes at once); "gone" (nothing
    can be resumed). key: what must be brought, or "". asked: whatever the page asked, but sound and pictures, which are
    in `sounds` and `pictures`. welcome: more of what is said of the agent.
    """

    def __init__(self, mode: str = "open", key: str = "", auto: bool = False, **welcome: Any) -> None:
        self.mode, self.key, self.auto = mode, key, auto
        self.asked: list[Any] = []
        self.sounds: list[Sound] = []
        self.pictures: list[Picture] = []
        self.hellos: list[Hello] = []
        self.requests: list[str] = []
        self.port = 0
        self._welcome = Welcome(
            "session_1", "nano", "Be brief.", phrases=PHRASES, handle="secret_1", extra={"recording": False}, **welcome
        )
        self._codec: NativeCodec | None = None
        self._socket: ServerConnection | None = None
        self._began = time.monotonic_ns()
        self._utterance = 0
        self._playback: Playback | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Server | None = None
        self._connections = 0

    # ---- from the test's thread

    def __enter__(self) -> Peer:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def t_ns(self) -> int:
        return time.monotonic_ns() - self._began + 60_000_000_000

    def tell(self, *items: Told) -> None:
        """The session tells these."""
        self.do(lambda: self._tell_all(items))

    def do(self, what: Callable[[], T]) -> T:
        """Run something in the peer's thread."""

        async def run() -> T:
            return what()

        return self._call(run())

    def say(self, text: str, voiced: bool = True) -> int:
        """A reply; with `voiced` False its words are there and no sound yet. Returns its utterance."""
        return self.do(lambda: self._say(text, voiced))

    def cut(self, reason: str = "barge_in") -> None:
        """The reply is taken back: the page is told to stop, and what it reports then was heard."""
        assert self._playback is not None
        utterance = self._playback.utterance
        self.tell(act.StopPlayback(utterance, reason))

    def cut_down(self, t_ns: int) -> None:
        playback, self._playback = self._playback, None
        assert playback is not None
        cut = playback.cut()
        self._tell(ev.Interrupted(t_ns, cut.utterance, cut.heard_words, cut.unheard_words, cut.cut_word))
        self._tell(ev.ReplyEnded(t_ns, cut.utterance, False))

    def settle(self) -> None:
        """What was stopped is taken back now."""
        self.do(lambda: self.cut_down(self.t_ns))

    def hear(self, text: str, final: bool = False, confidence: float = 1.0) -> None:
        now = self.t_ns
        self.tell(ev.WordsHeard(now, tuple(text.split()), "ear", final, True, confidence))

    def drop(self) -> None:
        """The connection is lost, as if a cable were pulled."""

        def run() -> None:
            if self._socket is not None:
                self._socket.transport.abort()

        self.do(run)

    def fill(self, pictures: int = 3) -> None:
        """Something for the drawer to show."""
        now = self.t_ns
        spans, start = [], 0
        kinds = ["system", "tool", *(["audio", "call", "result", "reply", "picture"] * 5), "audio", "reply"]
        for i, kind in enumerate(kinds):
            length = {"system": 96, "tool": 180, "picture": 14, "call": 9, "result": 7, "reply": 16}.get(kind, 8)
            heard = None if kind != "reply" else i < len(kinds) - 1
            known = next(each for each in KINDS if each == kind)
            age_s = 0 if i < 2 else 50 - 1.7 * i
            heard_tokens = length if heard else 6
            spans.append(Span(i, known, start, length, now - round(age_s * 1e9), i // 5, heard, heard_tokens))
            start += length
        by_kind: dict[str, int] = {}
        for span in spans:
            by_kind[span.kind] = by_kind.get(span.kind, 0) + span.length
        self.tell(Memory(tuple(spans)))
        self.tell(ev.CacheChanged(now, start, 1536, by_kind, 164, now - 50_000_000_000))
        for i in range(pictures + 2):
            look = np.full((16, 16, 3), (150, 122, 94), np.uint8)
            look[4:10, 2 + 2 * i : 7 + 2 * i] = [
                (210, 40, 40),
                (40, 80, 220),
                (240, 220, 40),
                (40, 150, 60),
                (250, 130, 20),
            ][i % 5]
            thumbnail = base64.b64encode(look.tobytes()).decode()
            self.tell(ev.PictureKept(now - (9 - i) * 4_000_000_000, 100 + i, 14, "changed", ("red ball",), thumbnail))
        self.tell(ev.PicturesEvicted(now, (100, 101), 28))
        self.tell(
            ev.FrameSeen(now, False, "changed", 9, 64),
            Patches(now, tuple(i in {9, 10, 17, 18, 44, 45, 46, 52, 53} for i in range(64)), 8),
        )
        for decided, token, voiced in ((310, 392, 480), (205, 260, 331), (411, 470, 602)):
            times = {
                "decided": decided,
                "words": decided,
                "token": token,
                "call": token + 4.0,
                "voiced": voiced,
                "played": voiced + 61.0,
            }
            self.tell(ev.TurnTimed(now, {name: float(ms) for name, ms in times.items()}))

    # ---- in the peer's thread

    def _call(self, work: Any) -> Any:
        done: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(10)

    async def _open(self) -> None:
        self._server = await serve(
            self._live, "127.0.0.1", self.port, process_request=self._request, compression=None, max_size=16 << 20,
            subprotocols=[Subprotocol("liveagent.v1")], ping_interval=None,
        )  # fmt: skip
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        self.requests.append(request.path)
        if path == "/live":
            protocols = request.headers.get("Sec-WebSocket-Protocol", "")
            brought = f"liveagent.key.{self.key}" in protocols.replace(" ", "").split(",")
            brought = brought or request.headers.get("Authorization") == f"Bearer {self.key}"
            if self.key and not brought:
                return connection.respond(401, "a key is needed\n")
            if self.mode == "busy":
                return connection.respond(503, "busy\n")
            return None if "Upgrade" in request.headers else connection.respond(426, "a websocket is needed\n")
        file = PAGE / (path.lstrip("/") or "index.html")
        if file.parent != PAGE or not file.is_file():
            return connection.respond(404, "not here\n")
        body = file.read_bytes()
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = Headers({
            "Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": POLICY,
            "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
        })  # fmt: skip
        return Response(200, "OK", headers, body)

    async def _live(self, socket: ServerConnection) -> None:
        if self.mode == "down":
            await socket.close(1011, "")
            return
        try:
            first = await socket.recv()
            if self.mode == "loading":
                await socket.send(loading("nano", 41_300_000, 66_200_000))
                await socket.wait_closed()
                return
            if not await self._greet(socket, first):
                return
            await self._flush()
            async for data in socket:
                codec = self._codec
                if codec is None or self._socket is not socket:
                    break
                for asked in codec.receive(data, self.t_ns):
                    self._take(asked)
                await self._flush()
                if codec.closing:
                    await socket.close(*codec.closing)
        except ConnectionClosed:
            pass
        finally:
            if self._socket is socket:
                self._socket = None
                if self._codec is not None:
                    self._codec.park()

    async def _greet(self, socket: ServerConnection, first: str | bytes) -> bool:
        """Whether the conversation goes on over this connection."""
        try:
            hello = read_hello(first)
        except ProtocolError:
            hello = Hello()
        self.hellos.append(hello)
        wanted, codec = hello.resume, self._codec
        if wanted is not None:
            known = codec is not None and hmac.compare_digest(wanted.secret, self._welcome.handle)
            if codec is None or not known or self.mode == "gone":
                await socket.send('{"type":"problem","code":"gone","message":"It was kept for two minutes."}')
                await socket.close(4410, "gone")
                return False
            self._connections += 1
            self._welcome = replace(self._welcome, handle=f"secret_{self._connections + 1}", resumed_ago_ms=1000)
            self._socket = socket
            codec.resume(self._welcome, hello, self.t_ns)
            return True
        self._codec, self._socket = NativeCodec(self._welcome), socket
        self._codec.open(self.t_ns)
        for asked in self._codec.receive(first, self.t_ns):
            self._take(asked)
        return True

    async def _flush(self) -> None:
        if self._codec is None or self._socket is None:
            return
        for frame in self._codec.take():
            await self._socket.send(frame)

    def _tell(self, item: Told) -> None:
        if self._codec is not None:
            self._codec.tell(item, self.t_ns)
            self._loop.create_task(self._flush())

    def _tell_all(self, items: tuple[Told, ...]) -> None:
        for item in items:
            self._tell(item)

    def _take(self, asked: Any) -> None:
        if isinstance(asked, Sound):
            self.sounds.append(asked)
            level = float(np.abs(asked.pcm).mean()) / 32768
            self._tell(ev.TickHeard(self.t_ns, len(self.sounds), 20 * float(np.log10(max(level, 1e-3)))))
        elif isinstance(asked, Picture):
            self.pictures.append(asked)
            del self.pictures[:-50]
            self._tell(ev.FrameSeen(self.t_ns, False, "same", 0, 64))
        else:
            self.asked.append(asked)
            if isinstance(asked, ev.SamplesPlayed):
                self._played(asked)
            elif isinstance(asked, ev.TextTyped):
                self._typed(asked)

    def _typed(self, typed: ev.TextTyped) -> None:
        if typed.text == "stop":
            self._tell(ev.StopHeard(typed.t_ns, "typed"))
            if self._playback is not None:
                self._tell(act.StopPlayback(self._playback.utterance, "stop"))
                self.cut_down(typed.t_ns)
            return
        self._tell(ev.WordsHeard(typed.t_ns, tuple(typed.text.split()), "typed", True, True))
        if self.auto:
            self._say(f"You have typed {typed.text}, and this is what I say to it.", True)

    def _played(self, event: ev.SamplesPlayed) -> None:
        playback = self._playback
        if playback is None or playback.utterance != event.utterance:
            return
        for word in playback.feed(event):
            self._tell(word)
        if self._codec is not None:
            self._codec.tell(event, self.t_ns)
        if playback.done:
            self._playback = None
            self._tell(ev.ReplyEnded(event.t_ns, event.utterance))

    def _say(self, text: str, voiced: bool) -> int:
        self._utterance += 1
        utterance, words, now = self._utterance, text.split(), self.t_ns
        playback = self._playback = Playback(utterance)
        said = act.Say(utterance, text, tuple(act.SayWord(word, i, i + 1) for i, word in enumerate(words)))
        playback.say(said)
        self._tell(ev.ReplyStarted(now, utterance))
        self._tell(said)
        if voiced:
            marks = tuple(ev.WordMark(i, i * WORD_SAMPLES, (i + 1) * WORD_SAMPLES) for i in range(len(words)))
            made = ev.Voiced(now, utterance, len(words) * WORD_SAMPLES, marks, True)
            playback.feed(made)
            self._tell(made)
            for i in range(len(words)):
                self._tell(Spoken(utterance, i * WORD_SAMPLES, tone(220 + 30 * (i % 5)), i == len(words) - 1))
        return utterance


def tone(hz: float) -> np.ndarray:
    t = np.arange(WORD_SAMPLES) / 16_000
    return np.asarray(0.2 * np.sin(2 * np.pi * hz * t) * np.sin(np.pi * t / t[-1]), np.float32)


if __name__ == "__main__":
    with Peer(auto=True) as served:
        print(served.url)
        threading.Event().wait()
