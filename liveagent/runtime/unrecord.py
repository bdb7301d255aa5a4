"""`liveagent forget`: a stretch is taken out of a recording that is closed.

Nobody can know by looking which later answers rest on what is forgotten; so the recording is lived through again
without it. Where that decides otherwise, it did rest on it, and its exchange is forgotten too; until everything that is
left would have been decided just so by a session that never knew. Such a recording replays, and checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.errors import ConfigError, DeviceError, ProtocolError
from liveagent.event import Forgotten
from liveagent.journal import Recording
from liveagent.jsonform import Json
from liveagent.runtime.forget import State
from liveagent.runtime.record import write_whole
from liveagent.runtime.replay import Difference, RecordedTick, Stage, difference_of, load, ticks_of
from liveagent.stretch import Stretch, seals, states, wiped

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

Progress = Callable[[float, float], None]
"""Told how many seconds were lived through this time, and of how many."""


@dataclass(frozen=True, slots=True)
class Gone:
    """A stretch that was forgotten, in seconds from the recording's beginning. `asked`: it was asked for; else what was
    decided in it rested on what was."""

    since_s: float
    until_s: float
    asked: bool


@dataclass(frozen=True, slots=True)
class _Count:
    """How far a session had counted after a tick."""

    utterances: int
    calls: int
    watch_calls: int


class _Life:
    """A recording that is lived through again."""

    def __init__(self, recording: Recording, ticks: list[RecordedTick]) -> None:
        self.recording, self.ticks = recording, ticks
        self.sealed = {tick for first, last in seals(recording.records) for tick in range(first, last + 1)}
        self.known = states(recording.records)

    async def live(
        self, stage: Stage, gone: list[Stretch], counts: dict[int, _Count], progress: Progress
    ) -> tuple[Difference | None, dict[int, Json], list[Stretch]]:
        """Without the ticks of `gone`. `counts`: how far the session had counted that knew them, by tick; filled in
        when nothing is gone. Returns the first tick that comes out otherwise, if any; what was still known at the end
        of each stretch, by its last tick; and the exchanges."""
        left: dict[int, Json] = {}
        of_s = len(self.ticks) * TICK_NS / 1e9
        async with stage.session() as session:
            for number, each in enumerate(self.ticks):
                tick = each.tick
                progress(number * TICK_NS / 1e9, of_s)
                hidden = [stretch for stretch in gone if stretch.holds(tick.t_ns)]
                if hidden:
                    following = self.ticks[number + 1] if number + 1 < len(self.ticks) else None
                    if following is None or not hidden[0].holds(following.tick.t_ns):
                        count = counts[tick.index]
                        state = State(
                            tuple(session.context.held()), count.utterances, count.calls, count.watch_calls,
                            tuple(session.watcher.state(hidden[0])),
                        )  # fmt: skip
                        await session.restore(state)
                        left[tick.index] = state.to_json()
                    continue
                if tick.index in self.sealed:
                    if (known := self.known.get(tick.index)) is not None:
                        state = State.from_json(known)
                        spans = [k for k in state.spans if not any(g.covers(k.span.kind, k.span.t_ns) for g in gone)]
                        await session.restore(replace(state, spans=tuple(spans)))
                else:
                    try:
                        out = await each.again(session)
                    except ProtocolError as error:
                        return Difference(tick.index, "what the world answered", str(error)), left, []
                    if (out.actions, out.tokens) != (each.out.actions, each.out.tokens):
                        return difference_of(each, out), left, []
                if tick.index not in counts:
                    answer, watcher = session.answer, session.watcher
                    counts[tick.index] = _Count(answer.utterances, answer.calls, watcher.calls)
            past = list(session.forgetting.exchanges.past)
            if (still := session.forgetting.exchanges.open_since_ns) is not None:
                past.append(Stretch(still, self.ticks[-1].tick.t_ns + TICK_NS))
            return None, left, past


def seconds_of(text: str) -> float:
    """"1:02.5" -> 62.5; "1:00:00" and "62.5" too. ConfigError for anything else."""
    try:
        parts = [float(part) for part in text.split(":")]
        if not 1 <= len(parts) <= 3 or any(part < 0 or part >= 60 for part in parts[1:]) or not 0 <= parts[0] < 1e7:
            raise ValueError
    except ValueError:
        raise ConfigError(f"{text!r} is no time of a recording: write 0:12, 1:02:03 or 12.5") from None
    total = 0.0
    for part in parts:
        total = 60 * total + part
    return total


def unrecord(
    path: Path,
    since_s: float,
    until_s: float,
    agent: Agent | None = None,
    model: Nets | None = None,
    progress: Progress = lambda done_s, of_s: None,
) -> list[Gone]:
    """Take a stretch out of a recording, and everything that was decided because of it; what went, in order.

    The file is written anew in one step. Raises ConfigError when the times are not in it, and when it was made by
    another version, agent or weights and so cannot be lived through again here; DeviceError when it cannot be written.
    """
    recording = load(path)
    try:
        ticks = list(ticks_of(recording))
        if not ticks:
            raise ConfigError(f"{path} holds no whole tick; delete it")
        begin_ns, end_ns = ticks[0].tick.t_ns, ticks[-1].tick.t_ns + TICK_NS
        asked = Stretch(begin_ns + round(since_s * 1e9), begin_ns + round(until_s * 1e9))
        if not asked.since_ns < asked.until_ns or asked.since_ns >= end_ns:
            long_s = (end_ns - begin_ns) / 1e9
            raise ConfigError(f"from {since_s:g} s to {until_s:g} s: the recording goes from 0 to {long_s:.1f} s")
        stage = Stage(recording, agent, model)
        if stage.warnings:
            raise ConfigError(
                f"{path} cannot be lived through again here, so nobody can say what rests on that stretch "
                f"({'; '.join(stage.warnings)}): forget it with what it was recorded with, or delete the file"
            )
        gone, left = asyncio.run(_forget(recording, ticks, stage, asked, progress))
        records = list(recording.records)
        for stretch, last in gone:
            forgotten = Forgotten(ticks[last].tick.t_ns + TICK_NS, stretch.since_ns, stretch.until_ns)
            records = wiped(records, stretch, forgotten, left[ticks[last].tick.index])
        write_whole(path, recording.header, records, recording.complete)
    except ProtocolError as error:
        raise ConfigError(f"{path} is damaged inside: {error}; delete it to forget what is in it") from error
    except OSError as error:
        raise DeviceError(f"{path} cannot be written anew: {error.strerror}; nothing of it was forgotten") from error
    return [
        Gone(
            max(0.0, (stretch.since_ns - begin_ns) / 1e9), (min(stretch.until_ns, end_ns) - begin_ns) / 1e9,
            stretch.touches(asked),
        )
        for stretch, _ in gone
    ]  # fmt: skip


async def _forget(
    recording: Recording, ticks: list[RecordedTick], stage: Stage, asked: Stretch, progress: Progress
) -> tuple[list[tuple[Stretch, int]], dict[int, Json]]:
    """Every stretch with the number of its last tick, and what was still known then."""
    life = _Life(recording, ticks)
    counts: dict[int, _Count] = {}
    difference, _, past = await life.live(stage, [], counts, progress)
    if difference is not None:
        raise ConfigError(
            f"the recording comes out otherwise here, at tick {difference.tick}: nobody can say what rests on that "
            "stretch; forget it where it was recorded, or delete the file"
        )
    gone = [asked.widened(past)]
    at = {each.tick.index: each.tick.t_ns for each in ticks}
    while True:
        difference, left, _ = await life.live(stage, gone, counts, progress)
        if difference is None:
            break
        t_ns = at[difference.tick]
        rests = Stretch(t_ns, t_ns + TICK_NS).widened([*past, *gone])
        gone = [each for each in gone if not each.touches(rests)] + [rests]
    found = []
    for stretch in sorted(gone, key=lambda each: each.since_ns):
        inside = [number for number, each in enumerate(ticks) if stretch.holds(each.tick.t_ns)]
        found.append((stretch, inside[-1]))
    return found, left
