"""The flow `watch-experiments`: looks at every running experiment, and ends one that is decided or does harm."""

import asyncio
import re
from contextlib import aclosing, closing

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.events import emit_event

from flows.experiment_looks import Looks, look_at_all, write_runs
from flows.experiment_report import document, markdown, next_step
from flows.watch_providers import audit_notes
from registry.database import open_database
from registry.errors import JsonValue
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import load_policies
from registry.prompts.versions import PromptSource
from registry.runs import Runs, RunsUnavailable
from serving.settings import ServingSettings

MLFLOW_EXPERIMENT = "assay-experiments"


@flow(name="watch-experiments", persist_result=False)
async def watch_experiments() -> dict[str, JsonValue]:
    """Look at every running experiment, end what is over, and write its MLflow run.

    Raises:
        AssayError: the database or the audit log is down; the experiments go on until the next look.
        ExceptionGroup: some could not be looked at; the others were.
    """
    settings = ServingSettings()
    found, unlogged = await _watch(settings)
    logger = get_run_logger()
    logger.info("experiments looked at: %d; ended: %d", len(found.seen), len(found.ended))
    for look in found.ended:
        experiment = look.experiment
        reached = dict(experiment.decision or {})
        logger.warning("experiment %s ended: %s; %s", experiment.id, reached["reason"], next_step(experiment))
        emit_event(
            event="assay.experiment.ended",
            resource={
                "prefect.resource.id": f"assay.experiment.{experiment.id}",
                "prefect.resource.name": experiment.prompt_name,
            },
            payload={name: reached[name] for name in ("outcome", "arm", "reason")},
        )
    for look in found.seen:
        key = re.sub(r"[^a-z0-9]+", "-", f"experiment-{look.experiment.prompt_name}")
        await acreate_markdown_artifact(markdown(look), key=key, description=look.experiment.id)
    for experiment_id, error in found.failed.items():
        logger.error("experiment %s could not be looked at", experiment_id, exc_info=error)
    if found.failed:
        raise ExceptionGroup("experiments could not be looked at", list(found.failed.values()))
    if unlogged:
        raise unlogged
    return {"experiments": [document(look) for look in found.seen]}


async def _watch(settings: ServingSettings) -> tuple[Looks, RunsUnavailable | None]:
    """The looks, and why a run could not be written: endings do not wait for MLflow."""
    policies = load_policies(settings.policies)
    with closing(open_database(settings.database_url)) as database, audit_notes(settings.home) as note:
        async with aclosing(MlflowRest(settings.mlflow_access)) as rest:
            found = await look_at_all(database, PromptSource(rest), policies, note)
        try:
            await asyncio.to_thread(write_runs, database, Runs(settings.mlflow_access, MLFLOW_EXPERIMENT).log)
        except RunsUnavailable as error:
            return found, error
    return found, None
