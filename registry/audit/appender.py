"""A file of hash-chained lines in which many callers share one fsync.

Each line is one JSON object that starts with its `index` and with `previous`, the SHA-256 of the line before it.
A single writer thread takes whatever has queued up while the last fsync ran, writes it in one go, syncs once and
then tells all callers. So the rate grows with the number of callers and a lone caller waits for one fsync only.
"""

import hashlib
import logging
import os
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

from registry.errors import Unavailable

logger = logging.getLogger(__name__)

QUEUE_ENTRIES_MAX = 10_000
"""Entries that may wait; beyond that the disk is too slow and callers are turned away."""
BATCH_ENTRIES_MAX = 1_024
CLOSE_TIMEOUT_S = 10.0


class LogUnavailable(Unavailable):
    """The audit log cannot make an entry durable, so what it would record must not happen."""

    code = "log-unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the next line goes."""

    index: int
    """Number of the next line, from 0."""
    previous: str
    """SHA-256 of the last line, hexadecimal; of the log's name when there is none."""
    offset: int
    """Bytes of whole lines; all of them are durable."""


def line_hash(line: bytes) -> str:
    """What the next line calls `previous`; the line comes without its newline."""
    return hashlib.sha256(line).hexdigest()


class Appender:
    """The only writer of one open file. Safe to call from any thread.

    It owns the file descriptor, and with it the lock that its opener took.
    """

    def __init__(self, descriptor: int, head: Head) -> None:
        self._descriptor = descriptor
        self._head = head
        self._waiting: deque[tuple[str, Future[int]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._ragged = False
        """True while bytes of a failed batch may stand after the last durable line."""
        self._thread = threading.Thread(target=self._run, name="audit-writer", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """True once nothing more can be appended."""
        return self._closed

    def append(self, members: str) -> "Future[int]":
        """Queue one line; the future gives its index once it is durable, or LogUnavailable.

        Args:
            members: the members of a JSON object after `index` and `previous`, without braces or newline.

        Raises:
            LogUnavailable: the log is closed, or too many entries are waiting.
        """
        future: Future[int] = Future()
        future.set_running_or_notify_cancel()  # a caller that goes away does not take its entry along
        with self._changed:
            if self._closed:
                raise LogUnavailable("the audit log is closed; start the process again")
            if len(self._waiting) >= QUEUE_ENTRIES_MAX:
                raise LogUnavailable(f"{QUEUE_ENTRIES_MAX} audit entries wait for a slow disk; try again later")
            self._waiting.append((members, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write what is queued, then give the file and its lock back; a second time does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._commit(batch)
        finally:
            os.close(self._descriptor)
            with self._changed:
                self._closed = True
                for _, future in self._waiting:  # only a bug leaves any
                    future.set_exception(LogUnavailable("the audit log's writer has stopped"))

    def _next_batch(self) -> list[tuple[str, "Future[int]"]]:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            count = min(len(self._waiting), BATCH_ENTRIES_MAX)
            return [self._waiting.popleft() for _ in range(count)]

    def _commit(self, batch: list[tuple[str, "Future[int]"]]) -> None:
        head = self._head
        lines: list[bytes] = []
        index, previous = head.index, head.previous
        for members, _ in batch:
            line = f'{{"index":{index},"previous":"{previous}",{members}}}'.encode()
            lines.append(line + b"\n")
            index, previous = index + 1, line_hash(line)
        data = b"".join(lines)
        try:
            self._write(data)
        except OSError as error:
            logger.error("audit log cannot be written: %s", error.strerror)  # noqa: TRY400 - the reason is enough
            self._ragged = True
            for _, future in batch:
                future.set_exception(LogUnavailable(f"the audit log cannot be written: {error.strerror}"))
            return
        self._head = Head(index=index, previous=previous, offset=head.offset + len(data))
        for position, (_, future) in enumerate(batch, start=head.index):
            future.set_result(position)

    def _write(self, data: bytes) -> None:
        """Make all of `data` durable after the last durable line, or raise OSError."""
        offset = self._head.offset
        if self._ragged:
            os.ftruncate(self._descriptor, offset)
            self._ragged = False
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
        os.fdatasync(self._descriptor)
