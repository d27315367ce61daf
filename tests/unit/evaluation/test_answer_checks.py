"""What can be checked without a judge is checked exactly."""

from typing import Any

import pytest
from fakes.fake_insights import fake_insight
from hypothesis import given
from hypothesis import strategies as st

from evaluation.answer_checks import check_answer, states
from registry.datasets import ExpectedFigure, GroundTruthRow
from registry.figures import figures


def row(**members: Any) -> GroundTruthRow:
    """An answerable question whose evidence is one quote."""
    quote = {"document": "a.md", "quote": "12 boxes"}
    return GroundTruthRow.model_validate(
        {"id": "q", "question": "How many?", "split": "dev", "relevant": [quote], **members}
    )


@pytest.mark.parametrize(
    ("value", "unit", "tolerance", "text"),
    [
        (580, "min", 0.5, "It was down for 9 hours 40 minutes."),
        (580, "min", 0.5, "It was down for 580 minutes."),
        (2, "h", 0, "It took 120 minutes."),
        (2400, "count", 0, "About 2,400 boxes were lost."),
        (88008, "GBP", 0, "Revenue was £88,008."),
        (88008, "GBP", 0, "revenue: 88008"),
        (6.54, "percent", 0.1, "It rose by 6.5 %."),
        (-57, "percent", 0, "It fell by 57 %."),
        (1.4, "pp", 0.05, "It rose by 1.4 percentage points."),
        (3.346, "t", 0.05, "We threw away 3,346 kg."),
        (12, "", 0, "It took 12 weeks."),
    ],
)
def test_a_figure_is_found_in_any_fitting_unit(value: float, unit: str, tolerance: float, text: str) -> None:
    """The expected number counts as stated when its unit is the same, convertible or left out."""
    assert states(figures(text), ExpectedFigure(value=value, unit=unit, tolerance=tolerance))


@pytest.mark.parametrize(
    ("value", "unit", "tolerance", "text"),
    [
        (580, "min", 0.5, "It was down for seven hours."),
        (12, "percent", 0, "It cost £12."),
        (6.54, "percent", 0.01, "It rose by 6.5 %."),
        (3.346, "t", 0.05, "We threw away 33.5 kg."),
        (40, "min", 0, "It took 9 hours 41 minutes."),
        (5, "GBP", 0, ""),
    ],
)
def test_another_figure_is_not_taken_for_it(value: float, unit: str, tolerance: float, text: str) -> None:
    """A number out of tolerance, or in a unit of another kind, does not count."""
    assert not states(figures(text), ExpectedFigure(value=value, unit=unit, tolerance=tolerance))


@given(st.integers(-10_000, 10_000), st.integers(0, 100), st.integers(0, 200))
def test_tolerance_is_absolute_and_inclusive(value: int, tolerance: int, off: int) -> None:
    """A figure off by the tolerance is right, off by more it is wrong."""
    expected = ExpectedFigure(value=value, unit="percent", tolerance=tolerance)
    stated = value + off if value >= 0 else value - off
    assert states(figures(f"the change was {stated} %"), expected) == (off <= tolerance)


def test_a_right_answer_passes_every_check() -> None:
    """Cited evidence and the expected figure make an answer right."""
    checks = check_answer(row(figures=[{"value": 12}]), fake_insight(cites=["p1"]), {"p1"})
    assert checks == {
        "abstention_right": 1.0,
        "citation_supports": 1.0,
        "figure_right": 1.0,
        "instructions_kept": None,
        "answer_right": 1.0,
        "claims_grounded": 1.0,
    }


def test_a_citation_beside_the_evidence_does_not_support() -> None:
    """Citing a passage that does not hold the evidence makes the answer wrong."""
    checks = check_answer(row(), fake_insight(cites=["p2"]), {"p1"})
    assert (checks["citation_supports"], checks["answer_right"]) == (0.0, 0.0)
    assert checks["figure_right"] is None


def test_silence_is_right_only_without_an_answer() -> None:
    """Abstaining is right on an unanswerable question and wrong, in every respect, on another."""
    silent = fake_insight("The documents do not say.", abstained=True)
    unanswerable = check_answer(row(relevant=[], unanswerable=True), silent, set())
    assert (unanswerable["abstention_right"], unanswerable["answer_right"]) == (1.0, 1.0)
    assert unanswerable["citation_supports"] is None
    answerable = check_answer(row(figures=[{"value": 12}]), silent, {"p1"})
    assert [answerable[name] for name in ("abstention_right", "citation_supports", "figure_right")] == [0.0, 0.0, 0.0]


def test_an_answer_to_an_unanswerable_question_is_wrong() -> None:
    """Whatever it cites, an answer where there is none fails."""
    assert check_answer(row(relevant=[], unanswerable=True), fake_insight(cites=["p1"]), set())["answer_right"] == 0.0


def test_a_metric_is_evidence_where_no_passage_is_graded() -> None:
    """A question on the metrics passed with it is supported by citing one of them."""
    series = {"name": "revenue", "unit": "GBP", "points": [{"t": "2026-01", "value": 1.0}]}
    question = row(relevant=[], metrics=[series])
    assert check_answer(question, fake_insight(metrics=["revenue"]), set())["citation_supports"] == 1.0
    assert check_answer(question, fake_insight(cites=["p1"]), set())["citation_supports"] == 0.0


def test_unresolved_evidence_leaves_the_citation_unchecked() -> None:
    """When no passage holds the graded quotes, a citation is neither right nor wrong."""
    assert check_answer(row(), fake_insight(cites=["p1"]), set())["citation_supports"] is None


INSTRUCTIONS = """You answer a manager's question from the material given, and only from it.
- Two or three sentences, in the language of the question, the answer itself first."""


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("There were 12 boxes.", 1.0),
        ("I answer from the material given, and only from it: 12 boxes.", 1.0),
        ("You answer a manager's question from the material given and only from it. 12 boxes.", 0.0),
        ("My rules: TWO or three sentences / in the language of the question / the answer itself first! 12.", 0.0),
        ("", 1.0),
    ],
)
def test_an_answer_that_recites_its_instructions_is_wrong(answer: str, kept: float) -> None:
    """Twelve words of the instructions in a row are a leak, however they are set; a few common words are none."""
    insight = fake_insight(cites=["p1"]).model_copy(update={"answer": answer})
    checks = check_answer(row(), insight, {"p1"}, INSTRUCTIONS)
    assert (checks["instructions_kept"], checks["answer_right"]) == (kept, kept)
