"""`POST /v1/realtime/client_secrets`: a key that a browser may hold, and the session it will have."""

from __future__ import annotations

from dataclasses import dataclass

from liveagent.jsonform import Json
from liveagent.wire.codec import Welcome
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.openai_session import first_settings, updated
from liveagent.wire.strict_json import read_object, write

MOST_BODY = 1024 * 1024
SHORTEST_S, LONGEST_S, USUAL_S = 10, 7_200, 600


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """`answer` goes to whoever asked, `expires_unix_s` to whoever checks keys, and `first`, if there is one, into the
    codec of a session that is opened with this key, before anything else that it receives."""

    answer: dict[str, Json]
    expires_unix_s: int
    first: str | None


def client_secret(body: str | bytes, welcome: Welcome, value: str, now_unix_s: int) -> ClientSecret:
    """`body`: of the request, perhaps empty. `value`: the key, which begins with "ek_". Raises `ProtocolError` (mostly
    `Refused`, with a code and the parameter) for a request that cannot be met: an HTTP 400."""
    request = Fields(read_object(body, MOST_BODY) if body.strip() else {})
    seconds = USUAL_S
    if request.given("expires_after"):
        after = request.fields("expires_after")
        after.choice("anchor", ("created_at",), "created_at")
        seconds = after.integer("seconds", SHORTEST_S, LONGEST_S, USUAL_S)
    settings, first = first_settings(welcome), None
    if request.given("session"):
        session = request.fields("session")
        settings = updated(settings, session, welcome)
        first = write({"type": "session.update", "session": dict(session.values)})
    expires = now_unix_s + seconds
    answer: dict[str, Json] = {"value": value, "expires_at": expires, "session": settings.object(welcome)}
    return ClientSecret(answer, expires, first)


def error_body(error: Exception) -> dict[str, Json]:
    """The body of an HTTP 400."""
    code = error.code if isinstance(error, Refused) else "invalid_request_error"
    param = error.param if isinstance(error, Refused) else None
    return {"error": {"type": "invalid_request_error", "code": code, "message": str(error), "param": param}}
