"""The agent's side of a turn: from words that are in the cache to a call or to something said.

The order of a turn in the cache is the model's template: `<user> … <end> <agent>` then `<call> … <end>` or
`<say> … <end>`. Words that match a phrase whole are a call read off the parse and need no decoder (`by="grammar"`);
the same tokens are written into the cache, so that what the decoder reads later does not depend on who decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from liveagent.action import Action, CallTool, Say
from liveagent.agent import Agent
from liveagent.automaton import Parse
from liveagent.declared import is_far
from liveagent.errors import ToolError
from liveagent.event import DecidedBy, Event, Forgotten, Noted, ReplyStarted, ToolCalled
from liveagent.jsonform import Json, check_json
from liveagent.ledger import Span
from liveagent.overlap import invented, narrow, offer, shared
from liveagent.runtime.context import Context
from liveagent.runtime.dictation import Hark
from liveagent.runtime.reply import Reply
from liveagent.tool import Tell, Tool

if TYPE_CHECKING:
    from liveagent.argument import Value
    from liveagent.nn.format import Format
    from liveagent.nn.model import Model

CALL_TOKENS = 64
"""A call has no more where nano writes it, and may have as many wherever the cache has room."""
TEXT_TOKENS = 400
"""More for each argument of free text, where a grammar of the model's own lets so many letters through."""
REPLY_TOKENS = 120
SURE_CALL_NATS = 0.4  # words of no phrase are acted on from six to four for a call; below that it asks again
HEARD_CALL_NATS = 1.5  # … and when they were heard, from more than four to one
AGAIN = "Say that again, please."
CANNOT = "I can't do that."
MISSING = "I need to know the {}."
NO = frozenset({"no", "no thanks", "no thank you", "never mind", "do not", "don't", "stop", "cancel"})
YES = frozenset({"yes", "yes please", "yeah", "okay", "do it", "sure", "go ahead"})


RESULT_TOKENS = 256
"""So much of a result is read; a page is not learnt by heart."""


@dataclass(slots=True)
class Pending:
    """A call that has not come back. `until_ns`: it is held until then, and not sent; None: it was sent. `quiet`: its
    result is not spoken of any more."""

    call_id: str
    name: str
    span: Span
    tell: Tell = "pause"
    cancel_on_barge_in: bool = False
    until_ns: int | None = None
    quiet: bool = False


@dataclass(slots=True)
class Out:
    """What one tick gave: actions to obey in order, events for viewers and journal, tokens that the decoder chose."""

    actions: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    forgotten: list[tuple[Forgotten, Json]] = field(default_factory=list)
    """What was forgotten in this tick, and what is still known: for the recording."""
    dictated: list[Hark] = field(default_factory=list)
    """What a pretrained ear is to hear: it is no part of a recording, which has what that ear made of it."""

    def extend(self, later: Out) -> None:
        """What was given after this."""
        self.actions += later.actions
        self.events += later.events
        self.tokens += later.tokens
        self.forgotten += later.forgotten
        self.dictated += later.dictated


