"""Changes that the command line makes to the registry itself, each with its intent and outcome in the audit log."""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from registry.audit.log import AuditLog
from registry.database import Database, open_database
from registry.errors import AssayError, JsonValue
from registry.settings import RegistrySettings

T = TypeVar("T")


@contextmanager
def open_registry() -> Generator[Database]:
    """The database that the environment names.

    Raises:
        DatabaseUnavailable: it is not there, not migrated, or does not answer.
    """
    database = open_database(RegistrySettings().database_url)
    try:
        yield database
    finally:
        database.close()


def recorded(kind: str, body: Mapping[str, JsonValue], change: Callable[[], T]) -> T:
    """Make a change between its intent and its outcome.

    Args:
        kind: of the entries, e.g. `key-create`.
        body: ids only.
        change: what to do.

    Raises:
        LogUnavailable: the log cannot be written; then nothing is changed.
    """

    async def run(log: AuditLog) -> T:
        intent = await log.intent(kind, body)
        try:
            made = change()
        except AssayError as error:
            await log.outcome(intent, "failed", {"code": error.code})
            raise
        await log.outcome(intent, "done", {"id": getattr(made, "id", None)})
        return made

    with AuditLog.open(RegistrySettings().home / "audit", "cli") as log:
        return asyncio.run(run(log))
