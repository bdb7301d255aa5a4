"""`Metrics`: what a server counts, as Prometheus reads it. Numbers and short codes only, never anybody's words."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.056, 0.08, 0.12, 0.16, 0.32, 0.64, 1.28, 2.56)


class Metrics:
    """One server's, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._tick = Histogram(
            "liveagent_tick_seconds", "How long a tick of 80 ms took", buckets=_SECONDS, registry=registry
        )
        self._lag = Histogram(
            "liveagent_lag_seconds", "How late a tick was done, after its last sample had come", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._refused = Counter(
            "liveagent_refused", "Connections that were not let in", ["reason"], registry=registry
        )
        self._opened = Counter("liveagent_opened", "Sessions begun", ["protocol"], registry=registry)
        self._ended = Counter("liveagent_ended", "Sessions ended", ["reason"], registry=registry)
        self._resumed = Counter("liveagent_resumed", "Sessions taken up again", registry=registry)
        self._counts = {
            name: Counter(f"liveagent_{name}", said, registry=registry)
            for name, said in {
                "tokens": "Tokens that the decoder chose",
                "frames_dropped": "Pictures that nobody looked at",
                "received_samples": "Samples of sound that came",
                "consumed_samples": "Samples of sound that were heard",
                "gap_samples": "Samples of sound that never came, or came late",
                "engine_restarts": "How often the engine's process was started again",
            }.items()
        }
        self._gauges = {
            name: Gauge(f"liveagent_{name}", said, registry=registry)
            for name, said in {
                "lanes_free": "Lanes that nobody has",
                "load": "What admission goes by: refused from 0.7 on",
                "queue_bytes": "Sound that waits to be heard",
                "outbox_bytes": "What waits to be sent",
                "engine_busy": "The share of the time that the engine computes",
                "engine_hear_seconds": "How long hearing a tick took, there and back, 95th percentile",
                "engine_rss_bytes": "Memory of the engine's process",
                "engine_up": "Whether the engine stands",
                "loop_lag_seconds": "How late the event loop woke up last",
            }.items()
        }
        self._sessions = Gauge("liveagent_sessions", "Sessions now", ["state"], registry=registry)
        self._cache = Gauge("liveagent_cache_tokens", "Tokens in all caches", ["kind"], registry=registry)

    def tick(self, seconds: float, lag_s: float) -> None:
        self._tick.observe(seconds)
        self._lag.observe(lag_s)

    def refused(self, reason: str) -> None:
        self._refused.labels(reason).inc()

    def opened(self, protocol: str) -> None:
        self._opened.labels(protocol).inc()

    def ended(self, reason: str) -> None:
        self._ended.labels(reason).inc()

    def resumed(self) -> None:
        self._resumed.inc()

    def count(self, name: str, more: int) -> None:
        """More of `tokens`, `frames_dropped`, `received_samples` …"""
        if more > 0:
            self._counts[name].inc(more)

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)

    def sessions(self, active: int, parked: int) -> None:
        self._sessions.labels("active").set(active)
        self._sessions.labels("parked").set(parked)

    def cache(self, by_kind: Mapping[str, int]) -> None:
        self._cache.clear()
        for kind, tokens in by_kind.items():
            self._cache.labels(kind).set(tokens)

    def text(self) -> bytes:
        return generate_latest(self._registry)
