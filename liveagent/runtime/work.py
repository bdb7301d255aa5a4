"""What a session may ask of the engine, and what it gets back: the messages of the boundary between them.

Plain dataclasses of numpy arrays and numbers. They cross a thread today and can cross a process boundary tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from liveagent.tool import Tool

# --- what a session may ask for -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listen:
    """One tick of sound: float32 `[1280]`. Answered with `Heard`."""

    samples: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Soft:
    """What the ear thought at each of n spikes: `weights` float32 `[n, V]`, its probabilities over the blank and its
    pieces, and `hidden` float32 `[n, D]`, its state there. Read as weighted piece embeddings, state beside them."""

    weights: np.ndarray
    hidden: np.ndarray

    def part(self, start: int, end: int) -> Soft:
        return Soft(self.weights[start:end], self.hidden[start:end])


@dataclass(frozen=True, slots=True)
class Append:
    """Put tokens into the cache at the write pointer. `want`: ids whose log-probabilities at the end to return.

    `soft`: what the ear heard in place of each of `ids`, which then only name the likeliest piece; None: hard ids.
    """

    ids: tuple[int, ...]
    want: tuple[int, ...] = ()
    soft: Soft | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask on the scratch branch: append `ids`, read `want`, drop the branch. The lane is as before."""

    ids: tuple[int, ...]
    want: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rewind:
    """Take back every slot from `length` on."""

    length: int


@dataclass(frozen=True, slots=True)
class Decode:
    """Choose and append up to `max_tokens` tokens, ending after one of `stop`.

    `allowed`: the ids the first token may be (empty: any). `call`: decode the arguments of a tool call under the
    grammar of the lane's tools. The cache must end with an `Append` or a `Decode`: its last logits are what is chosen
    from.
    """

    max_tokens: int
    stop: tuple[int, ...]
    allowed: tuple[int, ...] = ()
    call: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Empty the lane: cache, ear and VAD. `tools` are those whose calls the grammar admits."""

    tools: tuple[Tool, ...] = ()


Work = Listen | Append | Probe | Rewind | Decode | Reset


@dataclass(frozen=True, slots=True)
class Heard:
    """What one tick gave: `vad` one speech probability per finished 32 ms frame; the ear's block if one closed.

    `logp` float32 `[4, V]` CTC log-probabilities, `hidden` `[4, D]`, `kind` `[4, 4]` probabilities of speech, silence,
    music, noise; all three None in a tick in which no 160 ms block closed.
    """

    vad: tuple[float, ...]
    logp: np.ndarray | None = None
    hidden: np.ndarray | None = None
    kind: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a cache operation: the cache's length after it, chosen `ids`, `logp` of the wanted ids.

    `steps` counts decoder steps between the request and its first result: for `Decode` from the request to the first
    token, else the steps that the appending took.
    """

    length: int
    ids: tuple[int, ...] = ()
    ended: bool = True
    logp: tuple[float, ...] = ()
    steps: int = 0


Reply = Heard | Done
