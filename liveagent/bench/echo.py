"""Does the agent hear itself? Replies played into a room whose microphone feeds the real gate, VAD and `Turns`.

The loop is closed: what the rules decide (duck, freeze, resume, stop) is done to the loudspeaker, and what it then
plays comes back through the room. The echo is 15 dB below the loudspeaker's signal, starts 60 ms late, goes through a
room of its own per session, and lies in noise. A session starts with a gate that has learned nothing, so the first
words of the first reply count too. No words are recognised here: a barge-in must win by its sound alone.

    self_interruptions   replies of 50, nobody speaking, that were stopped                                   to reach: 0
    barge_in_kept        of 50 replies that somebody else speaks into, the part that was stopped then   to reach: 0.95
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from liveagent.action import Duck, Freeze, Resume, StopPlayback
from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Samples
from liveagent.echo import DELAY_SAMPLES, Echo
from liveagent.nn.vad import FRAME_SAMPLES, Vad
from liveagent.train import voices
from liveagent.train.voices import Espeak, speak
from liveagent.turns import Frame, Turns

REPLIES = 50
PER_SESSION = 10
ECHO_DB = -15.0
LATE_SAMPLES = 60 * RATE_HZ // 1000
SPEECH_RMS = 10 ** (-23 / 20)
NOISE_RMS = 10 ** (-62 / 20)

REPLY_TEXTS = (
    "The kitchen light is on, and the one in the bedroom is off.",
    "I have set a timer for twenty five minutes. I will tell you when it is done.",
    "Your shopping list has milk, bread, eggs, and two bottles of water.",
    "The red ball lies on the left side of the table, next to the blue box.",
    "I am not sure that I understood you. Please say that again, a little slower.",
    "It is a quarter past nine, and you have nothing planned until noon.",
    "The robot is moving to the door now. Say stop, and it stops at once.",
)
BARGE_TEXTS = (
    "no I meant the light in the living room",
    "wait a moment please",
    "put the green cup on the shelf instead",
    "that is enough thank you very much",
    "set another timer for ten minutes",
)
BARGE_VOICES = ("flite/slt", "flite/rms", "flite/awb", "flite/kal16")


@dataclass(slots=True)
class Outcome:
    """One reply: when somebody began to speak into it, and what was decided (sample times of the session)."""

    begun: int
    near_start: int | None
    near_end: int | None
    stopped_at: int | None = None
    ducks: int = 0


class Room:
    """One session: a loudspeaker, a room, a microphone, and the rules between."""

    def __init__(self, vad: Vad, rng: np.random.Generator, gated: bool) -> None:
        self.rng, self.vad, self.gated = rng, vad, gated
        self.gate = Echo()
        self.gate_state = self.gate.init_state()
        self.vad_state = vad.init_state(1)
        self.turns = Turns()
        self.at = 0
        self.gate_s = 0.0
        self.sense = np.zeros(0, np.float32)
        self.sensed_at = -DELAY_SAMPLES if gated else 0
        taps = int(0.2 * RATE_HZ)
        response = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / (0.25 * RATE_HZ)) * 0.25
        response[0] = 1.0
        response *= 10 ** (ECHO_DB / 20) / np.sqrt(np.sum(response**2))
        self.response = np.concatenate([np.zeros(LATE_SAMPLES), response])
        self.played = np.zeros(len(self.response) - 1)

    def tick(self, reference: Samples, near: Samples) -> list[object]:
        """80 ms: what the loudspeaker plays and what a person says, to the decisions that follow."""
        heard = np.concatenate([self.played, reference])
        size = len(heard) + len(self.response)
        echo = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(self.response, size), size)
        echo = echo[len(self.played) : len(self.played) + len(reference)]
        self.played = heard[len(reference) :]
        noise = self.rng.standard_normal(len(reference)) * NOISE_RMS
        mic = (echo + near + noise).astype(np.float32)
        begin = time.thread_time()
        clean = self.gate.feed(mic, reference, self.gate_state) if self.gated else None
        self.gate_s += time.thread_time() - begin
        self.sense = np.concatenate([self.sense, mic if clean is None else clean.samples])
        self.at += len(reference)
        near_end = clean is None or bool(clean.near_end.any())
        out: list[object] = []
        while len(self.sense) >= FRAME_SAMPLES:
            frame, self.sense = self.sense[:FRAME_SAMPLES], self.sense[FRAME_SAMPLES:]
            speech = self.vad.step(torch.from_numpy(frame)[None], self.vad_state, torch.ones(1, dtype=torch.bool))
            level = 20 * np.log10(float(np.sqrt(np.mean(frame**2))) + 1e-9)
            out += self.turns.feed(Frame(self.sensed_at * SAMPLE_NS, float(speech[0, 0]), level, near_end))
            self.sensed_at += FRAME_SAMPLES
        return out

    def quiet(self, samples: int) -> None:
        silence = np.zeros(TICK_SAMPLES, np.float32)
        for _ in range(samples // TICK_SAMPLES):
            self.tick(silence, silence)

    def reply(self, utterance: int, speech: Samples, near: Samples | None, onset: int) -> Outcome:
        """Play one reply to its end or until it is stopped; `near` is said into it from sample `onset` on."""
        near_at = None if near is None else self.at + onset
        outcome = Outcome(self.at, near_at, None if near is None or near_at is None else near_at + len(near))
        self.turns.sounding(utterance, self.at * SAMPLE_NS)
        cursor, gain, frozen = 0, 1.0, False
        while cursor < len(speech) or (outcome.near_end is not None and self.at < outcome.near_end):
            reference = np.zeros(TICK_SAMPLES, np.float32)
            if not frozen and outcome.stopped_at is None:
                piece = speech[cursor : cursor + TICK_SAMPLES]
                reference[: len(piece)] = piece * np.float32(gain)
                cursor += TICK_SAMPLES
            elif outcome.stopped_at is not None:
                cursor = len(speech)
            said = np.zeros(TICK_SAMPLES, np.float32)
            if near is not None and near_at is not None:
                low, high = max(self.at, near_at), min(self.at + TICK_SAMPLES, near_at + len(near))
                if low < high:
                    said[low - self.at : high - self.at] = near[low - near_at : high - near_at]
            for decision in self.tick(reference, said):
                if isinstance(decision, Duck):
                    outcome.ducks += 1
                    gain = 10 ** (decision.gain_db / 20)
                elif isinstance(decision, Freeze):
                    frozen = True
                elif isinstance(decision, Resume):
                    gain, frozen = 1.0, False
                elif isinstance(decision, StopPlayback):
                    outcome.stopped_at = self.at
        self.turns.sounding(None, self.at * SAMPLE_NS)
        self.quiet(int(1.6 * RATE_HZ))
        return outcome


def _levelled(samples: np.ndarray, rms: float) -> Samples:
    """int16 speech at a level, measured where it is loud."""
    wave = samples.astype(np.float32) / np.float32(32768.0)
    loud = wave[np.abs(wave) > 0.02 * np.abs(wave).max()]
    return np.clip(wave * np.float32(rms / np.sqrt(np.mean(loud**2))), -1, 1)


def _sessions(barge: bool, gated: bool, seed: int, replies: int, espeak: Espeak) -> tuple[list[Outcome], float, int]:
    vad = Vad.load()
    rng = np.random.default_rng(seed)
    texts = [REPLY_TEXTS[i % len(REPLY_TEXTS)] for i in range(replies)]
    spoken = [u for i, text in enumerate(texts) for u in speak("espeak", [text], seed + i, espeak)]
    others = [
        u
        for i in range(replies)
        for u in speak(BARGE_VOICES[i % len(BARGE_VOICES)], [BARGE_TEXTS[i % len(BARGE_TEXTS)]], seed + i, espeak)
    ]
    outcomes: list[Outcome] = []
    gate_s, ticks = 0.0, 0
    room: Room | None = None
    for i, utterance in enumerate(spoken):
        if i % PER_SESSION == 0:
            room = Room(vad, rng, gated)
            room.quiet(RATE_HZ)
        assert room is not None
        speech = _levelled(utterance.samples, SPEECH_RMS)
        near = _levelled(others[i].samples, SPEECH_RMS * 10 ** (rng.uniform(-3, 3) / 20)) if barge else None
        onset = int(rng.uniform(0.2 * RATE_HZ, max(0.3 * RATE_HZ, len(speech) - RATE_HZ)))
        outcomes.append(room.reply(i, speech, near, onset))
        if (i + 1) % PER_SESSION == 0 or i + 1 == len(spoken):
            gate_s, ticks = gate_s + room.gate_s, ticks + room.at // TICK_SAMPLES
    return outcomes, gate_s, ticks


def run(replies: int = REPLIES, seed: int = 1) -> dict[str, float | int]:
    """The figures. `self_ducks_per_reply` is how often a reply was held for a moment by its own echo, with the gate and
    without it: an agent that hears itself does not stop (holding silences the echo), it stutters."""
    torch.set_num_threads(1)
    espeak = voices.espeak()
    alone, gate_s, ticks = _sessions(barge=False, gated=True, seed=seed, replies=replies, espeak=espeak)
    ungated, _, _ = _sessions(barge=False, gated=False, seed=seed, replies=min(replies, PER_SESSION), espeak=espeak)
    barged, _, _ = _sessions(barge=True, gated=True, seed=seed + 1000, replies=replies, espeak=espeak)
    kept = [
        o.stopped_at is not None and o.near_start is not None and o.near_end is not None
        and o.near_start < o.stopped_at <= o.near_end + RATE_HZ // 2
        for o in barged
    ]  # fmt: skip
    waits = sorted(
        (o.stopped_at - o.near_start) * 1000 // RATE_HZ
        for o, ok in zip(barged, kept, strict=True)
        if ok and o.stopped_at is not None and o.near_start is not None
    )
    early = sum(o.stopped_at is not None and o.near_start is not None and o.stopped_at <= o.near_start for o in barged)
    return {
        "self_interruptions": sum(o.stopped_at is not None for o in alone) + early,
        "barge_in_kept": sum(kept) / len(kept),
        "self_ducks_per_reply": sum(o.ducks for o in alone) / len(alone),
        "self_ducks_per_reply_ungated": sum(o.ducks for o in ungated) / len(ungated),
        "barge_in_to_stop_ms_p50": waits[len(waits) // 2] if waits else -1,
        "gate_ms_per_tick": round(gate_s / ticks * 1000, 3),
        "replies": len(alone),
    }
