"""`verify`: some minutes with the real weights of an open checkpoint, in the loop that people will talk with.

Parity on random weights proves networks; it proves neither template nor stop tokens nor that anything sensible is said.
So what was written elsewhere is asked here of the checkpoint itself, on the machine where it is to run. The shipped
engine, session and listener are what is checked; only people, microphone and loudspeaker are pretended.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from liveagent.action import CallTool
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, Samples
from liveagent.errors import ConfigError, DeviceError, LiveAgentError, ToolError
from liveagent.event import Interrupted, PictureKept, ReplyEnded, ReplyStarted, WordPlayed, WordsHeard
from liveagent.plan import Cost
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine
from liveagent.runtime.listener import Listener
from liveagent.runtime.open_model import is_checkpoint
from liveagent.runtime.pretence import Clock, KeptLane, Pretence, percentile
from liveagent.runtime.reply import words_of
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.verified import Check, Verified, check, shared, title_of
from liveagent.runtime.verify_writing import INSTRUCTIONS, check_writing, ends_of
from liveagent.tool import Tool, tool

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

LANES = 4
ROLL_MINUTES = 2.0
"""Of the clock on the wall, for the rolling part: with the rest about five on a machine that keeps up."""
ENOUGH_EVICTIONS = 6
SAME = {"float32": 0.01}
"""How far apart what comes next may be, in probability, when the cache was made in another way; other dtypes round."""
SAME_ROUNDED = 0.15
GROWN_BYTES, GROWN_SHARE = 64_000_000, 0.02
SLOWER, SLOWER_MS = 1.5, 1.0
FACTS: Mapping[str, tuple[str, ...]] = {
    "what is the capital of france": ("paris",),
    "how many days are there in a week": ("seven", "7"),
    "what is two plus two": ("four", "4"),
    "what colour is the sky on a clear day": ("blue",),
    "which planet do we live on": ("earth",),
    "what is the opposite of hot": ("cold",),
}
ROOM, GAVE, GIVEN = (
    "how warm is it in the kitchen",
    "it is 31 degrees in the kitchen",
    ("31", "thirty-one", "thirty one"),
)
SPOKEN, SPOKEN_PHRASE = "what is the capital of france", "turn on the kitchen light"
SAY_MUCH = (
    "i want to tell you about a walk that we took last summer along the river where the old mill stands and the "
    "water is so clear that one can count the stones and then say in a few words what you think of it"
)
RESULT = "the river is at 120 centimetres and falls by 3 in an hour " * 8
Progress = Callable[[str, Check | None], None]
Asked = Callable[["Stage"], Awaitable[list[Check]]]


def tools() -> tuple[Tool, Tool]:
    """What is called: no phrase is given with them, so that it is the model who decides."""

    @tool
    async def temperature(room: Literal["kitchen", "bath", "bedroom"]) -> str:
        """Look up how warm it is in a room."""
        return GAVE

    @tool
    async def timer(minutes: int, loud: bool = True) -> str:
        """Start a timer."""
        return "it runs"

    return temperature, timer


def _written_tools() -> tuple[Tool, ...]:
    """With one of free text, for what is looked at on paper."""

    @tool
    async def send(text: str, to: Literal["ann", "ben"], times: int = 1) -> str:
        """Send a message."""
        return "sent"

    return (*tools(), send)


def _light() -> Tool:
    @tool(phrases=["(turn|switch) {state} the {room} light"])
    async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
        """Switch a room's light."""
        return "done"

    return light


