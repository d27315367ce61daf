"""Questions of the sample data: figures follow from evidence, nothing is given away, the sides differ."""

import re
from collections import defaultdict

import numpy as np
import pytest
import sample_data
from sample_data import documents, numbers, rows

from evaluation.data.make import table_questions
from evaluation.data.make.arithmetic import literals, worked_out
from evaluation.data.make.months import NAMES
from evaluation.data.make.restated import restatements
from registry.datasets import GroundTruthRow

CONVERSIONS = {12.0, 24.0, 25.4, 1.8, 32.0, 60.0, 100.0, 1000.0, 1_000_000.0}
"""What arithmetic may use beside the evidence: months, hours, inches, degrees, minutes, percent, thousands."""
WORD_OVERLAP_MAX = 0.65
COSINE_MAX = 0.90
"""Two questions nearer than this are one question; the nearest honest pair across the split is at .87."""

_STOP = {
    *("the", "a", "an", "of", "in", "to", "and", "for", "from", "with", "is", "are", "was", "were", "what", "how"),
    *("many", "much", "did", "do", "does", "our", "we", "which", "by"),
}


def known(row: GroundTruthRow) -> set[float]:
    """Numbers that the evidence, the passed metrics or the question itself states."""
    text = " ".join([row.question, *(quote.quote for quote in row.relevant)])
    stated = numbers(text, continental=bool({"german", "french"} & set(row.tags)))
    return stated | {point.value for series in row.metrics for point in series.points}


def test_every_figure_is_quoted_or_follows_from_quoted_ones() -> None:
    """Each expected figure stands in the evidence, or its sum in arithmetic.jsonl gives it from numbers that do."""
    sums: dict[str, dict[int, str]] = defaultdict(dict)
    for line in sample_data.lines("arithmetic.jsonl"):
        sums[line["id"]][line["figure"]] = line["expression"]
    problems: list[tuple[str, str]] = []
    for row in rows():
        allowed = known(row) | CONVERSIONS
        for number, figure in enumerate(row.figures):
            expression = sums[row.id].get(number)
            if expression is None:
                if figure.value not in known(row):
                    problems.append((row.id, f"{figure.value} is not quoted"))
                continue
            if strange := [literal for literal in literals(expression) if literal not in allowed]:
                problems.append((row.id, f"{strange} are not quoted"))
            if abs(worked_out(expression) - figure.value) > max(figure.tolerance, 1e-6):
                problems.append((row.id, f"{expression} is not {figure.value}"))

    assert problems == []


def test_tolerances_do_not_forgive_a_wrong_answer() -> None:
    """A figure's tolerance is a rounding, at most 5 % of its value."""
    loose = [
        (row.id, figure.value)
        for row in rows()
        for figure in row.figures
        if figure.tolerance > 0.05 * abs(figure.value)
    ]

    assert loose == []


def test_references_state_the_expected_figures() -> None:
    """What a person wrote as the right answer holds every figure, within tolerance, in some unit."""
    scales = (1, 60, 1 / 60, 1000, 1 / 1000, 100)
    silent: list[tuple[str, float]] = []
    for row in rows():
        stated = numbers(row.reference or "")
        for figure in row.figures:
            close = max(figure.tolerance, 0.006 * abs(figure.value))
            if not any(abs(value * scale - figure.value) <= close for value in stated for scale in scales):
                silent.append((row.id, figure.value))

    assert silent == []


def test_no_answer_stands_in_its_question() -> None:
    """A question states none of its figures, and a reference in words says more than the question."""
    given_away = [row.id for row in rows() for figure in row.figures if figure.value in numbers(row.question)]
    parroted = [
        row.id
        for row in rows()
        if row.reference and not row.figures and len(words(row.reference) - words(row.question)) < 3
    ]

    assert given_away == []
    assert parroted == []


def test_ids_and_questions_are_unique() -> None:
    """No id and no question of a tenant stands twice."""
    asked = [(row.tenant, row.question.casefold(), tuple(row.filters)) for row in rows()]

    assert len(set(asked)) == len(asked)
    assert len({row.id for row in rows()}) == len(rows())


@pytest.mark.filterwarnings("error")
def test_no_near_duplicates_across_the_split() -> None:
    """No question of test is one of dev in other words, months and years left aside."""
    dev = [row for row in rows() if row.split == "dev"]
    test = [row for row in rows() if row.split == "test"]
    embedder = sample_data.embedder()
    cosines = (
        embedder.embed([masked(row.question) for row in dev]) @ embedder.embed([masked(row.question) for row in test]).T
    )
    close = [(dev[i].id, test[j].id) for i, j in np.argwhere(cosines > COSINE_MAX)]
    alike = [
        (one.id, other.id)
        for one in dev
        for other in test
        if overlap(words(masked(one.question)), words(masked(other.question))) > WORD_OVERLAP_MAX
    ]

    assert close == []
    assert alike == []


def masked(question: str) -> str:
    """The question without months and numbers."""
    return re.sub(r"\b(?:" + "|".join(NAMES) + r")\b|\d[\d.,:]*", " ", question, flags=re.IGNORECASE)


def words(text: str) -> set[str]:
    """Content words."""
    return set(re.findall(r"\w+", text.casefold())) - _STOP


def overlap(one: set[str], other: set[str]) -> float:
    """Jaccard."""
    return len(one & other) / max(1, len(one | other))


def test_prose_agrees_with_the_tables() -> None:
    """Each of some 230 figures that a document restates is the one in the tables, and stands where the list says."""
    cells = {
        (tenant, column, month): float(cell.written)
        for (tenant, column, month), cell in table_questions.cells().items()
    }
    problems = [
        found
        for found in restatements()
        if cells[found.tenant, found.column, found.month] not in numbers(found.quote)
        or not any(found.quote in passage for passage in documents()[found.tenant, found.document].passages)
    ]

    assert len(restatements()) >= 200
    assert problems == []
