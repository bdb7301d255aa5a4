"""`LeaseWatch`: who drives. A driver says so ten times a second; 300 ms after the last time it said so, nobody does.

This is the guarantee when an agent dies, hangs, is cut off, or the broker between is gone: it counts from when a
heartbeat was *sent*, so that a pile of old ones that a broker gives up all at once holds nothing. One session at a time
holds it. After a lapse the same session may have it again, under another grant: what was ordered under the old one
moves nothing.
"""

from __future__ import annotations

from .contract import LEASE_WINDOW_MS, MOST_SKEW_MS, Lease, LeaseEcho, Reason
from .now import Now
from .offset import Offset


class LeaseWatch:
    def __init__(self, window_ms: float = LEASE_WINDOW_MS, most_skew_ms: float = MOST_SKEW_MS) -> None:
        self._window_ms, self._most_skew_ms = window_ms, most_skew_ms
        self.holder: str | None = None
        self.grant = 0
        self.offset = Offset(most_skew_ms)
        """To the holder's clock, or to that of whoever held it last."""
        self._session: str | None = None  # whose clock that is
        self._seq = -1
        self._until_s = 0.0

    def feed(self, lease: Lease, epoch: int, now: Now) -> LeaseEcho:
        """One heartbeat, and what is answered. `lapse` first: it is for whoever held it before."""
        reason = self._refusal(lease, epoch, now)
        if reason is None:
            if self.holder is None:
                self.holder, self.grant = lease.session, self.grant + 1
            self._seq = lease.seq
            self._until_s = self._good_until_s(lease, now)
        return LeaseEcho(
            session=lease.session, seq=lease.seq, sent_ms=lease.sent_ms, received_ms=now.ms, granted=reason is None,
            grant=self.grant, holder=self.holder, epoch=epoch, reason=reason,
        )  # fmt: skip

    def lapse(self, now: Now) -> bool:
        """Whether the holder has just lost it. Ask before everything else, at every tick and every message."""
        if self.holder is None or now.s <= self._until_s:
            return False
        self.drop()
        return True

    def drop(self) -> None:
        """Nobody drives any more."""
        self.holder = None

    def held_by(self, session: str, grant: int | None) -> bool:
        return self.holder is not None and self.holder == session and grant == self.grant

    def _refusal(self, lease: Lease, epoch: int, now: Now) -> Reason | None:
        if self.holder is not None and self.holder != lease.session:
            return Reason.BUSY
        if self._session != lease.session:
            self._session, self.offset, self._seq = lease.session, Offset(self._most_skew_ms), -1
        if lease.seq <= self._seq:
            return Reason.DUPLICATE
        self.offset.feed(lease.sent_ms, now.ms, lease.offset_ms)
        if lease.epoch != epoch:
            return Reason.STALE_EPOCH
        if self.offset.skewed:
            return Reason.CLOCK_SKEW
        if self._good_until_s(lease, now) <= now.s:
            return Reason.EXPIRED
        return None

    def _good_until_s(self, lease: Lease, now: Now) -> float:
        until_ms = min(lease.sent_ms + self._window_ms, lease.deadline_ms)
        left_ms = self.offset.here_ms(until_ms) - now.ms
        return now.s + min(left_ms, self._window_ms) / 1000.0