async def verify(
    agent: Agent,
    title: str = "",
    *,
    minutes: float = ROLL_MINUTES,
    cost: Cost | None = None,
    progress: Progress = lambda name, found: None,
    clock: Clock = time.perf_counter,
    use_recogniser: bool = True,
) -> Verified:
    """Look at the checkpoint that an agent names, which is a folder. `title`: what it is called in the report;
    `minutes`: how long the rolling part takes; `cost`: what was planned; `progress`: told what is looked at now, and
    what came of it.

    Raises:
        ConfigError: it is no checkpoint that can talk, or it is damaged.
        DeviceError: there is no such device.
    """
    from liveagent.runtime.talk import load_model

    if not 0 < minutes <= 600:
        raise ConfigError(f"minutes={minutes}: give a number above 0, up to 600")
    if agent.model == "nano" or not is_checkpoint(agent.model):
        raise ConfigError(
            f"{title or agent.model} is no open checkpoint: give a hub's name such as owner/name, or a folder with "
            "config.json, weights and tokenizer (nano's own figures are in docs/FIGURES.md)"
        )
    folder, begun = Path(agent.model), clock()
    title = title or title_of(agent.model)
    places = ((str(folder), title), (str(folder.resolve()), title), (str(Path.home()), "~"))
    progress("reading the weights", None)
    model = load_model(agent)
    found: list[Check] = []

    def note(each: Check) -> None:
        clean = Check(each.name, each.part, each.outcome, shared(each.said, places), each.figures)
        found.append(clean)
        progress(each.name, clean)

    progress("template, tokens, calls", None)
    for each in _written(model, folder):
        note(each)
    stage = Stage(agent, model, folder, clock, minutes, cost, use_recogniser)
    try:
        for name, asked in ASKED.items():
            progress(name, None)
            for each in await _tried(name, asked, stage):
                note(each)
    finally:
        stage.close()
    return Verified(title, _about(agent, model, folder), tuple(found), clock() - begun)


def _written(model: Nets, folder: Path) -> list[Check]:
    from liveagent.ports.chat_template import ChatTemplate

    return list(check_writing(model, ChatTemplate.load(folder).render, folder, _written_tools()))


async def _tried(name: str, asked: Asked, stage: Stage) -> list[Check]:
    """A check that breaks off has failed, and ends none of the others."""
    try:
        return await asked(stage)
    except LiveAgentError as error:
        return [check(name, "loop", False, f"it broke off: {error}")]
    except Exception as error:  # a fault of ours is what is looked for here
        return [check(name, "loop", False, f"it broke off with a fault of its own, {type(error).__name__}: {error}")]


class Stage:
    """The engine with the model, and conversations on it, one after the other."""

    def __init__(
        self,
        agent: Agent,
        model: Nets,
        folder: Path,
        clock: Clock,
        minutes: float,
        cost: Cost | None,
        use_recogniser: bool,
    ) -> None:
        self.agent, self.model, self.folder, self.clock, self.minutes = agent, model, folder, clock, minutes
        self.cost, self.use_recogniser = cost, use_recogniser
        self.engine = Engine(Core(model, LANES, SessionConfig().slots))

    def close(self) -> None:
        self.engine.close()

    def lane(self) -> KeptLane:
        return KeptLane(self.engine, self.engine.open(), self.clock)

    @asynccontextmanager
    async def talk(
        self,
        tools: Sequence[Tool] = (),
        results: Mapping[str, str] | None = None,
        *,
        voice: bool = False,
        instructions: str = INSTRUCTIONS,
    ) -> AsyncIterator[Pretence]:
        """A conversation that has just begun."""
        agent = self.agent.replace(instructions=instructions, tools=tuple(tools))
        listener = Listener.of(agent, self.model, use_recogniser=self.use_recogniser)
        session = Session(agent, self.model, self.lane(), listener, SessionConfig(voice=voice))
        try:
            await session.open()
            yield Pretence(session, results, self.clock)
        finally:
            await session.close()

    async def answer(self, question: str) -> str:
        """What it says to one question; the lane's `ended_by` is not kept."""
        async with self.talk() as talk:
            talk.type(question)
            await talk.settle()
            return talk.said(0)


# --- where replies end


async def _ends(stage: Stage) -> list[Check]:
    return [await _forced_end(stage), await _own_end(stage)]


