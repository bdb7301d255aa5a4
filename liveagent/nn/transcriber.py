"""`Transcriber`: a clip of speech to text, with a checkpoint's marks and rules: `ClipMel`, `SoundEncoder`, `Scribe`.

What is written begins with marks (start, language, task, whether times are written) and goes on greedily: in each step
the likeliest token that the rules allow. Times are tokens too; they come in pairs around a stretch of text and never
go back (Radford et al., "Robust speech recognition via large-scale weak supervision", 2022, and the released code).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.clip_mel import RATE_HZ, ClipMel
from liveagent.nn.scribe import Scribe
from liveagent.nn.sound import SoundEncoder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NO_SPEECH, NO_SPEECH_LOGP = 0.6, -1.0
"""A clip so likely without speech, and written with so little confidence, holds none."""
LOOP = 2.4
"""Text that a packer makes smaller by more than this says the same thing over and over: nobody said it."""
TIME_S = 0.02


@dataclass(frozen=True)
class Marks:
    """The ids that are no text, and the rules of what may follow. `times`: the id of 0.00 s; all after it are times.
    `suppressed` are never written, `suppressed_first` not as the first token; `latest_first`: how late, in steps of
    20 ms, the first time may be. Where there are no `languages` the checkpoint knows one alone, and no tasks. `usual`:
    the language that it was made for; None: it says itself which one it hears."""

    start: int
    end: int
    no_times: int
    no_speech: int
    languages: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    latest_first: int | None = None
    usual: str | None = None

    def language(self, named: str | None, otherwise: str | None = None) -> str | None:
        """The language to write in: the one that is `named`, else the one that the checkpoint was made for, else
        `otherwise` if it knows that; None: it is to say itself what it hears. ConfigError for one that it has not."""
        if named is not None:
            self.prompt(named)
            return named if self.languages else None
        return self.usual or (otherwise if otherwise in self.languages else None)

    @property
    def times(self) -> int:
        return self.no_times + 1

    def prompt(self, language: str | None, task: str = "transcribe", with_times: bool = False) -> list[int]:
        """The marks that a text begins with. ConfigError for a language or a task that the checkpoint has not."""
        ids = [self.start]
        if self.languages:
            if language not in self.languages:
                known = ", ".join(sorted(self.languages))
                raise ConfigError(f"this ear knows no language {language!r}; it knows {known}")
            ids.append(self.languages[language])
            if self.tasks and task not in self.tasks:
                raise ConfigError(f"this ear has no task {task!r}; it has {', '.join(sorted(self.tasks))}")
            ids += [self.tasks[task]] if self.tasks else []
        elif language not in (None, "en") or task != "transcribe":
            raise ConfigError(f"this ear knows English alone, and cannot {task} {language or 'en'}")
        return ids if with_times else [*ids, self.no_times]

    def allow(self, logits: Tensor, written: Sequence[int], with_times: bool) -> Tensor:
        """`logits [V]` with -inf for what may not follow `written` (the prompt left out)."""
        allowed = logits.clone()
        if not written and self.suppressed_first:
            allowed[list(self.suppressed_first)] = -torch.inf
        if self.suppressed:
            allowed[list(self.suppressed)] = -torch.inf
        if with_times:
            self._allow_times(allowed, written)
        return allowed

    def _allow_times(self, allowed: Tensor, written: Sequence[int]) -> None:
        times = self.times
        allowed[self.no_times] = -torch.inf
        last = bool(written) and written[-1] >= times
        before = len(written) < 2 or written[-2] >= times
        if last and before:  # a pair is complete, or the text has begun: now comes text
            allowed[times:] = -torch.inf
        elif last:  # the end of a stretch: now comes the beginning of the next, or the end
            allowed[: self.end] = -torch.inf
        if newest := next((each for each in reversed(written) if each >= times), 0):
            allowed[times : newest + (0 if last and not before else 1)] = -torch.inf
        if not written:
            allowed[:times] = -torch.inf
            if self.latest_first is not None:
                allowed[times + self.latest_first + 1 :] = -torch.inf
        logp = allowed.float().log_softmax(-1)
        if bool(logp[times:].logsumexp(-1) > logp[:times].max()):  # some time is likelier than any word
            allowed[:times] = -torch.inf


@dataclass(frozen=True)
class Stretch:
    """Text between two times, in seconds from the clip's beginning; the last may have no end."""

    start_s: float
    end_s: float | None
    text: str


@dataclass(frozen=True)
class Written:
    """What came of a clip. `ids` without the prompt and the end; `logp`: the mean of the tokens', the end's included;
    `no_speech`: how likely nobody speaks in it, 0 ... 1; `ended`: whether the text came to its end."""

    text: str
    ids: tuple[int, ...]
    language: str | None
    logp: float
    no_speech: float
    ended: bool
    stretches: tuple[Stretch, ...] = ()

    @property
    def spoken(self) -> bool:
        """Whether somebody said it, as far as can be told."""
        silent = self.no_speech > NO_SPEECH and self.logp < NO_SPEECH_LOGP
        return bool(self.text) and not silent and not self.looping

    @property
    def looping(self) -> bool:
        raw = self.text.encode()
        return len(raw) > LOOP * len(zlib.compress(raw))


