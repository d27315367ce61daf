"""Taking over the log of a process that is gone.

An acknowledged entry is a whole line, newline included, that was synced. So bytes after the last newline were never
acknowledged and are cut. Anything else that does not read is damage: the file is left as it is, for people to look
at, and a new log is begun. Intents without an outcome are found by reading back to the entry `opened` of the last
process; a log that ends with `closed` has none.
"""

import fcntl
import json
import logging
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from registry.audit.appender import Head, line_hash

logger = logging.getLogger(__name__)

OPENED = "log.opened"
"""Kind of the note that every process writes first."""
CLOSED = "log.closed"
"""Kind of the note that a process writes last, when no intent is left open."""


class DamagedLog(Exception):
    """A whole line does not read, or does not follow from the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """How a log ends."""

    head: Head
    closed: bool
    """True when its last process ended in good order."""
    orphans: dict[int, str] = field(default_factory=dict[int, str])
    """Index and kind of each intent that has no outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    index: int
    previous: str
    phase: str
    kind: str
    intent: int | None


def lock(path: Path, *, create: bool = False) -> int | None:
    """Open and lock a log; None when a living process has it."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def genesis(name: str) -> Head:
    """Where an empty log begins."""
    return Head(index=0, previous=line_hash(name.encode()), offset=0)


def repair(descriptor: int, name: str) -> Tail:
    """Cut a torn last line and read how the log ends.

    Raises:
        DamagedLog: what is left cannot be continued.
    """
    size = os.fstat(descriptor).st_size
    if size == 0:
        return Tail(head=genesis(name), closed=True)
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as view:
        whole = view.rfind(b"\n") + 1
        tail = _read_tail(view, whole, name)
    if whole < size:
        logger.warning("audit log %s: cut %d bytes of an entry that was never acknowledged", name, size - whole)
        os.ftruncate(descriptor, whole)
        os.fsync(descriptor)
    return tail


def _read_tail(view: mmap.mmap, end: int, name: str) -> Tail:
    if end == 0:
        return Tail(head=genesis(name), closed=True)
    orphans: dict[int, str] = {}
    settled: set[int | None] = set()
    head: Head | None = None
    follower: _Entry | None = None
    for line in _lines_backwards(view, end):
        entry = _parse(line)
        digest = line_hash(line)
        if head is None or follower is None:
            head = Head(index=entry.index + 1, previous=digest, offset=end)
            if entry.kind == CLOSED:
                return Tail(head=head, closed=True)
        elif digest != follower.previous or entry.index != follower.index - 1:
            raise DamagedLog(f"entry {entry.index} was changed after it was written")
        if entry.phase == "outcome":
            settled.add(entry.intent)
        elif entry.phase == "intent" and entry.index not in settled:
            orphans[entry.index] = entry.kind
        if entry.kind == OPENED:
            return Tail(head=head, closed=False, orphans=dict(sorted(orphans.items())))
        follower = entry
    raise DamagedLog("there is no entry that opened it")


def _lines_backwards(view: mmap.mmap, end: int) -> Iterator[bytes]:
    """Whole lines before `end`, the last one first, without their newlines."""
    while end > 0:
        start = view.rfind(b"\n", 0, end - 1) + 1
        yield view[start : end - 1]
        end = start


def _parse(line: bytes) -> _Entry:
    try:
        entry = json.loads(line)
        return _Entry(
            index=int(entry["index"]),
            previous=str(entry["previous"]),
            phase=str(entry["phase"]),
            kind=str(entry["kind"]),
            intent=int(entry["intent"]) if entry["phase"] == "outcome" else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedLog("a line is not an entry") from error
