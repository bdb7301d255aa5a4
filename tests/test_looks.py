"""Dialogues about pictures: answers are true, balanced and the same for a seed; rows say what they mean."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template
from liveagent.runtime.core import Core
from liveagent.runtime.work import Append, Done, Reset, Sights
from liveagent.sight import CELLS, COLOUR, COLOURS, COUNT, OTHER, SHAPE, SHAPES, WIDTH, of_things
from liveagent.train.conditions import Conditions
from liveagent.train.decoder import Batch, see_words
from liveagent.train.glances import Eye, Look, Pools, kept_cells, random_scene, with_one_where_four_meet
from liveagent.train.look_phrases import AGO_S, HELD_OUT, PHRASES
from liveagent.train.looks import Looks, stood
from liveagent.train.questions import Asked, Asker
from liveagent.train.scene_words import Scene
from liveagent.train.schemas import expand
from tests.nano import random_nano

PIECES = Pieces.load(Path(__file__).parents[1] / "pipelines" / "nano" / "weights" / "pieces.json")
NUMBERS = "None One Two Three Four Five".split()


def named(words: str) -> list[tuple[str, str]]:
    """Things that a text names, as (colour, shape); "" for any."""
    found = re.findall(rf"\b({'|'.join(COLOURS)})\b(?: ({'|'.join(SHAPES)})s?\b)?|\b({'|'.join(SHAPES)})s?\b", words)
    return [(c, s or t) for c, s, t in found]


def those(scene: Scene, name: tuple[str, str]) -> Scene:
    return [t for t in scene if name[0] in ("", COLOURS[t[0]]) and name[1] in ("", SHAPES[t[1]])]


def true_answer(asked: Asked, scene: Scene) -> str:
    """The answer, found another way than the asker does: from the question's words."""
    names = named(asked.words)
    kind, ago = asked.kind.removeprefix("then_"), asked.kind.startswith("then_")
    if kind == "count":
        name = names[0] if names else ("", "")
        return NUMBERS[len(those(scene, name))] + "."
    if kind == "exists":
        if any(those(scene, name) for name in names):
            return "Yes."
        return "No." if ago else "No, I can't see one."
    if kind == "list":
        seen = re.sub(
            r"\ban? ",
            "",
            ", ".join(COLOURS[t[0]] + " " + SHAPES[t[1]] for t in sorted(scene, key=lambda t: (int(t[3] * 4), t[2]))),
        )
        return seen or "Nothing."
    if kind == "places":
        sides = ["on the left", "in the middle", "on the right"]
        return ", ".join(f"{COLOURS[t[0]]} {SHAPES[t[1]]} {sides[int(t[2] * 3)]}"
                         for t in sorted(scene, key=lambda t: (int(t[3] * 4), t[2]))) or "Nothing."  # fmt: skip
    if kind == "absent":
        assert not those(scene, names[0])
        return asked.answer
    (thing,) = those(scene, names[0])
    be = "was" if ago else "is"
    if kind == "colour":
        return f"It {be} {COLOURS[thing[0]]}."
    if kind == "shape":
        return f"It is a {SHAPES[thing[1]]}."
    if kind == "where":
        return f"It {be} " + (
            "on the left." if thing[2] < 1 / 3 else "on the right." if thing[2] > 2 / 3 else "in the middle."
        )
    if kind == "beside":
        (other,) = those(scene, names[1])
        return "Yes." if (thing[2] < other[2]) == ("left" in asked.words) else "No."
    sign = -1 if kind == "left" else 1
    near = min(((sign * (t[2] - thing[2]), t) for t in scene if sign * (t[2] - thing[2]) > 0), default=None)
    if near is None:
        return "Nothing."
    return f"A{'n' * (COLOURS[near[1][0]] == 'orange')} {COLOURS[near[1][0]]} {SHAPES[near[1][1]]}."


def plain(asked: Asked) -> str:
    if asked.kind.removeprefix("then_") in ("list", "places") and asked.answer != "Nothing.":
        return re.sub(r"\ban? ", "", asked.answer.lower().rstrip(".").replace(" and ", ", "))
    return asked.answer


@pytest.mark.parametrize("held_out", [False, True])
def test_answers_are_true(held_out: bool) -> None:
    rng = random.Random(5)
    asker, done = Asker(rng, held_out), Counter[str]()
    for _ in range(2500):
        scene = random_scene(rng)
        asked = asker.now(scene) if rng.random() < 0.6 else asker.then(scene, rng.choice(list(AGO_S)))
        if asked is not None:
            assert plain(asked) == true_answer(asked, scene), (asked, scene)
            done[asked.kind] += 1
    assert min(done[kind] for kind in ("colour", "shape", "count", "where", "exists", "list", "left", "beside")) > 10
    assert min(done[kind] for kind in ("then_list", "then_exists", "then_colour", "then_count", "then_where")) > 10


