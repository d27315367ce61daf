"""Retrieval on the sample data: BM25, dense and hybrid, on dev and test, with intervals over clusters.

`python -m tests.benchmarks.sample_retrieval [--misses] [--json FILE]` starts an engine of its own, ingests all three
tenants, and prints the table that the data card shows. `--misses` lists what hybrid finds worst on dev; test is never
listed.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from evaluation.data.make.__main__ import SAMPLE
from evaluation.relevance import Judgements, judge
from evaluation.retrieval_metrics import evaluate_run
from evaluation.statistics import Estimate, mean_with_interval
from registry.corpus.collection import Corpus
from registry.corpus.ingest import ingest
from registry.corpus.search import SearchMode, document_passages, search
from registry.database import Database, migrate, open_database
from registry.datasets import GroundTruthRow, read_rows
from registry.embedding import load_embedder
from registry.insights import Passage
from registry.tenants import Tenants

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' own modules stand there

from fixtures_engine import ENGINE_KEY, EngineProcess  # noqa: E402 - after the line above

TENANTS = ("meridian", "fennick", "osier")
METRICS = ("ndcg@10", "recall@10")
DEPTH = 10
MODES: tuple[SearchMode, ...] = get_args(SearchMode)

Scores = Mapping[str, Mapping[str, float]]
"""Question id -> metric -> value."""


async def fill(corpus: Corpus, database: Database) -> None:
    """Ingest the ordinary documents of all tenants."""
    for tenant in TENANTS:
        Tenants(database).create(tenant, tenant)
        report = await ingest(corpus, database, tenant, [SAMPLE / tenant / "documents"])
        if report.failed:
            raise SystemExit(f"not ingested: {report.failed}")


async def judged(corpus: Corpus, tenant: str, rows: Sequence[GroundTruthRow]) -> Judgements:
    """The rows of one tenant with their passages."""

    async def passages_of(document: str) -> Sequence[Passage]:
        return await document_passages(corpus, tenant, document)

    judgements = await judge(rows, passages_of)
    if judgements.unresolved:
        raise SystemExit(f"quotes that no passage holds: {judgements.unresolved}")
    return judgements


async def scored(corpus: Corpus, rows: Sequence[GroundTruthRow], mode: SearchMode) -> dict[str, dict[str, float]]:
    """Metrics of every question that has evidence among the passages."""
    scores: dict[str, dict[str, float]] = {}
    for tenant in TENANTS:
        own = [row for row in rows if row.tenant == tenant]
        judgements = await judged(corpus, tenant, own)
        run: dict[str, dict[str, float]] = {}
        for row in own:
            found = await search(corpus, tenant, row.question, DEPTH, row.filters, mode)
            run[row.id] = {passage.id: -float(rank) for rank, passage in enumerate(found)}
        scores |= evaluate_run(judgements.qrels, run, METRICS)["per_query"]
    return scores


def estimate(rows: Sequence[GroundTruthRow], scores: Scores, metric: str) -> Estimate:
    """Mean over the questions with evidence, interval over clusters."""
    having = [row for row in rows if row.id in scores]
    return mean_with_interval([scores[row.id][metric] for row in having], [row.cluster or row.id for row in having])


async def measure(corpus: Corpus, *, misses: bool) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Print the table as it grows; return split -> mode -> metric -> estimate."""
    rows = read_rows(SAMPLE / "ground_truth.jsonl")
    print("| split | questions | mode | nDCG@10 | recall@10 |\n|---|---|---|---|---|")
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for split in ("dev", "test"):
        asked = [row for row in rows if row.split == split]
        results[split] = {}
        for mode in reversed(MODES):
            scores = await scored(corpus, asked, mode)
            estimates = {metric: estimate(asked, scores, metric) for metric in METRICS}
            results[split][mode] = {metric: asdict(value) for metric, value in estimates.items()}
            cells = " | ".join(f"{e.value:.3f} ({e.low:.3f}–{e.high:.3f})" for e in estimates.values())
            print(f"| {split} | {len(scores)} | {mode} | {cells} |", flush=True)
            if misses and split == "dev" and mode == "hybrid":
                await list_misses(corpus, asked, scores)
    return results


async def list_misses(corpus: Corpus, rows: Sequence[GroundTruthRow], scores: Scores) -> None:
    """What hybrid finds worst, on standard error."""
    for row in sorted((row for row in rows if row.id in scores), key=lambda row: scores[row.id]["ndcg@10"])[:40]:
        found = await search(corpus, row.tenant or "", row.question, 3, row.filters)
        tops = "; ".join(passage.document for passage in found)
        print(f"{scores[row.id]['ndcg@10']:.2f} {row.id} {row.question!r} -> {tops}", file=sys.stderr)


async def main() -> None:
    """Start an engine, fill it, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--misses", action="store_true", help="list the worst questions of dev")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = EngineProcess(Path(folder) / "engine").start()
        url = f"sqlite:///{folder}/registry.db"
        migrate(url)
        database = open_database(url)
        corpus = Corpus(engine.url, ENGINE_KEY, load_embedder())
        try:
            await fill(corpus, database)
            results = await measure(corpus, misses=arguments.misses)
        finally:
            await corpus.aclose()
            database.close()
            engine.stop()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
