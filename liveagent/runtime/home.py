"""`Home`: what is announced on an MQTT broker, as an agent's tools.

    agent = Agent("nano", tools=[Home("mqtt://localhost")])

It listens for what Zigbee2MQTT, Tasmota, ESPHome and the like announce for Home Assistant, and makes tools of it; what
appears or vanishes changes them at once. A call publishes what the device documented and waits until the device's own
state says that it was done. Nothing is queued: a call while the broker is gone fails, and is not made up for later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from liveagent.announcement import PREFIX, Available
from liveagent.discovery import Discovery, Thing
from liveagent.errors import ConfigError, LinkError, LiveAgentError, ProtocolError, ToolError
from liveagent.home_tools import CHECK, HomeTool, home_tools, with_function
from liveagent.home_words import done, how_it_is, not_confirmed, sent
from liveagent.lever import Gauge, Lever
from liveagent.ports.mqtt import Messages, Mqtt, lasting
from liveagent.runtime.robots_shown import show
from liveagent.source import Changed
from liveagent.spoken import spoken
from liveagent.tool import Tool
from liveagent.valuetemplate import ValueTemplate

FIRST_S = 2.0
"""So long opening waits for a broker's answer and for what it has kept."""
QUIET_S = 0.15
"""After so long without another announcement, what there is counts."""
LATEST_S = 1.0
"""And after so long whatever is announced meanwhile."""
CONFIRM_S = 3.0
ALREADY_S = 0.5
"""The same where the thing said before the call that it is so: perhaps it says nothing new."""
STATE_BYTES = 64 << 10
STATES = 2048

_log = logging.getLogger("liveagent.home")


