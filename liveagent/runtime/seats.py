"""`Seats`: the conversations of a server, each on a lane, and what becomes of them when a link or the engine goes.

A conversation whose link is lost is parked: it keeps its lane, ticks on in silence, and whoever shows its secret, with
the same key, takes it up again. The secret is 256 bits, good once, and never kept as itself. A parked conversation ends
after `PARK_S`, and not before: somebody new waits, or is refused, rather than that somebody's conversation is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from liveagent.agent import Agent
from liveagent.errors import DeviceError, EngineLost, LiveAgentError
from liveagent.jsonform import Json
from liveagent.phrase import Alt, Arg, Node, Phrase, Word
from liveagent.ports.voice_file import shown
from liveagent.runtime.admission import Admission
from liveagent.runtime.clearing import Terms
from liveagent.runtime.conversation import Conversation, Stats
from liveagent.runtime.cooldown import CoolDown
from liveagent.runtime.devices import find_camera, open_voice
from liveagent.runtime.ear_process import EarProcess
from liveagent.runtime.engine import Lane
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.link import Ending, Link, pump
from liveagent.runtime.open_model import picture_px
from liveagent.runtime.request import ClientTools, Options, Protocol, Refused
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.showing import name_of
from liveagent.runtime.sources import Sources, follow
from liveagent.runtime.stop_process import StopProcess
from liveagent.tool import Tool
from liveagent.voice import Voice
from liveagent.wire.codec import Codec, GoingAway, Welcome
from liveagent.wire.gemini import GeminiCodec
from liveagent.wire.native import ELSEWHERE, Hello, NativeCodec

if TYPE_CHECKING:
    from liveagent.nn.model import Model
    from liveagent.ports.metrics import Metrics
    from liveagent.ports.pictures import Pictures

PARK_S = 120.0
MOST_PHRASES = 12
GOING_MS = 2000
GOODBYE = 1000
OFFENCES = 4400, 1007
"""The codes with which codecs close a connection whose messages cannot be understood, the native protocol's, Gemini's:
whoever is closed so too often waits before they may begin again."""
TAKEN_UP = "taken up on another connection"

Make: TypeAlias = Callable[[Agent, Lane, Codec, Voice | None, Terms], Awaitable[Conversation]]
TermsOf: TypeAlias = Callable[[str, str, str], Terms]
"""What the calls of a conversation are subject to: its number, its owner's digest, and its user by `admit`."""

_log = logging.getLogger("liveagent.server")


@dataclass(eq=False)
class Seat:
    """One conversation's. `owner`: whose key opened it, `who`: who answers for what they do in it. `link` is None while
    nobody is connected. `stays`: it goes on whether anybody is or not, and is never parked."""

    id: str
    protocol: Protocol
    owner: str = field(repr=False)
    conversation: Conversation
    welcome: Welcome
    secret: bytes = b""
    run: asyncio.Task[None] | None = None
    link: Link | None = None
    pumping: asyncio.Task[Ending] | None = None
    parked_s: float | None = None
    stays: bool = False
    who: str = field(default="", repr=False)
    sources: Sources = field(default_factory=lambda: Sources(()), repr=False)
    unfollow: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    seen: Stats = field(default_factory=Stats)

    @property
    def resumable(self) -> bool:
        """Whether the peer may come back: of OpenAI's protocol none can, of Gemini's those that asked for a handle, of
        ours whoever did not say goodbye."""
        codec = self.conversation.codec
        if isinstance(codec, GeminiCodec):
            return codec.setup is not None and codec.setup.resumes
        return isinstance(codec, NativeCodec) and (self.link is None or self.link.code != GOODBYE)

    @property
    def misread(self) -> bool:
        """Whether it was closed for a message of the peer's that could not be read, in a protocol without errors."""
        codec = self.conversation.codec
        return isinstance(codec, GeminiCodec) and codec.misread

    @property
    def thrown_out(self) -> bool:
        """Whether it was closed for what the peer sent."""
        closing = self.conversation.closing
        return closing is not None and closing[0] in OFFENCES

    @property
    def failed(self) -> bool:
        """Whether it does not tick any more."""
        return self.run is not None and self.run.done()


