"""`Door`: who may come in.

On this machine nobody needs a key: the peer's address and the name it calls us by must both be the loopback's, for a
page of somebody else's can point its own name at 127.0.0.1, and a proxy's visitors all come from there. Once keys are
set everybody needs one. A page comes from our own address or from one that was listed. Keys are compared by their
digests, in constant time, and are never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from liveagent.errors import ConfigError
from liveagent.jsonform import Json
from liveagent.runtime.request import Refused

SECRET_S = 60
MOST_SECRETS = 1000
PENDING_AN_ADDRESS = 20
SHORTEST_KEY = 16

OFFERED = ("openai-insecure-api-key.", "liveagent.key.")
"""A page cannot set headers on a websocket; it offers its key as one of the subprotocols."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A key for one session, good for opening it until `expires_s` (monotonic). `owner`: whose key it was made with."""

    owner: str
    expires_s: float
    session: Mapping[str, Json]


class Door:
    """One server's. `now_s` is a monotonic clock."""

    def __init__(
        self, keys: Sequence[str], origins: Sequence[str], now_s: Callable[[], float], admitted: bool = False
    ) -> None:
        """`admitted`: somebody else looks at keys. ConfigError for a key that can be guessed, and for what is no
        origin."""
        for key in keys:
            if len(key) < SHORTEST_KEY:
                raise ConfigError(f"a key of {len(key)} characters can be guessed; take {SHORTEST_KEY} or more")
        self._keys = [_digest(key) for key in keys]
        self._origins = frozenset(_origin(each) for each in origins)
        self._now_s, self._admitted = now_s, admitted
        self._secrets: dict[bytes, Secret] = {}
        self._pending: Counter[str] = Counter()

    # --- where from

    def check_origin(self, headers: Mapping[str, str], scheme: str) -> None:
        """Refused: a page of somebody else's. Whoever is no page says no origin, and passes."""
        origin = headers.get("origin")
        if origin is None:
            return
        own = f"{'https' if scheme in ('https', 'wss') else 'http'}://{headers.get('host', '').lower()}"
        if origin.lower() != own and origin.lower() not in self._origins:
            raise Refused("pages of another address are not served; list it: origins=[...]", reason="origin")

    @contextmanager
    def waiting(self, client: str) -> Iterator[None]:
        """Around everything that comes before a session. Refused: too many of this address wait already."""
        if self._pending[client] >= PENDING_AN_ADDRESS:
            raise Refused("too many connections of this address wait", status=429, retry_s=5, reason="pending")
        self._pending[client] += 1
        try:
            yield
        finally:
            self._pending[client] -= 1
            if not self._pending[client]:
                del self._pending[client]

    # --- with which key

    def enter(self, key: str, client: str, host: str, *, once: bool = True) -> Secret:
        """Who holds this key: a `Secret` that is used up by this (`once`; else secrets are not taken), or one made up
        for a key that lasts. Refused."""
        digest = _digest(key)
        if once and (secret := self._secrets.pop(digest, None)) is not None:
            if secret.expires_s >= self._now_s():
                return secret
            raise Refused("this key has expired; ask for another", status=401, reason="key")
        if self._keys:
            if any([hmac.compare_digest(digest, each) for each in self._keys]):  # all of them, always
                return Secret(digest.hex(), 0.0, {})
            raise Refused("a key is needed" if not key else "this key is wrong", status=401, reason="key")
        if self._admitted or (is_loopback(client) and is_loopback(name_of(host))):
            return Secret(digest.hex() if self._admitted else "", 0.0, {})
        raise Refused("this server has no key and serves its own machine alone; set one", status=401, reason="key")

    def mint(self, owner: str, seconds: int, session: Mapping[str, Json]) -> str:
        """A key that opens one session within `seconds`. Refused: too many wait to be used."""
        now = self._now_s()
        for digest in [digest for digest, each in self._secrets.items() if each.expires_s < now]:
            del self._secrets[digest]
        if len(self._secrets) >= MOST_SECRETS:
            raise Refused("too many keys wait to be used", status=429, retry_s=SECRET_S, reason="secrets")
        key = f"ek_{secrets.token_urlsafe(32)}"
        self._secrets[_digest(key)] = Secret(owner, now + seconds, session)
        return key


def key_of(
    headers: Mapping[str, str], offered: Sequence[str] = (), query: Mapping[str, str] | None = None
) -> str:
    """The key that a peer shows, wherever its client puts it: `Authorization`, `x-goog-api-key`, a subprotocol, and,
    for clients that know no better, the `query`. "" for none."""
    kind, _, shown = headers.get("authorization", "").partition(" ")
    if kind.lower() in ("bearer", "token") and shown.strip():
        return shown.strip().removeprefix("auth_tokens/")
    if shown := headers.get("x-goog-api-key", ""):
        return shown.removeprefix("auth_tokens/")
    for each in offered:
        for prefix in OFFERED:
            if each.startswith(prefix):
                return each.removeprefix(prefix)
    shown = (query or {}).get("key") or (query or {}).get("access_token") or ""
    return shown.removeprefix("auth_tokens/")


def is_loopback(name: str) -> bool:
    """Whether an address, or the name one calls a server by, is the loopback's."""
    if name.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def name_of(host: str) -> str:
    """The name in a `Host` header: no port, no brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise ConfigError(f"origins: {text!r} is none; write https://example.org, without a path")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
