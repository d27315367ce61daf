"""What `assay prompts` and `assay doctor` read about prompts: MLflow over REST, the registry's database."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flows.cli.prompt_actions import open_mlflow, serving_models
from flows.cli.prompt_standing import Kept, kept_records, unanswered
from flows.cli.recorded import open_registry
from flows.prompt_places import Place, place_of
from registry.database import Database
from registry.prompts.approvals import WAIVER
from registry.prompts.candidates import CANDIDATE, announced_candidate
from registry.prompts.decision import Decision
from registry.prompts.decision import decide as ask_policy
from registry.prompts.evaluations import EVALUATION, is_ruling
from registry.prompts.evidence import Evidence, evidence_for
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, load_policies
from registry.prompts.promotion import case_of
from registry.prompts.promotion_records import ServingModel, told_serving_models
from registry.prompts.publishing import PromptPublisher, PromptSummary
from registry.prompts.versions import PromotedVersion, PromptReference, PromptSource
from registry.prompts.waivers import signature_end_ms
from serving.settings import ServingSettings

OVERDUE_S = 1_800
"""A candidate's evaluation takes half a minute with `extractive`, and some with a vendor's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is known about a version beside its text."""

    evidence: tuple[Evidence, ...]
    """Newest first."""
    records: tuple[Kept, ...]
    """All that let its content serve, now or once, in whatever place, newest first."""
    places: tuple[Place, ...]
    """Where the prompt serves, and what does."""
    signatures_end_ms: Mapping[str, int]
    """Of each waiver's signature among the evidence, by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the version under an alias stands."""

    version: PromotedVersion
    decision: Decision
    """What the policy would say to it today."""
    place: Place
    overdue: tuple[str, ...]
    """Evaluations of the candidate that should have told their verdict by now."""


async def list_prompts() -> tuple[tuple[PromptSummary, tuple[Place, ...]], ...]:
    """All prompts by name, each with the places where it serves."""
    policies = load_policies(ServingSettings().policies).values()
    async with open_mlflow() as rest:
        found = await PromptPublisher(rest).list()
        named = {prompt.name: [policy for policy in policies if policy.prompt == prompt.name] for prompt in found}
        with open_registry() as database:
            return tuple([(prompt, await _places(rest, database, named[prompt.name])) for prompt in found])


async def find(reference: PromptReference) -> PromotedVersion:
    """The version that a reference names."""
    async with open_mlflow() as rest:
        return await PromptSource(rest).find(reference)


async def find_both(before: PromptReference, after: PromptReference) -> tuple[PromotedVersion, PromotedVersion]:
    """The two versions of a comparison."""
    async with open_mlflow() as rest:
        source = PromptSource(rest)
        return await source.find(before), await source.find(after)


async def show(reference: PromptReference) -> tuple[PromotedVersion, Shown]:
    """The version that a reference names, and what the registry knows about it."""
    policies = load_policies(ServingSettings().policies).values()
    async with open_mlflow() as rest:
        version = await PromptSource(rest).find(reference)
        with open_registry() as database:
            places = await _places(rest, database, [policy for policy in policies if policy.prompt == version.name])
            evidence = evidence_for(database, version.name, version.content_hash)
            policy = next((each.policy for each in places if each.policy.use_case == version.template.use_case), None)
            return version, Shown(
                evidence=evidence,
                records=tuple(kept_records(database, version, places, _now_ms())),
                places=places,
                signatures_end_ms={
                    each.id: signature_end_ms(policy, each) for each in evidence if policy and each.kind == WAIVER
                },
            )


async def standing(policy: Policy) -> Standing:
    """The version under the policy's alias, for the chain of those who serve; writes nothing.

    Raises:
        PromptNotFound: nothing is promoted yet.
    """
    async with open_mlflow() as rest:
        source = PromptSource(rest)
        version = await source.by_alias(policy.prompt, policy.alias)
        with open_registry() as database:
            case = case_of(database, policy, version, time.time())
            return Standing(
                version=version,
                decision=ask_policy(policy, told_serving_models(database), case),
                place=await place_of(source, database, policy, _now_ms()),
                overdue=await _overdue(source, database, policy),
            )


async def without_ruling(reference: PromptReference, settings: ServingSettings) -> list[ServingModel]:
    """The models of the chain for which no evaluation of the version came to a FAIL, or to a PASS on all rows."""
    version = await find(reference)
    with open_registry() as database:
        found = evidence_for(database, version.name, version.content_hash)
    ruled = {(each.provider, each.model) for each in found if each.kind == EVALUATION and is_ruling(each)}
    return [each for each in await serving_models(settings) if (each.provider, each.model) not in ruled]


async def _overdue(source: PromptSource, database: Database, policy: Policy) -> tuple[str, ...]:
    announced = announced_candidate(database, policy.prompt)
    number = await source.number_under(policy.prompt, CANDIDATE)
    if announced is None or number is None or _now_ms() - announced.announced_ms < OVERDUE_S * 1000:
        return ()
    candidate = await source.find(PromptReference(name=policy.prompt, version=number))
    return tuple(unanswered(database, policy, candidate, time.time()))


async def _places(rest: MlflowRest, database: Database, policies: Iterable[Policy]) -> tuple[Place, ...]:
    """What serves under the alias of each policy."""
    source = PromptSource(rest)
    return tuple([await place_of(source, database, policy, _now_ms()) for policy in policies])


def _now_ms() -> int:
    return int(time.time() * 1000)
