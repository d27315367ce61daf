"""An alias moves together with its record: whatever interrupts them, either both hold or neither."""

import asyncio
from typing import Literal

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import PromotionStage, version

from registry.database import Database
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import PromotionRefused
from registry.signals import read_signal


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> PromotionStage:
    """A promoter, and a version with its evidence."""
    made = PromotionStage(database, clock)
    made.evaluated(version())
    return made


async def test_the_alias_moves_and_the_workers_are_told(stage: PromotionStage) -> None:
    """Record first, then the alias, then the signal."""
    promotion = await stage.promote(version())
    assert stage.moves == [("insights", "production", 1)]
    assert [record["id"] for record in stage.records()] == [promotion.id]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1


async def test_a_refused_alias_stays(stage: PromotionStage) -> None:
    """Without evidence MLflow is not even asked."""
    with pytest.raises(PromotionRefused):
        await stage.promote(version("{{question}} {{passages}}", 2))
    assert (stage.moves, stage.records()) == ([], [])


async def test_a_promotion_that_mlflow_did_not_take_is_revoked(stage: PromotionStage) -> None:
    """With MLflow away, the record is revoked, the failure audited, and the workers are not disturbed."""
    stage.fault = MlflowUnavailable("away")
    with pytest.raises(MlflowUnavailable):
        await stage.promote(version())
    assert [record["revoked_ms"] for record in stage.records()] == [int(stage.clock() * 1000)]
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion", "prompt.promotion-failed"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 0


async def test_a_failed_repetition_does_not_end_what_serves(stage: PromotionStage) -> None:
    """Promoting what serves already, with MLflow away, leaves its record in force."""
    await stage.promote(version())
    stage.fault = stage.unreadable = MlflowUnavailable("away")
    with pytest.raises(MlflowUnavailable):
        await stage.promote(version())
    assert stage.revoked() == [False]


async def test_a_lost_answer_does_not_revoke_what_serves(stage: PromotionStage) -> None:
    """When MLflow moved the alias and only its answer was lost, the promotion stands and the workers are told."""
    stage.fault, stage.lost = MlflowUnavailable("read time-out"), "answer"
    promotion = await stage.promote(version())
    assert promotion.prompt_version == 1
    assert stage.revoked() == [False]
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), KeyboardInterrupt(), RuntimeError("a bug")])
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_an_interrupted_promotion_leaves_no_loose_record(
    stage: PromotionStage, fault: BaseException, lost: Literal["request", "answer"]
) -> None:
    """Whatever ends a promotion in the middle, its record stands if and only if the alias moved."""
    stage.fault, stage.lost = fault, lost
    with pytest.raises(type(fault)):
        await stage.promote(version())
    assert stage.revoked() == [lost == "request"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == (lost == "answer")


@pytest.mark.parametrize("unreadable", [MlflowUnavailable("away"), asyncio.CancelledError()])
async def test_a_record_nobody_can_confirm_is_revoked(stage: PromotionStage, unreadable: BaseException) -> None:
    """When MLflow cannot be asked either, the record is revoked: promoting again writes a new one."""
    stage.fault, stage.lost, stage.unreadable = MlflowUnavailable("away"), "answer", unreadable
    with pytest.raises(type(unreadable)):
        await stage.promote(version())
    assert stage.revoked() == [True]
    assert stage.notes[-1][0] == "prompt.promotion-failed"
