"""What a running experiment shows by now, and whether it is over: the registry's outcomes through always-valid tests.

Nothing here depends on how often one looks. The design's alpha is shared out: all of it to the deciding metric, split
over the arms that are compared with the control; as much again to all guardrails together, split over them and over the
arms; RATIO_ALPHA to the sample ratio.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.comparison import ConfidenceSequence, SampleRatio, harmed, sample_ratio_mismatch, sequential_difference
from registry.database import Database
from registry.prompts.experiment_design import Arm, Guardrail, Metric
from registry.prompts.experiment_outcomes import MEASURES, ArmOutcomes, assigned_units, outcomes
from registry.prompts.experiments import Experiment

RATIO_ALPHA = 0.01
UNITS: Mapping[Metric, str] = {"cost": " USD", "latency": " s"}
"""Written behind a value; all others are shares and ratings."""
DAY_MS = 86_400_000
Values = NDArray[np.float64]

Ended = Literal["better", "worse", "harmed", "sample-ratio-mismatch", "production-moved", "inconclusive", "stopped"]
"""How an experiment ends.

* better, worse - the deciding metric of an arm is higher or lower than the control's, in the good or the bad direction
* harmed - a guardrail metric of an arm is worse by more than was tolerated
* sample-ratio-mismatch - units did not come to the arms as they should; nothing that was measured counts
* production-moved - another version than the control serves as production
* inconclusive - its time is over
* stopped - somebody stopped it
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why an experiment is over."""

    outcome: Ended
    arm: str | None
    """The arm that it is about; None: all of them."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm against the control on one metric; differences are arm minus control."""

    metric: Metric
    arm: str
    decides: bool
    """It is the deciding metric; else a guardrail."""
    units: tuple[int, int]
    """With a value, in control and arm."""
    means: tuple[float | None, float | None]
    low: float
    """Of the confidence sequence of the difference; -inf while unknown."""
    high: float
    finding: Literal["better", "worse", "harmed"] | None
    """What is proven; None: nothing yet."""

    @property
    def difference(self) -> float | None:
        """Of the means."""
        control, arm = self.means
        return None if control is None or arm is None else arm - control


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One look at an experiment."""

    experiment: Experiment
    looked_ms: int
    units: Mapping[str, int]
    """Assigned to each arm."""
    ratio: SampleRatio
    comparisons: tuple[Comparison, ...]
    """The deciding metric first."""
    ending: Ending | None
    """None: it goes on."""


def assess(
    database: Database,
    experiment: Experiment,
    production_hash: str | None,
    clock: Callable[[], float] = time.time,
) -> Assessment:
    """Look at an experiment.

    Args:
        database: the registry.
        experiment: running or ended.
        production_hash: content that serves under the use case's alias; None: nothing does.
        clock: seconds since the epoch.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    design = experiment.design
    units = assigned_units(database, experiment)
    ratio = sample_ratio_mismatch([*units.values()], [arm.weight for arm in design.arms], alpha=RATIO_ALPHA)
    decisive = _compared(experiment, design.metric, outcomes(database, experiment, design.metric), None)
    guarded = [
        comparison
        for guardrail in design.guardrails
        for comparison in _compared(
            experiment, guardrail.metric, outcomes(database, experiment, guardrail.metric), guardrail
        )
    ]
    now_ms = int(clock() * 1000)
    comparisons = (*decisive, *guarded)
    return Assessment(
        experiment=experiment,
        looked_ms=now_ms,
        units=units,
        ratio=ratio,
        comparisons=comparisons,
        ending=_ending(experiment, ratio, comparisons, production_hash, now_ms),
    )


def trajectory(
    experiment: Experiment, found: Mapping[str, ArmOutcomes], arm: Arm, looks: int
) -> list[tuple[int, float, float, float]]:
    """How the deciding metric's difference and its limits went: (units in both arms, difference, low, high) a look."""
    control = experiment.design.arms[0]
    a, b = found[control.name], found[arm.name]
    times = sorted([*a.known_ms, *b.known_ms])
    points: list[tuple[int, float, float, float]] = []
    for look in range(1, looks + 1):
        upto = times[round(look * len(times) / looks) - 1] if times else 0
        cut = {each.name: _until(found[each.name], upto) for each in (control, arm)}
        seen = _sequence(experiment, experiment.design.metric, cut, arm)
        if seen.difference is not None:
            points.append((sum(len(each.values) for each in cut.values()), seen.difference, seen.low, seen.high))
    return points


