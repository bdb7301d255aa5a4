"""What `verify` asks in conversation: where replies end, tools, speech, a picture, an interruption, and a few facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from liveagent.action import CallTool
from liveagent.audio import Samples
from liveagent.errors import DeviceError, ToolError
from liveagent.event import Interrupted, Noted, PictureKept, ReplyEnded, ReplyStarted, WordPlayed, WordsHeard
from liveagent.runtime.context import Context
from liveagent.runtime.reply import words_of
from liveagent.runtime.verified import Check, check
from liveagent.runtime.verify_stage import GAVE, Stage, light_tool, short, tools
from liveagent.runtime.verify_writing import ends_of

SAME = {"float32": 0.01}
"""How far apart what comes next may be, in probability, when the cache was made in another way; other dtypes round."""
SAME_ROUNDED = 0.15
FACTS: Mapping[str, tuple[str, ...]] = {
    "what is the capital of france": ("paris",),
    "how many days are there in a week": ("seven", "7"),
    "what is two plus two": ("four", "4"),
    "what colour is the sky on a clear day": ("blue",),
    "which planet do we live on": ("earth",),
    "what is the opposite of hot": ("cold",),
}
ROOM, GIVEN = "how warm is it in the kitchen", ("31", "thirty-one", "thirty one")
SPOKEN, SPOKEN_PHRASE = "what is the capital of france", "turn on the kitchen light"


# --- where replies end


async def replies_end(stage: Stage) -> list[Check]:
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


async def calls(stage: Stage) -> list[Check]:
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
            why = "".join(f": {each.message}" for each in talk.since(0, Noted) if each.code == "call_refused")
            return check(name, "loop", False, f"{len(calls)} calls were made where one was chosen{why}")
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
        return check(name, "quality", False, f"asked {ROOM!r}, it called nothing and said {short(said)}")
    call = calls[0]
    right = call.name == "temperature" and call.args.get("room") == "kitchen"
    told = any(each in said.lower() for each in GIVEN)
    what = f"asked {ROOM!r}, it called {call.name} {dict(call.args)} and said {short(said)}"
    return check(name, "quality", right and told, what, right_call=right, result_told=told)


# --- senses


async def spoken_question(stage: Stage) -> list[Check]:
    """Sound goes in at the microphone's end; a turn, words or rows, and an answer come of it."""
    name, model = "a spoken question", stage.model
    text = SPOKEN if model.reads_sound else SPOKEN_PHRASE
    sound, by = await _say(text)
    if sound is None:
        return [Check(name, "loop", "absent", by)]
    async with stage.talk((light_tool(),), {"light": "the kitchen light is on"}) as talk:
        talk.lane.bound(most=48)
        await talk.ticks(12)
        prompt = len(talk.session.context.ids)
        await talk.hear(sound)
        await talk.ticks(40)
        await talk.settle()
        kinds = [span.kind for span in talk.session.context.ledger.spans if not span.pinned]
        heard = [each for each in talk.since(0, WordsHeard) if each.final]
        answered = any([*talk.since(0, ReplyEnded), *talk.since(0, CallTool)])
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
        found.append(check("understands speech", "quality", right, f"asked aloud {text!r}, it said {short(said)}"))
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


async def picture_question(stage: Stage) -> list[Check]:
    name = "a picture question"
    if not stage.model.sees:
        return [Check(name, "loop", "absent", "this model has no eye")]
    red = np.full((384, 384, 3), 200, np.uint8)
    red[96:288, 96:288] = (220, 20, 20)
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
        check("understands a picture", "quality", told, f"asked the colour of a red square, it said {short(said)}"),
    ]  # fmt: skip


# --- what nobody heard


async def interruption(stage: Stage) -> list[Check]:
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
    dtype = stage.dtype
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


# --- what it knows


async def facts(stage: Stage) -> list[Check]:
    found = []
    for question, answers in FACTS.items():
        said = await stage.answer(question)
        right = any(each in said.lower() for each in answers)
        found.append(check(question, "quality", right, f"it said {short(said)}"))
    return found


def _find(ids: Sequence[int], part: Sequence[int]) -> int | None:
    return next((at for at in range(len(ids) - len(part) + 1) if list(ids[at : at + len(part)]) == list(part)), None)
