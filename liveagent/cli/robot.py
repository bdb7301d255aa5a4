"""`robot`: an arm to try, all at once: a broker, the simulated arm, and the agent that looks through its camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from liveagent.cli.program import app, typed_errors

SITE, NAME = "home", "arm"


@app.command()
def robot(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0: any that is free.")] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="Which things lie on the table, and where.")] = 806,
    talk: Annotated[bool, typer.Option("--talk", help="In this terminal instead of on a page.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the page.")] = False,
) -> None:
    """Try a robot: a simulated arm with a camera, behind a broker of its own, and the page of the agent that uses it.

    Type "release" here to lift a stop, "cover" to put a lid on the camera, "table" for other things.
    """
    with typed_errors(), _robot(seed, hands=not talk) as url:
        import asyncio
        import os

        os.environ["LIVEAGENT_ROBOT"] = f"{url}/{SITE}/{NAME}"  # where its agent looks for it
        from liveagent.clients.arm.camera import MISSING, drawn_by
        from liveagent.load import load_agent
        from liveagent.ports.webserver import event_loop
        from liveagent.runtime.serve import Place, calls_file, serve, write_log

        sees = drawn_by() is not None
        if not sees:
            typer.echo(f"Blind: {MISSING}")
        camera = f"{url}/{SITE}/{NAME}/mast" if sees else None
        if talk:
            from liveagent.cli.live import talk_with

            raise typer.Exit(talk_with(load_agent("robot_arm"), "robot_arm", camera=camera))
        typer.echo('Ask it to "pick up the blue cube and put it on the red tray". Here: release, cover, table.')
        write_log(False)
        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(
                serve(load_agent("robot_arm"), Place(port=port), tell=typer.echo, open_page=not no_open, camera=camera,
                      journal=calls_file())
            )  # fmt: skip


@contextmanager
def _robot(seed: int, hands: bool) -> Iterator[str]:
    """A broker that lets in one robot and one agent, each as itself, and the arm; gives the agent's address of it.
    hands: whether what is typed here goes to the arm."""
    import importlib.util
    import os
    import secrets
    import subprocess
    import sys

    from liveagent.errors import ConfigError
    from liveagent.ports.mosquitto import Mosquitto, access

    if importlib.util.find_spec("mujoco") is None:
        raise ConfigError("the simulated arm needs MuJoCo: pip install 'liveagent[robot]'")
    words = {NAME: secrets.token_urlsafe(16), "agent": secrets.token_urlsafe(16)}
    with Mosquitto(users=words, rules=access([NAME], agents=["agent"])) as broker:
        command = [sys.executable, "-m", "liveagent.clients.arm", "--site", SITE, "--robot", NAME, "--seed", str(seed)]
        # The address has a password in it, and everybody on this machine can read a command line.
        typed = None if hands else subprocess.DEVNULL
        arm = subprocess.Popen(command, stdin=typed, env={**os.environ, "LIVEAGENT_BROKER": broker.url(NAME)})
        try:
            yield broker.url("agent")
        finally:
            arm.terminate()
            try:
                arm.wait(5)
            except subprocess.TimeoutExpired:
                arm.kill()
                arm.wait()
