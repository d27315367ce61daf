"""Ingest: the passages follow the files, whatever happens in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from registry.corpus import ingest as ingest_module
from registry.corpus.collection import Corpus, RetrievalUnavailable
from registry.corpus.documents import DocumentRecords
from registry.corpus.ingest import IngestProgress, IngestReport, ingest
from registry.corpus.loaders.records import LoadLimits
from registry.corpus.search import search
from registry.corpus.turn import IngestRunning, turn
from registry.database import Database
from registry.errors import NotFound
from registry.tenants import Tenants


@pytest.fixture
def tenant(database: Database) -> str:
    """A tenant in the registry."""
    return Tenants(database).create("acme", "Acme").id


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Three documents."""
    docs = tmp_path / "docs"
    (docs / "reviews").mkdir(parents=True)
    (docs / "reviews" / "may.md").write_text("---\ndate: 2026-05\n---\n# May\n\nRevenue rose to 4.2 million euros.\n")
    (docs / "sales.csv").write_text("month,boxes\n2026-05,1240\n2026-06,1310\n")
    (docs / "policy.txt").write_text("A late box earns eight pounds of credit.")
    return docs


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    """Added, updated, unchanged, removed, failed."""
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


async def documents_found(corpus: Corpus, question: str, **filters: Any) -> list[str]:
    """Names of the documents that a question finds, best first."""
    return [passage.document for passage in await search(corpus, "acme", question, filters=filters)]


