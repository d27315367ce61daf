"""Candidates: the versions under MLflow's alias `candidate`, and which of them their evaluation was asked for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from registry.database import Database, dialect_insert
from registry.schema import candidates as table

CANDIDATE = "candidate"
"""The alias of the version that waits for its evaluation."""
WITHDRAWN = 0
"""Number that stands for no version: the alias was there and is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """The candidate of a prompt that was announced last."""

    version: int
    """WITHDRAWN when the alias went away after it."""
    announced_ms: int


def announced_candidate(database: Database, name: str) -> Announced | None:
    """What was announced last for a prompt; None: nothing ever was.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = select(table.c.prompt_version, table.c.announced_ms).where(table.c.prompt_name == name)
    with database.read() as connection:
        row = connection.execute(chosen).one_or_none()
    return None if row is None else Announced(version=row.prompt_version, announced_ms=row.announced_ms)


def remember_candidate(database: Database, name: str, version: int, clock: Callable[[], float] = time.time) -> None:
    """Remember that a version was announced, or with WITHDRAWN that there is no candidate any more.

    Raises:
        DatabaseUnavailable: the database does not answer; the same version will be announced again.
    """
    row = {"prompt_name": name, "prompt_version": version, "announced_ms": int(clock() * 1000)}
    with database.write() as connection:
        statement = dialect_insert(connection, table).values(**row)
        newest = {field: statement.excluded[field] for field in ("prompt_version", "announced_ms")}
        connection.execute(statement.on_conflict_do_update(index_elements=["prompt_name"], set_=newest))
