"""The sample data in an engine and a registry of its own: what the two benchmarks on it stand on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures_engine import ENGINE_KEY, EngineProcess

from evaluation.data.make.__main__ import SAMPLE
from evaluation.relevance import Judgements, judge
from evaluation.statistics import mean_with_interval
from registry.corpus.collection import Corpus
from registry.corpus.ingest import ingest
from registry.corpus.search import document_passages
from registry.database import migrate, open_database
from registry.datasets import GroundTruthRow, Split, read_rows
from registry.embedding import load_embedder
from registry.insights import Passage
from registry.tenants import Tenants

TENANTS = ("meridian", "fennick", "osier")


@dataclass(frozen=True)
class SamplePlatform:
    """All ordinary documents of the three tenants, ingested."""

    corpus: Corpus
    database_url: str
    home: Path
    questions: tuple[GroundTruthRow, ...]

    def rows(self, split: Split) -> list[GroundTruthRow]:
        """The questions of one split."""
        return [row for row in self.questions if row.split == split]

    async def judged(self, tenant: str, rows: Sequence[GroundTruthRow]) -> Judgements:
        """The rows of one tenant with the passages that answer them."""

        async def passages_of(document: str) -> Sequence[Passage]:
            return await document_passages(self.corpus, tenant, document)

        judgements = await judge(rows, passages_of)
        if judgements.unresolved:
            raise ValueError(f"quotes that no passage holds: {dict(judgements.unresolved)}")
        return judgements


@asynccontextmanager
async def sample_platform(folder: Path) -> AsyncGenerator[SamplePlatform]:
    """Start an engine in the folder, ingest everything, stop it at the end."""
    engine = EngineProcess(folder / "engine").start()
    url = f"sqlite:///{folder}/registry.db"
    migrate(url)
    database = open_database(url)
    corpus = Corpus(engine.url, ENGINE_KEY, load_embedder())
    try:
        for tenant in TENANTS:
            Tenants(database).create(tenant, tenant)
            report = await ingest(corpus, database, tenant, [SAMPLE / tenant / "documents"])
            if report.failed:
                raise ValueError(f"not ingested: {report.failed}")
        yield SamplePlatform(corpus, url, folder, read_rows(SAMPLE / "ground_truth.jsonl"))
    finally:
        await corpus.aclose()
        database.close()
        engine.stop()


def cell(values: Sequence[float], rows: Sequence[GroundTruthRow]) -> str:
    """`mean (low to high)`, the interval over clusters at 95 %."""
    found = mean_with_interval(values, [row.cluster or row.id for row in rows])
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
