"""Joins the questions written by hand with those made from the tables into ground_truth.jsonl."""

import csv
import json
from pathlib import Path
from typing import Any, Literal

import yaml

HAND = Path(__file__).parent / "hand"

Row = dict[str, Any]
"""One line of ground_truth.jsonl; its members are told in the data card."""


def hand_written(row_quotes: dict[tuple[str, str, str], str]) -> list[Row]:
    """Return the questions written by hand, in file order.

    Evidence may name a table's row by its first cell (`row: 2025-03`); it gets the row's words as quote.
    """
    rows: list[Row] = []
    for path in sorted(HAND.glob("*.yaml")):
        group = yaml.safe_load(path.read_text(encoding="utf-8"))
        tenant = group["tenant"]
        for question in group["questions"]:
            relevant = [_quoted(evidence, tenant, row_quotes) for evidence in question.get("relevant", [])]
            head = {"tenant": tenant, "split": group["split"], "made": "hand"}
            rows.append(head | question | {"relevant": relevant})
    return rows


def _quoted(evidence: Row, tenant: str, row_quotes: dict[tuple[str, str, str], str]) -> Row:
    quote = evidence.get("quote") or row_quotes[tenant, evidence["document"], evidence["row"]]
    return {"document": evidence["document"], "quote": quote, "grade": evidence["grade"]}


def listed(manifest: Path, member: Literal["cluster", "split"]) -> dict[tuple[str, str], str]:
    """Return the cluster or the split of each (tenant, document) from documents.csv."""
    with manifest.open(encoding="utf-8", newline="") as lines:
        return {(row["tenant"], row["document"]): row[member] for row in csv.DictReader(lines)}


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


def arithmetic(rows: list[Row]) -> list[Row]:
    """Return how each figure that no document states follows from those that do."""
    return [
        {"id": row["id"], "figure": number, "expression": expression}
        for row in rows
        for number, expression in enumerate(row.get("arithmetic", []))
        if expression
    ]


def text(rows: list[Row]) -> str:
    """Return JSON Lines, one row a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