async def _forced_end(stage: Stage) -> Check:
    """Whatever is said: where the end is chosen the reply is over, and stands in the cache as a closed turn."""
    name, form, tokens = "the stop id ends a reply", stage.model.template, 8
    async with stage.talk() as talk:
        lane = talk.lane
        lane.bound(least=tokens, most=tokens)
        for text in ("hello there", "and again"):
            before, mark = list(lane.account.held), talk.mark()
            talk.type(text)
            over = await talk.settle()
            new = lane.account.held[len(before) :]
            head = [
                *form.user_open(False),
                *form.words(text.split()),
                *form.user_close,
                *form.agent_open,
                *form.say_open,
            ]
            tail = [form.reply_stop[0], *form.reply_close(True)]
            ended = [each.complete for each in talk.since(mark, ReplyEnded)] == [True]
            middle = new[len(head) : len(new) - len(tail)]
            if not over or not ended:
                return check(name, "loop", False, "the end of a reply was chosen, and the reply went on")
            if new != [*head, *middle, *tail] or len(middle) != tokens or set(middle) & set(form.reply_stop):
                return check(name, "loop", False, "an ended reply does not stand in the cache as a closed turn")
            if lane.account.held != list(talk.session.context.ids):
                return check(name, "loop", False, "the ledger differs from what was put into the cache")
    return check(name, "loop", True, "a chosen end closes the turn, and the next one opens behind it")


async def _own_end(stage: Stage) -> Check:
    """Left to itself, with nothing forbidden: what it ends a short answer with."""
    name, model = "ends by itself", stage.model
    form, ends = model.template, ends_of(stage.folder)
    async with stage.talk() as talk:
        context = talk.session.context
        asked = [*form.user_open(False), *form.words(["say", "hello"]), *form.user_close, *form.agent_open]
        await context.add("text", asked, 0)
        stop = tuple(dict.fromkeys([*form.reply_stop, *ends]))
        done = await context.decode("reply", 0, max_tokens=96, stop=stop)
    last = done.ids[-1]
    if done.ended and last not in form.reply_stop:
        said = f"it ends its answer with {model.pieces.piece(last)} ({last}), which liveagent does not stop at"
        return check(name, "loop", False, said, stop_id=last)
    if not done.ended:
        return check(name, "quality", False, f"a short answer did not end within {len(done.ids)} tokens")
    said = f"a short answer ended after {len(done.ids)} tokens with {model.pieces.piece(last)} ({last})"
    return check(name, "quality", True, said, stop_id=last, tokens=len(done.ids))


# --- tools


async def _calls(stage: Stage) -> list[Check]:
    return [await _forced_call(stage), await _own_call(stage)]


async def _forced_call(stage: Stage) -> Check:
    """Where a call is chosen, what the model writes under the grammar is one, and its result is answered."""
    name, form, has = "a call is made", stage.model.template, tools()
    async with stage.talk(has, {each.name: GAVE for each in has}) as talk:
        talk.lane.bound(least=2, most=16)
        talk.lane.calls_next = True
        talk.type(ROOM)
        over = await talk.settle()
        calls = talk.since(0, CallTool)
        if len(calls) != 1 or calls[0].by != "model":
            return check(name, "loop", False, f"{len(calls)} calls were made where one was chosen")
        call = calls[0]
        called = next(each for each in has if each.name == call.name)
        try:
            called.validate(dict(call.args))
        except ToolError as error:
            return check(name, "loop", False, f"what was called does not fit the tool: {error}")
        gave = form.returned(call.name, GAVE)
        held = lane_held = talk.lane.account.held
        at = _find(held, gave)
        if at is None:
            return check(
                name, "loop", False, "what the tool gave does not stand in the cache as the model reads results"
            )
        if not over or not talk.since(0, ReplyStarted) or not talk.since(0, ReplyEnded):
            return check(name, "loop", False, "no answer followed what the tool gave")
        if lane_held != list(talk.session.context.ids):
            return check(name, "loop", False, "the ledger differs from what was put into the cache")
    said = f"the model wrote a call of {call.name} that parses and fits; its result was read, and an answer followed"
    return check(name, "loop", True, said)