class Home:
    """A source of tools. `harmless`: names of things that need no confirmation, whatever they are called ("the coffee
    machine"). `show_robots`: announce our own robots on this broker, so that Home Assistant shows them. Further
    arguments as in `Mqtt`. ConfigError for what is no address."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        harmless: Sequence[str] = (),
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        confirm_s: float = CONFIRM_S,
        show_robots: bool = True,
    ) -> None:
        self._url, self._prefix, self._ca, self._certificate = url, prefix, ca, certificate
        self._harmless = frozenset(spoken(each).removeprefix("the ") for each in harmless)
        self._confirm_s, self._show_robots = confirm_s, show_robots
        self._where = Mqtt(url).where  # reads the address
        self._discovery = Discovery(prefix)
        self._things: tuple[Thing, ...] = ()
        self._tools: tuple[Tool, ...] = ()
        self._link: Mqtt | None = None
        self._trouble = "not opened yet"
        self._running: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._changed: Changed = lambda: None
        self._states: dict[str, bytes] = {}
        self._wanted: set[str] = set()  # topics whose states are read
        self._news: dict[str, set[asyncio.Event]] = {}
        self._readers: set[asyncio.Task[None]] = set()

    # --- as a source

    @property
    def name(self) -> str:
        return f"home at {self._where}"

    @property
    def things(self) -> tuple[Thing, ...]:
        """What there is now."""
        return self._things

    async def open(self, changed: Changed) -> None:
        if self._running is not None:
            return
        self._changed = changed
        self._settled.clear()
        self._running = asyncio.create_task(self._run(), name=self.name)
        waiting = asyncio.create_task(self._settled.wait())
        await asyncio.wait([self._running, waiting], timeout=FIRST_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._running.done() and (error := self._running.exception()) is not None:
            self._running = None
            raise error

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def problems(self) -> Sequence[str]:
        return ([f"{self.name}: {self._trouble}"] if self._trouble else []) + list(self._discovery.problems)

    async def close(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._link, self._trouble = None, "closed"

    # --- listening

    async def _run(self) -> None:
        try:
            await lasting(self._connection, self._listen, on_lost=self._lost)
        except ConfigError as error:
            self._trouble = str(error)
            if self._settled.is_set():  # it worked before: told as a problem, not raised
                _log.warning("%s", error)
                self._changed()
                return
            raise

    def _connection(self) -> Mqtt:
        return Mqtt(self._url, ca=self._ca, certificate=self._certificate)

    def _lost(self, error: LinkError) -> None:
        self._trouble = str(error)
        self._changed()

    async def _listen(self, link: Mqtt) -> None:
        discovery = Discovery(self._prefix)
        self._states.clear()
        self._wanted.clear()
        try:
            announced = await link.subscribe(
                f"{self._prefix}/+/+/config", f"{self._prefix}/+/+/+/config", most=2 * STATES
            )
            self._link, self._trouble = link, ""
            if self._show_robots:
                self._readers.add(asyncio.create_task(show(link, self._prefix), name="robots shown"))
            await self._follow(link, announced, discovery)
        finally:
            self._link = None
            for each in list(self._readers):
                each.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)
            self._readers.clear()

    async def _follow(self, link: Mqtt, announced: Messages, discovery: Discovery) -> None:
        """Take announcements for ever; what there is counts when there was none for a moment."""
        dirty_s: float | None = self._now_s()  # what was there before the link was lost may be gone
        while True:
            message = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if dirty_s is None else QUIET_S):
                    message = await anext(announced)
            if message is not None and discovery.feed(message.topic, message.payload) and dirty_s is None:
                dirty_s = self._now_s()
            if dirty_s is not None and (message is None or self._now_s() - dirty_s > LATEST_S):
                dirty_s = None
                self._discovery = discovery
                await self._take(link)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def _take(self, link: Mqtt) -> None:
        """Make tools of what there is, and read the states of it."""
        things = tuple(
            replace(each, danger="reversible") if each.name in self._harmless and each.danger == "hazard" else each
            for each in self._discovery.things
        )
        if things != self._things or not self._tools:
            self._things = things
            self._tools = tuple(with_function(each, self._function(each)) for each in home_tools(things))
        topics = {topic for thing in things for topic in _topics(thing)} - self._wanted
        if topics and len(self._wanted) < STATES:
            self._wanted |= topics
            messages = await link.subscribe(*sorted(topics), most=STATES)
            reader = asyncio.create_task(self._read(messages), name="home states")
            self._readers.add(reader)
        self._settled.set()
        self._changed()

    async def _read(self, messages: Messages) -> None:
        with contextlib.suppress(LinkError):
            async for message in messages:
                if len(message.payload) > STATE_BYTES:
                    continue
                self._states[message.topic] = message.payload
                for news in self._news.get(message.topic, ()):
                    news.set()

    # --- being called

    def _function(self, tool: HomeTool) -> Callable[..., Awaitable[str]]:
        async def call(**args: str | int | float) -> str:
            name = str(args.get("device") or next(iter(tool.things)))
            thing = self._current(tool, name)
            if tool.what == CHECK:
                return self._how(thing)
            value = args[tool.value] if tool.value else tool.what
            return await self._move(thing, tool.what, value)

        return call

    def _current(self, tool: HomeTool, name: str) -> Thing:
        meant = tool.things.get(name)
        same = [each for each in self._things if meant is not None and each.part.id == meant.part.id]
        thing = next((each for each in same if each.name == name and each.kind == meant.kind), None) if meant else None
        if thing is None:
            raise ToolError(f"the {name} is not there any more")
        return thing

    def _how(self, thing: Thing) -> str:
        if self._away(thing):
            raise ToolError(f"the {thing.name} cannot be reached")
        return how_it_is(thing, {key: self._told(gauge) for key, gauge in thing.levers.gauges.items()})

    async def _move(self, thing: Thing, what: str, value: str | int | float) -> str:
        lever = next((each for each in thing.levers.levers if each.what == what), None)
        if lever is None:
            raise ToolError(f"the {thing.name} cannot do that")
        if self._link is None:
            raise ToolError("the home cannot be reached; nothing was sent")
        if self._away(thing):
            raise ToolError(f"the {thing.name} cannot be reached; nothing was sent")
        try:
            payload = lever.payload(value)
        except ConfigError as error:
            raise ToolError(f"the {thing.name}: {error}") from None
        already = lever.gauge is not None and lever.confirms(value, self._told(lever.gauge))
        news = asyncio.Event()
        if lever.gauge is not None:
            self._news.setdefault(lever.gauge.topic, set()).add(news)
        try:
            try:
                kept = lever.retain and thing.danger != "hazard"  # what a broker keeps comes again by itself
                await self._link.publish(lever.topic, payload, qos=1, retain=kept)
            except LiveAgentError:
                raise ToolError(f"the home was lost while this was sent; look at the {thing.name} first") from None
            if lever.gauge is None:
                return sent(thing, lever, value)
            if await self._confirmed(lever, lever.gauge, value, news, already):
                return done(thing, lever, value, self._told(lever.gauge))
            return not_confirmed(thing)
        finally:
            if lever.gauge is not None:
                waiting = self._news.get(lever.gauge.topic, set())
                waiting.discard(news)
                if not waiting:
                    self._news.pop(lever.gauge.topic, None)

    async def _confirmed(
        self, lever: Lever, gauge: Gauge, value: str | int | float, news: asyncio.Event, already: bool
    ) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(ALREADY_S, self._confirm_s) if already else self._confirm_s):
                while True:
                    await news.wait()
                    news.clear()
                    if lever.confirms(value, self._told(gauge)):
                        return True
        return lever.confirms(value, self._told(gauge))

    def _told(self, gauge: Gauge) -> str | float | None:
        payload = self._states.get(gauge.topic)
        if payload is None:
            return None
        try:
            return gauge.read(payload)
        except ProtocolError:
            return None

    def _away(self, thing: Thing) -> bool:
        """Whether the device, or what speaks for it, has said that it is not there."""
        known = [there for each in thing.part.available if (there := self._there(each)) is not None]
        if not known:
            return False
        return not (any(known) if thing.part.mode == "any" else all(known) if thing.part.mode == "all" else known[-1])

    def _there(self, available: Available) -> bool | None:
        payload = self._states.get(available.topic)
        if payload is None:
            return None
        try:
            told = ValueTemplate.of(available.template).read(payload)
        except LiveAgentError:
            return None
        return True if told == available.yes else False if told == available.no else None


def _topics(thing: Thing) -> set[str]:
    """Where a thing tells how it is."""
    topics = {gauge.topic for gauge in thing.levers.gauges.values()}
    topics |= {lever.gauge.topic for lever in thing.levers.levers if lever.gauge is not None}
    return topics | {each.topic for each in thing.part.available}
