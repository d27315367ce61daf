"""A look at an experiment ends what is decided, does harm or cannot be trusted, and nothing else."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from fakes.experiment_stage import POLICY, ExperimentStage, accepted, fill
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version

from flows.experiment_analysis import Assessment
from flows.experiment_looks import look_at, look_at_all, write_runs
from flows.experiment_report import document, markdown, next_step
from registry.database import Database
from registry.prompts.experiments import Experiment, find_experiment, running_experiments
from registry.prompts.promotion_records import valid_promotions
from registry.runs import LoggedRun, RunReport, RunsUnavailable

ONE, TWO, THREE = prompt_version(1), prompt_version(2, "Answer briefly."), prompt_version(3, "Answer at length.")
POLICIES = {"insights": POLICY}


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> ExperimentStage:
    """A registry in which version 1 is promoted."""
    stage = ExperimentStage(database, clock)
    stage.promote(ONE)
    return stage


def look(stage: ExperimentStage) -> Assessment:
    """What the flow does, for the one experiment that runs."""
    (seen,) = asyncio.run(look_at_all(stage.database, stage, POLICIES, stage.note, stage.clock)).seen
    return seen


def look_once(stage: ExperimentStage, experiment: Experiment) -> Assessment:
    """What a person sees, who ends nothing."""
    return asyncio.run(look_at(stage.database, stage, experiment, POLICIES, stage.clock))


def test_an_experiment_between_equals_goes_on(stage: ExperimentStage) -> None:
    """Nothing is proven, nothing ends, and nothing is written."""
    experiment = stage.start(ONE, TWO)
    for arm in ("control", "v2"):
        fill(stage, experiment, arm, accepted(0.5, 400))
    noted = len(stage.notes)
    seen = look(stage)
    assert (seen.ending, seen.units) == (None, {"control": 400, "v2": 400})
    assert running_experiments(stage.database) == (experiment,)
    assert len(stage.notes) == noted


@pytest.mark.parametrize(("share", "outcome"), [(0.8, "better"), (0.6, "worse")])
def test_a_proven_difference_ends_it(stage: ExperimentStage, share: float, outcome: str) -> None:
    """The decision names the arm, its numbers and who ended it; no alias moves, and everybody has production."""
    experiment = stage.start(ONE, TWO)
    fill(stage, experiment, "control", accepted(0.7, 1_200))
    fill(stage, experiment, "v2", accepted(share, 1_200))
    production = valid_promotions(stage.database, "insights", "production", int(stage.clock.now * 1000))
    seen = look(stage)
    decided = find_experiment(stage.database, experiment.id)
    assert decided.status == "ended"
    assert decided.decision is not None
    assert (decided.decision["outcome"], decided.decision["arm"]) == (outcome, "v2")
    assert decided.decision["by"] == "watch-experiments"
    row = next(each for each in document(seen)["metrics"] if each["decides"])  # type: ignore[union-attr]
    assert (row["units_control"], row["units_arm"], row["control"]) == (1_200, 1_200, pytest.approx(0.7))
    assert valid_promotions(stage.database, "insights", "production", int(stage.clock.now * 1000)) == production
    assert ("assay prompts promote insights 2" in next_step(decided)) == (outcome == "better")


def test_harm_to_a_guardrail_ends_it(stage: ExperimentStage) -> None:
    """An arm that costs half as much again is stopped, though people like it."""
    experiment = stage.start(ONE, TWO, guardrails=({"metric": "cost", "tolerance": 0.25}, {"metric": "latency"}))
    cost = np.random.default_rng(1).lognormal(0, 0.5, 1_500) * 1e6
    fill(stage, experiment, "control", [{"cost_nano_usd": int(each)} for each in cost])
    fill(stage, experiment, "v2", [{"cost_nano_usd": int(each * 1.5)} for each in cost])
    seen = look(stage)
    decided = find_experiment(stage.database, experiment.id).decision
    assert decided is not None
    assert (decided["outcome"], decided["arm"]) == ("harmed", "v2")
    assert " USD in control and " in str(decided["reason"])
    assert [each.finding for each in seen.comparisons] == [None, "harmed", None]


def test_what_is_tolerated_is_no_harm(stage: ExperimentStage) -> None:
    """A fifth more cost under a tolerance of a quarter goes on, however sure it is."""
    experiment = stage.start(ONE, TWO, guardrails=({"metric": "cost", "tolerance": 0.25},))
    cost = np.random.default_rng(1).lognormal(0, 0.3, 2_000) * 1e6
    fill(stage, experiment, "control", [{"cost_nano_usd": int(each)} for each in cost])
    fill(stage, experiment, "v2", [{"cost_nano_usd": int(each * 1.2)} for each in cost])
    seen = look(stage)
    assert seen.ending is None
    (_, cost_row) = seen.comparisons
    assert cost_row.low > 0


@pytest.mark.parametrize("metric", ["abstained", "blocked"])
def test_more_of_something_bad_is_harm(stage: ExperimentStage, metric: str) -> None:
    """For some metrics lower is better."""
    experiment = stage.start(ONE, TWO, guardrails=({"metric": metric},))
    bad: dict[str, Any] = {"abstained": {"abstained": True}, "blocked": {"status": "blocked"}}
    fill(stage, experiment, "control", [bad[metric] if place % 20 == 0 else {} for place in range(1_000)])
    fill(stage, experiment, "v2", [bad[metric] if place % 5 == 0 else {} for place in range(1_000)])
    assert look(stage).experiment.decision["outcome"] == "harmed"  # type: ignore[index]


def test_units_that_are_lost_end_it(stage: ExperimentStage) -> None:
    """An arm that fails before it answers leaves fewer units; then nothing that was measured counts."""
    experiment = stage.start(ONE, TWO)
    fill(stage, experiment, "control", accepted(0.5, 1_000))
    fill(stage, experiment, "v2", accepted(0.9, 800))
    decided = look(stage).experiment.decision
    assert decided is not None
    assert (decided["outcome"], decided["arm"]) == ("sample-ratio-mismatch", None)


def test_uneven_weights_are_no_mismatch(stage: ExperimentStage) -> None:
    """Units are held against the weights of the design."""
    experiment = stage.start(ONE, TWO, weights=(3, 1))
    fill(stage, experiment, "control", accepted(0.5, 900))
    fill(stage, experiment, "v2", accepted(0.5, 300))
    assert look(stage).ending is None


def test_its_time_ends_it(stage: ExperimentStage) -> None:
    """Without a proven difference it ends after the days of its design."""
    experiment = stage.start(ONE, TWO, days_max=2)
    stage.clock.now += 2 * 86_400 - 1
    assert look(stage).ending is None
    stage.clock.now += 1
    look(stage)
    decided = find_experiment(stage.database, experiment.id).decision
    assert decided is not None
    assert decided["outcome"] == "inconclusive"


def test_the_best_of_several_arms_is_named(stage: ExperimentStage) -> None:
    """Each arm is held against the control, with its part of alpha."""
    experiment = stage.start(ONE, TWO, THREE)
    for arm, share in (("control", 0.5), ("v2", 0.62), ("v3", 0.8)):
        fill(stage, experiment, arm, accepted(share, 1_200))
    decided = look(stage).experiment.decision
    assert decided is not None
    assert (decided["outcome"], decided["arm"]) == ("better", "v3")


def test_equal_costs_tell_nothing(stage: ExperimentStage) -> None:
    """A model of one's own costs nothing in both arms: no limit is stated, and nothing is harmed."""
    experiment = stage.start(ONE, TWO, guardrails=({"metric": "cost"},))
    for arm in ("control", "v2"):
        fill(stage, experiment, arm, [{"cost_nano_usd": 0}] * 150)
    (_, cost) = look(stage).comparisons
    assert (cost.difference, cost.low, cost.high, cost.finding) == (0.0, -float("inf"), float("inf"), None)


