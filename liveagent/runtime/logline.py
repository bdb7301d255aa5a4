"""What a server writes into its log: codes, counts and ids. Nobody's words, no keys, no query of any URL."""

from __future__ import annotations

import datetime
import json
import logging
import re

_QUERY = re.compile(r"\?[^\s\"']*")
_KEY = re.compile(r"\b(?:ek_|sk-|Bearer |Token |auth_tokens/)[^\s\"']+")
_OWN = frozenset((
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno funcName created "
    "msecs relativeCreated thread threadName processName process taskName message asctime color_message"
).split())  # fmt: skip
"""What every record has; the rest was given as `extra`."""
SCRUBBED = ("uvicorn.error", "uvicorn.access", "websockets.server")
"""Loggers of web servers, which write down whole addresses."""


class Scrub(logging.Filter):
    """Takes queries and keys out of a line before it is written."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # whoever logs wrongly is told so by logging itself
            return True
        record.msg, record.args = _KEY.sub("(key)", _QUERY.sub("?(query)", said)), ()
        return True


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, text, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name, "text": record.getMessage()}
        line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class PlainLines(logging.Formatter):
    """The same for people: `extra` behind the text, as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        more = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _OWN)
        return f"{super().formatMessage(record)}  {more}".rstrip()
