"""The flow `evaluate-candidate`: a new candidate meets every model that serves, and its page shows the verdict.

Prefect starts it when the API says that a version became the candidate of its prompt; see `flows.schedule`.

* CandidateNotEvaluated (Conflict) - an evaluation that the policy asks for could not be done; the page says why
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.events import emit_event

from flows.evaluate_prompt import evaluate_prompt
from registry.database import Database, open_database
from registry.errors import AssayError, Conflict, JsonValue, Unavailable
from registry.prompts.candidates import CANDIDATE
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, load_policy
from registry.prompts.promoted import PromptHashes
from registry.prompts.promotion import case_of
from registry.prompts.promotion_records import told_serving_models
from registry.prompts.verdicts import RUN_TAG, Verdict, Waiting, show, show_standing, unreadable, waiting
from registry.prompts.versions import PromotedVersion, PromptReference, PromptSource, parse_reference
from serving.settings import ServingSettings

DATASET = "sample"
"""Ground truth where neither the policy nor the caller names one."""


class CandidateNotEvaluated(Conflict):
    """An evaluation that the policy asks for could not be done."""

    code = "candidate-not-evaluated"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """What one run of the flow works with."""

    settings: ServingSettings
    rest: MlflowRest
    source: PromptSource
    database: Database


@flow(name="evaluate-candidate", flow_run_name="{prompt}", persist_result=False)
async def evaluate_candidate(
    prompt: str, dataset: str | None = None, tenant: str | None = None
) -> dict[str, JsonValue]:
    """Evaluate a candidate with every model that serves and has no ruling on it yet; write the verdict on its page.

    Args:
        prompt: NAME/VERSION, or NAME@candidate.
        dataset: NAME or NAME@HASH; none: what the policy names, else `sample`.
        tenant: whose rows and documents, for a look that satisfies no policy; none: every row under its own tenant.

    Raises:
        CandidateNotEvaluated: an evaluation could not be done; the others were.
        AssayError: MLflow or the database is down, or the version cannot be read.
    """
    reference = parse_reference(prompt)
    async with _desk() as desk:
        number = await desk.source.number_under(reference.name, CANDIDATE)
        if number is None or reference.version not in {None, number}:
            get_run_logger().info("%s is not the candidate any more; nothing to do", prompt)
            return {"prompt": prompt, "verdict": None, "lines": []}
        version, policy = await _read(desk, reference.name, number)
        problems = await _evaluate(desk, policy, version, dataset, tenant)
        url, now = desk.settings.mlflow_url, time.time()
        verdict = await show_standing(
            desk.rest, desk.database, policy, version, mlflow_url=url, now=now, problems=problems
        )
    await _tell(verdict)
    if problems:
        raise CandidateNotEvaluated("; ".join(problems))
    return {"prompt": f"{verdict.name}/{verdict.version}", "verdict": verdict.word, "lines": [*verdict.lines]}


@asynccontextmanager
async def _desk() -> AsyncGenerator[_Desk]:
    settings = ServingSettings()
    database = await asyncio.to_thread(open_database, settings.database_url)
    rest = MlflowRest(settings.mlflow_access)
    try:
        yield _Desk(settings=settings, rest=rest, source=PromptSource(rest), database=database)
    finally:
        await rest.aclose()
        database.close()


async def _read(desk: _Desk, name: str, number: int) -> tuple[PromotedVersion, Policy]:
    """The version and its policy; where that fails for good, its page says why."""
    try:
        version = await desk.source.find(PromptReference(name=name, version=number))
        await asyncio.to_thread(PromptHashes(desk.database).require_unchanged, version)
        return version, load_policy(desk.settings.policies, version.template.use_case)
    except Unavailable:
        raise
    except AssayError as error:
        verdict = unreadable(name, number, error.message)
        await show(desk.rest, verdict)
        await _tell(verdict)
        raise


async def _evaluate(
    desk: _Desk, policy: Policy, version: PromotedVersion, dataset: str | None, tenant: str | None
) -> list[str]:
    """Every evaluation that is wanted, one after the other: one sentence for each that could not be done."""
    models = await asyncio.to_thread(told_serving_models, desk.database)
    case = await asyncio.to_thread(case_of, desk.database, policy, version, time.time())
    problems: list[str] = []
    for wanted in waiting(policy, models, case):
        problem = await _problem(version, wanted, dataset or wanted.dataset or DATASET, tenant)
        problems += [problem] if problem else []
    return problems


async def _problem(version: PromotedVersion, wanted: Waiting, dataset: str, tenant: str | None) -> str | None:
    """Evaluate with one model; why that could not be done, or None."""
    who = f"{wanted.model.provider} {wanted.model.model}"
    try:
        await evaluate_prompt(
            prompt=f"{version.name}/{version.version}",
            dataset=dataset,
            tenant=tenant,
            provider=wanted.model.provider,
            model=wanted.model.model,
        )
    except AssayError as error:  # the other models shall have their turn
        get_run_logger().warning("not evaluated with %s: %s", who, error.message)
        return f"Not evaluated with {who} on {dataset}: {error.message.removesuffix('.')}"
    return None


async def _tell(verdict: Verdict) -> None:
    """The verdict in Prefect: an artifact for people, an event for automations, e.g. one that posts it in a chat."""
    about = f"{verdict.name}/{verdict.version}"
    get_run_logger().info("%s: %s", about, "; ".join(verdict.lines))
    key = re.sub(r"[^a-z0-9]+", "-", f"candidate-{about}")
    run = verdict.tags.get(RUN_TAG)
    text = "\n\n".join((f"## {about}", *verdict.lines, *([f"[Newest run]({run})"] if run else [])))
    await acreate_markdown_artifact(text, key=key, description=f"Verdict {verdict.word}")
    emit_event(
        event="assay.prompt.verdict",
        resource={
            "prefect.resource.id": f"assay.prompt.{verdict.name}.{verdict.version}",
            "prefect.resource.name": about,
        },
        payload={"verdict": verdict.word, "lines": [*verdict.lines]},
    )
