"""The container: what went in comes out, and what is broken never takes more than itself."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.action import CallTool
from liveagent.errors import ConfigError, DeviceError, ProtocolError
from liveagent.event import SamplesPlayed, TextTyped
from liveagent.journal import FORMAT, MAGIC, Header, JournalWriter, Record, read, to_float, to_int16

HEADER = Header("0.1.0", "2.13.0", "avx2", "float32", 4, 17, "5ca1e", more={"why": [1, None]})


def _written(close: bool = True) -> tuple[bytes, list[int]]:
    """A small recording, and the offsets at which its header and each record end."""
    writer = JournalWriter(HEADER)
    data = writer.take()
    ends = [len(data)]
    rng = np.random.default_rng(0)
    for tick in range(3):
        for kind in range(4):
            if kind == 0:
                writer.audio(tick, rng.integers(-32768, 32768, 40).astype(np.int16))
            elif kind == 1:
                writer.event(tick, TextTyped(tick * 80_000_000, "turn on the light"))
            elif kind == 2:
                writer.tokens(tick, [1, 2, 300])
            else:
                writer.action(tick, CallTool(f"c{tick}", "light", {"state": "on"}, by="grammar"))
            data += writer.take()
            ends.append(len(data))
    if close:
        writer.close()
        data += writer.take()
    return data, ends


def test_what_went_in_comes_out() -> None:
    data, _ = _written()
    for source in (data, io.BytesIO(data)):
        recording = read(source)
        assert recording.header == HEADER and recording.header.holds_voices
        assert recording.complete and recording.trouble == "" and recording.ticks == 3
        audio, typed, tokens, call = recording.records[4:8]
        assert audio.samples.shape == (40,) and audio.tick == 1
        assert typed.event == TextTyped(80_000_000, "turn on the light")
        assert tokens.tokens == (1, 2, 300)
        assert call.action == CallTool("c1", "light", {"state": "on"}, by="grammar")


def test_cut_anywhere_everything_before_the_cut_is_kept_and_said() -> None:
    data, ends = _written(close=False)
    for at in range(len(data) + 1):
        if at < ends[0]:
            with pytest.raises(ConfigError):
                read(data[:at])
            continue
        recording = read(data[:at])
        assert len(recording.records) == sum(end <= at for end in ends[1:])
        assert not recording.complete and str(len(recording.records)) in recording.trouble


def test_a_damaged_byte_costs_nothing_before_it() -> None:
    data, ends = _written()
    whole = read(data).records
    rng = np.random.default_rng(1)
    for at in rng.integers(ends[0], len(data), 200):
        broken = bytearray(data)
        broken[at] ^= int(rng.integers(1, 256))
        recording = read(bytes(broken))
        before = sum(end <= at for end in ends[1:])
        assert recording.records[:before] == whole[:before]
        assert len(recording.records) == before and not recording.complete


def test_another_version_names_its_reader_and_a_foreign_file_is_told_apart() -> None:
    data, ends = _written()
    newer = MAGIC + struct.pack("<H", FORMAT + 1) + data[10:]
    with pytest.raises(ConfigError, match="newer liveagent"):
        read(newer)
    for foreign in (b"", b"RIFF....WAVE", data[:5]):
        with pytest.raises(ConfigError, match="no liveagent recording"):
            read(foreign)
    broken = bytearray(data)
    broken[30] ^= 1
    with pytest.raises(ConfigError, match="damaged"):
        read(bytes(broken))
    with pytest.raises(ConfigError, match="cut short"):
        read(data[: ends[0] - 1])


def test_what_comes_after_the_end_is_ignored_and_said() -> None:
    recording = read(_written()[0] + b"more")
    assert recording.complete and "4 bytes" in recording.trouble


def test_the_writer_is_bounded_and_goes_forward() -> None:
    writer = JournalWriter(HEADER, limit_bytes=1000)
    with pytest.raises(DeviceError, match="faster disk"):
        for tick in range(1000):
            writer.event(tick, SamplesPlayed(0, 1, 5))
    assert writer.waiting_bytes <= 1000
    kept = writer.records
    data = writer.take()
    assert writer.waiting_bytes == 0 and len(read(data).records) == kept
    writer.event(5000, SamplesPlayed(0, 1, 5))
    with pytest.raises(ValueError, match="forward"):
        writer.event(4999, SamplesPlayed(0, 1, 5))
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="after its end"):
        writer.tokens(6000, [])
    assert read(data + writer.take()).complete
    with pytest.raises(ProtocolError, match="bytes"):
        JournalWriter(HEADER).audio(0, np.zeros(1 << 23, np.int16))


def test_a_record_read_as_what_it_is_not_is_a_protocol_error() -> None:
    looks: list[Any] = [
        lambda: Record(0, "audio", b"\0\0").event,
        lambda: Record(0, "event", b"{}").event,
        lambda: Record(0, "json", b"{").json,
        lambda: Record(0, "event", b"{}").action,
        lambda: Record(0, "tokens", b"[1.5]").tokens,
        lambda: Record(0, "tokens", b"{}").tokens,
        lambda: Record(0, "audio", b"\0").samples,
    ]
    for look in looks:
        with pytest.raises(ProtocolError):
            look()


def test_json_notes_and_a_header_of_another_shape() -> None:
    writer = JournalWriter(replace(HEADER, weights="w"))
    writer.json(0, {"shed": 3})
    assert read(writer.take()).records[0].json == {"shed": 3}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-32768, 32767), max_size=60))
def test_int16_survives_the_way_through_float(values: list[int]) -> None:
    samples = np.array(values, np.int16)
    assert np.array_equal(to_int16(to_float(samples)), samples)
    assert Record(0, "audio", samples.astype("<i2").tobytes()).samples.tobytes() == to_float(samples).tobytes()


def test_hostile_floats_become_samples() -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 2.0, -2.0, 1e30], np.float32)
    assert to_int16(wild).tolist() == [0, 32767, -32768, 32767, -32768, 32767]
