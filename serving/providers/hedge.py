"""Asks a second time when the first answer is unusually late, and takes whichever comes first ("hedged requests").

Dean and Barroso, The Tail at Scale, Communications of the ACM 56 (2013).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import ContentRefused, Provider
from serving.providers.traffic_budget import TrafficBudget
from serving.providers.wrapper import Count, Wrapper, uncounted

Answer = TypeVar("Answer")


def hedge_budget() -> TrafficBudget:
    """At most 5 % of the offered requests; a quiet time saves up no more than 50."""
    return TrafficBudget(share=0.05, start=0.0, cap=50.0)


class Hedge(Wrapper):
    """Races a second attempt against a first one that is late; the loser is cancelled, awaited, and billed.

    `delay_s` says after how many seconds an answer is late, given whether it is streamed; None: do not hedge. When
    one of the two fails while the other runs, the other is waited for. Streams race to their first event.
    """

    def __init__(
        self,
        inner: Provider,
        delay_s: Callable[[bool], float | None],
        budget: TrafficBudget,
        *,
        count: Count = uncounted,
    ) -> None:
        super().__init__(inner)
        self._delay_s = delay_s
        self._budget = budget
        self._count = count

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once, or twice at the same time.

        Raises:
            ContentRefused: one of the two was refused.
            ProviderError: of the first attempt, when neither answers.
        """
        self._budget.offer()
        delay_s = self._useful_delay_s(request, streamed=False)
        if delay_s is None:
            return await self.inner.complete(request)
        return await self._race(lambda: self.inner.complete(request), delay_s)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask once, or twice until one of the two begins to answer.

        Raises:
            ContentRefused: one of the two was refused before the other began.
            ProviderError: of the first attempt, when neither begins; later, of the one that began.
        """
        self._budget.offer()
        delay_s = self._useful_delay_s(request, streamed=True)
        if delay_s is None:
            async with aclosing(self.inner.stream(request)) as events:
                async for event in events:
                    yield event
            return
        candidates: list[AsyncGenerator[StreamEvent]] = []
        has_begun = False

        def on_begin() -> None:
            nonlocal has_begun
            has_begun = True
            request.on_begin()

        watched = replace(request, on_begin=on_begin)

        async def begin() -> tuple[AsyncGenerator[StreamEvent], StreamEvent]:
            candidate = self.inner.stream(watched)
            candidates.append(candidate)
            return candidate, await anext(candidate)

        try:
            events, first = await self._race(begin, delay_s, unless=lambda: has_begun)
            for candidate in candidates:
                if candidate is not events:  # both may have begun in the same moment
                    await candidate.aclose()
            yield first
            async for event in events:
                yield event
        finally:
            for candidate in candidates:
                await candidate.aclose()

    def _useful_delay_s(self, request: CompletionRequest, *, streamed: bool) -> float | None:
        """When to ask again; None when no answer is ever late, or the deadline comes first."""
        delay_s = self._delay_s(streamed)
        left_s = request.start_deadline - asyncio.get_running_loop().time()
        return delay_s if delay_s is not None and delay_s < left_s else None

    async def _race(
        self,
        ask: Callable[[], Coroutine[Any, Any, Answer]],
        delay_s: float,
        unless: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """The first answer of one or two askings; nothing runs on afterwards.

        `unless` says when the time has come whether the second is needless: a model that reasons has begun.
        """
        tasks = [asyncio.create_task(ask())]
        try:
            done, running = await asyncio.wait(tasks, timeout=delay_s)
            if running and not unless() and self._budget.take():
                self._count(self.name, "hedged")
                tasks.append(asyncio.create_task(ask()))
                running.add(tasks[-1])
            while True:
                for task in sorted(done, key=_was_refused, reverse=True):
                    if task.exception() is None or _was_refused(task):
                        return task.result()
                if not running:
                    return tasks[0].result()  # raises what the first attempt ended with
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(tasks)


def _was_refused(task: asyncio.Task[Answer]) -> bool:
    return isinstance(task.exception(), ContentRefused)


async def _end(tasks: Sequence[asyncio.Task[Answer]]) -> None:
    """Cancel what still runs, and wait for its end even when this is cancelled too."""
    interrupted: asyncio.CancelledError | None = None
    for task in tasks:
        task.cancel()
    while running := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            interrupted = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that the loop does not report it as lost
    if interrupted is not None:
        raise interrupted
