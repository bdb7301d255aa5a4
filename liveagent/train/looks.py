"""`Looks`: dialogues about what is and was on a table, among dialogues that need no eyes.

A third of the tokens and more are those of `Dialogues`, often with pictures between the turns and questions about
them; the rest are short rows of four kinds: one picture and questions; a past of kept pictures and questions about then
and now; pictures and watches; pictures that show something else, or none at all.

Many rows have the same long prompt until `renew` draws another, so that a batch of them reads it once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from liveagent.nn.pieces import Pieces
from liveagent.sight import Sight
from liveagent.train import glances
from liveagent.train.conditions import Conditions
from liveagent.train.dialogues import INSTRUCTIONS, LOOKING, Dialogues, Draft, Row
from liveagent.train.glances import Eye, Look, Pools
from liveagent.train.look_phrases import AGO_S, OPENINGS
from liveagent.train.questions import Asked
from liveagent.train.scene_words import MOST, Scene, Thing, difference, thing_name
from liveagent.train.schemas import UseCase, expand

POOL_EVERY = 2000
"""Rows after which new pools of real readings are looked for."""
JUST_S = 45.0
"""What changed longer ago than this has not "just" changed; nobody is asked about up to three times as long."""
MOST_PICTURES = 16
PICTURE_TOKENS = 208, 176
"""As a session's: above the first, pictures are thinned down to the second."""
SHARED_LOOK, SHARED_TEXT = 0.4, 0.65
"""Shares of the rows about pictures, and of the others, that have the shared prompt while there is one."""
SHARED_TURNS = 300
"""Tokens behind a shared prompt."""
WHERE_FOUR_MEET = 0.15
"""Share of the imagined scenes in which a thing lies where four cells meet, which is rare and hard."""
AWAY = 1.35
"""Nothing changes from an age that is asked about over this to this times the age."""
PROMISES = "(tell me|say something|let me know) when (the|a) {x} (appears|leaves|moves|comes|is gone|is there)"


