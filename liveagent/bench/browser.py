"""What a person at the page waits for and hears: real Chromium, a microphone and a loudspeaker that are both recorded.

The page is served by a real server on loopback. Chromium hears what is said in a `SoundRoom` and plays into it; its
camera is the toy table that the page draws. Everything is measured in the room's recording, so what a browser does to
sound on its way in and out is in it.

    last_spoken_to_first_played_ms_p50, _p95    from the last sample of a spoken command or question to the first
                                                sample of the answer                                             <= 450
    cut_offs                                    of sentences with a pause of 300 to 800 ms inside (`bench turn`), the
                                                share that was answered before its last word, same setting      <= 0.10
    barge_in_to_silence_ms_p95                  somebody begins to speak into a reply: from their first sample until
                                                the reply is 30 dB under its level and stays so                  <= 200
    wrong_words_per_cut                         words that the agent holds for heard and that were not in the recording
                                                whole, or the other way round; the worst cut                      <= 1

`detail` has the numbers of each and the mean of the wrong words.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from liveagent.audio import RATE_HZ, Samples
from liveagent.bench.host import host
from liveagent.bench.said import commands, loud, spoken_by
from liveagent.bench.soundroom import SoundRoom, missing, sound_room
from liveagent.bench.turn import EDGE_SAMPLES, paused
from liveagent.load import load_agent
from liveagent.train.voices import espeak, speak

TURNS, PAUSES, CUTS = 24, 24, 16
VOICES = ("flite/slt", "flite/awb", "espeak")
LONG = "what can you do"
BARGE = "turn off the kitchen light"
LOUD, SILENT_DB = 0.01, -30.0
WINDOW = RATE_HZ // 100
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required", "--disable-gpu",
]  # fmt: skip


class Page:
    """The page in Chromium, and what its websocket was told: `events` are (when, event)."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.events: list[tuple[float, dict[str, Any]]] = []
        page.on("websocket", lambda link: link.on("framereceived", self._frame))

    def _frame(self, data: str | bytes) -> None:
        if isinstance(data, str) and (event := json.loads(data).get("e")) is not None:
            self.events.append((time.monotonic(), event))

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["type"] in types]

    def until(self, met: Callable[[], Any], seconds: float = 20.0) -> bool:
        """Let the page live until then; False when it did not come to that."""
        deadline = time.monotonic() + seconds
        while not met():
            if time.monotonic() > deadline:
                return False
            self.page.wait_for_timeout(20)
        return True

    def type(self, text: str) -> None:
        box = self.page.get_by_role("textbox").first
        box.fill(text)
        box.press("Enter")


