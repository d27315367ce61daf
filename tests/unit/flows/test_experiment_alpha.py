"""Each comparison of an experiment is made with its part of alpha, and with the planned look of the design."""

import pytest
from fakes.experiment_stage import ExperimentStage, accepted, fill
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version

from evaluation.comparison import harmed, sequential_difference
from flows.experiment_analysis import Comparison, assess
from registry.database import Database
from registry.prompts.experiments import Experiment

ONE, TWO, THREE = prompt_version(1), prompt_version(2, "Answer briefly."), prompt_version(3, "Answer at length.")


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> ExperimentStage:
    """A registry in which version 1 is promoted."""
    stage = ExperimentStage(database, clock)
    stage.promote(ONE)
    return stage


def comparisons(stage: ExperimentStage, experiment: Experiment) -> tuple[Comparison, ...]:
    """What is known of every arm by now."""
    return assess(stage.database, experiment, ONE.content_hash, stage.clock).comparisons


@pytest.mark.parametrize("planned", [300, 1_000])
def test_each_interval_has_its_part_of_alpha_and_the_planned_look(stage: ExperimentStage, planned: int) -> None:
    """The deciding metric's alpha is split over the arms, and the look is where the design says."""
    experiment = stage.start(ONE, TWO, THREE, weights=(2, 1, 1), alpha=0.1, planned=planned)
    for arm, units in (("control", 800), ("v2", 400), ("v3", 400)):
        fill(stage, experiment, arm, accepted(0.5, units))
    control, arm = ([float(each["said"][1]) for each in accepted(0.5, units)] for units in (800, 400))
    expected = sequential_difference(control, arm, alpha=0.1 / 2, planned=(2 * planned, planned))
    for seen in comparisons(stage, experiment):
        assert (seen.low, seen.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("arms", "guardrails"), [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("finding", ["harmed", None])
def test_harm_is_called_at_its_part_of_alpha(
    stage: ExperimentStage, arms: int, guardrails: int, finding: str | None
) -> None:
    """A guardrail gets alpha over arms and guardrails: the least rise that this calls is harm, one less is not."""
    experiment = stage.start(
        *(ONE, TWO, THREE)[: arms + 1],
        guardrails=tuple({"metric": name} for name in ("abstained", "blocked")[:guardrails]),
        planned=500,
    )

    def called(bad: int) -> bool:
        control, arm = ([float(place < most) for place in range(500)] for most in (50, bad))
        return harmed(control, arm, worse="higher", alpha=0.05 / arms / guardrails, planned=(500, 500)).harmed

    least = next(bad for bad in range(50, 500) if called(bad))
    for arm in experiment.design.arms:
        most = 50 if arm.name != "v2" else least if finding else least - 1
        fill(stage, experiment, arm.name, [{"abstained": place < most} for place in range(500)])
    (seen,) = (each for each in comparisons(stage, experiment) if (each.metric, each.arm) == ("abstained", "v2"))
    assert seen.finding == finding


def test_what_was_known_before_does_not_touch_values_of_0_and_1(stage: ExperimentStage) -> None:
    """Their interval is corrected for rare events, which a covariate would undo."""
    before = accepted(0.5, 300)
    for arm in ("control", "v2"):
        stage.meet([{"arm": None, "unit": f"{arm}-{n}", **each} for n, each in enumerate(before)])
    stage.clock.now += 1
    experiment = stage.start(ONE, TWO)
    for arm in ("control", "v2"):
        fill(stage, experiment, arm, accepted(0.5, 300))
    values = [float(each["said"][1]) for each in before]
    expected = sequential_difference(values, values)
    (seen,) = comparisons(stage, experiment)
    assert (seen.low, seen.high) == pytest.approx((expected.low, expected.high))
