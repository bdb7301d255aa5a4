"""`liveagent verify`: the loop holds on random weights, which know nothing; planted faults are found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from liveagent.agent import Agent
from liveagent.cli import app
from liveagent.errors import ConfigError, ToolError
from liveagent.families import gemma4
from liveagent.ledger import Span
from liveagent.nn.nets import Nets
from liveagent.ports.chat_template import ChatTemplate
from liveagent.runtime import verify_measure, verify_talk
from liveagent.runtime.open_model import load_nets, read_model
from liveagent.runtime.verified import Check, Verified, check, shared, title_of
from liveagent.runtime.verify import verify
from liveagent.runtime.verify_stage import Stage, tools, written_tools
from liveagent.runtime.verify_writing import check_writing
from tests.open_checkpoint import TEMPLATE, write

pytestmark = pytest.mark.slow

EOS = [1, 5]  # <eos> and <turn|>, as the tiny tokenizer counts its marks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("home") / "tiny-it")
    _ends(folder, EOS)
    return folder


def _ends(folder: Path, ends: object) -> None:
    path = folder / "generation_config.json"
    said = json.loads(path.read_text()) if path.is_file() else {}
    path.unlink(missing_ok=True)
    path.write_text(json.dumps(said | {"eos_token_id": ends}))


def planted(folder: Path, to: Path, **files: str) -> Path:
    """The same checkpoint, with some files instead of its own."""
    for path in folder.iterdir():
        (to / path.name).symlink_to(path)
    for name, text in files.items():
        path = to / name.replace("__", ".")
        path.unlink(missing_ok=True)
        path.write_text(text)
    return to


def written(folder: Path) -> dict[str, Check]:
    found = check_writing(read_model(folder), ChatTemplate.load(folder).render, folder, written_tools())
    return {each.name: each for each in found}


def failed(found: dict[str, Check]) -> set[str]:
    return {name for name, each in found.items() if each.outcome == "failed"}


async def test_the_loop_holds_and_random_weights_know_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_talk, "FACTS", {"what is the capital of france": ("paris",)})
    monkeypatch.setattr(verify_measure, "ENOUGH_EVICTIONS", 3)
    seen: list[tuple[str, Check | None]] = []
    seconds = itertools.count()  # a clock that knows nothing of this machine: a minute is sixty looks at it
    agent = Agent(str(folder), cache_tokens=1536)  # no larger than so few looks fill
    found = await verify(
        agent, minutes=0.04, clock=lambda: next(seconds) / 200, use_recogniser=False,
        progress=lambda name, each: seen.append((name, each)),
    )  # fmt: skip
    loop = {each.name: each for each in found.checks if each.part == "loop"}
    assert failed(loop) == set(), [each.said for each in loop.values()]
    assert {"a spoken question"} | {name for name, each in loop.items() if each.outcome == "passed"} == {
        "template", "tokens", "stop tokens", "call syntax", "the stop id ends a reply", "a call is made",
        "a spoken question", "an interruption", "the cache is what it says", "rolling", "memory is flat",
        "steps are flat",
    }  # fmt: skip
    assert loop["a picture question"].outcome == "absent" and "has no eye" in loop["a picture question"].said
    assert found.of("what is the capital of france").outcome == "failed"  # honestly, and no fault of the loop
    assert found.of("latency").figures["tokens_per_s"] > 0
    assert found.holds and found.verdict.startswith("the loop holds")
    assert [each for _, each in seen if each is not None] == list(found.checks)
    assert ("rolling", None) in seen and found.of("rolling").figures["evictions"] >= 3

    report = found.markdown() + json.dumps(found.to_json())
    assert found.model == "tiny-it" and found.about["fingerprint"] in report
    assert str(folder) not in report and str(Path.home()) not in report and "/tmp" not in report


def test_what_is_written_is_right(folder: Path) -> None:
    found = written(folder)
    assert failed(found) == set()
    assert found["calls as written"].outcome == "absent"  # this template has no place for them
    assert "<turn|> (5)" in found["stop tokens"].said


CALLS = """{%- if message.tool_calls %}{% set call = message.tool_calls[0].function -%}
<|turn>model
<|tool_call>call:{{ call.name }}{room:<|"|>{{ call.arguments.room }}<|"|>}<tool_call|>{% elif message.role == 'tool' -%}
<|tool_response>response:{{ message.name }}{value:<|"|>{{ message.content }}<|"|>}<tool_response|>{{ NEXT }}{% elif"""


@pytest.mark.parametrize(("between", "outcome"), [("", "passed"), ("<turn|>", "failed")])
def test_a_template_with_calls_of_its_own_is_compared(folder: Path, tmp_path: Path, between: str, outcome: str) -> None:
    template = TEMPLATE.replace("{%- if", CALLS.replace("{{ NEXT }}", between), 1)
    answer = "{% elif message.role == 'assistant' and loop.previtem and loop.previtem.role == 'tool' -%}\n"
    plain = "{% elif message.role == 'assistant'"
    template = template.replace(plain, f"{answer}{{{{ message.content }}}}<turn|>\n{plain}")
    found = written(planted(folder, tmp_path, chat_template__jinja=template))
    assert found["calls as written"].outcome == outcome, found["calls as written"].said
    assert found["template"].outcome == "passed"


def test_a_template_whose_turns_end_differently_later_is_found(folder: Path, tmp_path: Path) -> None:
    later = TEMPLATE.replace(
        "{{ message.content }}<turn|>\n{% endif -%}",
        "{{ message.content }}{% if loop.index > 4 %}<eos>{% else %}<turn|>{% endif %}\n{% endif -%}",
    )
    assert later != TEMPLATE
    found = written(planted(folder, tmp_path, chat_template__jinja=later))
    assert "template" in failed(found)
    assert "<turn|>" in found["template"].said and "<eos>" in found["template"].said


def test_an_opening_that_past_turns_do_not_keep_is_worth_reading(folder: Path, tmp_path: Path) -> None:
    thinks = TEMPLATE.replace(
        "{%- if add_generation_prompt -%}\n<|turn>model\n",
        "{%- if add_generation_prompt -%}\n<|turn>model\n<|channel>thought\n<channel|>",
    )
    assert thinks != TEMPLATE
    found = written(planted(folder, tmp_path, chat_template__jinja=thinks))
    assert found["template"].outcome == "noted" and "<|channel>" in found["template"].said
    assert failed(found) == set()


@pytest.mark.parametrize(
    ("ends", "outcome", "says"),
    [
        (1, "failed", "<eos> (1); we stop at <turn|> (5)"),
        ([5], "passed", "we stop at <turn|> (5)"),
        ([5, 300], "failed", "which we would speak"),
        ([5, 1], "passed", "can never be chosen"),
        ("five", "failed", "which is no id"),
        (None, "passed", "<turn|> (5)"),
    ],
)
def test_where_replies_end_is_what_the_checkpoint_says(
    folder: Path, tmp_path: Path, ends: object, outcome: str, says: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 5}
    generation = json.dumps({} if ends is None else {"eos_token_id": ends})
    there = planted(folder, tmp_path, generation_config__json=generation, config__json=json.dumps(config))
    found = written(there)["stop tokens"]
    assert found.outcome == outcome and says in found.said


def test_a_tokenizer_that_merges_over_a_turns_beginning_is_found(folder: Path, tmp_path: Path) -> None:
    """Behind `user` and a line's end "hello" begins; a piece that holds both is what only the whole text shows."""
    made: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text())
    made["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            made["normalizer"],
            {"type": "Replace", "pattern": {"String": "\nh"}, "content": "h"},
        ],
    }
    found = written(planted(folder, tmp_path, tokenizer__json=json.dumps(made)))
    assert "tokens" in failed(found) or "template" in failed(found)
    assert "one question" in found["tokens"].said


