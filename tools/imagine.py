"""Has a picture made by an image service that the user runs or has a key for.

    LIVEAGENT_IMAGINE_URL=http://localhost:8081/v1 LIVEAGENT_IMAGINE_MODEL=sd liveagent serve
    tools=[imagine]                                 as the environment says
    tools=[imagining("http://localhost:8081/v1", "sd")]

The picture is put into the user's data folder; where it lies, or its address, is told to whoever looks at the
conversation, and its name is said.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from liveagent import tool
from liveagent.call import Call
from liveagent.errors import ToolError
from liveagent.spoken import spoken
from liveagent.tool import Tool
from liveagent.tools.datafile import data_folder
from liveagent.tools.webcall import check_url, post_json

TIMEOUT_S = 180.0
MOST_BYTES = 24 << 20
ENDINGS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}


PHRASES = ("(draw|paint|imagine) {scene}", "make a picture of {scene}")


@tool(phrases=PHRASES, timeout_s=TIMEOUT_S)
async def imagine(scene: str, call: Call) -> str:
    """Make a picture of what is described."""
    where = os.environ.get("LIVEAGENT_IMAGINE_URL")
    if not where:
        raise ToolError("there is nobody to draw it: set LIVEAGENT_IMAGINE_URL")
    model, key = os.environ.get("LIVEAGENT_IMAGINE_MODEL", ""), os.environ.get("LIVEAGENT_IMAGINE_KEY", "")
    return await imagined(scene, call, where, model, key, data_folder() / "pictures")


def imagining(
    url: str, model: str = "", key: str = "", *, folder: Path | None = None, name: str = "imagine",
    phrases: Sequence[str] = PHRASES,
) -> Tool:  # fmt: skip
    """The tool for one service. ConfigError for what is no address."""
    check_url(url, "url")

    @tool(name=name, phrases=phrases, timeout_s=TIMEOUT_S)
    async def imagine_it(scene: str, call: Call) -> str:
        """Make a picture of what is described."""
        return await imagined(scene, call, url, model, key, folder or data_folder() / "pictures")

    return imagine_it


async def imagined(scene: str, call: Call, url: str, model: str, key: str, folder: Path) -> str:
    """Have it made, keep it, and say so. ToolError."""
    body: dict[str, Any] = {"prompt": scene[:1000], "n": 1, "response_format": "b64_json"}
    if model:
        body["model"] = model
    address = f"{check_url(url, 'LIVEAGENT_IMAGINE_URL')}/images/generations"
    await call.progress(None, "drawing")
    answer = await asyncio.to_thread(
        post_json, address, body, key=key, timeout_s=TIMEOUT_S - 10, most_bytes=MOST_BYTES
    )
    title = "-".join(spoken(scene).split()[:6]) or "picture"
    place = await asyncio.to_thread(kept, answer, title, folder)
    await call.progress(1.0, f"picture: {place}")
    return f"the picture of {spoken(scene)} is ready"


def kept(answer: Any, title: str, folder: Path) -> str:
    """Where the picture is: in a file of ours, or where the service says. ToolError where there is none."""
    try:
        first = answer["data"][0]
        data, address = first.get("b64_json"), first.get("url")
    except (KeyError, IndexError, TypeError, AttributeError):
        data, address = None, None
    if isinstance(data, str):
        try:
            picture = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise ToolError("it sent a picture that cannot be read") from None
        ending = next((ending for start, ending in ENDINGS.items() if picture.startswith(start)), None)
        if ending is None:
            raise ToolError("it sent something else than a picture")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = next(each for number in range(1, 10_000)
                        if not (each := folder / f"{title}{f'-{number}' if number > 1 else ''}.{ending}").exists())
            file.write_bytes(picture)
        except (OSError, StopIteration) as error:
            raise ToolError(f"the picture cannot be kept ({type(error).__name__})") from None
        return str(file)
    if isinstance(address, str) and urlsplit(address).scheme in ("http", "https") and len(address) < 2000:
        return address
    raise ToolError("it made no picture")