async def _own_call(stage: Stage) -> Check:
    """Left to itself: a request that needs a tool is a call of that tool, and what it gave is spoken of."""
    name, has = "calls the right tool", tools()
    async with stage.talk(has, {"temperature": GAVE, "timer": "it runs"}) as talk:
        talk.type(ROOM)
        await talk.settle()
        calls, said = talk.since(0, CallTool), talk.said(0)
    if not calls:
        return check(name, "quality", False, f"asked {ROOM!r}, it called nothing and said {_short(said)}")
    call = calls[0]
    right = call.name == "temperature" and call.args.get("room") == "kitchen"
    told = any(each in said.lower() for each in GIVEN)
    what = f"asked {ROOM!r}, it called {call.name} {dict(call.args)} and said {_short(said)}"
    return check(name, "quality", right and told, what, right_call=right, result_told=told)


# --- senses


async def _spoken(stage: Stage) -> list[Check]:
    """Sound goes in at the microphone's end; a turn, words or rows, and an answer come of it."""
    name, model = "a spoken question", stage.model
    text = SPOKEN if model.reads_sound else SPOKEN_PHRASE
    sound, by = await _say(text)
    if sound is None:
        return [Check(name, "loop", "absent", by)]
    async with stage.talk((_light(),), {"light": "the kitchen light is on"}) as talk:
        talk.lane.bound(most=48)
        await talk.ticks(12)
        prompt = len(talk.session.context.ids)
        await talk.hear(sound)
        await talk.ticks(40)
        await talk.settle()
        kinds = [span.kind for span in talk.session.context.ledger.spans if not span.pinned]
        heard = [each for each in talk.since(0, WordsHeard) if each.final]
        answered = talk.since(0, ReplyEnded) or talk.since(0, CallTool)
        held, said, calls = list(talk.session.context.ids), talk.said(0), talk.since(0, CallTool)
        same = held == talk.lane.account.held
    words = " ".join(heard[0].words) if heard else ""
    through = "the model's own ear" if model.reads_sound else f"{heard[0].source if heard else 'no ear'}, as words"
    if not heard or not answered or "audio" not in kinds or len(held) <= prompt:
        return [check(name, "loop", False, f"{by} said {text!r}, and no turn with an answer came of it")]
    rows = held.count(model.template.sound_id) if model.reads_sound else 0
    found = [
        check(
            name, "loop", same and (rows > 0 or not model.reads_sound),
            f"{by} spoke; heard through {through}; the turn is in the cache and was answered", sound_rows=rows,
        )
    ]  # fmt: skip
    if model.reads_sound:
        right = "paris" in said.lower()
        found.append(check("understands speech", "quality", right, f"asked aloud {text!r}, it said {_short(said)}"))
    else:
        right = bool(calls) and calls[0].args == {"room": "kitchen", "state": "on"}
        found.append(check("understands speech", "quality", right, f"{text!r} was heard as {words!r}"))
    return found


async def _say(text: str) -> tuple[Samples | None, str]:
    """The sound of a sentence, and who spoke it; None, and why there is none."""
    from liveagent.ports.espeak import EspeakVoice

    voice = EspeakVoice()
    try:
        await voice.open()
        pieces = [piece.samples async for piece in voice.say(text, 1)]
    except DeviceError as error:
        return None, f"nothing here can speak the question: {error}"
    finally:
        await voice.close()
    wave = np.concatenate(pieces).astype(np.float32)
    return wave * np.float32(0.35 / max(1e-6, float(np.abs(wave).max()))), "espeak"


async def _picture(stage: Stage) -> list[Check]:
    name = "a picture question"
    if not stage.model.sees:
        return [Check(name, "loop", "absent", "not in the loop yet: this model's eye does not feed conversations")]
    red = np.full((128, 128, 3), 200, np.uint8)
    red[32:96, 32:96] = (220, 20, 20)
    async with stage.talk() as talk:
        talk.lane.bound(most=48)
        for _ in range(20):
            talk.show(red)
            await talk.tick()
        talk.type("what colour is the square in the picture")
        await talk.settle()
        kept, said = talk.since(0, PictureKept), talk.said(0)
        spans = [span for span in talk.session.context.ledger.spans if span.kind == "picture"]
        same = list(talk.session.context.ids) == talk.lane.account.held
        over = bool(talk.since(0, ReplyEnded))
    seen = bool(kept) and bool(spans) and over and same
    told = "red" in said.lower()
    return [
        check(name, "loop", seen, "the picture is in the cache, and the question about it was answered" if seen else
              "a picture was shown, and is not in the cache behind an answer"),
        check("understands a picture", "quality", told, f"shown a red square and asked its colour, it said {_short(said)}"),
    ]  # fmt: skip


