"""`JsonCalls`: a `CallSyntax` that many families share, one JSON object between two marks: `{"name": "light",
"arguments": {"room": "kitchen"}}`. What the marks are, what stands around a result and what the second key is called a
family says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from liveagent.errors import ToolError
from liveagent.nn.chat import Mark
from liveagent.tool import Tool

MOST_LETTERS = 400
"""Of a free text."""
MOST = 999_999_999
"""Of a number that nothing else bounds."""
STYLE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False, "lenient": True}
"""How `json.dumps` writes, and templates' `tojson` too. What a schema of somebody else's says beyond what is known, the
tool's own check decides."""


class JsonCalls:
    """`opens`, `closes`: the marks, each one id. `before`, `behind`: what stands around what a tool gave, from the end
    of its call to where the agent goes on; spaces and newlines of theirs that touch it are cut into pieces with it, as
    they are in a template's whole text. `space`: what stands between a mark and the object. `key`: of the arguments."""

    def __init__(
        self, opens: str, closes: str, before: str, behind: str, *, space: str = "\n", key: str = "arguments"
    ) -> None:
        self.opens, self.closes = Mark(opens), Mark(closes)
        self._before, self._behind, self._space, self._key = Mark(before), Mark(behind), space, key
        # Many tokenizers do not count these among their special tokens: whoever spells one would write it.
        self._spelled = re.compile(
            "|".join(re.escape(each) for each in _tags(opens, closes, before, behind)) or r"(?!)"
        )

    def write(self, name: str, args: Mapping[str, Any]) -> list[str]:
        whole = json.dumps({"name": name, self._key: dict(args)}, ensure_ascii=False)
        whole = self._spelled.sub(lambda found: f"\\u{ord(found[0][0]):04x}{found[0][1:]}", whole)
        return [f"{self._space}{whole}{self._space}"]

    def result(self, name: str, text: str) -> list[str]:
        while self._spelled.search(text):  # what is left may spell one again
            text = self._spelled.sub("", text)
        before, behind = self._before.rstrip(), self._behind.lstrip()
        ahead, after = self._before[len(before) :], self._behind[: len(self._behind) - len(behind)]
        return [Mark(before), f"{ahead}{text}{after}", Mark(behind)]

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        try:
            call = json.loads(text.replace(self.opens, "").replace(self.closes, ""))
            name, args = call["name"], call[self._key]
            if not isinstance(name, str) or not isinstance(args, dict):
                raise ValueError("its name is no text, or its arguments are no object")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ToolError(f'that is no call ({error}); write {{"name": NAME, "{self._key}": {{…}}}}') from None
        return name, args

    def lark(self, tools: Sequence[Tool], mark: Callable[[str], str]) -> str:
        rules = [f"start: {json.dumps(self._space)} ({' | '.join(f'tool{at}' for at in range(len(tools)))}) rest"]
        rules.append(f"rest: {json.dumps('}' + self._space)}")
        for at, tool in enumerate(tools):
            head = json.dumps(f'{{"name": {json.dumps(tool.name)}, "{self._key}": ')
            rules.append(f"tool{at}: {head} args{at}\nargs{at}: %json {json.dumps(_bounded(tool.schema))}")
        return "\n".join(rules)


def _tags(*texts: str) -> set[str]:
    return {tag for text in texts for tag in re.findall(r"<[^<>\s]+>", text)}


def _bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, written in one way, and nothing in it without an end."""

    def bounded(value: Any) -> Any:
        if isinstance(value, list):
            return [bounded(each) for each in value]
        if not isinstance(value, Mapping):
            return value
        inside = {key: bounded(each) for key, each in value.items()}
        if "enum" in value or "const" in value:
            return inside
        if value.get("type") == "string":
            return {"maxLength": MOST_LETTERS} | inside
        if value.get("type") in ("integer", "number"):
            low = {} if "exclusiveMinimum" in value else {"minimum": -MOST}
            return low | ({} if "exclusiveMaximum" in value else {"maximum": MOST}) | inside
        return inside

    found: dict[str, Any] = bounded(schema)
    return {**found, "additionalProperties": False, "x-guidance": STYLE}