@pytest.mark.slow
def test_whoever_does_not_look_is_right_by_chance() -> None:
    """For every kind, always giving its commonest answer must not pay."""
    rng = random.Random(6)
    asker, answers = Asker(rng), defaultdict[str, Counter[str]](Counter)
    for _ in range(5000):
        asked = asker.now(random_scene(rng))
        if asked is not None:
            answers[asked.kind][asked.answer] += 1
    for kind, chances in {"colour": 8, "shape": 6, "count": 6, "where": 3, "exists": 2, "beside": 2}.items():
        most, total = answers[kind].most_common(1)[0][1], sum(answers[kind].values())
        assert total > 60
        assert most / total < 1 / chances + 0.06, (kind, answers[kind])


def test_conditions_are_true_as_often_as_false() -> None:
    rng = random.Random(7)
    conditions, truths = Conditions(Asker(rng)), defaultdict[str, Counter[bool]](Counter)
    for _ in range(1500):
        before, scene = random_scene(rng), random_scene(rng)
        if rng.random() < 0.6 and before:
            scene = [(c, s, 1 - x, 1 - y) if i == 0 else (c, s, x, y) for i, (c, s, x, y) in enumerate(before)]
        found = conditions.next(scene, [before])
        if found is None:
            continue
        words, kind, yes = found.words, found.kind, found.holds
        truths[kind][yes] += 1
        if kind == "watch_there":
            assert yes == bool(those(scene, named(words)[0])), words
        elif kind == "watch_moved":
            places = [{(COLOURS[c], SHAPES[s]): (x, y) for c, s, x, y in each} for each in (before, scene)]
            went = [key for key in places[0].keys() & places[1].keys()
                    if sum(abs(a - b) for a, b in zip(places[0][key], places[1][key], strict=True)) > 0.12]  # fmt: skip
            colour = next((c for c in COLOURS if c in words.split()), "")
            shape = next((s for s in SHAPES if s in words.split()), "")
            assert yes == any(colour in ("", c) and shape in ("", s) for c, s in went), (words, before, scene)
    for kind, each in truths.items():
        assert sum(each.values()) > 60
        assert 0.45 < each[True] / sum(each.values()) < 0.55, (kind, each)


@pytest.mark.slow
def test_wordings_for_watching_the_training_are_not_in_it() -> None:
    rng = random.Random(8)

    def said(phrase: str) -> set[str]:
        return {expand(rng, part) for part in phrase.split("|") for _ in range(60)}

    for kind, phrase in HELD_OUT.items():
        trained = {expand(rng, PHRASES[kind]) for _ in range(800)}
        assert len(trained) > 5
        assert not said(phrase) & trained


def test_rows_repeat_and_stay_within_bounds() -> None:
    one, two, other = (Looks(PIECES, seed) for seed in (3, 3, 4))
    rows = [one.next() for _ in range(40)]
    again = [two.next() for _ in range(40)]
    assert [row.ids for row in rows] == [row.ids for row in again] != [other.next().ids for _ in range(40)]
    image, template = PIECES.id("<image>"), Template(PIECES)
    pictures = 0
    for row in rows:
        n = len(row.ids)
        assert n <= 1500
        assert len(row.targets) == len(row.weights) == len(row.times) == n
        aside = {i for first, end in row.asides for i in range(first, end)}
        ways = [[t for i, t in enumerate(row.times) if i not in aside]]
        ways += [row.times[first - 1 : end] for first, end in row.asides if first - 1 not in aside]
        assert all(a <= b for times in ways for a, b in zip(times, times[1:], strict=False))
        assert len(row.cells) == len(row.sights)
        assert all(row.ids[at] == image and 0 <= cell < CELLS for at, cell in row.cells)
        heads = [i for i, piece in enumerate(row.ids) if piece == image and i not in {at for at, _ in row.cells}]
        assert all(i == 0 or row.ids[i - 1] != template.agent for i in heads)
        pictures += len(heads)
        for group, first, end in row.spans:
            if group.startswith("watch"):
                assert row.ids[first] == template.end and row.targets[first] in (template.yes, template.no)
                assert row.weights[first] > 0
            else:
                assert row.targets[first:end] == row.ids[first + 1 : end + 1]
    assert pictures > 40
    assert 0.3 < one.look_tokens / (one.look_tokens + one.text_tokens) < 0.7


