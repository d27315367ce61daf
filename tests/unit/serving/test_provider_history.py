"""The history of attempts that each serving process writes."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import datetime

import pytest
from fakes.fake_clock import FakeClock

from registry.database import Database, DatabaseUnavailable
from registry.messages import Attempt, Usage
from registry.money.prices import UnpricedModel
from registry.rollups import BUCKET_MAX, BUCKET_MIN, MINUTE_MS, AttemptSum, bucket_of, read_attempts
from serving import provider_history
from serving.provider_history import FLUSH_S, ROWS_MAX, ProviderHistory

NOW_MS = 1_795_000_000_000
USAGE = Usage(input=100, cache_read=10, cache_write_5m=4, cache_write_1h=2, output=20, reasoning=15)


def price(_provider: str, model: str, usage: Usage, _at: datetime) -> int:
    """Two nano-USD a generated token; one model has no price."""
    if model.startswith("unpriced"):
        raise UnpricedModel(model)
    return 2 * usage.output


def attempt(outcome: str = "answered", *, model: str = "m-1", first_byte_s: float | None = None) -> Attempt:
    """An attempt that took a second and a half."""
    asked = model.partition("-")[0]
    return Attempt(
        provider="openai",
        model=model,
        asked_model=asked,
        usage=USAGE,
        outcome=outcome,
        seconds=1.5,
        first_byte_s=first_byte_s,
    )


def written(database: Database) -> tuple[AttemptSum, ...]:
    """All that is in the database."""
    return read_attempts(database, 0, 2 * NOW_MS, MINUTE_MS)


@pytest.fixture
def history(database: Database, clock: FakeClock) -> ProviderHistory:
    """A history that nothing was told yet."""
    clock.now = NOW_MS / 1000
    return ProviderHistory(database, price=price, clock=clock)


async def test_attempts_are_summed_by_minute_and_model_as_configured(
    history: ProviderHistory, database: Database
) -> None:
    """Two like attempts are one row with their tokens, reasoning counted once, and their cost."""
    for model in ("m-1", "m-2"):
        history.observe(attempt(model=model))
    await history.flush()
    (row,) = written(database)
    assert row == AttemptSum(
        provider="openai",
        model="m",
        period_ms=NOW_MS // MINUTE_MS * MINUTE_MS,
        outcome="answered",
        streamed=False,
        bucket=bucket_of(1.5),
        attempts=2,
        tokens=2 * 136,
        cost_nano_usd=80,
    )


async def test_a_streamed_answer_counts_until_its_first_piece(history: ProviderHistory, database: Database) -> None:
    """Whoever reads along waits for the first piece; an answer that broke off counts with its whole time."""
    history.observe(attempt(first_byte_s=0.2))
    history.observe(attempt("Unreachable", first_byte_s=0.2))
    await history.flush()
    assert {(row.outcome, row.streamed, row.bucket) for row in written(database)} == {
        ("answered", True, bucket_of(0.2)),
        ("Unreachable", False, bucket_of(1.5)),
    }


async def test_an_attempt_without_a_price_counts_without_tokens(history: ProviderHistory, database: Database) -> None:
    """An unknown price is never zero: the tokens it would belong to are left out as well."""
    history.observe(attempt(model="unpriced-1"))
    await history.flush()
    (row,) = written(database)
    assert (row.attempts, row.tokens, row.cost_nano_usd) == (1, 0, 0)


async def test_each_attempt_is_written_once(history: ProviderHistory, database: Database) -> None:
    """Flushing again adds nothing."""
    history.observe(attempt())
    for _ in range(3):
        await history.flush()
    await history.aclose()
    assert [row.attempts for row in written(database)] == [1]


async def test_a_database_that_is_away_costs_nothing_but_time(
    history: ProviderHistory, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is written with what came since, when the database is back."""

    def away(_database: Database, _sums: Sequence[AttemptSum]) -> None:
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as outage:
        outage.setattr(provider_history, "add_attempts", away)
        history.observe(attempt())
        history.observe(attempt("TimedOut"))
        await history.flush()
        history.observe(attempt())
        await history.flush()
    history.observe(attempt("RateLimited"))
    await history.flush()
    assert {row.outcome: row.attempts for row in written(database)} == {"answered": 2, "TimedOut": 1, "RateLimited": 1}


async def test_memory_is_bounded_while_the_database_is_away(
    history: ProviderHistory, clock: FakeClock, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond ROWS_MAX sums new ones are dropped, which the log says; those that are there go on counting."""
    for _ in range(ROWS_MAX + 7):
        history.observe(attempt())
        clock.now += 60
    clock.now = NOW_MS / 1000
    history.observe(attempt())
    with caplog.at_level(logging.WARNING):
        await history.flush()
    assert "misses 7 attempts" in caplog.text
    rows = written(database)
    assert (len(rows), sum(row.attempts for row in rows)) == (ROWS_MAX, ROWS_MAX + 1)


async def test_a_cancelled_flush_is_neither_lost_nor_repeated(
    history: ProviderHistory, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing waits for the transaction that a cancelled loop had begun, then writes the rest."""
    begun, go_on, add = asyncio.Event(), threading.Event(), provider_history.add_attempts
    loop = asyncio.get_running_loop()

    def slow(to: Database, sums: Sequence[AttemptSum]) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        add(to, sums)

    monkeypatch.setattr(provider_history, "add_attempts", slow)
    history.observe(attempt())
    flushing = asyncio.create_task(history.flush())
    await begun.wait()
    flushing.cancel()
    await asyncio.wait([flushing])
    assert flushing.cancelled()
    history.observe(attempt())
    closing = asyncio.create_task(history.aclose())
    go_on.set()
    await closing
    assert [row.attempts for row in written(database)] == [2]


async def test_the_loop_flushes_every_ten_seconds(database: Database) -> None:
    """Nothing waits for the end of the process."""
    pauses, twice = list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            twice.set()
            await asyncio.Event().wait()

    history = ProviderHistory(database, price=price, sleep=sleep)
    history.observe(attempt())
    running = asyncio.create_task(history.run())
    await twice.wait()
    running.cancel()
    await asyncio.wait([running])
    assert pauses == [FLUSH_S, FLUSH_S]
    assert [row.attempts for row in written(database)] == [1]


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, BUCKET_MIN), (0.01, BUCKET_MIN), (1, 0), (1.0001, 1), (10, 10), (100, 20), (120, 21), (9_999, BUCKET_MAX)],
)
def test_durations_at_an_edge_belong_below_it(seconds: float, bucket: int) -> None:
    """Ten seconds are not more than ten seconds, and no duration falls out of the buckets."""
    assert bucket_of(seconds) == bucket