# --- what nobody heard


async def _interrupted(stage: Stage) -> list[Check]:
    """A reply is cut off while it sounds: only what was heard stays, and the cache is as if that were all there was."""
    name, form, model = "an interruption", stage.model.template, stage.model
    async with stage.talk(voice=True) as talk:
        lane, context = talk.lane, talk.session.context
        lane.bound(least=40, most=60)
        talk.type("count slowly from one to thirty in words")
        for _ in range(160):
            await talk.tick()
            if len(talk.since(0, WordPlayed)) >= 2:
                break
        reply = talk.session.answer.reply
        if reply is None or not talk.since(0, WordPlayed):
            return [Check(name, "loop", "absent", "it said nothing that could be interrupted")]
        ids, before = list(reply.ids), list(context.ids[: reply.start - context.ledger.first])
        lane.bound(most=12)
        next_words = ["what", "time", "is", "it"]
        talk.type(" ".join(next_words))
        await talk.settle()
        cuts = talk.since(0, Interrupted)
        if len(cuts) != 1:
            return [check(name, "loop", False, f"one reply was cut off, and {len(cuts)} were taken back")]
        cut = cuts[0]
        words = words_of(model.pieces, ids)
        kept = ids[: words[len(cut.heard) - 1].end_token] if cut.heard else []
        turn = [*form.user_open(False), *form.words(next_words), *form.user_close, *form.agent_open]
        expected = [*before, *kept, *form.cut_mark, *turn]
        held = list(context.ids)
        right = held[: len(expected)] == expected and held == lane.account.held
        if not right:
            return [check(name, "loop", False, "words that nobody heard are in the cache, or heard ones are not")]
        said = f"{len(cut.heard)} words were heard and stay, {len(cut.unheard)} were not and are gone"
        apart = await _apart(stage, context, form.user_open(False))
    dtype = _dtype(stage.agent)
    most = SAME.get(dtype, SAME_ROUNDED)
    return [
        check(name, "loop", True, said, heard=len(cut.heard), unheard=len(cut.unheard)),
        check("the cache is what it says", "loop", apart <= most,
              f"what comes next differs by {apart:.1e} in probability from a fresh reading of the same tokens "
              f"(at most {most} in {dtype})", apart=float(f"{apart:.2e}")),
    ]  # fmt: skip


async def _apart(stage: Stage, context: Context, behind: Sequence[int]) -> float:
    """How far what a conversation expects behind these tokens is from what a fresh reading of its tokens expects: half
    the sum of the differences, 0 … 1."""
    want = tuple(range(stage.model.pieces.vocab_size))
    lane = stage.lane()
    try:
        fresh = Context(lane, context.budget)
        await fresh.open(())
        await fresh.add("system", context.ids, 0)
        one, other = [np.exp(np.array(await each.probe(behind, want))) for each in (context, fresh)]
    finally:
        lane.close()
    return float(np.abs(one - other).sum() / 2)


# --- hours


async def _rolling(stage: Stage) -> list[Check]:
    """Talk on and on at the real budget: older turns go, everything else stays as it was."""
    name, has = "rolling", tools()
    roll = Roll()
    async with stage.talk(has, {each.name: RESULT for each in has}) as talk:
        lane, context = talk.lane, talk.session.context
        prompt = list(context.ids)
        begun = stage.clock()
        while True:
            past = (stage.clock() - begun) / 60
            if past >= 2 * stage.minutes or (past >= stage.minutes and lane.account.evictions >= ENOUGH_EVICTIONS):
                break
            lost = await _exchange(talk, roll, prompt, stage)
            if lost:
                return [check(name, "loop", False, f"in exchange {roll.exchanges}: {lost}")]
        evictions, gone = lane.account.evictions, context.evicted_tokens
        virtual = talk.index * TICK_NS / 60e9
    if evictions < ENOUGH_EVICTIONS:
        said = f"too slow here to fill the cache in {2 * stage.minutes:g} minutes: give --minutes more"
        return [Check(name, "loop", "absent", said, {"exchanges": roll.exchanges, "evictions": evictions})]
    said = (
        f"{roll.exchanges} exchanges in {virtual:.0f} minutes of talk, {gone} tokens left the cache, nothing else did"
    )
    found = [check(name, "loop", True, said, exchanges=roll.exchanges, evictions=evictions, evicted_tokens=gone)]
    return [*found, *roll.checks()]


