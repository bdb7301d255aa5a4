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
from typing import Any, Literal, get_args, overload

from liveagent.argument import Argument, Value
from liveagent.errors import ConfigError, ToolError
from liveagent.phrase import Phrase
from liveagent.spoken import spoken

Effect = Literal["none", "reversible", "physical"]


@dataclass(frozen=True, eq=False)
class Tool:
    """A function and everything the agent knows of it. Calling a Tool calls the function.

    `effect`: "none" reads, "reversible" can be undone, "physical" moves something in the world. `confirm`: ask the
    user first. `say`: how a word that no dictionary has is pronounced, as words that have ("zigbee": "zig bee").
    """

    name: str
    description: str
    function: Callable[..., Any]
    arguments: tuple[Argument, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    effect: Effect = "reversible"
    timeout_s: float = 10.0
    confirm: bool = False
    say: Mapping[str, str] = field(default_factory=dict)
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
    effect: Effect = "reversible",
    timeout_s: float = 10.0,
    confirm: bool = False,
    say: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    phrases: Sequence[str] = (),
    effect: Effect = "reversible",
    timeout_s: float = 10.0,
    confirm: bool = False,
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
        if effect not in get_args(Effect):
            raise ConfigError(f"tool {title!r}: effect={effect!r}; use one of {', '.join(get_args(Effect))}")
        if not timeout_s > 0:
            raise ConfigError(f"tool {title!r}: timeout_s={timeout_s}; it must be over 0")
        description = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
        if not description:
            raise ConfigError(f"tool {title!r} has no docstring: write one line that says what it does")
        arguments, schema = _signature(function, title)
        parsed = tuple(Phrase.of(phrase, title) for phrase in phrases)
        for phrase in parsed:
            _check_phrase(phrase, title, arguments)
        return Tool(
            title, description, function, arguments, parsed, effect, timeout_s, confirm,
            {spoken(word): spoken(how) for word, how in (say or {}).items()}, schema,
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


def _signature(function: Callable[..., Any], title: str) -> tuple[tuple[Argument, ...], Mapping[str, Any]]:
    from pydantic import ConfigDict, create_model
    from pydantic.errors import PydanticUserError

    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise ConfigError(
            f"tool {title!r}: the annotation {error.name!r} is not known there; define it at the top of the file"
        ) from None
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigError(f"tool {title!r} takes *{parameter.name}: name its arguments one by one")
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ConfigError(f"tool {title!r}: {parameter.name!r} is positional only; take the / out of the signature")
        if parameter.annotation is parameter.empty:
            raise ConfigError(f"tool {title!r}: say what {parameter.name!r} is, as in `{parameter.name}: int`")
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
    return arguments, schema


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
