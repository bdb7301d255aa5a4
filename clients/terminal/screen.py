"""How a `View` looks: entries of the conversation above, below them what is going on now, and the line being typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.rule import Rule
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from liveagent.clients.terminal.entry import Call, Entry, Heard, Remark, Reply, Timed
from liveagent.clients.terminal.keys import Line
from liveagent.clients.terminal.scene import Scene
from liveagent.clients.terminal.view import View
from liveagent.ledger import KINDS

SPEECH = 0.5  # from here on the meter shows speech
FLOOR_DB = -60.0
MIN_MS_SHOWN = 1.0
LABEL_WIDTH = 6
ENTRY_LINES = 6  # of the conversation, before the scene gets room
COLORS = {
    "system": "blue", "tool": "cyan", "text": "green", "audio": "magenta", "reply": "yellow", "call": "red",
    "result": "bright_cyan", "mark": "white", "scratch": "bright_magenta", "picture": "bright_blue",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters that are not letters. `kinds` tell kinds apart where there are no colours."""

    full: str = "━"
    empty: str = "─"
    done: str = "✓"
    failed: str = "✗"
    waiting: str = "…"
    arrow: str = "→"
    prompt: str = "›"
    dot: str = "·"
    kinds: str = "█▓▒░▚▞▤▥◆"


ASCII = Signs("#", "-", "ok", "failed:", "...", "->", ">", "|", "#=+:%*o~@")


def label(entry: Entry) -> str:
    """Who an entry is about, as at most five letters."""
    names: dict[type, str] = {Heard: "you", Reply: "agent", Call: "tool", Timed: "time", Remark: "note"}
    return names[type(entry)]


def entry_text(entry: Entry, signs: Signs) -> Text:
    """One entry of the conversation."""
    match entry:
        case Heard():
            return _heard(entry, signs)
        case Reply():
            return _reply(entry, signs)
        case Call():
            return _call(entry, signs)
        case Timed():
            return _timed(entry.durations_ms, signs)
        case Remark():
            return Text(entry.text, "yellow" if entry.warning else "dim")


def entry_line(entry: Entry, signs: Signs) -> str:
    """One entry as one line of plain text, for what is no terminal."""
    text = entry_text(entry, signs).plain
    if isinstance(entry, Reply) and entry.unheard:
        text = " ".join([*entry.words[: entry.heard], f"[unheard: {' '.join(entry.unheard)}]"])
    return f"{label(entry)}: {text}"


def entry_row(entry: Entry, signs: Signs) -> RenderableType:
    """One entry with its label beside it."""
    colors = {"you": "bold green", "agent": "bold cyan", "tool": "bold magenta"}
    return _grid([(Text(label(entry), colors.get(label(entry), "dim")), entry_text(entry, signs))])


def _heard(entry: Heard, signs: Signs) -> Text:
    said = entry.text or " ".join(entry.words)
    if not entry.final and not entry.settled:
        return Text.assemble((said or signs.waiting, "dim italic"), (f" {signs.waiting} ({entry.source})", "dim"))
    if not said:
        return Text(f"{signs.waiting} (not understood, {entry.source})", "dim")
    known = ", in grammar" if entry.in_grammar else ""
    return Text.assemble((said, "bold"), (f"  ({entry.source}{known})", "dim"))


def _reply(entry: Reply, signs: Signs) -> Text:
    text = Text()
    for index, word in enumerate(entry.words):
        if index:
            text.append(" ")
        if index < entry.heard:
            text.append(word)
        elif entry.cut:
            text.append(word, "red strike" if entry.cut_word and index == entry.heard else "dim strike")
        elif index == entry.lit:
            text.append(word, "bold reverse")
        else:
            text.append(word, "dim")
    if entry.held:
        text.append(f" ({'waiting' if entry.held == 'held' else 'quieter'})", "yellow")
    if entry.failed:
        text.append(f" ({entry.failed})", "red")
    if entry.unheard:
        text.append(f"  (interrupted; unheard: {len(entry.unheard)} of {len(entry.words)} words)", "dim")
    elif not entry.words and not entry.failed:
        text.append(signs.waiting, "dim")
    return text


