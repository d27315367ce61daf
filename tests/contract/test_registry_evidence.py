"""What evidence promises, on SQLite and on PostgreSQL alike: it has an order, and no FAIL gets lost."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import EXTRACTIVE, POLICY, PromotionStage, version
from sqlalchemy import update

from registry.database import Database
from registry.prompts.evidence import evidence_for
from registry.prompts.promotion_records import valid_promotions, write_promotion
from registry.schema import evidence

pytestmark = pytest.mark.contract

WRITERS, ROUNDS = 6, 5


@pytest.fixture
def stage(registry: Database, clock: FakeClock) -> PromotionStage:
    """A promoter over a content that ada wrote; the clock stands still."""
    made = PromotionStage(registry, clock)
    made.wrote(version(), "ada")
    return made


def missing(stage: PromotionStage) -> str:
    """What stands in the way of the version now."""
    return "; ".join(stage.promoter.decide(POLICY, version(), [EXTRACTIVE]).missing)


def test_evidence_of_one_moment_has_an_order(stage: PromotionStage) -> None:
    """However many machines store some at once: each piece is newer than those before."""
    together = Barrier(WRITERS)

    def store(together: Barrier) -> None:
        together.wait(10)
        for _ in range(ROUNDS):
            stage.evaluated(version())

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(store, together) for _ in range(WRITERS)]:
            done.result()
    found = evidence_for(stage.database, "insights", version().content_hash)
    assert len({each.created_ms for each in found}) == WRITERS * ROUNDS


def test_records_of_one_moment_have_an_order(stage: PromotionStage) -> None:
    """Of two that are let through to one place at once, one is the last."""
    stage.evaluated(version())
    first = stage.let_through(version())
    together = Barrier(WRITERS)

    def write(writer: int, together: Barrier) -> None:
        together.wait(10)
        for number in range(ROUNDS):
            write_promotion(stage.database, replace(first, id=f"{writer}-{number}"))

    with ThreadPoolExecutor(WRITERS) as pool:
        for done in [pool.submit(write, writer, together) for writer in range(WRITERS)]:
            done.result()
    found = valid_promotions(stage.database, "insights", "production", first.created_ms)
    assert len({each.created_ms for each in found}) == WRITERS * ROUNDS + 1


def test_no_number_of_passes_pushes_a_fail_out_of_sight(stage: PromotionStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much is read at once; a FAIL is always among it, and where too many are there, nothing is promoted."""
    for place in ("evidence", "evaluations"):
        monkeypatch.setattr(f"registry.prompts.{place}.EVIDENCE_MAX", 3)
    stage.evaluated(version(), verdict="FAIL")
    for _ in range(4):
        stage.evaluated(version())
    assert "an earlier evaluation" in missing(stage)
    for _ in range(3):
        stage.evaluated(version(), verdict="FAIL", dataset="mine")
    stage.evaluated(version(), dataset="mine")
    stage.evaluated(version())
    assert "3 evaluations or more say FAIL" in missing(stage)


@pytest.mark.parametrize(
    "details", ["", "[1]", "{", '{"questions": NaN}', '{"margin": 1e999}', f'{{"margin": 1{"0" * 400}}}', "[" * 100_000]
)
def test_evidence_that_cannot_be_read_shows_nothing(stage: PromotionStage, details: str) -> None:
    """An edited row is no PASS, ends nothing in an error, and a FAIL stays one."""
    failed = stage.evaluated(version(), verdict="FAIL")
    edited = update(evidence).where(evidence.c.id == failed.id)
    with stage.database.write() as connection:
        connection.execute(edited.values(details=details))
    passed = stage.evaluated(version())
    assert "an earlier evaluation" in missing(stage)
    with stage.database.write() as connection:
        connection.execute(edited.values(verdict="PASS"))
        connection.execute(update(evidence).where(evidence.c.id == passed.id).values(details=details))
    assert "no evaluation with extractive extractive-1" in missing(stage)
