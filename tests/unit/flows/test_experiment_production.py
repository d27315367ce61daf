"""An experiment goes on only while its control is what serves as production, as serving itself sees it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from fakes.experiment_stage import POLICY, ExperimentStage
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version

from flows.experiment_looks import look_at_all
from registry.database import Database
from registry.prompts.experiments import Experiment, find_experiment
from registry.prompts.policy import Policy
from registry.prompts.versions import PromotedVersion

ONE, TWO, THREE = prompt_version(1), prompt_version(2, "Answer briefly."), prompt_version(3, "Answer at length.")


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> ExperimentStage:
    """Version 1 is in production, and version 3 was before."""
    stage = ExperimentStage(database, clock)
    for version in (THREE, ONE):
        stage.promote(version)
        stage.clock.now += 60
    return stage


@pytest.fixture
def experiment(stage: ExperimentStage) -> Experiment:
    """Version 2 runs against version 1, for a day."""
    return stage.start(ONE, TWO, days_max=1)


def outcome(stage: ExperimentStage, experiment: Experiment, policies: Mapping[str, Policy] | None = None) -> Any:
    """How it ended with the next look; None: it goes on."""
    known = {POLICY.use_case: POLICY} if policies is None else policies
    assert asyncio.run(look_at_all(stage.database, stage, known, stage.note, stage.clock)).failed == {}
    decision = find_experiment(stage.database, experiment.id).decision
    return None if decision is None else decision["outcome"]


def test_a_promotion_meanwhile_ends_it(stage: ExperimentStage, experiment: Experiment) -> None:
    """Another version in production has no control to be compared with."""
    assert outcome(stage, experiment) is None
    stage.clock.now += 60
    stage.promote(THREE)
    assert outcome(stage, experiment) == "production-moved"


def test_an_alias_moved_past_the_gate_ends_it(stage: ExperimentStage, experiment: Experiment) -> None:
    """In MLflow's database, back to a version that was let through before: serving follows, so the control is gone."""
    stage.pointed = THREE
    assert outcome(stage, experiment) == "production-moved"


@pytest.mark.parametrize("to", [prompt_version(4, "Be rude."), None])
def test_an_alias_that_is_not_followed_ends_nothing(
    stage: ExperimentStage, experiment: Experiment, to: PromotedVersion | None
) -> None:
    """Pointed at what may not serve, or nowhere: the control serves on, and serving raises its own alarm."""
    stage.pointed = to
    assert outcome(stage, experiment) is None


def test_without_mlflow_it_goes_on_until_its_time_is_over(stage: ExperimentStage, experiment: Experiment) -> None:
    """Serving keeps what it has, the control; every other ending does not wait for MLflow."""
    stage.mlflow_away = True
    assert outcome(stage, experiment) is None
    stage.clock.now += 86_400
    assert outcome(stage, experiment) == "inconclusive"


def test_a_move_while_mlflow_was_away_is_seen_afterwards(stage: ExperimentStage, experiment: Experiment) -> None:
    """Nobody could know; with MLflow back it ends."""
    stage.mlflow_away, stage.pointed = True, THREE
    assert outcome(stage, experiment) is None
    stage.mlflow_away = False
    assert outcome(stage, experiment) == "production-moved"


def test_without_its_use_case_it_ends(stage: ExperimentStage, experiment: Experiment) -> None:
    """Nothing serves it any more."""
    assert outcome(stage, experiment, {}) == "production-moved"
