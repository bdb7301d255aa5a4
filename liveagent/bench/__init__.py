"""Figures: one file a bench, each with `run() -> dict`; `liveagent bench NAME --json` prints what it returns."""
