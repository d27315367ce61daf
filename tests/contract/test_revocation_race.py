"""A revocation and two writers on PostgreSQL, each stopped at the moment that matters."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from fixtures_postgres import PostgresRegistries
from sqlalchemy import event, text

from registry.database import Database, open_database
from registry.prompts.promotion_records import (
    Promotion,
    PromotionEnded,
    ServingModel,
    valid_promotion,
    write_promotion,
)
from registry.prompts.revocation import revoke_content

pytestmark = pytest.mark.contract

WAIT_S = 20
FIRST = Promotion(
    id="first",
    prompt_name="insights",
    prompt_version=1,
    content_hash="h1",
    use_case="insights",
    alias="production",
    models=(ServingModel(provider="extractive", model="e1"),),
    basis="evidence",
    promoted_by="ada",
    evidence=(),
    created_ms=1_000,
)


class Writer:
    """One writer with connections of its own, who stops before a statement, or before the commit.

    Args:
        url: Of the registry.
        before: How the statement begins; None: the commit.
    """

    def __init__(self, url: str, before: str | None = None) -> None:
        self.database = open_database(url)
        self.stopped = Event()
        self.onward = Event()
        self.work: Future[Any] = Future()
        if before is None:
            event.listen(self.database._engine, "commit", self._stop)
        else:
            event.listen(self.database._engine, "before_cursor_execute", self._stop_at(before))

    def start(self, pool: ThreadPoolExecutor, write: Callable[..., Any], *arguments: Any) -> None:
        """Begin to write."""
        self.work = pool.submit(write, self.database, *arguments)

    def finish(self) -> None:
        """Go on to the end; what was ended before may not be repeated any more."""
        self.onward.set()
        with suppress(PromotionEnded):
            self.work.result(WAIT_S)

    def _stop(self, _: Any) -> None:
        self.stopped.set()
        self.onward.wait(WAIT_S)

    def _stop_at(self, before: str) -> Callable[..., None]:
        def look(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(before):
                self._stop(connection)

        return look


def eventually(happened: Callable[[], bool]) -> None:
    """Await a condition."""
    end = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)  # between two looks at the condition


def somebody_waits(database: Database) -> bool:
    """Whether a writer waits for another one."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as connection:
        return bool(connection.scalar(text(waiting)))


def test_a_copy_of_a_copy_does_not_outlive_its_content(postgres_registries: PostgresRegistries) -> None:
    """One rollback writes while a revocation waits for it, another one repeats that while it ends what it found."""
    with postgres_registries.lent() as url, ExitStack() as stack:
        writers = copier, again, revocation = Writer(url), Writer(url), Writer(url, "UPDATE promotions")
        database = stack.enter_context(closing(open_database(url)))
        for each in writers:
            stack.callback(each.database.close)
        pool = stack.enter_context(ThreadPoolExecutor(3))
        write_promotion(database, FIRST)
        copier.start(pool, write_promotion, replace(FIRST, id="copy"), "first")
        eventually(copier.stopped.is_set)
        revocation.start(pool, revoke_content, FIRST.prompt_name, FIRST.content_hash, 5_000)
        eventually(lambda: somebody_waits(database))
        copier.finish()
        eventually(revocation.stopped.is_set)
        again.start(pool, write_promotion, replace(FIRST, id="copy-of-copy"), "copy")
        eventually(lambda: again.stopped.is_set() or somebody_waits(database))
        revocation.onward.set()
        eventually(lambda: revocation.work.done() or somebody_waits(database))
        again.finish()
        revocation.finish()
        assert valid_promotion(database, FIRST.prompt_name, FIRST.alias, FIRST.content_hash, 2_000) is None
