"""The audit log: every call writes an intent before it acts and an outcome after.

One process, one log, one file `NAME.jsonl`. Both entries are durable before they are acknowledged, so a crash
cannot hide a call: the next process that opens a log closes the open intents of the dead as `abandoned`.
Entries hold ids, hashes and salted commitments, never content: that lives in the vault, where it can be erased.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Self

from registry.audit.appender import BATCH_ENTRIES_MAX, Appender, LogUnavailable
from registry.audit.recovery import CLOSED, OPENED, DamagedLog, Tail, lock, repair
from registry.errors import InvalidInput, JsonValue
from registry.insights import AuditPosition

__all__ = ["AuditLog", "LogUnavailable", "commitment"]

logger = logging.getLogger(__name__)

ENTRY_BYTES_MAX = 16_384
"""Largest entry; a body of ids and hashes needs a tenth of it."""
DURABLE_TIMEOUT_S = 10.0
"""How long a caller waits for the disk."""
ABANDONED = "abandoned"
"""Status of the outcome that recovery writes for a call whose process died."""

_ROLE = re.compile(r"[a-z][a-z0-9-]{0,30}")
_BEGIN_ATTEMPTS = 5

Phase = Literal["intent", "outcome", "note"]


def commitment(text: str, salt: bytes) -> str:
    """Bind an entry to a text without revealing it: HMAC-SHA256 under a salt that lives in the vault."""
    return hmac.new(salt, text.encode(), hashlib.sha256).hexdigest()


class AuditLog:
    """The log of this process. Open it once, share it between tasks and threads, close it at the end."""

    def __init__(self, name: str, appender: Appender, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        """First half of every position; unique over all processes and machines."""
        self._appender = appender
        self._clock = clock
        self._open: dict[int, str] = {}
        """Index and kind of each intent that still has no outcome."""

    @classmethod
    def open(
        cls,
        directory: Path,
        name: str,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> Self:
        """Continue a log of this name whose process is gone, or begin one; settle all others that are orphaned.

        Args:
            directory: the logs of one machine, on a local disk: flock tells who is alive.
            name: what the process does, e.g. `serve`; the log's full name is `serve-` and an id.
            clock: seconds since the epoch.
            new_id: the id of a log that is begun.

        Raises:
            InvalidInput: the name cannot be a part of a file name.
            LogUnavailable: the directory or the disk cannot be written.
        """
        if _ROLE.fullmatch(name) is None:
            raise InvalidInput(f"a log cannot be named {name!r}; use lower-case letters, digits and '-'")
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            log = cls._take_over(directory, name, clock) or cls._begin(directory, name, clock, new_id)
        except OSError as error:
            reason = error.strerror
            raise LogUnavailable(f"cannot open an audit log in {str(directory)!r}: {reason}") from error
        log.note_now(OPENED, {"log": log.name})
        return log

    @classmethod
    def _take_over(cls, directory: Path, name: str, clock: Callable[[], float]) -> Self | None:
        mine: Self | None = None
        for path in sorted(directory.glob("*.jsonl")):
            descriptor = lock(path)
            if descriptor is None:
                continue  # its process lives
            try:
                tail = repair(descriptor, path.stem)
            except DamagedLog as error:
                logger.error("audit log %s is damaged and left as it is: %s", path.stem, error)  # noqa: TRY400 - the reason is enough
                os.close(descriptor)
                continue
            wanted = mine is None and path.stem.rpartition("-")[0] == name
            if tail.closed and not wanted:
                os.close(descriptor)
                continue
            log = cls(path.stem, Appender(descriptor, tail.head), clock)
            log._settle(tail)
            if wanted:
                mine = log
            else:
                log.close()
        return mine

    @classmethod
    def _begin(cls, directory: Path, name: str, clock: Callable[[], float], new_id: Callable[[], str]) -> Self:
        for _ in range(_BEGIN_ATTEMPTS):
            path = directory / f"{name}-{new_id()}.jsonl"
            descriptor = lock(path, create=True)
            if descriptor is None:
                continue  # another process, starting too, was quicker to lock it
            folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return cls(path.stem, Appender(descriptor, repair(descriptor, path.stem).head), clock)
        raise LogUnavailable(f"cannot begin an audit log in {str(directory)!r}; try again")

    def _settle(self, tail: Tail) -> None:
        """Close what the dead process left open."""
        orphans = list(tail.orphans.items())
        for start in range(0, len(orphans), BATCH_ENTRIES_MAX):
            some = orphans[start : start + BATCH_ENTRIES_MAX]
            written = [self._append("outcome", kind, {}, intent=index, status=ABANDONED) for index, kind in some]
            for future in written:
                _wait(future)
        if orphans:
            logger.warning("audit log %s: closed %d abandoned calls", self.name, len(tail.orphans))

    async def intent(self, kind: str, body: Mapping[str, JsonValue]) -> int:
        """Record that something is about to happen; it may happen only once this returns.

        Args:
            kind: what, e.g. `insight`.
            body: ids, hashes and commitments.

        Returns:
            The entry's index, which its outcome has to name.

        Raises:
            LogUnavailable: the entry is not durable, so the call must not go on.
            InvalidInput: the entry is larger than ENTRY_BYTES_MAX.
        """
        return await _durable(self._append("intent", kind, body))

    async def outcome(self, intent: int, status: str, body: Mapping[str, JsonValue]) -> AuditPosition:
        """Record how it ended; each intent gets exactly one outcome.

        Raises:
            LogUnavailable: the entry is not durable; the intent stays open and may be settled again.
            InvalidInput: no such intent is open, or the entry is too large.
        """
        kind = self._open.pop(intent, None)
        if kind is None:
            raise InvalidInput(f"intent {intent} of log {self.name!r} is not open")
        try:
            future = self._append("outcome", kind, body, intent=intent, status=status)
        except (LogUnavailable, InvalidInput):
            self._open[intent] = kind
            raise
        return AuditPosition(log=self.name, index=await _durable(future))

    async def note(self, kind: str, body: Mapping[str, JsonValue]) -> AuditPosition:
        """Record something that is true in one moment, e.g. a promotion.

        Raises:
            LogUnavailable: the entry is not durable.
            InvalidInput: the entry is larger than ENTRY_BYTES_MAX.
        """
        return AuditPosition(log=self.name, index=await _durable(self._append("note", kind, body)))

    def note_now(self, kind: str, body: Mapping[str, JsonValue]) -> AuditPosition:
        """As `note`, for callers without an event loop."""
        return AuditPosition(log=self.name, index=_wait(self._append("note", kind, body)))

    def close(self) -> None:
        """Write what is queued and give the log back; an intent still open is left for recovery."""
        if self._appender.closed:
            return
        try:
            if not self._open:
                self.note_now(CLOSED, {})
        except LogUnavailable as error:
            logger.warning("audit log %s was not closed in good order: %s", self.name, error)
        self._appender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(
        self,
        phase: Phase,
        kind: str,
        body: Mapping[str, JsonValue],
        *,
        intent: int | None = None,
        status: str | None = None,
    ) -> "Future[int]":
        entry: dict[str, JsonValue] = {
            "at_ms": int(self._clock() * 1000),
            "phase": phase,
            "kind": kind,
            "body": dict(body),
        }
        if phase == "outcome":
            entry |= {"intent": intent, "status": status}
        try:
            members = json.dumps(entry, allow_nan=False, sort_keys=True, separators=(",", ":"))[1:-1]
        except ValueError as error:
            raise InvalidInput(f"an audit entry of kind {kind!r} holds a number JSON cannot write") from error
        if len(members) > ENTRY_BYTES_MAX:
            raise InvalidInput(
                f"an audit entry of kind {kind!r} has {len(members)} bytes, at most {ENTRY_BYTES_MAX} fit; "
                "put content into the vault"
            )
        future = self._appender.append(members)
        future.add_done_callback(lambda done: self._remember(done, phase, kind, intent))
        return future

    def _remember(self, done: "Future[int]", phase: Phase, kind: str, intent: int | None) -> None:
        """Keep `_open` true to the file, also when the caller was cancelled or stopped waiting."""
        failed = done.exception() is not None
        if phase == "intent" and not failed:
            self._open[done.result()] = kind
        elif intent is not None and failed:
            self._open[intent] = kind


async def _durable(future: "Future[int]") -> int:
    try:
        async with asyncio.timeout(DURABLE_TIMEOUT_S):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise _slow() from error


def _wait(future: "Future[int]") -> int:
    try:
        return future.result(DURABLE_TIMEOUT_S)
    except TimeoutError as error:
        raise _slow() from error


def _slow() -> LogUnavailable:
    return LogUnavailable(f"the audit log's disk did not answer within {DURABLE_TIMEOUT_S:.0f} s; try again")
