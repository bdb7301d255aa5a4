"""The engine's core, without a thread: it takes the work of all lanes that is ready and groups it by shape.

`submit` puts a job into its lane's queue, `step` does one round: hear, look, then one bucket of prefill or one token
for every lane that wants it. A lane's jobs run in order; different lanes' jobs share steps. Rows of a slab that are
not in the group are masked, so a lane's numbers never depend on who else is talking.

Prefill runs in fixed buckets of 32, 8 and 1 tokens, chosen from the lane's own backlog alone, so that the shape of a
step, and with it the last bit of every number, is a property of the session (LAW 2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from liveagent.errors import ConfigError, DeviceError
from liveagent.nn.lanes import put, take
from liveagent.runtime.prompts import MOST_PROMPTS, Prompts
from liveagent.runtime.work import (
    VAD_FRAME_SAMPLES,
    Append,
    Decode,
    Done,
    Encode,
    Encoded,
    Evict,
    Heard,
    Listen,
    Look,
    Probe,
    Reply,
    Reset,
    Rewind,
    Seen,
    Sights,
    Soft,
    Sounds,
    Work,
)
from liveagent.sight import PICTURE_PX

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets
    from liveagent.tool import Tool

HEARING_LANES = 4
"""Ear and VAD step for so many lanes at a time, however many of them have something to hear and however many there are:
people's ticks seldom fall together, and one lane alone would pay for all. Fewer would round differently (LAW 2)."""
GUESSED = 7
"""So many tokens at most that the grammar leaves little choice in go along with the one before them, in a pass of 8."""
SILENT_SPEECH = 0.1
"""A frame in which the VAD is less sure of speech than this is silent."""
SLEEP_FRAMES = 96
"""After so many silent frames, three seconds, the ear of a lane sleeps; no turn is open for so long in silence."""
PREROLL_BLOCKS = 3
"""With so much of what came before it wakes, from a fresh state."""
DEAD_FRAMES = 32
"""After a second of nothing but noughts (nobody has a microphone) the VAD sleeps too."""


_Block = tuple[np.ndarray, ...]
"""What an ear says of one block: log-probabilities, hidden rows, kinds of sound."""


@dataclass(slots=True)
class _Job:
    work: Work
    done: Callable[[Reply | BaseException], None]
    rows: torch.Tensor | None = None  # [n, D] still to be fed
    fed: int = 0
    ids: list[int] = field(default_factory=list)
    guess: list[int] = field(default_factory=list)  # what will follow the newest id, as it seems; fed along with it
    after: list[torch.Tensor] = field(default_factory=list)  # the logits [V] after each of those
    steps: int = 0
    started: bool = False
    prompt: bool = False  # reads a lane's first tokens


@dataclass(slots=True)
class _Lane:
    jobs: deque[_Job] = field(default_factory=deque)
    length: int = 0
    logits: torch.Tensor | None = None  # [V] after the last slot
    vad_rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    ear_rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    own_rest: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    silent_frames: int = 0
    dead_frames: int = 0
    speech: float = 0.0  # of the last frame
    asleep: bool = False
    grammar: Any = None
    matcher: Any = None
    open: bool = False


