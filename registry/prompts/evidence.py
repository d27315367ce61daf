"""What was shown about a prompt version, bound to its content hash and to the model it was shown with."""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, func, select

from registry.database import Database
from registry.errors import JsonValue
from registry.schema import evidence as table

Verdict = Literal["PASS", "FAIL", "UNDERPOWERED"]
"""PASS - shown; FAIL - shown not to hold; UNDERPOWERED - too few cases to tell, which is not a pass."""

ANY_MODEL = "any"
"""Provider and model of evidence that does not depend on one, e.g. lint."""
AGAINST = "against_content"
"""Detail of an evaluation: content hash of the version it was compared with; None: of none."""
EVIDENCE_MAX = 500
"""Newest pieces of evidence that are looked at for one version, of one kind or of every kind."""


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
        # Also within one tick of a clock, or after one that ran ahead.
        newest_ms = connection.scalar(select(func.max(table.c.created_ms)).where(_about(prompt_name, content_hash)))
        row["created_ms"] = max(row["created_ms"], (newest_ms or 0) + 1)
        connection.execute(table.insert().values(**(row | {"details": details_json})))
    return Evidence(**row)


def evidence_for(
    database: Database, prompt_name: str, content_hash: str, kind: str | None = None
) -> tuple[Evidence, ...]:
    """All evidence for one content of a prompt, newest first; also what an equal version gathered.

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
    newest = table.c.created_ms.desc(), table.c.id.desc()
    with database.read() as connection:
        rows = connection.execute(select(table).where(same).order_by(*newest).limit(EVIDENCE_MAX)).mappings().all()
    return tuple(_evidence(dict(row)) for row in rows)


def _about(prompt_name: str, content_hash: str) -> ColumnElement[bool]:
    return (table.c.prompt_name == prompt_name) & (table.c.content_hash == content_hash)


def _evidence(row: dict[str, Any]) -> Evidence:
    row["details"] = json.loads(row["details"])
    return Evidence(**row)
