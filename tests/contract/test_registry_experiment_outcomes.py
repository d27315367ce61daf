"""What an experiment's units came to, on SQLite and on PostgreSQL alike."""

import pytest
from fakes.experiment_stage import ExperimentStage
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version
from sqlalchemy import update

from registry.database import Database
from registry.prompts.experiment_outcomes import assigned_units, experience, outcomes
from registry.schema import feedback as feedback_table

pytestmark = pytest.mark.contract

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")
DAY_S = 86_400


@pytest.fixture
def stage(registry: Database, clock: FakeClock) -> ExperimentStage:
    """A registry in which version 1 is promoted."""
    stage = ExperimentStage(registry, clock)
    stage.promote(ONE)
    return stage


def test_a_unit_counts_once_with_its_first_measured_call(stage: ExperimentStage) -> None:
    """Each metric takes the first call for which it is known, in the order in which it became known."""
    experiment = stage.start(ONE, TWO)
    stage.meets(experiment, "control", "ada", cost_nano_usd=1_000_000_000, claims=0, claims_grounded=0)
    stage.meets(experiment, "control", "ada", cost_nano_usd=9_000_000_000, claims=4, claims_grounded=1)
    stage.meets(experiment, "v2", "bob", cost_nano_usd=3_000_000_000, claims=1, claims_grounded=1)
    stage.meets(experiment, "control", "cid", cost_nano_usd=2_000_000_000, latency_ms=1500, abstained=True)
    assert assigned_units(stage.database, experiment) == {"control": 2, "v2": 1}
    cost = outcomes(stage.database, experiment, "cost")
    assert (cost["control"].values, cost["v2"].values) == ([1.0, 2.0], [3.0])
    assert cost["control"].known_ms == sorted(cost["control"].known_ms)
    assert outcomes(stage.database, experiment, "grounded")["control"].values == [0.25, 1.0]
    assert outcomes(stage.database, experiment, "latency")["control"].values == [0.5, 1.5]
    assert outcomes(stage.database, experiment, "abstained")["control"].values == [0.0, 1.0]
    assert outcomes(stage.database, experiment, "blocked")["control"].values == [0.0, 0.0]


def test_feedback_is_read_where_it_was_given(stage: ExperimentStage) -> None:
    """Ratings of calls about which somebody said something; acceptance of those where it was told."""
    experiment = stage.start(ONE, TWO)
    stage.meets(experiment, "v2", "ada")
    stage.meets(experiment, "v2", "ada", said=(4, None))
    stage.meets(experiment, "v2", "ada", said=(1, True))
    stage.meets(experiment, "v2", "bob", said=(2, False))
    stage.meets(experiment, "v2", "cid", said=(None, True))
    assert outcomes(stage.database, experiment, "rating")["v2"].values == [4.0, 2.0]
    assert outcomes(stage.database, experiment, "accepted")["v2"].values == [1.0, 0.0, 1.0]


def test_a_value_that_was_looked_at_stays(stage: ExperimentStage) -> None:
    """A later look sees the same values in the same order, and more behind them, whatever is said anew."""
    experiment = stage.start(ONE, TWO)
    late = stage.meets(experiment, "v2", "ada", said=(4, None))
    stage.meets(experiment, "v2", "bob", said=(2, True))
    before = {metric: outcomes(stage.database, experiment, metric)["v2"] for metric in ("accepted", "rating")}
    told_ms = int(stage.clock.now * 1000) + 60_000
    with stage.database.write() as connection:
        word = {"rating": 1, "accepted": False, "first_accepted": False, "accepted_ms": told_ms}
        connection.execute(update(feedback_table).where(feedback_table.c.insight == late).values(**word))
    assert outcomes(stage.database, experiment, "rating")["v2"] == before["rating"]
    accepted = outcomes(stage.database, experiment, "accepted")["v2"]
    assert (before["accepted"].values, accepted.values) == ([1.0], [1.0, 0.0])
    assert accepted.known_ms == [*before["accepted"].known_ms, told_ms]


def test_calls_outside_do_not_count(stage: ExperimentStage) -> None:
    """Nor those of evaluations, of other experiments, of nobody known, or after the end."""
    experiment = stage.start(ONE, TWO)
    stage.meets(None, None, "ada")
    stage.meets(experiment, "control", "eve", billed_to="evaluation")
    stage.meets(experiment, "gone", "dan")
    stage.meets(experiment, "control", None)
    stage.meets(experiment, "control", "bob")
    ended = stage.experiments.end(experiment, {"outcome": "stopped"}, "ada")
    stage.meets(experiment, "control", "cid")
    assert ended is not None
    assert assigned_units(stage.database, ended) == {"control": 1, "v2": 0}
    assert len(outcomes(stage.database, ended, "cost")["control"].values) == 1


def test_covariates_are_from_before_the_start(stage: ExperimentStage) -> None:
    """A unit's own mean, else its tenant's, else that of all; nothing after the start or older than four weeks."""
    stage.meets(None, None, "ada", cost_nano_usd=77_000_000_000)
    stage.clock.now += 40 * DAY_S
    stage.meets(None, None, "ada", cost_nano_usd=1_000_000_000)
    stage.meets(None, None, "ada", cost_nano_usd=3_000_000_000)
    stage.meets(None, None, "bob", cost_nano_usd=5_000_000_000)
    stage.clock.now += 1
    experiment = stage.start(ONE, TWO)
    for unit, tenant in (("ada", "north"), ("new", "north"), ("far", "south")):
        stage.meets(experiment, "v2", unit, tenant=tenant, cost_nano_usd=9_000_000_000)
    assert outcomes(stage.database, experiment, "cost")["v2"].covariates == [2.0, 3.0, 3.0]


def test_without_a_past_there_is_no_covariate(stage: ExperimentStage) -> None:
    """The list is empty, and the comparison goes without."""
    experiment = stage.start(ONE, TWO)
    stage.meets(experiment, "v2", "ada")
    assert outcomes(stage.database, experiment, "cost")["v2"].covariates == []


def test_experience_is_one_value_a_unit(stage: ExperimentStage) -> None:
    """Mean, spread and units a day of a period, for planning."""
    start_ms = int(stage.clock.now * 1000)
    for unit, accepted in (("ada", True), ("ada", False), ("bob", True), ("cid", False), ("dan", True)):
        stage.meets(None, None, unit, said=(3, accepted))
    found = experience(stage.database, "insights", "accepted", start_ms, start_ms + 2 * DAY_S * 1000)
    assert found is not None
    assert (found.mean, found.units, found.units_per_day) == (0.75, 4, 2.0)
    assert experience(stage.database, "insights", "accepted", 0, 1) is None
