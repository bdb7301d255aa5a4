"""`Agent`: the frozen specification of one agent. It holds no weights and opens nothing; a session is made from it."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from liveagent.automaton import Automaton
from liveagent.errors import ConfigError
from liveagent.languages import code_of
from liveagent.plan import Cost, Plan, check_cache_tokens, check_precision
from liveagent.policy import Policy
from liveagent.source import ToolSource, check_sources, parted
from liveagent.spoken import spoken
from liveagent.tool import Tool, check_policy, check_tools
from liveagent.watch import Watch, check_watches


@dataclass(frozen=True, eq=False)
class Agent:
    """Everything that makes one agent: `Agent("nano", instructions="Be brief.", tools=[light])`.

    `model` is a name or the path of a weights folder. `questions` are phrases (no arguments) that the model answers
    in words. `wake`: act only on what follows this phrase; None listens always. `voice`: a name that espeak-ng knows, a
    voice file of piper's or Kokoro's ("lessac.onnx", "kokoro-v1.0.onnx#bf_emma"), None for silence. `ear` is a
    pretrained ear that hears along, a folder or a hub's name ("openai/whisper-small"): its words go before the others',
    in `language` ("de"); None: as the ear was made for, English in front of nano, else the one that it hears.
    `device` is torch's name of where they run. `say`: how words that no dictionary has are said, in words that it has
    ("zigbee": "zig bee"). `camera`: what it looks at when nothing else is given: "table" (the toy table), "camera",
    "screen", a device, a file or an address. `watches`: what it waits for in what it sees. `answers`: False listens and
    looks, and speaks only when it is asked to. `remark`: a question that it asks itself whenever what it sees has
    changed, and answers aloud. `sources`: where more tools come from once it lives, such as `Home(...)`; those that are
    given among `tools` are put here. `policy`: what its calls may do, beside what each tool says itself. `dtype` and
    `quantize` ("int8", "int4"): how precise an open model's weights are in memory, else as it suits the device.
    `cache_tokens`: how many tokens one session holds before the oldest go; None: 1536 with nano, 8192 with an open
    model. Raises ConfigError for anything that could not work, before anything is opened.
    """

    model: str = "nano"
    instructions: str = "Be brief."
    tools: Sequence[Tool] = ()
    questions: Sequence[str] = ()
    wake: str | None = None
    voice: str | None = "espeak"
    seed: int = 0
    device: str = "cpu"
    say: Mapping[str, str] = field(default_factory=dict)
    watches: Sequence[Watch] = ()
    camera: str | None = None
    answers: bool = True
    remark: str | None = None
    sources: Sequence[ToolSource] = ()
    policy: Policy = field(default_factory=Policy)
    ear: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    cache_tokens: int | None = None
    language: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ConfigError(f"model={self.model!r}: give a name such as 'nano', or the path of a weights folder")
        if not isinstance(self.instructions, str):
            raise ConfigError("instructions= wants a text")
        for name in ("tools", "questions", "watches", "sources"):
            value = getattr(self, name)
            if isinstance(value, str | Tool | Watch) or not isinstance(value, Sequence):
                raise ConfigError(f"{name}= wants a list: {name}=[...]")
            object.__setattr__(self, name, tuple(value))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed={self.seed!r}: give a whole number from 0")
        if self.wake is not None:
            object.__setattr__(self, "wake", spoken(self.wake))
            if not self.wake:
                raise ConfigError("wake= has no word in it: give what one says to wake the agent, or None")
        if self.voice is not None and not (isinstance(self.voice, str) and self.voice):
            raise ConfigError(f"voice={self.voice!r}: give a name, a path, or None for silence")
        if self.ear is not None and not (isinstance(self.ear, str) and self.ear):
            raise ConfigError(f"ear={self.ear!r}: give a pretrained ear's folder or name, or None")
        if self.language is not None:
            code = code_of(self.language) if isinstance(self.language, str) else None
            if code is None:
                raise ConfigError(
                    f"language={self.language!r}: give a language's code or English name, such as de or german"
                )
            if self.ear is None:
                raise ConfigError("language= is what a pretrained ear writes down: give an ear= too")
            object.__setattr__(self, "language", code)
        if self.camera is not None and not (isinstance(self.camera, str) and self.camera):
            raise ConfigError(f"camera={self.camera!r}: give table, camera, screen, a device, a file or an address")
        if self.remark is not None:
            object.__setattr__(self, "remark", spoken(self.remark))
            if not self.remark:
                raise ConfigError("remark= has no word in it: give a question that it is to answer, or None")
        if not re.fullmatch(r"(cpu|cuda|mps)(:\d+)?", self.device):
            raise ConfigError(f"device={self.device!r}: give cpu, cuda, cuda:0, ... or mps")
        check_precision(self.dtype, self.quantize)
        check_cache_tokens(self.cache_tokens)
        object.__setattr__(self, "say", {spoken(word): spoken(how) for word, how in self.say.items()})
        check_sources(self.sources)
        tools, more = parted(self.tools)
        object.__setattr__(self, "tools", tuple(tools))
        object.__setattr__(self, "sources", (*self.sources, *(each for each in more if each not in self.sources)))
        check_tools(self.tools, self.questions)
        check_policy(self.policy, self.tools)
        check_watches(self.watches)
        _ = self.automaton  # its limits are errors of the one who wrote the agent, so they come now

    @cached_property
    def automaton(self) -> Automaton:
        """Everything that may be said to this agent."""
        return Automaton.of(self.tools, self.questions)

    @cached_property
    def pronounced(self) -> Mapping[str, str]:
        """`say` of the agent and of all its tools; the agent's own has the last word."""
        said = {word: how for tool in self.tools for word, how in tool.say.items()}
        return {**said, **self.say}

    def tool(self, name: str) -> Tool:
        """The tool of that name; KeyError when there is none."""
        for tool in self.tools:
            if tool.name == name:
                return tool
        raise KeyError(name)

    def replace(self, **changes: Any) -> Agent:
        """Another agent, with these fields changed. Raises ConfigError."""
        names = [each.name for each in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                raise ConfigError(f"an agent has no {name!r}; it has {', '.join(names)}")
        return dataclasses.replace(self, **changes)

    def plan(self, *, cache_tokens: int | None = None, lanes: int | None = None) -> Plan:
        """What it will listen for, and what its model would cost on its device, before anything is fetched or loaded.
        `cache_tokens`: instead of its own; `lanes`: for so many who talk at once.

        Raises:
            ConfigError: there is no such model, or none that liveagent can read, or its cache does not hold the prompt.
            LinkError: its model has a hub's name, and the hub cannot be reached.
        """
        path = Path(self.model)
        weights = path if path.exists() else None
        cost, ear = self._cost(cache_tokens, lanes)
        files = [path] if path.is_file() else sorted(path.rglob("*")) if weights else []
        return Plan(
            model=self.model,
            weights=weights,
            weights_bytes=sum(each.stat().st_size for each in files if each.is_file()),
            tools=tuple(tool.name for tool in self.tools),
            sentences=self.automaton.sentences,
            words=len(self.automaton.words),
            states=self.automaton.states,
            typed_only=tuple(
                phrase.text
                for tool in self.tools
                for phrase in tool.phrases
                if any(tool.argument(name).kind == "text" for name in phrase.names)
            ),
            camera=self.camera,
            watches=tuple(watch.condition for watch in self.watches),
            cost=cost,
            ear=ear,
        )

    def _cost(self, cache_tokens: int | None, lanes: int | None) -> tuple[Cost | None, Cost | None]:
        """Its model's, None of nano, and its pretrained ear's."""
        from liveagent.runtime.holding import check_held
        from liveagent.runtime.open_model import is_checkpoint, read_model
        from liveagent.runtime.weighing import LANES, is_checkpoint_name, weigh, weigh_ear

        agent = self if cache_tokens is None else self.replace(cache_tokens=cache_tokens)
        if self.model == "nano":
            check_held(agent, read_model(None, self.device))
        if not is_checkpoint_name(self.model):
            return None, None if self.ear is None else weigh_ear(self.ear, self.device)
        found = weigh(
            self.model, self.device, dtype=self.dtype, quantize=self.quantize, cache_tokens=agent.cache_tokens,
            lanes=lanes or LANES, ear=self.ear,
        )  # fmt: skip
        if found.family.live and not found.family.ear and is_checkpoint(self.model):
            check_held(agent, read_model(self.model, self.device))
        return found.cost, found.cost.ear

    def fetch(self, progress: Callable[[str, int, int], None] | None = None, *, lanes: int | None = None) -> Agent:
        """The same agent with its model on this disk: itself, or where its model has a hub's name, one whose model is
        the folder of it, fetched if it is not there yet. `progress`: told the file, the bytes that came, and of how
        many; `lanes`: for so many who talk at once. A pretrained ear is weighed too, and not fetched.

        Raises:
            ConfigError: there is no such model, or none that can talk.
            DeviceError: it does not fit into memory or onto the disk; said before a byte of its weights comes.
            LinkError: the hub cannot be reached, or breaks off; what came is kept.
        """
        if self.model == "nano" and self.ear is None:
            return self
        from liveagent.runtime.weighing import LANES, check_ear, fetched, is_checkpoint_name

        if not is_checkpoint_name(self.model):
            if self.ear is not None:
                check_ear(self.ear, self.device)
            return self
        folder = fetched(
            self.model, self.device, progress, dtype=self.dtype, quantize=self.quantize,
            cache_tokens=self.cache_tokens, lanes=lanes or LANES, ear=self.ear,
        )  # fmt: skip
        return self.replace(model=str(folder))

    def talk(self, source: str | None = None, *, typed: Sequence[str] | None = None) -> None:
        """Talk with it in this terminal until Ctrl-C, or until the source ends.

        `source`: "mic", or a file or URL heard as if it were one; by default the microphone if there is one, else the
        shipped clip. `typed`: no sound at all, these lines instead, one after the other.
        Raises LiveAgentError for what is missing.
        """
        from liveagent.cli import talk_with

        with contextlib.suppress(KeyboardInterrupt):
            talk_with(self, self.model, source=source, text_only=typed is not None, typed=typed)
