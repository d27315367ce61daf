"""`python -m evaluation.data.make [DIRECTORY]`: write the made part of the sample data."""

import sys
from pathlib import Path

from evaluation.data.make import ground_truth, meridian_tables

SAMPLE = Path(__file__).parent.parent / "sample"


def write_all(directory: Path) -> list[Path]:
    """Write every made file below `directory` and return their paths."""
    contents = {
        directory / "meridian" / "documents" / table.document: table.text() for table in meridian_tables.tables()
    }
    cluster_of = ground_truth.clusters(SAMPLE / "documents.csv")
    rows = [ground_truth.finished(row, cluster_of) for row in ground_truth.hand_written()]
    contents[directory / "ground_truth.jsonl"] = ground_truth.text(rows)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8", newline="\n")
    return list(contents)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE)