def _call(entry: Call, signs: Signs) -> Text:
    args = ", ".join(f"{name}={value}" for name, value in entry.args)
    text = Text.assemble((entry.name, "magenta"), f"({args}) ")
    match entry.state:
        case "asking":
            text.append(f"{signs.waiting} to be confirmed", "bold yellow")
        case "waiting":
            done = "waiting" if entry.share is None else f"{entry.share:.0%}"
            text.append(f"{signs.waiting} {done} {entry.result}".rstrip(), "yellow")
        case "done":
            text.append(f"{signs.done} {entry.result}", "green")
        case "failed":
            text.append(f"{signs.failed} {entry.result}", "red")
    took = "" if entry.took_ms is None or entry.took_ms < MIN_MS_SHOWN else f", {entry.took_ms:.0f} ms"
    text.append(f"  (by {entry.by}{took})", "dim")
    return text


def _timed(durations_ms: Mapping[str, float], signs: Signs) -> Text:
    text = Text("last word", "dim")
    for name, ms in sorted(durations_ms.items(), key=lambda item: item[1]):
        text.append(f" {signs.arrow} ", "dim")
        text.append(f"{name} {ms:.0f}", "bold" if name == "played" else "dim")
    text.append(" ms", "dim")
    return text


def _grid(rows: Sequence[tuple[RenderableType, RenderableType]]) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1, 0, 0))
    grid.add_column(width=LABEL_WIDTH, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def meter(view: View, signs: Signs, width: int) -> Text:
    """The microphone: level, whether it is speech, and whether the user seems to have finished."""
    if view.now_ns == 0:
        return Text("starting", "dim")
    if view.level_dbfs is None:
        return Text("typed text only" if view.source in ("", "none") else f"{view.source}: no sound yet", "dim")
    share = min(1.0, max(0.0, 1.0 - view.level_dbfs / FLOOR_DB))
    bar = max(4, min(30, width - 24))
    full = round(share * bar)
    speech = view.speech >= SPEECH
    text = Text.assemble(
        (signs.full * full, "bold green" if speech else "blue"),
        (signs.empty * (bar - full), "dim"),
        f" {max(FLOOR_DB, view.level_dbfs):3.0f} dB ",
        ("speech" if speech else "quiet ", "bold green" if speech else "dim"),
    )
    if view.talking:
        text.append(" (talk key)", "yellow")
    if view.finished is not None:
        text.append(f" finished? {view.finished:.0%}", "dim")
    return text


def strip(view: View, signs: Signs, width: int, colors: bool) -> Text:
    """What the cache holds: a bar in proportion to the tokens of each kind, and its legend."""
    cache = view.cache
    if cache is None:
        return Text("empty", "dim")
    order: dict[str, int] = {kind: at for at, kind in enumerate(KINDS)}
    kinds = sorted(
        ((kind, count) for kind, count in cache.by_kind.items() if count),
        key=lambda item: order.get(item[0], len(order)),
    )
    bar = max(8, min(60, width))
    cells = _shares([count for _, count in kinds], cache.capacity_tokens, bar)
    text = Text()
    parts: list[Text] = []
    for at, ((kind, count), share) in enumerate(zip(kinds, cells, strict=True)):
        sign = signs.full if colors and signs is not ASCII else signs.kinds[at % len(signs.kinds)]
        text.append(sign * share, COLORS.get(kind, "white"))
        parts.append(Text.assemble((sign, COLORS.get(kind, "white")), f" {kind} {count}"))
    text.append(signs.empty * (bar - sum(cells)), "dim")
    parts.append(Text(f"{cache.used_tokens} of {cache.capacity_tokens} tokens", "dim"))
    if view.age_s is not None:
        parts.append(Text(f"oldest {_age(view.age_s)}", "dim"))
    if cache.evicted_tokens:
        parts.append(Text(f"evicted {cache.evicted_tokens}", "dim"))
    room = 0
    for part in parts:  # each part stays on one line
        if part.cell_len + 2 > room:
            text.append("\n")
            room = width
        else:
            text.append("  ")
        text.append_text(part)
        room -= part.cell_len + 2
    return text


def _shares(counts: Sequence[int], capacity: int, width: int) -> list[int]:
    """Cells for each count out of `width` for `capacity`: at least one for what is there, never more than fit."""
    whole = max(capacity, sum(counts), 1)
    cells = [max(1, count * width // whole) for count in counts]
    while sum(cells) > width and max(cells) > 1:
        cells[cells.index(max(cells))] -= 1
    return cells


def _age(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def _typing(line: Line, width: int) -> Text:
    """The part of the line around the cursor that fits into `width`."""
    begin = max(0, line.at - max(1, width - 1))
    shown = line.text[begin : begin + max(1, width)]
    at = line.at - begin
    return Text.assemble(shown[:at], (shown[at : at + 1] or " ", "reverse"), shown[at + 1 :])


class Screen:
    """A rich renderable of all that a view holds, cut at the top to the height there is."""

    def __init__(self, view: View, line: Line, title: str, hints: Sequence[str], signs: Signs) -> None:
        self.view, self.line, self.title, self.hints, self.signs = view, line, title, hints, signs
        self._drawn: dict[int, tuple[Entry, list[list[Segment]]]] = {}  # settled entries look the same ever after
        self._drawn_width = 0
        self.scene = Scene(view.eyes, signs.dot)
        self.lines_below = 0
        """How many lines were drawn below the first of the scene's."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        height = max(6, (options.height or console.size.height) - 1)
        flat = options.update(height=None)
        above = console.render_lines(self._above(width, console), flat, pad=False)
        below = console.render_lines(self._below(width), flat, pad=False)
        in_colour = console.color_system in ("truecolor", "256") and not console.no_color and self.signs is not ASCII
        spare = height - len(above) - len(below) - ENTRY_LINES
        scene = self.scene.lines(console, width, spare, self.view.now_ns, in_colour)
        self.lines_below = len(scene) - 1 + len(below)
        status = above + scene + below
        room = max(1, height - len(status))
        before, self._drawn = (self._drawn if width == self._drawn_width else {}), {}
        self._drawn_width = width
        entries: list[list[Segment]] = []
        for entry in reversed(self.view.entries):
            if len(entries) >= room:
                break
            known = before.get(id(entry))
            if known is not None and known[0] is entry:
                lines = known[1]
            else:
                lines = console.render_lines(entry_row(entry, self.signs), flat, pad=False)
            if entry.settled and not isinstance(entry, Heard):  # typed words are still told to be in the grammar
                self._drawn[id(entry)] = entry, lines
            entries = lines + entries
        for line in entries[-room:] + status[-height:]:
            yield from line
            yield Segment.line()

    def _above(self, width: int, console: Console) -> RenderableType:
        view, signs = self.view, self.signs
        inner = width - LABEL_WIDTH - 2
        rows: list[tuple[RenderableType, RenderableType]] = [(Text("mic", "dim"), meter(view, signs, inner))]
        rows.append((Text("cache", "dim"), strip(view, signs, inner, not console.no_color)))
        rule = Rule(Text(self.title, "dim", overflow="ellipsis"), style="dim", characters=signs.empty)
        return Group(rule, _grid(rows))

    def _below(self, width: int) -> RenderableType:
        view, signs = self.view, self.signs
        rows: list[tuple[RenderableType, RenderableType]] = []
        if view.played_ms:
            last, middle = view.played_ms[-1], median(view.played_ms)
            said = f"{last:.0f} ms from your last word to my first; median {middle:.0f} of {len(view.played_ms)}"
            rows.append((Text("wait", "dim"), Text(said, "dim")))
        for note in self._troubles():
            rows.append((Text("!", "bold yellow"), Text(note, "yellow")))
        if (asked := view.asking) is not None:
            left_s = max(0.0, (asked.until_ns - view.now_ns) / 1e9)
            args = ", ".join(f"{name}={value}" for name, value in asked.args)
            what = Text.assemble(("May it? ", "bold yellow"), (f"{asked.name}({args})", "bold"))
            what.append(f"  Ctrl-G: yes, Esc: no, {left_s:.0f} s", "yellow")
            rows.append((Text("?", "bold yellow"), what))
        rows.append((Text(signs.prompt, "bold green"), _typing(self.line, width - LABEL_WIDTH - 2)))
        return Group(_grid(rows), Text(f" {signs.dot} ".join(self.hints), "dim"))

    def _troubles(self) -> list[str]:
        view = self.view
        said = list(view.notes.values())
        if view.gap_samples:
            said.append(f"{view.gap_samples / 16:.0f} ms of sound never came")
        if view.lag_ms > 80.0:
            said.append(f"{view.lag_ms:.0f} ms behind the microphone")
        if view.shed:
            said.append(f"work given up to keep up: {view.shed}")
        return said
