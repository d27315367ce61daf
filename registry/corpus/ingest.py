"""Files to passages, safe to stop at any moment.

For each document: mark its record incomplete, write its passages, delete the passages it no longer has, mark it
complete. A killed ingest leaves an incomplete record at most, and the next one does that document again; since ids
follow from tenant, document and position, doing it twice changes nothing.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from qdrant_client import models

from registry.corpus.bm25 import TERMS, passage_weights
from registry.corpus.collection import DENSE, SPARSE, Corpus, point_id
from registry.corpus.documents import DocumentRecord, DocumentRecords
from registry.corpus.files import Listing, SourceFile, list_files, read_file
from registry.corpus.filters import date_number
from registry.corpus.loaders.process import LoaderProcess
from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, LoadLimits
from registry.corpus.splitting import PASSAGES_MAX, SPLITTER, Splitter
from registry.corpus.turn import turn
from registry.database import Database
from registry.insights import Record
from registry.tenants import Tenants

PASSAGES_PER_WRITE: Final = 32

Outcome = Literal["added", "updated", "unchanged", "removed", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """One step of an ingest."""

    document: str
    outcome: Outcome
    done: int
    """Files dealt with so far, this one included."""
    total: int
    """Files to deal with."""


class FileProblem(Record):
    """A file that is not searchable now, or not in its present state."""

    path: str
    problem: str
    """Reads on from the path: `is empty`."""


class IngestReport(Record):
    """What an ingest did; counts are documents unless they say otherwise."""

    tenant: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    """Passages written."""
    skipped: tuple[FileProblem, ...] = ()
    """Files of types that are not read."""
    failed: tuple[FileProblem, ...] = ()
    """Files that should have been read and could not be; an earlier good version stays searchable."""


async def ingest(
    corpus: Corpus,
    database: Database,
    tenant: str,
    paths: Sequence[Path],
    on_progress: Callable[[IngestProgress], None] = lambda _: None,
    *,
    limits: LoadLimits | None = None,
) -> IngestReport:
    """Bring a tenant's passages in line with the files beneath the paths.

    A document is named by its path below the given directory. What vanished from a given directory is removed; other
    documents are left alone. A bad file becomes a line of the report and the rest goes on.

    Raises:
        NotFound: there is no such tenant.
        InvalidInput: a path holds too many files.
        IngestRunning: another ingest of this tenant is at work.
        RetrievalUnavailable, DatabaseUnavailable: run it again once the engine or the database is back.
        EmbeddingMismatch: the collection holds another model's vectors.
    """
    await asyncio.to_thread(Tenants(database).get, tenant)
    await corpus.ensure()
    async with turn(database, tenant) as check, LoaderProcess(limits or LoadLimits()) as loader:
        run = _Run(corpus, DocumentRecords(database, tenant), tenant, loader, check, limits or LoadLimits())
        run.on_progress = on_progress
        return await run.all(paths)


class _Run:
    """One ingest of one tenant."""

    on_progress: Callable[[IngestProgress], None]

    def __init__(
        self,
        corpus: Corpus,
        records: DocumentRecords,
        tenant: str,
        loader: LoaderProcess,
        check_turn: Callable[[], None],
        limits: LoadLimits,
    ) -> None:
        self._corpus = corpus
        self._records = records
        self._tenant = tenant
        self._loader = loader
        self._check_turn = check_turn
        self._limits = limits
        self._splitter = Splitter(corpus.embedder)
        self._known: dict[str, DocumentRecord] = {}
        self._engine_is_whole = True
        self._report = IngestReport(tenant=tenant)
        self._done = 0
        self._total = 0

    async def all(self, paths: Sequence[Path]) -> IngestReport:
        """Every path, one document after the other."""
        self._known = await asyncio.to_thread(self._records.all)
        expected = sum(record.chunks for record in self._known.values())
        self._engine_is_whole = await self._corpus.count(self._tenant) == expected
        listings: list[Listing] = []
        for given in paths:
            try:
                listings.append(await asyncio.to_thread(list_files, given))
            except DocumentProblem as problem:
                self._note(str(given), "failed", problem.message)
        gone = [(name, record) for name, record in self._known.items() if _vanished(record, name, listings)]
        self._total = sum(len(one.files) + len(one.skipped) + len(one.refused) for one in listings) + len(gone)
        for listing in listings:
            await self._listing(listing)
        for name, _ in gone:
            await self._remove(name)
        return self._report

    async def _listing(self, listing: Listing) -> None:
        for path, problem in listing.skipped.items():
            self._note(path, "skipped", problem)
        for path, problem in listing.refused.items():
            self._note(path, "failed", problem)
        for file in listing.files.values():
            try:
                self._note(file.name, await self._document(file))
            except DocumentProblem as problem:
                kept = " (its last good version stays searchable)" if self._has_good(file.name) else ""
                self._note(file.name, "failed", problem.message + kept)

    async def _document(self, file: SourceFile) -> Outcome:
        """Bring one document in line with its file."""
        known = self._known.get(file.name)
        content = await asyncio.to_thread(read_file, file, self._limits.file_bytes_max)
        wanted = DocumentRecord(
            document=file.name,
            root=str(file.root),
            sha256=hashlib.sha256(content).hexdigest(),
            splitter=f"{SPLITTER} {TERMS}",
            embedding_model=self._corpus.embedder.model_id,
            chunks=known.chunks if known else 0,
            complete=True,
        )
        if known is not None and known.root != wanted.root and (Path(known.root) / file.name).is_file():
            raise DocumentProblem(f"has the name of a document from {known.root!r}; rename one, or ingest their parent")
        if known is not None and replace(known, root=wanted.root) == wanted and await self._is_stored(known):
            if known != wanted:
                await asyncio.to_thread(self._records.save, wanted)
            return "unchanged"
        loaded = await self._loader.load(file.name, content)
        texts = await asyncio.to_thread(self._splitter.split, loaded)
        if not 1 <= len(texts) <= PASSAGES_MAX:
            raise DocumentProblem(f"makes {len(texts)} passages; 1 to {PASSAGES_MAX} are taken, split the file")
        await self._write(replace(wanted, chunks=len(texts)), loaded, texts)
        return "added" if known is None else "updated"

    async def _write(self, record: DocumentRecord, loaded: LoadedDocument, texts: Sequence[str]) -> None:
        """The safe order: incomplete, passages, stale passages away, complete."""
        self._check_turn()
        await self._save(replace(record, complete=False))
        for start in range(0, len(texts), PASSAGES_PER_WRITE):
            part = texts[start : start + PASSAGES_PER_WRITE]
            points = await asyncio.to_thread(self._points, record, loaded, part, start)
            self._check_turn()
            await self._corpus.upsert(points)
        await self._corpus.delete_from(self._tenant, record.document, len(texts))
        self._check_turn()
        await self._save(record)
        self._report = self._report.model_copy(update={"passages": self._report.passages + len(texts)})

    async def _remove(self, name: str) -> None:
        """Passages first: a record without passages is found again, passages without a record are not."""
        self._check_turn()
        await self._corpus.delete_from(self._tenant, name, 0)
        await asyncio.to_thread(self._records.remove, name)
        self._note(name, "removed")

    async def _save(self, record: DocumentRecord) -> None:
        await asyncio.to_thread(self._records.save, record)
        self._known[record.document] = record

    async def _is_stored(self, known: DocumentRecord) -> bool:
        """Whether the engine still has the passages; asked one by one only when the totals differ."""
        return self._engine_is_whole or await self._corpus.count(self._tenant, known.document) == known.chunks

    def _has_good(self, name: str) -> bool:
        known = self._known.get(name)
        return known is not None and known.complete

    def _points(
        self, record: DocumentRecord, loaded: LoadedDocument, texts: Sequence[str], start: int
    ) -> list[models.PointStruct]:
        vectors = self._corpus.embedder.embed(texts)
        payload: dict[str, str | int] = {
            "tenant": self._tenant,
            "document": record.document,
            "sha256": record.sha256,
            "title": loaded.title,
            **{field: loaded.fields[field] for field in ("kind", "language") if field in loaded.fields},
        }
        date = date_number(loaded.fields.get("date", ""))
        if date is not None:
            payload["date"] = date
        return [
            models.PointStruct(
                id=point_id(self._tenant, record.document, position),
                vector={DENSE: vector.tolist(), SPARSE: _sparse(text)},
                payload={**payload, "position": position, "text": text},
            )
            for position, (text, vector) in enumerate(zip(texts, vectors, strict=True), start)
        ]

    def _note(self, document: str, outcome: Outcome, problem: str = "") -> None:
        if outcome in {"skipped", "failed"}:
            line = FileProblem(path=document, problem=problem)
            changed: dict[str, object] = {outcome: (*getattr(self._report, outcome), line)}
        else:
            changed = {outcome: getattr(self._report, outcome) + 1}
        self._report = self._report.model_copy(update=changed)
        self._done += 1
        self.on_progress(
            IngestProgress(document=document, outcome=outcome, done=self._done, total=max(self._total, self._done))
        )


def _vanished(record: DocumentRecord, name: str, listings: Sequence[Listing]) -> bool:
    return any(record.root == str(listing.root) and listing.vanished(name) for listing in listings)


def _sparse(text: str) -> models.SparseVector:
    weights = passage_weights(text)
    return models.SparseVector(indices=weights.indices, values=weights.values)
