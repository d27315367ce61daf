"""Sees every attempt at a vendor, however it ends, and tells what it cost: the innermost wrapper.

It is also where time ends, and the only place: an attempt is stopped at the request's deadline, or after
ATTEMPT_S_MAX without one, whatever the vendor's door does. A second timer inside of it would strike in the same moment
and make the same end look like another one.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from registry.messages import Attempt, Completion, CompletionRequest, Delta, Progress, StreamEvent, Usage
from serving.providers.base import ATTEMPT_S_MAX, Garbled, Provider, ProviderError, TimedOut, Unreachable
from serving.providers.tokens import BYTES_PER_TOKEN, estimated_tokens
from serving.providers.wrapper import Wrapper

logger = logging.getLogger(__name__)

TIMER_SLACK_S = 0.005
"""uvloop's timers and clock count whole milliseconds."""
MAY_BILL = (TimedOut, Unreachable, Garbled)
"""Errors after which a vendor may have worked for us, unless the error says what was used."""
Observer = Callable[[Attempt], None]


class Metered(Wrapper):
    """Tells the request's `on_attempt` and every observer of each attempt, exactly once.

    Usage is what the vendor reported, with the answer, with the error, or at the start of an answer that was left
    (`Progress`), its output raised to an estimate of what was written; a vendor's door reports none used where the
    vendor was not reached. Where nothing is reported: an estimate when the vendor may have worked (cancelled, timed
    out, broken off, unreadable), of the prompt and of what was written; nothing when it refused to begin.
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
            async with meter.limit():
                completion = await self.inner.complete(meter.request)
        except TimeoutError:
            raise meter.timed_out() from None
        except BaseException as error:  # every way out is told, a cancellation too; raised on
            meter.failed(error)
            raise
        meter.answered(completion)
        return completion

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Make the attempt piece by piece; each before the deadline, and the beginning before its own.

        Raises:
            TimedOut: a deadline came first.
            Unreachable: the vendor's stream ended without a completion.
        """
        meter = _Meter(self.inner, request, self._observers, streamed=True)
        try:
            async with aclosing(self.inner.stream(meter.request)) as events:
                while isinstance(event := await self._next(events, meter), Delta):
                    meter.streamed(event.text)
                    yield event
                meter.answered(event)
                yield event
        except TimeoutError:
            raise meter.timed_out() from None
        except BaseException as error:  # every way out is told, a cancellation too; raised on
            meter.failed(error)
            raise

    async def _next(self, events: AsyncGenerator[StreamEvent], meter: "_Meter") -> StreamEvent:
        # One limit a piece: a limit around a `yield` would interrupt the reader, not the vendor.
        async with meter.limit():
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
        self._progress = Progress()
        self._on_begin = request.on_begin
        self._timer: asyncio.Timeout | None = None
        self._last = min(request.deadline, self._started + ATTEMPT_S_MAX)
        self.end = min(self._last, request.first_delta_deadline)
        """When the answer, or its beginning, has to be there."""
        if self.end <= self._started:
            raise TimedOut(f"no time was left to ask {provider.name}")
        self.request = replace(request, deadline=self._last, on_begin=self.began, progress=self._progress)

    def limit(self) -> asyncio.Timeout:
        """The limit on what is awaited next; it moves to the attempt's own when the answer begins.

        Raises:
            TimeoutError: the time is over: a piece that is there already is never waited for, and no timer strikes.
        """
        if self._clock() >= self.end:
            raise TimeoutError
        self._timer = asyncio.timeout_at(self.end)
        return self._timer

    def began(self) -> None:
        """The model is at work on the answer, whether or not there is something to show."""
        if not self._streamed or self._first_byte_s is not None:
            return
        self._first_byte_s = self._clock() - self._started
        self.end = self._last
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self.end)
        self._on_begin()

    def streamed(self, text: str) -> None:
        """A piece of the answer arrived."""
        self._timer = None  # it is over: nothing is awaited while the reader has the piece
        self.began()
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
        said = error if isinstance(error, ProviderError) else ProviderError("")
        known = self._progress
        usage, estimated = said.usage, said.usage_estimated
        if usage is None:
            worked = cancelled or self._first_byte_s is not None or isinstance(error, MAY_BILL)
            usage, estimated = self._used(worked=worked, interrupted=cancelled or isinstance(error, TimedOut))
        self._tell(outcome, usage, said.model or known.model, said.request_id or known.request_id, estimated=estimated)

    def _used(self, *, worked: bool, interrupted: bool) -> tuple[Usage, bool]:
        """What an answer that was never finished has used, and whether that is an estimate.

        It is one when we broke the attempt off: the vendor may have written more than it had told by then.
        """
        written = -(-max(self._streamed_bytes, self._progress.written_bytes) // BYTES_PER_TOKEN)
        counted = self._progress.usage
        if counted is not None:
            # What was counted at the start of a stream does not hold what was written since.
            return replace(counted, output=max(counted.output, written)), interrupted or written > counted.output
        if not worked:
            return Usage(), False
        prompt = (message.content for message in self.request.messages)
        return Usage(input=estimated_tokens(*prompt), output=written), True

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