class Answer:
    """Decides and decodes for one session. `out` is the open tick's; the session sets it."""

    def __init__(self, agent: Agent, model: Model, context: Context, use_grammar: bool = True) -> None:
        self.agent, self.model, self.context, self.use_grammar = agent, model, context, use_grammar
        self.aside: frozenset[str] = frozenset()
        """Names of tools that had no room in the prompt: called by their phrases, and by the words that they share with
        what was said."""
        self.reply: Reply | None = None
        self.pending: dict[str, Pending] = {}
        self.out = Out()
        self.first_token_steps: list[int] = []
        self._asked: Parse | None = None  # a call that waits for the user's yes
        self._longest: WeakKeyDictionary[Tool, int] = WeakKeyDictionary()
        self.calls = 0
        self.utterances = 0

    def made(self, call_id: str) -> bool:
        """Whether a call of that id was decided here."""
        name, _, number = call_id.partition("_")
        return name == "call" and number.isdecimal() and 0 < int(number) <= self.calls

    def restore(self, utterances: int, calls: int) -> None:
        """Nothing is open or asked; count on from here."""
        self.reply, self._asked = None, None
        self.pending.clear()
        self.utterances, self.calls = utterances, calls

    async def decide(
        self,
        words: str,
        steps: int,
        logp: Sequence[float],
        t_ns: int,
        heard: bool = False,
        *,
        choice: str = "auto",
        by: str = "user",
        sounds: bool = False,
    ) -> None:
        """The user's turn has just been closed by `<end> <agent>`; `logp` are those of `<call>` and `<say>` there.

        `steps` is how many decoder steps the closing took: what a user waits for before the first token is known.
        `heard`: the words were spoken. Outside the grammar such words are often wrong, so the decoder must be surer of
        a call, and one that moves something is asked about first. `choice`: "none", "required", or the tool that is to
        be called. `by`: who spoke last; behind anybody but a user no call is thought of. `sounds`: the decoder has
        heard it itself, and `words` are what other ears made of it: enough for a phrase, and not to doubt the decoder.
        """
        self.first_token_steps.append(steps)
        if choice == "none" or (by != "user" and choice == "auto") or not (self.agent.tools or choice == "auto"):
            await self._open_reply(t_ns)
            return
        if choice not in ("auto", "required"):
            only = [tool for tool in self.agent.tools if tool.name == choice]
            await self._call_far(words, only, t_ns, sounds)
            return
        asked, self._asked = self._asked, None
        if asked is not None and words in YES:
            await self._force_call(asked, t_ns)
            return
        if asked is not None and words in NO:
            await self.say("All right, I will not.", t_ns)
            return
        parse = self.agent.automaton.parse(words) if self.use_grammar else None
        if isinstance(parse, Parse):
            await self._force_call(parse, t_ns)
            return
        if choice == "required":
            await self._call_far(words, self.agent.tools, t_ns, sounds)
            return
        logp = self.model.template.weigh(logp)
        if parse is None and self.aside and await self._decide_aside(words, t_ns, heard):
            return
        if any(map(is_far, self.agent.tools)) and not sounds:
            await self._decide_far(words, logp, t_ns)
        elif self.agent.tools and logp[0] > logp[1]:
            outside = not self.agent.automaton.accepts(words)
            if outside and logp[0] - logp[1] < (HEARD_CALL_NATS if heard and not sounds else SURE_CALL_NATS):
                await self.say(AGAIN, t_ns)
                return
            await self._decode_call(None if sounds else words, t_ns, doubtful=outside and heard)
        else:
            await self._open_reply(t_ns)

    async def say(self, text: str, t_ns: int) -> None:
        """Say these words, not the decoder's; they enter the cache like its own. The cache must end in `<agent>`."""
        template = self.model.template
        reply = await self._open_reply(t_ns)
        ids = template.encode(text)
        await self._grow(reply, [*ids, *template.reply_close(False)], t_ns)
        self._say(reply.more(self.model.pieces, ids, True))

    async def decode_more(self, max_tokens: int, t_ns: int) -> None:
        """Go on with the open reply for at most `max_tokens` tokens."""
        reply, template = self.reply, self.model.template
        if reply is None or reply.ended:
            return
        left = REPLY_TOKENS - len(reply.ids)
        stop = template.reply_stop
        done = await self.context.decode(
            "reply", t_ns, max_tokens=min(max_tokens, max(1, left)), stop=stop, never=template.never, grow=reply.begun
        )
        reply.begun = True
        self.out.tokens += done.ids
        ids = [i for i in done.ids if i not in stop]
        ended = done.ended or len(done.ids) >= left
        if ended and (close := template.reply_close(done.ended)):
            await self._grow(reply, close, t_ns)
        self._say(reply.more(self.model.pieces, ids, ended))

    async def returned(self, call_id: str, text: str, failed: bool, t_ns: int, answer: bool = True) -> None:
        """A call came back: its result enters the cache, and the decoder speaks of it, unless it is to be silent."""
        pending = self.pending.pop(call_id, None)
        if pending is None:
            return
        template = self.model.template
        depends = [pending.span.id] if any(s.id == pending.span.id for s in self.context.ledger.spans) else []
        ids = template.returned(
            pending.name, text, failed, in_turn=self.context.in_turn, answer=answer, most=RESULT_TOKENS
        )
        await self.context.add("result", ids, t_ns, depends_on=depends)
        if answer:
            await self._open_reply(t_ns)

    async def _open_reply(self, t_ns: int) -> Reply:
        opened = self.model.template.say_open
        if opened:
            await self.context.add("reply", opened, t_ns)
        self.utterances += 1
        self.reply = Reply.open(self.utterances, self.context.end, bool(opened))
        self.out.events.append(ReplyStarted(t_ns, self.utterances))
        return self.reply

    async def _grow(self, reply: Reply, ids: Sequence[int], t_ns: int) -> None:
        await self.context.add("reply", ids, t_ns, grow=reply.begun)
        reply.begun = True

    def _say(self, say: Say | None) -> None:
        if say is not None:
            self.out.actions.append(say)

    async def _force_call(self, parse: Parse, t_ns: int) -> None:
        await self.context.add("call", self.model.template.written(parse.tool, parse.args), t_ns)
        self._send(parse.tool.name, dict(parse.args), "grammar", t_ns)

    async def _decide_aside(self, words: str, t_ns: int, heard: bool) -> bool:
        """Call a tool that is not in the prompt, if one shares more words with what was said than any that is."""
        aside = [tool for tool in self.agent.tools if tool.name in self.aside]
        said = words.split()
        best = max((shared(said, tool) for tool in aside), default=0.0)
        if best <= max((shared(said, tool) for tool in self.agent.tools if tool.name not in self.aside), default=0.0):
            return False
        offered = offer(words, aside)
        if offered.tools:
            await self._decode_call(words, t_ns, doubtful=heard, tools=offered.tools)
        elif offered.missing:
            await self.say(MISSING.format(offered.missing), t_ns)
        return bool(offered.tools or offered.missing)

    async def _decide_far(self, words: str, logp: Sequence[float], t_ns: int) -> None:
        """Among tools that somebody brought, and that no training showed: those that share words with what was said."""
        offered = offer(words, self.agent.tools)
        if offered.tools:
            await self._decode_call(words, t_ns, tools=offered.tools)
        elif offered.missing:
            await self.say(MISSING.format(offered.missing), t_ns)
        elif logp[0] - logp[1] > SURE_CALL_NATS:
            await self.say(CANNOT, t_ns)
        else:
            await self._open_reply(t_ns)

    async def _call_far(self, words: str, tools: Sequence[Tool], t_ns: int, sounds: bool = False) -> None:
        """A call that was demanded: of one of these tools, with what was said where that fills it."""
        if not tools:
            await self.say(CANNOT, t_ns)
            return
        narrowed = () if sounds else narrow(words, tools)
        await self._decode_call(words, t_ns, tools=narrowed or tuple(tools))

    async def _decode_call(
        self, words: str | None, t_ns: int, doubtful: bool = False, tools: Sequence[Tool] = ()
    ) -> None:
        """`tools`: those to choose from, perhaps with fewer values; none: all of the agent's. Free text that nobody has
        said is decoded once more, from the words alone. `words` None: nobody knows them but the decoder."""
        template = self.model.template
        await self.context.add("call", template.call_open, t_ns)
        start = self.context.ledger.spans[-1].start
        most = self._most_tokens(tools)
        done = await self.context.decode(
            "call", t_ns, max_tokens=most, stop=template.call_stop, call=True, grow=True, tools=tools
        )
        self.out.tokens += (*template.call_open, *done.ids)
        try:
            name, args = template.parse([*template.call_open, *done.ids], self.agent.tools)
        except ToolError as error:  # free text of its own went on for longer than calls become
            self.out.events.append(Noted(t_ns, "call_refused", str(error)))
            await self.context.rewind(start)
            await self.say(AGAIN, t_ns)
            return
        tool = self.agent.tool(name)
        if not tools and words is not None and invented(words, tool, args) and (narrowed := narrow(words, [tool])):
            await self.context.rewind(start)
            await self._decode_call(words, t_ns, doubtful, narrowed)
            return
        try:
            tool.validate(args)
        except ToolError as error:
            self.out.events.append(Noted(t_ns, "call_refused", str(error)))
            await self.context.add("result", template.returned(name, str(error), True), t_ns)
            await self._open_reply(t_ns)
            return
        if doubtful and tool.moves and tool.risk != "hazard":  # a hazard is confirmed by hand, whoever decided it
            await self.context.rewind(self.context.ledger.spans[-1].start)
            await self._ask(Parse(tool, args), t_ns)
            return
        self._send(name, args, "model", t_ns)

    def _most_tokens(self, tools: Sequence[Tool]) -> int:
        """How long a call of these tools may become: as its longest arguments need, and the cache has room for with
        what comes of it."""
        template, context = self.model.template, self.context
        if template.call_lark is None:
            return CALL_TOKENS
        tools = tools or self.agent.tools
        for tool in tools:
            if tool not in self._longest:
                self._longest[tool] = longest_call(tool, template)
        longest = max(self._longest[tool] for tool in tools)
        room = context.budget.capacity_tokens - context.ledger.used_tokens - RESULT_TOKENS
        return max(CALL_TOKENS, min(longest, room))

    async def _ask(self, call: Parse, t_ns: int) -> None:
        """Ask before calling, with what exactly would be called; the next turn's yes does it."""
        self._asked = call
        what = [call.tool.description.rstrip(".").lower()]
        what += [call.tool.argument(name).say(value) for name, value in call.args.items()]
        await self.say(f"Shall I? Say yes or no: {', '.join(what)}.", t_ns)

    @property
    def asks(self) -> bool:
        """Whether a call waits for the user's yes."""
        return self._asked is not None

    def _send(self, name: str, args: dict[str, Any], by: DecidedBy, t_ns: int) -> None:
        self.calls += 1
        call_id = f"call_{self.calls}"
        tool, ledger = self.agent.tool(name), self.context.ledger
        plain = {key: check_json(value, name) for key, value in args.items()}
        until_ns = t_ns + tool.hold_ms * 1_000_000 if tool.hold_ms else None
        self.pending[call_id] = Pending(call_id, name, ledger.spans[-1], tool.tell, tool.cancel_on_barge_in, until_ns)
        deadline_ms = int(tool.timeout_s * 1000)
        heard = [s.t_ns for s in ledger.spans if s.turn == ledger.turn and s.kind in ("text", "audio")]
        seen = [s.t_ns for s in ledger.spans if s.kind == "picture"]
        self.out.actions.append(CallTool(call_id, name, plain, deadline_ms, self.utterances, by, tool.hold_ms))
        self.out.events.append(
            ToolCalled(
                t_ns, call_id, name, plain, by, self.utterances, (min(heard), max(heard)) if heard else (),
                max(seen) if seen else None,
            )
        )  # fmt: skip


def longest_call(tool: Tool, template: Format) -> int:
    """How many tokens the longest call of a tool has."""
    args: dict[str, Value] = {}
    texts = 0
    for argument in tool.arguments:
        texts += argument.kind == "text"
        values = argument.choices or tuple(argument.slots.values()) or ("",)
        args[argument.name] = False if argument.kind == "bool" else max(values, key=lambda each: len(str(each)))
    return len(template.written(tool, args)) + texts * TEXT_TOKENS
