"""`HubFile`: one file of a model on a hub, and how it comes: where it stopped, to its last byte, with its checksum.

A file has its own name only once it is whole and its checksum is right; until then it is a `.part`, from which the next
try goes on. (huggingface_hub's own download begins anew after a crash, and compares lengths only.)
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from huggingface_hub import try_to_load_from_cache

from liveagent.errors import DeviceError, LinkError, ProtocolError
from liveagent.ports.hub_line import HubLine

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

CHUNK = 1 << 20
RETRY_S = (0.2, 1.0, 3.0)
"""Pauses before tries that follow one in which nothing came; where something came the next is made at once."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """`digest`: sha256 of its content, or what git calls its content, as "sha256:…" or "git:…"."""

    name: str
    size_bytes: int
    digest: str

    @classmethod
    def of(cls, repo: str, listed: RepoSibling) -> HubFile:
        """As a hub lists it. ProtocolError when it says neither size nor checksum."""
        name, size = listed.rfilename, listed.size
        digest = f"sha256:{listed.lfs.sha256}" if listed.lfs is not None else f"git:{listed.blob_id}"
        if size is None or size < 0 or (listed.lfs is None and not listed.blob_id) or Path(name).name != name:
            raise ProtocolError(f"the hub says of {name!r} of {repo} neither size nor checksum: is HF_ENDPOINT a hub?")
        return cls(name, size, digest)

    def missing_bytes(self, folder: Path) -> int:
        """How many bytes of a file are yet to come; 0 only for one that is whole and was checked."""
        with suppress(OSError):
            if (folder / self.name).stat().st_size == self.size_bytes:
                return 0
        with suppress(OSError):
            return max(1, self.size_bytes - (folder / f"{self.name}.part").stat().st_size)
        return max(1, self.size_bytes)

    def bring(self, line: HubLine, folder: Path, repo: str, commit: str, tell: Callable[[int], None]) -> None:
        """The file, whole and checked. `tell`: how many bytes more are there, or fewer.

        Raises:
            DeviceError: it cannot be written.
            LinkError: it cannot be had now; what came is kept. Or it came with a wrong checksum; nothing is kept then.
            ConfigError, ProtocolError: as `HubLine.told`.
        """
        if self.missing_bytes(folder) == 0:
            return
        part = folder / f"{self.name}.part"
        with _written(folder):
            with part.open("ab+") as out:
                self._stream(line, out, repo, commit, tell)
                out.flush()
                os.fsync(out.fileno())
                right = self._digest_of(out) == self.digest
            if not right:
                part.unlink()
                tell(-self.size_bytes)
                raise LinkError(f"{self.name} of {repo} came with a wrong checksum and was thrown away: fetch it again")
            part.replace(folder / self.name)

    def _stream(self, line: HubLine, out: BinaryIO, repo: str, commit: str, tell: Callable[[int], None]) -> None:
        """Write what is missing behind what is there, over as many connections as it takes."""
        there = out.seek(0, os.SEEK_END)
        pauses = iter(RETRY_S)
        while there < self.size_bytes:
            before = there
            try:
                with (
                    line.told(repo, commit),
                    line.get(repo, commit, self.name, f"bytes={there}-" if there else None) as response,
                ):
                    if there and response.status_code != 206:  # it sends the whole again
                        out.truncate(0)
                        tell(-there)
                        there = before = 0
                    for chunk in response.iter_bytes():  # as they come: what waits to be a whole chunk is lost in a cut
                        if there + len(chunk) > self.size_bytes:
                            raise ProtocolError(f"{line.host} sends more of {self.name} of {repo} than it said")
                        out.write(chunk)
                        there += len(chunk)
                        tell(len(chunk))
            except LinkError as error:
                if there == before and (pause := next(pauses, None)) is None:
                    kept = f"; {there / 1e6:.0f} MB of {self.name} are kept, and the next try goes on from there"
                    raise LinkError(f"{error}{kept}") from None
                if there == before:
                    time.sleep(pause or 0.0)
                else:
                    pauses = iter(RETRY_S)
            else:
                if there == before:
                    raise LinkError(f"{line.host} sends nothing of {self.name} of {repo}: try again later")

    def reuse(self, folder: Path, repo: str, commit: str) -> None:
        """Link the very same file if it is on this disk already, of another commit or in huggingface_hub's own cache:
        what is large seldom changes when what is said about it does. Raises as `bring`."""
        if self.missing_bytes(folder):
            with _written(folder):
                self._reuse(folder, repo, commit)

    def _reuse(self, folder: Path, repo: str, commit: str) -> None:
        link, part = folder / self.name, folder / f"{self.name}.part"
        theirs = try_to_load_from_cache(repo, self.name, revision=commit)
        for found in (*folder.parent.glob(f"*/{self.name}"), *([Path(theirs)] if isinstance(theirs, str) else [])):
            if found == link or not found.is_file() or found.stat().st_size != self.size_bytes:
                continue
            with found.open("rb") as content:
                if self._digest_of(content) != self.digest:
                    continue
            link.unlink(missing_ok=True)
            try:
                os.link(found.resolve(), link)
            except OSError:  # on another disk
                link.symlink_to(found.resolve())
            part.unlink(missing_ok=True)
            return

    def _digest_of(self, content: BinaryIO) -> str:
        kind = self.digest.partition(":")[0]
        digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(f"blob {self.size_bytes}\0".encode())
        content.seek(0)
        while chunk := content.read(CHUNK):
            digest.update(chunk)
        return f"{kind}:{digest.hexdigest()}"


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """What hinders writing there, as ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        what = "there is no room left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise DeviceError(f"{folder} cannot be written to ({what}): make room, or set XDG_CACHE_HOME") from None