def test_what_is_proven_is_said_before_it_ends(stage: ExperimentStage) -> None:
    """Who looks between two looks of the flow reads what it will do."""
    experiment = stage.start(ONE, TWO)
    fill(stage, experiment, "control", accepted(0.5, 1_000))
    fill(stage, experiment, "v2", accepted(0.7, 1_000))
    seen = look_once(stage, experiment)
    assert "`watch-experiments` ends it at its next look" in markdown(seen)
    assert document(seen)["finding"] is not None


def test_what_was_known_before_narrows_the_interval(stage: ExperimentStage) -> None:
    """With the units' own costs of the weeks before, the same values tell more (CUPED)."""
    own = np.random.default_rng(2).lognormal(0, 1, 600) * 1e6

    def width() -> float:
        experiment = stage.start(ONE, TWO, metric="cost")
        for arm in ("control", "v2"):
            fill(stage, experiment, arm, [{"cost_nano_usd": int(each * 1.01)} for each in own])
        seen = look_once(stage, experiment).comparisons[0]
        stage.experiments.end(experiment, {"outcome": "stopped"}, "ada")
        return seen.high - seen.low

    without = width()
    stage.clock.now += 40 * 86_400
    for arm in ("control", "v2"):
        stage.meet([{"arm": None, "unit": f"{arm}-{n}", "cost_nano_usd": int(each)} for n, each in enumerate(own)])
    stage.clock.now += 1
    assert width() < without / 3


