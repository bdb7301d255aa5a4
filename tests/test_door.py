"""Who may come in, and when one more is too many."""

from __future__ import annotations

import pytest

from liveagent.errors import ConfigError
from liveagent.runtime.admission import Admission
from liveagent.runtime.door import MOST_SECRETS, PENDING_AN_ADDRESS, Door, is_loopback, key_of
from liveagent.runtime.request import Refused

KEY = "0123456789abcdef-correct"
HERE, THERE = "127.0.0.1", "192.168.1.20"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(status: int) -> pytest.RaisesExc[Refused]:
    return pytest.raises(Refused, check=lambda error: error.status == status)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:1"])
def test_this_machine_needs_no_key(clock: Clock, host: str) -> None:
    Door((), (), clock).enter("", HERE, host)
    Door((), (), clock).enter("sk-whatever-a-client-sends", "::ffff:127.0.0.1", host)


@pytest.mark.parametrize(
    ("client", "host"),
    [
        (THERE, "127.0.0.1"),  # from elsewhere
        (HERE, "agent.example.org"),  # through a proxy
        (HERE, "evil.example:8000"),  # a name that somebody made point here
        ("", "localhost"),  # a unix socket, behind who knows what
        (HERE, ""),
        (HERE, "localhost.evil.example"),
        (HERE, "]["),
    ],
)
def test_everybody_else_does(clock: Clock, client: str, host: str) -> None:
    with refused(401):
        Door((), (), clock).enter("", client, host)


def test_once_there_are_keys_everybody_needs_one(clock: Clock) -> None:
    door = Door((KEY, KEY[::-1]), (), clock)
    assert door.enter(KEY, THERE, "x").owner != door.enter(KEY[::-1], THERE, "x").owner
    for wrong in ("", KEY[:-1], KEY + " ", KEY.upper()):
        with refused(401):
            door.enter(wrong, HERE, "localhost")


def test_a_key_that_can_be_guessed_is_not_taken(clock: Clock) -> None:
    with pytest.raises(ConfigError, match="guessed"):
        Door(("secret",), (), clock)


@pytest.mark.parametrize("bad", ["example.org", "https://example.org/page", "ftp://example.org", "null", "*"])
def test_what_is_no_origin_is_said_to_be_none(clock: Clock, bad: str) -> None:
    with pytest.raises(ConfigError, match="origins"):
        Door((), (bad,), clock)


def test_pages_of_our_own_and_of_the_list_may_come(clock: Clock) -> None:
    door = Door((), ("https://App.example.org/",), clock)
    for origin, host, scheme in [
        ("http://localhost:8000", "localhost:8000", "ws"),
        ("https://agent.example.org", "agent.example.org", "wss"),
        ("https://app.example.org", "localhost:8000", "ws"),
    ]:
        door.check_origin({"origin": origin, "host": host}, scheme)
    door.check_origin({"host": "localhost:8000"}, "ws")  # no page at all
    for origin, host, scheme in [
        ("http://evil.example", "localhost:8000", "ws"),
        ("http://localhost:8001", "localhost:8000", "ws"),
        ("https://localhost:8000", "localhost:8000", "ws"),
        ("null", "localhost:8000", "ws"),
        ("http://localhost:8000.evil.example", "localhost:8000", "ws"),
        ("", "localhost:8000", "ws"),
    ]:
        with refused(403):
            door.check_origin({"origin": origin, "host": host}, scheme)


def test_a_key_for_one_session_opens_one_session(clock: Clock) -> None:
    door = Door((KEY,), (), clock)
    owner = door.enter(KEY, THERE, "x").owner
    key = door.mint(owner, 60, {"voice": "x"})
    with refused(401):  # it makes no more of its kind, and opens nothing else
        door.enter(key, THERE, "x", once=False)
    secret = door.enter(key, THERE, "x")
    assert (secret.owner, secret.session) == (owner, {"voice": "x"})
    with refused(401):
        door.enter(key, THERE, "x")


