"""What the units of an experiment met: one value a unit and metric, from the record of insights and of feedback.

A unit counts once for each metric, with the first of its calls for which the metric is known: values of one person are
alike, and statistics that took them for strangers would claim more than is known. The order is that in which values
became known, so that a later look sees the same values and more behind them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Float, FromClause, Select, case, cast, distinct, func, select

from registry.database import Database
from registry.prompts.experiment_design import Metric
from registry.prompts.experiments import Experiment
from registry.schema import feedback, insights

UNITS_MAX = 400_000
"""Most units that are looked at, the first ones: beyond any experiment that could still be undecided."""
DAY_MS = 86_400_000
BEFORE_MS = 28 * DAY_MS
"""How far back from its start a unit's earlier values are looked for."""
TENANT_PAYS = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a metric is read."""

    value: ColumnElement[float]
    """NULL: not known for this call."""
    higher_is_better: bool
    relative: bool
    """Tolerances are parts of the control's mean; else points of a share."""
    binary: bool = False
    """Values are 0 and 1."""
    rated: bool = False
    """It comes from feedback, of which the first word counts."""
    known_ms: Column[Any] = insights.c.created_ms
    """When the value became known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOutcomes:
    """The values of one arm, in the order in which they became known."""

    values: list[float] = field(default_factory=list[float])
    covariates: list[float] = field(default_factory=list[float])
    """For each value, what was known of the unit before the start; empty when nothing was known of anyone."""
    known_ms: list[int] = field(default_factory=list[int])


def _share(condition: ColumnElement[bool]) -> ColumnElement[float]:
    return case((condition, 1.0), else_=0.0)


def _number(column: Column[Any]) -> ColumnElement[float]:
    return cast(column, Float)


MEASURES: Final[Mapping[Metric, Measure]] = {
    "accepted": Measure(
        value=case((feedback.c.first_accepted.is_(True), 1.0), (feedback.c.first_accepted.is_(False), 0.0)),
        higher_is_better=True,
        relative=False,
        binary=True,
        rated=True,
        known_ms=feedback.c.accepted_ms,
    ),
    "rating": Measure(
        value=_number(feedback.c.first_rating),
        higher_is_better=True,
        relative=True,
        rated=True,
        known_ms=feedback.c.rated_ms,
    ),
    "grounded": Measure(
        value=case((insights.c.claims > 0, _number(insights.c.claims_grounded) / insights.c.claims)),
        higher_is_better=True,
        relative=False,
    ),
    "abstained": Measure(
        value=_share(insights.c.abstained.is_(True)), higher_is_better=False, relative=False, binary=True
    ),
    "blocked": Measure(
        value=_share(insights.c.status == "blocked"), higher_is_better=False, relative=False, binary=True
    ),
    "cost": Measure(value=_number(insights.c.cost_nano_usd) / 1e9, higher_is_better=False, relative=True),
    "latency": Measure(value=_number(insights.c.latency_ms) / 1e3, higher_is_better=False, relative=True),
}
"""accepted and rating (1 to 5) are what people said; grounded: share of an answer's claims that stand on evidence;
abstained and blocked: shares of answers; cost in USD; latency in seconds."""


def assigned_units(database: Database, experiment: Experiment) -> dict[str, int]:
    """How many units each arm got, for the check of the sample ratio; every arm is there.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    counted = select(insights.c.arm, func.count(distinct(insights.c.unit))).where(_within(experiment))
    with database.read() as connection:
        found = {row[0]: int(row[1]) for row in connection.execute(counted.group_by(insights.c.arm))}
    return {arm.name: found.get(arm.name, 0) for arm in experiment.design.arms}


