"""From the records of single questions to what a person, a gate and a policy look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.gates import GateResult, decide
from evaluation.journal import QuestionRecord
from evaluation.relevance import Judgements
from evaluation.retrieval_metrics import evaluate_run
from evaluation.statistics import Estimate, mean_with_interval
from registry.datasets import GroundTruthRow
from registry.errors import InvalidInput, JsonValue

RETRIEVAL_METRICS = ("ndcg@10", "recall@10", "mrr")
ANSWER_CHECKS = (
    "answer_right",
    "citation_supports",
    "figure_right",
    "abstention_right",
    "instructions_kept",
    "claims_grounded",
)
DECIDING = "answer_right"
"""The score that a gate compares: right in everything that can be checked."""
UNSCORED_SHARE_MAX = 0.05
"""With more questions unanswered than this, what is left no longer speaks for the dataset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All scores of one version on one dataset."""

    scores: Mapping[str, Mapping[str, float]]
    """Question id -> metric -> value; a metric that does not apply is absent. Unscored questions have no entry."""
    metrics: Mapping[str, Estimate]
    """Metric -> mean with its interval, over the questions to which it applies."""
    by_tag: Mapping[str, Estimate]
    """Tag -> mean of `answer_right`."""
    unscored: tuple[str, ...]
    """Ids of the questions without an answer."""

    @property
    def unscored_share(self) -> float:
        """Part of the questions that got no answer, 0..1."""
        return len(self.unscored) / (len(self.unscored) + len(self.scores))


def summarise(rows: Sequence[GroundTruthRow], records: Sequence[QuestionRecord], judgements: Judgements) -> Summary:
    """Average what the questions scored; intervals respect clusters.

    Raises:
        InvalidInput: when no question was scored.
    """
    scored = {record.id: record for record in records if record.status == "scored"}
    if not scored:
        first = next((f"; the first one: {record.problem}" for record in records if record.problem), "")
        raise InvalidInput(f"none of {len(records)} questions got an answer, so there is nothing to average{first}")
    scores = {key: dict(_applying(record)) for key, record in scored.items()}
    for key, values in _retrieval(scored, judgements).items():
        scores[key].update(values)
    clusters = {row.id: row.cluster or row.id for row in rows}
    metrics = {
        name: mean_with_interval([values[name] for _, values in having], [clusters[key] for key, _ in having])
        for name in (*ANSWER_CHECKS, *RETRIEVAL_METRICS)
        if (having := [(key, values) for key, values in scores.items() if name in values])
    }
    return Summary(
        scores=scores,
        metrics=metrics,
        by_tag=_by_tag([row for row in rows if row.id in scored], scores),
        unscored=tuple(record.id for record in records if record.status == "unscored"),
    )


def compare(
    rows: Sequence[GroundTruthRow], baseline: Summary, candidate: Summary, *, margin: float, alpha: float = 0.05
) -> GateResult:
    """Decide about a candidate, over the questions that both versions answered.

    Raises:
        InvalidInput: when fewer than two questions were answered by both.
    """
    both = [row for row in rows if row.id in baseline.scores and row.id in candidate.scores]
    clusters = [row.cluster or row.id for row in both]
    return decide(
        [baseline.scores[row.id][DECIDING] for row in both],
        [candidate.scores[row.id][DECIDING] for row in both],
        margin=margin,
        alpha=alpha,
        clusters=clusters,
    )


def table(
    rows: Sequence[GroundTruthRow], records: Sequence[QuestionRecord], summary: Summary, baseline: Summary | None
) -> list[dict[str, JsonValue]]:
    """One line a question, for people: what was asked, expected, answered and scored."""
    lines: list[dict[str, JsonValue]] = []
    for row, record in zip(rows, records, strict=True):
        line: dict[str, JsonValue] = {
            "id": row.id,
            "question": row.question,
            "answer": record.answer,
            "reference": row.reference or ("(cannot be answered)" if row.unanswerable else None),
            "tags": ", ".join(row.tags),
            "cluster": row.cluster,
            "problem": record.problem,
            "abstained": record.abstained,
            **{name: summary.scores.get(row.id, {}).get(name) for name in (*ANSWER_CHECKS, *RETRIEVAL_METRICS)},
            "seconds": round(record.seconds, 3),
            "cost_usd": record.cost_usd,
            "insight": record.insight,
        }
        if baseline is not None:
            line[f"baseline_{DECIDING}"] = baseline.scores.get(row.id, {}).get(DECIDING)
        lines.append(line)
    return lines


def _applying(record: QuestionRecord) -> list[tuple[str, float]]:
    return [(name, value) for name, value in record.checks.items() if value is not None]


def _retrieval(scored: Mapping[str, QuestionRecord], judgements: Judgements) -> dict[str, dict[str, float]]:
    """Retrieval metrics of every question with evidence among the passages; the order of the answer is the ranking."""
    qrels = {key: judgements.qrels[key] for key in scored if judgements.qrels[key]}
    if not qrels:
        return {}
    ranking = {key: {passage: -float(rank) for rank, passage in enumerate(scored[key].ranked)} for key in qrels}
    return evaluate_run(qrels, ranking, RETRIEVAL_METRICS)["per_query"]


def _by_tag(rows: Sequence[GroundTruthRow], scores: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    tags = sorted({tag for row in rows for tag in row.tags})
    return {
        tag: mean_with_interval(
            [scores[row.id][DECIDING] for row in rows if tag in row.tags],
            [row.cluster or row.id for row in rows if tag in row.tags],
        )
        for tag in tags
    }
