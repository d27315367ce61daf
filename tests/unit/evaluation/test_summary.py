"""Single questions become means, a comparison and a verdict."""

from typing import Any

import pytest

from evaluation.journal import QuestionRecord
from evaluation.plots import picture
from evaluation.relevance import Judgements
from evaluation.summary import Summary, compare, summarise, table
from evaluation.verdict import rule
from registry.datasets import GroundTruthRow
from registry.errors import InvalidInput

FLOORS = {"answer_right": 0.5}


def rows(count: int) -> list[GroundTruthRow]:
    """Questions q0, q1, ... each on its own."""
    return [
        GroundTruthRow(id=f"q{n}", question=f"q{n}?", split="test", tags=("even",) * (n % 2 == 0)) for n in range(count)
    ]


def record(number: int, right: float | None, **members: Any) -> QuestionRecord:
    """A question that was right, wrong or, with None, never answered."""
    if right is None:
        return QuestionRecord(id=f"q{number}", status="unscored", problem="down")
    checks = {"answer_right": right, "abstention_right": 1.0, "figure_right": None}
    return QuestionRecord(id=f"q{number}", status="scored", checks=checks, **members)


def summary(*right: float | None) -> Summary:
    """The summary of these questions, without evidence."""
    records = [record(n, each) for n, each in enumerate(right)]
    return summarise(
        rows(len(right)), records, Judgements(qrels={f"q{n}": {} for n in range(len(right))}, unresolved={})
    )


def test_means_leave_out_what_does_not_apply() -> None:
    """A check that applies to no question is absent, an unscored question counts nowhere."""
    got = summary(1.0, 0.0, None)
    assert {name: (estimate.value, estimate.n) for name, estimate in got.metrics.items()} == {
        "answer_right": (0.5, 2),
        "abstention_right": (1.0, 2),
    }
    assert got.unscored == ("q2",)
    assert got.by_tag["even"].value == 1.0


def test_retrieval_counts_over_questions_with_evidence() -> None:
    """The order of the passages is the ranking; a question without resolved evidence has no retrieval metric."""
    records = [record(0, 1.0, ranked=("x", "p")), record(1, 1.0, ranked=("p",)), record(2, 1.0, ranked=())]
    judgements = Judgements(qrels={"q0": {"p": 3}, "q1": {}, "q2": {"p": 1}}, unresolved={})
    got = summarise(rows(3), records, judgements)
    assert (got.metrics["mrr"].value, got.metrics["mrr"].n) == (0.25, 2)
    assert "mrr" not in got.scores["q1"]


def test_nothing_answered_is_an_error() -> None:
    """Without a single answer there is no mean to report."""
    with pytest.raises(InvalidInput, match=r"none of . questions got an answer.*first one: "):
        summary(None, None)


def test_a_comparison_pairs_what_both_answered() -> None:
    """A question that one version could not answer is left out on both sides."""
    result = compare(rows(4), summary(1.0, 1.0, 0.0, None), summary(1.0, None, 0.0, 1.0), margin=0.05)
    assert result.n == 2


def test_the_table_has_a_line_for_each_question() -> None:
    """People see question, answer, scores and the score of production beside it."""
    candidate = summary(1.0, None)
    lines = table(rows(2), [record(0, 1.0, answer="yes"), record(1, None)], candidate, summary(0.0, 0.0))
    shown = ("id", "answer", "problem", "answer_right", "baseline_answer_right")
    assert [[line[name] for name in shown] for line in lines] == [
        ["q0", "yes", None, 1.0, 0.0],
        ["q1", None, "down", None, 0.0],
    ]


def test_the_picture_is_a_png() -> None:
    """Candidate and production are drawn together, also when one lacks a metric."""
    assert picture("t", summary(1.0, 0.0), summary(1.0, 1.0)).startswith(b"\x89PNG")
    assert picture("t", summary(1.0), None).startswith(b"\x89PNG")


class TestRule:
    """The verdict: floors always, and no drop against production."""

    def test_a_first_version_passes_its_floors(self) -> None:
        """At the floor is enough, and the reasons say what it rests on."""
        ruling = rule(rows(2), summary(1.0, 0.0), None, floors=FLOORS, margin=0.05)
        assert (ruling.verdict, ruling.reasons) == ("PASS", ("answer_right is 0.500, at least 0.5",))

    def test_a_missed_floor_fails(self) -> None:
        """Below the floor is FAIL."""
        assert rule(rows(2), summary(0.0, 0.0), None, floors=FLOORS, margin=0.05).verdict == "FAIL"

    def test_a_floor_that_was_not_measured_fails(self) -> None:
        """A metric that applied to no question cannot meet its floor."""
        ruling = rule(rows(2), summary(1.0, 1.0), None, floors={"mrr": 0.1}, margin=0.05)
        assert (ruling.verdict, ruling.reasons) == (
            "FAIL",
            ("mrr has a floor and could not be measured on these questions",),
        )

    def test_without_floors_a_first_version_proves_nothing(self) -> None:
        """A policy that states no floors lets no first version pass."""
        assert rule(rows(2), summary(1.0, 1.0), None, floors={}, margin=0.05).verdict == "UNDERPOWERED"

    def test_too_many_unanswered_prove_nothing(self) -> None:
        """With more than one question in twenty unanswered there is no PASS."""
        ruling = rule(rows(10), summary(*[1.0] * 9, None), None, floors=FLOORS, margin=0.05)
        assert (ruling.verdict, ruling.reasons) == (
            "UNDERPOWERED",
            ("1 of 10 questions got no answer from this version",),
        )

    def test_a_drop_against_production_fails(self) -> None:
        """A version above its floors still fails when it is clearly worse than production."""
        ruling = rule(rows(200), summary(*[1.0] * 160, *[0.0] * 40), summary(*[1.0] * 200), floors=FLOORS, margin=0.05)
        assert ruling.verdict == "FAIL"
        assert ruling.reasons[0].startswith("answer_right fell by 0.200 against production")

    def test_a_drop_that_few_wins_would_undo_says_how_many_questions_it_takes(self) -> None:
        """A hundredth lost by each of forty questions is significant and within the margin, and still not known."""
        ruling = rule(rows(40), summary(*[0.59] * 40), summary(*[0.6] * 40), floors={}, margin=0.05)
        assert ruling.verdict == "UNDERPOWERED"
        assert "too few questions gained" in ruling.reasons[0]
        assert ruling.gate is not None
        assert f"it takes about {ruling.gate.n_needed} questions" in ruling.reasons[0]

    def test_as_good_as_production_passes(self) -> None:
        """With enough questions, no change is a PASS."""
        same = summary(*[1.0] * 200)
        assert rule(rows(200), same, same, floors={}, margin=0.05).verdict == "PASS"

    def test_too_few_questions_are_underpowered(self) -> None:
        """Ten questions cannot exclude a drop of five points, and the reason says how many could."""
        same = summary(*[1.0] * 10)
        ruling = rule(rows(10), same, same, floors={}, margin=0.05)
        assert ruling.verdict == "UNDERPOWERED"
        assert "takes about 87 questions" in ruling.reasons[0]
