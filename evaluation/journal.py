"""What an evaluation has done so far, one JSON line a question, so that it can go on after a stop."""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import Field, ValidationError

from registry.errors import Conflict
from registry.insights import Record


class JournalMismatch(Conflict):
    """The journal belongs to an evaluation of something else, or to one that is still running."""

    code = "journal-mismatch"


class QuestionRecord(Record):
    """One question of an evaluation: answered and scored, or not."""

    id: str
    status: Literal["scored", "unscored"]
    """unscored: no answer came; it counts neither as right nor as wrong."""
    problem: str | None = None
    """Why there is no score."""
    answer: str | None = None
    abstained: bool = False
    insight: str | None = None
    """Id of the insight, for the audit log."""
    provider: str | None = None
    model: str | None = None
    """The model that answered, as the vendor names it."""
    asked_model: str | None = None
    """The model that was asked for, as configured."""
    cost_usd: str = "0.000000000"
    seconds: float = 0.0
    """From asking to the answer."""
    ranked: tuple[str, ...] = ()
    """Ids of the retrieved passages, best first."""
    checks: dict[str, float | None] = Field(default_factory=dict)


class Journal:
    """An append-only file: a header line, then one record a line; the last record of a question counts.

    Opening an existing file goes on with it. A line that a crash cut short is dropped.

    Args:
        path: the file; its folder is made.
        header: what is evaluated; a file with another header is refused.

    Raises:
        JournalMismatch: when the file is about something else or open elsewhere.
    """

    def __init__(self, path: Path, header: Mapping[str, str]) -> None:
        self.records: dict[str, QuestionRecord] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._go_on(path, dict(header))
        except BlockingIOError as error:
            self._file.close()
            raise JournalMismatch(f"evaluation {path.parent.name!r} is running elsewhere; let it end first") from error
        except BaseException:  # cleaned up and raised on
            self._file.close()
            raise

    def append(self, record: QuestionRecord) -> None:
        """Write one record; it survives the end of this process."""
        self._write(record.model_dump_json(exclude_defaults=True))
        self.records[record.id] = record

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go_on(self, path: Path, header: dict[str, str]) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)
        if not whole:
            self._write(json.dumps(header, sort_keys=True))
            return
        first, *lines = content[:whole].splitlines()
        try:
            found = json.loads(first)
            records = [QuestionRecord.model_validate_json(line) for line in lines]
        except (ValueError, ValidationError) as error:
            raise JournalMismatch(f"{path.name!r} is no journal of ours; evaluate anew, without --resume") from error
        if found != header:
            differing = sorted(key for key in header.keys() | found.keys() if header.get(key) != found.get(key))
            raise JournalMismatch(
                f"the evaluation to resume differs in {', '.join(differing)}; evaluate anew, without --resume"
            )
        self.records.update((record.id, record) for record in records)

    def _write(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
