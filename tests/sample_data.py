"""The sample data as its tests read it: documents with their passages, questions, the manifest."""

import csv
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evaluation.data.make.__main__ import SAMPLE
from evaluation.relevance import squeezed
from registry.corpus.loaders.formats import load
from registry.corpus.loaders.records import LoadLimits
from registry.corpus.splitting import Splitter
from registry.datasets import GroundTruthRow, read_rows
from registry.embedding import Embedder, load_embedder

TENANTS = ("meridian", "fennick", "osier")

_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_NUMBERS = _WORDS | {"twenty": 20, "thirty": 30, "half": 50}
"""Number words of the documents; «half price» is 50 %."""


@dataclass(frozen=True)
class Document:
    """One file as ingest sees it."""

    tenant: str
    name: str
    passages: tuple[str, ...]
    """White space squeezed."""
    fields: dict[str, str]


@cache
def documents() -> dict[tuple[str, str], Document]:
    """Every ordinary document by (tenant, name)."""
    found: dict[tuple[str, str], Document] = {}
    for tenant in TENANTS:
        root = SAMPLE / tenant / "documents"
        for path in sorted(root.rglob("*")):
            if path.is_file():
                name = path.relative_to(root).as_posix()
                found[tenant, name] = read(tenant, name, path)
    return found


def read(tenant: str, name: str, path: Path) -> Document:
    """Load and split one file."""
    loaded = load(name, path.read_bytes(), LoadLimits())
    passages = tuple(squeezed(text) for text in Splitter(embedder()).split(loaded))
    return Document(tenant, name, passages, loaded.fields)


@cache
def embedder() -> Embedder:
    """One for the whole test run; loading takes longer than the tests."""
    return load_embedder()


@cache
def manifest() -> dict[tuple[str, str], dict[str, str]]:
    """documents.csv by (tenant, document)."""
    with (SAMPLE / "documents.csv").open(encoding="utf-8", newline="") as lines:
        return {(row["tenant"], row["document"]): row for row in csv.DictReader(lines)}


@cache
def rows() -> tuple[GroundTruthRow, ...]:
    """The ground truth."""
    return read_rows(SAMPLE / "ground_truth.jsonl")


def lines(name: str) -> list[dict[str, Any]]:
    """A JSON Lines file of the sample folder."""
    return [json.loads(line) for line in (SAMPLE / name).read_text(encoding="utf-8").splitlines()]


def numbers(text: str, *, continental: bool = False) -> set[float]:
    """Every number of a text, number words included; a continental text writes 3.380,5 and is read that way, too."""
    found = {float(number) for word, number in _NUMBERS.items() if re.search(rf"\b{word}\b", text.casefold())}
    for written in re.findall(r"\d+(?:[.,]\d+)*", text):
        for thousands, decimal in ((",", "."), *([(".", ",")] if continental else [])):
            plain = written.replace(thousands, "").replace(decimal, ".")
            if plain.count(".") <= 1:
                found.add(float(plain))
    return found
