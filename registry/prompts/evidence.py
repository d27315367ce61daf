"""What was shown about a prompt version, bound to its content hash and to the model it was shown with.

A row that somebody edited so that it cannot be read shows nothing, and is told once; a FAIL stays one.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, NoReturn

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, func, select

from registry.database import Database, take_turns
from registry.errors import JsonValue
from registry.schema import evidence as table

logger = logging.getLogger(__name__)

Verdict = Literal["PASS", "FAIL", "UNDERPOWERED"]
"""PASS - shown; FAIL - shown not to hold; UNDERPOWERED - too few cases to tell, which is not a pass."""

ANY_MODEL = "any"
"""Provider and model of evidence that does not depend on one, e.g. lint."""
AGAINST = "against_content"
"""Detail of an evaluation: content hash of the version it was compared with; None: of none."""
EVIDENCE_MAX = 500
"""Newest pieces of evidence that are looked at for one version, of one kind or of every kind; and newest FAILs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One verdict about one content."""

    id: str
    kind: str
    """`lint`, `evaluation`, ... as policies name it."""
    prompt_name: str
    prompt_version: int
    content_hash: str
    provider: str
    model: str
    verdict: Verdict
    details: Mapping[str, JsonValue]
    """`metrics` maps metric names to numbers; more as the kind likes."""
    run_id: str | None
    """MLflow run with the whole story."""
    dataset: str | None
    created_ms: int


_DETAILS = TypeAdapter(dict[str, Any])


def record_evidence(
    database: Database,
    *,
    kind: str,
    prompt_name: str,
    prompt_version: int,
    content_hash: str,
    provider: str,
    model: str,
    verdict: Verdict,
    details: Mapping[str, JsonValue],
    run_id: str | None = None,
    dataset: str | None = None,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Evidence:
    """Store a verdict. Nothing is ever overwritten; the newest of a kind counts, and this one is the newest.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    row: dict[str, Any] = {
        "id": new_id(),
        "kind": kind,
        "prompt_name": prompt_name,
        "prompt_version": prompt_version,
        "content_hash": content_hash,
        "provider": provider,
        "model": model,
        "verdict": verdict,
        "details": dict(details),
        "run_id": run_id,
        "dataset": dataset,
        "created_ms": int(clock() * 1000),
    }
    details_json = json.dumps(row["details"], sort_keys=True, ensure_ascii=False, allow_nan=False)
    with database.write() as connection:
        # Also within one tick of a clock, after one that ran ahead, or while another machine stores some.
        take_turns(connection, "evidence", prompt_name, content_hash)
        newest_ms = connection.scalar(select(func.max(table.c.created_ms)).where(_about(prompt_name, content_hash)))
        row["created_ms"] = max(row["created_ms"], (newest_ms or 0) + 1)
        connection.execute(table.insert().values(**(row | {"details": details_json})))
    return Evidence(**row)


def evidence_for(
    database: Database, prompt_name: str, content_hash: str, kind: str | None = None
) -> tuple[Evidence, ...]:
    """Evidence for one content of a prompt, newest first; also what an equal version gathered.

    At most the newest EVIDENCE_MAX, and the newest EVIDENCE_MAX that say FAIL: nothing pushes a FAIL out of sight.

    Args:
        database: Where it is kept.
        prompt_name: The prompt.
        content_hash: The content.
        kind: Only of this kind; None: of every kind.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    same = _about(prompt_name, content_hash)
    if kind is not None:
        same &= table.c.kind == kind
    newest = select(table).order_by(table.c.created_ms.desc(), table.c.id.desc()).limit(EVIDENCE_MAX)
    with database.read() as connection:
        rows = connection.execute(newest.where(same)).mappings().all()
        if len(rows) == EVIDENCE_MAX:
            failed = connection.execute(newest.where(same, table.c.verdict == "FAIL")).mappings().all()
            every = {row["id"]: row for row in (*rows, *failed)}
            rows = sorted(every.values(), key=lambda row: (row["created_ms"], row["id"]), reverse=True)
    return tuple(found for row in rows if (found := _evidence(dict(row))) is not None)


def _about(prompt_name: str, content_hash: str) -> ColumnElement[bool]:
    return (table.c.prompt_name == prompt_name) & (table.c.content_hash == content_hash)


def _evidence(row: dict[str, Any]) -> Evidence | None:
    """The evidence of a row; None when it cannot be read and says anything but FAIL."""
    stored = row["details"]
    row["details"] = {}
    try:
        row["details"] = dict(_DETAILS.validate_python(_read(stored)))
    except (ValueError, TypeError, OverflowError, RecursionError):
        _tell_unreadable(str(row["id"]))
        if row["verdict"] != "FAIL":
            return None
    return Evidence(**row)


def _read(stored: str) -> Any:
    """What the JSON says; every number in it is finite as a float, too."""
    return json.loads(stored, parse_constant=_no_number, parse_int=_whole, parse_float=_decimal)


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _whole(digits: str) -> int:
    number = int(digits)
    float(number)  # raises OverflowError where it is too large for one
    return number


def _decimal(digits: str) -> float:
    number = float(digits)
    return number if isfinite(number) else _no_number(digits)


@lru_cache(maxsize=EVIDENCE_MAX)  # told once by each process, not at each of its looks
def _tell_unreadable(evidence_id: str) -> None:
    logger.error("evidence cannot be read and shows nothing", extra={"fields": {"evidence": evidence_id}})
