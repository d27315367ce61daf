"""Connects rooms for the flows; the only place that bills calls to `evaluation`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from registry.corpus.search import document_passages
from registry.errors import InvalidInput
from registry.insights import Insight, Passage, Question
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promoted import PromptHashes
from registry.prompts.versions import PromotedVersion, PromptSource, parse_reference
from registry.tenants import Principal, Tenants
from serving.services import Services
from serving.settings import ServingSettings
from serving.wiring import build

EVALUATION = "evaluation"
"""Who pays for the calls of an evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationServices:
    """The serving code, with a prompt version pinned instead of the promoted one."""

    services: Services
    prompts: PromptSource

    async def prompt(self, reference: str) -> PromotedVersion:
        """The version that `NAME`, `NAME@ALIAS` or `NAME/VERSION` means now.

        Raises:
            InvalidInput: the reference is none of these.
            PromptNotFound: there is no such version.
            PromptTampered: its content changed since it was first seen.
        """
        version = await self.prompts.find(parse_reference(reference))
        await asyncio.to_thread(PromptHashes(self.services.database).require_unchanged, version)
        return version

    async def require_tenant(self, tenant: str) -> None:
        """Stop before anything is asked in the name of a tenant that is not there.

        Raises:
            NotFound: there is no such tenant.
        """
        await asyncio.to_thread(Tenants(self.services.database).get, tenant)

    def target(self, version: PromotedVersion, tenant: str) -> Callable[[Question], Awaitable[Insight]]:
        """Ask as the app would, with this version of the prompt, at the platform's expense."""
        caller = Principal(key_id=EVALUATION, tenant=tenant, role="engineer", owner=EVALUATION)

        async def ask(question: Question) -> Insight:
            return await self.services.insights.answer(
                question, caller, tenant=tenant, billed_to=EVALUATION, prompt=version
            )

        return ask

    def passages_of(self, tenant: str) -> Callable[[str], Awaitable[Sequence[Passage]]]:
        """All passages of one document of a tenant, to find the graded quotes in."""

        async def passages(document: str) -> Sequence[Passage]:
            return await document_passages(self.services.corpus, tenant, document)

        return passages


def measured_alone(settings: ServingSettings, provider: str | None) -> ServingSettings:
    """The settings with a chain of one: evidence holds for one model, so no other may help out.

    Args:
        settings: as the API would read them.
        provider: who is measured, in the chain or not; None: the first of the chain.

    Raises:
        InvalidInput: that is more than one name.
    """
    alone = settings.model_copy(update={"chain": settings.providers[0] if provider is None else provider})
    if len(alone.providers) > 1:
        raise InvalidInput(f"{provider!r} is more than one provider; evaluate them one after the other")
    return alone


@asynccontextmanager
async def evaluation_services(settings: ServingSettings) -> AsyncGenerator[EvaluationServices]:
    """The serving code of this process, ready to be asked, with an audit log of its own.

    Args:
        settings: with the one provider to measure, as `measured_alone` gives them.
    """
    services = await asyncio.to_thread(build, settings, role=EVALUATION)
    rest = MlflowRest(settings.mlflow_access)
    try:
        yield EvaluationServices(services=services, prompts=PromptSource(rest))
    finally:
        await rest.aclose()
        await services.aclose()
