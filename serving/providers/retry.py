"""Asks a provider again when that is worth it: few times, after a random wait, within a share of its traffic."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import Provider, ProviderError, Transient
from serving.providers.traffic_budget import TrafficBudget
from serving.providers.wrapper import Count, Wrapper, uncounted

RETRIES_MAX = 2
BASE_S = 0.25
RETRY_AFTER_S_MAX = 5.0
"""A vendor that asks for more is left to the next provider."""


def retry_budget() -> TrafficBudget:
    """At most 10 % of the offered requests, and two: 8.5 % of what comes here, with hedges and repairs among it."""
    return TrafficBudget(share=0.085, start=1.0, cap=10.0)


class Retry(Wrapper):
    """Repeats attempts that failed for a passing reason; what we kept from the vendor (NotAsked) is not repeated.

    The wait is drawn between 0 and BASE_S * 2^n ("full jitter": AWS Architecture Blog, Exponential Backoff And
    Jitter), on top of what the vendor's Retry-After asks for, whatever the status. `x-should-retry` overrules which
    failures are worth it, not how long we wait or how much we ask. A stream is repeated only before its first piece.
    """

    def __init__(
        self,
        inner: Provider,
        budget: TrafficBudget,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
        count: Count = uncounted,
    ) -> None:
        super().__init__(inner)
        self._budget = budget
        self._uniform = uniform
        self._count = count

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, and ask again.

        Raises:
            ProviderError: of the last attempt.
        """
        self._budget.offer()
        for number in range(RETRIES_MAX):
            try:
                return await self.inner.complete(request)
            except ProviderError as error:
                wait_s = self._wait_s(error, number, request)
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
        return await self.inner.complete(request)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask, and ask again while nothing has arrived.

        Raises:
            ProviderError: of the last attempt.
        """
        self._budget.offer()
        for number in range(RETRIES_MAX + 1):
            begun = False
            try:
                async with aclosing(self.inner.stream(request)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except ProviderError as error:
                wait_s = None if begun or number == RETRIES_MAX else self._wait_s(error, number, request)
                if wait_s is None:
                    raise
            else:
                return
            await asyncio.sleep(wait_s)

    def _wait_s(self, error: ProviderError, number: int, request: CompletionRequest) -> float | None:
        """How long to wait before asking again; None when it is not worth it, or not allowed."""
        worth = isinstance(error, Transient) if error.should_retry is None else error.should_retry
        asked_s = error.retry_after_s or 0.0
        if not worth or asked_s > RETRY_AFTER_S_MAX:
            return None
        wait_s = asked_s + self._uniform(0.0, BASE_S * 2**number)
        left_s = request.start_deadline - asyncio.get_running_loop().time()
        if wait_s >= left_s or not self._budget.take():
            return None
        self._count(self.name, "retried")
        return wait_s
