"""Leaves a provider alone that fails too often, and finds out with one probe when it is back.

What counts is what the provider did: it was unreachable, too slow, throttled us, or does not know the account or the
model. What it declined (a request that is wrong, too long or refused) and what we broke off says nothing about it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from registry.messages import Attempt, Completion, CompletionRequest, StreamEvent
from serving.providers.base import (
    PING_S_MAX,
    AuthenticationFailed,
    CircuitOpen,
    ModelNotFound,
    NotAsked,
    Provider,
    ProviderError,
    TimedOut,
    Transient,
)
from serving.providers.circuit import Circuit, CircuitState
from serving.providers.slot import Slot
from serving.providers.wrapper import Wrapper

logger = logging.getLogger(__name__)

FAILURES = (Transient, AuthenticationFailed, ModelNotFound)
TELL_AGAIN_S = 0.02
TELL_TIMES_MAX = 50
"""A probe's verdict is told again for a second while another worker, stopped in the middle, holds the board's lock."""


class Breaker(Wrapper):
    """Asks the provider inside while the breaker of its slot lets it.

    Raises:
        CircuitOpen: it does not; carries how long that may last.
    """

    def __init__(self, inner: Provider, slot: Slot) -> None:
        super().__init__(inner)
        self._slot = slot

    def refusal(self) -> CircuitOpen | None:
        """Why nobody should wait for a turn at the provider now; None while the breaker is closed.

        Half-open, one request is enough, and it need not wait.
        """
        return None if self._slot.state == "closed" else _left_alone(self.name, self._slot)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, unless the provider is to be left alone."""
        call = _Call(self.name, self._slot, request.deadline, streamed=False)
        try:
            completion = await self.inner.complete(call.watched(request))
        except BaseException as error:  # every way out is a verdict or gives the lease back; raised on
            call.ended(error)
            raise
        call.answered()
        return completion

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask, unless the provider is to be left alone; the verdict falls with the end of the stream.

        The first piece of a probe closes the breaker on trial: everybody else need not wait for a slow reader.
        """
        call = _Call(self.name, self._slot, request.deadline, streamed=True)
        try:
            async with aclosing(self.inner.stream(call.watched(request))) as events:
                async for event in events:
                    if isinstance(event, Completion):
                        call.answered()  # before it goes on: who has the completion need not come back for more
                    else:
                        call.began()
                    yield event
        except BaseException as error:  # every way out is a verdict or gives the lease back; raised on
            call.ended(error)
            raise

    async def ping(self) -> None:
        """Ping, as the probe when one is due.

        A ping that succeeds closes the breaker on trial: the first failed call opens it again. One that fails opens it
        at once: it is sent when nobody else asks, so that there is nothing better to know. That the vendor does not
        know the address, or that the key may not ask there, says nothing: compatible servers lack some, and keys may
        be restricted to generating.
        """
        deadline = asyncio.get_running_loop().time() + PING_S_MAX
        call = _Call(self.name, self._slot, deadline, streamed=False)
        try:
            await self._bounded_ping()
        except Transient as error:
            self._slot.note_error(type(error).__name__)
            call.failed(error, at_once=True)
            raise
        except BaseException as error:  # every way out is a verdict or gives the lease back; raised on
            call.given_back(asked=isinstance(error, ProviderError))
            raise
        call.showed_up()

    async def _bounded_ping(self) -> None:
        try:
            async with asyncio.timeout(PING_S_MAX):
                await self.inner.ping()
        except TimeoutError:
            raise TimedOut(f"{self.name} did not answer a ping within {PING_S_MAX:g} s") from None


def _left_alone(name: str, slot: Slot) -> CircuitOpen:
    retry_after_s = max(round(slot.retry_after_s, 3), 0.001)
    why = f"its last failure was {kind}" if (kind := slot.last_error) else "it failed too often of late"
    return CircuitOpen(f"{name} is left alone for {retry_after_s:g} s: {why}", retry_after_s=retry_after_s)


class _Call:
    """One call while it runs; the first verdict stands."""

    def __init__(self, name: str, slot: Slot, deadline: float, *, streamed: bool) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._slot = slot
        self._streamed = streamed
        self._attempt: Attempt | None = None
        self._has_begun = False
        self._has_verdict = False
        ticket = slot.enter(deadline - self._started)
        if ticket is None:
            raise _left_alone(name, slot)
        self._ticket = ticket

    def watched(self, request: CompletionRequest) -> CompletionRequest:
        """The request, so that the attempt's beginning and end are seen, whatever becomes of them on the way here."""

        def on_begin() -> None:
            self.began()
            request.on_begin()

        def on_attempt(attempt: Attempt) -> None:
            self._attempt = attempt
            request.on_attempt(attempt)

        return replace(request, on_attempt=on_attempt, on_begin=on_begin)

    def began(self) -> None:
        """It writes: a piece is there, or something comes that is not shown."""
        if not self._has_begun:
            self._has_begun = True
            self.showed_up()

    def answered(self) -> None:
        """The answer is whole."""
        self._has_verdict = True
        self._tell(lambda circuit, now_ns: circuit.succeeded(now_ns, self._ticket))

    def showed_up(self) -> None:
        """The vendor is there, which is news of a probe."""

        def change(circuit: Circuit, _now_ns: int) -> None:
            self._ticket = circuit.close_on_trial(self._ticket)

        if self._slot.is_probe(self._ticket):
            self._tell(change)

    def ended(self, error: BaseException) -> None:
        """Judge a call that ended otherwise; after the verdict, only the reader left."""
        if self._has_verdict:
            return
        if isinstance(error, asyncio.CancelledError) and self._was_late():
            error = TimedOut("the caller's own limit struck at the deadline")
        if isinstance(error, TimedOut) and not self._had_fair_time():
            self.given_back(asked=True)
        elif isinstance(error, FAILURES):
            self.failed(error)
        elif isinstance(error, ProviderError) and not isinstance(error, NotAsked):
            self._tell(lambda circuit, _now_ns: circuit.declined(self._ticket))
        else:
            self.given_back(asked=not isinstance(error, NotAsked))

    def failed(self, error: ProviderError, *, at_once: bool = False) -> None:
        """It is the provider's fault."""

        def change(circuit: Circuit, now_ns: int) -> None:
            circuit.failed(now_ns, self._ticket, away_s=error.retry_after_s or 0.0, at_once=at_once)

        self._tell(change)

    def given_back(self, *, asked: bool) -> None:
        """Nobody's fault, or nobody knows whose."""
        if self._has_begun:
            self.showed_up()  # should that not have been told yet; who leaves after a piece takes nothing back
        else:
            self._tell(lambda circuit, now_ns: circuit.give_back(now_ns, self._ticket, asked=asked))

    def _tell(self, change: Callable[[Circuit, int], None], times_left: int = TELL_TIMES_MAX) -> None:
        """Change the slot; later, when it cannot be changed now and all the others wait for this call's verdict."""
        before = self._slot.state
        if self._slot.change(change):
            self._log_change(before)
        elif times_left > 0 and self._slot.is_probe(self._ticket):
            self._loop.call_later(TELL_AGAIN_S, self._tell, change, times_left - 1)

    def _log_change(self, before: CircuitState) -> None:
        after = self._slot.state
        if after == "open" != before:
            logger.warning("provider %s is left alone for %.0f s", self._name, self._slot.retry_after_s)
        elif after == "closed" != before:
            logger.warning("provider %s is asked again", self._name)

    def _was_late(self) -> bool:
        """Whether the attempt had all the time there was: a cancellation at the deadline is not the caller's whim."""
        return self._attempt is not None and self._attempt.outcome == TimedOut.__name__

    def _had_fair_time(self) -> bool:
        """Whether a caller with more patience would not have been answered either, most likely."""
        # Once a stream has begun, what it still takes is like a whole answer.
        fair_s = self._slot.fair_s(self._streamed and not self._has_begun)
        return self._loop.time() - self._started >= fair_s
