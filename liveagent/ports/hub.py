"""`Hub`: a model's name on a hub, or a folder, to a folder on this disk with everything checked.

`look` asks what a name stands for and reads settings and headers alone, some 100 kB, so that whatever is wrong with a
model, and what it costs, is known before minutes are spent; `fetch` brings the rest. Only safetensors, JSON and
tokenizer files come: nothing pickled, no code. What huggingface_hub has in its own cache already is used from there.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from liveagent.errors import ConfigError, DeviceError, LinkError, ProtocolError
from liveagent.header import PREFIX, Header, header_bytes
from liveagent.ports.hub_file import HubFile
from liveagent.ports.hub_line import HubLine
from liveagent.release import CONFIG, INDEX, Release, check_config, parse_json, weight_files, weight_map_of

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told which file comes, and how many bytes of all are there, of how many."""

NAME = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZER = frozenset({"tokenizer.model", "vocab.txt", "merges.txt", "chat_template.jinja"})
HEAD = 1 << 17
"""Bytes of a file that are asked for in the hope that its header is no longer."""
SMALL = 1 << 26
"""More than this no settings have."""
SPARE = 1 << 28
"""Bytes that are left free on the disk."""


@dataclass(frozen=True)
class Offer:
    """What a name stands for: `release` before it is fetched; `folder` where it lies or will lie; `files` to come."""

    name: str
    folder: Path
    release: Release
    files: tuple[HubFile, ...] = ()
    repo: str = ""
    revision: str = ""
    commit: str = ""


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The folder of a model's name or of a folder. Raises as `Hub.look` and `Hub.fetch`."""
    hub = Hub()
    return hub.fetch(hub.look(name), progress)