async def test_files_become_searchable(corpus: Corpus, database: Database, tenant: str, docs: Path) -> None:
    """Each file is found by what it says, under its path below the given one, and by its metadata."""
    steps: list[IngestProgress] = []
    report = await ingest(corpus, database, tenant, [docs], steps.append)
    assert report == IngestReport(tenant="acme", added=3, passages=3)
    assert (await documents_found(corpus, "How high was revenue?"))[0] == "reviews/may.md"
    assert (await documents_found(corpus, "boxes in month 2026-06"))[0] == "sales.csv"
    assert await documents_found(corpus, "credit", kind="txt") == ["policy.txt"]
    assert await documents_found(corpus, "revenue", date="2026") == ["reviews/may.md"]
    assert [(step.done, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]


async def test_a_second_ingest_writes_nothing(
    corpus: Corpus, database: Database, tenant: str, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unchanged files are neither read into passages nor written."""
    await ingest(corpus, database, tenant, [docs])
    monkeypatch.setattr(corpus, "upsert", None)
    assert await ingest(corpus, database, tenant, [docs]) == IngestReport(tenant="acme", unchanged=3)


async def test_changes_and_removals_follow(corpus: Corpus, database: Database, tenant: str, docs: Path) -> None:
    """A changed file replaces all its passages, a vanished one loses them."""
    long = "\n\n".join(f"Paragraph {n} tells at length about the harbour of town {n}. " * 4 for n in range(20))
    (docs / "policy.txt").write_text(long)
    first = await ingest(corpus, database, tenant, [docs])
    (docs / "policy.txt").write_text("Nothing is paid back.")
    (docs / "sales.csv").unlink()
    report = await ingest(corpus, database, tenant, [docs])
    assert first.passages > 5
    assert counts(report) == (0, 1, 1, 1, 0)
    assert await corpus.count(tenant) == 2
    assert await corpus.count(tenant, "sales.csv") == 0
    assert set(DocumentRecords(database, tenant).all()) == {"policy.txt", "reviews/may.md"}


async def test_removal_stays_within_the_given_path(
    corpus: Corpus, database: Database, tenant: str, docs: Path, tmp_path: Path
) -> None:
    """Documents from other paths are left alone, and a single file removes nothing."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "minutes.txt").write_text("The board met.")
    await ingest(corpus, database, tenant, [docs])
    assert counts(await ingest(corpus, database, tenant, [other])) == (1, 0, 0, 0, 0)
    (docs / "sales.csv").unlink()
    assert counts(await ingest(corpus, database, tenant, [docs / "policy.txt"])) == (0, 0, 1, 0, 0)
    assert len(DocumentRecords(database, tenant).all()) == 4


async def test_two_paths_may_not_share_a_name(
    corpus: Corpus, database: Database, tenant: str, docs: Path, tmp_path: Path
) -> None:
    """A second file of the same name is refused while the first exists, and takes over once it is gone."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "policy.txt").write_text("Another policy.")
    report = await ingest(corpus, database, tenant, [docs, other])
    assert counts(report) == (3, 0, 0, 0, 1)
    assert "has the name of a document from" in report.failed[0].problem
    (docs / "policy.txt").unlink()
    assert counts(await ingest(corpus, database, tenant, [other])) == (0, 1, 0, 0, 0)


async def test_bad_files_are_lines_and_the_rest_goes_on(
    corpus: Corpus, database: Database, tenant: str, docs: Path
) -> None:
    """Broken, disguised, linked, oversized and foreign files each have a line; good files are searchable."""
    (docs / "broken.csv").write_text("a,b\n1\n")
    (docs / "disguised.pdf").write_text("just text")
    (docs / "huge.txt").write_bytes(b"x" * 10_001)
    (docs / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (docs / "link.md").symlink_to(docs / "policy.txt")
    report = await ingest(corpus, database, tenant, [docs, docs / "nowhere"], limits=LoadLimits(file_bytes_max=10_000))
    assert report.added == 3
    assert [line.path for line in report.skipped] == ["photo.jpg"]
    assert {Path(line.path).name: line.problem.split(";")[0] for line in report.failed} == {
        "nowhere": "does not exist or cannot be reached",
        "link.md": "is a symbolic link",
        "broken.csv": "is a broken CSV: line 2 has 1 fields, the header has 2",
        "disguised.pdf": "is not a PDF, though its name says so",
        "huge.txt": "is larger than 10000 bytes",
    }


async def test_a_file_that_breaks_keeps_its_last_good_passages(
    corpus: Corpus, database: Database, tenant: str, docs: Path
) -> None:
    """A bad save does not take a document out of answers; the report says so."""
    await ingest(corpus, database, tenant, [docs])
    (docs / "sales.csv").write_text("month,boxes\n2026-05\n")
    report = await ingest(corpus, database, tenant, [docs])
    assert report.failed[0].problem.endswith("(its last good version stays searchable)")
    assert await corpus.count(tenant, "sales.csv") == 1


class Stopped(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("stop_at", range(8))
async def test_a_stop_anywhere_is_mended_by_the_next_run(
    corpus: Corpus, database: Database, tenant: str, docs: Path, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any of its writes, an ingest leaves nothing that the next one does not put right."""
    await ingest(corpus, database, tenant, [docs])
    (docs / "policy.txt").write_text("\n\n".join(f"Rule {n}: pay {n} pounds. " * 20 for n in range(3)))
    (docs / "reviews" / "may.md").unlink()
    left = stop_at

    def dying(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Stopped
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as fragile:
        fragile.setattr(ingest_module, "PASSAGES_PER_WRITE", 1)
        for owner, name in ((corpus, "upsert"), (corpus, "delete_from")):
            fragile.setattr(owner, name, dying(getattr(owner, name)))
        for name in ("save", "remove"):
            fragile.setattr(DocumentRecords, name, dying(getattr(DocumentRecords, name)))
        with pytest.raises(Stopped):
            await ingest(corpus, database, tenant, [docs])
    report = await ingest(corpus, database, tenant, [docs])
    records = DocumentRecords(database, tenant).all()
    assert report.failed == ()
    assert set(records) == {"policy.txt", "sales.csv"}
    assert all(record.complete for record in records.values())
    for name, record in records.items():
        assert await corpus.count(tenant, name) == record.chunks
    assert await corpus.count(tenant) == sum(record.chunks for record in records.values())


async def test_lost_passages_are_written_again(corpus: Corpus, database: Database, tenant: str, docs: Path) -> None:
    """When the engine lost its data, the next ingest fills it, though no file has changed."""
    await ingest(corpus, database, tenant, [docs])
    await corpus.delete_from(tenant, "policy.txt", 0)
    assert counts(await ingest(corpus, database, tenant, [docs])) == (0, 1, 2, 0, 0)


async def test_an_engine_that_dies_stops_the_ingest(
    corpus: Corpus, database: Database, tenant: str, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the engine's, the record stays incomplete, and the next ingest finishes the work."""

    async def down(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as broken:
        broken.setattr(corpus.client, "upsert", down)
        with pytest.raises(RetrievalUnavailable):
            await ingest(corpus, database, tenant, [docs])
    assert [record.complete for record in DocumentRecords(database, tenant).all().values()] == [False]
    assert counts(await ingest(corpus, database, tenant, [docs])) == (2, 1, 0, 0, 0)


async def test_an_unknown_tenant_is_refused(corpus: Corpus, database: Database, docs: Path) -> None:
    """Nothing is read for a tenant that is not registered."""
    with pytest.raises(NotFound):
        await ingest(corpus, database, "nobody", [docs])


async def test_one_ingest_at_a_time(database: Database, tenant: str) -> None:
    """A second ingest of the same tenant is refused; afterwards the turn is free at once."""
    async with turn(database, tenant):
        with pytest.raises(IngestRunning, match="another ingest for tenant 'acme' is running"):
            async with turn(database, tenant, wait_s=0):
                pass
        async with turn(database, "other", wait_s=0):
            pass
    async with turn(database, tenant, wait_s=0) as check:
        check()


async def test_a_hostile_front_matter_moves_nothing(
    corpus: Corpus, database: Database, tenant: str, tmp_path: Path
) -> None:
    """A document cannot name its tenant, its id or its position."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "evil.md").write_text(
        "---\ntenant: other\ndocument: x\nid: 1\nposition: -1\n---\nEvil words.\n"
    )
    await ingest(corpus, database, tenant, [tmp_path / "docs"])
    assert await corpus.count("other") == 0
    assert await documents_found(corpus, "evil words") == ["evil.md"]


async def test_cancelling_leaves_no_reader_behind(
    corpus: Corpus, database: Database, tenant: str, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted ingest ends its child process and gives its turn back."""
    reached = asyncio.Event()

    async def stuck(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(corpus, "upsert", stuck)
        task = asyncio.create_task(ingest(corpus, database, tenant, [docs]))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with turn(database, tenant, wait_s=0):
        pass
