"""`python -m evaluation.data.make [DIRECTORY]`: write the made part of the sample data."""

import sys
from pathlib import Path

from evaluation.data.make import fennick_tables, ground_truth, meridian_tables, table_questions
from evaluation.data.make.pdf import pdf

SAMPLE = Path(__file__).parent.parent / "sample"
PAGES = Path(__file__).parent / "pages"
"""The words of the PDF documents, written by hand: pages/TENANT/PATH.txt."""


def made_files() -> dict[str, bytes]:
    """Return every made file by its path below the sample folder: tables, PDFs, ground truth."""
    tables = {"meridian": meridian_tables.tables(), "fennick": fennick_tables.tables()}
    files = {
        f"{tenant}/documents/{table.document}": table.text().encode()
        for tenant, listed in tables.items()
        for table in listed
    }
    for page in sorted(PAGES.rglob("*.txt")):
        tenant, _, path = page.relative_to(PAGES).as_posix().partition("/")
        words = page.read_text(encoding="utf-8")
        files[f"{tenant}/documents/{path.removesuffix('.txt')}.pdf"] = pdf(words, title=words.partition("\n")[0])
    cluster_of = ground_truth.listed(SAMPLE / "documents.csv", "cluster")
    split_of = ground_truth.listed(SAMPLE / "documents.csv", "split")
    rows = [*ground_truth.hand_written(table_questions.row_quotes()), *table_questions.questions(split_of)]
    files["ground_truth.jsonl"] = ground_truth.text([ground_truth.finished(row, cluster_of) for row in rows]).encode()
    files["arithmetic.jsonl"] = ground_truth.text(ground_truth.arithmetic(rows)).encode()
    return files


def write_all(directory: Path) -> None:
    """Write every made file below `directory`."""
    for name, content in made_files().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
