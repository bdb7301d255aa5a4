"""Fields that change nothing here and are told back: only their form is looked at, so that it can be read again."""

from __future__ import annotations

from liveagent.jsonform import Json
from liveagent.wire.openai_fields import Fields, Refused

Object = dict[str, Json]

MOST_PASSED_ON = 16_384


def read_passed_on(owner: Fields, name: str) -> Json:
    """`tracing`, `truncation`, `include`, `parallel_tool_calls` or `reasoning`. Raises `Refused`."""
    default: Json = "auto" if name == "truncation" else None
    if not owner.given(name):
        return default
    value = owner.values[name]
    if name == "include":
        wanted = owner.items(name, 16)
        if any(each != "item.input_audio_transcription.logprobs" for each in wanted):
            raise Refused("Unknown value.", "invalid_value", owner.path(name))
        return wanted
    if name == "parallel_tool_calls":
        return owner.flag(name)
    if name == "reasoning":
        wanted_effort = owner.fields(name)
        if not wanted_effort.given("effort"):
            return {}
        return {"effort": wanted_effort.choice("effort", ("minimal", "low", "medium", "high", "xhigh"))}
    if isinstance(value, str):
        return owner.choice(name, ("auto",) if name == "tracing" else ("auto", "disabled"))
    wanted_object = owner.fields(name)
    if name == "tracing":
        traced: Object = {
            key: wanted_object.text(key, 512) for key in ("workflow_name", "group_id") if wanted_object.given(key)
        }
        if wanted_object.given("metadata"):
            traced["metadata"] = dict(read_metadata(wanted_object))
        return traced
    out: Object = {
        "type": wanted_object.choice("type", ("retention_ratio",)),
        "retention_ratio": wanted_object.number("retention_ratio", 0.0, 1.0),
    }
    if wanted_object.given("token_limits"):
        limits = wanted_object.fields("token_limits")
        if limits.given("post_instructions"):
            out["token_limits"] = {"post_instructions": limits.integer("post_instructions", 0, 2**31)}
    return out


def read_metadata(owner: Fields) -> dict[str, Json]:
    """At most 16 pairs of short strings, which come back as they are."""
    where = owner.path("metadata")
    values = owner.fields("metadata").values
    if len(values) > 16:
        raise Refused("Metadata holds at most 16 pairs.", "object_above_max_properties", where)
    for key, value in values.items():
        if len(key) > 64 or not isinstance(value, str) or len(value) > 512:
            raise Refused("Metadata are strings: keys up to 64 characters, values up to 512.", "invalid_value", where)
    return dict(values)


def read_most_tokens(owner: Fields) -> Json:
    if not owner.given("max_output_tokens") or owner.values["max_output_tokens"] == "inf":
        return "inf"
    return owner.integer("max_output_tokens", 1, 4096)
