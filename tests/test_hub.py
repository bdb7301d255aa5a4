"""From a hub's name to a folder: what comes, how it goes on after a cut, and what is said of everything that can be
wrong before minutes are spent. Against a hub of our own on loopback; never a real one."""

from __future__ import annotations

import json
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save

from liveagent import ConfigError, DeviceError, LinkError, LiveAgentError, ProtocolError
from liveagent.nn.checkpoint import Checkpoint
from liveagent.ports import hub as hub_module
from liveagent.ports import hub_file
from liveagent.ports.hub import Hub
from liveagent.release import INDEX, WHOLE
from tests.hub_peer import COMMIT, FakeHub

REPO, SPLIT = "owner/tiny", "owner/split"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
A = {"a": torch.arange(300_000, dtype=torch.float32)}  # longer than what a header is looked for in
B = {"b": torch.ones(3, dtype=torch.bfloat16)}
CONFIG_JSON = json.dumps({"architectures": ["Tiny"]}).encode()


def models() -> dict[str, dict[str, bytes]]:
    index = {"metadata": {}, "weight_map": {"a": SHARDS[0], "b": SHARDS[1]}}
    rest = {
        "config.json": CONFIG_JSON, "tokenizer.json": b"{}" * 500, "README.md": b"---\nlicense: mit\n---\n",
        "modeling_tiny.py": b"raise SystemExit", "training_args.bin": b"pickle", "chat_template.jinja": b"{{ words }}",
        "pytorch_model.bin.index.json": b"{}", "onnx/model.json": b"{}",
    }  # fmt: skip
    return {
        REPO: {**rest, WHOLE: save(A), "pytorch_model.bin": b"pickle", "other.safetensors": save(B)},
        SPLIT: {"config.json": CONFIG_JSON, INDEX: json.dumps(index).encode(), SHARDS[0]: save(A), SHARDS[1]: save(B)},
    }


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No token, cache or offline switch of whoever runs the tests; and no waiting."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "theirs"))
    monkeypatch.setattr("liveagent.ports.hub_line.get_token", lambda: None)
    monkeypatch.setattr(hub_file, "RETRY_S", (0.0, 0.0))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    huggingface_hub.close_session()


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub(models()) as peer:
        monkeypatch.setenv("HF_ENDPOINT", peer.url)
        yield peer


def wrong(kind: type[LiveAgentError], name: str = REPO, token: str | None = None) -> str:
    """What is said when a model is fetched, which must be one line of that kind."""
    hub = Hub(token=token)
    with pytest.raises(kind) as caught:
        hub.fetch(hub.look(name))
    said = str(caught.value)
    assert type(caught.value) is kind and "\n" not in said and ": " in said
    return said


def test_a_look_reads_settings_and_headers_alone(peer: FakeHub) -> None:
    offer = Hub().look(REPO)
    release = offer.release
    assert release.architecture == "Tiny" and release.licence == "apache-2.0"
    assert {name: each.shape for name, each in release.tensors.items()} == {"a": (300_000,)}
    assert release.file_bytes == len(save(A))
    total = sum(len(peer.models[REPO][each.name]) for each in offer.files)
    assert release.download_bytes == total - len(CONFIG_JSON)
    assert set(peer.sent) == {"config.json", WHOLE} and peer.sent[WHOLE] == hub_module.HEAD
    assert Hub().look(f"{REPO}@{COMMIT}").commit == COMMIT


