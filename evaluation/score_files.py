"""The files that `assay evaluate` reads: TREC runs and judgements, and paired scores as JSON Lines."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from registry.errors import InvalidInput

LINES_MAX = 20_000_000
"""A run of 20,000 queries with 1,000 documents each."""

UNSCORED_SHARE_MAX = 0.05
"""With more pairs lacking a score on a side, those left would flatter the side that answered less."""

Scores = dict[str, tuple[float | None, str | None]]
"""Id -> score, None when unscored, and cluster."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Scores of the same rows from two sides."""

    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    clusters: tuple[str, ...] | None
    """None when no row names a cluster."""
    unscored: int
    """Pairs left out because a side has no score."""


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements in TREC's form: `query iteration document grade`, parted by white space.

    Raises:
        InvalidInput: naming file and line of the first problem.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, parts in _fields(path, 4, "query iteration document grade"):
        query, _, document, grade = parts
        _put(qrels, query, document, _number(int, grade, "grade", path, number), path, number)
    return qrels


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """A ranking in TREC's form: `query Q0 document rank score tag`; the score alone decides the order.

    Raises:
        InvalidInput: naming file and line of the first problem.
    """
    run: dict[str, dict[str, float]] = {}
    for number, parts in _fields(path, 6, "query Q0 document rank score tag"):
        query, _, document, _, score, _ = parts
        _put(run, query, document, _number(float, score, "score", path, number), path, number)
    return run


def read_scores(path: Path) -> Scores:
    """Rows `{id, score, cluster?}` as JSON Lines: id -> score and cluster. A score of null is unscored.

    Raises:
        InvalidInput: naming file and line of the first problem.
    """
    scores: Scores = {}
    for number, line in _lines(path):
        try:
            parsed: object = json.loads(line)
        except ValueError as error:
            raise _problem(path, number, "is not JSON") from error
        if not isinstance(parsed, dict) or "id" not in parsed or "score" not in parsed:
            raise _problem(path, number, "wants an object with `id` and `score`")
        row = cast("dict[str, object]", parsed)
        score, cluster = row["score"], row.get("cluster")
        if score is not None and not (isinstance(score, int | float) and math.isfinite(score)):
            raise _problem(path, number, f"has score {score!r}; give a number, or null when unscored")
        key = str(row["id"])
        if key in scores:
            raise _problem(path, number, f"repeats id {key!r}")
        scores[key] = (None if score is None else float(score), None if cluster is None else str(cluster))
    if not scores:
        raise InvalidInput(f"{str(path)!r} has no rows")
    return scores


def pair_scores(baseline: Scores, candidate: Scores) -> Pairs:
    """Bring two files together by id; a cluster may stand in either.

    Raises:
        InvalidInput: when an id is in one file only, clusters disagree, or more than 5 % of the pairs lack a score.
    """
    lonely = sorted(baseline.keys() ^ candidate.keys())
    if lonely:
        raise InvalidInput(f"{len(lonely)} ids stand in one file only, e.g. {lonely[0]!r}; score both on the same rows")
    for key, (_, here) in candidate.items():
        there = baseline[key][1]
        if here and there and here != there:
            raise InvalidInput(f"id {key!r} has cluster {there!r} in one file and {here!r} in the other")
    scored = [
        (key, before, after)
        for key, (before, _) in baseline.items()
        if before is not None and (after := candidate[key][0]) is not None
    ]
    unscored = len(baseline) - len(scored)
    if unscored > UNSCORED_SHARE_MAX * len(baseline):
        raise InvalidInput(f"{unscored} of {len(baseline)} pairs lack a score; score them, at most 5 % may be missing")
    clusters = {key: candidate[key][1] or baseline[key][1] for key, _, _ in scored}
    return Pairs(
        baseline=tuple(before for _, before, _ in scored),
        candidate=tuple(after for _, _, after in scored),
        clusters=tuple(clusters[key] or f"row {key}" for key in clusters) if any(clusters.values()) else None,
        unscored=unscored,
    )


def _put(table: dict[str, dict[str, T]], query: str, document: str, value: T, path: Path, number: int) -> None:
    documents = table.setdefault(query, {})
    if document in documents:
        raise _problem(path, number, f"repeats document {document!r} of query {query!r}")
    documents[document] = value


def _number(kind: Callable[[str], T], text: str, what: str, path: Path, number: int) -> T:
    try:
        return kind(text)
    except ValueError as error:
        raise _problem(path, number, f"has {what} {text!r}, which is no number") from error


def _fields(path: Path, count: int, form: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path):
        parts = line.split()
        if len(parts) != count:
            raise _problem(path, number, f"has {len(parts)} fields; the form is `{form}`")
        yield number, parts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if number > LINES_MAX:
                    raise InvalidInput(f"{str(path)!r} has more than {LINES_MAX} lines")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{str(path)!r} is not UTF-8; save it as UTF-8") from error


def _problem(path: Path, number: int, what: str) -> InvalidInput:
    return InvalidInput(f"{path.name} line {number} {what}")