def test_a_look_can_be_read(stage: ExperimentStage) -> None:
    """The document is JSON also before anything is known; the page names arms, units and the promise."""
    stage.start(ONE, TWO, guardrails=({"metric": "cost"},))
    seen = look(stage)
    read = json.loads(json.dumps(document(seen), allow_nan=False))
    assert (read["status"], read["decision"], read["finding"]) == ("running", None, None)
    assert read["metrics"][0] == {
        "metric": "accepted",
        "arm": "v2",
        "decides": True,
        "control": None,
        "mean": None,
        "difference": None,
        "low": None,
        "high": None,
        "units_control": 0,
        "units_arm": 0,
        "finding": None,
    }
    page = markdown(seen)
    assert "| metric | arm | in control | in arm |" in page
    assert "| cost, USD |" in page
    assert "| not known yet |" in page
    assert "control = version 1, v2 = version 2" in page
    assert "at most 5%" in page


class FakeRuns:
    """MLflow: keeps the reports, or is away."""

    def __init__(self) -> None:
        self.reports: list[RunReport] = []
        self.away = False

    def log(self, report: RunReport) -> LoggedRun:
        """Write a run."""
        if self.away:
            raise RunsUnavailable("away")
        self.reports.append(report)
        return LoggedRun(id=f"run-{len(self.reports)}", url="http://mlflow")


def test_an_ended_experiment_gets_one_run(stage: ExperimentStage) -> None:
    """With its numbers, its picture and no unit; MLflow's absence delays it and does not keep harm going."""
    experiment = stage.start(ONE, TWO)
    fill(stage, experiment, "control", accepted(0.5, 1_200))
    fill(stage, experiment, "v2", accepted(0.7, 1_200))
    runs = FakeRuns()
    assert write_runs(stage.database, runs.log, stage.clock) == ()
    look(stage)
    runs.away = True
    with pytest.raises(RunsUnavailable):
        write_runs(stage.database, runs.log, stage.clock)
    runs.away = False
    assert len(write_runs(stage.database, runs.log, stage.clock)) == 1
    assert write_runs(stage.database, runs.log, stage.clock) == ()
    (report,) = runs.reports
    assert report.prompt == ("insights", 2)
    assert report.metrics["accepted.v2.difference"] == pytest.approx(0.2)
    assert report.tags["assay.outcome"] == "better"
    assert report.files["difference.png"].startswith(b"\x89PNG")
    assert "control-7" not in str(report)
    decided = find_experiment(stage.database, experiment.id).decision
    assert decided is not None
    assert decided["run"] == {"id": "run-1", "url": "http://mlflow"}


def test_an_experiment_that_nobody_met_can_be_shown(stage: ExperimentStage) -> None:
    """Its run has an empty picture and no infinite number."""
    experiment = stage.start(ONE, TWO)
    stage.experiments.end(experiment, {"outcome": "stopped", "arm": None, "reason": "a mistake"}, "ada")
    runs = FakeRuns()
    write_runs(stage.database, runs.log, stage.clock)
    assert runs.reports[0].metrics == {"units.control": 0.0, "units.v2": 0.0, "sample_ratio_p": 1.0}