class Looks(Dialogues):
    """Rows from a seed. `share`: of the tokens, that of rows about pictures; `pools`: a folder with real readings."""

    def __init__(
        self, pieces: Pieces, seed: int, held_out: bool = False, share: float = 0.5, pools: Path | None = None
    ) -> None:
        super().__init__(pieces, seed, held_out)
        self.eye, self.pools, self.share = Eye(seed), Pools(pools, seed), share
        self.text_tokens, self.look_tokens, self.rows = 0, 0, 0
        self.looks = 0.0
        self.seen: list[Look] = []  # of the row at hand
        self.real: dict[int, Sight] = {}  # what an eye really said of a scene of this row, by the scene's identity
        self.skill, self.prune = 1.0, 0.0
        self.sighted = False
        self.conditions = Conditions(self.asker)
        self.shared: tuple[list[int], list[UseCase], list[UseCase]] | None = None  # a prompt, its tools, some others

    def renew(self) -> None:
        """Draw the prompt that rows share from now on: mostly that of all shipped tools."""
        rng, u = self.rng, self.rng.random()
        ease, self.ease = self.ease, 0.0
        home, robot = self.shipped[:9], self.shipped[9:]
        if u < 0.62:
            cases = list(self.shipped)
        elif u < 0.7:
            cases = rng.sample(self.shipped, len(self.shipped))
        elif u < 0.85:
            cases = list(home if u < 0.78 else robot)
        else:
            cases, _ = self._cast()
        self.ease = ease
        prompt = self.template.prompt(rng.choice(INSTRUCTIONS), [case.tool for case in cases])
        self.shared = prompt, cases, self._strangers(cases)

    def _begin(self, draft: Draft) -> tuple[list[UseCase], list[UseCase]]:
        if self.shared is None or self.rng.random() > SHARED_TEXT:
            return super()._begin(draft)
        prompt, cases, strangers = self.shared
        draft.add(prompt)
        self.most = len(prompt) + SHARED_TURNS
        return cases, strangers

    def next(self) -> Row:
        if self.rows % POOL_EVERY == 0:
            self.pools.look_again()
        self.rows += 1
        self.seen, self.real = [], {}
        rng = self.rng
        self.skill = rng.choice([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.2, 1.0)])
        if self.ease > rng.random():
            self.skill = rng.uniform(0.7, 1.0)
        self.prune = 1.0 if rng.random() < 0.7 else rng.choice([0.0, rng.random()])
        self.calm = False
        if self.look_tokens < self.share * (self.look_tokens + self.text_tokens) or self.share >= 1.0:
            row = self._look_row()
            self.look_tokens += self._new_tokens(row)
        else:
            self.sighted = rng.random() < 0.6
            self.looks = 12.0 if self.sighted else 3.0
            row = super().next()
            self.text_tokens += self._new_tokens(row)
        return row

    def _new_tokens(self, row: Row) -> int:
        """How many tokens a row has beside the shared prompt."""
        prompt = self.shared[0] if self.shared else []
        return len(row.ids) + len(row.leaves) - (len(prompt) if row.ids[: len(prompt)] == prompt else 0)

    # --- pictures within dialogues about tools

    def _pause(self, draft: Draft) -> None:
        super()._pause(draft)
        if self.sighted and len(draft.ids) < self.most - 130 and self.rng.random() < 0.3:
            last = self.seen[-1].scene if self.seen else []
            if self.seen and self.rng.random() < 0.5:
                self._picture(draft, last if self.rng.random() < 0.3 else glances.changed_scene(self.rng, last))
            else:
                self._fresh(draft)

    def _look_turn(self, draft: Draft, cases: list[UseCase]) -> str:
        if any(case.tool.name in LOOKING for case in cases):
            return ""
        if not self.seen:
            return super()._look_turn(draft, cases)
        asked = self.asker.now(self.seen[-1].scene)
        return self._ask(draft, asked, self.seen[-1:]) if asked else ""

    def _ask(self, draft: Draft, asked: Asked, looks: Sequence[Look] = ()) -> str:
        """A question and its answer. `looks`: the pictures that show what it rests on."""
        words = asked.words
        if not self.held_out and self.rng.random() < 0.25:
            words = f"{self.rng.choice(OPENINGS)} {words}"
        self._user(draft, words, polite=0.0 if self.held_out else 0.06, keep=set(asked.words.split()))
        draft.now_s += self.rng.uniform(0.1, 1.0)
        begin = len(draft.ids)
        said = self._say(draft, asked.answer, asked.kind)
        if looks and asked.about is not None and len(draft.ids) - begin > 3:  # not cut off at once
            self._gaze(draft, asked, looks, begin + 1)
        return said

    def _gaze(self, draft: Draft, asked: Asked, looks: Sequence[Look], first: int) -> None:
        """Where to look while giving an answer that is predicted from place `first` on: at the cells that show what it
        is about, one after another where it names them so, or at the pictures' beginnings where there is no such."""
        end = len(draft.ids) - 1
        assert asked.about is not None
        if not asked.each or not asked.about:
            at = [place for look in looks for thing in asked.about for place in look.places_of(thing)]
            if at or not asked.about:
                draft.gazes.append((first, end, at or [look.at for look in looks]))
            return
        parts = re.split(r"(?:, | and )(?=an? )", asked.answer)
        for number, (part, thing) in enumerate(zip(parts, asked.about, strict=True)):
            last = min(end, first + len(self.template.encode(part)) + (number > 0))  # a comma or "and" in front
            at = [place for look in looks for place in look.places_of(thing)]
            if at and last > first:
                draft.gazes.append((first, last, at))
            first = last

    def _story(self, most: int = MOST) -> tuple[list[Thing], Callable[[Scene], list[Thing]]]:
        """A scene, and how it goes on: imitated, or as an eye really saw a table that changes."""
        rng = self.rng
        if not self.pools.stories or most < MOST or rng.random() < 0.5:
            return self._imagined(most), lambda scene: glances.changed_scene(rng, scene)
        story = self.pools.story()
        self.real |= {id(scene): sight for scene, sight in story}
        left = [scene for scene, _ in story]
        return left.pop(0), lambda scene: left.pop(0) if left else glances.changed_scene(rng, scene)

    def _picture(
        self, draft: Draft, scene: Scene, sight: Sight | None = None, cells: Sequence[int] | None = None
    ) -> None:
        if sight is None and id(scene) in self.real:
            sight = self.eye.again(self.real[id(scene)])
        elif sight is None:
            sight = self.eye.see(scene, self.skill)
        cells = glances.kept_cells(self.rng, sight, self.prune) if cells is None else cells
        at = len(draft.ids)
        draft.see(self.template, sight, cells)
        self.seen.append(Look(draft.now_s, scene, sight, {cell: at + 1 + i for i, cell in enumerate(cells)}, at))

    def _fresh(self, draft: Draft, most: int = MOST) -> None:
        """A picture of a scene that has nothing to do with others; a real reading where there are some."""
        if len(self.pools) and most == MOST and self.rng.random() < 0.5:
            self._picture(draft, *self.pools.draw())
        else:
            self._picture(draft, self._imagined(most))

    def _imagined(self, most: int) -> list[Thing]:
        scene = glances.random_scene(self.rng, most)
        return glances.with_one_where_four_meet(self.rng, scene) if self.rng.random() < WHERE_FOUR_MEET else scene

    # --- rows about pictures

    def _look_row(self) -> Row:
        rng, draft = self.rng, Draft()
        easy = self.calm = self.ease > rng.random()
        cases = self._prompted(draft, easy)
        draft.now_s = rng.choice([rng.uniform(0, 10), 10 ** rng.uniform(0, 3.8)])
        u = rng.random()
        if u < 0.05:
            self._strange(draft)
        elif u < 0.5 or (easy and u < 0.8):
            self._single(draft, cases, 3 if easy else MOST)
        elif u < 0.82 and not easy:
            self._past(draft)
        else:
            self._watched(draft, easy)
        return draft.row()

    def _prompted(self, draft: Draft, easy: bool) -> list[UseCase]:
        """The row's prompt: the shared one, few tools or none, rarely all of the shipped ones by itself."""
        rng = self.rng
        self.most = self.max_tokens
        if self.shared is not None and rng.random() < SHARED_LOOK:
            prompt, cases, _ = self.shared
            if not any(case.tool.name in LOOKING for case in cases):
                draft.add(prompt)
                self.most = len(prompt) + SHARED_TURNS
                return cases
        u = rng.random() * (0.5 if easy else 1.0)
        if u < 0.5:
            cases = []
        elif u < 0.97:
            cases = [c for c in self._cast()[0] if c.tool.name not in LOOKING]
            cases = rng.sample(cases, min(len(cases), rng.randint(1, 3)))
        else:
            cases = list(self.shipped)
        draft.add(self.template.prompt(rng.choice(INSTRUCTIONS), [case.tool for case in cases]))
        return cases

    def _strange(self, draft: Draft) -> None:
        """Nothing to see, or something that is no toy table; then perhaps the table."""
        rng = self.rng
        if rng.random() < 0.5:
            for _ in range(rng.randint(1, 3)):
                self._ask(draft, self.asker.blind())
                draft.now_s += rng.expovariate(0.2)
        else:
            sight = self.eye.elsewhere(self.skill)
            if self.pools.elsewhere and rng.random() < 0.6:
                sight = rng.choice(self.pools.elsewhere)
            if rng.random() < 0.3:
                self._fresh(draft)
                draft.now_s += rng.expovariate(0.1)
            draft.see(self.template, sight, glances.kept_cells(rng, sight, self.prune))
            draft.now_s += rng.uniform(0, 5)
            for _ in range(rng.randint(1, 3)):
                self._ask(draft, self.asker.elsewhere())
                draft.now_s += rng.expovariate(0.2)
        if rng.random() < 0.4:
            self._fresh(draft)
            self._questions(draft, 3)

    def _single(self, draft: Draft, cases: list[UseCase], most: int) -> None:
        rng = self.rng
        for _ in range(1 if rng.random() < 0.7 else 2):
            self._fresh(draft, most)
            draft.now_s += rng.choice([rng.uniform(0, 2), rng.uniform(0, 30)])
            if cases and rng.random() < 0.25:
                self._call_turn(draft, rng.choice(cases))
            self._questions(draft, rng.randint(6, 12))

    def _questions(self, draft: Draft, count: int) -> None:
        """Up to `count` questions about the newest picture."""
        apart = self._apart()
        for _ in range(count * 3):
            if count <= 0 or len(draft.ids) > self.most - 60:
                return
            asked = self.asker.now(self.seen[-1].scene)
            if asked:
                with draft.aside(apart):
                    self._ask(draft, asked, self.seen[-1:])
                draft.now_s += self.rng.uniform(0.5, 2 if apart else 6)
                count -= 1

    def _apart(self) -> bool:
        """Whether the next questions know nothing of each other, as if each were the first."""
        return not self.held_out and self.rng.random() < 0.7

    def _past(self, draft: Draft) -> None:
        """The pictures that a session keeps of up to twenty minutes, then questions about then, about what changed, and
        about now."""
        rng = self.rng
        long, short = [[60, 600], [60, 600], [60], [600], [60, 120, 300], [120, 600]], [[60], [60], [120], [30], [300]]
        wanted = rng.choice(long if rng.random() < 0.65 else short)
        length = rng.uniform(1.1, 2.1) * max(wanted)
        if rng.random() < 0.12:  # too short a memory
            length = max(wanted) * rng.uniform(0.15, 0.6)
        scene, change = self._story()
        now, kept = draft.now_s + length, []
        changes = self._changes(sorted(wanted), length)
        waiting = sorted(changes, reverse=True)
        for age in glances.seen_from(rng, length, changes):
            while waiting and waiting[0] > age:
                scene = change(scene)
                waiting.pop(0)
            sight = self.eye.again(self.real[id(scene)]) if id(scene) in self.real else self.eye.see(scene, self.skill)
            kept.append((age, scene, sight, glances.kept_cells(rng, sight, self.prune)))
        left = glances.thinned([k[0] for k in kept], [1 + len(k[3]) for k in kept], *PICTURE_TOKENS)
        for age, scene, sight, cells in (kept[i] for i in left):
            draft.now_s = max(draft.now_s, now - age)
            self._picture(draft, scene, sight, cells)
            if rng.random() < 0.03:
                draft.now_s += 0.5
                self._questions(draft, 1)
        draft.now_s = at = max(draft.now_s, now)
        apart = self._apart()
        for _ in range(rng.randint(8, 14)):
            found = self._about_past(draft, wanted)
            if found:
                with draft.aside(apart):
                    self._ask(draft, *found)
                draft.now_s = at if apart else draft.now_s + rng.uniform(0.2, 2.0)

    def _changes(self, wanted: Sequence[int], length: float) -> list[float]:
        """Ages of changes: before, between and after those that are asked about, mostly, but not close to them."""
        rng, edges = self.rng, [1.0, *wanted, length]
        changes = []
        for number, (new, old) in enumerate(zip(edges, edges[1:], strict=False)):
            new, old = new * (AWAY if number else 1), old / (AWAY if number < len(wanted) else 1)
            if new < old:
                spread = rng.random() < 0.5
                for _ in range(rng.choice([0, 1, 1, 1, 2, 2])):
                    changes.append(rng.uniform(new, old) if spread else new * (old / new) ** rng.random())
        return changes

    def _about_past(self, draft: Draft, wanted: Sequence[int]) -> tuple[Asked, Sequence[Look]] | None:
        """A question, and the pictures on which its answer rests."""
        rng, looks = self.rng, self.seen
        u = rng.random()
        if u < 0.12:
            asked = self.asker.now(looks[-1].scene)
            return (asked, looks[-1:]) if asked else None
        if u < 0.26:
            at = last_change(looks)
            if at and u < 0.16:
                return self.asker.before(looks[at - 1].scene), looks[at - 1 : at]
            since = draft.now_s - looks[at].t_s if at else draft.now_s - looks[0].t_s
            if JUST_S < since < 3 * JUST_S:
                return None
            before = looks[at - 1].scene if at and since <= JUST_S else looks[-1].scene
            asked = (self.asker.moved if u < 0.21 else self.asker.changed)(before, looks[-1].scene)
            return (asked, looks[at - 1 : at + 1] if asked.about else ()) if asked else None
        seconds = rng.choice(list(wanted)) if u < 0.95 else rng.choice(list(AGO_S))
        scene = stood(looks, draft.now_s, seconds)
        if scene is not None:
            asked = self.asker.then(scene, seconds)
            return (asked, [look for look in looks if look.scene is scene]) if asked else None
        return (self.asker.forgotten(seconds), ()) if draft.now_s - looks[0].t_s < 0.7 * seconds else None

    def _watched(self, draft: Draft, easy: bool) -> None:
        """Pictures, then watches on the newest one; sometimes words stand between."""
        rng = self.rng
        count = rng.choice([1, 1, 2]) if easy else rng.choice([1, 2, 2, 3, rng.randint(2, MOST_PICTURES)])
        scene, change = self._story(3 if easy else MOST)
        name = thing_name(rng.randrange(8), rng.randrange(6))
        if rng.random() < 0.12:
            self._user(draft, expand(rng, PROMISES).replace("{x}", name), polite=0.1)
            self._say(draft, "I will tell you.", "promise")
        for i in range(count):
            self._picture(draft, scene)
            if rng.random() < 0.06:
                self._questions(draft, 1)
            if i < count - 1:
                draft.now_s += rng.choice([rng.uniform(0.4, 2), rng.uniform(0.4, 30), 10 ** rng.uniform(0, 2.5)])
                if rng.random() < (0.75 if i == count - 2 else 0.4):
                    scene = self._shifted(scene) if rng.random() < 0.4 else change(scene)
        if rng.random() < 0.35:
            draft.now_s += rng.uniform(0, 10)
            found = difference(self.seen[-2].scene, scene) if count > 1 else []
            if found and rng.random() < 0.4:  # said unprompted, as a watch does
                how, thing = rng.choice(found)
                ending = {"came": "is there", "left": "is gone", "moved": "moved"}[how]
                self._say(draft, f"The {thing_name(*thing[:2])} {ending}.", "unprompted", whole=True)
            else:
                self._questions(draft, rng.randint(1, 2))
        older = [look.scene for look in self.seen[:-1]]
        apart = self._apart()
        for _ in range(rng.randint(6, 12)):
            condition = self.conditions.next(self.seen[-1].scene, older)
            if condition:
                answer = self.template.yes if condition.holds else self.template.no
                with draft.aside(apart):
                    draft.probe(self.template.watch(condition.words), answer, condition.kind)
                look = self.seen[-1]
                if condition.about is not None:
                    at = [place for thing in condition.about for place in look.places_of(thing)]
                    if at or not condition.about:
                        draft.gazes.append((len(draft.ids) - 1, len(draft.ids), at or [look.at]))

    def _shifted(self, scene: list[Thing]) -> list[Thing]:
        """The same with one thing at another place."""
        if not scene:
            return scene
        at = self.rng.randrange(len(scene))
        rest = [t for i, t in enumerate(scene) if i != at]
        moved = glances.with_one_more(self.rng, rest, scene[at][0], scene[at][1])
        return moved if len(moved) == len(scene) else scene


def last_change(looks: Sequence[Look]) -> int:
    """The index of the newest picture that shows another scene than the one before it; 0: none does."""
    return next((i for i in range(len(looks) - 1, 0, -1) if looks[i].scene is not looks[i - 1].scene), 0)


def stood(looks: Sequence[Look], now_s: float, ago_s: float) -> Scene | None:
    """The scene that stood so long ago, where the kept pictures leave no doubt; None where they do."""
    ages = [max(0.01, now_s - look.t_s) for look in looks]
    older = [i for i, age in enumerate(ages) if age >= ago_s]
    newer = [i for i, age in enumerate(ages) if age < ago_s]
    ratio = [max(age, ago_s) / min(age, ago_s) for age in ages]
    if older and newer:
        a, b = older[-1], newer[0]
        if looks[a].scene is looks[b].scene:
            return looks[a].scene
        near, far = sorted((a, b), key=lambda i: ratio[i])
        return looks[near].scene if ratio[near] < 1.25 and ratio[far] > 1.3 else None
    near = older[-1] if older else newer[0]
    return looks[near].scene if ratio[near] < 1.2 else None
