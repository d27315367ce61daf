"""What `assay prompts` does: MLflow over REST, the registry's database, the audit log."""

import getpass
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from flows.cli.recorded import open_registry
from flows.settings import FlowSettings
from registry.audit.log import AuditLog
from registry.prompts import alias_move
from registry.prompts.candidates import CANDIDATE
from registry.prompts.decision import Decision
from registry.prompts.decision import decide as ask_policy
from registry.prompts.evidence import Evidence, evidence_for
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, load_policy
from registry.prompts.promotion import Promoter, case_of
from registry.prompts.promotion_records import Promotion, ServingModel, told_serving_models
from registry.prompts.publishing import PromptPublisher, PromptSummary, Pushed
from registry.prompts.schema import PromptTemplate
from registry.prompts.versions import PromotedVersion, PromptReference, PromptSource
from serving.settings import ServingSettings


async def push(template: PromptTemplate, message: str) -> Pushed:
    """Make the template a version, unless the newest has its content, and point `candidate` at it."""
    async with _mlflow() as rest:
        publisher = PromptPublisher(rest)
        pushed = await publisher.push(template, message)
        await publisher.set_alias(template.name, CANDIDATE, pushed.version.version)
        return pushed


async def list_prompts() -> tuple[PromptSummary, ...]:
    """All prompts by name."""
    async with _mlflow() as rest:
        return await PromptPublisher(rest).list()


async def find(reference: PromptReference) -> PromotedVersion:
    """The version that a reference names."""
    async with _mlflow() as rest:
        return await PromptSource(rest).find(reference)


async def find_both(before: PromptReference, after: PromptReference) -> tuple[PromotedVersion, PromotedVersion]:
    """The two versions of a comparison."""
    async with _mlflow() as rest:
        source = PromptSource(rest)
        return await source.find(before), await source.find(after)


def evidence(version: PromotedVersion) -> tuple[Evidence, ...]:
    """What was shown about the version, newest first."""
    with open_registry() as database:
        return evidence_for(database, version.name, version.content_hash)


async def promote(name: str, version: int) -> tuple[Promotion, Policy]:
    """Promote a version with the chain of those who serve."""
    settings = ServingSettings()
    async with _mlflow() as rest:
        found = await PromptSource(rest).find(PromptReference(name=name, version=version))
        policy = load_policy(settings.policies, found.template.use_case)
        with open_registry() as database, AuditLog.open(settings.home / "audit", "cli") as log:
            promoter, models = Promoter(database, note=log.note_now), told_serving_models(database)
            return await alias_move.promote(promoter, PromptPublisher(rest), policy, found, models, _who()), policy


async def decide(policy: Policy) -> Decision:
    """What the policy says about the version under its alias and the chain of those who serve; writes nothing.

    Raises:
        PromptNotFound: nothing is promoted yet.
    """
    version = await find(PromptReference(name=policy.prompt, alias=policy.alias))
    with open_registry() as database:
        return ask_policy(policy, told_serving_models(database), case_of(database, policy, version, time.time()))


async def without_ruling(reference: PromptReference, settings: ServingSettings) -> list[ServingModel]:
    """The models of the chain for which no evaluation of the version came to PASS or FAIL."""
    found = evidence(await find(reference))
    ruled = {(e.provider, e.model) for e in found if e.kind == "evaluation" and e.verdict in {"PASS", "FAIL"}}
    return [each for each in await serving_models(settings) if (each.provider, each.model) not in ruled]


async def serving_models(settings: ServingSettings) -> list[ServingModel]:
    """Provider and model of the chain, in its order.

    Raises:
        InvalidInput: a provider cannot be made: an unknown name, no key, no price.
    """
    # The serving code is heavy, and a list of prompts needs none of it.
    from serving.providers.vendors import build_vendors
    from serving.wiring import provider_policy

    vendors = build_vendors(settings.providers, provider_policy(settings))
    try:
        return [ServingModel(provider=vendor.name, model=vendor.model) for vendor in vendors]
    finally:
        for vendor in vendors:
            await vendor.aclose()


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


@asynccontextmanager
async def _mlflow() -> AsyncGenerator[MlflowRest]:
    settings = FlowSettings()
    rest = MlflowRest(settings.mlflow_access, key=settings.mlflow_key)
    try:
        yield rest
    finally:
        await rest.aclose()