def test_a_call_that_does_not_read_back_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_it = gemma4.Calls.write
    monkeypatch.setattr(gemma4.Calls, "write", lambda self, name, args: [*write_it(self, name, args), "}"])
    assert failed(written(folder)) == {"call syntax"}


@pytest.fixture(scope="module")
def model(folder: Path) -> Nets:
    return load_nets(folder)


@pytest.fixture
def stage(folder: Path, model: Nets) -> Any:
    made = Stage(Agent(str(folder)), model, folder, itertools.count().__next__, 0.1, None, False)
    yield made
    made.close()


def _refuse(self: object, text: str) -> tuple[str, dict[str, Any]]:
    raise ToolError("that is no call")


async def test_a_call_that_does_not_parse_is_a_fault_of_the_loop(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemma4.Calls, "parse", _refuse)
    found = (await verify_talk.calls(stage))[0]
    assert (found.part, found.outcome) == ("loop", "failed") and "that is no call" in found.said


async def test_a_result_that_is_not_read_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    form, once = stage.model.template, itertools.count()
    returned = form.returned

    def other(name: str, text: str, failed: bool = False, **more: Any) -> list[int]:
        return returned(name, text if next(once) else "nothing", failed, **more)

    monkeypatch.setattr(form, "returned", other)
    found = (await verify_talk.calls(stage))[0]
    assert (found.part, found.outcome) == ("loop", "failed") and "the tool gave" in found.said


