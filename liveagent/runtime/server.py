"""`Server`: one agent for many, as an ASGI app of its own or inside somebody else's.

    server = Server(agent)
    app = FastAPI(lifespan=server.lifespan)
    app.mount("/live", server)

    /                              the page, and its files
    /live                          liveagent's own protocol; a websocket at / is the same
    /v1/realtime                   OpenAI Realtime, any model name; POST /v1/realtime/client_secrets, GET /v1/models
    /v1alpha/auth_tokens           POST: Gemini's keys for one session
    …/ws/google.ai.generativelanguage.<version>.GenerativeService.BidiGenerateContent   Gemini Live
    /robot                         robots that dial in, with `robots=`
    /metrics /healthz              for Prometheus, and for whoever restarts servers

Written against ASGI itself: there are a dozen routes and no framework would spare a line. The weights live in a process
of their own; this one imports no torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from liveagent.agent import Agent
from liveagent.errors import EngineLost, LiveAgentError
from liveagent.policy import Question
from liveagent.ports.call_journal import CallJournal
from liveagent.ports.heap import give_back
from liveagent.ports.metrics import Metrics
from liveagent.ports.pictures import Pictures
from liveagent.runtime.admission import Admission
from liveagent.runtime.boundary import Loaded
from liveagent.runtime.clearing import Terms
from liveagent.runtime.desk import Desk
from liveagent.runtime.door import Door
from liveagent.runtime.ear_process import find_ear
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.holding import check_held
from liveagent.runtime.house import OpenHouse
from liveagent.runtime.link import Link
from liveagent.runtime.logline import SCRUBBED, Scrub
from liveagent.runtime.open_model import folder_of, read_model
from liveagent.runtime.reception import Reception
from liveagent.runtime.request import Admit, ClientTools
from liveagent.runtime.resident import Resident
from liveagent.runtime.robots import Robots
from liveagent.runtime.scope import Receive, Scope, Send, path_of
from liveagent.runtime.seats import PARK_S, Seats
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.sources import Sources
from liveagent.runtime.stop_process import StopProcess

MEASURE_S = 0.08
WEIGH_EVERY = 3  # a quarter of a second
SWEEP_EVERY = 25

_log = logging.getLogger("liveagent.server")


ConfirmElsewhere: TypeAlias = Callable[[Question, str], Awaitable[bool]]
"""Asks a person about a hazard by a way of the host's own, a phone say: the question, and the user as `admit` named
them. Only True is a yes; it is cancelled when the time is up."""


class Server:
    """An ASGI app. Its `lifespan` loads the weights and ends everything; as the outermost app it runs by itself."""

    def __init__(
        self,
        agent: Agent,
        *,
        lanes: int = 4,
        keys: Sequence[str] = (),
        admit: Admit | None = None,
        origins: Sequence[str] = (),
        client_tools: ClientTools = "replace",
        camera: str | None = None,
        house: OpenHouse | None = None,
        config: SessionConfig | None = None,
        park_s: float = PARK_S,
        page: bool = True,
        robots: Robots | None = None,
        journal: Path | None = None,
        confirm: ConfirmElsewhere | None = None,
    ) -> None:
        """lanes: how many may talk at once, at least 4. keys: with any, everybody needs one of them; with none, only
        this machine is served, unless `admit` decides: it is called with each `Request`, and returns `Options` or
        raises `Refused`. origins: other pages that may connect. camera: what every session looks at, here. house:
        with `House.find` one conversation hears and speaks with the microphone and loudspeaker that are here, whether
        anybody is connected or not, and the page looks on. page: whether the web page is served. robots: who dials in
        at /robot. journal: the file in which calls are written down, None for memory alone: then nobody is asked about
        calls that a crash has left. confirm: asks about hazards elsewhere than on the page. Raises ConfigError.
        """
        self.agent, self.lanes = agent, lanes
        self.admit, self._robots = admit, robots
        self._weights = None if agent.model == "nano" else agent.model
        self.model = read_model(self._weights, agent.device)
        if config is None:
            check_held(agent, self.model)
        self.door = Door(keys, origins, time.monotonic, admitted=admit is not None)
        self.metrics, self.admission, self.pictures = Metrics(), Admission(), Pictures()
        self._desk, self._reception = Desk(self, page), Reception(self, camera)
        slots = (config or SessionConfig.of(agent)).slots
        self.engine = EngineProcess(
            self._weights, lanes, slots, device=agent.device, dtype=agent.dtype, quantize=agent.quantize,
            on_lost=self._lost, on_back=self._back,
        )  # fmt: skip
        self.sources = Sources(agent.sources)
        self.stops = StopProcess(robots.door if robots is not None else None)
        self.seats = Seats(
            agent, self.model, self.engine, self.metrics, self.pictures,
            client_tools=client_tools, config=config, park_s=park_s, sources=self.sources, terms=self._terms,
            stops=self.stops,
        )  # fmt: skip
        self._journal_file, self._confirm = journal, confirm
        self._journal: CallJournal | None = None
        self.resident = Resident(self.seats, self.model, house, config) if house is not None else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._again: set[asyncio.Task[None]] = set()
        self._scrub = Scrub()

    def _terms(self, session: str, owner: str, user: str) -> Terms:
        elsewhere = None if self._confirm is None else partial(_ask_elsewhere, self._confirm, user)
        return Terms(self._journal, elsewhere, session, owner)

    # --- its life

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Around the time in which requests come: the weights are loaded before, everything is ended after. Hand it to
        the outermost app, since a mounted one has none of its own. Raises what is wrong with the weights."""
        self.start()
        try:
            await self.loaded()
            yield
        finally:
            await self.close()

    def start(self) -> None:
        """Begin to load, and return at once; those who connect meanwhile are told so. DeviceError for a journal that
        takes nothing."""
        self._journal = CallJournal(self._journal_file)
        self._loop = asyncio.get_running_loop()
        for name in SCRUBBED:
            logging.getLogger(name).addFilter(self._scrub)
        self.engine.start()
        self.stops.keep(self.agent)
        if self._robots is not None:
            self._robots.stopped_by(self.stops)
        self._keeping = asyncio.create_task(self._keep(), name="liveagent-keep")

    async def loaded(self) -> Loaded:
        """Wait until the weights are loaded, a pretrained ear's too, and the house is opened. Raises what is wrong with
        them."""
        self.seats.ears = ears = await asyncio.to_thread(find_ear, self.agent)
        if ears is not None:
            ears.start()
        found = await asyncio.to_thread(self.engine.wait)
        _log.info("weights loaded", extra={"bytes": found.weights_bytes, "seconds": round(found.load_s, 1)})
        if ears is not None:
            heard = await asyncio.to_thread(ears.wait)
            _log.info("%s", heard.note, extra={"seconds": round(heard.load_s, 1)})
        await self.sources.open()
        for problem in self.sources.problems:
            _log.warning("%s", problem)
        if self.resident is not None:
            await self.resident.open()
        return found

    async def stop(self) -> None:
        """Say goodbye to everybody who is connected."""
        if self.resident is not None:
            await self.resident.leave()
        await self.seats.end_all("stopped", 1001, "the server is stopping")

    async def close(self) -> None:
        """End every session and the engine. May be called twice."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, *self._again, return_exceptions=True)
            self._keeping = None
        await self.stop()
        await self.sources.close()
        await asyncio.to_thread(self.stops.close)
        await asyncio.to_thread(self.engine.close)
        if self.seats.ears is not None:
            await asyncio.to_thread(self.seats.ears.close)
        await self.pictures.close()
        if self._journal is not None:
            await self._journal.close()
        for name in SCRUBBED:
            logging.getLogger(name).removeFilter(self._scrub)

    @property
    def weights_bytes(self) -> int:
        return sum(each.stat().st_size for each in folder_of(self._weights).iterdir() if each.is_file())

    async def _keep(self) -> None:
        """Measure, weigh, sweep, for as long as it lives."""
        loop = asyncio.get_running_loop()
        turn, due, ended = 0, loop.time(), 0
        while True:
            due += MEASURE_S
            await asyncio.sleep(max(0.0, due - loop.time()))
            self.metrics.set("loop_lag_seconds", max(0.0, loop.time() - due))
            due = max(due, loop.time() - 1.0)
            turn += 1
            try:
                self.seats.measure(self.admission)
                if turn % WEIGH_EVERY == 0:
                    load = self.engine.load()
                    self.admission.feed(time.monotonic(), load.busy)
                    self.metrics.set("load", self.admission.load)
                    self.metrics.set("engine_busy", load.busy)
                    self.metrics.set("engine_rss_bytes", load.rss_bytes)
                    self.metrics.set("engine_hear_seconds", load.hear_p95_s)
                    self.metrics.set("engine_up", float(self.engine.state == "up"))
                    self.metrics.set("lanes_free", self.engine.free_lanes)
                if turn % SWEEP_EVERY == 0:
                    await self.seats.sweep()
                    if self.seats.ended != ended:
                        ended = self.seats.ended
                        await asyncio.to_thread(give_back)
                    if self.resident is not None and self.resident.seat is None and self.engine.state == "up":
                        self._soon(self.resident.again())
            except LiveAgentError as error:
                _log.error("%s", error)

    # --- the engine's fate, told in its own thread

    def _lost(self, error: EngineLost, again: bool) -> None:
        self._call(self._on_lost, again)

    def _back(self, loaded: Loaded) -> None:
        self._call(self._on_back)

    def _call(self, what: Any, *given: Any) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(what, *given)

    def _on_lost(self, again: bool) -> None:
        if again:
            self.metrics.count("engine_restarts", 1)
        elif self._keeping is not None:
            self._soon(self.seats.end_all("engine", 1011, "the model has stopped and stays down"))

    def _on_back(self) -> None:
        if self._keeping is not None:
            self._soon(self.seats.engine_back())

    def _soon(self, what: Any) -> None:
        task = asyncio.ensure_future(what)
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    # --- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and self._robots is not None and path_of(scope) == "/robot":
            await self._robots.serve(scope, Link(scope, receive, send))
        elif scope["type"] == "websocket":
            await self._reception.serve(scope, Link(scope, receive, send))
        elif scope["type"] == "http":
            await self._desk.serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
        except LiveAgentError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})


async def _ask_elsewhere(confirm: ConfirmElsewhere, user: str, question: Question) -> bool:
    return await confirm(question, user)
