"""A fault of one experiment keeps no other in harm's way."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes.experiment_stage import POLICY, ExperimentStage
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version
from sqlalchemy import text, update

from flows import experiment_looks
from flows.experiment_analysis import Assessment
from flows.experiment_looks import look_at_all
from registry.database import Database
from registry.prompts.experiments import Experiment, unreadable_experiments
from registry.schema import experiments

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")


def test_one_that_cannot_be_looked_at_keeps_no_other_going(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others end when they are over, and the fault is told."""
    stage = ExperimentStage(database, clock)
    stage.promote(ONE)
    experiment = stage.start(ONE, TWO, days_max=1)
    broken = replace(experiment, id="exp_broken")
    stage.clock.now += 86_400
    real = experiment_looks.assess

    def assess(database: Database, looked_at: Experiment, *more: Any) -> Assessment:
        if looked_at.id == broken.id:
            raise ArithmeticError
        return real(database, looked_at, *more)

    def running(_database: Database) -> tuple[Experiment, ...]:
        return broken, experiment

    monkeypatch.setattr(experiment_looks, "running_experiments", running)
    monkeypatch.setattr(experiment_looks, "assess", assess)
    found = asyncio.run(look_at_all(stage.database, stage, {"insights": POLICY}, stage.note, stage.clock))
    assert [each.experiment.id for each in found.ended] == [experiment.id]
    assert isinstance(found.failed[broken.id], ArithmeticError)


@pytest.mark.parametrize("design", ["'{}'", "CAST(x'7bff7d' AS TEXT)", "x'00'"])
def test_one_that_cannot_be_read_is_a_fault_until_it_is_ended(
    database: Database, clock: FakeClock, design: str
) -> None:
    """Each look tells it, with the command that ends it, and no longer once it ended; also bytes that are no text."""
    stage = ExperimentStage(database, clock)
    stage.promote(ONE)
    experiment = stage.start(ONE, TWO)
    with database.write() as connection:
        connection.execute(update(experiments).values(design=text(design)))
    found = asyncio.run(look_at_all(database, stage, {"insights": POLICY}, stage.note, clock))
    assert (found.seen, found.ended) == ((), ())
    assert f"assay experiments stop {experiment.id}" in str(found.failed[experiment.id])
    (row,) = unreadable_experiments(database)
    stage.experiments.end_unreadable(row, {"outcome": "stopped"}, "ada")
    found = asyncio.run(look_at_all(database, stage, {"insights": POLICY}, stage.note, clock))
    assert found.failed == {}
