"""What `assay experiments` does: MLflow over REST for the versions, the registry's database, the audit log."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from evaluation import comparison
from flows.cli import console
from flows.cli.experiment_options import design
from flows.cli.prompt_actions import open_mlflow, policies_about, policy_about, who
from flows.cli.recorded import open_registry
from flows.experiment_analysis import DAY_MS, Assessment, assess
from flows.experiment_looks import look_at
from flows.experiment_report import decision, markdown, time_of
from flows.settings import FlowSettings
from registry.audit.log import AuditLog
from registry.database import Database
from registry.errors import AssayError, Conflict, InvalidInput, JsonValue
from registry.prompts.experiment_design import Guardrail, Metric, Step
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiment_outcomes import MEASURES, Experience, experience
from registry.prompts.experiments import (
    ENDED,
    Experiment,
    UnreadableExperiment,
    find_experiment,
    list_experiments,
    unreadable_experiments,
)
from registry.prompts.policy import load_policies
from registry.prompts.promoted import PromptTampered
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import told_serving_models, valid_promotions
from registry.prompts.revocation import NoPromotion
from registry.prompts.versions import PromotedVersion, PromptSource
from registry.tenants import Tenants
from serving.settings import ServingSettings

DAYS_LOOKED_BACK = 28
UNITS_MAX = 1_000_000
"""Of an arm, as in `Design.planned`."""
EFFECT_MIN = 1e-6
"""In spreads; anything smaller is out of reach, and of what floating-point numbers can divide by."""
PLANNED_WITHIN = {"--days": (0.01, 36_500.0), "--share": (1e-6, 1.0), "--units-per-day": (0.001, 1e12)}
"""Anything else is a mistake in the numbers."""
SHOWN_MAX = 10
"""Newest experiments that `status` shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an experiment shall find."""

    metric: Metric
    effect: float
    """Points of a share; for a relative metric a part of the mean."""
    days: float
    arms: int
    share: float
    units_per_day: float | None
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An experiment as it was asked for."""

    versions: tuple[int, ...]
    """To compare with production."""
    weights: tuple[float, ...]
    metric: Metric
    guardrails: tuple[Guardrail, ...]
    ramp: tuple[Step, ...]
    excluded: tuple[str, ...]
    planned: int
    days: float
    alpha: float


def plan_for(name: str, wish: Wish) -> dict[str, JsonValue]:
    """How long it takes and what can be found.

    Raises:
        UseCaseNotFound: no policy names the prompt, so nobody could start it.
        InvalidInput: a number out of its range, nothing is known of the metric, or no experiment is that long.
    """
    policies_about(name)
    now_ms = int(time.time() * 1000)
    with open_registry() as database:
        known = experience(database, name, wish.metric, now_ms - DAYS_LOOKED_BACK * DAY_MS, now_ms)
    mean, spread, per_day = _expected(name, wish, known)
    for option, value in {"--days": wish.days, "--share": wish.share, "--units-per-day": per_day}.items():
        low, high = PLANNED_WITHIN[option]
        if not low <= value <= high:
            raise InvalidInput(f"{option} is at least {low:g} and at most {high:g}, not {value:g}")
    effect = wish.effect * abs(mean) if MEASURES[wish.metric].relative else wish.effect
    part = wish.share / wish.arms
    if 0 < effect < spread * EFFECT_MIN:
        raise InvalidInput(f"a difference of {effect:.3g} is too small to be found; look for a larger --effect")
    found = comparison.plan(
        spread=spread,
        effect=effect,
        units_per_day=per_day,
        days=wish.days,
        weights=(part, part),
        alpha=0.05 / (wish.arms - 1),
    )
    if found.planned[0] > UNITS_MAX:
        raise InvalidInput(
            f"a difference of {effect:.3g} takes {found.planned[0]:,} units an arm, and an experiment plans with "
            f"{UNITS_MAX:,} at most; look for a larger --effect"
        )
    if found.days > PLANNED_WITHIN["--days"][1]:
        raise InvalidInput(f"that takes {found.days:.3g} days; let more units take part, or look for a larger --effect")
    return {
        "prompt": name,
        "metric": wish.metric,
        "mean": mean,
        "spread": spread,
        "units_per_day": per_day,
        "effect": effect,
        "arms": wish.arms,
        "share": wish.share,
        "units_planned": found.planned[0],
        "days": found.days,
        "days_given": wish.days,
        "mde": found.mde,
        "power": 0.8,
        "alpha": 0.05,
    }


def plan_sentence(made: dict[str, Any]) -> str:
    """A plan, for people."""
    return (
        f"{made['prompt']}: {made['metric']} is {made['mean']:.4g} (spread {made['spread']:.3g}) with "
        f"{made['units_per_day']:.0f} units a day. A difference of {made['effect']:.3g} is found in four of five "
        f"experiments after {made['units_planned']:,} units an arm, {math.ceil(made['days'])} days; "
        f"{made['days_given']:g} days find {made['mde']:.3g}. Start with --planned {made['units_planned']}"
    )


