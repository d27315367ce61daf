"""Sees every attempt at a vendor, however it ends, and tells what it cost: the innermost wrapper.

It is also where time ends: an attempt is stopped at the request's deadline, or after ATTEMPT_S_MAX without one,
whatever the vendor's door does.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from registry.messages import Attempt, Completion, CompletionRequest, Delta, StreamEvent, Usage
from serving.providers.base import Garbled, Provider, ProviderError, TimedOut, Unreachable
from serving.providers.tokens import BYTES_PER_TOKEN, estimated_tokens
from serving.providers.wrapper import Wrapper

logger = logging.getLogger(__name__)

ATTEMPT_S_MAX = 120.0
TIMER_SLACK_S = 0.005
"""uvloop's timers and clock count whole milliseconds."""
MAY_BILL = (TimedOut, Unreachable, Garbled)
"""Errors after which a vendor may have worked for us, unless the error says what was used."""
Observer = Callable[[Attempt], None]


class Metered(Wrapper):
    """Tells the request's `on_attempt` and every observer of each attempt, exactly once.

    Usage is what the vendor reported, with the answer or with the error; a vendor's door reports none used where the
    vendor was not reached. Where nothing is reported: an estimate when the vendor may have worked (cancelled, timed
    out, broken off, unreadable), of the prompt and of what was streamed; nothing when it refused to begin.
    """

    def __init__(self, inner: Provider, observers: Sequence[Observer] = ()) -> None:
        super().__init__(inner)
        self._observers = tuple(observers)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Make the attempt, within the deadline.

        Raises:
            TimedOut: the deadline came first.
        """
        meter = _Meter(self.inner, request, self._observers, streamed=False)
        try:
            async with asyncio.timeout_at(meter.end):
                completion = await self.inner.complete(meter.request)
        except TimeoutError:
            raise meter.timed_out() from None
        except BaseException as error:
            meter.failed(error)
            raise
        meter.answered(completion)
        return completion

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Make the attempt piece by piece; each has to come before the deadline, the first before its own.

        Raises:
            TimedOut: a deadline came first.
            Unreachable: the vendor's stream ended without a completion.
        """
        meter = _Meter(self.inner, request, self._observers, streamed=True)
        try:
            async with aclosing(self.inner.stream(meter.request)) as events:
                while isinstance(event := await self._next(events, meter.end), Delta):
                    meter.streamed(event.text)
                    yield event
                meter.answered(event)
                yield event
        except TimeoutError:
            raise meter.timed_out() from None
        except BaseException as error:
            meter.failed(error)
            raise

    async def _next(self, events: AsyncGenerator[StreamEvent], end: float) -> StreamEvent:
        # One limit a piece: a limit around a `yield` would interrupt the reader, not the vendor.
        async with asyncio.timeout_at(end):
            event = await anext(events, None)
        if event is None:
            raise Unreachable(f"{self.name} ended its stream before the answer was whole")
        return event


class _Meter:
    """One attempt while it runs."""

    def __init__(
        self, provider: Provider, request: CompletionRequest, observers: Sequence[Observer], *, streamed: bool
    ) -> None:
        self._clock = asyncio.get_running_loop().time
        self._provider = provider
        self._observers = observers
        self._started = self._clock()
        self._streamed = streamed
        self._first_byte_s: float | None = None
        self._streamed_bytes = 0
        self._told = False
        self._last = min(request.deadline, self._started + ATTEMPT_S_MAX)
        self.end = min(self._last, request.first_delta_deadline)
        """When the next event has to be there."""
        if self.end <= self._started:
            raise TimedOut(f"no time was left to ask {provider.name}")
        self.request = request if request.deadline <= self._last else replace(request, deadline=self._last)

    def streamed(self, text: str) -> None:
        """A piece of the answer arrived."""
        if self._first_byte_s is None:
            self._first_byte_s = self._clock() - self._started
            self.end = self._last
        self._streamed_bytes += len(text.encode("utf-8", "replace"))

    def answered(self, completion: Completion) -> None:
        """The answer is whole."""
        self._tell(
            "answered", completion.usage, completion.model, completion.request_id, estimated=completion.usage_estimated
        )

    def timed_out(self) -> TimedOut:
        """The deadline came first; gives the error to raise."""
        error = TimedOut(f"{self._provider.name} gave no whole answer in time")
        self.failed(error)
        return error

    def failed(self, error: BaseException) -> None:
        """The attempt ended without an answer: an error, a cancellation, or a reader who left."""
        cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        outcome = "cancelled" if cancelled else type(error).__name__
        if isinstance(error, asyncio.CancelledError) and self._clock() >= self.end - TIMER_SLACK_S:
            # The caller's own limit struck in the same moment: the vendor had all the time there was.
            outcome = TimedOut.__name__
        known = error if isinstance(error, ProviderError) else ProviderError("")
        usage, estimated = known.usage or Usage(), known.usage_estimated
        worked = cancelled or self._first_byte_s is not None or isinstance(error, MAY_BILL)
        if known.usage is None and worked:
            usage, estimated = self._estimate(), True
        self._tell(outcome, usage, known.model, known.request_id, estimated=estimated)

    def _estimate(self) -> Usage:
        prompt = (message.content for message in self.request.messages)
        return Usage(input=estimated_tokens(*prompt), output=-(-self._streamed_bytes // BYTES_PER_TOKEN))

    def _tell(self, outcome: str, usage: Usage, model: str | None, request_id: str | None, *, estimated: bool) -> None:
        if self._told:
            return
        self._told = True
        attempt = Attempt(
            provider=self._provider.name,
            model=model or self._provider.model,
            asked_model=self._provider.model,
            usage=usage,
            estimated=estimated,
            outcome=outcome,
            seconds=self._clock() - self._started,
            streamed=self._streamed,
            first_byte_s=self._first_byte_s,
            request_id=request_id,
        )
        self.request.on_attempt(attempt)
        for observe in self._observers:
            try:
                observe(attempt)
            except Exception:  # who watches a provider must not fail its answer
                logger.exception("an observer of provider %s failed", self._provider.name)
