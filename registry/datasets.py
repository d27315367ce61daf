"""Ground truth: questions with graded evidence, kept in home by content hash.

A dataset is `ASSAY_HOME/datasets/NAME/SHA256.jsonl`; the file `current` beside it names the version imported last. The
hash is that of the rows as we write them, so the same rows give the same hash whatever their file looked like.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from registry.errors import InvalidInput, NotFound, Refused
from registry.insights import METRICS_MAX, QUESTION_CHARS_MAX, FilterValue, MetricSeries, Name, Question, Record

FILE_BYTES_MAX = 256 * 1024 * 1024
ROWS_MAX = 100_000
PROBLEMS_SHOWN = 10
HASH_SHOWN = 12
"""Digits of a content hash that people see and may type."""

Split = Literal["dev", "test"]
"""`dev` is for looking at while you work; `test` is for the verdict."""

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=QUESTION_CHARS_MAX)]


class DatasetNotFound(NotFound):
    """No dataset of that name or hash was imported."""

    code = "dataset-not-found"


class DatasetChanged(Refused):
    """A stored dataset no longer has the content that its hash promises."""

    code = "dataset-changed"


class GradedQuote(Record):
    """Words of a document that answer the question."""

    document: _Text
    """Name of the document as ingested, relative, with forward slashes."""
    quote: _Text
    """Verbatim but for white space; a passage that contains it is relevant."""
    grade: Annotated[int, Field(ge=1, le=10)] = 1
    """How much it answers; a higher grade is a better passage."""


class ExpectedFigure(Record):
    """A number that a right answer states."""

    value: float = Field(allow_inf_nan=False)
    unit: Annotated[str, StringConstraints(max_length=20)] = ""
    """`percent`, `pp`, `count`, a currency code, a unit of time or measure; empty fits any unit."""
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Largest absolute difference that still counts as right, in the same unit."""


class GroundTruthRow(Record):
    """One question with what a right answer has to contain."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$")]
    question: _Text
    split: Split
    tenant: Name | None = None
    """Whose documents answer it; None: those of the tenant that is evaluated."""
    filters: Annotated[dict[str, FilterValue], Field(max_length=8)] = Field(default_factory=dict)
    metrics: Annotated[tuple[MetricSeries, ...], Field(max_length=METRICS_MAX)] = ()
    """Series passed with the question."""
    relevant: Annotated[tuple[GradedQuote, ...], Field(max_length=100)] = ()
    figures: Annotated[tuple[ExpectedFigure, ...], Field(max_length=50)] = ()
    reference: str | None = None
    """An answer that a person wrote."""
    unanswerable: bool = False
    """True when the documents do not hold the answer, and saying so is right."""
    cluster: str | None = None
    """Questions of one cluster stand and fall together, e.g. those about one document."""
    tags: tuple[str, ...] = ()
    made: str | None = None
    """How the row came about, e.g. `hand` or `script`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "GroundTruthRow":
        if self.unanswerable and self.figures:
            raise ValueError("an unanswerable question cannot expect figures")
        return self

    def as_question(self) -> Question:
        """What serving is asked."""
        return Question(question=self.question, metrics=list(self.metrics), filters=self.filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset at a glance."""

    name: str
    sha256: str
    rows: int
    imported_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Ground truth with its identity."""

    info: DatasetInfo
    rows: tuple[GroundTruthRow, ...]

    def select(self, split: Split | None, tenant: str) -> tuple[GroundTruthRow, ...]:
        """The rows of one split that belong to the tenant or to nobody in particular, in file order."""
        return tuple(row for row in self.rows if (split is None or row.split == split) and row.tenant in {None, tenant})


def read_rows(path: Path) -> tuple[GroundTruthRow, ...]:
    """Read and check a JSON Lines file; blank lines are skipped.

    Raises:
        InvalidInput: naming file and line of up to ten problems, or the limit that the file exceeds.
    """
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise InvalidInput(f"{path.name!r} has {size} bytes; a dataset may have {FILE_BYTES_MAX}")
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name!r} is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    rows: list[GroundTruthRow] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = GroundTruthRow.model_validate_json(line)
        except ValidationError as error:
            problems.append(f"line {number}: {_first_problem(error)}")
            continue
        if row.id in seen:
            problems.append(f"line {number}: id {row.id!r} stands on line {seen[row.id]} already")
        seen.setdefault(row.id, number)
        rows.append(row)
    if problems:
        more = f" (and {len(problems) - PROBLEMS_SHOWN} more)" if len(problems) > PROBLEMS_SHOWN else ""
        raise InvalidInput(f"{path.name}: {'; '.join(problems[:PROBLEMS_SHOWN])}{more}", problems=len(problems))
    if not 0 < len(rows) <= ROWS_MAX:
        raise InvalidInput(f"{path.name!r} has {len(rows)} rows; a dataset has 1 to {ROWS_MAX}")
    return tuple(rows)


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else first["msg"]