class Transcriber:
    """One for all who ask, one clip at a time: it keeps the state of one lane."""

    def __init__(
        self, mel: ClipMel, encoder: SoundEncoder, scribe: Scribe, marks: Marks, tokenizer: Tokenizer, name: str = ""
    ) -> None:
        self.mel, self.encoder, self.scribe, self.marks, self.tokenizer = mel, encoder, scribe, marks, tokenizer
        self.name = name
        self._state = scribe.init_state(1)

    @property
    def clip_s(self) -> float:
        """How much sound it takes at once."""
        return self.mel.samples / RATE_HZ

    @property
    def device(self) -> torch.device:
        return self.scribe.embedding.weight.device

    @torch.inference_mode()
    def write(
        self,
        samples: npt.NDArray[np.float32],
        language: str | None = None,
        task: str = "transcribe",
        with_times: bool = False,
        most_tokens: int | None = None,
        begun: Sequence[int] = (),
        go_on: Callable[[], bool] = lambda: True,
    ) -> Written:
        """Write down 16 kHz mono sound, no more than `clip_s` of it. `language`: None lets the network say which it
        hears. `begun`: what it begins with, as an earlier `Written.ids` did. `go_on` is asked before every token; False
        ends the text there.

        Raises ConfigError for a language or task that the checkpoint has not.
        """
        return self.write_encoded(self.encode(samples), language, task, with_times, most_tokens, begun, go_on)

    @torch.inference_mode()
    def encode(self, samples: npt.NDArray[np.float32]) -> Tensor:
        """A clip to the encoder's rows `[S, D]`; what is no number counts as silence."""
        clean = np.nan_to_num(np.asarray(samples, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        mel: Tensor = self.mel(torch.from_numpy(np.clip(clean, -1.0, 1.0))[None].to(self.device))
        rows: Tensor = self.encoder(mel.to(self.scribe.embedding.weight.dtype))[0]
        return rows

    @torch.inference_mode()
    def write_encoded(
        self,
        encoded: Tensor,
        language: str | None = None,
        task: str = "transcribe",
        with_times: bool = False,
        most_tokens: int | None = None,
        begun: Sequence[int] = (),
        go_on: Callable[[], bool] = lambda: True,
    ) -> Written:
        """As `write`, of what `encode` gave."""
        marks, state, scribe = self.marks, self._state, self.scribe
        scribe.listen(encoded, state, 0)
        first = self._step([marks.start])[0]
        no_speech = float(first.float().softmax(-1)[marks.no_speech])
        if language is None and marks.languages:
            language = max(marks.languages, key=lambda each: float(first[marks.languages[each]]))
        prompt = marks.prompt(language, task, with_times)
        after = first[None]  # [tokens so far, V]
        if rest := [*prompt[1:], *begun]:
            after = torch.cat([after, self._step(rest)])
        room = scribe.config.places - len(prompt) - len(begun)
        written = list(begun)
        logps = [
            float(marks.allow(logits, written[:at], with_times).float().log_softmax(-1)[each])
            for at, (each, logits) in enumerate(zip(written, after[len(prompt) - 1 :], strict=False))
        ]
        logits = after[-1]
        ended = False
        for _ in range(room if most_tokens is None else min(room, most_tokens)):
            if not go_on():
                break
            allowed = marks.allow(logits, written, with_times)
            best = int(allowed.argmax())
            logps.append(float(allowed.float().log_softmax(-1)[best]))
            if best == marks.end:
                ended = True
                break
            written.append(best)
            logits = self._step([best])[-1]
        logp = sum(logps) / len(logps) if logps else 0.0
        stretches = tuple(self._stretches(written)) if with_times else ()
        return Written(self.text(written), tuple(written), language, logp, no_speech, ended, stretches)

    def text(self, ids: Sequence[int]) -> str:
        """The words that ids say; marks and times say none."""
        said: str = self.tokenizer.decode([each for each in ids if each < self.marks.end], skip_special_tokens=True)
        return said.strip()

    def _step(self, ids: list[int]) -> Tensor:
        rows = torch.tensor([ids], device=self.device)
        return self.scribe.step(rows, [len(ids)], self._state)[0]

    def _stretches(self, ids: Sequence[int]) -> list[Stretch]:
        found: list[Stretch] = []
        start, begun = 0.0, 0
        for at, each in enumerate(ids):
            if each < self.marks.times:
                continue
            t_s = (each - self.marks.times) * TIME_S
            if at > begun:
                found.append(Stretch(start, t_s, self.text(ids[begun:at])))
            start, begun = t_s, at + 1
        if begun < len(ids):
            found.append(Stretch(start, None, self.text(ids[begun:])))
        return found
