"""Where prose says again what a table says: restated.csv, collected by reading, checked by a test.

It has two uses. The figures in it must agree with the metrics, so that prose and tables cannot drift apart; and a
question made from a table gets the prose that answers it as evidence too.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from evaluation.data.make.ground_truth import Row

FILE = Path(__file__).parent / "restated.csv"
ANSWERS, HELPS = 3, 2
"""Grades: the prose states the very figure asked for, or one of those it is worked out from."""


class Restatement(NamedTuple):
    """One figure of a table in the words of a document."""

    tenant: str
    document: str
    column: str
    """`family.column`, as in table_questions.yaml."""
    month: str
    quote: str


def restatements() -> tuple[Restatement, ...]:
    """Return every one of the list."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(Restatement(**row) for row in csv.DictReader(lines))


def prose_evidence(
    tenant: str, cells: set[tuple[str, str]], split_of: dict[tuple[str, str], str], split: str, *, alone: bool
) -> list[Row]:
    """Return evidence for (column, month) cells from the documents of a split.

    Args:
        tenant: whose documents.
        cells: the cells that a question uses.
        split_of: the split of each (tenant, document).
        split: the question's.
        alone: whether one cell is the whole answer.
    """
    return [
        {"document": found.document, "quote": found.quote, "grade": ANSWERS if alone else HELPS}
        for found in restatements()
        if found.tenant == tenant and (found.column, found.month) in cells and split_of[tenant, found.document] == split
    ]
