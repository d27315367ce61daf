"""Tables: every row as `column: value` lines, so that a row is found, and understood, without its header."""

import csv
import io
from collections.abc import Sequence

from registry.corpus.loaders.records import DocumentProblem, LoadedDocument, Section, document, one_line

COLUMNS_MAX = 200
CELL_CHARS_MAX = 4_000
_DELIMITERS = (",", ";", "\t", "|")


def read_csv(name: str, text: str) -> LoadedDocument:
    """Comma, semicolon, tab or bar separated values with a header row; blank lines count nowhere.

    Raises:
        DocumentProblem: no header, an unnamed or doubled column, a row of another width, an unclosed quote.
    """
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[str] = []
    try:
        filled = (row for row in reader if any(cell.strip() for cell in row))
        first = next(filled, None)
        if first is None:
            raise DocumentProblem("holds no row")
        header = _header(first)
        for row in filled:
            if len(row) != len(header):
                raise DocumentProblem(
                    f"is a broken CSV: line {reader.line_num} has {len(row)} fields, the header has {len(header)}"
                )
            rows.append(row_text(header, row))
    except csv.Error as error:
        raise DocumentProblem(f"is a broken CSV: line {reader.line_num}: {error}") from error
    if not rows:
        raise DocumentProblem("holds a header and no rows")
    return document(name, [Section(text="\n\n".join(rows))])


def row_text(header: Sequence[str], row: Sequence[str]) -> str:
    """One row, a line a column; empty cells are left out."""
    cells = zip(header, row, strict=False)
    return "\n".join(f"{column}: {one_line(cell, CELL_CHARS_MAX)}" for column, cell in cells if cell.strip())


def _delimiter(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip(" " + "".join(_DELIMITERS))), "")
    return max(_DELIMITERS, key=first.count)


def _header(row: list[str]) -> list[str]:
    header = [one_line(cell, 80) for cell in row]
    if not 1 <= len(header) <= COLUMNS_MAX:
        raise DocumentProblem(f"has {len(header)} columns; 1 to {COLUMNS_MAX} are read")
    for number, column in enumerate(header, start=1):
        if not column:
            raise DocumentProblem(f"is a broken CSV: column {number} has no name in the header")
        if column in header[: number - 1]:
            raise DocumentProblem(f"is a broken CSV: two columns are named {column!r}")
    return header
