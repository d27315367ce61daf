"""`evaluation.retrieval_metrics.evaluate_run` against trec_eval's own code (pytrec_eval): the same values, what time?

A run of 200 queries with 100 documents each, a third of the scores tied; judgements in grades 0 to 3. Both read the
judgements anew each time, as a program that scores one run does.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytrec_eval
from rich.progress import Progress

from evaluation.retrieval_metrics import Evaluation, evaluate_run
from tests.benchmarks.measurement import Figure, over_rounds

ROUNDS = 9
QUERIES, DEPTH, JUDGED = 200, 100, 20
SEED = 20_261_123
EQUAL_TO = 1e-12
ORACLE = {
    "ndcg@10": "ndcg_cut_10",
    "map": "map",
    "mrr": "recip_rank",
    "recall@100": "recall_100",
    "precision@10": "P_10",
    "hit@5": "success_5",
}
"""Our name -> trec_eval's."""

Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Seconds of both, and the largest difference between their values."""
    qrels, run = _judged_run()
    ours: list[float] = []
    theirs: list[float] = []
    worst = 0.0
    for _ in progress.track(range(ROUNDS), description="retrieval_metrics: rounds"):
        start = time.perf_counter()
        expected = _trec_eval(qrels, run)
        middle = time.perf_counter()
        got = evaluate_run(qrels, run, list(ORACLE))
        end = time.perf_counter()
        theirs.append((middle - start) * 1000)
        ours.append((end - middle) * 1000)
        worst = max(worst, _largest_difference(got, expected))
    yield over_rounds("pytrec_eval, 200 queries", theirs, "ms", n=ROUNDS)
    yield over_rounds("evaluate_run, 200 queries", ours, "ms", n=ROUNDS, reference=("pytrec_eval", theirs))
    yield Figure(
        name="largest difference of a value",
        value=worst,
        unit="",
        n=ROUNDS * QUERIES * len(ORACLE),
        promise=f"≤ {EQUAL_TO:g}",
        kept=worst <= EQUAL_TO,
    )


def _judged_run() -> tuple[Qrels, Run]:
    chance = random.Random(SEED)  # noqa: S311 - a reproducible draw, no secret
    documents = [f"doc-{number}" for number in range(5_000)]
    qrels: Qrels = {}
    run: Run = {}
    for number in range(QUERIES):
        found = chance.sample(documents, DEPTH)
        judged = chance.sample(found, JUDGED // 2) + chance.sample(documents, JUDGED // 2)
        qrels[f"q{number}"] = {document: chance.choice((0, 0, 1, 1, 2, 3)) for document in judged}
        run[f"q{number}"] = {document: round(chance.random() * 150) / 150 for document in found}
    return qrels, run


def _trec_eval(qrels: Qrels, run: Run) -> dict[str, dict[str, float]]:
    measures = {"ndcg_cut.10", "map", "recip_rank", "recall.100", "P.10", "success.5"}
    return pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)


def _largest_difference(got: Evaluation, expected: dict[str, dict[str, float]]) -> float:
    return max(
        abs(values[ours] - expected[query][theirs])
        for query, values in got["per_query"].items()
        for ours, theirs in ORACLE.items()
    )
