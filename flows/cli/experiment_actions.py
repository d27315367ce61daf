"""What `assay experiments` starts, shows and ends: versions over MLflow's REST, the registry's database, the log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from flows.cli import console
from flows.cli.experiment_options import design
from flows.cli.prompt_actions import open_mlflow, policy_about, who
from flows.cli.recorded import open_registry
from flows.experiment_analysis import Assessment, assess
from flows.experiment_looks import look_at
from flows.experiment_report import decision, markdown, time_of
from flows.prompt_places import place_of
from flows.settings import FlowSettings
from registry.audit.log import AuditLog
from registry.database import Database
from registry.errors import AssayError, Conflict, JsonValue
from registry.prompts.experiment_design import Guardrail, Metric, Step
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import (
    ENDED,
    Experiment,
    UnreadableExperiment,
    find_experiment,
    list_experiments,
    unreadable_experiments,
)
from registry.prompts.policy import load_policies
from registry.prompts.promoted import promoted_version
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import told_serving_models
from registry.prompts.revocation import NoPromotion
from registry.prompts.versions import PromptSource
from registry.tenants import Tenants
from serving.settings import ServingSettings

SHOWN_MAX = 10
"""Newest experiments that `status` shows."""


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
        async with open_mlflow() as rest:
            source = PromptSource(rest)
            control = (await place_of(source, database, policy, int(time.time() * 1000))).record
            if control is None:
                raise NoPromotion(
                    f"prompt {name!r} has nothing under {policy.alias!r} to compare with; promote a version"
                )
            versions = [await promoted_version(source, control)]
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


async def looks(name: str) -> tuple[list[Assessment], tuple[UnreadableExperiment, ...]]:
    """What experiments show by now, newest first, and those that cannot be read: by id, those of a prompt, or all."""
    policies = load_policies(ServingSettings().policies)
    with open_registry() as database:
        unreadable = unreadable_experiments(database, name or None)
        chosen: Sequence[Experiment] = list_experiments(database, name or None)
        if name and not chosen and not unreadable:
            chosen = [find_experiment(database, name)]
        async with open_mlflow() as rest:
            source, shown = PromptSource(rest), chosen[:SHOWN_MAX]
            return [await look_at(database, source, each, policies) for each in shown], unreadable[:SHOWN_MAX]


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
