"""The loudspeaker taken out of the microphone, so that the agent does not hear itself.

We know what was played. Three steps, in blocks of 16 ms:

1. Delay: the coherence between microphone and reference, for every delay up to half a second, finds where the echo
   begins; the filter is laid there and moved along when it drifts.
2. Cancel: a partitioned frequency-domain Kalman filter (Enzner & Vary, "Frequency-domain adaptive Kalman filter for
   acoustic echo control in hands-free telephones", Signal Processing 86, 2006) learns the room and subtracts the echo.
   It needs no double-talk detector: whoever speaks nearby raises its noise estimate and so slows it down by itself.
3. Suppress: what is left is predicted per band from the reference's power and the return that was seen so far, and
   taken out by a Wiener gain. The return starts at a pessimistic guess, so the first word of the first reply is covered
   before anything has been learned.

While nothing was played for as long as an echo can last, the microphone passes bit for bit, `DELAY_SAMPLES` late.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from liveagent.audio import RATE_HZ, Samples, finite

Reals = NDArray[np.float64]
Spectra = NDArray[np.complex128]

BLOCK_SAMPLES = 256
DELAY_SAMPLES = BLOCK_SAMPLES
"""The clean sound is this much later than what was fed: one overlap."""
_FRAME = 2 * BLOCK_SAMPLES
_BINS = BLOCK_SAMPLES + 1
_WINDOW: Reals = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME)  # its square overlaps to one
_SILENT = 1e-5  # root mean square: nothing is being played
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class EchoConfig:
    """longest_ms: the latest that an echo may begin after the reference says it sounded. tail_ms: how long the room
    goes on. prior_db: the return that is feared before any is known. over_db: how far above the predicted residue a
    sound must be to count as somebody's. floor_db: how much is taken out at most. Somebody is near when at least
    near_end_share of the sound is not echo and that much is above near_end_dbfs.
    """

    longest_ms: int = 512
    tail_ms: int = 160
    prior_db: float = -9.0
    over_db: float = 9.0
    floor_db: float = -40.0
    near_end_share: float = 0.25
    near_end_dbfs: float = -55.0
    bands: int = 20

    @property
    def delays(self) -> int:
        return self.longest_ms * RATE_HZ // 1000 // BLOCK_SAMPLES

    @property
    def partitions(self) -> int:
        return self.tail_ms * RATE_HZ // 1000 // BLOCK_SAMPLES


@dataclass(slots=True)
class EchoState:
    """All that one stream's gate remembers; constant in size but for less than a block of waiting input.

    Shapes: K bins, P partitions, D + P blocks of reference, N bands.
    """

    mic: Reals  # [2 * block] the last frame
    reference: Reals  # [2 * block]
    error: Reals  # [2 * block] after the linear filter
    history: Spectra  # [D + P, K] reference frames, newest first
    powers: Reals  # [D + P, N] their power per band
    cross: Spectra  # [D, k] averaged cross spectrum per delay, of the bins that carry speech
    mic_power: Reals  # [k]
    reference_power: Reals  # [k]
    weights: Spectra  # [P, K]
    doubt: Reals  # [P, K] the Kalman filter's uncertainty about its weights
    gain: Reals  # [2] smoothed energy before and after the linear filter
    near_power: Reals  # [K]
    smooth_error: Reals  # [N]
    return_db: Reals  # [N] residue over reference, per band
    overlap: Reals  # [block] the second half of the last suppressed frame
    passed: NDArray[np.bool_]  # [1] the last frame was untouched
    late_blocks: NDArray[np.int64]  # [1] where the filter lies
    agreed: NDArray[np.int64]  # [2] the likeliest delay, and how often in a row it was
    known: NDArray[np.bool_]  # [1] whether a delay was ever found
    blocks: NDArray[np.int64]  # [1] blocks with sound in the reference or its tail so far
    waiting_mic: Samples  # < block
    waiting_reference: Samples

    def copy(self) -> EchoState:
        """An independent state that goes on identically."""
        return EchoState(*(getattr(self, f.name).copy() for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """samples: [T] float32, a whole number of blocks. Per block of them: echo_ratio [T / block] is how much of the
    sound was echo (0 … 1), near_end whether somebody was there beside it (True while nothing is played)."""

    samples: Samples
    echo_ratio: Reals
    near_end: NDArray[np.bool_]


class Echo:
    """The gate: rules and fixed tables; everything that changes is in the state."""

    def __init__(self, config: EchoConfig | None = None) -> None:
        self.config = c = config or EchoConfig()
        hz = np.arange(_BINS) * RATE_HZ / _FRAME
        # Bands of about equal width on the mel scale; every bin is in exactly one, every band has at least one bin.
        mel = np.log1p(hz / 700.0)
        edges = np.searchsorted(mel, np.linspace(0, mel[-1], c.bands + 1)[:-1])
        self._starts = np.unique(edges)
        self._band = np.searchsorted(self._starts, np.arange(_BINS), side="right") - 1
        self._speech = slice(int(300 * _FRAME / RATE_HZ), int(4000 * _FRAME / RATE_HZ))
        self._band_speech = (hz[self._starts] >= 200) & (hz[self._starts] < 5000)
        self._floor = 10 ** (c.floor_db / 20)
        self._tail: Reals = 10 ** (-0.2 * np.arange(c.partitions, dtype=np.float64))[:, None]  # 2 dB a block

    def init_state(self) -> EchoState:
        c = self.config
        bands = len(self._starts)
        kept = self._speech.stop - self._speech.start
        blocks = c.delays + c.partitions
        return EchoState(
            mic=np.zeros(_FRAME),
            reference=np.zeros(_FRAME),
            error=np.zeros(_FRAME),
            history=np.zeros((blocks, _BINS), np.complex128),
            powers=np.zeros((blocks, bands)),
            cross=np.zeros((c.delays, kept), np.complex128),
            mic_power=np.zeros(kept),
            reference_power=np.zeros(kept),
            weights=np.zeros((c.partitions, _BINS), np.complex128),
            doubt=np.full((c.partitions, _BINS), _DOUBT),
            gain=np.zeros(2),
            near_power=np.zeros(_BINS),
            smooth_error=np.zeros(bands),
            return_db=np.full(bands, c.prior_db),
            overlap=np.zeros(BLOCK_SAMPLES),
            passed=np.ones(1, np.bool_),
            late_blocks=np.zeros(1, np.int64),
            agreed=np.zeros(2, np.int64),
            known=np.zeros(1, np.bool_),
            blocks=np.zeros(1, np.int64),
            waiting_mic=np.zeros(0, np.float32),
            waiting_reference=np.zeros(0, np.float32),
        )

    def feed(self, mic: Samples, reference: Samples, state: EchoState) -> Cleaned:
        """mic, reference: [T] float32 of the same stretch of time, any T; silence where nothing was played. Gives every
        block that is complete; any cutting of the input gives the same blocks."""
        assert mic.shape == reference.shape and mic.ndim == 1, "microphone and reference go together, [T]"
        mic = np.concatenate([state.waiting_mic, finite(mic)])
        reference = np.concatenate([state.waiting_reference, finite(reference)])
        blocks = len(mic) // BLOCK_SAMPLES
        cleaned = np.empty(blocks * BLOCK_SAMPLES, np.float32)
        ratio = np.zeros(blocks)
        near_end = np.ones(blocks, np.bool_)
        for b in range(blocks):
            at = slice(b * BLOCK_SAMPLES, (b + 1) * BLOCK_SAMPLES)
            cleaned[at], ratio[b] = self._block(np.clip(mic[at], -1, 1), np.clip(reference[at], -1, 1), state)
            near_end[b] = self._is_near(cleaned[at], ratio[b], state)
        state.waiting_mic = mic[blocks * BLOCK_SAMPLES :].astype(np.float32)
        state.waiting_reference = reference[blocks * BLOCK_SAMPLES :].astype(np.float32)
        return Cleaned(cleaned, ratio, near_end)

    def _block(self, mic: Samples, reference: Samples, s: EchoState) -> tuple[Reals, float]:
        _push(s.mic, mic)
        _push(s.reference, reference)
        if not s.reference.any() and not s.powers.any():  # nothing is played and nothing is left: most of the time
            s.history[:] = 0  # what is too quiet to have a power
            _push(s.error, s.mic[BLOCK_SAMPLES:])
            return self._pass(s), 0.0
        spectrum = np.fft.rfft(s.reference)
        s.history[1:] = s.history[:-1]
        s.history[0] = spectrum
        s.powers[1:] = s.powers[:-1]
        s.powers[0] = self._bands(spectrum)
        if not s.powers.any():  # no echo can be left
            _push(s.error, s.mic[BLOCK_SAMPLES:])
            return self._pass(s), 0.0
        sounding = float(np.sqrt(np.mean(s.reference[BLOCK_SAMPLES:] ** 2))) > _SILENT
        s.blocks[0] += 1
        if sounding and s.blocks[0] % 2:
            self._find_delay(s)
        self._cancel(s)
        return self._suppress(s)

    def _is_near(self, cleaned: Samples, ratio: float, s: EchoState) -> bool:
        if not s.powers.any():
            return True
        level = float(np.mean(np.square(cleaned, dtype=np.float64)))
        return 1.0 - ratio >= self.config.near_end_share and level >= 10 ** (self.config.near_end_dbfs / 10)

    def _bands(self, spectrum: Spectra) -> Reals:
        power: Reals = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, self._starts)
        return power

    # ---- 1. where the echo begins ------------------------------------------------------------------------------------

    def _find_delay(self, s: EchoState) -> None:
        c, k = self.config, self._speech
        mic = np.fft.rfft(s.mic)[k]
        reference = s.history[: c.delays, k]
        keep = 0.94  # of every second block: half a second
        s.cross *= keep
        s.cross += (1 - keep) * (reference.conj() * mic)
        s.mic_power *= keep
        s.mic_power += (1 - keep) * (mic.real**2 + mic.imag**2)
        s.reference_power *= keep
        s.reference_power += (1 - keep) * (reference[0].real ** 2 + reference[0].imag ** 2)
        scale = s.mic_power * s.reference_power + _TINY
        score = (s.cross.real**2 + s.cross.imag**2) @ (1 / (scale * len(scale)))
        best = int(np.argmax(score))
        # Few frames look coherent at every delay, and many at the right one only: so against the others, too.
        s.agreed[:] = (best, s.agreed[1] + 1 if abs(best - s.agreed[0]) <= 1 else 0)
        sure = score[best] >= max(0.1, 4 * float(np.median(score))) and s.agreed[1] >= 6
        if not sure or s.blocks[0] < c.delays // 2:
            return
        target = max(0, best - 1)
        move = target - int(s.late_blocks[0])
        if s.known[0] and abs(move) < 3:
            return  # the filter still covers it
        s.late_blocks[0], s.known[0] = target, True
        if move:
            _shift(s.weights, -move, 0.0)
            s.doubt[:] = _DOUBT

    # ---- 2. the linear part ------------------------------------------------------------------------------------------

    def _cancel(self, s: EchoState) -> None:
        late = int(s.late_blocks[0])
        x = s.history[late : late + self.config.partitions]
        estimate = np.fft.irfft(np.einsum("pk,pk->k", s.weights, x))[BLOCK_SAMPLES:]
        block = s.mic[BLOCK_SAMPLES:]
        error = block - estimate
        s.gain *= 0.9
        s.gain += (0.1 * float(block @ block), 0.1 * float(error @ error))
        if s.gain[1] > 1.5 * s.gain[0] + 1e-6:  # the room changed: worse than nothing, so begin anew
            s.weights[:] = 0
            s.doubt[:] = _DOUBT
            s.gain[1] = s.gain[0]
            error = block.copy()
        _push(s.error, error)
        spectrum = np.fft.rfft(np.concatenate([np.zeros(BLOCK_SAMPLES), error]))
        s.near_power *= 0.7
        s.near_power += 0.3 * (spectrum.real**2 + spectrum.imag**2)
        power = x.real**2 + x.imag**2
        gain = s.doubt / (np.einsum("pk,pk->k", power, s.doubt) + 2 * s.near_power + 1e-6)
        s.doubt *= 1 - 0.5 * gain * power
        s.weights += gain * x.conj() * spectrum
        s.weights *= _STAY
        # A partition is a block of taps and no more; every second one is held to it in each block, which is enough.
        rows = slice(int(s.blocks[0]) % 2, None, 2)
        taps = np.fft.irfft(s.weights[rows], axis=1)
        taps[:, BLOCK_SAMPLES:] = 0
        s.weights[rows] = np.fft.rfft(taps, axis=1)
        s.doubt *= _STAY**2
        s.doubt += (1 - _STAY**2) * (s.weights.real**2 + s.weights.imag**2) + 1e-10

    # ---- 3. what is left ---------------------------------------------------------------------------------------------

    def _suppress(self, s: EchoState) -> tuple[Reals, float]:
        c = self.config
        frame = np.fft.rfft(s.error * _WINDOW)
        power = self._bands(frame)
        s.smooth_error *= 0.5
        s.smooth_error += 0.5 * power
        if s.known[0]:
            late = int(s.late_blocks[0])
            returning = s.powers[late : late + c.partitions] * (0.5 * self._tail)  # half: the window's share of a frame
            feared = returning.max(axis=0)
            # Learn where the reference is loud just now: in its gaps the room has faded further than is feared.
            loud = (feared > 1e-4) & (returning[:3].max(axis=0) > 0.5 * feared)
            drift = 10 * np.log10((s.smooth_error + _TINY) / (feared + _TINY)) - s.return_db
            # Down quickly, up slowly: whoever speaks nearby looks like a loud return, but not for long.
            step = np.where(drift < 0, np.maximum(0.06 * drift, -1.5), np.minimum(0.06 * drift, 0.12))
            s.return_db += np.where(loud, step, 0.0)
            np.clip(s.return_db, -80.0, 10.0, out=s.return_db)
            residue = feared * 10 ** ((s.return_db + c.over_db) / 10)
        else:  # somewhere in all that was played lies what may come back
            residue = 0.5 * s.powers.max(axis=0) * 10 ** (s.return_db / 10)
        wiener = np.clip(1.0 - residue / (s.smooth_error + _TINY), 0.0, 1.0)
        wanted = s.smooth_error[self._band_speech]
        ratio = 1.0 - float(wiener[self._band_speech] @ wanted) / (float(wanted.sum()) + _TINY)
        if (wiener == 1.0).all():
            return self._pass(s), ratio
        if s.passed[0]:
            s.overlap[:] = s.error[:BLOCK_SAMPLES] * _WINDOW[BLOCK_SAMPLES:] ** 2
        clean = np.fft.irfft(frame * np.maximum(wiener, self._floor)[self._band]) * _WINDOW
        out = s.overlap + clean[:BLOCK_SAMPLES]
        s.overlap[:] = clean[BLOCK_SAMPLES:]
        s.passed[0] = False
        return out, ratio

    def _pass(self, s: EchoState) -> Reals:
        """The last block but one as it is, faded in from a suppressed frame where there was one."""
        out = s.error[:BLOCK_SAMPLES].copy()
        if not s.passed[0]:
            out = s.overlap + out * _WINDOW[:BLOCK_SAMPLES] ** 2
            s.passed[0] = True
        return out


_DOUBT = 0.3
_STAY = 0.9995  # the room is believed to change by this much a block


def _push(frame: Reals, block: NDArray[np.floating]) -> None:
    frame[:BLOCK_SAMPLES] = frame[BLOCK_SAMPLES:]
    frame[BLOCK_SAMPLES:] = block


def _shift(rows: NDArray, by: int, fill: float) -> None:  # type: ignore[type-arg]
    """Row p goes to p + by; what comes in is `fill`."""
    rows[:] = np.roll(rows, by, axis=0)
    if by > 0:
        rows[:by] = fill
    elif by < 0:
        rows[by:] = fill
