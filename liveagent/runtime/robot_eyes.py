"""`RobotEyes`: a robot's camera as a session's, by an address: mqtt://[user:password@]host:port/SITE/ROBOT/CAMERA.

A connection and a thread of its own, so that pictures stand in no order's way and every session may look by itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from liveagent.clients.robot.contract import ContractError, checked, topic
from liveagent.clock import Pace
from liveagent.errors import ConfigError, LinkError, LiveAgentError
from liveagent.event import CameraFroze, DeviceBack, DeviceLost
from liveagent.ports.mqtt import Mqtt, lasting
from liveagent.runtime.robot_camera import RobotCamera
from liveagent.video import VideoFrame

SCHEMES = ("mqtt", "mqtts")
FIRST_S = 15.0
LOST_S = 5.0
CLOSE_S = 2.0


def is_robots(source: str) -> bool:
    """Whether a camera's address is of this kind."""
    return urlsplit(source).scheme in SCHEMES


class RobotEyes:
    """`start`, `read`, `close` as a `Camera`. `on_event` is told, in a thread of its own, when pictures stay away and
    when they are back."""

    def __init__(
        self,
        url: str,
        fps: float = 5.0,
        on_event: Callable[[CameraFroze | DeviceLost | DeviceBack], None] = lambda event: None,
    ) -> None:
        """ConfigError for what is no such address."""
        parts = urlsplit(url)
        names = parts.path.strip("/").split("/")
        if len(names) != 3:
            raise ConfigError("a robot's camera is mqtt://host:port/SITE/ROBOT/CAMERA")
        try:
            self._topic = topic(names[0], names[1], f"camera/{checked(names[2])}/jpeg")
        except ContractError as error:
            raise ConfigError(str(error)) from None
        self._url, self._on_event = f"{parts.scheme}://{parts.netloc}", on_event
        Mqtt(self._url)  # reads the address
        self.name = f"{names[1]} {names[2]}"
        self.lost = False
        self._pace = Pace(round(1e9 / fps))
        self._camera = RobotCamera(self.name)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None
        self._came, self._ended = threading.Event(), threading.Event()
        self._refusal: LiveAgentError | None = None

    def start(self) -> None:
        """Returns with the first picture. LinkError: none comes. ConfigError: the broker will not have us."""
        if self._thread is not None:
            return
        self._came.clear()
        self._ended.clear()
        self._refusal = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        if not self._came.wait(FIRST_S) or self._refusal is not None:
            refusal = self._refusal or LinkError(f"no picture comes from {self._topic}; is the robot there?")
            self.close()
            raise refusal

    def read(self, by_ns: int | None = None) -> VideoFrame | None:
        """The newest picture that was taken by then and was not read yet."""
        return self._camera.read(by_ns)

    def close(self) -> None:
        """Look away."""
        thread, self._thread = self._thread, None
        loop, running = self._loop, self._running
        if thread is None or not thread.is_alive():
            return
        if loop is not None and running is not None and not loop.is_closed():
            loop.call_soon_threadsafe(running.cancel)
        self._ended.wait(CLOSE_S)

    # ---- in its thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except LiveAgentError as error:
            self._refusal = error
        finally:
            self._came.set()
            self._ended.set()

    async def _watch(self) -> None:
        self._loop, self._running = asyncio.get_running_loop(), asyncio.current_task()
        guarding = asyncio.create_task(self._guard())
        self._camera.start()
        try:
            await lasting(lambda: Mqtt(self._url), self._look)
        except asyncio.CancelledError:
            return
        finally:
            guarding.cancel()
            await asyncio.gather(guarding, return_exceptions=True)
            await self._camera.end()

    async def _look(self, link: Mqtt) -> None:
        async for message in await link.subscribe(self._topic, qos=0, most=4):
            now_ns = time.monotonic_ns()
            if self._pace.is_due(now_ns):
                self._pace.take(now_ns)
                self._camera.feed(message.payload)
                self._came.set()
            if self.lost:
                self.lost = False
                self._on_event(DeviceBack(now_ns, self.name))

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(LOST_S / 5)
            quiet_s = (time.monotonic_ns() - self._camera.t_ns) / 1e9
            if self._came.is_set() and not self.lost and quiet_s > LOST_S:
                self.lost = True
                self._on_event(DeviceLost(time.monotonic_ns(), self.name, "no picture comes from the robot's camera"))
