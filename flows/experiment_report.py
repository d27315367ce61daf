"""An experiment for people and machines: rows, a document, markdown, and its MLflow run with the picture."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from evaluation.experiment_plots import picture
from flows.experiment_analysis import UNITS, Assessment, Comparison, trajectory
from registry.database import Database
from registry.errors import JsonValue
from registry.prompts.experiment_design import Metric
from registry.prompts.experiment_outcomes import outcomes
from registry.prompts.experiments import Experiment, UnreadableExperiment
from registry.runs import RunReport

LOOKS_DRAWN = 60
WATCHER = "watch-experiments"
"""The flow that ends experiments; its name stands in their decision records."""
AXES: Mapping[Metric, str] = {
    "accepted": "share accepted",
    "rating": "rating, 1 to 5",
    "grounded": "share of claims grounded",
    "abstained": "share abstained",
    "blocked": "share blocked",
    "cost": "USD a call",
    "latency": "seconds a call",
}


def metric_rows(look: Assessment) -> list[dict[str, JsonValue]]:
    """One line for each metric and arm beside the control."""
    return [_row(each) for each in look.comparisons]


def document(look: Assessment) -> dict[str, JsonValue]:
    """A look at an experiment, for machines."""
    experiment = look.experiment
    design = experiment.design
    ending = look.ending
    over: dict[str, JsonValue] | None = None
    if ending is not None and experiment.status == "running":
        over = {"outcome": ending.outcome, "arm": ending.arm, "reason": ending.reason}
    return {
        "id": experiment.id,
        "prompt": experiment.prompt_name,
        "use_case": experiment.use_case,
        "status": experiment.status,
        "started_at": time_of(experiment.created_ms),
        "ended_at": None if experiment.ended_ms is None else time_of(experiment.ended_ms),
        "by": experiment.created_by,
        "arms": [
            {
                "name": arm.name,
                "version": arm.version,
                "weight": arm.weight,
                "units": look.units[arm.name],
                "units_planned": design.planned_units(arm),
            }
            for arm in design.arms
        ],
        "share": design.share_at((look.looked_ms - experiment.created_ms) / 3_600_000),
        "excluded": [*design.excluded],
        "metric": design.metric,
        "alpha": design.alpha,
        "sample_ratio": {"mismatch": look.ratio.mismatch, "p": look.ratio.p},
        "metrics": [*metric_rows(look)],
        "finding": over,
        "decision": None if experiment.decision is None else dict(experiment.decision),
    }


def unreadable_document(row: UnreadableExperiment) -> dict[str, JsonValue]:
    """An experiment that cannot be read, for machines."""
    about: dict[str, JsonValue] = {"id": row.id, "prompt": row.prompt_name, "status": "unreadable"}
    return {**about, "ended": row.is_over, "trouble": row.trouble}


def decision(look: Assessment, outcome: str, arm: str | None, reason: str, by: str) -> dict[str, JsonValue]:
    """The decision record: how it ended, and the numbers that it rests on."""
    return {
        "outcome": outcome,
        "arm": arm,
        "reason": reason,
        "by": by,
        "looked_at": time_of(look.looked_ms),
        "units": dict(look.units),
        "sample_ratio_p": look.ratio.p,
        "metrics": [*metric_rows(look)],
    }


def next_step(experiment: Experiment) -> str:
    """What to do with a decision; ending moved no alias."""
    decided = experiment.decision or {}
    versions = {arm.name: arm.version for arm in experiment.design.arms}
    if decided.get("outcome") == "better":
        version = versions[str(decided["arm"])]
        return f"to give it to everyone: assay prompts promote {experiment.prompt_name} {version}"
    return "everyone has the production version"


def markdown(look: Assessment) -> str:
    """A look at an experiment, for people."""
    experiment = look.experiment
    design = experiment.design
    arms = ", ".join(f"{arm.name} = version {arm.version}" for arm in design.arms)
    lines = [f"## {experiment.prompt_name}: {_headline(look)}", "", f"{experiment.id}: {arms}.", ""]
    if experiment.decision is not None:
        lines += [f"{experiment.decision.get('reason')}; {next_step(experiment)}.", ""]
    elif look.ending is not None:
        lines += [f"{look.ending.reason}: `{WATCHER}` ends it at its next look.", ""]
    units = ", ".join(f"{name} {count}" for name, count in look.units.items())
    terms = (
        f"Units: {units}; sample ratio p = {look.ratio.p:.3g}. A unit is a subject or session and counts once. "
        f"Intervals hold at any look; false winners: at most {design.alpha:.0%} of all experiments."
    )
    lines += [
        terms,
        "",
        "| metric | arm | in control | in arm | difference | interval | units | finding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in look.comparisons:
        known = math.isfinite(each.low) or math.isfinite(each.high)
        interval = f"{_short(each.low)} to {_short(each.high)}" if known else "not known yet"
        name = f"{each.metric},{UNITS[each.metric]}" if each.metric in UNITS else each.metric
        role = f"**{name}**" if each.decides else name
        cells = (
            role,
            each.arm,
            *map(_short, (*each.means, each.difference)),
            interval,
            f"{each.units[0]} + {each.units[1]}",
        )
        lines.append("| " + " | ".join([*cells, each.finding or ""]) + " |")
    return "\n".join(lines)


def run_report(database: Database, look: Assessment) -> RunReport:
    """The MLflow run of an experiment: sums only, no live content and no unit.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    experiment = look.experiment
    design = experiment.design
    control, *others = design.arms
    decided = experiment.decision or {}
    about = next((arm for arm in others if arm.name == decided.get("arm")), others[0])
    title = f"{experiment.prompt_name}: {', '.join(f'v{arm.version}' for arm in others)} against v{control.version}"
    found = outcomes(database, experiment, design.metric)
    paths = {arm.name: trajectory(experiment, found, arm, LOOKS_DRAWN) for arm in others}
    metrics: dict[str, float] = {f"units.{name}": float(count) for name, count in look.units.items()}
    for each in look.comparisons:
        values = {"control": each.means[0], "mean": each.means[1], "difference": each.difference}
        values |= {"low": each.low, "high": each.high}
        shown = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        metrics |= {f"{each.metric}.{each.arm}.{name}": value for name, value in shown.items()}
    return RunReport(
        name=title,
        prompt=(experiment.prompt_name, about.version),
        parameters={
            "experiment": experiment.id,
            **{f"arm.{arm.name}": f"{experiment.prompt_name}/{arm.version}" for arm in design.arms},
            **{f"weight.{arm.name}": f"{arm.weight:g}" for arm in design.arms},
            "metric": design.metric,
            "alpha": f"{design.alpha:g}",
            "started": time_of(experiment.created_ms),
        },
        metrics={**metrics, "sample_ratio_p": look.ratio.p},
        tags={"assay.experiment": experiment.id, "assay.outcome": str(decided.get("outcome", "running"))},
        tables={"metrics.json": metric_rows(look)},
        files={"difference.png": picture(title, AXES[design.metric], paths)},
        description=markdown(look),
    )


def time_of(ms: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _headline(look: Assessment) -> str:
    decided = look.experiment.decision
    if decided is None:
        return "running"
    arm = decided.get("arm")
    return f"{arm} {decided['outcome']}" if arm else str(decided["outcome"])


def _row(each: Comparison) -> dict[str, JsonValue]:
    return {
        "metric": each.metric,
        "arm": each.arm,
        "decides": each.decides,
        "control": each.means[0],
        "mean": each.means[1],
        "difference": each.difference,
        "low": _finite(each.low),
        "high": _finite(each.high),
        "units_control": each.units[0],
        "units_arm": each.units[1],
        "finding": each.finding,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity: an unknown limit is null."""
    return value if math.isfinite(value) else None


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if math.isfinite(value) else "unknown"