class Seats:
    """All of one server's."""

    def __init__(
        self,
        agent: Agent,
        model: Model,
        engine: EngineProcess,
        metrics: Metrics,
        pictures: Pictures,
        *,
        client_tools: ClientTools = "replace",
        config: SessionConfig | None = None,
        park_s: float = PARK_S,
        cooldown: CoolDown | None = None,
        sources: Sources | None = None,
        stops: StopProcess | None = None,
        ears: EarProcess | None = None,
        terms: TermsOf = lambda session, owner, user: Terms(session=session, owner=owner),
    ) -> None:
        self._terms, self._stops, self.ears = terms, stops, ears
        self.cooldown = cooldown or CoolDown(time.monotonic)
        self._sources = sources or Sources(())
        self._agent, self._model, self._engine = agent, model, engine
        self._metrics, self._pictures, self._client_tools, self._config = metrics, pictures, client_tools, config
        self._park_s = park_s
        self.ended = 0
        """How many conversations are over."""
        self._seats: dict[str, Seat] = {}

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, seat: Seat) -> bool:
        return self._seats.get(seat.id) is seat

    def _others(self) -> int:
        """How many conversations somebody is connected to, but for one."""
        return max(0, sum(seat.link is not None for seat in self._seats.values()) - 1)

    @property
    def parked(self) -> int:
        return sum(seat.parked_s is not None for seat in self._seats.values())

    # --- opening

    async def open(
        self,
        protocol: Protocol,
        owner: str,
        options: Options,
        session: Mapping[str, Json] | None = None,
        make: Make | None = None,
        who: str = "",
    ) -> Seat:
        """A conversation, greeted, on a lane of its own. `session`: a client's settings that its key carries. `make`:
        makes one that stays. `who`: who answers for it. Refused where there is no lane, and for whoever was thrown out
        too often; LiveAgentError for an agent that cannot be made."""
        self.cooldown.check(who)
        agent = options.applied(self._agent)
        number = secrets.token_hex(8)
        sources = Sources(agent.sources, self._sources)
        welcome, digest = self._welcome(sources.shown(agent), number, protocol)
        if make is not None:
            welcome = replace(welcome, extra={"house": True})
        try:
            lane = Lane(self._engine, self._engine.open())
        except EngineLost as error:
            raise Refused(str(error), status=503, retry_s=5, reason="engine") from None
        except LiveAgentError as error:
            raise Refused(str(error), status=503, retry_s=5, reason="lanes") from None
        conversation: Conversation | None = None
        voice = None
        unfollow = contextlib.ExitStack()
        try:
            await sources.open()
            try:
                voice = await open_voice(agent)
            except DeviceError as error:
                _log.warning("replies are only written: %s", error)
                welcome = replace(welcome, voice=None)
            codec = codec_of(protocol, welcome)
            terms = self._terms(number, hashlib.sha256(owner.encode()).hexdigest()[:16], options.user)
            if make is not None:
                conversation = await make(agent, lane, codec, voice, terms)
            else:
                conversation = Conversation(
                    agent, self._model, lane, codec, voice=voice,
                    client_tools=options.client_tools or self._client_tools,
                    config=self._config, see=self._pictures.decode, others=self._others, terms=terms,
                )  # fmt: skip
            conversation.stops, conversation.ears = self._stops, self.ears
            await conversation.open()
            if conversation.live is not None:
                unfollow.callback(follow(conversation.live, sources))
            if agent.camera is not None and options.camera and conversation.live is not None:
                conversation.live.camera = await asyncio.to_thread(
                    find_camera, options.camera, agent, None, lambda code, message: None, lambda event: None,
                    picture_px(agent.model),
                )  # fmt: skip
            robots = tuple(map(name_of, conversation.showing.robots))
            welcome = replace(welcome, camera=conversation.eyes, robots=robots)
            if isinstance(codec, NativeCodec):
                codec.welcome = welcome
            if session:
                await conversation.receive(json.dumps({"type": "session.update", "session": dict(session)}))
        except BaseException:
            if conversation is not None:
                await conversation.close("failed")
            if voice is not None and (conversation is None or conversation.live is None):
                await voice.close()  # nobody else does
            lane.close()
            unfollow.close()
            await sources.close()
            raise
        seat = Seat(number, protocol, owner, conversation, welcome, digest, stays=make is not None, who=who,
                    sources=sources, unfollow=unfollow)  # fmt: skip
        seat.run = asyncio.create_task(conversation.run(), name=f"conversation {number}")
        self._seats[number] = seat
        self._metrics.opened(protocol)
        _log.info("session opened", extra={"session": number, "protocol": protocol})
        return seat

    def welcome(self, protocol: Protocol) -> Welcome:
        """What somebody would be told who came now."""
        return self._welcome(self._agent, secrets.token_hex(8), protocol)[0]

    def _welcome(self, agent: Agent, number: str, protocol: Protocol) -> tuple[Welcome, bytes]:
        secret, digest = _fresh_secret()
        now = int(time.time())
        handle = {"native": secret, "gemini": f"{number}.{secret}", "openai": ""}[protocol]
        return Welcome(
            session_id=number,
            model=agent.model,
            instructions=agent.instructions,
            tools=[{"name": t.name, "description": t.description, "parameters": dict(t.schema)} for t in agent.tools],
            phrases=example_phrases(agent),
            voice=shown(agent.voice),
            sees=self._model.sees,
            device=str(self._model.device),
            opened_unix_s=now,
            expires_unix_s=now + 24 * 3600,
            handle=handle,
        ), digest

    # --- one link's time

    async def serve(self, seat: Seat, link: Link) -> None:
        """Pump until the link or the conversation ends; then park or end it."""
        if seat.link not in (None, link):  # somebody else looks on by now
            await link.close(ELSEWHERE, TAKEN_UP)
            return
        seat.link = link
        pumping = seat.pumping = asyncio.create_task(pump(link, seat.conversation))
        try:
            ending = await pumping
        except asyncio.CancelledError:
            if seat.pumping is pumping:
                pumping.cancel()
                await self._left(seat, "stopped")
                raise
            ending = "left"
        if seat.pumping is not pumping:  # taken up on another link
            await link.close(ELSEWHERE if seat.protocol == "native" else GOODBYE, TAKEN_UP)
            return
        if ending == "slow":
            await link.close(1013, "too slow; connect again to resume")
        elif ending == "closed" and seat.thrown_out and not seat.stays:
            self.cooldown.offend(seat.who)
        await self._left(seat, ending)

    async def _left(self, seat: Seat, ending: Ending | Literal["stopped"]) -> None:
        """Nobody is connected any more."""
        may_return = seat.resumable and (ending in ("left", "slow") or seat.misread)
        if seat in self and (not seat.failed if seat.stays else may_return):
            self._park(seat)
        else:
            await self.end(seat, ending)

    def _park(self, seat: Seat) -> None:
        seat.link, seat.pumping = None, None
        seat.conversation.detach()
        if not seat.stays:
            seat.parked_s = time.monotonic()
            _log.info("session parked", extra={"session": seat.id})

    async def end(self, seat: Seat, reason: str) -> None:
        """Close it and give its lane back. Twice is once."""
        if self._seats.pop(seat.id, None) is None:
            return
        self._count(seat)
        await seat.conversation.close(reason)
        if seat.run is not None:
            seat.run.cancel()
            await asyncio.gather(seat.run, return_exceptions=True)
        seat.unfollow.close()
        await seat.sources.close()
        self._metrics.ended(reason)
        self.ended += 1
        _log.info("session ended", extra={"session": seat.id, "reason": reason})

    # --- taking up again

    async def resume(
        self, number: str, secret: str, owner: str, protocol: Protocol, hello: Hello | None
    ) -> Seat | None:
        """The conversation that this secret opens again, for the same key and protocol; None if there is none. What the
        peer has missed is on its way to it. `hello` is the native protocol's."""
        seat = self._seats.get(number)
        shown = hashlib.sha256(secret.encode()).digest()
        same = hmac.compare_digest(shown, seat.secret if seat is not None else b"\0" * 32)
        if seat is None or not same or seat.protocol != protocol:
            return None
        if not hmac.compare_digest(owner.encode(), seat.owner.encode()):
            return None
        away_ms = 0 if seat.parked_s is None else int((time.monotonic() - seat.parked_s) * 1000)
        await self._connect(seat, hello, away_ms)
        self._metrics.resumed()
        _log.info("session resumed", extra={"session": number, "away_ms": away_ms})
        return seat

    async def look_on(self, seat: Seat, link: Link, owner: str, hello: Hello) -> None:
        """Whoever is behind `link` is the one that is connected to a conversation that stays; who was it before is let
        go, and can no longer resume. They are told the conversation so far."""
        await self._connect(seat, hello, None, link, owner)
        _log.info("somebody looks on", extra={"session": seat.id})

    async def _connect(
        self, seat: Seat, hello: Hello | None, away_ms: int | None, link: Link | None = None, owner: str | None = None
    ) -> None:
        """Let go whoever is connected, and greet who comes instead."""
        fresh, seat.secret = _fresh_secret()  # the old one is used up, whatever happens now
        async with seat.connecting:
            old, seat.pumping = seat.pumping, None
            if old is not None:  # the peer knew earlier than we that its link was gone, or there is another
                old.cancel()
                await asyncio.gather(old, return_exceptions=True)  # or it would take what is for who comes
            if seat.parked_s is None:
                self._park(seat)
            seat.parked_s, seat.link = None, link
            seat.owner = seat.owner if owner is None else owner
            handle = fresh if seat.protocol == "native" else f"{seat.id}.{fresh}"
            seat.welcome = replace(seat.welcome, handle=handle, resumed_ago_ms=away_ms)
            conversation = seat.conversation
            codec = conversation.codec
            if isinstance(codec, NativeCodec) and hello is not None:
                asked = codec.resume(seat.welcome, hello, time.monotonic_ns())
                await conversation.attach(asked=asked)
            else:
                await conversation.attach(codec_of(seat.protocol, seat.welcome))

    # --- housekeeping

    async def sweep(self) -> None:
        """End what was parked for too long, and what has failed while nobody listened."""
        now = time.monotonic()
        for seat in list(self._seats.values()):
            if seat.parked_s is not None and now - seat.parked_s > self._park_s:
                await self.end(seat, "left")
            elif (seat.parked_s is not None or seat.stays) and seat.failed:
                await self.end(seat, "failed")

    def measure(self, admission: Admission) -> None:
        """Every tick that was done since, into metrics and admission."""
        now = time.monotonic()
        cache: Counter[str] = Counter()
        queue = outbox = 0
        for seat in self._seats.values():
            stats = seat.conversation.stats
            if stats.ticks != seat.seen.ticks:
                self._metrics.tick(stats.tick_ms / 1000, max(0.0, stats.lag_ms) / 1000)
                admission.tick(now, max(0.0, stats.lag_ms) / 1000)
            self._count(seat)
            cache.update(stats.cache)
            queue += stats.queue_bytes
            outbox += stats.outbox_bytes
        self._metrics.cache(cache)
        self._metrics.set("queue_bytes", queue)
        self._metrics.set("outbox_bytes", outbox)
        self._metrics.sessions(len(self._seats) - self.parked, self.parked)

    def _count(self, seat: Seat) -> None:
        stats, seen = seat.conversation.stats, seat.seen
        for name, now, before in (
            ("tokens", stats.tokens, seen.tokens),
            ("frames_dropped", stats.dropped_frames, seen.dropped_frames),
            ("received_samples", stats.received_samples, seen.received_samples),
            ("consumed_samples", stats.consumed_samples, seen.consumed_samples),
            ("gap_samples", stats.gap_samples, seen.gap_samples),
        ):
            self._metrics.count(name, now - before)
        seat.seen = replace(stats)

    # --- the engine's fate

    async def engine_back(self) -> None:
        """The engine was started again: every conversation reads what it held into a new lane."""
        for seat in list(self._seats.values()):
            try:
                await seat.conversation.engine_back(Lane(self._engine, self._engine.open()))
            except EngineLost:
                return  # once more; there will be another call
            except LiveAgentError as error:
                _log.error("a session could not be read again: %s", type(error).__name__, extra={"session": seat.id})
                await self.end(seat, "failed")

    async def end_all(self, reason: str, code: int, said: str) -> None:
        """Say goodbye to everybody and end everything."""
        for seat in list(self._seats.values()):
            with contextlib.suppress(LiveAgentError):
                seat.conversation.codec.tell(GoingAway(GOING_MS), time.monotonic_ns())
            if (link := seat.link) is not None:
                for frame in seat.conversation.codec.take():
                    await link.write(frame)
                await link.close(code, said)
            await self.end(seat, reason)


