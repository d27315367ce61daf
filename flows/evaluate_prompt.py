"""The flow `evaluate-prompt`: one prompt version on one ground truth, to a verdict that counts as evidence."""

import asyncio
import re
import time
from collections.abc import Callable
from contextvars import ContextVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from evaluation.run import EvaluationStopped, Progress
from evaluation.summary import table
from flows.evaluation_outcome import Outcome, conclude, document, markdown
from flows.prompt_evaluation import Answered, Order, Prepared, answer, prepare
from flows.wiring import EvaluationServices, evaluation_services, measured_alone
from registry.datasets import Split
from registry.errors import AssayError, InvalidInput, JsonValue
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.verdicts import show_standing
from registry.prompts.versions import PromotedVersion
from registry.runs import Runs, RunsUnavailable
from serving.settings import ServingSettings

ARTIFACT_ROWS_MAX = 500

Tell = Callable[[str, str, Progress], None]
"""(evaluation, version, progress)"""
progress: ContextVar[Tell] = ContextVar("progress", default=lambda _evaluation, _version, _now: None)
"""Who is told how far an evaluation is; set by whoever runs the flow in its own process."""


@flow(name="evaluate-prompt", flow_run_name="{prompt} on {dataset}", persist_result=False)
async def evaluate_prompt(
    prompt: str,
    dataset: str = "sample",
    split: Split | None = "test",
    tenant: str | None = None,
    against: str | None = None,
    resume: str | None = None,
    provider: str | None = None,
    model: str | None = None,
) -> dict[str, JsonValue]:
    """Evaluate a prompt version on a ground truth and store the verdict as evidence.

    Args:
        prompt: NAME@ALIAS or NAME/VERSION.
        dataset: NAME or NAME@HASH, as `assay datasets list` shows it.
        split: only a run on `test` makes evidence; none takes both.
        tenant: whose rows and documents, for a look that satisfies no policy; none: every row under its own tenant.
        against: NAME/VERSION to compare with; none: the one last promoted, if it has another content.
        resume: id of a stopped evaluation to go on with.
        provider: who answers, alone; none: the first of ASSAY_PROVIDERS.
        model: which of its models has to answer; none: the one that the settings name.

    Raises:
        AssayError: something is missing or down; what was answered is kept under the id that the log names.
    """
    settings = measured_alone(ServingSettings(), provider)
    order = Order(
        prompt=prompt,
        provider=settings.providers[0],
        dataset=dataset,
        split=split,
        tenant=tenant,
        against=against,
        resume=resume,
    )
    async with evaluation_services(settings) as services:
        _require_model(services, model)
        prepared = await prepare(order, services, settings.home)
        get_run_logger().info("evaluation %s: %d questions to %s", prepared.id, len(prepared.rows), order.provider)
        try:
            candidate = await _answer(prepared, prepared.candidate, services)
            baseline = await _answer(prepared, prepared.baseline, services) if prepared.baseline else None
            outcome = await _conclude(prepared, candidate, baseline, services)
        except (EvaluationStopped, RunsUnavailable) as error:
            raise type(error)(f"{error.message}; the answers so far are kept: resume {prepared.id}") from error
        if outcome.evidence is not None:
            await _tell(outcome, services)
    await _show(outcome)
    return document(outcome)


def _require_model(services: EvaluationServices, model: str | None) -> None:
    """Stop before money is spent on evidence about another model than the one that serves."""
    asked = services.services.providers.vendors[0]
    if model is not None and asked.model != model:
        raise InvalidInput(
            f"{asked.name} would answer with {asked.model!r} here, and those who serve said {model!r}; "
            "give both the same settings and start both again"
        )


@task(name="answer", task_run_name="answer with {version.name}/{version.version}", cache_policy=NO_CACHE)
async def _answer(prepared: Prepared, version: PromotedVersion, services: EvaluationServices) -> Answered:
    """Ask one version every question."""
    tell = progress.get()
    name = f"{version.name}/{version.version}"
    home = services.services.settings.home
    return await answer(prepared, version, services, home, lambda now: tell(prepared.id, name, now))


@task(name="conclude", cache_policy=NO_CACHE)
async def _conclude(
    prepared: Prepared, candidate: Answered, baseline: Answered | None, services: EvaluationServices
) -> Outcome:
    """Rule, log the MLflow run, store the evidence; off the loop, because MLflow's client blocks."""
    runs = Runs(services.services.settings.mlflow_access)
    return await asyncio.to_thread(conclude, prepared, candidate, baseline, services, runs)


@task(name="tell", cache_policy=NO_CACHE)
async def _tell(outcome: Outcome, services: EvaluationServices) -> None:
    """Write on the version's page in MLflow how it stands now; the evidence counts without it, too."""
    settings, database = services.services.settings, services.services.database
    rest, version = MlflowRest(settings.mlflow_access), outcome.candidate.version
    try:
        await show_standing(
            rest, database, outcome.prepared.policy, version, mlflow_url=settings.mlflow_url, now=time.time()
        )
    except AssayError as error:
        get_run_logger().warning("the version's page does not show the verdict: %s", error.message)
    finally:
        await rest.aclose()


async def _show(outcome: Outcome) -> None:
    """The verdict and the questions as artifacts, and an event for automations."""
    version = outcome.candidate.version
    key = re.sub(r"[^a-z0-9]+", "-", f"evaluation-{version.name}-{version.version}-{outcome.provider}")
    lines = table(
        outcome.prepared.rows,
        outcome.candidate.records,
        outcome.candidate.summary,
        outcome.baseline.summary if outcome.baseline else None,
    )
    await acreate_markdown_artifact(markdown(outcome), key=key, description=f"Verdict {outcome.ruling.verdict}")
    await acreate_table_artifact(lines[:ARTIFACT_ROWS_MAX], key=f"{key}-questions", description="One line a question")
    emit_event(
        event="assay.evaluation.finished",
        resource={
            "prefect.resource.id": f"assay.prompt.{version.name}.{version.version}",
            "prefect.resource.name": f"{version.name}/{version.version}",
        },
        payload={"verdict": outcome.ruling.verdict, "evaluation": outcome.prepared.id, "run_id": outcome.run.id},
    )
