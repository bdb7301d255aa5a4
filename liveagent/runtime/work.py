"""What a session may ask of the engine, and what it gets back: the messages of the boundary between them.

Plain dataclasses of numpy arrays and numbers. They cross a thread today and can cross a process boundary tomorrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveagent.ledger import CachePlan

if TYPE_CHECKING:
    from liveagent.tool import Tool

VAD_FRAME_SAMPLES = 512
"""32 ms: what the VAD gives one probability for."""

# --- what a session may ask for -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listen:
    """One tick of sound: float32 `[1280]`. Answered with `Heard`."""

    samples: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One picture as the model's eye sees it: `pixels` uint8 `[H, W, 3]`, nano's 128 x 128. `patches` bool `[N]`: which
    of its 16 px patches, row by row from the top left, are encoded anew, the others standing as they were seen before;
    None: all of them. Answered with `Seen`."""

    pixels: np.ndarray
    patches: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Soft:
    """What the ear thought at each of n spikes: `weights` float32 `[n, V]`, its probabilities over the blank and its
    pieces, and `hidden` float32 `[n, D]`, its state there. Read as weighted piece embeddings, state beside them."""

    weights: np.ndarray
    hidden: np.ndarray

    def part(self, start: int, end: int) -> Soft:
        return Soft(self.weights[start:end], self.hidden[start:end])


@dataclass(frozen=True, slots=True, eq=False)
class Sights:
    """What the eye said of k cells of a picture: `sight` float32 `[k, 20]` (see `liveagent.sight`), of an eye that does
    not speak in words `[k, D]`, as its decoder reads it; `cells` int64 `[k]`, the numbers of those cells."""

    sight: np.ndarray
    cells: np.ndarray

    def part(self, start: int, end: int) -> Sights:
        return Sights(self.sight[start:end], self.cells[start:end])


@dataclass(frozen=True, slots=True, eq=False)
class Sounds:
    """What the model's own ear made of n stretches of sound: `rows` float32 `[n, D]`, as its decoder reads them."""

    rows: np.ndarray

    def part(self, start: int, end: int) -> Sounds:
        return Sounds(self.rows[start:end])


@dataclass(frozen=True, slots=True, eq=False)
class Encode:
    """What somebody says, for the model's own ear: float32 `[n]`, an utterance's next samples; with `begins` its
    first, and nothing that the ear heard before counts. Answered with `Encoded`."""

    samples: np.ndarray
    begins: bool = False


@dataclass(frozen=True, slots=True)
class Append:
    """Put tokens into the cache at the write pointer. `want`: ids whose log-probabilities at the end to return.

    `soft`: what the ear heard in place of each of `ids`, which then only name the likeliest piece. `sights`: what the
    eye saw in place of the last k of `ids`, which are `<image>` each; `sounds`: what the model's own ear made in place
    of the last n. None of them: hard ids. `t_s`: when the tokens came, in seconds since the session began.
    """

    ids: tuple[int, ...]
    want: tuple[int, ...] = ()
    soft: Soft | None = None
    sights: Sights | None = None
    t_s: float = 0.0
    sounds: Sounds | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask on the scratch branch at `t_s`: append `ids`, read `want`, drop the branch. The lane is as before. The branch
    does not see the lane's tokens `hide`, from and up to, counted from its oldest. `sights`: it begins with a picture;
    what the eye saw stands for `ids` from number `seen_at` on."""

    ids: tuple[int, ...]
    want: tuple[int, ...]
    t_s: float = 0.0
    hide: tuple[int, int] = (0, 0)
    sights: Sights | None = None
    seen_at: int = 1


@dataclass(frozen=True, slots=True)
class Rewind:
    """Take back every slot from `length` on."""

    length: int


@dataclass(frozen=True, slots=True)
class Evict:
    """Obey a plan: its holes leave the cache, what it moves is rotated to its new place. `first`: the ledger's place of
    the lane's oldest token when the plan was made."""

    plan: CachePlan
    first: int


@dataclass(frozen=True, slots=True)
class Decode:
    """Choose and append up to `max_tokens` tokens, ending after one of `stop`.

    `allowed`: the ids the first token may be (empty: any); `never`: those that none may be. `call`: decode the
    arguments of a tool call under the grammar of the lane's tools, or of `tools` where these are given. The cache must
    end with an `Append` or a `Decode`: its last logits are what is chosen from.
    """

    max_tokens: int
    stop: tuple[int, ...]
    allowed: tuple[int, ...] = ()
    call: bool = False
    t_s: float = 0.0
    tools: tuple[Tool, ...] = ()
    never: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """Empty the lane: cache, ear, VAD and eye. `tools` are those whose calls the grammar admits."""

    tools: tuple[Tool, ...] = ()


Work = Listen | Look | Encode | Append | Probe | Rewind | Evict | Decode | Reset


@dataclass(frozen=True, slots=True)
class Heard:
    """What one tick gave: `vad` one speech probability per finished 32 ms frame; the ear's block if one closed.

    `logp` float32 `[4, V]` CTC log-probabilities, `hidden` `[4, D]`, `kind` `[4, 4]` probabilities of speech, silence,
    music, noise; all three None in a tick in which no 160 ms block closed or the ear slept. When it has just woken,
    several blocks came at once, `[4 n, …]`.
    """

    vad: tuple[float, ...]
    logp: np.ndarray | None = None
    hidden: np.ndarray | None = None
    kind: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the eye makes of a picture: `sight` float32 `[16, 20]` (see `liveagent.sight`), or rows `[n, D]` that the
    decoder reads; `patches` of `of` patches went through it."""

    sight: np.ndarray
    patches: int
    of: int


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What the model's own ear makes of the sound that it has whole stretches of: `rows` float32 `[n, D]`, perhaps
    none. What is over waits for the next."""

    rows: np.ndarray


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


Reply = Heard | Seen | Encoded | Done
