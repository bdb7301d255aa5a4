"""`Action`: a function of the robot's that can be ordered, and what its signature and docstring say about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from .call import Call
from .contract import Risk, ToolSpec


class ArgumentError(ValueError):
    """The arguments of an order do not fit."""


@dataclass(frozen=True)
class Action:
    """`takes_call`: the name of the argument that is the running call, "" for none. `point`: which arguments are x, y,
    z of a place that must be within the limits' box."""

    spec: ToolSpec
    function: Callable[..., Any]
    model: type[BaseModel]
    takes_call: str
    point: Mapping[str, str]

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def read(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments to call it with. ArgumentError."""
        try:
            checked = self.model.model_validate(dict(args))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            raise ArgumentError(f"{'.'.join(map(str, first['loc'])):.80}: {first['msg']:.200}") from None
        return {str(info.alias): getattr(checked, name) for name, info in self.model.model_fields.items()}


def action(
    function: Callable[..., Any],
    *,
    risk: Risk,
    motion: bool,
    name: str | None,
    phrases: tuple[str, ...],
    timeout_s: float,
    cancel_on_barge_in: bool,
    point: Mapping[str, str],
) -> Action:
    """Read a function. ValueError, which says what to mend, for one that cannot be ordered."""
    title = name or function.__name__
    if risk not in get_args(Risk):
        raise ValueError(f"action {title}: risk is one of {', '.join(get_args(Risk))}")
    if risk == "observe" and motion:
        raise ValueError(f"action {title} moves, so it does more than observe")
    description = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
    if not description:
        raise ValueError(f"action {title} has no docstring: write one line that says what it does")
    fields: dict[str, Any] = {}
    takes_call = ""
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(f"action {title}: name its arguments one by one, without * and /")
        if parameter.annotation is Call:
            takes_call = parameter.name
            continue
        if parameter.annotation is parameter.empty:
            raise ValueError(f"action {title}: say what {parameter.name} is, as in `{parameter.name}: float`")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    if unknown := [each for each in point.values() if each not in fields]:
        raise ValueError(f"action {title} has no argument {unknown[0]}, which point= names")
    # pydantic keeps some names for itself; under an alias every argument's name is free to use.
    inner: dict[str, Any] = {f"a{at}_": value for at, value in enumerate(fields.values())}
    outer = dict(zip(inner, fields, strict=True))
    config = ConfigDict(extra="forbid", alias_generator=outer.__getitem__)
    model: type[BaseModel] = create_model(title, __config__=config, **inner)
    schema = model.model_json_schema()
    for each in schema.get("properties", {}).values():
        each.pop("title", None)
    schema.pop("title", None)
    spec = ToolSpec(
        name=title, description=description, parameters=schema, risk=risk, motion=motion, phrases=list(phrases),
        timeout_s=timeout_s, cancel_on_barge_in=cancel_on_barge_in,
    )  # fmt: skip
    return Action(spec, function, model, takes_call, dict(point))
