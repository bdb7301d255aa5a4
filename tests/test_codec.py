"""What holds for every codec, as a server makes them."""

from __future__ import annotations

from typing import get_args

import pytest

from liveagent.runtime.request import Protocol
from liveagent.runtime.seats import codec_of
from liveagent.wire.codec import Codec, Welcome


@pytest.mark.parametrize("protocol", get_args(Protocol))
def test_a_codec_has_what_a_conversation_reads(protocol: Protocol) -> None:
    codec: Codec = codec_of(protocol, Welcome("sess_1", "nano"))
    codec.open(0)
    assert codec.closing is None and isinstance(codec.reports_playback, bool)
    assert all(isinstance(frame, str | bytes) for frame in codec.take())
