"""`POST /v1/realtime/client_secrets`: a key that a browser may hold, and the session it will have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from liveagent.jsonform import Json
from liveagent.wire.codec import Welcome
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.openai_session import first_settings, updated
from liveagent.wire.strict_json import read_object

MOST_BODY = 1024 * 1024
SHORTEST_S, LONGEST_S, USUAL_S = 10, 7_200, 600


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What a key is to be: good for `seconds`, opening a session with the settings `session` (a `session.update`'s),
    which as a whole are `shown`."""

    seconds: int
    session: Mapping[str, Json]
    shown: Json

    def answer(self, value: str, now_unix_s: int) -> dict[str, Json]:
        """To whoever asked. `value`: the key, which begins with "ek_"."""
        return {"value": value, "expires_at": now_unix_s + self.seconds, "session": self.shown}


def client_secret(body: str | bytes, welcome: Welcome) -> ClientSecret:
    """`body`: of the request, perhaps empty. Raises `ProtocolError` (mostly `Refused`, with a code and the parameter)
    for a request that cannot be met: an HTTP 400."""
    request = Fields(read_object(body, MOST_BODY) if body.strip() else {})
    seconds = USUAL_S
    if request.given("expires_after"):
        after = request.fields("expires_after")
        after.choice("anchor", ("created_at",), "created_at")
        seconds = after.integer("seconds", SHORTEST_S, LONGEST_S, USUAL_S)
    settings, wanted = first_settings(welcome), dict[str, Json]()
    if request.given("session"):
        session = request.fields("session")
        settings, wanted = updated(settings, session, welcome), dict(session.values)
    return ClientSecret(seconds, wanted, settings.object(welcome))


def error_body(error: Exception) -> dict[str, Json]:
    """The body of an HTTP 400."""
    code = error.code if isinstance(error, Refused) else "invalid_request_error"
    param = error.param if isinstance(error, Refused) else None
    return {"error": {"type": "invalid_request_error", "code": code, "message": str(error), "param": param}}
