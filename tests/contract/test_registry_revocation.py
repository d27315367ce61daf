"""What a revocation promises, on SQLite and on PostgreSQL alike: nothing that rests on an ended record outlives it."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Barrier

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import EXTRACTIVE, POLICY, PromotionStage, version_number

from registry.database import Database
from registry.errors import JsonValue
from registry.prompts.promotion import Promoter, PromotionRefused
from registry.prompts.promotion_records import (
    RECORDS_MAX,
    Promotion,
    last_of_each_content,
    valid_promotion,
    write_promotion,
)
from registry.prompts.revocation import NoPromotion, revoke

pytestmark = pytest.mark.contract

ONE, TWO = version_number(1), version_number(2)
ROUNDS = 10
YEAR_S = 366 * 86_400


@pytest.fixture
def stage(registry: Database, clock: FakeClock) -> PromotionStage:
    """Two promoted contents whose evidence has aged since: each may go back by its record only."""
    made = PromotionStage(registry, clock)
    made.evaluated(ONE)
    made.let_through(ONE)
    made.evaluated(TWO, against=ONE)
    made.let_through(TWO)
    clock.now += YEAR_S
    return made


def end(stage: PromotionStage) -> None:
    """Revoke the first content."""
    revoke(stage.database, "insights", 1, reason="it is rude", by="bob", note=stage.note, clock=stage.clock)


def serving(stage: PromotionStage) -> Promotion | None:
    """What lets the first content serve."""
    return valid_promotion(stage.database, "insights", "production", ONE.content_hash, int(stage.clock() * 1000))


def test_a_revocation_comes_before_a_rollback_that_was_decided_already(stage: PromotionStage) -> None:
    """The record to repeat has to stand when its copy is written, not only when the move was allowed."""
    kinds: list[str] = []

    def note(kind: str, _body: Mapping[str, JsonValue]) -> None:
        kinds.append(kind)
        if kind == "prompt.promotion":
            end(stage)

    promoter = Promoter(stage.database, note=note, clock=stage.clock)
    with pytest.raises(PromotionRefused):
        promoter.let_through(POLICY, ONE, [EXTRACTIVE], "ada")
    assert serving(stage) is None
    assert kinds == ["prompt.promotion", "prompt.promotion-refused"]


def test_whoever_comes_first_a_revoked_content_stays_down(stage: PromotionStage) -> None:
    """Rollbacks and a revocation at the same moment leave nothing that serves, in whatever order they come."""
    first = serving(stage)
    assert first is not None
    for number in range(ROUNDS):
        for record in (first, replace(first, content_hash=TWO.content_hash)):
            write_promotion(stage.database, replace(record, id=f"{record.content_hash[:4]}-{number}"))
        together = Barrier(4)

        def roll_back(together: Barrier) -> None:
            promoter = Promoter(stage.database, note=stage.note, clock=stage.clock)
            together.wait(10)
            with suppress(PromotionRefused):
                promoter.let_through(POLICY, ONE, [EXTRACTIVE], "ada")

        def take_down(together: Barrier) -> None:
            together.wait(10)
            end(stage)

        with ThreadPoolExecutor(4) as pool:
            moves = [pool.submit(roll_back, together) for _ in range(3)]
            moves.append(pool.submit(take_down, together))
        for move in moves:
            move.result()
        assert serving(stage) is None


def test_a_revocation_ends_more_records_than_are_read_at_once(stage: PromotionStage) -> None:
    """However often a content was promoted, all its records end, and the way back to another one stays in sight."""
    first = serving(stage)
    assert first is not None
    for number in range(RECORDS_MAX + 1):
        write_promotion(stage.database, replace(first, id=f"more-{number}"))
    now_ms = int(stage.clock() * 1000)
    places = last_of_each_content(stage.database, "insights", "production", now_ms)
    assert [record.prompt_version for record in places] == [1, 2]
    end(stage)
    assert serving(stage) is None
    with pytest.raises(NoPromotion):
        end(stage)
