"""One question to a web service, asked in JSON: bounded, with a deadline, and to nobody but the one that was named."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from liveagent.errors import ConfigError, ToolError

MOST_BYTES = 1 << 20


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key goes to the service that it is for, not where that one points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def check_url(url: str, name: str) -> str:
    """The address without a slash at its end. ConfigError for one that is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name}={url!r:.80}: give an address such as http://localhost:8080/v1")
    return url.rstrip("/")


def post_json(url: str, body: Any, *, key: str, timeout_s: float, most_bytes: int = MOST_BYTES) -> Any:
    """What the service answers. Blocks. ToolError, worded for the model, for everything else."""
    where = urlsplit(url).hostname
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            data = answer.read(most_bytes + 1)
    except urllib.error.HTTPError as error:
        error.close()
        why = {401: "it does not know the key", 403: "it does not allow that", 404: "it has no such model or address",
               429: "it was asked too often"}.get(error.code, f"status {error.code}")  # fmt: skip
        raise ToolError(f"the service at {where} refuses: {why}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise ToolError(f"the service at {where} does not answer ({type(error).__name__})") from None
    if len(data) > most_bytes:
        raise ToolError(f"the service at {where} sent more than {most_bytes >> 20} MB")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ToolError(f"the service at {where} sent something else than JSON") from None