def outcomes(database: Database, experiment: Experiment, metric: Metric) -> dict[str, ArmOutcomes]:
    """The values of every arm, each with what was known of its unit before the start.

    That is the unit's own mean over the four weeks before, else its tenant's, else that of all: none of them can depend
    on the arm.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    measure = MEASURES[metric]
    with database.read() as connection:
        rows = connection.execute(_first_values(experiment, measure)).all()
        own, tenants = (connection.execute(each).all() for each in _before(experiment, measure))
    units = {(row.tenant, row.unit): float(row.value) for row in own}
    groups = {row.tenant: float(row.value) for row in tenants}
    everyone = sum(groups.values()) / len(groups) if groups else None
    found = {arm.name: ArmOutcomes() for arm in experiment.design.arms}
    for row in rows:
        arm = found[row.arm]
        arm.values.append(float(row.value))
        arm.known_ms.append(int(row.known_ms))
        if everyone is not None:
            arm.covariates.append(units.get((row.tenant, row.unit), groups.get(row.tenant, everyone)))
    return found


def _first_values(experiment: Experiment, measure: Measure) -> Select[Any]:
    place = func.row_number().over(partition_by=insights.c.unit, order_by=(measure.known_ms, insights.c.id))
    columns = (insights.c.unit, insights.c.tenant, insights.c.arm, measure.value.label("value"))
    ranked = (
        select(*columns, measure.known_ms.label("known_ms"), place.label("place"))
        .select_from(_source(measure))
        .where(_within(experiment), measure.value.is_not(None))
    ).subquery()
    first = select(ranked).where(ranked.c.place == 1)
    return first.order_by(ranked.c.known_ms, ranked.c.unit).limit(UNITS_MAX)


def _before(experiment: Experiment, measure: Measure) -> Sequence[Select[Any]]:
    """Means of the four weeks before the start: of each unit that takes part, and of each tenant."""
    start = experiment.created_ms
    earlier = (
        (insights.c.prompt_name == experiment.prompt_name)
        & (insights.c.billed_to == TENANT_PAYS)
        & (insights.c.created_ms >= start - BEFORE_MS)
        & (insights.c.created_ms < start)
        & (measure.known_ms < start)  # what was said after the start may depend on what was met since
    )
    mean = func.avg(measure.value).label("value")
    known = select(mean, insights.c.tenant).select_from(_source(measure)).where(earlier, measure.value.is_not(None))
    taking_part = select(distinct(insights.c.unit)).where(_within(experiment))
    of_units = known.add_columns(insights.c.unit).where(insights.c.unit.in_(taking_part))
    return of_units.group_by(insights.c.tenant, insights.c.unit).limit(UNITS_MAX), known.group_by(insights.c.tenant)


def _within(experiment: Experiment) -> ColumnElement[bool]:
    here = (insights.c.experiment == experiment.id) & (insights.c.billed_to == TENANT_PAYS)
    known = here & insights.c.arm.in_([arm.name for arm in experiment.design.arms]) & insights.c.unit.is_not(None)
    return known if experiment.ended_ms is None else known & (insights.c.created_ms <= experiment.ended_ms)


def _source(measure: Measure) -> FromClause:
    return insights.join(feedback, feedback.c.insight == insights.c.id) if measure.rated else insights


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What a metric was like of late, for planning."""

    mean: float
    spread: float
    """Standard deviation between units."""
    units: int
    """With a value."""
    units_per_day: float


def experience(database: Database, prompt_name: str, metric: Metric, from_ms: int, to_ms: int) -> Experience | None:
    """First values of the units that asked in a period; None when fewer than two are known.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    measure = MEASURES[metric]
    place = func.row_number().over(partition_by=insights.c.unit, order_by=(measure.known_ms, insights.c.id))
    within = (
        (insights.c.prompt_name == prompt_name)
        & (insights.c.billed_to == TENANT_PAYS)
        & insights.c.unit.is_not(None)
        & (insights.c.created_ms >= from_ms)
        & (insights.c.created_ms < to_ms)
    )
    ranked = (
        select(measure.value.label("value"), place.label("place"))
        .select_from(_source(measure))
        .where(within, measure.value.is_not(None))
    ).subquery()
    chosen = select(ranked.c.value).where(ranked.c.place == 1).limit(UNITS_MAX)
    with database.read() as connection:
        values = [float(value) for value in connection.execute(chosen).scalars()]
    if len(values) < 2:  # noqa: PLR2004 - a spread needs two
        return None
    return Experience(
        mean=fmean(values),
        spread=stdev(values),
        units=len(values),
        units_per_day=len(values) / ((to_ms - from_ms) / DAY_MS),
    )
