"""`response.create`: what a client wants of one answer, and how that is asked of the conversation.

Tools and modalities belong to the session. An answer that brings its own has them lent: they are set before it is asked
for and set back after it.
"""

from __future__ import annotations

from dataclasses import dataclass

from liveagent.event import AgentChanged, AnswerAsked, Inbox, VoiceSet
from liveagent.wire.codec import Welcome
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.openai_passed import read_metadata, read_most_tokens
from liveagent.wire.openai_response import Wanted
from liveagent.wire.openai_session import MOST_INSTRUCTIONS, Settings, read_modalities
from liveagent.wire.openai_tools import Tool, asked, chosen, read_choice, read_tools


@dataclass(frozen=True, slots=True)
class AskedFor:
    """`wanted` waits until the conversation begins it; `asks` go there, in order. tools: those that it may call."""

    wanted: Wanted
    asks: tuple[Inbox, ...]
    tools: tuple[Tool, ...]


def read_response(message: Fields, settings: Settings, welcome: Welcome, response_id: str, t_ns: int) -> AskedFor:
    """Raises `Refused`; then nothing is asked."""
    wish = message.fields("response") if message.given("response") else Fields({}, "response")
    for name in ("input", "prompt"):
        if wish.given(name):
            raise Refused(
                f"'response.{name}' is not possible here: an answer rests on the whole conversation.",
                "invalid_value",
                wish.path(name),
            )
    if wish.given("conversation") and wish.text("conversation", 200) == "none":
        raise Refused(
            "Every answer enters the one conversation; to take one out, delete its item.",
            "invalid_value",
            wish.path("conversation"),
        )
    tools = read_tools(wish) if wish.given("tools") else settings.tools
    choice = read_choice(wish, tools) if wish.given("tool_choice") else settings.tool_choice
    spoken = read_modalities(wish, welcome, settings.spoken)
    instructions = wish.text("instructions", MOST_INSTRUCTIONS, "")
    metadata = read_metadata(wish) if wish.given("metadata") else None
    most = read_most_tokens(wish) if wish.given("max_output_tokens") else settings.max_output_tokens
    lent: set[str] = set()
    asks: list[Inbox] = []
    if tools != settings.tools:
        lent.add("tools")
        asks.append(AgentChanged(t_ns, tools=asked(tools)))
    if spoken != settings.spoken:
        lent.add("voice")
        asks.append(VoiceSet(t_ns, spoken))
    wanted = Wanted(response_id, metadata, spoken, most, t_ns, frozenset(lent))
    asks.append(AnswerAsked(t_ns, response_id, chosen(choice), instructions))
    return AskedFor(wanted, tuple(asks), tools)