async def test_words_that_stay_though_nobody_heard_them_are_found(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liveagent.runtime.context import Context

    take_back = Context.take_back

    async def too_little(self: Context, place: int, later: int, mark: Sequence[int], t_ns: int) -> None:
        await take_back(self, min(place + 1, later), later, mark, t_ns)

    assert [each.outcome for each in await verify_talk.interruption(stage)] == ["passed", "passed"]
    monkeypatch.setattr(Context, "take_back", too_little)
    assert [each.outcome for each in await verify_talk.interruption(stage)] == ["failed"]


async def test_a_cache_that_is_not_what_its_ledger_says_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    from liveagent.nn.cache import KVCache

    rewind = KVCache.rewind

    def disturbed(self: KVCache, lane: int, length: int) -> None:
        rewind(self, lane, length)
        self.keys.mul_(1.2)

    monkeypatch.setattr(KVCache, "rewind", disturbed)
    found = await verify_talk.interruption(stage)
    assert [each.name for each in found if each.outcome == "failed"] == ["the cache is what it says"]


async def test_an_end_that_is_not_obeyed_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await verify_talk.replies_end(stage)
    assert found[0].outcome == "passed"
    monkeypatch.setattr(stage.model.template, "reply_close", lambda stopped: [7, 7])
    assert (await verify_talk.replies_end(stage))[0].outcome == "passed"  # another ending, written consistently
    monkeypatch.undo()
    monkeypatch.setattr(verify_talk, "ends_of", lambda folder: list(range(6, 600)))
    own = (await verify_talk.replies_end(stage))[1]
    assert (own.part, own.outcome) == ("loop", "failed") and "does not stop at" in own.said


async def test_a_check_that_breaks_off_ends_no_other(stage: Stage) -> None:
    from liveagent.runtime.verify import _tried

    async def broken(stage: Stage) -> list[Check]:
        raise ZeroDivisionError("no")

    (found,) = await _tried("it", broken, stage)
    assert (found.part, found.outcome) == ("loop", "failed") and "ZeroDivisionError: no" in found.said


def test_tools_are_called_by_the_model_alone() -> None:
    assert not any(each.phrases for each in tools())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/home/ann/models/it/config.json is damaged", "it/config.json is damaged"),
        ("see ~/x/y and C:\\Users\\ann\\z, or /etc/passwd", "see … and …, or …"),
        ("a\nb | <turn|> 3/4 and/or", "a b | <turn|> 3/4 and/or"),
    ],
)
def test_no_path_gets_into_a_report(text: str, says: str) -> None:
    assert shared(text, [("/home/ann/models/it", "it")]) == says


def test_a_folder_is_called_by_its_name(tmp_path: Path) -> None:
    assert title_of(str(tmp_path)) == tmp_path.name and title_of("google/gemma-4-e2b-it") == "google/gemma-4-e2b-it"


