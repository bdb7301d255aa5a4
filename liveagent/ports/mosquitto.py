"""`Mosquitto`: a broker of one's own, as a child process: for trying a robot, for benches and for tests.

    with Mosquitto(users={"arm": "secret", "agent": "other"}, rules=access(["arm"], agents=["agent"])) as broker:
        Mqtt(broker.url("agent"))

It listens on the loopback alone, on free ports, with and (given a certificate) without TLS, keeps nothing on disk, and
sets TCP_NODELAY. `access` writes the rules by which a robot can only be itself, an agent can command and stop but not
release a stop, and an operator can.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from liveagent.errors import ConfigError, DeviceError

START_S = 10.0
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # beside PATH: a user's has no sbin

ROBOT_WRITES = (
    "connection", "describe", "action/+", "stop/ack", "lease/echo", "state", "camera/+/jpeg",
)  # fmt: skip
ROBOT_READS = ("connection", "cmd", "cancel", "stop", "stop/reset", "lease", "vel", "chunk")
AGENT_WRITES = ("cmd", "cancel", "stop", "lease", "vel", "chunk")
OPERATOR_WRITES = ("stop/reset",)


def found() -> str | None:
    """Where `mosquitto` is; None where it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(PLACES))


def access(
    robots: Sequence[str], agents: Sequence[str] = (), operators: Sequence[str] = (), site: str = "+"
) -> str:
    """Mosquitto's access rules for the contract `liveagent/v1`: a robot's user is called as the robot is."""
    lines: list[str] = []
    for user in robots:
        top = f"liveagent/v1/{site}/{user}"
        lines.append(f"user {user}")
        lines += [f"topic write {top}/{each}" for each in ROBOT_WRITES if each != "connection"]
        lines += [f"topic read {top}/{each}" for each in ROBOT_READS if each != "connection"]
        lines.append(f"topic readwrite {top}/connection")
    for user in (*agents, *operators):
        top = f"liveagent/v1/{site}/+"
        writes = AGENT_WRITES + (OPERATOR_WRITES if user in operators else ())
        lines.append(f"user {user}")
        lines += [f"topic write {top}/{each}" for each in writes]
        lines.append(f"topic read {top}/#")
    return "\n".join(lines) + "\n"


class Mosquitto:
    """One broker. `start` and `close`, or `with`. Started again it has the same ports and has forgotten all."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        rules: str = "",
        certificate: tuple[Path, Path] | None = None,
        nodelay: bool = True,
    ) -> None:
        """users: names and passwords; None lets everybody in. rules: an access file's text. DeviceError where
        mosquitto is not installed."""
        self._program = found()
        if self._program is None:
            raise DeviceError("mosquitto is not installed; on Debian: sudo apt-get install mosquitto")
        self._users, self._rules, self._certificate, self._nodelay = dict(users or {}), rules, certificate, nodelay
        if rules and not users:
            raise ConfigError("access rules are for users: give users= as well")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.tls_port = free_port(), free_port() if certificate else 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, user: str | None = None, tls: bool = False) -> str:
        """Its address, with a user's name and password in it."""
        who = f"{user}:{self._users[user]}@" if user is not None else ""
        return f"mqtts://{who}localhost:{self.tls_port}" if tls else f"mqtt://{who}127.0.0.1:{self.port}"

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Returns once it listens. DeviceError when it does not."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="liveagent-broker-")
            self._write(Path(self._folder.name))
        config = Path(self._folder.name) / "mosquitto.conf"
        log = (config.parent / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [str(self._program), "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + START_S
        for port in filter(None, (self.port, self.tls_port)):
            while not _listens(port):
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (config.parent / "log").read_text(errors="replace").strip().splitlines()
                    self.close()
                    raise DeviceError(f"mosquitto does not start: {said[-1] if said else 'it says nothing'}")
                time.sleep(0.005)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop its process where it stands: its connections stay open, and nothing moves in them."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _write(self, folder: Path) -> None:
        lines = [
            "per_listener_settings false", "persistence false", f"user {pwd.getpwuid(os.getuid()).pw_name}",
            f"set_tcp_nodelay {'true' if self._nodelay else 'false'}", "log_dest stderr", "log_type error",
            "max_queued_messages 1000", "max_packet_size 4194304",
        ]  # fmt: skip
        if self._users:
            passwords = folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in self._users.items()))
            passwords.chmod(0o600)
            program = shutil.which("mosquitto_passwd") or "mosquitto_passwd"
            subprocess.run([program, "-U", str(passwords)], check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        if self._rules:
            rules = folder / "rules"
            rules.write_text(self._rules)
            rules.chmod(0o600)
            lines.append(f"acl_file {rules}")
        lines.append(f"listener {self.port} 127.0.0.1")
        if self._certificate is not None:
            lines += [
                f"listener {self.tls_port} 127.0.0.1",
                f"certfile {self._certificate[0]}", f"keyfile {self._certificate[1]}",
            ]  # fmt: skip
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")


def free_port() -> int:
    """One for a listener that is started, or started again, after this. Below those that systems give to outgoing
    connections: one of them could have it before the listener does, even the very one that looks whether it listens,
    which would then be connected with itself."""
    drawn = random.SystemRandom()
    while True:
        port = drawn.randrange(16_384, 32_768)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
