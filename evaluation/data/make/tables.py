"""Writes metric tables as CSV and HTML files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Table:
    """One table file of a tenant: where it goes and what it says."""

    document: str
    """Path below the tenant's documents; its ending decides the format."""
    title: str
    note: str
    """A sentence under the table; HTML only."""
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]

    def text(self) -> str:
        """Return the file's content."""
        return self._html() if self.document.endswith(".html") else self._csv()

    def _csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return out.getvalue()

    def _html(self) -> str:
        lines = [
            "<!doctype html>",
            '<html lang="en">',
            f'<head><meta charset="utf-8"><title>{escape(self.title)}</title></head>',
            "<body>",
            f"<h1>{escape(self.title)}</h1>",
            "<table>",
            _html_row("th", self.columns),
            *(_html_row("td", row) for row in self.rows),
            "</table>",
            f"<p>{escape(self.note)}</p>",
            "</body>",
            "</html>",
        ]
        return "\n".join(lines) + "\n"


def _html_row(cell: str, values: Sequence[str | int]) -> str:
    return "<tr>" + "".join(f"<{cell}>{escape(str(value))}</{cell}>" for value in values) + "</tr>"
