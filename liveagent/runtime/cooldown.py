"""`CoolDown`: who was thrown out waits before they may begin anew, longer each time.

Opening a conversation costs the others something, so somebody who floods or sends rubbish, is closed, and comes again
at once would live on their time. A connection that is lost, taken up again or ended is no offence, and the first two
offences cost nothing: somebody is writing a client.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass

from liveagent.runtime.request import Refused

FREE = 2
FIRST_S, MOST_S = 1.0, 60.0
FORGIVEN_S = 300.0
"""After so long without another offence all is forgotten."""
MOST_CULPRITS = 4096
"""Of whom more than these were thrown out, those of long ago are forgotten."""


@dataclass(slots=True)
class _Culprit:
    offences: int
    last_s: float
    until_s: float


class CoolDown:
    """One server's. `now_s` is a monotonic clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._culprits: dict[str, _Culprit] = {}  # the longest without an offence first

    def offend(self, who: str) -> None:
        """`who` was thrown out."""
        now = self._now_s()
        culprit = self._culprits.pop(who, None)
        offences = 1 if culprit is None or now - culprit.last_s > FORGIVEN_S else culprit.offences + 1
        wait = 0.0 if offences <= FREE else min(MOST_S, FIRST_S * 2.0 ** min(30, offences - FREE - 1))
        self._culprits[who] = _Culprit(offences, now, now + wait)
        while len(self._culprits) > MOST_CULPRITS:
            del self._culprits[next(iter(self._culprits))]

    def check(self, who: str) -> None:
        """Refused (503): not yet."""
        culprit = self._culprits.get(who)
        left = 0.0 if culprit is None else culprit.until_s - self._now_s()
        if left > 0:
            retry_s = math.ceil(left)
            said = f"thrown out too often; begin again in {retry_s} s"
            raise Refused(said, status=503, retry_s=retry_s, reason="cooldown")


def who_of(owner: str, client: str) -> str:
    """Whom to hold to account: whose key it is, at which address. Of IPv6 it is the network, where one machine has as
    many addresses as it likes."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return f"{owner}@{client}"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return f"{owner}@{ipaddress.ip_network((address, 64), strict=False)}"
    return f"{owner}@{getattr(address, 'ipv4_mapped', None) or address}"
