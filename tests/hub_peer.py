"""`FakeHub`: as much of a model hub as huggingface_hub's client asks of one, on loopback, with its faults on demand.

Large files are redirected to another server, as real hubs do, so that it shows who is sent a token.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """`with FakeHub({"owner/name": {file: content}}) as hub:` then `hub.url`.

    Faults, changed at any time: `cut` (a file's download breaks after so many bytes, once for each number), `spoilt`
    (what is sent of a file is not what was promised), `short` (a file holds less than is said), `ranges` (False: asked
    for a part, it sends all), `status` (what every answer is), `gated`, `token` (who has none is let in nowhere).
    `asked`: method, path, range and token of each request, `sent`: bytes of each file that went out.
    """

    models: Mapping[str, Mapping[str, bytes]]
    licence: str = "apache-2.0"
    commit: str = COMMIT
    token: str = ""
    gated: bool = False
    ranges: bool = True
    status: int = 0
    cut: dict[str, list[int]] = field(default_factory=dict)
    spoilt: set[str] = field(default_factory=set)
    short: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.url, self.elsewhere = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def info(self, repo: str) -> dict[str, Any]:
        """What the hub's API says of a model."""
        siblings = []
        for name, content in self.models[repo].items():
            said: dict[str, Any] = {"rfilename": name, "size": len(content)}
            said["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if name.endswith((".safetensors", ".bin")):
                digest = hashlib.sha256(content).hexdigest()
                said["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 130}
            siblings.append(said)
        gated = "manual" if self.gated else False
        return {"id": repo, "modelId": repo, "sha": self.commit, "private": False, "gated": gated, "tags": [],
                "cardData": {"license": self.licence}, "siblings": siblings}  # fmt: skip

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805 (two selves)
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path, token = self.path.partition("?")[0], self.headers.get("authorization", "")
                hub.asked.append(("GET", path, self.headers.get("range", ""), token))
                here = self.headers["host"] == hub.url.removeprefix("http://")
                parts = path.strip("/").split("/")
                if hub.status:
                    self.refuse(hub.status)
                elif not here:
                    self.file("/".join(parts[:2]), parts[-1])
                elif hub.token and token != f"Bearer {hub.token}":
                    self.refuse(401, *(() if token else ("RepoNotFound",)))
                elif parts[:2] == ["api", "models"]:
                    self.model("/".join(parts[2:4]), parts[-1])
                elif hub.gated and not token:
                    self.refuse(401, "GatedRepo")
                elif hub.gated and token.endswith("stranger"):
                    self.refuse(403, "GatedRepo")
                elif path.endswith(".safetensors"):
                    self.answer(302, b"", location=f"{hub.elsewhere}{path}")
                else:
                    self.file("/".join(parts[:2]), parts[-1])

            def model(self, repo: str, revision: str) -> None:
                if repo not in hub.models:
                    self.refuse(404, "RepoNotFound")
                elif revision not in ("main", hub.commit):
                    self.refuse(404, "RevisionNotFound")
                else:
                    self.answer(200, json.dumps(hub.info(repo)).encode())

            def file(self, repo: str, name: str) -> None:
                content = hub.models[repo][name]
                if name in hub.spoilt:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                content = content[: hub.short.get(name, len(content))]
                span = self.headers.get("range", "") if hub.ranges else ""
                first, _, last = span.removeprefix("bytes=").partition("-")
                start, end = int(first or 0), min(int(last or len(content)), len(content) - 1) + 1
                if span and start >= len(content):
                    self.refuse(416)
                    return
                looks = not self.headers.get("range", "-").endswith("-")
                left = [] if looks else hub.cut.get(name, [])
                stop = start + left.pop(0) if left else end
                hub.sent[name] = hub.sent.get(name, 0) + min(stop, end) - start
                self.answer(206 if span else 200, content[start:stop], length=end - start)
                if stop < end:
                    self.close_connection = True

            def refuse(self, status: int, code: str = "") -> None:
                self.answer(status, b"{}", code=code)

            def answer(self, status: int, body: bytes, *, length: int = -1, location: str = "", code: str = "") -> None:
                self.send_response(status)
                for name, value in (("location", location), ("x-error-code", code)):
                    if value:
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body) if length < 0 else length))
                self.end_headers()
                self.wfile.write(body)

        return Handler