def test_only_weights_settings_and_the_tokenizer_come(peer: FakeHub, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    folder = hub_module.fetch(REPO, lambda *each: told.append(each))
    assert folder == tmp_path / "cache" / "liveagent" / "models" / "owner--tiny" / COMMIT
    came = {each.name for each in folder.iterdir() if not each.name.startswith(".")}
    assert came == {"config.json", "tokenizer.json", "chat_template.jinja", WHOLE}
    assert torch.equal(Checkpoint.open(folder).read("a"), A["a"])
    done = [each[1] for each in told]
    assert done == sorted(done) and told[-1][1] == told[-1][2] == sum((folder / name).stat().st_size for name in came)
    before = len(peer.asked)
    assert hub_module.fetch(REPO) == folder
    assert [path for _, path, _, _ in peer.asked[before:]] == [f"/api/models/{REPO}/revision/main"]


def test_shards_come_by_their_index(peer: FakeHub) -> None:
    found = Checkpoint.open(hub_module.fetch(SPLIT))
    assert torch.equal(found.read("a"), A["a"]) and torch.equal(found.read("b"), B["b"])


def test_a_folder_is_itself(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG_JSON)
    (tmp_path / WHOLE).write_bytes(save(B))
    assert hub_module.fetch(str(tmp_path)) == tmp_path
    assert Hub().look(str(tmp_path)).release.tensors["b"].dtype == "BF16"


def test_a_cut_connection_is_taken_up_where_it_broke(peer: FakeHub) -> None:
    peer.cut[WHOLE] = [400_000, 5, 600_000]
    folder = hub_module.fetch(REPO)
    assert (folder / WHOLE).read_bytes() == peer.models[REPO][WHOLE]
    spans = [span for _, path, span, _ in peer.asked if path.endswith(WHOLE) and span.endswith("-")]
    assert dict.fromkeys(spans) == dict.fromkeys(["bytes=400000-", "bytes=400005-", "bytes=1000005-"])
    assert peer.sent[WHOLE] == hub_module.HEAD + len(peer.models[REPO][WHOLE])  # no byte twice


def test_the_next_try_goes_on_where_the_last_gave_up(peer: FakeHub) -> None:
    peer.cut[WHOLE] = [500_000, 0, 0, 0]
    assert "cannot be reached" in (said := wrong(LinkError)) and "are kept, and the next try goes on" in said
    hub = Hub()
    offer = hub.look(REPO)
    assert offer.release.download_bytes == len(peer.models[REPO][WHOLE]) - 500_000
    told: list[int] = []
    hub.fetch(offer, lambda name, done, total: told.append(total - done))
    assert told[0] < len(peer.models[REPO][WHOLE]) - 500_000 and told[-1] == 0
    assert (offer.folder / WHOLE).read_bytes() == peer.models[REPO][WHOLE]


def test_who_knows_no_ranges_sends_all_again(peer: FakeHub) -> None:
    peer.ranges, peer.cut[WHOLE] = False, [500_000]
    hub = Hub()
    offer = hub.look(REPO)
    told: list[int] = []
    hub.fetch(offer, lambda name, done, total: told.append(total - done))
    assert (offer.folder / WHOLE).read_bytes() == peer.models[REPO][WHOLE] and told[-1] == 0


@pytest.mark.parametrize("name", [WHOLE, "tokenizer.json"])
def test_a_wrong_checksum_is_thrown_away_and_comes_right_the_next_time(peer: FakeHub, name: str) -> None:
    peer.spoilt.add(name)
    assert f"{name} of {REPO} came with a wrong checksum" in wrong(LinkError)
    folder = Hub().look(REPO).folder
    assert not (folder / name).exists() and not (folder / f"{name}.part").exists()
    peer.spoilt.clear()
    assert (hub_module.fetch(REPO) / name).read_bytes() == peer.models[REPO][name]


def test_a_file_that_is_shorter_than_the_hub_says(peer: FakeHub) -> None:
    peer.short[WHOLE] = 700_000
    assert "has less of a file" in wrong(ProtocolError)


def test_a_name_that_nothing_has(peer: FakeHub) -> None:
    assert "has no model owner/none" in (said := wrong(ConfigError, "owner/none")) and "spelling" in said
    assert f"{REPO} has no revision 'v9'" in wrong(ConfigError, f"{REPO}@v9")
    for name in ("tiny", "no/such/folder", "owner/ tiny", "owner/tiny.", "owner/--x"):
        assert "hub's name" in wrong(ConfigError, name) or "has no model" in wrong(ConfigError, name)
    assert not peer.sent


def test_a_gated_model_needs_a_token_that_was_let_in(peer: FakeHub) -> None:
    peer.gated = True
    assert "is gated, and there is no token: accept its terms at" in wrong(ConfigError)
    assert "is gated, your token has no access to it yet" in wrong(ConfigError, token="hf_stranger")
    assert not peer.sent
    assert Hub(token="hf_friend").look(REPO).files


def test_a_token_that_is_wrong_or_not_enough(peer: FakeHub) -> None:
    peer.token = "hf_right"
    assert "open without a token: look at the spelling, or `hf auth login`" in wrong(ConfigError)
    assert "does not know your token" in wrong(ConfigError, token="hf_wrong")
    hub = Hub(token="hf_right")
    hub.fetch(hub.look(REPO))
    here = {token for _, path, _, token in peer.asked if token and "hf_right" in token}
    assert here == {"Bearer hf_right"}
    elsewhere = [token for _, path, span, token in peer.asked if path.endswith(WHOLE)]
    assert set(elsewhere) == {"Bearer hf_right", ""}, "where large files lie, nobody is told the token"
    peer.status = 403
    assert "does not let your token read" in wrong(ConfigError, token="hf_right")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_not_well(peer: FakeHub, status: int) -> None:
    peer.status = status
    assert f"answers {status} for {REPO}: try again later" in wrong(LinkError)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub(models()) as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.url)
    assert f"cannot be reached for {REPO} (ConnectError): look at the network" in wrong(LinkError)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in wrong(LinkError)


