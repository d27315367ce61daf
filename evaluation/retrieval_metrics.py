"""Retrieval metrics with the conventions of `trec_eval -c`, checked in tests against trec_eval's own code.

* Ranking: scores are compared as float32; equal scores stand in descending order of document id.
* A document without a judgement is not relevant. Gains are the grades themselves; a grade below 1 counts 0.
* `precision@k` divides by k, `recall@k` and `map` by the number of relevant documents.
* Means run over every judged query that has a relevant document; a query missing from the run counts 0.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np

from registry.errors import InvalidInput

CUTOFF_MAX = 1_000_000

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; 1 and above is relevant."""
Run = Mapping[str, Mapping[str, float]]
"""Query id -> document id -> score; higher is better."""

_Measure = Callable[[Sequence[int], Sequence[int], int], float]


class Evaluation(TypedDict):
    """Every metric, averaged and by query."""

    mean: dict[str, float]
    """Metric -> mean over the judged queries that have a relevant document."""
    per_query: dict[str, dict[str, float]]
    """Query id -> metric -> value, 0..1."""


def evaluate_run(qrels: Qrels, run: Run, metrics: Sequence[str]) -> Evaluation:
    """Score a ranking against judgements.

    Args:
        qrels: grades by query and document.
        run: scores by query and document; queries without judgements are left out.
        metrics: names among `ndcg@K`, `map`, `mrr`, `recall@K`, `precision@K`, `hit@K`, with any K from 1.

    Raises:
        InvalidInput: for an unknown metric, a score that is not a number, or when no query has a relevant document.
    """
    measures = {name: _measure(name) for name in metrics}
    per_query: dict[str, dict[str, float]] = {}
    for query, grades in qrels.items():
        ideal = sorted((grade for grade in grades.values() if grade >= 1), reverse=True)
        if not ideal:
            continue
        gains = [max(grades.get(document, 0), 0) for document in _ranked(query, run.get(query, {}))]
        per_query[query] = {name: measure(gains, ideal, cutoff) for name, (measure, cutoff) in measures.items()}
    if not per_query:
        raise InvalidInput("no judged query has a relevant document; grades start at 1")
    mean = {name: math.fsum(values[name] for values in per_query.values()) / len(per_query) for name in measures}
    return {"mean": mean, "per_query": per_query}


def _ranked(query: str, scores: Mapping[str, float]) -> list[str]:
    """Document ids, best first."""
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, as in trec_eval
        narrow = np.fromiter(scores.values(), dtype=np.float64, count=len(scores)).astype(np.float32)
    if np.isnan(narrow).any():
        raise InvalidInput(f"query {query!r} has a score that is not a number; give every document a finite score")
    # Pairs compare by score, then by id, so one descending sort settles ties as trec_eval does.
    return [document for _, document in sorted(zip(narrow.tolist(), scores, strict=True), reverse=True)]


def _ndcg(gains: Sequence[int], ideal: Sequence[int], cutoff: int) -> float:
    """Normalised discounted cumulative gain with linear gains. Järvelin & Kekäläinen 2002, ACM TOIS 20(4)."""
    return _discounted(gains[:cutoff]) / _discounted(ideal[:cutoff])


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1) if gain)


def _average_precision(gains: Sequence[int], ideal: Sequence[int], _cutoff: int) -> float:
    """Mean of the precisions at each relevant document, missed ones counting 0. Buckley & Voorhees 2000, SIGIR."""
    hits, total = 0, 0.0
    for rank, gain in enumerate(gains, start=1):
        if gain:
            hits += 1
            total += hits / rank
    return total / len(ideal)


def _reciprocal_rank(gains: Sequence[int], _ideal: Sequence[int], _cutoff: int) -> float:
    """One over the rank of the first relevant document. Voorhees 1999, TREC-8."""
    return next((1 / rank for rank, gain in enumerate(gains, start=1) if gain), 0.0)


def _recall(gains: Sequence[int], ideal: Sequence[int], cutoff: int) -> float:
    return sum(1 for gain in gains[:cutoff] if gain) / len(ideal)


def _precision(gains: Sequence[int], _ideal: Sequence[int], cutoff: int) -> float:
    return sum(1 for gain in gains[:cutoff] if gain) / cutoff


def _hit(gains: Sequence[int], _ideal: Sequence[int], cutoff: int) -> float:
    return float(any(gains[:cutoff]))


_WHOLE: dict[str, _Measure] = {"map": _average_precision, "mrr": _reciprocal_rank}
_CUT: dict[str, _Measure] = {"ndcg": _ndcg, "recall": _recall, "precision": _precision, "hit": _hit}
METRIC_NAMES = (*(f"{cut}@K" for cut in _CUT), *_WHOLE)
"""Every metric there is; K stands for a cut-off."""


def _measure(name: str) -> tuple[_Measure, int]:
    """The function behind a metric's name, and its cut-off."""
    if name in _WHOLE:
        return _WHOLE[name], CUTOFF_MAX
    match = re.fullmatch(r"(ndcg|recall|precision|hit)@([1-9][0-9]{0,6})", name)
    if match is None or int(match[2]) > CUTOFF_MAX:
        raise InvalidInput(f"unknown metric {name!r}; choose among {', '.join(METRIC_NAMES)}")
    return _CUT[match[1]], int(match[2])
