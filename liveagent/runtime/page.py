"""`Page`: the files of the web page, as they lie in the package. A name that is not in the list is not there."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
    ".wav": "audio/wav",
}
MOST_BYTES = 8 << 20
_HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")


class Page:
    """All files at once, in memory: a request opens nothing, so no path leads anywhere else."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        folder = resources.files("liveagent.clients").joinpath("web")
        if folder.is_dir():
            self._read(folder, "")
        if "index.html" in self._files:
            self._files[""] = self._files["index.html"]

    def _read(self, folder: Traversable, above: str) -> None:
        for each in folder.iterdir():
            if each.is_dir():
                if each.name != "__pycache__":
                    self._read(each, f"{above}{each.name}/")
                continue
            kind = TYPES.get("." + each.name.rpartition(".")[2])
            if kind is not None and len(data := each.read_bytes()) <= MOST_BYTES:
                self._files[above + each.name] = (data, kind)

    def get(self, name: str) -> tuple[bytes, str] | None:
        """A file's bytes and type by its path below the page, "" for the page itself."""
        return self._files.get(name)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._files)


def page_headers(host: str) -> list[tuple[bytes, bytes]]:
    """What a browser is told beside a file: nothing of anybody else's may run or be reached, nothing is kept."""
    own = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""  # some browsers' 'self' is http alone
    policy = (
        f"default-src 'self'; connect-src 'self'{own}; img-src 'self' data: blob:; media-src 'self' blob:; "
        "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return [
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(self), microphone=(self), display-capture=(self)"),
    ]
