"""What the command line prints: results on standard output, everything else on standard error."""

import io
import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 160

people = Console(stderr=True)
"""Progress, notes and errors; never mixed into what a machine reads."""


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, default=str) + "\n")


def print_json_lines(rows: Iterable[Any]) -> None:
    """JSON Lines on standard output."""
    for row in rows:
        sys.stdout.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def output() -> Console:
    """Standard output for people; wide where it is no terminal, so that paths and ids stay whole."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


@contextmanager
def as_comments() -> Generator[None]:
    """What is printed inside comes out as YAML comments."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        yield
    sys.stdout.writelines(f"# {line}".rstrip() + "\n" for line in printed.getvalue().splitlines())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for people on standard output; an empty one says so."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else "" if cell is None else escape(str(cell)) for cell in row))
    out = output()
    if table.row_count:
        out.print(table)
    else:
        out.print(f"{title}: none")


def when(ms: int | None) -> str | None:
    """Milliseconds since the epoch as RFC 3339 in UTC."""
    return None if ms is None else datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def note(message: str) -> None:
    """A line for people."""
    people.print(message, highlight=False, markup=False, soft_wrap=True)


def warn(message: str) -> None:
    """Something that works and needs attention."""
    people.print("warning:", style="bold yellow", end=" ")
    people.print(message, highlight=False, markup=False, soft_wrap=True)


def fail(message: str) -> None:
    """An error for people: one sentence, no traceback."""
    people.print("error:", style="bold red", end=" ")
    people.print(message, highlight=False, markup=False, soft_wrap=True)
