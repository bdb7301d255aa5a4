"""The web page in a real Chromium, against a scripted peer that speaks the real codec: states, sound to the sample,
the toy table as the eye reads it, and what holds for every state (names, contrast, nothing shifts, nobody else asked).
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liveagent import action as act
from liveagent import event as ev
from liveagent.nn.eye import Eye
from liveagent.picture import check_header
from liveagent.ports.media import MediaFile, write_wav
from liveagent.shapes import AREA
from liveagent.sight import COLOURS, SHAPES, named
from liveagent.table import Surface, Table, Thing, draw, paint
from liveagent.wire.codec import Confirm, Confirming, Looked, Patches, RobotStands
from tests.page_peer import PAGE, PHRASES, WORD_SAMPLES, Peer

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested where playwright is installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NANO = Path(__file__).resolve().parent.parent / "pipelines" / "nano"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="the page is tested where Chromium is installed"),
]

FLAGS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")
FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
DENIED = ("--use-fake-device-for-media-stream", "--deny-permission-prompts")
NO_DEVICES = ("--use-fake-ui-for-media-stream",)
PATIENCE_MS = 30_000  # a machine may be busy: nothing here is about speed
WIDE, NARROW = (1280, 800), (320, 640)
REPLY = "It is on now. Is there anything else that you would like me to do?"
LONG = " ".join(["and", "so", "on"] * 20)
UNLOCK = Confirming(
    "c1", "unlock", "Unlock a door of the house.", {"door": "front", "minutes": 5}, "token 1", 15_000
)
ALWAYS = ("#model", "#machine", ".frame", "#captions", "#status", "#chips", "#type", "#send", "#mic", "#camera",
          "#voice", "#stop", "#inside", ".fine")  # fmt: skip


@dataclass
class Visit:
    """One page of one visitor, with what must not happen on it."""

    page: Any
    peer: Peer
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def status(self, state: str, what: str = "") -> None:
        """Wait for it. Looked at in every frame: some states pass."""
        self.page.wait_for_function(
            """([state, what]) => {
              const status = document.querySelector("#status");
              return status.dataset.state === state && new RegExp(what).test(status.innerText.replace(/\\s+/g, " "));
            }""",
            arg=[state, what],
        )

    def listen(self) -> None:
        self.page.get_by_role("button", name="Microphone", exact=True).click()
        self.status("listening", "Listening")

    def reply(self, words: int = 3) -> int:
        """A reply that sounds, its first `words` heard."""
        utterance = self.peer.say(REPLY)
        self.heard(words)
        return utterance

    def heard(self, words: int) -> None:
        self.page.wait_for_function("n => document.querySelectorAll('.agent .w.heard').length >= n", arg=words)

    def coloured(self, of: str, x: int, y: int, colour: str) -> None:
        """Wait until a pixel of a canvas is."""
        self.page.wait_for_function(PIXEL, arg=[of, x, y, colour])

    def boxes(self) -> dict[str, dict[str, float]]:
        return {name: self.page.locator(name).bounding_box() for name in ALWAYS}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable[..., Any]]:
    """Browsers by their flags, each started once."""
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as started:
        browsers: dict[tuple[str, ...], Any] = {}

        def browser(*flags: str) -> Any:
            if flags not in browsers:
                browsers[flags] = started.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
            return browsers[flags]

        yield browser
        for each in browsers.values():
            each.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as served:
        yield served


@pytest.fixture
def visit(chromium: Callable[..., Any]) -> Iterator[Callable[..., Visit]]:
    """`visit(peer, …)` opens the page. Afterwards: no errors, and nobody else was asked for anything."""
    visits: list[Visit] = []
    contexts: list[Any] = []

    def open_page(
        peer: Peer, size: tuple[int, int] = WIDE, scheme: str = "light", flags: tuple[str, ...] = FAKE,
        context: Any = None, table: int = 7, ready: bool = True, **options: Any,
    ) -> Visit:  # fmt: skip
        if context is None:
            viewport = {"width": size[0], "height": size[1]}
            context = chromium(*flags).new_context(viewport=viewport, color_scheme=scheme, **options)
            context.set_default_timeout(PATIENCE_MS)
            contexts.append(context)
        seen = Visit(context.new_page(), peer)
        seen.page.on("console", lambda said: seen.errors.extend([said.text] * (said.type in ("error", "warning"))))
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.goto(f"{peer.url}?table={table}")
        visits.append(seen)
        if ready:
            seen.status("muted", "Microphone off")
        return seen

    yield open_page
    for each in visits:
        assert each.errors == []
        assert {url for url in each.requests if not url.startswith(each.peer.url)} == set()
    for context in contexts:
        context.close()


# ---- types -----------------------------------------------------------------------------------------------------------


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout

def test_the_types_of_the_page_are_right(tmp_path: Path) -> None:
    """JSDoc is checked by TypeScript, of which nothing is shipped."""
    tsc, npm = shutil.which("tsc"), shutil.which("npm")
    if tsc is None or _run(tsc, "--version") < "Version 5":
        if npm is None:
            pytest.skip("neither tsc nor npm is here")
        try:
            got = subprocess.run([npm, "install", "--silent", "--no-save", "--prefix", str(tmp_path), "typescript@5.9"],
                                 capture_output=True, timeout=60, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip("npm did not get typescript in a minute")
        tsc = str(tmp_path / "node_modules" / ".bin" / "tsc")
        if got.returncode or not Path(tsc).exists():
            pytest.skip("npm could not get typescript")
    options = ["--allowJs", "--checkJs", "--noEmit", "--strict", "--target", "es2023", "--module", "esnext",
               "--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable,dom.asynciterable",
               "--noUnusedLocals", "--noImplicitReturns"]  # fmt: skip
    files = sorted(str(file) for file in [*PAGE.glob("*.js"), *PAGE.glob("*.d.ts")])
    done = subprocess.run([tsc, *options, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_needs_nothing_from_elsewhere_and_has_nothing_inline() -> None:
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)
    for file in PAGE.iterdir():
        if file.suffix in {".js", ".css", ".html"}:
            addresses = re.findall(r"(?:https?|wss?)://[^\s\"'`)]+", file.read_text())
            assert [each for each in addresses if "127.0.0.1" not in each] == [], file.name
    for named_file in re.findall(r'(?:src|href)="\./([^"]+)"', html):
        assert (PAGE / named_file).is_file(), named_file


# ---- what holds for every state --------------------------------------------------------------------------------------

LOOK = """() => {
  const open = document.querySelector("dialog[open]");
  const root = open ?? document.body;
  const shown = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !e.closest("[hidden]");
  const rgb = (text) => { const p = text.match(/[\\d.]+/g).map(Number); return { c: p.slice(0, 3), a: p[3] ?? 1 }; };
  const over = (top, under) => top.c.map((v, i) => v * top.a + under[i] * (1 - top.a));
  const behind = (e) => {
    if (!e) return [255, 255, 255];
    const own = rgb(getComputedStyle(e).backgroundColor);
    return own.a === 1 ? own.c : over(own, behind(e.parentElement));
  };
  const lin = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const lum = (c) => 0.2126 * lin(c[0]) + 0.7152 * lin(c[1]) + 0.0722 * lin(c[2]);
  const contrast = (a, b) => { const [x, y] = [lum(a), lum(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const faults = [];
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !shown(e) || e.closest(".hidden, .skip, noscript, script")) continue;
    const style = getComputedStyle(e);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const is = contrast(over(rgb(style.color), behind(e)), behind(e));
    if (is < least) faults.push(`contrast ${is.toFixed(2)}: ${walk.currentNode.textContent.trim().slice(0, 40)}`);
  }
  for (const e of root.querySelectorAll("button, a, input, canvas[tabindex], video, progress, [tabindex='0']")) {
    if (!shown(e)) continue;
    const name = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || "";
    if (!name.trim()) faults.push(`no name: ${e.outerHTML.slice(0, 60)}`);
    const box = e.getBoundingClientRect();
    if (e.matches("button") && Math.min(box.width, box.height) < 34) faults.push(`too small: ${name.trim()}`);
    const outside = box.right > innerWidth + 1 || box.left < 0;
    if (!open && e.matches("button, input") && !e.closest(".chips, .drawer") && outside)
      faults.push(`out of the page: ${name.trim()}`);
    if (e.matches("button") && e.scrollWidth > e.clientWidth + 1) faults.push(`cut off: ${name.trim()}`);
  }
  for (const e of root.querySelectorAll("[aria-controls], [aria-labelledby], [aria-describedby], label[for]")) {
    for (const at of ["aria-controls", "aria-labelledby", "aria-describedby", "for"])
      if (e.hasAttribute(at) && !document.getElementById(e.getAttribute(at))) faults.push(`${at} leads nowhere`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
  if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
  if (open && !open.contains(document.activeElement)) faults.push("the card does not have the focus");
  const status = document.querySelector(".status-text");
  if (!open && status.scrollHeight > status.clientHeight + 2) faults.push(`status cut off: ${status.textContent}`);
  return faults;
}"""


def healthy(seen: Visit) -> None:
    """Names, contrast, sizes, nothing cut off."""
    assert seen.page.evaluate(LOOK) == []


def test_the_look_finds_faults(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.status("muted")
    healthy(seen)
    seen.page.evaluate("""() => {
      document.querySelector("#stop").replaceChildren();
      document.querySelector("#status-what").style.color = "#bbb";
      document.querySelector("#mic").style.minWidth = "2000px";
    }""")
    found = " ".join(seen.page.evaluate(LOOK))
    assert "no name" in found and "contrast" in found and "wider than" in found


# ---- states ----------------------------------------------------------------------------------------------------------


def listening(seen: Visit) -> None:
    seen.listen()


def hearing(seen: Visit) -> None:
    seen.listen()
    seen.peer.tell(ev.SpeechStarted(seen.peer.t_ns))
    seen.peer.hear("where is the red")
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("where is the red")
    seen.status("hearing", "Listening")
    seen.peer.hear("where is the red ball")
    playwright.expect(seen.page.locator(".you.live")).to_have_text("where is the red ball")


def thinking(seen: Visit) -> None:
    seen.listen()
    seen.peer.hear("set a timer for two minutes", True)
    now = seen.peer.t_ns
    seen.peer.tell(ev.TurnEnded(now, now), ev.ToolCalled(now, "c1", "timer", {"minutes": 2}, "grammar"))
    seen.status("thinking", "Thinking.*calling timer")
    playwright.expect(seen.page.locator(".tool")).to_contain_text("calling")


def speaking(seen: Visit) -> None:
    seen.listen()
    seen.reply()
    seen.status("speaking", "Speaking")
    assert seen.page.locator(".agent .w").count() == len(REPLY.split())


def held(seen: Visit) -> None:
    seen.listen()
    utterance = seen.reply()
    seen.peer.tell(act.Duck(utterance), ev.Ducked(seen.peer.t_ns, utterance))
    seen.status("held", "Listening.*Quieter")


def interrupted(seen: Visit) -> None:
    seen.listen()
    seen.reply()
    seen.peer.cut()
    seen.peer.settle()
    seen.status("interrupted", "Interrupted")
    cut = seen.page.locator(".agent .w.cut")
    assert 0 < cut.count() < len(REPLY.split())
    assert "line-through" in cut.first.evaluate("e => getComputedStyle(e).textDecorationLine")


def resumed(seen: Visit) -> None:
    seen.listen()
    utterance = seen.reply(2)
    now = seen.peer.t_ns
    seen.peer.tell(act.Freeze(utterance), ev.Ducked(now, utterance, True))
    seen.status("held", "Waiting")
    seen.peer.tell(act.Resume(utterance, "noise"), ev.Resumed(now, utterance, "noise"))
    seen.status("resumed", "goes on")
    assert seen.page.locator(".agent .w.cut").count() == 0


def unsure(seen: Visit) -> None:
    seen.listen()
    seen.peer.hear("turn on the kitchen lied", True)
    seen.peer.say("Say that again, please.")
    seen.status("unsure", "Did you say")
    playwright.expect(seen.page.get_by_role("button", name="turn on the kitchen lied")).to_be_visible()


def muted(seen: Visit) -> None:
    seen.listen()
    seen.page.get_by_role("button", name="Microphone", exact=True).click()
    seen.status("muted", "Microphone off")


def stopped(seen: Visit) -> None:
    seen.listen()
    seen.reply()
    seen.page.get_by_role("button", name="Stop").click()
    seen.status("stopped", "Stopped")


def offline(seen: Visit) -> None:
    seen.listen()
    seen.peer.hear("hello", True)
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("hello")
    seen.peer.mode = "down"
    seen.peer.drop()
    seen.status("offline", r"conversation kept 1:\d\d")
    playwright.expect(seen.page.get_by_role("button", name="Reconnect")).to_be_visible()


def asks(seen: Visit) -> None:
    seen.listen()
    seen.peer.hear("unlock the front door for five minutes", True)
    now, args = seen.peer.t_ns, UNLOCK.args
    seen.peer.tell(ev.ToolCalled(now, "c1", "unlock", dict(args)), ev.ConfirmAsked(now, "c1", "unlock", dict(args)))
    seen.peer.tell(UNLOCK)
    seen.status("asks", "May it.*unlock waits")
    playwright.expect(seen.page.get_by_role("button", name="Yes, do it")).to_be_enabled()
    playwright.expect(seen.page.locator(".tool")).to_contain_text("waits for your yes")


def doing(seen: Visit) -> None:
    seen.listen()
    now = seen.peer.t_ns
    seen.peer.tell(ev.ToolCalled(now, "c1", "vacuum", {"room": "kitchen"}))
    seen.peer.tell(ev.ToolProgressed(now, "c1", 0.4, "cleaning"))
    playwright.expect(seen.page.locator(".tool")).to_contain_text("40 %, cleaning")
    assert seen.page.locator(".tool progress").evaluate("bar => bar.value") == 0.4


def camera_off(seen: Visit) -> None:
    seen.page.locator("#camera").click()
    playwright.expect(seen.page.get_by_text("The agent sees nothing")).to_be_visible()


STATES = [
    listening,
    hearing,
    thinking,
    speaking,
    held,
    interrupted,
    resumed,
    unsure,
    muted,
    stopped,
    offline,
    asks,
    doing,
    camera_off,
]


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", NARROW)], ids=["light-wide", "dark-narrow"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_state_looks_right_and_nothing_shifts(
    visit: Callable[..., Visit], peer: Peer, state: Callable[[Visit], None], scheme: str, size: tuple[int, int]
) -> None:
    seen = visit(peer, size, scheme)
    seen.status("muted", "Microphone off")
    before = seen.boxes()
    healthy(seen)
    state(seen)
    healthy(seen)
    assert seen.boxes() == before
    for words in ("You are talking to an AI.", "Nothing leaves this machine.", "Recording is off."):
        playwright.expect(seen.page.get_by_text(words)).to_be_visible()
    playwright.expect(seen.page.locator("#model")).to_have_text("nano")


@pytest.mark.parametrize("flags, said", [(DENIED, "blocked"), (NO_DEVICES, "No")], ids=["denied", "missing"])
def test_without_permission_or_devices_one_can_type(
    visit: Callable[..., Visit], peer: Peer, flags: tuple[str, ...], said: str
) -> None:
    seen = visit(peer, NARROW, flags=flags)
    before = seen.boxes()
    seen.page.get_by_role("button", name="Microphone", exact=True).click()
    playwright.expect(seen.page.get_by_role("status")).to_contain_text(re.compile(f"{said}|No microphone"))
    seen.page.get_by_role("group", name="What the agent sees").get_by_role("button", name="Camera").click()
    playwright.expect(seen.page.locator("#blank-what")).to_contain_text(said)
    healthy(seen)
    assert seen.boxes() == before
    seen.page.get_by_role("button", name="Back to the toy table").click()
    playwright.expect(seen.page.get_by_role("application")).to_be_visible()
    seen.page.get_by_label("Type to the agent").fill("hello there")
    seen.page.keyboard.press("Enter")
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("hello there")
    assert ev.TextTyped in {type(each) for each in peer.asked}


@pytest.mark.parametrize(
    "mode, title, button",
    [("loading", "Loading nano", None), ("down", "Something is wrong", "Try again")],
)
def test_a_card_says_what_is_not_ready(visit: Callable[..., Visit], mode: str, title: str, button: str | None) -> None:
    with Peer(mode) as peer:
        seen = visit(peer, NARROW, ready=False)
        card = seen.page.get_by_role("dialog", name=title)
        playwright.expect(card).to_be_visible()
        assert [each.inner_text() for each in card.get_by_role("button").all()] == ([button] if button else [])
        if button:
            healthy(seen)
            peer.mode = "open"
            card.get_by_role("button").click()
            playwright.expect(card).to_be_hidden()
            seen.status("muted")
        else:
            playwright.expect(card).to_contain_text("66 MB")
            assert float(card.get_by_role("progressbar").get_attribute("value")) == pytest.approx(41.3 / 66.2)


def test_a_busy_server_is_said_to_be_busy(visit: Callable[..., Visit]) -> None:
    with Peer("busy") as peer:
        seen = visit(peer, ready=False)
        playwright.expect(seen.page.get_by_role("dialog")).to_contain_text("busy")
        peer.mode = "open"
        seen.page.get_by_role("button", name="Try again").click()
        seen.status("muted")
        assert all("503" in error for error in seen.errors)  # the browser's own words about it
        seen.errors.clear()


def test_a_key_is_asked_for_and_kept_for_this_tab_alone(visit: Callable[..., Visit]) -> None:
    with Peer(key="open sesame".replace(" ", "-")) as peer:
        seen = visit(peer, ready=False)
        card = seen.page.get_by_role("dialog", name="A key, please")
        card.get_by_label("Key").fill("wrong")
        seen.page.keyboard.press("Enter")
        playwright.expect(card).to_contain_text("not taken")
        healthy(seen)
        card.get_by_label("Key").fill("open-sesame")
        card.get_by_role("button", name="Connect").click()
        seen.status("muted")
        kept = "[sessionStorage.getItem('liveagent.key'), localStorage.length, document.cookie]"
        assert seen.page.evaluate(kept) == ["open-sesame", 0, ""]
        assert not any("sesame" in url for url in [*seen.requests, *peer.requests])
        seen.errors.clear()
        seen.page.reload()
        seen.status("muted")


# ---- talking ---------------------------------------------------------------------------------------------------------


def test_words_are_typed_and_chosen(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    unsure(seen)
    seen.page.get_by_role("button", name="turn on the kitchen lied").click()
    playwright.expect(seen.page.get_by_role("group", name="Examples")).to_be_visible()
    for phrase in PHRASES[:2]:
        seen.page.get_by_role("group", name="Examples").get_by_role("button", name=phrase).click()
    playwright.expect(seen.page.locator(".you").last).to_contain_text(PHRASES[1])
    typed = [each.text for each in peer.asked if isinstance(each, ev.TextTyped)]
    assert typed == ["turn on the kitchen lied", *PHRASES[:2]]
    said = [each.inner_text() for each in seen.page.locator(".you span").all()]
    assert said == ["turn on the kitchen lied", *typed]  # each once: what was heard, and what was chosen


def test_a_voice_without_words_is_not_waited_for(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    now = peer.t_ns
    peer.tell(ev.SpeechStarted(now), ev.TurnEnded(now, now))
    seen.status("thinking")
    peer.tell(ev.Noted(now, "no_words", "heard a voice, but no words"))
    seen.status("listening")
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("Heard a voice, but no words.")


def test_markup_in_words_is_only_words(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    nasty = "<img src=x onerror=alert(1)><b>bold</b>"
    seen.page.get_by_label("Type to the agent").fill(nasty)
    seen.page.keyboard.press("Enter")
    peer.say(f"I read {nasty} and no more")
    peer.tell(ev.ToolCalled(1, "c", nasty, {nasty: nasty}), ev.ToolReturned(2, "c", nasty))
    playwright.expect(seen.page.locator(".tool")).to_contain_text(nasty)
    assert seen.page.locator("#captions img, #captions .agent b").count() == 0


def test_a_tool_call_is_shown_with_its_state(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    peer.tell(ev.ToolCalled(1_000_000, "c1", "light", {"room": "kitchen", "state": "on"}, "grammar"))
    row = seen.page.locator(".tool")
    playwright.expect(row).to_contain_text("light")
    assert row.get_attribute("data-state") == "waiting"
    peer.tell(ev.ToolReturned(13_000_000, "c1", "the kitchen light is on"))
    playwright.expect(row).to_have_attribute("data-state", "done")
    playwright.expect(row).to_have_text(re.compile("room kitchen, state on.*the kitchen light is on.*by grammar"))
    peer.tell(ev.ToolCalled(2, "c2", "pick"), ev.ToolFailed(3, "c2", "deadline"))
    playwright.expect(seen.page.locator(".tool[data-state=failed]")).to_contain_text("failed: deadline")


def test_a_hazard_is_confirmed_by_a_button_that_says_what_exactly(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    asks(seen)
    ask = seen.page.get_by_role("group", name="May it? unlock")
    playwright.expect(ask).to_contain_text(re.compile('door.*"front".*minutes.*5'))
    seen.page.keyboard.press("Enter")  # typing is no answer
    seen.page.get_by_label("Type to the agent").fill("yes, confirmed")
    seen.page.keyboard.press("Enter")
    playwright.expect(ask).to_be_visible()
    ask.get_by_role("button", name="Yes, do it").click()
    playwright.expect(ask).to_be_hidden()
    seen.page.wait_for_timeout(100)
    assert [each for each in peer.asked if isinstance(each, Confirm)] == [Confirm("c1", "token 1", True)]
    peer.tell(ev.Confirmed(1, "c1", True), ev.ToolReturned(2, "c1", "unlocked"))
    playwright.expect(seen.page.locator(".tool")).to_contain_text("unlocked")


def test_a_question_goes_when_its_time_its_call_or_its_connection_does(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    asked = seen.page.get_by_role("group", name="May it? unlock")
    peer.tell(replace(UNLOCK, left_ms=900))
    playwright.expect(asked).to_be_visible()
    playwright.expect(asked).to_have_count(0)
    peer.tell(ev.ToolCalled(1, "c1", "unlock"), UNLOCK)
    playwright.expect(asked).to_be_visible()
    peer.tell(ev.ToolFailed(2, "c1", "taken_back", "stopped"))
    playwright.expect(asked).to_have_count(0)
    peer.tell(replace(UNLOCK, token="token 2"), replace(UNLOCK, token="token 3"))  # asked again of another link
    playwright.expect(asked).to_have_count(1)
    asked.get_by_role("button", name="No").click()
    playwright.expect(asked).to_have_count(0)
    seen.page.wait_for_timeout(100)
    assert [each for each in peer.asked if isinstance(each, Confirm)] == [Confirm("c1", "token 3", False)]
    peer.tell(UNLOCK)
    playwright.expect(asked).to_be_visible()
    peer.mode = "down"
    peer.drop()
    playwright.expect(asked).to_have_count(0)


def test_words_light_up_as_they_are_played_and_a_whole_reply_was_heard(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    utterance = peer.say("one two three four")
    seen.page.wait_for_function("() => document.querySelector('.agent .w.now')")
    seen.heard(4)
    reports = [each for each in peer.asked if isinstance(each, ev.SamplesPlayed)]
    counts = [each.samples for each in reports]
    assert {each.utterance for each in reports} == {utterance}
    assert counts == sorted(counts) and counts[-1] == 4 * WORD_SAMPLES
    assert len(counts) >= 4  # ten a second, where the machine has the time


def test_an_interruption_cuts_where_the_loudspeaker_was(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    utterance = peer.say(LONG)
    seen.heard(3)
    peer.cut()

    def reported() -> list[int]:
        return [each.samples for each in peer.asked if isinstance(each, ev.SamplesPlayed)]

    stopped_at: list[int] = []
    while reported() != stopped_at:  # nothing more comes
        stopped_at = reported()
        seen.page.wait_for_timeout(1500)
    last = stopped_at[-1]
    assert stopped_at == sorted(stopped_at) and 3 * WORD_SAMPLES <= last < len(LONG.split()) * WORD_SAMPLES
    peer.settle()
    playwright.expect(seen.page.locator(".agent .w.cut").first).to_be_visible()
    assert seen.page.locator(".agent .w.heard").count() == last // WORD_SAMPLES
    peer.tell(act.Say(utterance, "more"))  # decided before it was known
    assert peer.say("and now this") == utterance + 1
    seen.page.wait_for_function("() => document.querySelectorAll('.agent:last-child .w.heard').length === 3")


def test_stop_stops_at_once_here_and_tells_the_server(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    seen.reply(2)
    seen.page.keyboard.press("Escape")
    seen.status("stopped", "Say or type something")
    assert peer.asked[-1] == ev.TextTyped(peer.asked[-1].t_ns, "stop") or any(
        isinstance(each, ev.TextTyped) and each.text == "stop" for each in peer.asked
    )
    playwright.expect(seen.page.locator(".agent .w.cut").first).to_be_visible()
    seen.page.get_by_label("Type to the agent").fill("go on")
    seen.page.keyboard.press("Enter")
    playwright.expect(seen.page.locator("#status[data-state=stopped]")).to_have_count(0)


def test_voice_off_is_told_and_nothing_sounds(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    seen.page.get_by_role("button", name="Voice").click()
    playwright.expect(seen.page.get_by_role("button", name="Voice")).to_have_attribute("aria-pressed", "false")
    seen.page.wait_for_function("() => true")
    peer.say("only written")
    playwright.expect(seen.page.locator(".agent")).to_contain_text("only written")
    said = [each.on for each in peer.asked if isinstance(each, ev.VoiceSet)]
    assert said[0] is False and said[-2:] == [True, False]  # no loudspeaker before the first click
    assert not any(isinstance(each, ev.SamplesPlayed) for each in peer.asked)


# ---- sound, to the sample --------------------------------------------------------------------------------------------

RENDER = """async ({ pcm, orders, seconds, rate }) => {
  // Orders are given while the rendering stands still at their time, so each comes at a known frame.
  const context = new OfflineAudioContext(1, seconds * rate, rate);
  await context.audioWorklet.addModule("./player-worklet.js");
  const node = new AudioWorkletNode(context, "liveagent-player", { numberOfInputs: 0, outputChannelCount: [1] });
  const marks = [];
  const waiting = [];
  node.port.onmessage = (event) => ("obeyed" in event.data ? waiting.shift()() : marks.push(event.data));
  node.connect(context.destination);
  const give = (order) => new Promise((resolve) => {
    waiting.push(resolve);
    const samples = order.do === "feed" ? Int16Array.from(pcm.slice(order.from, order.to)) : null;
    node.port.postMessage({ ...order, samples, answer: true });
  });
  const done = [];
  for (const at of new Set(orders.map((each) => each.at)))
    done.push(context.suspend(at).then(async () => {
      for (const order of orders) if (order.at === at) await give(order);
      await context.resume();
    }));
  const rendered = (await context.startRendering()).getChannelData(0);
  await Promise.all(done);
  for (let i = 0; i < 100 && !marks.some((mark) => mark.done); i++) await new Promise((r) => setTimeout(r, 20));
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { out: [...rendered], marks };
}"""


def render(seen: Visit, pcm: np.ndarray, orders: list[dict[str, Any]], seconds: int = 2, rate: int = 16_000) -> Any:
    asked = {"pcm": pcm.tolist(), "orders": orders, "seconds": seconds, "rate": rate}
    got = seen.page.evaluate(RENDER, asked)
    return np.array(got["out"]), got["marks"]


def feed(utterance: int = 1, first: int = 0, end: int = 16_000, at: float = 0, final: bool = True) -> dict[str, Any]:
    return {"do": "feed", "utterance": utterance, "first": first, "from": first, "to": end, "final": final, "at": at}


SINE = (8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.int16)


def test_an_utterance_is_played_whole(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    for rate in (16_000, 48_000, 44_100):
        out, marks = render(seen, SINE, [feed()], rate=rate)
        out = np.pad(out, (8, 0))
        begin = int(np.flatnonzero(out)[0])
        want = 8000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
        middle = slice(rate // 10, rate * 9 // 10)
        lag = min(range(-3, 4), key=lambda n: float(np.abs(out[begin + n :][middle] - want[middle]).max()))
        assert np.abs(out[begin + lag :][middle] - want[middle]).max() < 2e-3
        assert np.abs(out[begin + rate + 8 :]).max() == 0
        assert marks[-1]["done"] and marks[-1]["samples"] == 16_000
        counts = [mark["samples"] for mark in marks]
        assert counts == sorted(counts) and len(counts) > 10


def test_what_is_stopped_fades_within_five_ms_and_is_counted_to_the_sample(
    visit: Callable[..., Visit], peer: Peer
) -> None:
    seen = visit(peer)
    out, marks = render(seen, SINE, [feed(), {"do": "stop", "utterance": 1, "at": 0.512}, feed(2, at=0.512)])
    done = [mark for mark in marks if mark["done"]]
    assert [mark["utterance"] for mark in done] == [1, 2] and done[0]["stopped"]
    whole, _ = render(seen, SINE, [feed()])
    cut = done[0]["samples"]
    assert int(0.512 * 16_000) - 256 <= cut <= int(0.512 * 16_000) + 256
    same = int(np.flatnonzero(np.abs(out - whole) > 1e-4)[0])  # from here on it fades
    assert 0 <= cut - same <= 80 + 1
    assert done[1]["samples"] == 16_000


def test_freeze_holds_and_resume_goes_on_with_the_next_sample(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    whole, _ = render(seen, SINE, [feed()])
    held, marks = render(seen, SINE, [feed(), {"do": "freeze", "at": 0.256}, {"do": "resume", "at": 0.768}])
    assert np.all(held[4096 + 80 : 12288] == 0)  # half a second of silence, but for the fade
    assert abs(len(np.trim_zeros(held)) - len(np.trim_zeros(whole)) - (12288 - 4096 - 80)) <= 2  # each sounded, once
    tail, whole_tail = np.trim_zeros(held)[-6000:], np.trim_zeros(whole)[-6000:]
    assert np.allclose(tail, whole_tail, atol=1e-4)


def test_duck_is_quieter_by_fifteen_db(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    gain = 10 ** (-15 / 20)
    out, marks = render(seen, SINE, [feed(), {"do": "duck", "gain": gain, "at": 0.256}, {"do": "resume", "at": 0.512}])
    peak = 8000 / 32768
    assert np.abs(out[2000:4000]).max() == pytest.approx(peak, rel=0.02)
    assert np.abs(out[4600:7900]).max() == pytest.approx(peak * gain, rel=0.02)
    assert np.abs(out[8700:15000]).max() == pytest.approx(peak, rel=0.02)
    assert marks[-1]["samples"] == 16_000


def test_speech_that_is_sent_again_is_played_once(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    whole, _ = render(seen, SINE, [feed()])
    twice, marks = render(seen, SINE, [feed(end=9000, final=False), feed(end=9000, final=False), feed(first=4000)])
    assert np.allclose(whole, twice, atol=1e-5)
    assert marks[-1]["samples"] == 16_000
    late, marks = render(seen, SINE, [feed(first=8000)])  # a page that was loaded anew hears the rest
    assert 7990 < len(np.trim_zeros(late)) <= 8100 and marks[-1]["samples"] == 16_000


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The shipped clip as a file for Chromium's microphone, and its samples at 16 kHz."""
    samples = MediaFile(NANO / "clip.flac").read()[: 6 * 16_000]
    path = tmp_path_factory.mktemp("mic") / "mic.wav"
    write_wav(path, samples)
    return path, samples


def envelope(samples: np.ndarray) -> np.ndarray:
    whole = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    return np.sqrt((whole.astype(np.float64) ** 2).mean(1))


def test_what_the_microphone_hears_arrives_whole(
    visit: Callable[..., Visit], peer: Peer, clip: tuple[Path, np.ndarray]
) -> None:
    path, samples = clip
    seen = visit(peer, flags=(*FAKE, f"--use-file-for-fake-audio-capture={path}%noloop"))
    seen.listen()
    for _ in range(100):
        if sum(len(each.pcm) for each in peer.sounds) >= 7 * 16_000:
            break
        seen.page.wait_for_timeout(200)
    assert all(each.gap_samples == 0 and each.rate_hz == 16_000 and len(each.pcm) == 512 for each in peer.sounds)
    stamps = [each.captured_ns or 0 for each in peer.sounds]
    assert stamps == sorted(stamps) and stamps[0] > 0
    heard = envelope(np.concatenate([each.pcm for each in peer.sounds]))
    said = envelope(samples)
    said = said - said.mean()
    scores = [
        float(np.corrcoef(heard[lag : lag + len(said)], said)[0, 1]) for lag in range(max(1, len(heard) - len(said)))
    ]
    assert max(scores) > 0.5  # the browser takes noise out and levels it: no more can be said


def test_resampling_keeps_a_tone_and_the_count(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    for rate in (48_000, 44_100, 96_000, 16_000):
        got = seen.page.evaluate(
            """async ([from, to]) => {
              const { Resampler } = await import("./resampler.js");
              const r = new Resampler(from, to);
              const out = [];
              const wave = Float32Array.from({ length: from }, (_, i) => Math.sin((2 * Math.PI * 1000 * i) / from));
              for (let i = 0; i < wave.length; i += 128) out.push(...r.feed(wave.subarray(i, i + 128)));
              out.push(...r.flush());
              return out;
            }""",
            [rate, 16_000],
        )
        assert len(got) == 16_000
        want = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
        assert np.abs(np.array(got) - want)[100:-100].max() < 1e-2


# ---- coming back, other tabs -----------------------------------------------------------------------------------------


def test_a_lost_connection_loses_nothing(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.listen()
    peer.hear("hello there", True)
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("hello there")
    peer.mode = "down"
    peer.drop()
    seen.status("offline")
    peer.hear("this was said meanwhile", True)
    peer.mode = "open"
    seen.page.get_by_role("button", name="Reconnect").click()
    seen.status("listening")
    log = seen.page.get_by_role("log")
    playwright.expect(log).to_contain_text("this was said meanwhile")
    assert log.inner_text().count("hello there") == 1
    resume = peer.hellos[-1].resume
    assert resume is not None and resume.session == "session_1" and resume.seq > 0
    peer.drop()  # and by itself, with the secret that it was given the second time
    for _ in range(50):
        if len(peer.hellos) >= 3:
            break
        seen.page.wait_for_timeout(100)
    assert peer.hellos[-1].resume is not None and peer.hellos[-1].resume.secret == "secret_2"
    seen.status("listening")


def test_a_conversation_that_is_gone_is_never_silently_a_new_one(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    peer.hear("hello there", True)
    playwright.expect(seen.page.get_by_role("log")).to_contain_text("hello there")
    peer.mode = "gone"
    peer.drop()
    card = seen.page.get_by_role("dialog", name="The conversation has ended")
    playwright.expect(card).to_be_visible()
    healthy(seen)
    assert all(each.resume is not None for each in peer.hellos[1:])
    card.get_by_role("button", name="Start a new one").click()
    seen.status("muted")
    assert peer.hellos[-1].resume is None
    assert "hello there" not in seen.page.get_by_role("log").inner_text()


def test_a_page_that_is_loaded_again_goes_on(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.page.get_by_label("Type to the agent").fill("hello there")
    seen.page.keyboard.press("Enter")
    peer.say("good day to you")
    seen.page.wait_for_function("() => document.querySelector('.agent')")
    seen.page.reload()
    log = seen.page.get_by_role("log")
    playwright.expect(log).to_contain_text("good day to you")
    assert log.inner_text().count("hello there") == 1
    assert peer.hellos[-1].resume is not None and peer.hellos[-1].resume.seq == 0


def test_one_tab_at_a_time(visit: Callable[..., Visit], peer: Peer) -> None:
    first = visit(peer)
    peer.hear("hello there", True)
    playwright.expect(first.page.get_by_role("log")).to_contain_text("hello there")
    second = visit(peer, context=first.page.context, ready=False)
    card = second.page.get_by_role("dialog", name="Open in another tab")
    playwright.expect(card).to_be_visible()
    healthy(second)
    assert len(peer.hellos) == 1
    card.get_by_role("button", name="Use it here").click()
    playwright.expect(second.page.get_by_role("log")).to_contain_text("hello there")  # it moved over
    playwright.expect(first.page.get_by_role("dialog", name="Open in another tab")).to_be_visible()
    second.page.close()
    first.page.get_by_role("button", name="Use it here").click()
    first.status("muted")


# ---- keys, motion ----------------------------------------------------------------------------------------------------


def test_everything_is_reached_and_done_by_keys(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.status("muted")
    reached: list[str] = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        at = seen.page.evaluate("""() => {
          const e = document.activeElement;
          const style = getComputedStyle(e.closest(".typing") && e.matches("input") ? e.closest(".typing") : e);
          const shown = style.outlineStyle !== "none" || style.boxShadow !== "none";
          return [e.id || e.dataset.source || e.className || e.tagName, shown];
        }""")
        if at[0] in ("BODY", "skip") and len(reached) > 5:
            break
        reached.append(at[0])
        assert at[1], f"nobody sees that {at[0]} has the focus"
    for name in ("skip", "inside", "table", "camera", "screen", "captions", "chip", "type", "send", "mic", "voice",
                 "stop", "begin"):  # fmt: skip
        assert name in reached, f"{name} is not reached"
    seen.page.locator("#inside").focus()
    seen.page.keyboard.press("Enter")
    playwright.expect(seen.page.get_by_role("complementary", name="Inside")).to_be_visible()
    seen.page.keyboard.press("Enter")  # the focus is on Close
    playwright.expect(seen.page.get_by_role("complementary", name="Inside")).to_be_hidden()
    assert seen.page.evaluate("document.activeElement.id") == "inside"


def test_less_motion_is_no_motion(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer, reduced_motion="reduce")
    thinking(seen)
    moving = "() => document.getAnimations().filter((a) => a.playState === 'running').length"
    assert seen.page.evaluate(moving) == 0
    with Peer() as other:
        lively = visit(other)
        thinking(lively)
        assert lively.page.evaluate(moving) > 0


# ---- the drawer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", NARROW)], ids=["light-wide", "dark-narrow"])
def test_the_drawer_shows_what_is_inside(
    visit: Callable[..., Visit], peer: Peer, scheme: str, size: tuple[int, int]
) -> None:
    seen = visit(peer, size, scheme)
    seen.status("muted")
    playwright.expect(seen.page.get_by_role("complementary")).to_be_hidden()
    seen.page.get_by_role("button", name="Inside").click()
    peer.fill()
    drawer = seen.page.get_by_role("complementary", name="Inside")
    playwright.expect(drawer).to_contain_text("570 of 1,536 tokens")
    playwright.expect(drawer).to_contain_text("Evicted so far: 164 tokens, 2 pictures")
    assert drawer.locator(".strip .kind").count() == drawer.locator(".spans tbody tr").count() == 29
    assert drawer.locator(".thumbs:not(.gone) canvas").count() == 3 and drawer.locator(".gone canvas").count() == 2
    playwright.expect(drawer).to_contain_text("9 of 64 patches encoded (changed)")
    playwright.expect(drawer.get_by_role("img", name="9 of 64 patches")).to_be_attached()
    playwright.expect(drawer).to_contain_text("Median 541 ms")
    assert drawer.locator(".ledger tbody tr:not(.line)").count() == 3
    healthy(seen)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_the_camera_sends_small_jpegs(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.page.get_by_role("group", name="What the agent sees").get_by_role("button", name="Camera").click()
    playwright.expect(seen.page.locator("#video")).to_be_visible()
    for _ in range(50):
        jpegs = [each for each in peer.pictures if each.media_type == "image/jpeg"]
        if len(jpegs) >= 5:
            break
        seen.page.wait_for_timeout(100)
    width, height = check_header(jpegs[-1].data)
    assert 0 < width <= 640 and 0 < height <= 640 and len(jpegs[-1].data) < 100_000
    seen.page.locator("#camera").click()  # off: nothing is sent
    seen.page.wait_for_timeout(300)
    sent = len(peer.pictures)
    seen.page.wait_for_timeout(600)
    assert len(peer.pictures) == sent


def test_things_are_moved_by_mouse_and_by_keys(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    seen.status("muted")
    table = seen.page.get_by_role("application")
    place = re.compile(r"yellow cube ([a-z ]*?)[,.]")
    before = place.search(table.get_attribute("aria-label"))
    box = table.bounding_box()
    assert before is not None and box is not None

    def point(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    seen.page.mouse.move(*point(0.65, 0.52))
    seen.page.mouse.down()
    seen.page.mouse.move(*point(0.85, 0.85), steps=6)
    seen.page.mouse.up()
    playwright.expect(table).to_have_attribute("aria-label", re.compile("yellow cube in front right"))
    table.focus()
    for _ in range(6):
        seen.page.keyboard.press("Space")
        seen.page.keyboard.press("ArrowUp")
    assert place.search(table.get_attribute("aria-label")) is not None


@pytest.fixture(scope="module")
def eye() -> Eye:
    return Eye.load(NANO / "weights" / "eye.safetensors").eval()


def see(eye: Eye, rgb: np.ndarray) -> set[str]:
    with torch.inference_mode():
        pixels = torch.from_numpy(rgb.copy()).permute(2, 0, 1)
        return set(named(eye.sight(pixels[None])[0].numpy()))


TABLES = """async (seeds) => {
  const { ToyTable } = await import("./toytable.js");
  const { paint, rgb } = await import("./paint.js");
  const found = [];
  for (const seed of seeds) {
    const table = new ToyTable(seed, 3 + (seed % 3));
    for (const tick of [0, 400, 2000]) {
      table.step(tick);
      let text = "";
      for (const byte of rgb(paint(table.things, seed, 128))) text += String.fromCharCode(byte);
      found.push({ things: [...table.things], rgb: btoa(text) });
    }
  }
  return found;
}"""


def tables(seen: Visit, seeds: range) -> list[tuple[list[Thing], np.ndarray]]:
    found = []
    for each in seen.page.evaluate(TABLES, list(seeds)):
        rgb = np.frombuffer(base64.b64decode(each["rgb"]), np.uint8).reshape(128, 128, 3)
        found.append(([Thing(t["colour"], t["shape"], t["x"], t["y"], t["size"]) for t in each["things"]], rgb))
    return found


def test_the_page_draws_what_the_eye_has_learnt(visit: Callable[..., Visit], peer: Peer) -> None:
    """Pixel by pixel: things as `liveagent.table` draws them, on a surface of the same kind."""
    seen = visit(peer)
    shapes = set()
    for things, rgb in tables(seen, range(12)):
        table = Table(tuple(things), Surface())
        owner = paint(table).owner
        mine = draw(table)
        inside = np.zeros_like(owner, bool)
        inside[1:-1, 1:-1] = np.all([np.roll(owner, s, a)[1:-1, 1:-1] == owner[1:-1, 1:-1]
                                     for a in (0, 1) for s in (1, -1)], axis=0)  # fmt: skip
        body = inside & (owner >= 0)
        assert body.sum() > 0.5 * sum(AREA[t.shape] * (t.size * 64) ** 2 for t in things)
        assert np.abs(rgb.astype(int) - mine.astype(int))[body].max() <= 2
        wood, other = rgb[owner < 0].astype(float), mine[owner < 0].astype(float)
        assert np.abs(wood.mean(0) - other.mean(0)).max() < 16
        shapes |= {t.shape for t in things}
    assert len(shapes) == len(SHAPES) and len(COLOURS) == 8


def test_the_eye_names_what_the_page_draws(visit: Callable[..., Visit], peer: Peer, eye: Eye) -> None:
    seen = visit(peer)
    right = [see(eye, rgb) == {t.name for t in things} for things, rgb in tables(seen, range(20))]
    assert np.mean(right) >= 0.95, np.mean(right)


def test_the_eye_names_what_it_is_sent(visit: Callable[..., Visit], peer: Peer, eye: Eye) -> None:
    """The frames themselves, as they came through the protocol."""
    seen = visit(peer, table=11)
    seen.status("muted")
    table = seen.page.get_by_role("application")
    for _ in range(20):
        before = table.get_attribute("aria-label")
        told = len(peer.pictures)
        seen.page.wait_for_timeout(500)
        if table.get_attribute("aria-label") == before and len(peer.pictures) > told:
            break
    last = peer.pictures[-1]
    assert last.media_type == "image/x-rgb;width=128;height=128"
    rgb = np.frombuffer(last.data, np.uint8).reshape(128, 128, 3)
    listed = before.removeprefix("Toy table: ").split(". Space")[0].split(", ")
    assert see(eye, rgb) == {" ".join(each.split()[:2]) for each in listed}


def test_the_client_module_works_on_another_page(visit: Callable[..., Visit], peer: Peer) -> None:
    seen = visit(peer)
    got = seen.page.evaluate("""async () => {
      const { LiveAgent } = await import("./client.js");
      const agent = new LiveAgent();
      const model = await new Promise((resolve) => {
        agent.addEventListener("welcome", (e) => resolve(e.detail.agent.model));
        agent.connect();
      });
      const heard = new Promise((resolve) => agent.addEventListener("event", (e) => resolve(e.detail)));
      agent.type("hello from elsewhere");
      const event = await heard;
      agent.close();
      return JSON.stringify([model, event.type, event.words]);
    }""")
    assert json.loads(got) == ["nano", "WordsHeard", ["hello", "from", "elsewhere"]]


# ---- a camera that is not this page's, and a robot -------------------------------------------------------------------

JOINTS = {"base_x": 0.0, "pan": 1.5708, "shoulder": -0.004, "elbow": -1.97, "wrist": 12.5, "roll": 0.1}
THEIRS = (".frame", ".picture", "#eyes-told", "#captions", "#status", "#type", "#mic", "#voice", "#stop", ".fine")
PIXEL = """([of, x, y, wanted]) => {
  const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  copy.drawImage(document.querySelector(of), -x, -y);
  const colour = copy.getImageData(0, 0, 1, 1).data.slice(0, 3).join();
  return wanted ? colour === wanted : colour;
}"""


def looked(peer: Peer, shift: int = 0) -> Looked:
    """A table with a red thing and a green one."""
    pixels = np.full((128, 128, 3), 120, np.uint8)
    pixels[20:40, 30 + shift : 60 + shift] = 220, 30, 30
    pixels[90:110, 80:100] = 30, 160, 60
    return Looked(peer.t_ns, pixels)


@pytest.mark.parametrize("scheme, size", [("light", WIDE), ("dark", NARROW)], ids=["light-wide", "dark-narrow"])
def test_the_robots_camera_is_shown_and_this_pages_pictures_are_not_sent(
    visit: Callable[..., Visit], scheme: str, size: tuple[int, int]
) -> None:
    with Peer(camera="robot", robots=("arm",)) as peer:
        seen = visit(peer, size, scheme)
        assert peer.hellos[-1].pictures
        eyes, told = seen.page.locator("#eyes"), seen.page.locator("#eyes-told")
        playwright.expect(seen.page.get_by_text("No picture yet")).to_be_visible()
        playwright.expect(told).to_contain_text("The robot’s camera")
        for gone in ("#table", "#video", "#camera", ".sources", "#blank-back"):
            playwright.expect(seen.page.locator(gone)).to_be_hidden()
        healthy(seen)
        before = {name: seen.page.locator(name).bounding_box() for name in THEIRS}

        peer.tell(looked(peer), RobotStands("arm", True, False, JOINTS))
        playwright.expect(eyes).to_be_visible()
        assert seen.page.evaluate(PIXEL, ["#eyes", 45, 30]) == "220,30,30"
        assert seen.page.evaluate(PIXEL, ["#eyes", 90, 100]) == "30,160,60"
        peer.tell(looked(peer, 40))
        seen.coloured("#eyes", 45, 30, "120,120,120")
        assert seen.page.locator("#joints dt").all_inner_texts() == [name.replace("_", " ") for name in JOINTS]
        assert seen.page.locator("#joints dd").all_inner_texts() == ["0.00", "1.57", "0.00", "−1.97", "12.50", "0.10"]
        playwright.expect(told).to_contain_text("arm: ready")

        now = peer.t_ns
        peer.tell(ev.ToolCalled(now, "c1", "pick", {"shape": "cube"}), ev.ToolProgressed(now, "c1", 0.4, "reaching"))
        playwright.expect(told).to_contain_text("arm: reaching, 40 %")
        peer.tell(ev.ToolProgressed(now, "c1", 0.5))
        playwright.expect(told).to_contain_text("arm: pick, 50 %")
        peer.tell(ev.RobotStopped(now, "home/arm", "typed", 0.0, 1.2, 6.4), RobotStands("arm", True, True, JOINTS))
        playwright.expect(told).to_contain_text("arm: stopped in 8 ms")
        peer.tell(ev.ToolFailed(now, "c1", "taken_back", "stopped"), RobotStands("arm", True, False, JOINTS))
        playwright.expect(told).to_contain_text("arm: ready")
        peer.tell(RobotStands("arm", False, False))
        playwright.expect(told).to_contain_text("arm: not there")
        healthy(seen)
        assert {name: seen.page.locator(name).bounding_box() for name in THEIRS} == before
        assert peer.pictures == []
        seen.page.close()


def test_the_patches_are_shown_on_what_the_servers_camera_saw(visit: Callable[..., Visit]) -> None:
    with Peer(camera="server") as peer:
        seen = visit(peer)
        playwright.expect(seen.page.locator("#eyes-told")).to_have_text(re.compile(r"^\s*This box’s camera\s*$"))
        seen.page.get_by_role("button", name="Inside").click()
        now = peer.t_ns
        mask = tuple(i == 10 for i in range(64))  # x 32 to 48, y 16 to 32 of 128
        peer.tell(ev.FrameSeen(now, False, "changed", 1, 64), Patches(now, mask, 8), looked(peer))
        look = seen.page.locator("canvas.look")
        playwright.expect(look).to_have_attribute("aria-label", "Picture: 1 of 64 patches were encoded anew")
        seen.coloured("canvas.look", 80, 56, "220,30,30")  # what was encoded anew, as it is
        assert seen.page.evaluate(PIXEL, ["canvas.look", 100, 56]) != "220,30,30"  # the rest behind a veil
        assert peer.pictures == []
        seen.page.close()


def test_pictures_that_are_no_squares_are_shown_as_they_are(visit: Callable[..., Visit]) -> None:
    with Peer(camera="server") as peer:
        seen = visit(peer)
        seen.page.get_by_role("button", name="Inside").click()
        now, pixels = peer.t_ns, np.full((64, 128, 3), 120, np.uint8)
        pixels[16:32, 32:48] = 220, 30, 30
        mask = tuple(i == 10 for i in range(32))  # x 32 to 48, y 16 to 32 of 128 x 64: in the middle of the square
        peer.tell(ev.FrameSeen(now, False, "changed", 1, 32), Patches(now, mask, 8), Looked(now, pixels))
        look = seen.page.locator("canvas.look")
        playwright.expect(look).to_have_attribute("aria-label", "Picture: 1 of 32 patches were encoded anew")
        seen.coloured("canvas.look", 80, 112, "220,30,30")
        assert seen.page.evaluate(PIXEL, ["canvas.look", 80, 30]) == "0,0,0"  # nothing above it
        seen.page.close()


def test_a_page_whose_camera_it_is_still_shows_its_robot(visit: Callable[..., Visit], peer: Peer) -> None:
    for size in (WIDE, NARROW):
        with Peer(robots=("arm",)) as mine:
            seen = visit(mine, size)
            mine.tell(RobotStands("arm", True, False, JOINTS), looked(mine))
            playwright.expect(seen.page.locator("#eyes-told")).to_contain_text("arm: ready")
            playwright.expect(seen.page.get_by_role("application")).to_be_visible()
            playwright.expect(seen.page.locator("#eyes")).to_be_hidden()
            healthy(seen)
            seen.page.close()
    seen = visit(peer)
    playwright.expect(seen.page.locator("#eyes-told")).to_be_hidden()