class Core:
    """The engine without its thread. Not safe for several threads; `Engine` is."""

    def __init__(
        self, model: Nets, lanes: int = 4, slots: int = 1024, sleeps: bool = True, prompts: int = MOST_PROMPTS
    ) -> None:
        """sleeps: in silence neither ear nor VAD run; without it they always do, for what that saves to be measured.
        prompts: how many are kept so that another lane need not read them."""
        if lanes < 4:
            raise ConfigError(f"an engine needs at least 4 lanes, not {lanes}: smaller steps round differently (LAW 2)")
        self.model, self.lanes, self.slots, self.sleeps = model, lanes, slots, sleeps
        with self._on_device():
            self._ear = model.ear.init_state(lanes)
            self._vad = model.vad.init_state(lanes)
            self._cache = model.decoder.init_state(lanes, slots)
            self._eye = model.eye.init_state(lanes) if model.eye is not None else None
            self._own_eye = model.own_eye.init_state(lanes) if model.own_eye is not None else None
            self._own = model.own_ear.init_state(lanes) if model.own_ear is not None else None
        self._lane = [_Lane() for _ in range(lanes)]
        self._prompts = Prompts(model.decoder, prompts)
        self._block = model.ear.block_samples
        self._vocab = model.pieces.vocab_size

    def _on_device(self) -> AbstractContextManager[object]:
        """Tensors are made where the model is. What is decided token by token stays on the CPU, wherever that is."""
        device = self.model.device
        return nullcontext() if device.type == "cpu" else device

    # --- lanes

    def open(self) -> int:
        """A free lane's number. Raises ConfigError when every lane is taken."""
        for number, lane in enumerate(self._lane):
            if not lane.open:
                lane.open = True
                return number
        raise ConfigError(f"all {self.lanes} lanes are taken: start the engine with more lanes, or end a session")

    def close(self, number: int) -> None:
        lane = self._lane[number]
        for job in lane.jobs:
            job.done(ConfigError("the session was closed"))
        self._lane[number] = _Lane()
        self._clear(number)

    def _clear(self, number: int) -> None:
        self.model.ear.reset(self._ear, number)
        self.model.vad.reset(self._vad, number)
        self._cache.reset(number)
        if self.model.eye is not None and self._eye is not None:
            self.model.eye.reset(self._eye, number)
        if self.model.own_ear is not None and self._own is not None:
            self.model.own_ear.reset(self._own, number)
        if self.model.own_eye is not None and self._own_eye is not None:
            self.model.own_eye.reset(self._own_eye, number)

    def submit(self, lane: int, work: Work, done: Callable[[Reply | BaseException], None]) -> None:
        self._lane[lane].jobs.append(_Job(work, done))

    def run(self, lane: int, work: Work) -> Reply:
        """Submit one job and step until it is done: for tests, benches and replay without a thread."""
        box: list[Reply | BaseException] = []
        self.submit(lane, work, box.append)
        while not box:
            self.step()
        if isinstance(box[0], BaseException):
            raise box[0]
        return box[0]

    # --- one round

    @torch.inference_mode()
    def step(self) -> bool:
        """One round over all lanes; False when there was nothing to do."""
        heads = {n: lane.jobs[0] for n, lane in enumerate(self._lane) if lane.jobs}
        if not heads:
            return False
        with self._on_device():
            self._round(heads)
        return True

    def _round(self, heads: dict[int, _Job]) -> None:
        hearing = {n: job for n, job in heads.items() if isinstance(job.work, Listen)}
        looking = {n: job for n, job in heads.items() if isinstance(job.work, Look)}
        encoding = {n: job for n, job in heads.items() if isinstance(job.work, Encode)}
        self._guard(looking, self._see if self.model.own_eye is None else self._see_rows)
        if looking and not any(job.started for job in hearing.values()):
            for job in hearing.values():  # once: who looks now hears next, and all lanes hear in one step
                job.started = True
        else:
            self._guard(hearing, self._hear)
        self._guard(encoding, self._encode)
        feeding: dict[int, _Job] = {}
        for n, job in heads.items():
            if n in hearing or n in looking or n in encoding:
                continue
            try:
                if self._begin(n, job):
                    feeding[n] = job
            except Exception as error:  # one lane's bad request must not stop the others
                self._finish(n, error)
        sizes = {n: self._bucket(job) for n, job in feeding.items()}  # before any is fed: one bucket a round
        for size in sorted(set(sizes.values()), reverse=True):
            group = {n: job for n, job in feeding.items() if sizes[n] == size and not job.guess}
            self._guard(group, partial(self._feed, size=size))
        self._guard({n: job for n, job in feeding.items() if job.guess}, self._feed_guesses)

    def _guard(self, group: dict[int, _Job], act: Callable[[dict[int, _Job]], None]) -> None:
        if not group:
            return
        try:
            act(group)
        except Exception as error:
            for n in group:
                if self._lane[n].jobs and self._lane[n].jobs[0] is group[n]:
                    self._finish(n, error)

    def _finish(self, n: int, reply: Reply | BaseException) -> None:
        job = self._lane[n].jobs.popleft()
        if isinstance(job.work, Probe):
            self._cache.show(n)
        job.done(reply)

    def abort(self, why: BaseException) -> None:
        """Answer everything that waits with an error."""
        for lane in self._lane:
            while lane.jobs:
                lane.jobs.popleft().done(why)

    def _hear(self, group: dict[int, _Job]) -> None:
        vad: dict[int, list[float]] = {n: [] for n in group}
        for n, job in group.items():
            assert isinstance(job.work, Listen)
            lane, samples = self._lane[n], np.asarray(job.work.samples, np.float32)
            lane.vad_rest = np.concatenate([lane.vad_rest, samples])
            lane.ear_rest = np.concatenate([lane.ear_rest, samples])
        while True:
            ready = [n for n in group if len(self._lane[n].vad_rest) >= VAD_FRAME_SAMPLES]
            if not ready:
                break
            awake = [n for n in ready if not self._dead(self._lane[n])]
            if awake:
                for here, x, active in self._rows(awake, "vad_rest", VAD_FRAME_SAMPLES):
                    voice = take(self._vad, _filled(here))
                    prob = self.model.vad.step(x, voice, active)
                    put(self._vad, here, voice)
                    for row, n in enumerate(here):
                        self._lane[n].speech = float(prob[row].reshape(-1)[-1])
            for n in ready:
                lane = self._lane[n]
                if n not in awake:
                    lane.vad_rest = lane.vad_rest[VAD_FRAME_SAMPLES:]
                vad[n].append(lane.speech)
                self._mind_silence(n, lane)
        heard: dict[int, list[_Block]] = {n: [] for n in group}
        broken: dict[int, DeviceError] = {}
        while True:  # one block, but for a lane that has just woken
            ready = [n for n in group if len(self._lane[n].ear_rest) >= self._block and not self._lane[n].asleep]
            if not ready:
                break
            for here, x, active in self._rows(ready, "ear_rest", self._block):
                state = take(self._ear, _filled(here))
                out = self.model.ear.step(x, state, active)
                put(self._ear, here, state)
                for row, n in enumerate(here):
                    if not bool(torch.isfinite(out.logp[row]).all()):  # this lane's alone: the others' are good
                        broken[n] = DeviceError(
                            "the ear gave no numbers: its weights are damaged; install liveagent again"
                        )
                        continue
                    kind = torch.softmax(out.kind[row], -1)
                    parts = (out.logp[row], out.hidden[row], kind)
                    heard[n].append(tuple(part.cpu().numpy().copy() for part in parts))
        for n in group:
            blocks = [np.concatenate(parts) for parts in zip(*heard[n], strict=True)]
            self._finish(n, broken.get(n) or Heard(tuple(vad[n]), *blocks))

    def _dead(self, lane: _Lane) -> bool:
        """Whether nothing at all has been heard for so long that the VAD need not look at the next frame."""
        if lane.vad_rest[:VAD_FRAME_SAMPLES].any():
            lane.dead_frames = 0
            return False
        lane.dead_frames += 1
        return self.sleeps and lane.dead_frames > DEAD_FRAMES

    def _mind_silence(self, n: int, lane: _Lane) -> None:
        """Let a lane's ear sleep, or wake: by what its VAD said, so by its own sound alone (LAW 2)."""
        lane.silent_frames = lane.silent_frames + 1 if lane.speech < SILENT_SPEECH else 0
        if lane.asleep and not lane.silent_frames:
            lane.asleep = False
            self.model.ear.reset(self._ear, n)
        elif self.sleeps and lane.silent_frames >= SLEEP_FRAMES:
            lane.asleep = True
        if lane.asleep:
            lane.ear_rest = lane.ear_rest[-PREROLL_BLOCKS * self._block :]

    def _encode(self, group: dict[int, _Job]) -> None:
        """Each lane's sound in one step, for it decides by itself how much it brings; lanes that bring as much step
        together."""
        ear, state = self.model.own_ear, self._own
        if ear is None or state is None:
            raise ConfigError("this model has no ear of its own: its decoder reads words")
        sizes: dict[int, list[int]] = {}
        for n, job in group.items():
            assert isinstance(job.work, Encode)
            lane, samples = self._lane[n], np.asarray(job.work.samples, np.float32)
            if job.work.begins:
                ear.reset(state, n)
                lane.own_rest = samples
            else:
                lane.own_rest = np.concatenate([lane.own_rest, samples])
            sizes.setdefault(len(lane.own_rest) // ear.block_samples * ear.block_samples, []).append(n)
        for n in sizes.pop(0, ()):
            self._finish(n, Encoded(np.zeros((0, ear.width), np.float32)))
        for size, ready in sizes.items():
            # So long a piece has rows enough by itself (LAW 2), and other lanes' would cost as much again.
            together = 1 if size >= HEARING_LANES * ear.token_samples else HEARING_LANES
            for here, x, active in self._rows(ready, "own_rest", size, together):
                part = take(state, _filled(here, together))
                rows = ear.step(x, part, active).float().cpu()
                put(state, here, part)
                for row, n in enumerate(here):
                    if bool(torch.isfinite(rows[row]).all()):  # this lane's alone: the others' are good
                        self._finish(n, Encoded(rows[row].numpy().copy()))
                        continue
                    ear.reset(state, n)
                    self._finish(n, DeviceError("the model's own ear gave no numbers: fetch its weights again"))

    def _see(self, group: dict[int, _Job]) -> None:
        eye, state = self.model.eye, self._eye
        if eye is None or state is None:
            raise ConfigError("this model has no eyes: take weights with an eye.safetensors, or give no camera")
        of = eye.config.vit.patches
        pixels = torch.zeros(self.lanes, PICTURE_PX, PICTURE_PX, 3, dtype=torch.uint8)
        patches = torch.zeros(self.lanes, of, dtype=torch.bool)
        active = torch.zeros(self.lanes, dtype=torch.bool)
        for n, job in group.items():
            assert isinstance(job.work, Look)
            pixels[n] = torch.from_numpy(np.array(job.work.pixels))  # a copy: a recorded picture is not writable
            patches[n] = True if job.work.patches is None else torch.from_numpy(np.array(job.work.patches))
            active[n] = True
        sights = eye.step(pixels.permute(0, 3, 1, 2), patches, state, active).cpu()
        counts = patches.sum(dim=1).tolist()
        for n in group:
            if bool(torch.isfinite(sights[n]).all()):
                self._finish(n, Seen(sights[n].numpy().copy(), counts[n], of))
            else:  # this lane's alone: the others' are good
                eye.reset(state, n)
                self._finish(
                    n, DeviceError("the eye gave no numbers: its weights are damaged; install liveagent again")
                )

    def _see_rows(self, group: dict[int, _Job]) -> None:
        """Each lane's picture by itself: they are of different sizes, and seldom come together."""
        eye, state = self.model.own_eye, self._own_eye
        assert eye is not None and state is not None
        for n, job in group.items():
            assert isinstance(job.work, Look)
            pixels = torch.from_numpy(np.array(job.work.pixels)).permute(2, 0, 1)
            tall, wide = eye.grid(pixels)
            patches = torch.ones(tall * wide, dtype=torch.bool, device="cpu")
            if job.work.patches is not None:
                patches = eye.flags(job.work.patches, pixels)
            rows = eye.look(pixels.to(self.model.device), patches.to(self.model.device), state, n).float().cpu()
            if bool(torch.isfinite(rows).all()):
                self._finish(n, Seen(rows.numpy().copy(), int(patches.sum()), len(patches)))
            else:
                eye.reset(state, n)
                self._finish(n, DeviceError("the model's own eye gave no numbers: fetch its weights again"))

    def _rows(
        self, ready: Sequence[int], rest: str, size: int, together: int = HEARING_LANES
    ) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """The next piece of what these lanes have not heard, a few of them at a time."""
        for first in range(0, len(ready), together):
            lanes = list(ready[first : first + together])
            x = torch.zeros(together, size)
            active = torch.zeros(together, dtype=torch.bool)
            for row, n in enumerate(lanes):
                buffer = getattr(self._lane[n], rest)
                x[row] = torch.from_numpy(buffer[:size].copy())
                setattr(self._lane[n], rest, buffer[size:])
                active[row] = True
            yield lanes, x, active

    def _begin(self, n: int, job: _Job) -> bool:
        """Do what needs no network; True when the job has rows to feed in this round."""
        lane, work = self._lane[n], job.work
        if isinstance(work, Reset):
            self._clear(n)
            self._lane[n] = _Lane(jobs=lane.jobs, open=True, grammar=self._grammar(work.tools))
            self._finish(n, Done(0))
            return False
        if isinstance(work, Rewind):
            if not 0 <= work.length <= lane.length:
                raise ConfigError(f"cannot rewind to {work.length}: the lane holds {lane.length} slots")
            self._cache.rewind(n, work.length)
            lane.length, lane.logits = work.length, None
            self._finish(n, Done(work.length))
            return False
        if isinstance(work, Evict):
            self.model.decoder.evict(work.plan, work.first, self._cache, n)
            lane.length -= work.plan.evicted_tokens
            self._finish(n, Done(lane.length))
            return False
        if not job.started:
            job.started = True
            if isinstance(work, Append | Probe):
                if not work.ids:
                    logp = self._wanted(lane.logits, work.want) if lane.logits is not None else ()
                    self._finish(n, Done(lane.length, logp=logp))
                    return False
                self._room(lane, len(work.ids))
                if isinstance(work, Append) and not lane.length and self._is_prompt(work):
                    job.prompt = True
                    if (logits := self._prompts.read(work.ids, self._cache, n)) is not None:
                        lane.length, lane.logits = len(work.ids), logits
                        self._finish(n, Done(lane.length, logp=self._wanted(logits, work.want)))
                        return False
                job.rows = self._rows_of(work)
                if isinstance(work, Probe) and work.hide[0] < work.hide[1]:
                    if not 0 <= work.hide[0] <= work.hide[1] <= lane.length:
                        raise ConfigError(f"cannot hide {work.hide}: the lane holds {lane.length} tokens")
                    self._cache.hide(n, *work.hide)
            else:
                assert isinstance(work, Decode)
                if lane.logits is None:
                    raise ConfigError("nothing to decode from: append something after a rewind")
                grammar = self._grammar(work.tools) if work.tools else lane.grammar
                lane.matcher = grammar.matcher() if work.call and grammar is not None else None
                self._room(lane, work.max_tokens)
                self._go_on(lane, job, self._choose(lane, job))
        return True

    @staticmethod
    def _is_prompt(work: Append) -> bool:
        """Whether nothing but its ids says what is read."""
        return work.soft is None and work.sights is None and work.sounds is None and not work.t_s

    def _grammar(self, tools: tuple[Tool, ...]) -> Any:
        if not tools:
            return None
        from .constraint import CallGrammar

        return CallGrammar(tools, self.model.pieces, self.model.template)

    def _room(self, lane: _Lane, tokens: int) -> None:
        if lane.length + tokens > self.slots:
            raise ConfigError(f"the cache is full ({lane.length} + {tokens} of {self.slots} slots): evict a turn first")

    def _rows_of(self, work: Append | Probe) -> torch.Tensor:
        """What the decoder reads for the ids of an Append or a Probe, `[n, D]`."""
        if isinstance(work, Probe) and work.sights is not None:
            first, after = work.seen_at, work.seen_at + len(work.sights.cells)
            if not 0 <= first <= after <= len(work.ids):
                raise ConfigError(f"{after - first} cells of a picture from {first} on, among {len(work.ids)} tokens")
            seen = self._seen_rows(work.sights)
            return torch.cat([self._embed(work.ids[:first]), seen, self._embed(work.ids[after:])])
        if isinstance(work, Append) and work.soft is not None:
            return self._heard_rows(work.soft)
        if isinstance(work, Append) and work.sights is not None:
            hard = len(work.ids) - len(work.sights.cells)
            if hard < 0:
                raise ConfigError(f"{len(work.sights.cells)} cells of a picture in the place of {len(work.ids)} tokens")
            seen = self._seen_rows(work.sights)
            return torch.cat([self._embed(work.ids[:hard]), seen]) if hard else seen
        if isinstance(work, Append) and work.sounds is not None:
            hard = len(work.ids) - len(work.sounds.rows)
            if hard < 0:
                raise ConfigError(f"{len(work.sounds.rows)} rows of sound in the place of {len(work.ids)} tokens")
            sound = self._sound_rows(work.sounds)
            return torch.cat([self._embed(work.ids[:hard]), sound]) if hard else sound
        return self._embed(work.ids)

    def _embed(self, ids: Sequence[int]) -> torch.Tensor:
        return self.model.decoder.embed(torch.tensor(ids, dtype=torch.long, device=self.model.device))

    def _heard_rows(self, soft: Soft) -> torch.Tensor:
        return self.model.heard_rows(self._tensor(soft.weights, np.float32), self._tensor(soft.hidden, np.float32))

    def _seen_rows(self, sights: Sights) -> torch.Tensor:
        return self.model.seen_rows(self._tensor(sights.sight, np.float32), self._tensor(sights.cells, np.int64))

    def _sound_rows(self, sounds: Sounds) -> torch.Tensor:
        return self.model.sound_rows(self._tensor(sounds.rows, np.float32))

    def _tensor(self, array: np.ndarray, kind: type[np.float32 | np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, kind)).to(self.model.device)

    def _bucket(self, job: _Job) -> int:
        """How many rows the next step of this job has: 32, 8 or 1; more where rows that see each other are more."""
        assert job.rows is not None
        left = job.rows[job.fed :]
        size = 32 if len(left) > 8 else 8 if len(left) > 1 else 1  # one pass of 32 costs less than two of 8
        return max(size, self.model.decoder.piece(left, size))

    def _next_rows(self, group: dict[int, _Job], size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What each job of the group feeds next: rows `[lanes, size, D]`, how many, and when they came."""
        width = self.model.decoder.row_width
        x = torch.zeros(self.lanes, size, width)
        times = torch.zeros(self.lanes, size, dtype=torch.float64, device="cpu")
        count = torch.zeros(self.lanes, dtype=torch.long, device="cpu")
        for n, job in group.items():
            assert job.rows is not None and isinstance(job.work, Append | Decode | Probe)
            times[n] = job.work.t_s
            rows = job.rows[job.fed :]
            rows = rows[: self.model.decoder.piece(rows, size)]
            x[n, : len(rows)] = rows
            count[n] = len(rows)
        return x, count, times

    def _feed(self, group: dict[int, _Job], size: int) -> None:
        x, count, times = self._next_rows(group, size)
        asked = {n for n, job in group.items() if self._asks(job, int(count[n]))}
        decoder, logits = self.model.decoder, torch.zeros(0)
        if asked:
            logits = decoder.step(x, count, self._cache, times).cpu()
        else:
            decoder.append(x, count, self._cache, times)
        for n, job in group.items():
            lane, fed = self._lane[n], int(count[n])
            job.fed += fed
            job.steps += 1
            lane.length += fed
            assert job.rows is not None
            if job.fed < len(job.rows):
                continue
            if n not in asked:
                lane.logits = None
                self._finish(n, Done(lane.length, steps=job.steps))
                continue
            try:
                self._fed(n, lane, job, logits[n].clone())
            except Exception as error:  # this lane's alone: the others' numbers are good
                self._finish(n, error)

    @staticmethod
    def _asks(job: _Job, fed: int) -> bool:
        """Whether somebody asks what comes behind the next `fed` rows: not in the middle of them, and not behind what
        was heard or seen, for marks follow."""
        work = job.work
        if job.rows is not None and job.fed + fed < len(job.rows):
            return False
        return not isinstance(work, Append) or bool(work.want) or (work.sounds is None and work.sights is None)

    def _feed_guesses(self, group: dict[int, _Job]) -> None:
        """Chosen tokens, each with the guess of what follows it, in one pass of 8. Of the guess stays what would have
        been chosen token by token (speculative decoding, Leviathan et al. 2023; here the grammar drafts)."""
        x, count, times = self._next_rows(group, 1 + GUESSED)
        logits = self.model.decoder.steps(x, count, self._cache, times).cpu()
        for n, job in group.items():
            lane = self._lane[n]
            lane.length += 1
            job.after = list(logits[n, 1 : 1 + len(job.guess)].clone())
            try:
                self._fed(n, lane, job, logits[n, 0].clone())
            except Exception as error:  # this lane's alone: the others' numbers are good
                self._drop_guess(n, lane, job)
                self._finish(n, error)

    def _drop_guess(self, n: int, lane: _Lane, job: _Job) -> None:
        """What is left of it was wrong."""
        if job.after:
            self._cache.rewind(n, lane.length)
        job.guess, job.after = [], []

    def _fed(self, n: int, lane: _Lane, job: _Job, logits: torch.Tensor) -> None:
        work = job.work
        if not bool(torch.isfinite(logits).all()):
            raise DeviceError("the decoder gave no numbers: its weights are damaged; install liveagent again")
        if isinstance(work, Probe):  # the branch is dropped; the lane's own last logits stand
            lane.length -= len(work.ids)
            self._cache.rewind(n, lane.length)
            self._finish(n, Done(lane.length, logp=self._wanted(logits, work.want), steps=job.steps))
            return
        lane.logits = logits
        if isinstance(work, Append):
            if job.prompt:
                self._prompts.keep(work.ids, self._cache, n, logits)
            self._finish(n, Done(lane.length, logp=self._wanted(logits, work.want), steps=job.steps))
            return
        assert isinstance(work, Decode)
        ended = job.ids[-1] in work.stop
        if ended or len(job.ids) >= work.max_tokens:
            self._drop_guess(n, lane, job)
            self._finish(n, Done(lane.length, tuple(job.ids), ended))
            return
        token = self._choose(lane, job)
        if job.after and token == job.guess[0]:  # it has been fed already
            lane.length += 1
            del job.guess[0]
            self._fed(n, lane, job, job.after.pop(0))
            return
        self._drop_guess(n, lane, job)
        self._go_on(lane, job, token)

    @staticmethod
    def _wanted(logits: torch.Tensor, want: tuple[int, ...]) -> tuple[float, ...]:
        if not want:
            return ()
        logp = torch.log_softmax(logits.double(), -1)
        return tuple(float(logp[i]) for i in want)

    def _choose(self, lane: _Lane, job: _Job) -> int:
        """Greedy choice of the next token from the lane's last logits, under the grammar where one is asked for."""
        work = job.work
        assert isinstance(work, Decode) and lane.logits is not None
        logits = lane.logits
        if lane.matcher is not None:
            logits = logits.masked_fill(~torch.from_numpy(lane.matcher.mask()), float("-inf"))
        elif work.allowed and not job.ids:
            keep = torch.zeros(self._vocab, dtype=torch.bool, device="cpu")
            keep[list(work.allowed)] = True
            logits = logits.masked_fill(~keep, float("-inf"))
        elif work.never:
            logits = logits.index_fill(0, torch.tensor(work.never, device="cpu"), float("-inf"))
        token = int(logits.argmax())
        if lane.matcher is not None:
            lane.matcher.consume(token)
        job.ids.append(token)
        return token

    def _go_on(self, lane: _Lane, job: _Job, token: int) -> None:
        """Feed the newest token next, and what the grammar says will follow it."""
        assert isinstance(job.work, Decode)
        if lane.matcher is not None:
            job.guess = lane.matcher.ahead(min(GUESSED, job.work.max_tokens - len(job.ids)))
        job.rows, job.fed = self._embed([token, *job.guess]), 0


def _filled(lanes: list[int], together: int = HEARING_LANES) -> list[int]:
    """As many as a step has rows for: what is over is the first again, and counts for nothing."""
    return lanes + lanes[:1] * (together - len(lanes))
