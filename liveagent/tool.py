"""Tools: functions that an agent may call, what they take, and the phrases that call them.

    @tool(phrases=["(turn|switch) {state} [the] {room} light"])
    async def light(room: Room, state: Literal["on", "off"]) -> str:
        \"\"\"Switch a room's light.\"\"\"
"""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args, overload

from liveagent.argument import Argument, Value
from liveagent.call import Call
from liveagent.errors import ConfigError, ToolError
from liveagent.phrase import Phrase
from liveagent.policy import RISKS, Policy, Risk
from liveagent.spoken import spoken

Tell: TypeAlias = Literal["now", "pause", "silent"]
LONGEST_HOLD_MS = 5_000


@dataclass(frozen=True, eq=False)
class Tool:
    """A function and everything the agent knows of it. Calling a Tool calls the function.

    `risk`: what a call risks, see `policy.Risk`. `moves`: it moves something in the world: the stop word cancels it,
    and when it was decided on words of no phrase, and those were heard, it is asked about first. `hold_ms`: the window
    after the decision in which whoever speaks on, or says stop, takes it back before anything is sent.
    `cancel_on_barge_in`: speaking into a reply cancels it while it runs; else that cancels what is said, and no more.
    `tell`: when its result is spoken of: "now", whatever is being said; at the next "pause"; or "silent", when it is
    asked about. `say`: how a word that no dictionary has is pronounced, as words that have ("zigbee": "zig bee").
    `takes_call`: the name of the argument that is its `Call`, "" for none.
    """

    name: str
    description: str
    function: Callable[..., Any]
    arguments: tuple[Argument, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    risk: Risk = "reversible"
    moves: bool = False
    timeout_s: float = 10.0
    hold_ms: int = 0
    cancel_on_barge_in: bool = False
    tell: Tell = "pause"
    say: Mapping[str, str] = field(default_factory=dict)
    takes_call: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict, repr=False)  # JSON schema of the arguments

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def slots(self) -> Mapping[str, Mapping[str, Value]]:
        """Argument → words → value, for all arguments whose values can be listed (all but free text)."""
        return {argument.name: argument.slots for argument in self.arguments if argument.kind != "text"}

    def argument(self, name: str) -> Argument:
        return next(argument for argument in self.arguments if argument.name == name)

    def validate(self, args: Mapping[str, object]) -> dict[str, Any]:
        """Arguments to call the function with, in signature order, defaults filled in.

        Values may be JSON or the words for them ("five", "living room"). Raises ToolError, worded for the model.
        """
        names = [argument.name for argument in self.arguments]
        for name in args:
            if name not in names:
                raise ToolError(f"{self.name} has no argument {name}; it takes {', '.join(names) or 'none'}")
        values: dict[str, Any] = {}
        for argument in self.arguments:
            if argument.name in args:
                values[argument.name] = argument.read(args[argument.name], self.name)
            elif argument.required:
                raise ToolError(f"{self.name} needs {argument.name}; it is {argument.wants}")
            else:
                values[argument.name] = argument.default
        return values


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    phrases: Sequence[str] = (),
    risk: Risk = "reversible",
    moves: bool = False,
    timeout_s: float = 10.0,
    hold_ms: int = 0,
    cancel_on_barge_in: bool = False,
    tell: Tell = "pause",
    say: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    phrases: Sequence[str] = (),
    risk: Risk = "reversible",
    moves: bool = False,
    timeout_s: float = 10.0,
    hold_ms: int = 0,
    cancel_on_barge_in: bool = False,
    tell: Tell = "pause",
    say: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a plain or async function: its signature says what it takes, its docstring what it does.

    Raises ConfigError, which says what to mend, for a function without a docstring or annotations, with *args, and
    for a phrase that names an unknown argument or leaves out one that is needed.
    """

    def make(function: Callable[..., Any]) -> Tool:
        title = str(name or getattr(function, "__name__", ""))
        if not title.isidentifier() or keyword.iskeyword(title):
            raise ConfigError(f"{title!r} cannot name a tool: use a def, or name= with letters, digits and _")
        if isinstance(phrases, str):
            raise ConfigError(f"tool {title!r}: phrases= wants a list of phrases, not one string")
        if risk not in RISKS:
            raise ConfigError(f"tool {title!r}: risk={risk!r}; use one of {', '.join(RISKS)}")
        if tell not in get_args(Tell):
            raise ConfigError(f"tool {title!r}: tell={tell!r}; use one of {', '.join(get_args(Tell))}")
        if not 0 <= hold_ms <= LONGEST_HOLD_MS:
            raise ConfigError(f"tool {title!r}: hold_ms={hold_ms}; it must be from 0 to {LONGEST_HOLD_MS}")
        if not timeout_s > 0:
            raise ConfigError(f"tool {title!r}: timeout_s={timeout_s}; it must be over 0")
        description = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        if not description:
            raise ConfigError(f"tool {title!r} has no docstring: write one line that says what it does")
        arguments, schema, takes_call = _signature(function, title)
        parsed = tuple(Phrase.of(phrase, title) for phrase in phrases)
        for phrase in parsed:
            _check_phrase(phrase, title, arguments)
        return Tool(
            title, description, function, arguments, parsed, risk, moves, timeout_s, hold_ms, cancel_on_barge_in, tell,
            {spoken(word): spoken(how) for word, how in (say or {}).items()}, takes_call, schema,
        )  # fmt: skip

    return make if function is None else make(function)


def check_tools(tools: Sequence[Tool], questions: Sequence[str] = ()) -> None:
    """Raises ConfigError for two tools of one name, and for two that can be called by one and the same sentence."""
    from liveagent.automaton import sound_alike

    names: set[str] = set()
    for each in tools:
        if not isinstance(each, Tool):
            raise ConfigError(f"{getattr(each, '__name__', each)!r} is not a tool: put @tool above it")
        if each.name in names:
            raise ConfigError(f"two tools are named {each.name!r}: rename one, with @tool(name=...)")
        names.add(each.name)
    clash = sound_alike(tools, questions)
    if clash:
        one, other, sentence = clash
        raise ConfigError(f"{one} and {other} sound alike: {sentence!r} would call both; change a phrase of one")


def check_policy(policy: Policy, tools: Sequence[Tool]) -> None:
    """Raises ConfigError for limits of an argument that a tool does not have. A tool that is not there may yet come."""
    if not isinstance(policy, Policy):
        raise ConfigError(f"policy={policy!r:.80}: give Policy(...)")
    for tool in tools:
        limits = policy.limits.get(tool.name)
        for name in (*limits.ranges, *limits.only) if limits is not None else ():
            if name not in [argument.name for argument in tool.arguments]:
                raise ConfigError(f"the policy limits {name!r} of tool {tool.name!r}, which has no such argument")


def _signature(function: Callable[..., Any], title: str) -> tuple[tuple[Argument, ...], Mapping[str, Any], str]:
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigError(
            f"tool {title!r}: the annotation {error.name!r} is not known there; define it at the top of the file"
        ) from None
    fields: dict[str, Any] = {}
    takes_call = ""
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"tool {title!r} takes *{parameter.name}: name its arguments one by one")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(f"tool {title!r}: {parameter.name!r} is positional only; take the / out of the signature")
        if parameter.annotation is parameter.empty:
            raise ConfigError(f"tool {title!r}: say what {parameter.name!r} is, as in `{parameter.name}: int`")
        if parameter.annotation is Call:
            if takes_call or not inspect.iscoroutinefunction(function):
                raise ConfigError(f"tool {title!r}: one argument of an async function can be its Call")
            takes_call = parameter.name
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    # pydantic keeps some names for itself; under an alias of our own every argument name is free to use.
    inner = {f"a{at}_": value for at, value in enumerate(fields.values())}
    outer = dict(zip(inner, fields, strict=True))
    try:
        model = create_model(
            title, __config__=ConfigDict(extra="forbid", alias_generator=outer.__getitem__), **inner
        )
        arguments = tuple(Argument.of(outer[key], info, title) for key, info in model.model_fields.items())
        schema = model.model_json_schema()
    except (PydanticUserError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"tool {title!r}: its signature cannot be read ({first}); use plain types") from None
    for prop in schema.get("properties", {}).values():
        prop.pop("title", None)
    for argument in arguments:
        if not argument.required and argument.default is not None and argument.kind != "text":
            try:
                argument.read(argument.default, title)
            except ToolError as error:
                raise ConfigError(f"tool {title!r}: the default of {argument.name!r} is not allowed: {error}") from None
    return arguments, schema, takes_call


def _check_phrase(phrase: Phrase, title: str, arguments: Sequence[Argument]) -> None:
    known = {argument.name: argument for argument in arguments}
    where = f"tool {title!r}, phrase {phrase.text!r}"
    for unknown in phrase.names:
        if unknown not in known:
            has = ", ".join(known) or "none"
            at = phrase.text.find("{" + unknown)
            raise ConfigError(f"{where}, position {at}: no argument {{{unknown}}}; the function's are: {has}")
    for path in phrase.arg_sets():
        for argument in arguments:
            if argument.required and argument.name not in path:
                raise ConfigError(
                    f"{where} can leave out {{{argument.name}}}, which the tool needs: put it in, or give it a default"
                )
        if sum(known[name].kind == "text" for name in path) > 1:
            raise ConfigError(f"{where}: one sentence can hold one free text only; make the others Literal[...]")
