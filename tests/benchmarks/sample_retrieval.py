"""Retrieval on the sample data: BM25, dense and hybrid, on dev and test; it must be neither hopeless nor solved.

`python -m tests.benchmarks.sample_retrieval` prints the table of the data card, with intervals. With `--misses` it
lists what hybrid finds worst on dev, for whoever works on retrieval or on the data; test is never listed.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import Progress

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))  # the tests' own modules stand there

from evaluation.retrieval_metrics import evaluate_run  # noqa: E402 - after the line above
from registry.corpus.search import SearchMode, search  # noqa: E402 - as above
from registry.datasets import GroundTruthRow, Split  # noqa: E402 - as above
from tests.benchmarks.measurement import Figure  # noqa: E402 - as above
from tests.benchmarks.sample_platform import TENANTS, SamplePlatform, cell, sample_platform  # noqa: E402 - as above

METRICS = ("ndcg@10", "recall@10")
DEPTH = 10
SPLITS: tuple[Split, ...] = ("dev", "test")
MODES: tuple[SearchMode, ...] = get_args(SearchMode)
FLOOR, CEILING = 0.3, 0.97
WORST = 40

Scores = Mapping[str, Mapping[str, float]]
"""Question id -> metric -> value."""


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """nDCG@10 and recall@10 of every mode on both splits."""

    async def run() -> list[Figure]:
        async with sample_platform(folder) as platform:
            task = progress.add_task("retrieval on the sample data", total=len(SPLITS) * len(MODES))
            figures: list[Figure] = []
            for split in SPLITS:
                for mode in MODES:
                    scores = await scored(platform, platform.rows(split), mode)
                    figures += [_figure(split, mode, metric, scores) for metric in METRICS]
                    progress.advance(task)
            return figures

    return asyncio.run(run())


def _figure(split: str, mode: str, metric: str, scores: Scores) -> Figure:
    value = sum(score[metric] for score in scores.values()) / len(scores)
    promised = mode == "hybrid" and metric == "ndcg@10"
    return Figure(
        name=f"{metric}, {mode}, {split}",
        value=value,
        unit="",
        n=len(scores),
        promise=f"{FLOOR} to {CEILING}" if promised else None,
        kept=FLOOR <= value <= CEILING if promised else None,
    )


async def scored(
    platform: SamplePlatform, rows: Sequence[GroundTruthRow], mode: SearchMode
) -> dict[str, dict[str, float]]:
    """Metrics of every question that has evidence among the passages."""
    scores: dict[str, dict[str, float]] = {}
    for tenant in TENANTS:
        own = [row for row in rows if row.tenant == tenant]
        judgements = await platform.judged(tenant, own)
        run: dict[str, dict[str, float]] = {}
        for row in own:
            found = await search(platform.corpus, tenant, row.question, DEPTH, row.filters, mode)
            run[row.id] = {passage.id: -float(rank) for rank, passage in enumerate(found)}
        scores |= evaluate_run(judgements.qrels, run, METRICS)["per_query"]
    return scores


async def main(*, misses: bool) -> None:
    """Print the table of the data card."""
    out = Console(soft_wrap=True, markup=False, highlight=False)
    out.print("| split | questions | mode | nDCG@10 | recall@10 |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        async with sample_platform(Path(folder)) as platform:
            for split in SPLITS:
                rows = platform.rows(split)
                for mode in reversed(MODES):
                    scores = await scored(platform, rows, mode)
                    having = [row for row in rows if row.id in scores]
                    cells = [cell([scores[row.id][metric] for row in having], having) for metric in METRICS]
                    out.print(f"| {split} | {len(having)} | {mode} | {' | '.join(cells)} |")
                if misses and split == "dev":
                    await _list_misses(platform, having, scores, Console(stderr=True, soft_wrap=True, markup=False))


async def _list_misses(platform: SamplePlatform, rows: Sequence[GroundTruthRow], scores: Scores, out: Console) -> None:
    for row in sorted(rows, key=lambda row: scores[row.id]["ndcg@10"])[:WORST]:
        found = await search(platform.corpus, row.tenant or "", row.question, 3, row.filters)
        tops = "; ".join(passage.document for passage in found)
        out.print(f"{scores[row.id]['ndcg@10']:.2f} {row.id} {row.question!r} -> {tops}")


if __name__ == "__main__":
    asyncio.run(main(misses="--misses" in sys.argv[1:]))
