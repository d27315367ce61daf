"""The port to a language model, and everything that can go wrong behind it.

* ProviderError (code `providers-unavailable`)
  x Transient - worth another attempt, here or at the next provider
    + RateLimited, Overloaded, TimedOut, Unreachable, Garbled
  x NotAsked - we did not ask the vendor; the next provider may answer
    + Saturated (our own limit), CircuitOpen (the breaker)
  x Rejected - this vendor will not answer this request; never retried there
    + ContextTooLong, SchemaFailure, AuthenticationFailed, ModelNotFound
  x ContentRefused - the vendor declined the content; a result, not a fault (code `input-blocked`)

Any of them may carry `retry_after_s`: a vendor says when to come back with 503 and 529 as with 429.

Messages name the provider, a status and a vendor's error code. They never carry a vendor's own sentence: those
quote prompts and parts of keys.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from registry.errors import JsonValue, Unavailable
from registry.messages import Completion, CompletionRequest, StreamEvent, Usage

ATTEMPT_S_MAX = 120.0
"""No attempt takes longer, however far the deadline is."""
PING_S_MAX = 5.0
RETRY_AFTER_S_MAX = 3_600.0
"""A vendor that asks for more than an hour is taken to mean an hour."""


class Provider(Protocol):
    """One model at one vendor, or a wrapper that behaves like one."""

    @property
    def name(self) -> str:
        """Name in the chain, e.g. `openai`."""
        ...

    @property
    def model(self) -> str:
        """The model that is asked for, as the vendor names it."""
        ...

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer; a vendor's door makes one attempt, never logs content, and leaves the deadline to `Metered`.

        Raises:
            ProviderError: one of the tree above.
        """
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As `complete`, piece by piece: deltas, then the completion. Closing the generator ends the call.

        Raises:
            ProviderError: while iterating; after the first delta the answer is broken off and not taken up elsewhere.
        """
        ...

    async def ping(self) -> None:
        """The cheapest call that shows that the vendor answers us, within PING_S_MAX; costs no tokens.

        Raises:
            ProviderError: it does not.
        """
        ...

    async def aclose(self) -> None:
        """Give connections back; call once, when the process ends."""
        ...


class ProviderError(Unavailable):
    """An attempt at a provider failed; `usage` says what it cost all the same."""

    code = "providers-unavailable"

    def __init__(
        self,
        message: str,
        *,
        usage: Usage | None = None,
        usage_estimated: bool = False,
        model: str | None = None,
        request_id: str | None = None,
        should_retry: bool | None = None,
        retry_after_s: float | None = None,
        answer: str | None = None,
        details: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(message, **(details or {}))
        self.usage = usage
        """Tokens that the vendor bills for the failed attempt; None when nothing was generated or reported."""
        self.usage_estimated = usage_estimated
        """The vendor did not say how much it wrote; `usage` holds our estimate."""
        self.model = model
        """The model that answered, as the vendor names it; None when none did or the vendor does not say."""
        self.request_id = request_id
        """The vendor's id of the call, for support cases."""
        self.should_retry = should_retry
        """What the vendor's `x-should-retry` header says about asking again; None when it says nothing."""
        self.retry_after_s = retry_after_s
        """Seconds after which asking again may help, 0 to 3600, as the vendor or our own limit says; None: unknown."""
        self.answer = answer
        """What the model wrote, when it wrote the wrong thing; never logged."""


class Transient(ProviderError):
    """Worth another attempt, here later or at the next provider now."""


class RateLimited(Transient):
    """The vendor throttles us."""


class Overloaded(Transient):
    """The vendor failed on its side (5xx, 529)."""


class TimedOut(Transient):
    """No whole answer within the attempt's time."""


class Unreachable(Transient):
    """No connection, or it broke before the answer was whole."""


class Garbled(Transient):
    """The vendor answered something that is not its own format, or far too much of it."""


class NotAsked(ProviderError):
    """We kept the request from the vendor, which therefore neither failed nor bills anything."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, retry_after_s=retry_after_s, details={"retry_after_s": retry_after_s})


class Saturated(NotAsked):
    """As many requests as we allow are at this provider, and as many as we allow are waiting (code `rate-limited`)."""

    code = "rate-limited"


class CircuitOpen(NotAsked):
    """This provider failed too often of late and is left alone for a while."""


class Rejected(ProviderError):
    """This vendor will not answer this request; asking again changes nothing."""


class ContextTooLong(Rejected):
    """The prompt does not fit into the model's context; a larger model may take it."""


class SchemaFailure(Rejected):
    """The model did not produce the JSON that the output schema asks for."""


class AuthenticationFailed(Rejected):
    """The vendor does not accept this account: key, rights or quota."""


class ModelNotFound(Rejected):
    """The vendor does not know the model or the address."""


class ContentRefused(ProviderError):
    """The vendor's filter declined the request's content; another vendor is not asked."""

    code = "input-blocked"


ErrorTable = Mapping[type[Exception], Callable[[Exception], ProviderError]]
"""From a vendor's exception class to what it means here; the most derived class found wins."""


@contextmanager
def translate(table: ErrorTable) -> Generator[None]:
    """Turn a vendor's exceptions into ours, by a table, once, at the edge.

    Raises:
        ProviderError: for every exception whose class, or nearest base class, is in the table.
    """
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:  # looked up in the table; what is not there is raised on
        for kind in type(error).__mro__:
            if (meaning := table.get(kind)) is not None:
                # Without the cause: a traceback would print the vendor's sentence, which may quote prompt or key.
                raise _told(meaning, error) from None
        raise


def _told(meaning: Callable[[Exception], ProviderError], error: Exception) -> ProviderError:
    try:
        return meaning(error)
    except Exception:  # noqa: BLE001 - what a vendor sends must neither get past the chain nor into a traceback
        return Garbled(f"a provider failed with an error that cannot be read ({type(error).__name__})")


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that `retry-after-ms` or `retry-after` (seconds or an HTTP date) ask for, 0 to 3600.

    None when neither is there or neither can be read. `headers` has to ignore case, as HTTP clients' mappings do.
    """
    wait: float | None = _number(headers.get("retry-after-ms"), scale=0.001)
    text = headers.get("retry-after")
    if wait is None:
        wait = _number(text, scale=1.0)
    if wait is None and text:
        try:
            date = parsedate_to_datetime(text)
            at = date if date.tzinfo else date.replace(tzinfo=UTC)
            wait = (at - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, OverflowError):  # no date, or one beyond all calendars
            return None
    return None if wait is None else min(max(wait, 0.0), RETRY_AFTER_S_MAX)


def _number(text: str | None, scale: float) -> float | None:
    try:
        value = float(text) * scale if text else None
    except ValueError:
        return None
    return None if value is None or value != value else value  # noqa: PLR0124 - NaN is the one value unlike itself