def test_a_key_for_one_session_expires(clock: Clock) -> None:
    door = Door((), (), clock)
    key = door.mint("", 60, {})
    clock.now += 60.5
    with refused(401):
        door.enter(key, HERE, "localhost")
    door.enter("", HERE, "localhost")  # which nobody needed


def test_keys_that_nobody_uses_do_not_pile_up(clock: Clock) -> None:
    door = Door((), (), clock)
    made = {door.mint("", 60, {}) for _ in range(MOST_SECRETS)}
    assert len(made) == MOST_SECRETS
    with refused(429):
        door.mint("", 60, {})
    clock.now += 61
    door.mint("", 60, {})


def test_an_address_has_few_connections_that_wait(clock: Clock) -> None:
    door = Door((), (), clock)
    waiting = [door.waiting(THERE) for _ in range(PENDING_AN_ADDRESS)]
    for each in waiting:
        each.__enter__()
    with refused(429), door.waiting(THERE):
        pass
    with door.waiting("192.168.1.21"):
        pass
    waiting[0].__exit__(None, None, None)
    with door.waiting(THERE):
        pass


def test_a_key_is_found_wherever_a_client_puts_it() -> None:
    assert key_of({"authorization": "Bearer abc"}) == "abc"
    assert key_of({"authorization": "Token auth_tokens/abc"}) == "abc"
    assert key_of({"x-goog-api-key": "abc"}) == "abc"
    assert key_of({}, ["realtime", "openai-insecure-api-key.abc", "openai-agents-sdk.0.20.0"]) == "abc"
    assert key_of({}, ["liveagent.v1", "liveagent.key.abc"]) == "abc"
    assert key_of({}, [], {"key": "abc"}) == "abc"
    assert key_of({}, [], {"access_token": "auth_tokens/abc"}) == "abc"
    assert key_of({"authorization": "Basic abc"}, ["realtime"], None) == ""


def test_what_the_loopback_is_called() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"]))
    others = ["", "0.0.0.0", "::", "10.0.0.1", "localhost.", "127.0.0.1.nip.io", "::ffff:10.0.0.1"]
    assert not any(map(is_loopback, others))


# --- how many


def feed(admission: Admission, now: float, lateness_s: float, busy: float = 0.0, seconds: float = 10.0) -> float:
    """So much time with ticks so late."""
    for step in range(int(seconds / 0.08)):
        now += 0.08
        admission.tick(now, lateness_s)
        if step % 3 == 0:
            admission.feed(now, busy)
    return now


def test_nobody_more_from_seven_tenths_on_and_again_below_fifty_five_hundredths() -> None:
    admission = Admission()
    now = feed(admission, 0.0, 0.050)
    admission.check(1, sessions=3)
    now = feed(admission, now, 0.060)
    with refused(503):
        admission.check(1, sessions=3)
    now = feed(admission, now, 0.050)  # between the two: as it was
    with refused(503):
        admission.check(1, sessions=3)
    feed(admission, now, 0.040, seconds=25.0)
    admission.check(1, sessions=3)


def test_a_busy_engine_counts_as_late_ticks_do() -> None:
    admission = Admission()
    feed(admission, 0.0, 0.001, busy=0.9)
    with pytest.raises(Refused) as why:
        admission.check(1, sessions=1)
    assert why.value.retry_s


def test_a_few_late_ticks_are_no_load_and_the_first_is_always_let_in() -> None:
    admission = Admission()
    now = feed(admission, 0.0, 0.005)
    for _ in range(3):
        admission.tick(now, 2.0)
    admission.feed(now, 0.1)
    admission.check(1, sessions=1)
    feed(admission, now, 1.0)
    with refused(503):
        admission.check(1, sessions=1)
    admission.check(1, sessions=0)


def test_without_a_lane_there_is_no_seat() -> None:
    with refused(503):
        Admission().check(0, sessions=0)


def test_what_was_long_ago_does_not_count() -> None:
    admission = Admission()
    now = feed(admission, 0.0, 1.0)
    for _ in range(60):
        now += 0.25
        admission.feed(now, 0.0)
    admission.check(1, sessions=1)
