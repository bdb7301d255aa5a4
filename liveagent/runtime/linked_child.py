"""A child process of ours behind a socket: begun, listened to, pinged, killed when it is frozen, and reaped.

What is said over it is the owner's; the engine and a pretrained ear live so, each with a supervisor's thread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from liveagent.errors import LiveAgentError
from liveagent.runtime.boundary import Message, Unpacker

READ_BYTES = 1 << 20


def begin(module: str, arguments: Sequence[str], threads: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start `module` with the number of its end of a socket pair and these arguments; it, and our end. `threads`: for
    its networks, where the environment does not say. OSError: no process, no socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        # -P: a file of the user's in this folder must not stand for a module of the child's.
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno())]
        env = {**os.environ, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
        env.setdefault("OMP_NUM_THREADS", str(threads))
        child = subprocess.Popen([*command, *arguments], pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=env)
    return child, ours


def attend(
    child: subprocess.Popen[bytes],
    link: socket.socket,
    take: Callable[[Message, float], None],
    ping: Callable[[int], None],
    ping_s: float,
    is_up: Callable[[], bool],
    frozen_s: Callable[[], float],
    log: logging.Logger,
) -> LiveAgentError | None:
    """Until the child's end of the link is closed. `take` gets each message and when it came, `ping` is called every
    `ping_s` while it is up; a child that says nothing for `frozen_s` is killed. Why it refused to serve, if it did."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    unpacker, pings = Unpacker(), itertools.count(1)
    heard_s = pinged_s = time.monotonic()
    refused: LiveAgentError | None = None
    while True:
        try:
            data = link.recv(READ_BYTES) if poll.poll(ping_s * 500) else None
        except OSError:
            data = b""
        now_s = time.monotonic()
        if data == b"":
            return refused
        if data:
            heard_s = now_s
            for message in unpacker.feed(data):
                if message[0] == "refused":
                    refused = message[1]
                else:
                    take(message, now_s)
        elif now_s - heard_s > frozen_s():
            log.error("process %d has not answered for %.0f s and is killed", child.pid, now_s - heard_s)
            child.kill()
            heard_s = now_s
        if is_up() and now_s - pinged_s >= ping_s:
            pinged_s = now_s
            ping(next(pings))


def bury(child: subprocess.Popen[bytes] | None, link: socket.socket | None, within_s: float) -> str:
    """Reap the child; how it ended, in words."""
    if link is not None:
        with contextlib.suppress(OSError):
            link.shutdown(socket.SHUT_RDWR)  # frees whoever writes to it
        link.close()
    if child is None:
        return "did not start"
    try:
        code = child.wait(within_s)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
