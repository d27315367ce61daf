"""The retrieval metrics are trec_eval's, to the last bit that matters."""

import math
from typing import Any

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.retrieval_metrics import evaluate_run
from registry.errors import InvalidInput

ORACLE = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@3": "ndcg_cut_3",
    "map": "map",
    "mrr": "recip_rank",
    "recall@100": "recall_100",
    "recall@5": "recall_5",
    "precision@10": "P_10",
    "precision@1": "P_1",
    "hit@5": "success_5",
}

# Ids that sort differently as bytes, as text and by length, over the whole of Unicode.
documents = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x10FFFF, exclude_categories=("Cs", "Z", "C")), min_size=1, max_size=4
)
# Few distinct values give ties; neighbours that only a double can tell apart are ties in float32.
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 0.5 + 1e-12, 1.0, 1.0 + 1e-9, -3.25, 16777216.0, 16777217.0]),
    st.floats(-1e6, 1e6, allow_nan=False),
    st.floats(allow_nan=False),
)


@st.composite
def judged_runs(draw: st.DrawFn) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    """Judgements and a run over overlapping documents; some queries lack the one or the other."""
    pool = draw(st.lists(documents, min_size=1, max_size=30, unique=True))
    some = st.sampled_from(pool)
    queries = ["q1", "q2", "q3"]
    qrels = draw(st.dictionaries(st.sampled_from(queries), st.dictionaries(some, st.integers(-2, 4)), min_size=1))
    run = draw(st.dictionaries(st.sampled_from([*queries, "unjudged"]), st.dictionaries(some, scores, min_size=1)))
    return qrels, run


def oracle(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """trec_eval's own values for every judged query with a relevant document, missing ones 0."""
    judged = {q: grades for q, grades in qrels.items() if any(grade >= 1 for grade in grades.values())}
    measures = {"ndcg_cut.3,10", "map", "recip_rank", "recall.5,100", "P.1,10", "success.5"}
    theirs: dict[str, Any] = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run) if judged else {}
    return {q: {ours: theirs.get(q, {}).get(name, 0.0) for ours, name in ORACLE.items()} for q in judged}


@settings(max_examples=400)
@given(judged_runs())
def test_equals_trec_eval(case: tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]) -> None:
    """Every metric of every query, and the mean over the complete set, equals trec_eval."""
    qrels, run = case
    expected = oracle(qrels, run)
    if not expected:
        with pytest.raises(InvalidInput):
            evaluate_run(qrels, run, list(ORACLE))
        return
    got = evaluate_run(qrels, run, list(ORACLE))
    assert got["per_query"].keys() == expected.keys()
    for query, values in expected.items():
        assert got["per_query"][query] == pytest.approx(values, abs=1e-12)
    for name in ORACLE:
        mean = math.fsum(values[name] for values in expected.values()) / len(expected)
        assert got["mean"][name] == pytest.approx(mean, abs=1e-12)


def test_ties_stand_in_descending_order_of_id() -> None:
    """Two documents with one float32 score are ranked by id, the larger first."""
    got = evaluate_run({"q": {"a": 1}}, {"q": {"a": 0.5 + 1e-12, "b": 0.5}}, ["mrr"])
    assert got["mean"] == {"mrr": 0.5}


def test_a_missing_query_counts_zero() -> None:
    """A judged query that the run does not answer lowers the mean."""
    got = evaluate_run({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1.0}}, ["hit@1"])
    assert got == {"mean": {"hit@1": 0.5}, "per_query": {"q1": {"hit@1": 1.0}, "q2": {"hit@1": 0.0}}}


def test_a_query_without_relevant_documents_is_left_out() -> None:
    """A query whose judgements are all 0 has no metric and does not enter the mean."""
    got = evaluate_run({"q1": {"a": 1}, "q2": {"a": 0}}, {"q1": {"a": 1.0}, "q2": {"a": 1.0}}, ["map"])
    assert got == {"mean": {"map": 1.0}, "per_query": {"q1": {"map": 1.0}}}


def test_precision_divides_by_its_cutoff() -> None:
    """One relevant document among one retrieved is a tenth at precision@10."""
    assert evaluate_run({"q": {"a": 1}}, {"q": {"a": 1.0}}, ["precision@10"])["mean"] == {"precision@10": 0.1}


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "map@10", "recall@-1", "NDCG@10", "", "hit@1.5", "hit@9999999"])
def test_an_unknown_metric_is_refused_by_name(name: str) -> None:
    """A name outside the list is an error that quotes it."""
    with pytest.raises(InvalidInput, match="unknown metric"):
        evaluate_run({"q": {"a": 1}}, {}, [name])


def test_a_score_that_is_not_a_number_is_refused() -> None:
    """NaN has no place in a ranking, and the error names the query."""
    with pytest.raises(InvalidInput, match="'q'"):
        evaluate_run({"q": {"a": 1}}, {"q": {"a": math.nan}}, ["map"])
