"""What the registry remembers of each document: enough to skip it, replace it or remove it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from sqlalchemy import delete, select

from registry.database import Database, upsert
from registry.schema import documents


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRecord:
    """One document of a tenant."""

    document: str
    root: str
    """Directory it was read from."""
    sha256: str
    """Of the file's bytes."""
    splitter: str
    embedding_model: str
    chunks: int
    """Passages it was cut into."""
    complete: bool
    """False while its passages are being written: a record found so is of an ingest that was stopped."""


class DocumentRecords:
    """A tenant's rows of table `documents`. Synchronous; each call is one transaction."""

    def __init__(self, database: Database, tenant: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._tenant = tenant
        self._clock = clock

    def all(self) -> dict[str, DocumentRecord]:
        """Every document of the tenant by name."""
        columns = (documents.c[name] for name in DocumentRecord.__dataclass_fields__)
        with self._database.read() as connection:
            rows = connection.execute(select(*columns).where(documents.c.tenant == self._tenant)).mappings()
            return {row["document"]: DocumentRecord(**row) for row in rows}

    def save(self, record: DocumentRecord) -> None:
        """Insert or replace a document's row."""
        with self._database.write() as connection:
            when = {"tenant": self._tenant, "ingested_ms": int(self._clock() * 1000)}
            upsert(connection, documents, {**asdict(record), **when})

    def remove(self, document: str) -> None:
        """Forget a document."""
        mine = (documents.c.tenant == self._tenant) & (documents.c.document == document)
        with self._database.write() as connection:
            connection.execute(delete(documents).where(mine))
