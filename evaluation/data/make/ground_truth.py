"""Joins the questions written by hand with those made from the tables into ground_truth.jsonl."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml

HAND = Path(__file__).parent / "hand"

Row = dict[str, Any]
"""One line of ground_truth.jsonl; its members are told in the data card."""


def hand_written() -> list[Row]:
    """Return the questions written by hand, in file order."""
    rows: list[Row] = []
    for path in sorted(HAND.glob("*.yaml")):
        group = yaml.safe_load(path.read_text(encoding="utf-8"))
        rows.extend(
            {"tenant": group["tenant"], "split": group["split"], "made": "hand"} | question
            for question in group["questions"]
        )
    return rows


def clusters(manifest: Path) -> dict[tuple[str, str], str]:
    """Return the cluster of each (tenant, document) from documents.csv."""
    with manifest.open(encoding="utf-8", newline="") as lines:
        return {(row["tenant"], row["document"]): row["cluster"] for row in csv.DictReader(lines)}


def finished(row: Row, cluster_of: dict[tuple[str, str], str]) -> Row:
    """Return the row with every member in its fixed order; the first document lends its cluster."""
    relevant: list[Row] = row.get("relevant", [])
    cluster = row.get("cluster") or cluster_of[row["tenant"], relevant[0]["document"]]
    full: Row = {
        "id": row["id"],
        "tenant": row["tenant"],
        "question": row["question"],
        "split": row["split"],
        "cluster": cluster,
        "tags": row["tags"],
        "made": row["made"],
        "unanswerable": row.get("unanswerable", False),
        "relevant": relevant,
        "reference": row.get("reference"),
        "figures": row.get("figures", []),
    }
    return full | {name: row[name] for name in ("metrics", "filters") if row.get(name)}


def text(rows: list[Row]) -> str:
    """Return JSON Lines, one row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
