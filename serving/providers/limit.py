"""How many requests one process has at one provider at once; the others wait in a short queue, or are sent away.

The breaker stands inside: it judges a request when its turn has come, so what queued while the provider died goes to
the next one, and a request becomes the probe only when it can be sent.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import NotAsked, Provider, Saturated
from serving.providers.wrapper import Count, Wrapper, uncounted

CONCURRENT_MAX = 64
HELD_S_GUESS = 1.0
"""How long a request is taken to last before any has ended."""
HELD_WEIGHT = 0.1
"""Weight of the newest request in the moving average of how long they last."""
RETRY_AFTER_S_MIN = 1.0
"""Retry-After counts whole seconds."""


def _none() -> None:
    """No reason why a request should not wait."""


class Limit(Wrapper):
    """At most `concurrent_max` requests run, as many as `waiting_max` wait in order of arrival, the rest are sent away.

    A stream counts until it is closed. `refusal` says why it makes no sense to wait for a turn now; None: it does.

    Raises:
        Saturated: the queue is full, or no turn came before the deadline. The provider was not asked.
        NotAsked: what `refusal` said.
    """

    def __init__(
        self,
        inner: Provider,
        *,
        concurrent_max: int = CONCURRENT_MAX,
        waiting_max: int = CONCURRENT_MAX,
        refusal: Callable[[], NotAsked | None] = _none,
        count: Count = uncounted,
    ) -> None:
        super().__init__(inner)
        self._concurrent_max = concurrent_max
        self._waiting_max = waiting_max
        self._refusal = refusal
        self._count = count
        self._queue: deque[asyncio.Future[None]] = deque()
        self._held_s = HELD_S_GUESS
        self.running = 0
        """Requests at the provider now."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn now."""
        return len(self._queue)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Wait for a turn, then ask."""
        since = await self._enter(request)
        try:
            return await self.inner.complete(request)
        except NotAsked:
            since = None
            raise
        finally:
            self._leave(since)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Wait for a turn, then ask; the turn ends with the stream."""
        since = await self._enter(request)
        try:
            async with aclosing(self.inner.stream(request)) as events:
                async for event in events:
                    yield event
        except NotAsked:
            since = None
            raise
        finally:
            self._leave(since)

    async def _enter(self, request: CompletionRequest) -> float | None:
        """Wait for a turn; gives the time it began."""
        loop = asyncio.get_running_loop()
        if self.running < self._concurrent_max:
            self.running += 1
            return loop.time()
        if (refusal := self._refusal()) is not None:
            raise refusal
        if len(self._queue) >= self._waiting_max or request.start_deadline <= loop.time():
            raise self._saturated()
        turn: asyncio.Future[None] = loop.create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout_at(request.start_deadline):
                await turn
        except BaseException as error:  # whoever leaves the queue leaves no place behind; raised on
            if turn.done() and not turn.cancelled():
                self._hand_over()  # the turn came in the same moment: it goes to the next in the queue
            elif turn in self._queue:
                self._queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._saturated() from None
            raise
        return loop.time()

    def _leave(self, since: float | None) -> None:
        """Pass the turn on; None: it was not used, and says nothing about how long one lasts."""
        if since is not None:
            held_s = asyncio.get_running_loop().time() - since
            self._held_s += HELD_WEIGHT * (held_s - self._held_s)
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the turn to who waits longest, or free it."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # a cancelled one has not run yet to take itself out
                turn.set_result(None)
                return
        self.running -= 1

    def _saturated(self) -> Saturated:
        """With the time in which those who are here now will have been served."""
        self._count(self.name, "saturated")
        ahead = len(self._queue) + 1
        wait_s = max(RETRY_AFTER_S_MIN, self._held_s * ahead / self._concurrent_max)
        return Saturated(
            f"{self.name} has as many requests as it may have from here; ask again later",
            retry_after_s=round(wait_s, 3),
        )