async def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    for agent, minutes, says in (
        (Agent("nano"), 1.0, "no open checkpoint"), (Agent(str(tmp_path)), 1.0, "no open checkpoint"),
        (Agent("nano"), 0.0, "above 0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=says):
            await verify(agent, minutes=minutes)


async def test_a_cache_that_loses_a_turns_beginning_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eviction takes three tokens more than its plan said, in cache and ledger alike."""
    from liveagent.runtime.context import Context

    trim = Context.trim

    async def greedy(self: Context) -> tuple[Span, ...]:
        gone = await trim(self)
        if gone:
            place = self.ledger.first + self.ledger.pinned_tokens
            kept = await self.rewind(place)
            first, *rest = kept
            tokens = first.tokens[3:]
            await self.add(first.span.kind, [each.id for each in tokens], 0)
            for each in rest:
                await self.add(each.span.kind, [token.id for token in each.tokens], 0)
        return gone

    stage.minutes = 1e9
    monkeypatch.setattr(Context, "trim", greedy)
    (found,) = await verify_measure.rolling(stage)
    assert (found.name, found.outcome) == ("rolling", "failed") and "lost its beginning" in found.said


@pytest.mark.parametrize(
    ("memory", "steps", "weak"),
    [
        ([500] * 9, [10.0] * 9, []),
        ([500] * 8 + [560], [10.0] * 6 + [15.0] * 3, []),
        ([500, 500, 500, 520, 540, 560, 580, 600, 620], [10.0] * 9, ["memory is flat"]),
        ([500] * 9, [float(at) for at in range(10, 37, 3)], ["steps are flat"]),
    ],
)
def test_what_grows_is_found(memory: list[int], steps: list[float], weak: list[str]) -> None:
    roll = verify_measure.Roll()
    roll.memory, roll.step_ms = [each * 1_000_000 for each in memory], steps
    assert [each.name for each in roll.checks() if each.outcome == "failed"] == weak


@pytest.mark.parametrize("whose", ["nano", "a checkpoint's"])
async def test_a_picture_that_is_seen_is_asked_about(whose: str, tmp_path: Path) -> None:
    folder = None if whose == "nano" else write(tmp_path / "seeing", sees=True)
    agent = Agent(str(folder or "nano"))
    stage = Stage(agent, load_nets(folder), tmp_path, itertools.count().__next__, 0.1, None, False)
    try:
        loop, quality = await verify_talk.picture_question(stage)
    finally:
        stage.close()
    assert (loop.part, loop.outcome, quality.part) == ("loop", "passed", "quality")


class Told:
    """In place of `verify`, with the findings of its choice."""

    def __init__(self, held: bool) -> None:
        self.held, self.asked = held, dict[str, Any]()

    async def __call__(self, agent: Agent, title: str, *, progress: Callable[..., None], **more: Any) -> Verified:
        self.asked = {"model": agent.model, "title": title, "dtype": agent.dtype, "held": agent.cache_tokens, **more}
        checks = check("template", "loop", self.held, "as | it is"), check("Paris?", "quality", False, "it said 'x'")
        progress("template", None)
        progress("template", checks[0])
        return Verified(title, {"fingerprint": "00ff"}, checks, 3.0)


@pytest.mark.parametrize(("held", "status"), [(True, 0), (False, 1)])
def test_the_command(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool, status: int) -> None:
    told, file = Told(held), tmp_path / "report.md"
    monkeypatch.setattr("liveagent.runtime.verify.verify", told)
    runner = CliRunner()
    given = ["verify", str(folder), "--dtype", "float32", "--minutes", "0.5", "--cache-tokens", "2000"]
    shown = runner.invoke(app, [*given, "--report", str(file)])
    assert shown.exit_code == status and "template" in shown.stdout and "loop" in shown.stdout
    assert "… template" in shown.stderr
    assert (told.asked["title"], told.asked["dtype"], told.asked["minutes"]) == ("tiny-it", "float32", 0.5)
    assert told.asked["cost"].step_bytes > 0 and told.asked["held"] == 2000 == told.asked["cost"].cache_tokens
    assert file.read_text().startswith("# liveagent verify tiny-it") and "as \\| it is" in file.read_text()
    as_json = runner.invoke(app, [*given, "--json"])
    assert as_json.exit_code == status and json.loads(as_json.stdout)["holds"] is held


def test_half_a_proof_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(agent: Agent, title: str, **more: Any) -> Verified:
        raise KeyboardInterrupt

    monkeypatch.setattr("liveagent.runtime.verify.verify", interrupted)
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["nano"], "no open checkpoint"),
        (["--report", "no/such/folder/a.md", "FOLDER"], "a folder that is there"),
        (["FOLDER", "--dtype", "float7"], "float7"),
        (["FOLDER", "--minutes", "0"], "above 0"),
        (["no/folder/of/mine"], "no/folder/of/mine"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(folder: Path, more: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["verify", *(str(folder) if each == "FOLDER" else each for each in more)])
    assert result.exit_code == 2, result.output
    assert says in result.stderr and "Traceback" not in result.output
