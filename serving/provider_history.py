"""Keeps what every attempt came to, in sums by the minute, for the monitors: nothing of it waits for the database."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.database import Database
from registry.errors import AssayError
from registry.messages import Attempt
from registry.money.prices import Price, UnpricedModel, attempt_nano_usd, cost_nano_usd
from registry.rollups import MINUTE_MS, AttemptSum, add_attempts, bucket_of

logger = logging.getLogger(__name__)

FLUSH_S = 10.0
"""How much of the history a killed process may take with it."""
ROWS_MAX = 10_000
"""Sums held while the database is away (about 5 MB); a busy provider makes some ten a minute. Later ones are lost."""

Key = tuple[str, str, int, str, bool, int]
"""Provider, model, minute, outcome, streamed, bucket."""


@dataclass(slots=True)
class _Sum:
    attempts: int = 0
    tokens: int = 0
    cost_nano_usd: int = 0


class ProviderHistory:
    """The history that one process writes: `observe` on the event loop, `run` beside the requests, `aclose` once.

    Args:
        database: where the sums are added up over all processes.
        price: of one attempt; an attempt without a price counts without its tokens, so that cost per token stays true.
        clock: seconds since the epoch.
        sleep: waits between two flushes.
    """

    def __init__(
        self,
        database: Database,
        *,
        price: Price = cost_nano_usd,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._price = price
        self._clock = clock
        self._sleep = sleep
        self._sums: dict[Key, _Sum] = {}
        self._lost = 0
        self._writing: asyncio.Task[None] | None = None

    def observe(self, attempt: Attempt) -> None:
        """Count an attempt; never raises and never waits."""
        now = self._clock()
        streamed = attempt.outcome == "answered" and attempt.first_byte_s is not None
        waited_s = attempt.first_byte_s if streamed else attempt.seconds
        key = (
            attempt.provider,
            attempt.asked_model,
            int(now * 1000) // MINUTE_MS * MINUTE_MS,
            attempt.outcome,
            streamed,
            bucket_of(waited_s or 0.0),
        )
        found = self._sums.get(key)
        if found is None:
            if len(self._sums) >= ROWS_MAX:
                self._lost += 1
                return
            found = self._sums[key] = _Sum()
        found.attempts += 1
        usage = attempt.usage
        tokens = usage.prompt + usage.output
        if tokens:
            with suppress(UnpricedModel):
                found.cost_nano_usd += attempt_nano_usd(attempt, datetime.fromtimestamp(now, UTC), self._price)
                found.tokens += tokens

    async def run(self) -> None:
        """Flush every FLUSH_S, until cancelled."""
        while True:
            await self._sleep(FLUSH_S)
            await self.flush()

    async def aclose(self) -> None:
        """Write what is left; call it when no attempt can come any more."""
        if self._writing is not None:
            await self._writing  # begun by a loop that was cancelled since
        await self.flush()

    async def flush(self) -> None:
        """Add what was counted to the database; if that fails, it is tried again with the next flush.

        A cancelled flush goes on by itself: whether a transaction was committed must be known before it is repeated.
        """
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="provider-history-flush")
        await asyncio.shield(self._writing)

    async def _write(self) -> None:
        sums, self._sums = self._sums, {}
        lost, self._lost = self._lost, 0
        if lost:
            logger.warning("the history of providers misses %d attempts: the database was away for too long", lost)
        try:
            await asyncio.to_thread(add_attempts, self._database, [_row(key, each) for key, each in sums.items()])
        except AssayError as error:
            logger.warning("the history of providers waits: %s", error)
            self._put_back(sums)
        except Exception:  # raised on: a bug, too, must not cost what was counted
            self._put_back(sums)
            raise

    def _put_back(self, sums: dict[Key, _Sum]) -> None:
        """What was not written comes before what was counted since."""
        for key, newer in self._sums.items():
            older = sums.get(key)
            if older is not None:
                older.attempts += newer.attempts
                older.tokens += newer.tokens
                older.cost_nano_usd += newer.cost_nano_usd
            elif len(sums) < ROWS_MAX:
                sums[key] = newer
            else:
                self._lost += newer.attempts
        self._sums = sums


def _row(key: Key, found: _Sum) -> AttemptSum:
    provider, model, period_ms, outcome, streamed, bucket = key
    return AttemptSum(
        provider=provider,
        model=model,
        period_ms=period_ms,
        outcome=outcome,
        streamed=streamed,
        bucket=bucket,
        attempts=found.attempts,
        tokens=found.tokens,
        cost_nano_usd=found.cost_nano_usd,
    )
