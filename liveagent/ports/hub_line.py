"""`HubLine`: the way to a hub, as huggingface_hub goes it, and its errors as ours, by who can mend them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_session, get_token, hf_hub_url, hf_raise_for_status
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from liveagent.errors import ConfigError, LinkError, ProtocolError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

TIMEOUT_S = 20.0
HTTP_ERROR: Any = HfHubHTTPError.__bases__[0]
"""The client library's own error, of which those about status codes are a kind: the rest is about the way there."""


class HubLine:
    """`endpoint`, `token`: else as huggingface_hub has them (HF_ENDPOINT, HF_TOKEN or `hf auth login`)."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        self.endpoint = endpoint or os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT
        self.token = token or get_token()

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc

    def info(self, repo: str, revision: str) -> ModelInfo:
        """What the hub says of a model, with sizes and checksums of its files. Raises as `told`."""
        with self.told(repo, revision):
            try:
                return HfApi(self.endpoint, token=self.token or False).model_info(
                    repo, revision=revision, files_metadata=True, timeout=TIMEOUT_S
                )
            except HFValidationError:
                raise
            except (ValueError, TypeError, KeyError, AttributeError):
                raise ProtocolError(f"{self.host} does not answer as a hub: look at HF_ENDPOINT") from None

    def head(self, repo: str, commit: str, name: str, count: int) -> bytes:
        """The first `count` bytes of a file, or all where it has fewer. Raises as `told`."""
        got = b""
        with self.told(repo, commit), self.get(repo, commit, name, f"bytes=0-{count - 1}") as response:
            for chunk in response.iter_bytes():
                got += chunk
                if len(got) >= count:  # whoever ignores ranges would send it all
                    break
        return got[:count]

    @contextmanager
    def get(self, repo: str, commit: str, name: str, span: str | None) -> Iterator[Any]:
        """A file's bytes as they come, from wherever the hub sends us: another host sees no token."""
        headers = {"user-agent": "liveagent", "accept-encoding": "identity"}
        headers |= ({"range": span} if span else {}) | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        url = hf_hub_url(repo, name, revision=commit, endpoint=self.endpoint)
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
            if response.status_code >= 400:
                response.read()
            hf_raise_for_status(response)
            yield response

    @contextmanager
    def told(self, repo: str, revision: str) -> Iterator[None]:
        """The library's errors as ours, by who can mend them."""
        host = self.host
        try:
            yield
        except GatedRepoError:
            raise self.gated(repo) from None
        except RevisionNotFoundError:
            raise ConfigError(
                f"{repo} has no revision {revision!r}: leave @{revision} away, or look at its page"
            ) from None
        except DisabledRepoError:
            raise ConfigError(f"{host} no longer gives {repo} to anybody: choose another model") from None
        except RepositoryNotFoundError:
            raise self._unknown(repo) from None
        except HFValidationError:
            raise ConfigError(f"{repo!r} is no hub's name: give one like google/gemma-4-e2b-it, or a folder") from None
        except OfflineModeIsEnabled:
            raise LinkError(
                f"{repo} has not been fetched yet, and HF_HUB_OFFLINE is set: unset it, or give a folder"
            ) from None
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status == 401 and self.token:
                raise ConfigError(f"{host} does not know your token: `hf auth login` anew, or mend HF_TOKEN") from None
            if status in (401, 404):
                raise self._unknown(repo) from None
            if status == 403:
                raise ConfigError(f"{host} does not let your token read {repo}: give one that may (HF_TOKEN)") from None
            if status == 416:
                raise ProtocolError(
                    f"{host} has less of a file of {repo} than it says: choose another revision"
                ) from None
            raise LinkError(f"{host} answers {status} for {repo}: try again later") from None
        except HTTP_ERROR as error:
            why = type(error).__name__
            raise LinkError(
                f"{host} cannot be reached for {repo} ({why}): look at the network, or give a folder"
            ) from None

    def gated(self, repo: str) -> ConfigError:
        """What is said of a model whose terms must be accepted first."""
        what = "your token has no access to it yet" if self.token else "and there is no token"
        where = f"{self.endpoint}/{repo}"
        return ConfigError(
            f"{repo} is gated, {what}: accept its terms at {where}, then `hf auth login` or set HF_TOKEN"
        )

    def _unknown(self, repo: str) -> ConfigError:
        who = "open to your token" if self.token else "open without a token"
        return ConfigError(f"{self.host} has no model {repo} that is {who}: look at the spelling, or `hf auth login`")