def test_what_stood_is_only_asked_where_pictures_leave_no_doubt() -> None:
    a: Scene = [(0, 0, 0.5, 0.5)]
    b: Scene = [(1, 1, 0.5, 0.5)]
    sight = of_things(a)

    def looks(*pairs: tuple[float, Scene]) -> list[Look]:
        return [Look(-age, scene, sight) for age, scene in pairs]

    assert stood(looks((90, a), (20, a), (5, b)), 0, 60) is a  # nothing changed around it
    assert stood(looks((90, a), (61, b), (5, a)), 0, 60) is b  # one is near, the other far
    assert stood(looks((75, a), (50, b), (5, b)), 0, 60) is None
    assert stood(looks((30, a), (5, b)), 0, 60) is None  # too young a memory
    assert stood(looks((80, a), (65, b)), 0, 60) is b


def test_the_imitated_eye() -> None:
    eye, rng = Eye(9), random.Random(9)
    scene: Scene = [(2, 1, 0.36, 0.4), (5, 4, 0.9, 0.1)]
    np.testing.assert_allclose(eye.see(scene, 1.0), of_things(scene), atol=1e-6)
    right = Counter[str]()
    for _ in range(200):
        scene = random_scene(rng)
        sight = eye.see(scene, rng.random())
        assert sight.shape == (CELLS, WIDTH) and sight.dtype == np.float32 and np.isfinite(sight).all()
        np.testing.assert_allclose(sight[:, COUNT].sum(1), 1, atol=1e-5)
        assert (sight[:, OTHER] < 0.5).all() and (eye.elsewhere(rng.random())[:, OTHER] > 0.5).all()
        truth = of_things(scene)
        for cell in np.flatnonzero(truth[:, 1] == 1):
            right["all"] += 1
            right["colour"] += int(sight[cell, COLOUR].argmax() == truth[cell, COLOUR].argmax())
            right["shape"] += int(sight[cell, SHAPE].argmax() == truth[cell, SHAPE].argmax())
            right["there"] += int(sight[cell, 0] < 0.5)
    assert all(0.85 < right[what] / right["all"] < 1.0 for what in ("colour", "shape", "there"))


def test_a_thing_where_four_cells_meet_is_in_all_of_them() -> None:
    eye, rng, four = Eye(3), random.Random(3), [5, 6, 9, 10]
    scene: Scene = [(2, 1, 0.501, 0.499)]
    seen = [eye.see(scene, 0.9) for _ in range(60)]
    right = [sight for sight in seen if sight[5, COLOUR][2] > 0.5 and sight[5, SHAPE][1] > 0.5]
    split = [sight for sight in right if sight[four, 1].min() > 0.1]
    assert len(split) > 5
    for sight in split:
        assert sight[:, 1].sum() == pytest.approx(1, abs=0.1)
        cells = kept_cells(rng, sight, 1.0)
        look = Look(0.0, scene, sight, {cell: 10 + cell for cell in cells})
        assert cells == four and look.places_of(scene[0]) == [15, 16, 19, 20]
    crowd = random_scene(rng)
    while len(crowd) < 3:
        crowd = random_scene(rng)
    moved = [with_one_where_four_meet(rng, crowd) for _ in range(30)]
    assert any(each != crowd for each in moved)
    assert all(sum(a != b for a, b in zip(crowd, each, strict=True)) < 2 for each in moved)


def test_pruning_keeps_things_and_what_is_no_table() -> None:
    eye, rng = Eye(10), random.Random(10)
    sight = eye.see([(2, 1, 0.36, 0.4)], 1.0)
    assert kept_cells(rng, sight, 1.0) == [5]
    assert kept_cells(rng, sight, 0.0) == list(range(CELLS))
    assert kept_cells(rng, eye.see([], 1.0), 1.0) == []
    assert kept_cells(rng, eye.see([], 1.0, other=True), 1.0) == [0]


def test_pools_are_read_when_they_come(tmp_path: Path) -> None:
    pools = Pools(tmp_path, 1)
    assert pools.look_again() == 0
    things = np.zeros((3, 6, 4), np.float32)
    things[0, :2] = [(1, 2, 0.2, 0.3), (3, 4, 0.7, 0.8)]
    sight = np.random.default_rng(0).random((3, CELLS, WIDTH)).astype(np.float16)
    made = {"things": things, "n": np.array([2, 6, 0]), "other": np.array([0, 0, 1]), "sight": sight,
            "row": np.array([0, 0, -1])}  # fmt: skip
    (tmp_path / "pool-000.npz").write_bytes(b"half a file")
    assert pools.look_again() == 0
    np.savez(tmp_path / "pool-000.npz", **made)  # type: ignore[arg-type]
    assert pools.look_again() == 1  # six things are too many, the third is no table
    assert pools.look_again() == 0
    scene, read = pools.draw()
    assert [t[:2] for t in scene] == [(1, 2), (3, 4)]
    np.testing.assert_array_equal(read, sight[0].astype(np.float32))
    assert len(pools.elsewhere) == 1 and len(pools.story()) == 1
    story = {"things": np.zeros((5, 6, 4), np.float32), "n": np.zeros(5), "other": np.zeros(5), "row": [0, 0, 0, 1, 1]}
    np.savez(tmp_path / "pool-001.npz", **story, sight=np.zeros((5, CELLS, WIDTH), np.float16))  # type: ignore[arg-type]
    pools.look_again()
    assert [len(each) for each in pools.stories] == [1, 3, 2]