class Roll:
    """What was measured along the way, exchange by exchange since the cache was full."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.memory: list[int] = []
        self.step_ms: list[float] = []

    def checks(self) -> list[Check]:
        third = max(1, len(self.memory) // 3)
        first, last = max(self.memory[:third]), max(self.memory[-third:])
        grown = last - first
        flat = grown <= max(GROWN_BYTES, first * GROWN_SHARE)
        early, late = statistics.median(self.step_ms[:third]), statistics.median(self.step_ms[-third:])
        steady = late <= early * SLOWER + SLOWER_MS
        return [
            check("memory is flat", "loop", flat, f"{first / 1e6:.0f} MB when the cache was full, {last / 1e6:.0f} MB at "
                  "the end", grown_mb=round(grown / 1e6, 1)),
            check("steps are flat", "loop", steady, f"a token took {early:.1f} ms when the cache was full, {late:.1f} ms at "
                  "the end", first_ms=round(early, 2), last_ms=round(late, 2)),
        ]  # fmt: skip


async def _exchange(talk: Pretence, roll: Roll, prompt: list[int], stage: Stage) -> str:
    """One more; returns what was lost."""
    lane, context = talk.lane, talk.session.context
    roll.exchanges += 1
    talk.log.clear()
    talk.tick_s.clear()
    lane.account.times.clear()
    lane.bound(least=12, most=24)
    lane.calls_next = calls = roll.exchanges % 3 == 0
    talk.type(f"{roll.exchanges} {SAY_MUCH}")
    if not await talk.settle():
        return "it did not come to an end"
    await talk.ticks(12)
    if len(talk.since(0, CallTool)) != calls:
        return "a call was lost, or made twice"
    if not talk.since(0, ReplyEnded) or not all(each.complete for each in talk.since(0, ReplyEnded)):
        return "an answer was lost"
    held, rest = list(context.ids), list(context.ids)[len(prompt) :]
    if held[: len(prompt)] != prompt:
        return "the instructions are not in the cache any more"
    if held != lane.account.held or rest != lane.account.whole[len(lane.account.whole) - len(rest) :]:
        return "what the cache holds is not what was said last"
    if rest and rest[: len(stage.model.template.user_open(False))] != stage.model.template.user_open(False):
        return "the oldest turn in the cache has lost its beginning"
    if lane.account.evictions:
        roll.memory.append(_memory_bytes(stage.agent.device))
        steps = [
            each.seconds / each.tokens for each in lane.account.times if each.work == "decode" and each.tokens >= 4
        ]
        roll.step_ms.append(statistics.median(steps) * 1e3 if steps else 0.0)
    return ""


def _memory_bytes(device: str) -> int:
    """What this process holds now, and on the GPU; where nobody says, the most it ever did."""
    used = 0
    if device.startswith("cuda"):
        import torch

        used = int(torch.cuda.memory_allocated(device))
    try:
        return used + int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return used
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used + most * (1 if platform.system() == "Darwin" else 1024)


# --- how long it takes


async def _latency(stage: Stage) -> list[Check]:
    form, clock = stage.model.template, stage.clock
    async with stage.talk(tools()) as talk:
        await talk.ticks(20)
        talk.tick_s.clear()
        await talk.ticks(120)
        ticks = [each * 1e3 for each in talk.tick_s]
        context = talk.session.context
        start, firsts, typed = context.end, [], []
        for _ in range(5):
            await context.add("text", [*form.user_open(False), *form.words(SPOKEN.split())], 0)
            begun = clock()
            await context.add("text", [*form.user_close, *form.agent_open], 0, want=form.choice)
            await context.decode("reply", 0, max_tokens=1, stop=(), never=form.never)
            firsts.append((clock() - begun) * 1e3)
            await context.rewind(start)
            begun = clock()
            turn = [*form.user_open(False), *form.words(SPOKEN.split()), *form.user_close, *form.agent_open]
            await context.add("text", turn, 0, want=form.choice)
            await context.decode("reply", 0, max_tokens=1, stop=(), never=form.never)
            typed.append((clock() - begun) * 1e3)
        steps = []
        for _ in range(64):
            begun = clock()
            await context.decode("reply", 0, max_tokens=1, stop=(), never=(*form.never, *form.reply_stop), grow=True)
            steps.append((clock() - begun) * 1e3)
    first, step = statistics.median(firsts), percentile(steps, 0.5)
    figures: dict[str, Any] = {
        "first_token_ms": round(first, 1), "first_token_typed_ms": round(statistics.median(typed), 1),
        "tokens_per_s": round(1e3 / step, 1) if step else None,
        "step_p50_ms": round(step, 2), "step_p99_ms": round(percentile(steps, 0.99), 2),
        "tick_p50_ms": round(percentile(ticks, 0.5), 2), "tick_p99_ms": round(percentile(ticks, 0.99), 2),
    }  # fmt: skip
    planned = ""
    if stage.cost is not None and stage.cost.step_ms is not None:
        figures |= {
            "planned_step_ms": round(stage.cost.step_ms, 2),
            "planned_tick_ms": round(stage.cost.tick_ms or 0, 1),
        }
        planned = f" (the plan said {stage.cost.step_ms:.1f})"
    said = (
        f"first token {first:.0f} ms after the turn; {figures['tokens_per_s']} tokens a second, a token {step:.1f} ms"
        f"{planned}; a tick of listening {figures['tick_p50_ms']} ms, p99 {figures['tick_p99_ms']} ms"
    )
    return [Check("latency", "speed", "noted", said, figures)]


# --- what it knows


async def _facts(stage: Stage) -> list[Check]:
    found = []
    for question, answers in FACTS.items():
        said = await stage.answer(question)
        right = any(each in said.lower() for each in answers)
        found.append(check(question, "quality", right, f"it said {_short(said)}"))
    return found


ASKED: Mapping[str, Asked] = {
    "where replies end": _ends,
    "tools": _calls,
    "a spoken question": _spoken,
    "a picture question": _picture,
    "an interruption": _interrupted,
    "rolling": _rolling,
    "latency": _latency,
    "facts": _facts,
}


def _about(agent: Agent, model: Nets, folder: Path) -> dict[str, str]:
    """Versions, and the machine in general words."""
    import torch

    from liveagent.nn.checkpoint import Checkpoint

    gpu = torch.cuda.get_device_name(agent.device) if agent.device.startswith("cuda") else ""
    try:
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory"
    except (ValueError, OSError, AttributeError):
        memory = ""
    return {
        "architecture": Checkpoint.open(folder).architecture,
        "fingerprint": model.fingerprint,
        "device": f"{agent.device}, {_dtype(agent)}" + (f", {agent.quantize}" if agent.quantize else ""),
        "machine": f"{os.cpu_count()} cores ({platform.system()} {platform.machine()}){memory}"
        + (f", {gpu}" if gpu else ""),
        "versions": f"liveagent {_version()}, torch {torch.__version__}, Python {platform.python_version()}",
    }


def _version() -> str:
    try:
        return importlib.metadata.version("liveagent")
    except importlib.metadata.PackageNotFoundError:
        return "from a checkout"


def _dtype(agent: Agent) -> str:
    return agent.dtype or ("float32" if agent.device == "cpu" else "bfloat16")


def _find(ids: Sequence[int], part: Sequence[int]) -> int | None:
    return next((at for at in range(len(ids) - len(part) + 1) if list(ids[at : at + len(part)]) == list(part)), None)


def _short(text: str) -> str:
    return repr(text if len(text) <= 90 else f"{text[:90]}…")