class Hub:
    """`cache`: where models are kept, else in the user's cache folder. `endpoint`, `token`: else as huggingface_hub has
    them (HF_ENDPOINT, HF_TOKEN or `hf auth login`)."""

    def __init__(self, cache: Path | None = None, endpoint: str | None = None, token: str | None = None) -> None:
        self.cache = cache or cache_folder()
        self._line = HubLine(endpoint, token)

    # --- before anything is fetched

    def look(self, name: str) -> Offer:
        """What a name is. A folder on this disk is itself; "owner/name" or "owner/name@revision" is asked of the hub,
        or, where it cannot be reached, looked up among what was fetched whole before.

        Raises:
            ConfigError: nothing has that name, it is gated, or what it holds cannot be used.
            LinkError: the hub cannot be reached.
            ProtocolError: the hub says what cannot be.
        """
        folder = Path(name).expanduser()
        if folder.is_dir():
            return Offer(name, folder, Release.of_folder(folder))
        found = NAME.fullmatch(name)
        if found is None:
            raise ConfigError(
                f"{name!r} is no folder and no hub's name: give a folder, or a name like google/gemma-4-e2b-it"
            )
        repo, revision = found["repo"], found["revision"] or "main"
        try:
            info = self._line.info(repo, revision)
        except LinkError:
            if (kept := self._kept(name, repo, revision)) is not None:
                return kept
            raise
        kept = self._kept(name, repo, revision)
        if kept is not None and kept.folder.name == info.sha:
            return kept
        return self._offer(name, repo, revision, info)

    def _offer(self, name: str, repo: str, revision: str, info: ModelInfo) -> Offer:
        if info.gated and not self._line.token:
            raise self._line.gated(repo)
        commit = info.sha or ""
        if not COMMIT.fullmatch(commit):
            raise ProtocolError(f"{self._line.host} names no commit of {repo}: is HF_ENDPOINT a hub?")
        listed = {each.rfilename: each for each in info.siblings or ()}
        folder = self.cache / repo.replace("/", "--") / commit
        if CONFIG not in listed:
            raise ConfigError(f"{repo} has no {CONFIG}: it is no checkpoint that liveagent could read")
        config = self._small(folder, repo, commit, listed[CONFIG])
        check_config(config, repo)
        weight_map = None
        if INDEX in listed:
            weight_map = weight_map_of(self._small(folder, repo, commit, listed[INDEX]), f"{INDEX} of {repo}")
        weights = weight_files(list(listed), weight_map, repo)
        rest = [each for each in sorted(listed) if each not in weights and _is_wanted(each)]
        files = tuple(HubFile.of(repo, listed[each]) for each in (*rest, *weights))
        headers = {
            each.name: self._header(folder, repo, commit, each) for each in files if each.name in weights
        }  # fmt: skip
        card = info.card_data
        said = card.get("license") if card is not None else None
        release = Release.of(
            repo, config, headers, weight_map, sum(each.missing_bytes(folder) for each in files), str(said or "")
        )
        return Offer(name, folder, release, files, repo, revision, commit)

    def _small(self, folder: Path, repo: str, commit: str, listed: RepoSibling) -> dict[str, Any]:
        file = HubFile.of(repo, listed)
        if file.size_bytes > SMALL:
            raise ConfigError(
                f"{file.name} of {repo} has {file.size_bytes} bytes, which no settings have: choose another"
            )
        file.reuse(folder, repo, commit)
        file.bring(self._line, folder, repo, commit, lambda came: None)
        return parse_json((folder / file.name).read_bytes(), f"{file.name} of {repo}")

    def _header(self, folder: Path, repo: str, commit: str, file: HubFile) -> Header:
        if file.missing_bytes(folder) == 0:
            return Header.read(folder / file.name)
        where = f"{file.name} of {repo}"
        head = self._line.head(repo, commit, file.name, HEAD)
        if len(head) < (needed := PREFIX + header_bytes(head, where)):
            head = self._line.head(repo, commit, file.name, needed)
        found = Header.parse(head, where)
        if found.file_bytes != file.size_bytes:
            raise ConfigError(
                f"{where} has {file.size_bytes} bytes on the hub, and its header speaks of {found.file_bytes}: choose "
                f"another revision"
            )
        return found

    # --- fetching

    def fetch(self, offer: Offer, progress: Progress | None = None) -> Path:
        """Bring what is not there yet. What came stays, whatever happens, and the next try goes on from there.

        Raises:
            DeviceError: there is no room on the disk, nothing can be written, or another process is fetching the same.
            LinkError: the way there is down, or what came has another checksum than it should.
            ConfigError: as `look`.
        """
        if not offer.files:
            return offer.folder
        total = sum(each.size_bytes for each in offer.files)
        with self._alone(offer):
            for each in offer.files:
                each.reuse(offer.folder, offer.repo, offer.commit)
            missing = sum(each.missing_bytes(offer.folder) for each in offer.files)
            done = total - missing
            self._need_room(offer.folder, missing)
            for each in offer.files:

                def tell(came: int, name: str = each.name) -> None:
                    nonlocal done
                    done += came
                    if progress is not None:
                        progress(name, done, total)

                each.bring(self._line, offer.folder, offer.repo, offer.commit, tell)
            self._keep(offer)
        return offer.folder

    def _need_room(self, folder: Path, missing: int) -> None:
        there = folder
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        if missing and free < missing + SPARE:
            raise DeviceError(
                f"{missing / 1e9:.1f} GB are to be fetched, and {free / 1e9:.1f} GB are free under {there}: make room, "
                f"or set XDG_CACHE_HOME to a folder on another disk"
            )

    @contextmanager
    def _alone(self, offer: Offer) -> Iterator[None]:
        """Two that write into one `.part` would spoil it."""
        try:
            offer.folder.mkdir(parents=True, exist_ok=True)
            lock = (offer.folder / ".lock").open("w")
        except OSError as error:
            raise DeviceError(f"{offer.folder} cannot be written to ({error.strerror}): set XDG_CACHE_HOME") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DeviceError(f"another process is fetching {offer.name} just now: wait until it is done") from None
            yield

    # --- without a network

    def _record(self, repo: str, revision: str) -> Path:
        return self.cache / repo.replace("/", "--") / f"{quote(revision, safe='')}.json"

    def _keep(self, offer: Offer) -> None:
        """Write down what the name meant, for when nobody can be asked."""
        files = [[each.name, each.size_bytes, each.digest] for each in offer.files]
        said = {"commit": offer.commit, "licence": offer.release.licence, "files": files}
        record = self._record(offer.repo, offer.revision)
        fresh = record.with_suffix(".new")
        fresh.write_text(json.dumps(said), encoding="utf-8")
        fresh.replace(record)

    def _kept(self, name: str, repo: str, revision: str) -> Offer | None:
        """What was fetched whole before; None where nothing was."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            said: Mapping[str, Any] = json.loads(self._record(repo, revision).read_text(encoding="utf-8"))
            folder = self.cache / repo.replace("/", "--") / said["commit"]
            files = tuple(HubFile(*each) for each in said["files"])
            if COMMIT.fullmatch(said["commit"]) and not any(each.missing_bytes(folder) for each in files):
                found = Release.of_folder(folder)
                return Offer(name, folder, replace(found, name=repo, licence=said["licence"]))
        return None


def cache_folder() -> Path:
    """Where models are kept, as freedesktop.org's base directories say."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liveagent" / "models"


def _is_wanted(name: str) -> bool:
    """Settings and tokenizer; weights are named by their index."""
    return "/" not in name and (name in TOKENIZER or name.endswith(".json")) and not name.endswith(".bin.index.json")