async def start(name: str, wanted: Wanted) -> Experiment:
    """Start an experiment of versions against the one in production.

    Raises:
        NoPromotion: nothing is in production to compare with.
        PromotionRefused: an arm lacks its evidence.
        ExperimentRunning: the prompt has one already.
        NotFound: a tenant to leave out is not there; a slip of the pen would let the one meant take part.
    """
    policy = policy_about(name)
    with open_registry() as database:
        for tenant in wanted.excluded:
            Tenants(database).get(tenant)
        serving = valid_promotions(database, name, policy.alias, int(time.time() * 1000))
        if not serving:
            raise NoPromotion(f"prompt {name!r} has nothing under {policy.alias!r} to compare with; promote a version")
        async with open_mlflow() as rest:
            source = PromptSource(rest)
            versions = [await source.by_version(name, serving[0].prompt_version)]
            _require_same(versions[0], serving[0].content_hash)
            versions += [await source.by_version(name, version) for version in wanted.versions]
        made = design(
            versions,
            shares=wanted.weights,
            deciding=wanted.metric,
            guarded=wanted.guardrails,
            steps=wanted.ramp,
            excluded=wanted.excluded,
            planned=wanted.planned,
            days=wanted.days,
            alpha=wanted.alpha,
        )
        with AuditLog.open(FlowSettings().home / "audit", "cli") as log:
            return Experiments(database, log.note_now).start(
                policy,
                made,
                versions,
                promoter=Promoter(database, note=log.note_now),
                models=told_serving_models(database),
                by=who(database),
            )


def looks(name: str) -> tuple[list[Assessment], tuple[UnreadableExperiment, ...]]:
    """What experiments show by now, newest first, and those that cannot be read: by id, those of a prompt, or all."""
    policies = load_policies(ServingSettings().policies)
    with open_registry() as database:
        unreadable = unreadable_experiments(database, name or None)
        chosen: Sequence[Experiment] = list_experiments(database, name or None)
        if name and not chosen and not unreadable:
            chosen = [find_experiment(database, name)]
        return [look_at(database, experiment, policies) for experiment in chosen[:SHOWN_MAX]], unreadable[:SHOWN_MAX]


def stop(experiment_id: str, reason: str) -> dict[str, JsonValue]:
    """End an experiment by hand, with what it shows by now in the decision record, also one that cannot be read.

    Returns:
        How it stands then, for machines.

    Raises:
        ExperimentNotFound: there is none of this id.
        Conflict: it has ended already.
    """
    with open_registry() as database, AuditLog.open(FlowSettings().home / "audit", "cli") as log:
        store, by = Experiments(database, log.note_now), who(database)
        about: dict[str, JsonValue] = {"outcome": "stopped", "arm": None, "reason": reason, "by": by}
        rows = [row for row in unreadable_experiments(database, experiment_id) if row.id == experiment_id]
        one = rows[0] if rows else find_experiment(database, experiment_id)
        if isinstance(one, UnreadableExperiment):
            reached = {**about, "trouble": one.trouble}
            over = store.end_unreadable(one, reached, by)
        else:
            reached = _measured(database, one, about)
            over = store.end(one, reached, by) is not None
    if not over:
        raise Conflict(f"experiment {experiment_id!r} has ended already; see `assay experiments status`")
    return {"id": one.id, "prompt": one.prompt_name, "status": ENDED, "decision": reached}


def _measured(database: Database, experiment: Experiment, about: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The decision record with what it shows by now, or without: no fault of its numbers keeps it going."""
    try:
        look = assess(database, experiment, None)
    except AssayError:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        return {**about, "trouble": f"nothing could be measured: {type(error).__name__}"}
    return decision(look, "stopped", None, str(about["reason"]), str(about["by"]))


def print_looks(found: Sequence[Assessment], unreadable: Sequence[UnreadableExperiment]) -> None:
    """Looks, for people."""
    from rich.markdown import Markdown

    if not found and not unreadable:
        typer.echo("no experiments yet; start one with `assay experiments start NAME VERSION`")
    for look in found:
        console.output().print(Markdown(markdown(look)))
    for row in unreadable:
        typer.echo(row.sentence)


def started_document(experiment: Experiment) -> dict[str, Any]:
    """A started experiment, for machines."""
    return {
        "started": True,
        "id": experiment.id,
        "prompt": experiment.prompt_name,
        "started_at": time_of(experiment.created_ms),
        "design": experiment.design.model_dump(mode="json"),
    }


def _expected(name: str, wish: Wish, known: Experience | None) -> tuple[float, float, float]:
    """Mean, spread and units a day: as told, else as of late."""
    measure = MEASURES[wish.metric]
    told = measure.binary and wish.mean is not None
    if (wish.units_per_day is None and known is None) or (not told and known is None):
        raise InvalidInput(
            f"nobody rated or asked {name!r} often enough in the last {DAYS_LOOKED_BACK} days to know {wish.metric}; "
            "say --units-per-day, and --mean of a share"
        )
    per_day = wish.units_per_day or (known.units_per_day if known else 0.0)
    if told and wish.mean is not None:
        if not 0 < wish.mean < 1:
            raise InvalidInput(f"the mean of {wish.metric} is a share between 0 and 1, not {wish.mean:g}")
        return wish.mean, math.sqrt(wish.mean * (1 - wish.mean)), per_day
    mean, spread = (known.mean, known.spread) if known else (0.0, 0.0)
    return mean if wish.mean is None else wish.mean, spread, per_day


def _require_same(version: PromotedVersion, content_hash: str) -> None:
    if version.content_hash != content_hash:
        raise PromptTampered(
            f"{version.name}/{version.version} is in MLflow no longer what was promoted; promote another version"
        )
