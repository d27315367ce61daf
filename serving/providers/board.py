"""What all workers of a node know about each provider and model: the breaker, the latencies, the last error.

The knowledge is one piece of memory with a slot for each provider and model: a file that the workers map, or memory
of the process's own. A file's lock ends with the process that holds it, however that dies; a slot that was being
written then starts anew. Nobody waits long for the lock: what cannot be written down within two milliseconds is not,
which costs a statistic, never a request; a probe's verdict is told again (see breaker.py).
"""

import errno
import fcntl
import hashlib
import logging
import mmap
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from ctypes import Array, Structure, addressof, c_char, c_int64, memset, sizeof
from pathlib import Path
from threading import Lock
from typing import Self

from serving.providers.slot import Slot, SlotWords

logger = logging.getLogger(__name__)

SLOTS_MAX = 16
"""Twice the longest chain."""
LOCK_S_MAX = 0.002
ATTACH_S_MAX = 1.0

_LAYOUT = b"assay-providers-1"


class _Memory(Structure):
    layout: bytes
    made_ns: int
    slots: Array[SlotWords]
    _fields_ = (("layout", c_char * 32), ("made_ns", c_int64), ("slots", SlotWords * SLOTS_MAX))


SIZE = sizeof(_Memory)


class Board:
    """The memory and its lock; made by `Board.shared` or `Board.private`."""

    def __init__(self, memory: _Memory, clock: Callable[[], int], descriptor: int | None = None) -> None:
        self._memory = memory
        self._descriptor = descriptor
        self._thread = Lock()
        self._is_open = True
        self.clock = clock
        """Nanoseconds that never go back; the same for all processes of the node."""

    @classmethod
    def private(cls, clock: Callable[[], int] = time.monotonic_ns) -> Self:
        """A board that this process keeps to itself."""
        return cls(_Memory(layout=_LAYOUT, made_ns=clock()), clock)

    @classmethod
    def shared(cls, path: Path, clock: Callable[[], int] = time.monotonic_ns) -> Self:
        """The board of this node's workers, in the file `path`; a private one when the file cannot be used.

        A file that is not ours, or was written before the machine started, is begun anew. It outlives its workers: what
        they knew of a dead provider spares those who come after them, and heals by itself within a cool-down.
        """
        try:
            return cls._mapped(path, clock)
        except OSError as error:
            logger.warning("cannot use %s (%s): each worker judges providers by itself", path, error.strerror)
            return cls.private(clock)

    @classmethod
    def _mapped(cls, path: Path, clock: Callable[[], int]) -> Self:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_size < SIZE:  # never shorter: somebody may have it mapped
                os.posix_fallocate(descriptor, 0, SIZE)  # no room shows here, not as SIGBUS later
            board = cls(_Memory.from_buffer(mmap.mmap(descriptor, SIZE)), clock, descriptor)
            board._check()
        except OSError:
            os.close(descriptor)
            raise
        return board

    def slot(self, provider: str, model: str) -> Slot:
        """The slot of a provider and model; of this process's own when the board is full."""
        key = hashlib.sha256(f"{provider}\0{model}".encode()).hexdigest()[:31].encode()
        with self._alone(ATTACH_S_MAX) as alone:
            if alone:
                for words in self._memory.slots:
                    if words.key in {key, b""}:
                        words.key = key
                        return Slot(words, self.writing, self.clock)
        logger.warning("no room for %s on the board: this worker judges it by itself", provider)
        return Board.private(self.clock).slot(provider, model)

    @contextmanager
    def writing(self, words: SlotWords) -> Generator[bool]:
        """Hold the lock to change a slot; False when it could not be had in time, and then nothing may be written."""
        with self._alone(LOCK_S_MAX) as alone:
            if alone:
                if words.is_written:
                    words.clear()
                words.is_written = 1
            yield alone
            if alone:
                words.is_written = 0  # after an exception it stays, and the next one clears the slot

    def close(self) -> None:
        """Let go of the file; slots go on answering and no longer write."""
        self._is_open = False
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def _alone(self, wait_s: float) -> Generator[bool]:
        if not self._thread.acquire(timeout=wait_s):
            yield False
            return
        try:
            if not self._is_open or not self._lock_file(wait_s):
                yield False
                return
            try:
                yield True
            finally:
                if self._descriptor is not None:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._thread.release()

    def _lock_file(self, wait_s: float) -> bool:
        if self._descriptor is None:
            return True
        give_up = time.perf_counter() + wait_s
        while True:
            # Of the open file and not of the process (as lockf): it also keeps two boards of one process apart.
            with suppress(BlockingIOError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            if time.perf_counter() >= give_up:
                return False
            os.sched_yield()

    def _check(self) -> None:
        with self._alone(ATTACH_S_MAX) as alone:
            if not alone:
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            memory, now_ns = self._memory, self.clock()
            if memory.layout != _LAYOUT or not 0 < memory.made_ns <= now_ns:
                memset(addressof(memory), 0, SIZE)
                memory.layout, memory.made_ns = _LAYOUT, now_ns
            for words in memory.slots:
                if not words.is_sane(now_ns):
                    words.clear()