@contextmanager
def opened(room: SoundRoom, port: int) -> Iterator[Page]:
    """The page, its microphone on."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=CHROMIUM, env={**room.environment}, ignore_default_args=["--mute-audio"], args=FLAGS
        )
        try:
            page = Page(browser.new_page())
            page.page.goto(f"http://127.0.0.1:{port}/")
            page.page.get_by_role("button", name="Microphone").first.click()
            if not page.until(lambda: page.of("TickHeard"), 60):
                raise RuntimeError("the page did not come to listen")
            page.page.wait_for_timeout(1500)
            yield page
        finally:
            browser.close()


def _first(sound: Samples, begin: int) -> int | None:
    """The first sample from `begin` on that is loud."""
    loud_at = np.flatnonzero(np.abs(sound[begin:]) > LOUD)
    return begin + int(loud_at[0]) if len(loud_at) else None


def _say(page: Page, room: SoundRoom, sound: Samples) -> tuple[int, int]:
    """Say something, and let the page live meanwhile: between which samples of the recording it was said."""
    before = len(room.recording()[1])
    saying = threading.Thread(target=room.say, args=(sound,))
    saying.start()
    while saying.is_alive():
        page.page.wait_for_timeout(20)
    page.page.wait_for_timeout(400)
    said = room.recording()[1]
    at = np.flatnonzero(np.abs(said[before:]) > LOUD)
    return (before + int(at[0]), before + int(at[-1])) if len(at) else (before, before)


def _wait(page: Page, room: SoundRoom, sound: Samples) -> float | None:
    """Milliseconds from the last sample said to the first one answered."""
    replies = len(page.of("ReplyEnded"))
    _, last = _say(page, room, sound)
    if not page.until(lambda: len(page.of("ReplyEnded")) > replies):
        return None
    page.page.wait_for_timeout(300)
    first = _first(room.recording()[0], last - RATE_HZ // 4)
    return None if first is None else (first - last) / RATE_HZ * 1000


def _was_cut_off(page: Page, room: SoundRoom, sound: Samples) -> bool:
    """Whether the turn was ended before its last word was said: a second turn followed, or the reply came into it."""
    turns, replies = len(page.of("TurnEnded")), len(page.of("ReplyEnded"))
    _say(page, room, sound)
    page.until(lambda: len(page.of("ReplyEnded")) > replies, 8)
    page.page.wait_for_timeout(1200)
    return len(page.of("TurnEnded")) - turns > 1


def _cut(page: Page, room: SoundRoom, sound: Samples, rng: np.random.Generator) -> tuple[float, int] | None:
    """(ms from the first sample said into a reply to silence, words that are wrongly held for heard or not)."""
    ended, begun = len(page.of("ReplyEnded")), len(page.of("ReplyStarted"))
    quiet = len(room.recording()[0])
    page.type(LONG)
    if not page.until(lambda: len(page.of("ReplyStarted")) > begun):
        return None
    utterance = page.of("ReplyStarted")[-1]["utterance"]
    played = [0]

    def sounding() -> bool:
        played[0] = sum(event["utterance"] == utterance for event in page.of("WordPlayed"))
        return played[0] >= 1

    page.until(sounding)
    page.page.wait_for_timeout(int(rng.uniform(0, 600)))
    first, last = _say(page, room, sound)
    if not page.until(lambda: len(page.of("ReplyEnded")) > ended):
        return None
    answered = room.recording()[0]
    start = _first(answered, quiet)
    cuts = [event for event in page.of("Interrupted") if event["utterance"] == utterance]
    page.until(lambda: len(page.of("ReplyEnded")) > ended + 1, 8)
    page.page.wait_for_timeout(500)
    if start is None or not cuts or start > first:
        return None
    stop = _silence(answered, start, first)
    return (stop - first) / RATE_HZ * 1000, _wrong(page, utterance, cuts[0]["heard"], answered[start:last])


def _silence(sound: Samples, start: int, first: int) -> int:
    """From which sample on, after `first`, a reply that began at `start` is silent for a fifth of a second."""
    level = float(np.sqrt(np.mean(sound[start:first] ** 2))) * 10 ** (SILENT_DB / 20)
    frames = sound[first : first + 4 * RATE_HZ]
    frames = frames[: len(frames) // WINDOW * WINDOW].reshape(-1, WINDOW)
    quiet = np.sqrt(np.mean(frames**2, axis=1)) <= max(level, 1e-4)
    for at in range(len(quiet) - 20):
        if quiet[at : at + 20].all():
            return first + at * WINDOW
    return first + len(quiet) * WINDOW


def _wrong(page: Page, utterance: int, heard: Sequence[str], answered: Samples) -> int:
    """How many words of a reply are held for heard and were not, or the other way round. `answered`: the recording from
    its first sample until the other had spoken; up to where it is loud, the reply sounded without a break."""
    marks = [m for e in page.of("Voiced") if e["utterance"] == utterance for m in e["marks"]]
    end = int(np.flatnonzero(np.abs(answered) > LOUD)[-1]) + WINDOW  # a word fades into its end
    return abs(len(heard) - sum(mark["end_samples"] <= end for mark in marks))


def run(turns: int = TURNS, pauses: int = PAUSES, cuts: int = CUTS, seed: int = 9) -> dict[str, Any]:
    """Measure, in real time. RuntimeError that names what is missing on this machine."""
    if lacks := missing():
        raise RuntimeError(lacks)
    asked = spoken_by(VOICES, commands(load_agent("voice"), VOICES, turns, seed), seed)
    sentences = paused(load_agent("voice"), pauses, seed)
    barge = loud(speak("flite/slt", [BARGE], seed, espeak())[0].samples)
    rng = np.random.default_rng(seed)
    edge = np.zeros(EDGE_SAMPLES, np.float32)
    with sound_room() as room, host(4) as served, opened(room, served.port) as page:
        waits = [_wait(page, room, each.sound) for each in asked if each.sound is not None]
        cut = [_was_cut_off(page, room, np.concatenate([s.sound, edge])) for s in sentences if s.sound is not None]
        made = [found for _ in range(cuts) if (found := _cut(page, room, barge, rng)) is not None]
    took = sorted(wait for wait in waits if wait is not None)
    silence, wrong = sorted(ms for ms, _ in made), [words for _, words in made]
    return {
        "last_spoken_to_first_played_ms_p50": round(float(np.percentile(took, 50))) if took else None,
        "last_spoken_to_first_played_ms_p95": round(float(np.percentile(took, 95))) if took else None,
        "cut_offs": round(sum(cut) / len(cut), 3) if cut else None,
        "barge_in_to_silence_ms_p95": round(float(np.percentile(silence, 95))) if silence else None,
        "wrong_words_per_cut": max(wrong, default=None),
        "detail": {
            "turns": [len(took), len(waits)], "paused": len(cut), "cuts": [len(made), cuts],
            "barge_in_to_silence_ms_p50": round(float(np.percentile(silence, 50))) if silence else None,
            "wrong_words_mean": round(statistics.mean(wrong), 3) if wrong else None,
        },
    }  # fmt: skip