def test_what_was_fetched_once_is_found_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub(models()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        folder = hub_module.fetch(REPO)
    huggingface_hub.close_session()
    offer = Hub().look(REPO)
    assert offer.folder == folder and offer.release.licence == "apache-2.0" and Hub().fetch(offer) == folder
    (folder / WHOLE).unlink()
    assert "cannot be reached" in wrong(LinkError)


def test_what_is_no_hub_at_all(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [[], {"id": REPO, "siblings": []}, {"id": REPO, "sha": "../..", "siblings": []}]
    for said in answers:
        monkeypatch.setattr(peer, "info", lambda repo, said=said: said)
        assert "HF_ENDPOINT" in wrong(ProtocolError)
    monkeypatch.setattr(
        peer, "info", lambda repo: {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": "config.json"}]}
    )
    assert "neither size nor checksum" in wrong(ProtocolError)


def test_no_room_is_said_before_a_byte_of_weights_comes(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=hub_module.SPARE + 1000))
    assert "GB are to be fetched" in (said := wrong(DeviceError)) and "make room, or set XDG_CACHE_HOME" in said
    assert peer.sent[WHOLE] == hub_module.HEAD and "tokenizer.json" not in peer.sent


def test_a_disk_that_fills_while_it_comes(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "cannot be written to (there is no room left): make room" in wrong(DeviceError)


def test_a_cache_that_cannot_be_written_to(peer: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "cannot be written to" in wrong(DeviceError)


def test_another_process_that_fetches_the_same(peer: FakeHub) -> None:
    first, second = Hub(), Hub()
    offer = first.look(REPO)
    said: list[str] = []

    def meanwhile(name: str, done: int, total: int) -> None:
        if not said:
            with pytest.raises(DeviceError, match="another process is fetching") as caught:
                second.fetch(second.look(REPO))
            said.append(str(caught.value))

    first.fetch(offer, meanwhile)
    assert said and second.fetch(second.look(REPO)) == offer.folder


def changed(peer: FakeHub, drop: str = "", files: dict[str, bytes] | None = None) -> None:
    kept = {name: content for name, content in peer.models[REPO].items() if name != drop}
    peer.models = {REPO: kept | (files or {}), SPLIT: {k: v for k, v in peer.models[SPLIT].items() if k != drop}}


def test_pickles_alone(peer: FakeHub) -> None:
    changed(peer, drop=WHOLE)
    assert "pickled (pytorch_model.bin)" in wrong(ConfigError)
    assert set(peer.sent) == {"config.json"}


def test_a_shard_that_the_hub_lacks(peer: FakeHub) -> None:
    changed(peer, drop=SHARDS[1])
    assert f"{SPLIT} lacks {SHARDS[1]}" in wrong(ConfigError, SPLIT)
    assert SHARDS[0] not in peer.sent


def test_code_that_wants_to_be_run(peer: FakeHub) -> None:
    changed(peer, files={"config.json": b'{"auto_map": {"AutoModel": "modeling_tiny.Tiny"}}'})
    assert "brings code of its own" in wrong(ConfigError)
    assert set(peer.sent) == {"config.json"}


def test_a_header_that_contradicts_the_file(peer: FakeHub) -> None:
    changed(peer, files={WHOLE: save(B)[:-1]})
    assert "its header speaks of" in wrong(ConfigError)
    changed(peer, files={WHOLE: b"\xff" * 100})
    assert "is no safetensors file" in wrong(ConfigError)
    changed(peer, files={"config.json": b"{"})
    shutil.rmtree(hub_module.cache_folder())
    assert "config.json of owner/tiny is damaged" in wrong(ConfigError)
    changed(peer, drop="config.json")
    assert "has no config.json" in wrong(ConfigError)


def test_a_header_longer_than_the_first_look(peer: FakeHub) -> None:
    many = {f"layers.{n}.{'long' * 20}.weight": torch.ones(1) for n in range(1500)}
    changed(peer, files={WHOLE: save(many)})
    assert len(Hub().look(REPO).release.tensors) == 1500


def test_what_the_hubs_own_client_has_already_is_used_from_there(
    peer: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = peer.models[REPO][WHOLE]
    theirs = tmp_path / "theirs" / "models--owner--tiny" / "snapshots" / COMMIT
    theirs.mkdir(parents=True)
    (theirs / WHOLE).write_bytes(content)
    folder = hub_module.fetch(REPO)
    assert (folder / WHOLE).samefile(theirs / WHOLE) and (folder / WHOLE).read_bytes() == content
    assert peer.sent[WHOLE] == hub_module.HEAD
    shutil.rmtree(folder)
    monkeypatch.setattr("os.link", _elsewhere)
    folder = hub_module.fetch(REPO)
    assert (folder / WHOLE).is_symlink() and (folder / WHOLE).read_bytes() == content
    shutil.rmtree(folder)
    (theirs / WHOLE).write_bytes(content[:-1] + b"\xff")
    folder = hub_module.fetch(REPO)
    assert not (folder / WHOLE).samefile(theirs / WHOLE) and (folder / WHOLE).read_bytes() == content


def _elsewhere(*_: Any) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_a_new_commit_brings_only_what_changed(peer: FakeHub) -> None:
    old = hub_module.fetch(REPO)
    before = dict(peer.sent)
    peer.commit = COMMIT[::-1]
    changed(peer, files={"tokenizer.json": b"[]" * 500})
    new = hub_module.fetch(REPO)
    assert new != old and (new / WHOLE).samefile(old / WHOLE)
    assert (new / "tokenizer.json").read_bytes() == b"[]" * 500
    assert peer.sent[WHOLE] - before[WHOLE] <= hub_module.HEAD
    assert peer.sent["config.json"] == before["config.json"]


def test_what_is_there_needs_no_token_again(peer: FakeHub) -> None:
    peer.gated = True
    hub = Hub(token="hf_friend")
    folder = hub.fetch(hub.look(REPO))
    before = dict(peer.sent)
    assert hub_module.fetch(REPO) == folder and peer.sent == before
