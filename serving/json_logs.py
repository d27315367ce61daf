"""Logs as JSON Lines: who, when, which request; never content, never a secret.

An exception is logged as its type and the places it passed, without its message and without the source lines: messages
quote what they choke on, and that may be a customer's text.
"""

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any, cast

from serving.request_context import current

FRAMES_MAX = 30

QUIET = ("httpx", "httpcore", "httpx2", "httpcore2", "openai", "qdrant_client", "asyncio")
"""Libraries whose informative lines name addresses and payloads."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        ids = current.get()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if ids.request_id:
            line |= {"request_id": ids.request_id, "trace_id": ids.trace_id}
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= cast("dict[str, Any]", fields)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _without_messages(record.exc_info[1])
        return json.dumps(line, default=str)


def log_config(level: str = "INFO") -> dict[str, Any]:
    """Configuration for `logging.config.dictConfig`, handed to uvicorn so that each worker has it."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "serving.json_logs.JsonFormatter"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "json"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {name: {"level": "WARNING"} for name in QUIET},
    }


def _without_messages(error: BaseException) -> list[dict[str, Any]]:
    chain: list[dict[str, Any]] = []
    seen: BaseException | None = error
    while seen is not None and len(chain) < 5:  # noqa: PLR2004 - deeper causes add nothing
        frames = traceback.extract_tb(seen.__traceback__)[-FRAMES_MAX:]
        chain.append(
            {
                "type": f"{type(seen).__module__}.{type(seen).__qualname__}",
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        seen = seen.__cause__ or seen.__context__
    return chain
