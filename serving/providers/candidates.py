"""Cuts passages into statements that could answer a question: sentences, and cells of table rows."""

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from registry.claims import is_row, sentences, split_heading
from registry.insights import Passage
from registry.periods import Period, periods
from serving.words import content_words, stem

CELLS_MAX = 40
_RULE = re.compile(r"[|\s:-]+")
_MARKUP = re.compile(r"\*\*|__|`|^\s*(?:[-*•>]|#{1,6}|\d{1,2}[.)])\s+", re.MULTILINE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One statement of a passage."""

    passage: int
    """Index of the passage, from 0; its label is one higher."""
    text: str
    """What is said, on one line, without list signs and emphasis."""
    words: tuple[str, ...]
    """Its content words, stemmed, in order."""
    context: frozenset[str]
    """Words that hold for the whole passage: document name, title, headings."""
    near: frozenset[str]
    """Words of the rest of its passage: what `it` and `that` may mean."""
    periods: tuple[Period, ...]
    """Dates and quarters of its own."""
    context_periods: tuple[Period, ...]
    """Dates and quarters of its document's name and headings."""
    cell: "Cell | None"
    """Set when it is a column of a table row; the row's first column says which row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One value of a table."""

    column: str
    row: str
    """The first column's value, which names the row."""
    value: str
    words: str
    """The whole, as a statement."""


def candidates(passages: Sequence[Passage]) -> list[Candidate]:
    """All statements of all passages, in order; a sentence that overlapping passages repeat counts once."""
    found: dict[str, Candidate] = {}
    for index, passage in enumerate(passages):
        context, body = split_heading(passage.text)
        around = f"{_spoken(passage.document)} {context}"
        words, dates = frozenset(content_words(around)), _dates(around)
        near = frozenset(content_words(body))
        for piece in _statements(body):
            text, cell = (piece, None) if isinstance(piece, str) else (piece.words, piece)
            dated = _dates(text)
            own = (*content_words(text), *_month_names(dated))
            candidate = Candidate(
                passage=index,
                text=text,
                words=own,
                context=words,
                near=near,
                periods=dated,
                context_periods=dates,
                cell=cell,
            )
            if own:
                found.setdefault(text.casefold(), candidate)
    return list(found.values())


def _statements(body: str) -> Iterator[str | Cell]:
    """Each sentence, and each cell of each row."""
    header: list[str] = []
    for piece in sentences(body):
        if is_row(piece):
            lines = [line.partition(": ") for line in piece.split("\n")[:CELLS_MAX]]
            yield from _cells([(column, value) for column, _, value in lines])
        elif piece.startswith("|"):
            cells = [cell.strip() for cell in piece.strip("|").split("|")]
            if not header:
                header = cells
            elif not _RULE.fullmatch(piece):
                yield from _cells(list(zip(header, cells, strict=False))[:CELLS_MAX])
        else:
            header = []
            if text := _SPACE.sub(" ", _MARKUP.sub("", piece)).strip():
                yield text


def _cells(pairs: Sequence[tuple[str, str]]) -> Iterator[Cell]:
    """One statement a column: its name and value, and the first column, which names the row."""
    if not pairs:
        return
    name, key = pairs[0]
    row = f"{name}: {key}" if name.strip() else key
    for column, value in pairs[1:]:
        if value.strip():
            words = f"{_spoken(column)}: {value.strip()} ({_spoken(row)})"
            yield Cell(column=_spoken(column), row=key.strip(), value=value.strip(), words=words)


def _dates(text: str) -> tuple[Period, ...]:
    return tuple(period for period in periods(text) if period.unit != "time")


def _month_names(dates: Sequence[Period]) -> Iterator[str]:
    """What a question without a year calls the month of `2026-01`."""
    for date in dates:
        if date.unit == "date" and len(date.digits) >= len("202601"):
            yield stem(calendar.month_name[int(date.digits[4:6])].lower())


def _spoken(name: str) -> str:
    """A file's or column's name as words; a date in it stays whole."""
    return name.replace("_", " ").replace("/", " ")