def _compared(
    experiment: Experiment, metric: Metric, found: Mapping[str, ArmOutcomes], guardrail: Guardrail | None
) -> list[Comparison]:
    control, *others = experiment.design.arms
    measure = MEASURES[metric]
    comparisons: list[Comparison] = []
    for arm in others:
        seen = _sequence(experiment, metric, found, arm)
        finding = None
        if guardrail is not None:
            finding = "harmed" if _harmed(experiment, guardrail, found, arm) else None
        elif seen.decided:
            finding = "better" if (seen.low > 0) == measure.higher_is_better else "worse"
        a, b = found[control.name].values, found[arm.name].values
        comparisons.append(
            Comparison(
                metric=metric,
                arm=arm.name,
                decides=guardrail is None,
                units=(len(a), len(b)),
                means=(_mean(a), _mean(b)),
                low=seen.low,
                high=seen.high,
                finding=finding,
            )
        )
    return comparisons


def _sequence(experiment: Experiment, metric: Metric, found: Mapping[str, ArmOutcomes], arm: Arm) -> ConfidenceSequence:
    design = experiment.design
    control = design.arms[0]
    a, b = found[control.name], found[arm.name]
    if _nothing_to_tell(metric, a, b):
        return ConfidenceSequence(low=-math.inf, high=math.inf, decided=False, difference=0.0)
    return sequential_difference(
        a.values,
        b.values,
        alpha=design.alpha / (len(design.arms) - 1),
        planned=(design.planned_units(control), design.planned_units(arm)),
        covariates=_covariates(metric, a, b),
    )


def _harmed(experiment: Experiment, guardrail: Guardrail, found: Mapping[str, ArmOutcomes], arm: Arm) -> bool:
    design, measure = experiment.design, MEASURES[guardrail.metric]
    control = design.arms[0]
    a, b = found[control.name], found[arm.name]
    if _nothing_to_tell(guardrail.metric, a, b):
        return False
    # A tolerance that is a part of the control's mean is tested exactly by holding the arm against a scaled control.
    part = guardrail.tolerance if measure.relative else 0.0
    scaled = np.asarray(a.values) * (1 - part if measure.higher_is_better else 1 + part)
    return harmed(
        scaled,
        b.values,
        worse="lower" if measure.higher_is_better else "higher",
        tolerated=0.0 if measure.relative else guardrail.tolerance,
        alpha=design.alpha / (len(design.arms) - 1) / len(design.guardrails),
        planned=(design.planned_units(control), design.planned_units(arm)),
        covariates=_covariates(guardrail.metric, a, b),
    ).harmed


def _nothing_to_tell(metric: Metric, a: ArmOutcomes, b: ArmOutcomes) -> bool:
    """All values are one, as costs of a model of one's own are: how far others may lie from it, nobody knows."""
    return MEASURES[metric].relative and len({*a.values, *b.values}) == 1


def _covariates(metric: Metric, a: ArmOutcomes, b: ArmOutcomes) -> tuple[Values, Values] | None:
    """What was known of the units before, where it can explain something.

    Values of 0 and 1 go without: their interval is corrected for rare events instead.
    """
    if MEASURES[metric].binary or len({*a.covariates, *b.covariates}) < 2:  # noqa: PLR2004 - it has to vary
        return None
    return np.asarray(a.covariates), np.asarray(b.covariates)


def _ending(
    experiment: Experiment,
    ratio: SampleRatio,
    comparisons: Sequence[Comparison],
    production_hash: str | None,
    now_ms: int,
) -> Ending | None:
    """The first reason that holds, the gravest first."""
    design = experiment.design
    if production_hash != design.arms[0].content_hash:
        return Ending(
            outcome="production-moved",
            arm=None,
            reason="production is no longer the control, so its users have no arm to be compared with",
        )
    if ratio.mismatch:
        return Ending(
            outcome="sample-ratio-mismatch",
            arm=None,
            reason=f"units did not come to the arms as the weights say (p = {ratio.p:.2g}): an arm fails before it "
            "answers, or calls are lost; what was measured does not count",
        )
    for finding in ("harmed", "better", "worse"):
        proven = [each for each in comparisons if each.finding == finding]
        if proven:
            best = max(proven, key=lambda each: abs(each.difference or 0.0))
            return Ending(outcome=finding, arm=best.arm, reason=_sentence(best))
    if now_ms - experiment.created_ms >= design.days_max * DAY_MS:
        return Ending(
            outcome="inconclusive", arm=None, reason=f"{design.days_max:g} days are over and no difference is proven"
        )
    return None


def _sentence(found: Comparison) -> str:
    control, arm = found.means
    unit = UNITS.get(found.metric, "")
    return (
        f"{found.metric} is {control:.4g}{unit} in control and {arm:.4g}{unit} in {found.arm} "
        f"(difference {found.low:.3g} to {found.high:.3g}{unit}, {found.units[0]} and {found.units[1]} units)"
    )


def _until(outcome: ArmOutcomes, upto_ms: int) -> ArmOutcomes:
    count = sum(known <= upto_ms for known in outcome.known_ms)  # they are in order
    return ArmOutcomes(
        values=outcome.values[:count], covariates=outcome.covariates[:count], known_ms=outcome.known_ms[:count]
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