def test_a_batch_shows_each_row_its_own_pictures() -> None:
    torch.manual_seed(0)
    config = DecoderConfig(PIECES.vocab_size, 32, 2, 2, 48, hear_width=8, time_pairs=4, sight_width=WIDTH)
    net = Decoder(config).eval()
    see_words(net, PIECES)
    source = Looks(PIECES, 11, share=1.0)
    rows = [row for row in (source.next() for _ in range(40)) if row.cells and not row.mixes and not row.asides][:3]
    with torch.inference_mode():
        together = Batch(rows, PIECES).hidden(net)
        for at, row in enumerate(rows):
            alone = Batch([row], PIECES)
            out, n = alone.hidden(net)[0], len(row.ids)
            torch.testing.assert_close(out[:n], together[at, :n], atol=1e-4, rtol=1e-4)
            x = net.embed(torch.tensor(row.ids))
            index, cell = torch.tensor(row.cells).T
            for each in alone.pictures.unique():
                of = alone.pictures == each
                x[index[of]] = net.see_embed(torch.from_numpy(np.stack(row.sights))[of], cell[of])
            by_hand = net.hidden(rows=x[None], times=torch.tensor([row.times], dtype=torch.float64))
            torch.testing.assert_close(by_hand[0], out[:n], atol=1e-4, rtol=1e-4)
            assert (Batch([row], PIECES).grey().hidden(net)[0, :n] - out[:n]).abs().max() > 1e-3


def test_a_cell_begins_as_the_words_for_it() -> None:
    torch.manual_seed(1)
    net = Decoder(DecoderConfig(PIECES.vocab_size, sight_width=WIDTH))
    see_words(net, PIECES)
    sights = torch.from_numpy(np.stack([of_things([(c, 3, 0.1, 0.1)])[0] for c in range(len(COLOURS))]))
    with torch.inference_mode():
        rows = net.see_embed(sights, torch.zeros(len(COLOURS), dtype=torch.long))
        words = torch.stack([net.embed(torch.tensor(PIECES.encode(word))).mean(0) for word in COLOURS])
        likeness = (rows - rows.mean(0)) @ (words - words.mean(0)).T
    assert likeness.argmax(1).tolist() == list(range(len(COLOURS)))


def test_pictures_and_watches_read_as_documented() -> None:
    template = Template(PIECES)
    assert PIECES.decode(template.picture(2)) == "<image> <image> <image>"
    assert template.picture(0) == [template.image]
    words = "a red ball is on the table"
    assert PIECES.decode(template.watch(words)) == f"<event> {words} <end>"


@pytest.mark.slow
def test_live_reads_a_row_as_training_does() -> None:
    """Tokens and pictures of a row one after another through the engine's core, and all at once in a batch."""
    model = random_nano()
    source = Looks(PIECES, 12, share=1.0)
    rows = (r for r in (source.next() for _ in range(200)) if len(r.cells) > 4 and not r.mixes and not r.asides)
    row = next(r for r in rows if len(r.ids) < 300)
    core = Core(model, lanes=4, slots=512)
    lane, at, cells = core.open(), 0, dict(row.cells)
    want = tuple(range(PIECES.vocab_size))
    core.run(lane, Reset())
    while at < len(row.ids):
        picture = [i for i in range(at + 1, len(row.ids)) if all(j in cells for j in range(at + 1, i + 1))]
        end = at + 1 + len(picture)
        sights = None
        if picture:
            first = list(cells).index(picture[0])
            sight = np.stack(row.sights[first : first + len(picture)])
            sights = Sights(sight, np.array([cells[i] for i in picture], np.int64))
        done = core.run(lane, Append(tuple(row.ids[at:end]), want, sights=sights, t_s=row.times[at]))
        assert isinstance(done, Done)
        at = end
    assert isinstance(done, Done)
    with torch.inference_mode():
        batch = Batch([row], PIECES)
        whole = model.decoder.logits(batch.hidden(model.decoder)[0, len(row.ids) - 1]).log_softmax(-1)
    np.testing.assert_allclose(np.array(done.logp), whole.numpy(), atol=2e-4)
