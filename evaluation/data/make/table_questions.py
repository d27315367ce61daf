"""Makes questions from the tables: the wordings are written by hand in table_questions.yaml, the figures computed here.

A template names columns as `family.column` and lists the months (or spans of months) that it is asked for. Wordings
differ between dev and test, so that a question on one side gives nothing away about the other. `also` is evidence that
every question of a template shares, e.g. a definition.

* value       one cell                     * difference  second month less the first
* ratio       one cell by another          * rate        one cell by another of the month before
* total       a span added up              * peak        the largest (or smallest) of a span
* none        no table holds the answer    * passed      as `difference` or `ratio`, on series given with the question
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluation.data.make import fennick_tables, meridian_tables
from evaluation.data.make.arithmetic import worked_out
from evaluation.data.make.ground_truth import Row
from evaluation.data.make.months import MONTHS, long_name, short_name
from evaluation.data.make.restated import prose_evidence
from evaluation.data.make.tables import Table

WORDINGS = Path(__file__).parent / "table_questions.yaml"
_MONTH_OF = {written: month for month in MONTHS for written in (long_name(month), short_name(month))}


@dataclass(frozen=True)
class Cell:
    """One number of a table and where it stands."""

    column: str
    month: str
    written: str
    """The number as the table writes it."""
    document: str
    quote: str
    """The whole row as it is read back: `column: value` for every column."""


Book = dict[tuple[str, str, str], Cell]
"""(tenant, `family.column`, month) -> cell."""


def row_quotes() -> dict[tuple[str, str, str], str]:
    """Return the quote of every table row by (tenant, document, month)."""
    return {
        (tenant, table.document, _MONTH_OF[str(row[0])]): row_quote(table, row)
        for tenant, table in _tables()
        for row in table.rows
    }


def row_quote(table: Table, row: tuple[str | int, ...]) -> str:
    """Return a row as the loaders read it, on one line."""
    return " ".join(f"{column}: {value}" for column, value in zip(table.columns, row, strict=True))


def questions(split_of: dict[tuple[str, str], str]) -> list[Row]:
    """Return every made question, in the order of the wordings, without cluster.

    Args:
        split_of: the split of each (tenant, document).
    """
    book = cells()
    rows: list[Row] = []
    counts: dict[str, int] = {}
    for group in yaml.safe_load(WORDINGS.read_text(encoding="utf-8"))["groups"]:
        for template in group["templates"]:
            for row in _KINDS[template["kind"]](_Asked(book, group["tenant"], group["split"], split_of, template)):
                prefix = f"{group['tenant'][:3]}-s-{group['split'][0]}"
                counts[prefix] = counts.get(prefix, 0) + 1
                head = {"id": f"{prefix}{counts[prefix]:02d}", "tenant": group["tenant"], "split": group["split"]}
                rows.append(head | {"made": "script"} | row)
    return rows


@dataclass(frozen=True)
class _Asked:
    """A template in front of the book."""

    book: Book
    tenant: str
    split: str
    split_of: dict[tuple[str, str], str]
    template: dict[str, Any]

    def cell(self, column: str, month: str) -> Cell:
        return self.book[self.tenant, column, month]

    def row(
        self, question: str, expression: str, cells: list[tuple[Cell, int]], extra_tags: tuple[str, ...] = ()
    ) -> Row:
        """Return a question with one figure; cells are evidence with their grades."""
        template = self.template
        if template.get("scale"):
            expression = f"({expression}) {template['scale']}"
        value = worked_out(expression)
        relevant = {(cell.document, cell.quote): grade for cell, grade in reversed(cells)}
        documents = {document for document, _ in relevant}
        needed = {(cell.column, cell.month) for cell, grade in cells if grade > 1}
        prose = prose_evidence(self.tenant, needed, self.split_of, self.split, alone=len(needed) == 1)
        tags = [*template["tags"], *extra_tags, *(["multi-document"] if len(documents) > 1 else [])]
        digits = template.get("digits", 0)
        shown = round(value, digits) if digits > 0 else int(round(value, digits))
        return {
            "question": question,
            "tags": tags,
            "relevant": [
                {"document": document, "quote": quote, "grade": grade}
                for (document, quote), grade in reversed(relevant.items())
            ]
            + prose
            + template.get("also", []),
            "reference": template["answer"].replace("{value}", f"{shown:,}"),
            "figures": [{"value": shown, "unit": template["unit"], "tolerance": template.get("tolerance", 0)}],
            "arithmetic": [expression],
        }


def _value(asked: _Asked) -> list[Row]:
    template = asked.template
    rows: list[Row] = []
    for month in template["months"]:
        cell = asked.cell(template["column"], month)
        row = asked.row(template["question"].format(month=long_name(month)), cell.written, [(cell, 3)])
        rows.append(row)
    return rows


def _difference(asked: _Asked) -> list[Row]:
    template = asked.template
    rows: list[Row] = []
    for first, second in template["months"]:
        before, after = asked.cell(template["column"], first), asked.cell(template["column"], second)
        question = template["question"].format(first=long_name(first), second=long_name(second))
        small, large = sorted((before, after), key=lambda cell: float(cell.written))
        way = "up" if large is after else "down"
        if template.get("direction", way) != way:
            raise ValueError(f"{question!r} says {template['direction']}, and the table went {way}; ask another month")
        row = asked.row(question, f"{large.written} - {small.written}", [(before, 3), (after, 3)])
        rows.append(row | {"reference": row["reference"].replace("{way}", way.title())})
    return rows


def _ratio(asked: _Asked) -> list[Row]:
    return [_quotient(asked, month, month) for month in asked.template["months"]]


def _rate(asked: _Asked) -> list[Row]:
    return [_quotient(asked, month, MONTHS[MONTHS.index(month) - 1]) for month in asked.template["months"]]


def _quotient(asked: _Asked, month: str, base_month: str) -> Row:
    template = asked.template
    top, bottom = asked.cell(template["column"], month), asked.cell(template["by"], base_month)
    question = template["question"].format(month=long_name(month))
    return asked.row(question, f"{top.written} / {bottom.written}", [(top, 3), (bottom, 3)])


def _total(asked: _Asked) -> list[Row]:
    rows: list[Row] = []
    for first, last in asked.template["months"]:
        cells = [asked.cell(asked.template["column"], month) for month in _span(first, last)]
        question = asked.template["question"].format(first=long_name(first), last=long_name(last))
        rows.append(asked.row(question, " + ".join(cell.written for cell in cells), [(cell, 3) for cell in cells]))
    return rows


def _peak(asked: _Asked) -> list[Row]:
    template = asked.template
    best = min if template.get("smallest") else max
    rows: list[Row] = []
    for first, last in template["months"]:
        cells = {month: asked.cell(template["column"], month) for month in _span(first, last)}
        month = best(cells, key=lambda month: float(cells[month].written))
        question = template["question"].format(first=long_name(first), last=long_name(last))
        row = asked.row(question, cells[month].written, [(cells[m], 3 if m == month else 1) for m in cells])
        row["reference"] = f"{long_name(month)}: {row['reference']}"
        rows.append(row)
    return rows


def _none(asked: _Asked) -> list[Row]:
    template = asked.template
    return [
        {"question": question, "tags": ["unanswerable"], "unanswerable": True, "cluster": template["cluster"]}
        for question in template["questions"]
    ]


def _passed(asked: _Asked) -> list[Row]:
    template = asked.template
    rows: list[Row] = []
    for first, last in template["months"]:
        series = [
            {
                "name": name,
                "unit": unit,
                "points": [
                    {"t": month, "value": float(asked.cell(column, month).written)} for month in _span(first, last)
                ],
            }
            for column, name, unit in template["series"]
        ]
        ends = [asked.cell(column, last).written for column, _, _ in template["series"]]
        start = asked.cell(template["series"][0][0], first).written
        large, small = sorted((start, ends[0]), key=float, reverse=True)
        expression = f"{ends[0]} / {ends[1]}" if len(ends) > 1 else f"{large} - {small}"
        question = template["question"].format(first=long_name(first), last=long_name(last))
        row = asked.row(question, expression, [], ("metrics-passed",))
        rows.append(row | {"metrics": series, "cluster": template["cluster"]})
    return rows


_KINDS: dict[str, Callable[[_Asked], list[Row]]] = {
    "value": _value,
    "difference": _difference,
    "ratio": _ratio,
    "rate": _rate,
    "total": _total,
    "peak": _peak,
    "none": _none,
    "passed": _passed,
}


def _span(first: str, last: str) -> tuple[str, ...]:
    return MONTHS[MONTHS.index(first) : MONTHS.index(last) + 1]


def _tables() -> list[tuple[str, Table]]:
    return [
        *(("meridian", table) for table in meridian_tables.tables()),
        *(("fennick", table) for table in fennick_tables.tables()),
    ]


def cells() -> Book:
    """Return every number of every table."""
    book: Book = {}
    for tenant, table in _tables():
        family = table.document.removeprefix("tables/").partition("-")[0]
        for row in table.rows:
            quote = row_quote(table, row)
            for column, value in zip(table.columns[1:], row[1:], strict=True):
                key = (tenant, f"{family}.{column}", _MONTH_OF[str(row[0])])
                book[key] = Cell(key[1], key[2], str(value), table.document, quote)
    return book
