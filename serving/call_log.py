"""The two audit entries of a call: the intent before anything is asked, the outcome on every way out."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from registry.audit.log import AuditLog, LogUnavailable, commitment
from registry.errors import AssayError, JsonValue, Unavailable
from registry.insights import AuditPosition, Question
from registry.tenants import Principal
from serving.request_context import current

logger = logging.getLogger(__name__)

SALT_BYTES = 32
DRAIN_S = 10.0
"""How long a stopping process waits for the outcomes of calls that were cut off."""

Outcome = Literal["served", "refused", "failed", "deadline-exceeded", "cancelled"]
"""How a call ended.

* served - an insight left
* refused - the question could not be used, or was not allowed
* failed - something that it needed is down, or a bug
* deadline-exceeded - the time was over
* cancelled - the process was stopped, or the caller gave up
"""

REFUSALS = {"input-blocked"}
"""Codes of refusals that come as provider errors: the vendor declined the content."""
OURS = {"unpriced-model"}
"""Codes of bad configuration, which the caller cannot mend though the error says invalid input."""

T = TypeVar("T")


class DeadlineExceeded(Unavailable):
    """The call's time was over before there was an answer."""

    code = "deadline-exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One question on its way, named and bound before anything happens to it."""

    id: str
    question: Question
    caller: Principal
    tenant: str
    billed_to: str
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(SALT_BYTES))

    def intent(self, hashed: Callable[[str, str], str]) -> dict[str, JsonValue]:
        """The body of the intent entry: ids, keyed hashes and commitments."""
        ids = current.get()
        return {
            "insight": self.id,
            "tenant": self.tenant,
            "billed_to": self.billed_to,
            "use_case": self.question.use_case,
            "key": self.caller.key_id,
            "role": self.caller.role,
            "platform_key": self.caller.tenant is None,
            "subject": self._subject(hashed),
            "session": self._session(hashed),
            "question": commitment(self.question.model_dump_json(), self.salt),
            "request_id": ids.request_id,
            "trace_id": ids.trace_id,
        }

    def unit(self, hashed: Callable[[str, str], str]) -> str | None:
        """Who asks, as experiments tell callers apart: the subject's hash, else the session's; None: nobody knows."""
        return self._subject(hashed) or self._session(hashed)

    def _subject(self, hashed: Callable[[str, str], str]) -> str | None:
        subject = self.question.subject
        return None if subject is None else hashed(self.tenant, subject)

    def _session(self, hashed: Callable[[str, str], str]) -> str | None:
        session = self.question.session
        return None if session is None else hashed(self.tenant, f"session\0{session}")


class OpenCall:
    """A call whose intent is in the log and whose outcome is not."""

    def __init__(self, log: AuditLog, index: int, call: Call) -> None:
        self._log = log
        self._index = index
        self._call = call
        self.closed = False
        self.spent: dict[str, JsonValue] = {}
        """What models have used and cost so far, in case no answer comes of it."""

    async def close(self, outcome: Outcome, body: dict[str, JsonValue]) -> AuditPosition:
        """Write the outcome; it is durable when this returns.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        self.closed = True
        return await self._log.outcome(self._index, outcome, {"insight": self._call.id, **body})

    async def correct(self, code: str) -> None:
        """Note that a call closed as served did not reach its caller after all."""
        body: dict[str, JsonValue] = {"insight": self._call.id, "intent": self._index, "code": code}
        await self._log.note("insight-lost", body)


class CallLog:
    """Opens and closes calls in this process's audit log."""

    def __init__(
        self, log: AuditLog, subject_hash: Callable[[str, str], str], on_end: Callable[[str, Outcome], None]
    ) -> None:
        self._log = log
        self._subject_hash = subject_hash
        self._on_end = on_end
        self._idle = asyncio.Event()
        self._idle.set()
        self._open = 0

    @asynccontextmanager
    async def entry(self, call: Call) -> AsyncGenerator[OpenCall]:
        """The frame of one call: durable intent first, an outcome whatever happens inside.

        Raises:
            LogUnavailable: the log cannot be written; nothing was asked then.
        """
        self._open += 1
        self._idle.clear()
        outcome: Outcome = "served"
        try:
            opened = await self._intent(call)
            try:
                yield opened
            except BaseException as error:  # also a cancelled call gets its outcome; raised on
                outcome = _outcome_of(error)
                if not opened.closed:
                    await to_the_end(self._close_failed(opened, outcome, error))
                raise
        except LogUnavailable:
            outcome = "failed"
            raise
        finally:
            self._on_end(call.question.use_case, outcome)
            self._open -= 1
            if self._open == 0:
                self._idle.set()

    async def note_read(self, insight_id: str, caller: Principal) -> None:
        """Record who looked an insight up.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        await self._log.note("insight-read", {"insight": insight_id, **_by(caller)})

    def note_feedback(self, caller: Principal, body: Mapping[str, JsonValue]) -> None:
        """Record who said what about an insight; blocks, so it is for a thread of its own.

        Raises:
            LogUnavailable: the log cannot be written.
        """
        self._log.note_now("insight-feedback", {**body, **_by(caller)})

    async def drain(self) -> None:
        """Wait until every call that was cut off has its outcome in the log."""
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._idle.wait()
        except TimeoutError:
            logger.error("%d calls have no outcome yet; recovery will close them as abandoned", self._open)  # noqa: TRY400 - no trace to show

    async def _intent(self, call: Call) -> OpenCall:
        writing = asyncio.ensure_future(self._log.intent("insight", call.intent(self._subject_hash)))
        try:
            index = await asyncio.shield(writing)
        except asyncio.CancelledError:
            opened = OpenCall(self._log, await writing, call)
            await self._close_failed(opened, "cancelled", asyncio.CancelledError())
            raise
        return OpenCall(self._log, index, call)

    async def _close_failed(self, opened: OpenCall, outcome: Outcome, error: BaseException) -> None:
        body: dict[str, JsonValue] = {"error": type(error).__name__, **opened.spent}
        if isinstance(error, AssayError):
            body["code"] = error.code
        try:
            await opened.close(outcome, body)
        except LogUnavailable:
            # The caller gets the first error; recovery closes the intent when the log can be written again.
            logger.exception("the outcome of a failed call could not be written")


def _by(caller: Principal) -> dict[str, JsonValue]:
    ids = current.get()
    return {
        "key": caller.key_id,
        "role": caller.role,
        "platform_key": caller.tenant is None,
        "request_id": ids.request_id,
        "trace_id": ids.trace_id,
    }


async def to_the_end(work: Awaitable[T]) -> T:
    """Await `work` to its end even when the caller is cancelled meanwhile; the cancellation comes through after it."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def messages_commitment(texts: list[str], salt: bytes) -> str:
    """Bind an entry to what a model was sent: over the length-prefixed turns, so that no two lists look alike."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return commitment(digest.hexdigest(), salt)


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, DeadlineExceeded):
        return "deadline-exceeded"
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "cancelled"
    if isinstance(error, AssayError) and error.code not in OURS:
        return "refused" if error.code in REFUSALS or not isinstance(error, Unavailable) else "failed"
    return "failed"
