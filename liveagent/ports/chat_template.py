"""`ChatTemplate`: the chat template that a checkpoint brings, rendered by Jinja in its sandbox.

A template is a program of strangers: it sees the messages and nothing else, changes nothing, and is small and bounded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from liveagent.errors import ConfigError

FILE, SETTINGS = "chat_template.jinja", "tokenizer_config.json"
MOST_BYTES = 1 << 20
MARKS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Said(Extension):
    """`{% generation %} … {% endgeneration %}`, which some templates have around what an agent says, for training."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Scope:
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class ChatTemplate:
    """`marks`: what the template may write by name ("bos_token")."""

    def __init__(self, source: str, marks: Mapping[str, str] | None = None) -> None:
        """ConfigError for what is no template."""
        if len(source) > MOST_BYTES:
            raise ConfigError(f"{FILE} has {len(source)} bytes, which is no chat template")
        extensions = [loopcontrols, Said]
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ConfigError(f"{FILE} is no template ({error}): fetch it again") from None
        self._marks = dict(marks or {})

    @classmethod
    def load(cls, folder: str | Path) -> ChatTemplate:
        """ConfigError: a checkpoint without one, or a damaged one."""
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS).read_text()) if (folder / SETTINGS).is_file() else {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder / SETTINGS} is damaged ({error}): fetch it again") from None
        source: Any
        if (folder / FILE).is_file():
            source = (folder / FILE).read_text(encoding="utf-8")
        else:
            source = settings.get("chat_template") or ""
        if isinstance(source, list):  # several by name, as older files have them
            named = {each.get("name"): each.get("template") for each in source if isinstance(each, Mapping)}
            source = named.get("tool_use") or named.get("default") or ""
        if not source or not isinstance(source, str):
            raise ConfigError(f"{folder} has no {FILE}: take a checkpoint that was tuned for conversations (…-it)")
        marks = {name: _mark(settings[name]) for name in MARKS if settings.get(name)}
        return cls(source, marks)

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], answer: bool) -> str:
        """The text of a conversation; `answer`: with the agent's turn opened behind it. ConfigError when it refuses."""
        try:
            return self._template.render(
                messages=list(messages), tools=list(tools) or None, add_generation_prompt=answer,
                enable_thinking=False, **self._marks,
            )  # fmt: skip
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise ConfigError(f"the checkpoint's chat template refuses this conversation: {error}") from None


def _mark(value: object) -> str:
    return str(value["content"]) if isinstance(value, Mapping) else str(value)


def _tojson(value: object, indent: int | None = None) -> str:
    """JSON as it stands; Jinja's own would escape it for web pages."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(str(message))
