"""`View`: what a person watching a session should see now, folded from its events and actions. Pure and bounded."""

from __future__ import annotations

from collections import deque

from liveagent import action as act
from liveagent import event as ev
from liveagent.clients.terminal.entry import Call, Entry, Heard, Remark, Reply, Timed, plain
from liveagent.clients.terminal.eyes import Eyes

MAX_ENTRIES = 200
MAX_NOTES = 6
MAX_TIMES = 200
LAG_SHOWN_NS = 2_000_000_000


class View:
    """The state of the screen. `feed` it everything a session takes in, notes and does."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self.notes: dict[str, str] = {}  # what is wrong now, by device or reason
        self.source = ""
        self.now_ns = 0
        self.level_dbfs: float | None = None
        self.speech = 0.0
        self.finished: float | None = None
        self.cache: ev.CacheChanged | None = None
        self.eyes = Eyes()
        self.played_ms: deque[float] = deque(maxlen=MAX_TIMES)
        self.gap_samples = 0
        self.shed = 0
        self._lag: ev.LagNoted | None = None
        self.talking = False
        self.ended = False
        self.calm_ticks = 0  # how long nothing has been open: no turn, no call, no reply
        self._heard: Heard | None = None  # the turn that the user is at
        self._typed_lines: deque[Heard] = deque(maxlen=MAX_ENTRIES)  # typed, and not yet read by the session
        self._replies: dict[int, Reply] = {}
        self._ended_utterance = -1
        self._calls: dict[str, Call] = {}

    @property
    def age_s(self) -> float | None:
        """Age of the oldest thing in the cache that is not pinned."""
        if self.cache is None or self.cache.oldest_ns is None:
            return None
        return max(0.0, (self.now_ns - self.cache.oldest_ns) / 1e9)

    @property
    def asking(self) -> Call | None:
        """The call that is to be confirmed next."""
        return next((call for call in self._calls.values() if call.state == "asking"), None)

    @property
    def lag_ms(self) -> float:
        """How far behind the microphone it was a moment ago; lateness is only told while it lasts."""
        recent = self._lag is not None and self.now_ns - self._lag.t_ns < LAG_SHOWN_NS
        return self._lag.lag_ms if recent and self._lag is not None else 0.0

    def take(self, keep: int) -> list[Entry]:
        """The oldest entries that are settled, taken out of the view, so that at most about `keep` are left in it."""
        taken: list[Entry] = []
        while len(self.entries) > keep and self.entries[0].settled:
            taken.append(self.entries.popleft())
        return taken

    def feed(self, item: ev.Event | act.Action) -> None:
        """Take in one event or action. What a screen does not show is ignored."""
        self.now_ns = max(self.now_ns, getattr(item, "t_ns", 0))
        match item:
            case ev.TickHeard():
                self.level_dbfs, self.speech = item.level_dbfs, item.speech
                speaking = self._heard is not None and not self._heard.settled
                busy = speaking or self._typed_lines or self._calls or self._replies
                self.calm_ticks = 0 if busy else self.calm_ticks + 1
            case ev.SessionStarted():
                self.source = plain(item.source)
            case ev.SessionEnded():
                self._end()
            case ev.SpeechStarted():
                self.finished = None
                if self._heard is not None and self._heard.settled:
                    self._heard = None
            case ev.TextTyped():
                self._typed(item.text)
            case ev.WordsHeard():
                self._words(item)
            case ev.EndGuessed():
                self.finished = item.finished
            case ev.TurnEnded():
                self.finished = None
            case ev.StopHeard():
                self._close_heard()
                self._add(Remark("stop heard", True))
            case ev.RobotStopped():
                after_ms = item.heard_ms + item.sent_ms + item.ack_ms
                self._add(Remark(f"{plain(item.robot)} has stopped, in {after_ms:.0f} ms ({item.source})", True))
            case ev.WakeHeard():
                self._add(Remark(f"woken by “{plain(item.phrase)}”"))
            case ev.TalkPressed() | ev.TalkReleased():
                self.talking = isinstance(item, ev.TalkPressed)
            case ev.TurnTimed():
                self._timed({name: ms for name, ms in item.durations_ms.items() if ms is not None})
            case ev.CacheChanged():
                self.cache = item
            case ev.FrameSeen() | ev.PictureKept() | ev.PicturesEvicted() | ev.ClocksCompared():
                self.eyes.feed(item)
            case ev.WatchSet():
                self._add(Remark(f"{'watching for' if item.on else 'no longer watching for'}: {plain(item.watch)}"))
            case ev.WatchFired():
                self._add(Remark(f"{item.change}: {plain(item.watch)}"))
            case ev.Noted() | act.Note():
                self._remark(item)
            case _:
                self._device(item)
                self._reply(item)
                self._call(item)

    def _add(self, entry: Entry) -> None:
        if len(self.entries) == self.entries.maxlen and isinstance(oldest := self.entries[0], Call):
            self._calls.pop(oldest.call_id, None)
        self.entries.append(entry)

    def _end(self) -> None:
        self.ended = True
        self._close_heard()
        for reply in self._replies.values():
            reply.playing, reply.settled = False, True
        for call in self._calls.values():
            call.state, call.result = "failed", "the session ended first"
        self._replies.clear()
        self._calls.clear()

    # ---- what the user says

    def _typed(self, text: str) -> None:
        self.calm_ticks = 0
        self._close_heard()
        self._heard = Heard((), "typed", plain(text), final=True, settled=True)
        self._typed_lines.append(self._heard)
        self._add(self._heard)

    def _words(self, item: ev.WordsHeard) -> None:
        words = tuple(plain(word) for word in item.words)
        if item.source == "typed" and self._typed_lines:
            line = self._typed_lines.popleft()
            line.words, line.in_grammar = words, item.in_grammar  # the same words, in their spoken form
            return
        heard = self._heard
        if heard is None or (heard.settled and (heard.words != words or heard.source == "typed")):
            if not words and not item.final:
                return
            self._close_heard()
            heard = self._heard = Heard(words, item.source)
            self._add(heard)
        heard.words, heard.source, heard.in_grammar = words, item.source, item.in_grammar
        heard.final = heard.settled = item.final or heard.settled

    def _close_heard(self) -> None:
        """Nothing more belongs to the turn that was being heard; if nothing was heard, it leaves no trace."""
        heard, self._heard = self._heard, None
        if heard is None or heard.settled:
            return
        heard.settled = True
        if not heard.words and heard in self.entries:
            self.entries.remove(heard)

    # ---- what the agent does

    def _reply(self, item: ev.Event | act.Action) -> None:
        match item:
            case act.Say():
                if item.utterance <= self._ended_utterance:
                    return  # it was taken back in the same tick
                reply = self._utterance(item.utterance)
                said = [word.text for word in item.words] or item.text.split()
                reply.words += [plain(word) for word in said]
                reply.said = item.final
                self._end_if_complete(reply)
            case ev.ReplyStarted():
                self._utterance(item.utterance)
            case ev.SamplesPlayed() if item.samples > 0 and item.utterance in self._replies:
                self._replies[item.utterance].playing = True
            case ev.WordPlayed():
                reply = self._utterance(item.utterance)
                reply.playing, reply.heard = True, max(reply.heard, item.index + 1)
            case ev.Ducked():
                self._utterance(item.utterance).held = "held" if item.frozen else "quieter"
            case ev.Resumed():
                self._utterance(item.utterance).held = ""
            case ev.Interrupted():
                reply = self._utterance(item.utterance)
                cut = () if item.cut is None else (item.cut,)
                reply.words = [plain(word) for word in (*item.heard, *cut, *item.unheard)]
                reply.heard, reply.cut, reply.cut_word = len(item.heard), True, item.cut is not None
                self._settle(reply)
            case ev.ReplyEnded() if item.utterance in self._replies:
                reply = self._replies[item.utterance]
                reply.ended = True
                if not item.complete:
                    reply.cut = True
                    self._settle(reply)
                self._end_if_complete(reply)
            case ev.VoiceFailed():
                reply = self._utterance(item.utterance)
                reply.failed = plain(item.message) or "the voice failed"
                self._settle(reply)

    def _utterance(self, utterance: int) -> Reply:
        reply = self._replies.get(utterance)
        if reply is None:
            self._close_heard()
            for older in list(self._replies.values()):  # one is spoken at a time
                self._settle(older)
            reply = self._replies[utterance] = Reply(utterance)
            self._add(reply)
        return reply

    def _end_if_complete(self, reply: Reply) -> None:
        """Of one tick the events come before the actions: an end may be known before the last words are."""
        if reply.ended and reply.said and not reply.settled:
            reply.heard = len(reply.words)
            self._settle(reply)

    def _settle(self, reply: Reply) -> None:
        self._ended_utterance = max(self._ended_utterance, reply.utterance)
        reply.playing, reply.held, reply.settled = False, "", True
        self._replies.pop(reply.utterance, None)
        if not reply.words and not reply.failed and reply in self.entries:
            self.entries.remove(reply)

    def _call(self, item: ev.Event | act.Action) -> None:
        match item:
            case ev.ToolCalled() | act.CallTool():
                call = self._calls.get(item.call_id)
                if call is None:
                    self._close_heard()
                    call = self._calls[item.call_id] = Call(item.call_id, plain(item.name))
                    self._add(call)
                call.args = tuple((plain(name), plain(str(value))) for name, value in item.args.items())
                call.by = item.by
                if isinstance(item, ev.ToolCalled):
                    call.t_ns = item.t_ns
            case ev.ConfirmAsked() if item.call_id in self._calls:
                call = self._calls[item.call_id]
                call.state, call.until_ns = "asking", item.t_ns + item.left_ms * 1_000_000
            case ev.Confirmed() if item.call_id in self._calls:
                self._calls[item.call_id].state = "waiting"
            case ev.ToolProgressed() if item.call_id in self._calls:
                call = self._calls[item.call_id]
                call.share, call.result = item.share, plain(item.note)
            case ev.OutcomeUnknown():
                args = ", ".join(f"{plain(name)}={plain(str(value))}" for name, value in item.args.items())
                self._add(Remark(f"not known whether it was done: {plain(item.name)}({args})", True))
            case ev.ToolReturned() | ev.ToolFailed():
                call = self._calls.pop(item.call_id, None)
                if call is None:
                    return
                if isinstance(item, ev.ToolReturned):
                    call.state, call.result = "done", plain("" if item.result is None else str(item.result))
                else:
                    said = f"{item.reason}: {item.message}" if item.message else item.reason
                    call.state, call.result = "failed", plain(said)
                if call.t_ns is not None:
                    call.took_ms = (item.t_ns - call.t_ns) / 1e6

    # ---- what it takes, and what is wrong

    def _timed(self, durations_ms: dict[str, float]) -> None:
        if durations_ms:
            self._add(Timed(durations_ms))
        if "played" in durations_ms:
            self.played_ms.append(durations_ms["played"])

    def _remark(self, item: ev.Noted | act.Note) -> None:
        remark = Remark(plain(item.message or item.code), getattr(item, "level", "info") == "warning")
        last = self.entries[-1] if self.entries else None
        if not (isinstance(last, Remark) and last.text == remark.text):  # the action and the event of one note
            self._add(remark)

    def _device(self, item: ev.Event | act.Action) -> None:
        match item:
            case ev.DeviceLost():
                said = f": {plain(item.message)}" if item.message else ""
                self.notes[item.device] = f"{plain(item.device)} is gone{said}"
                while len(self.notes) > MAX_NOTES:
                    self.notes.pop(next(iter(self.notes)))
                if item.device.startswith("mic"):
                    self.level_dbfs = None
            case ev.CameraFroze():
                self.notes[item.device] = f"{plain(item.device)} has frozen: nothing new for {item.for_ms / 1e3:.0f} s"
            case ev.DeviceBack():
                self.notes.pop(item.device, None)
                self._add(Remark(f"{plain(item.device)} is back"))
            case ev.GapMarked():
                self.gap_samples += item.samples
            case ev.Shed():
                self.shed += item.count
                self._add(Remark(plain(item.reason or f"{item.what} gave way")))
            case ev.LagNoted():
                self._lag = item