class Datasets:
    """The datasets of one home."""

    def __init__(self, home: Path) -> None:
        self._root = home / "datasets"

    def add(self, name: str, rows: Sequence[GroundTruthRow]) -> DatasetInfo:
        """Store rows under a name and make them its current version; the same rows again change nothing.

        Raises:
            InvalidInput: for a name that is not lower-case letters, digits, dots, dashes and underscores.
        """
        folder = self._root / _checked_name(name)
        content = b"".join(_canonical(row) for row in rows)
        sha256 = hashlib.sha256(content).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        version = folder / f"{sha256}.jsonl"
        if not version.exists():
            _write(version, content)
        _write(folder / "current", f"{sha256}\n".encode())
        return DatasetInfo(name=name, sha256=sha256, rows=len(rows), imported_at=_modified(version))

    def list(self) -> list[DatasetInfo]:
        """The current version of every dataset, by name."""
        return [self.get(current.parent.name).info for current in sorted(self._root.glob("*/current"))]

    def get(self, reference: str) -> Dataset:
        """Load `NAME` (its current version) or `NAME@HASH`, where HASH may be the first digits.

        Raises:
            DatasetNotFound: when nothing, or more than one version, fits.
            DatasetChanged: when the stored rows are not those that were imported.
        """
        name, _, digits = reference.partition("@")
        folder = self._root / _checked_name(name)
        version = self._version(folder, digits, reference)
        content = version.read_bytes()
        if hashlib.sha256(content).hexdigest() != version.stem:
            raise DatasetChanged(f"dataset {reference!r} was changed on disk since its import; import it again")
        rows = read_rows(version)
        info = DatasetInfo(name=name, sha256=version.stem, rows=len(rows), imported_at=_modified(version))
        return Dataset(info=info, rows=rows)

    def _version(self, folder: Path, digits: str, reference: str) -> Path:
        if not digits:
            try:
                digits = (folder / "current").read_text().strip()
            except OSError:
                digits = "-"  # fits nothing
        fitting = [path for path in folder.glob("*.jsonl") if path.stem.startswith(digits)]
        if len(fitting) != 1:
            problem = f"{len(fitting)} versions fit" if fitting else "there is none"
            raise DatasetNotFound(
                f"dataset {reference!r}: {problem}; see `assay datasets list`, or run `assay datasets import`"
            )
        return fitting[0]


def _checked_name(name: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise InvalidInput(
            f"{name!r} cannot name a dataset; use lower-case letters, digits, dots, dashes and underscores"
        ) from error


def _canonical(row: GroundTruthRow) -> bytes:
    """One row as we write it: sorted members, defaults left out."""
    return (
        json.dumps(row.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False, sort_keys=True).encode()
        + b"\n"
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    os.replace(file.name, path)  # noqa: PTH105 - the temporary file's name is text


def _modified(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