def codec_of(protocol: Protocol, welcome: Welcome) -> Codec:
    """The codec that speaks a protocol."""
    if protocol == "native":
        return NativeCodec(welcome, fresh_id)
    if protocol == "gemini":
        return GeminiCodec(welcome, fresh_id)
    from liveagent.wire.openai import OpenAiCodec

    return OpenAiCodec(welcome, fresh_id)


def fresh_id(kind: str) -> str:
    """`item_7f3a…`: at most 32 characters, and nobody can guess the next."""
    return f"{kind}_{secrets.token_hex(10)}"[:32]


def _fresh_secret() -> tuple[str, bytes]:
    secret = secrets.token_urlsafe(32)
    return secret, hashlib.sha256(secret.encode()).digest()


def example_phrases(agent: Agent) -> tuple[str, ...]:
    """What one may say to this agent, a sentence a tool, for somebody who sees it for the first time."""
    said = []
    for tool in agent.tools:
        for phrase in tool.phrases[:1]:
            words = _first_way(phrase.root, tool)
            if words:
                said.append(words)
    said += [words for each in agent.questions if (words := _first_way(Phrase.of(each).root, None))]
    return tuple(dict.fromkeys(said))[:MOST_PHRASES]


def _first_way(node: Node, tool: Tool | None) -> str | None:
    """The first of all sentences of a phrase; None where it holds free text."""
    if isinstance(node, Word):
        return node.text
    if isinstance(node, Arg):
        return next(iter(tool.slots.get(node.name, {})), None) if tool is not None else None
    if isinstance(node, Alt):
        return _first_way(node.options[0], tool)
    parts = [_first_way(each, tool) for each in node.items]
    return None if None in parts else " ".join(part for part in parts if part)
