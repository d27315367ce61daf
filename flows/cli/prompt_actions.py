"""What `assay prompts` does: MLflow over REST, the registry's database, the audit log."""

import getpass
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from flows.api_client import ApiClient
from flows.cli.prompt_standing import under_way
from flows.cli.recorded import open_registry
from flows.settings import FlowSettings
from registry.audit.log import AuditLog
from registry.database import Database
from registry.errors import InvalidInput
from registry.prompts import alias_move
from registry.prompts.candidates import CANDIDATE
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, UseCaseNotFound, load_policies, load_policy
from registry.prompts.promotion import Promoter, PromotionRefused
from registry.prompts.promotion_records import (
    Promotion,
    ServingModel,
    told_serving_models,
)
from registry.prompts.publishing import PromptPublisher, Pushed
from registry.prompts.revocation import revoke as end_records
from registry.prompts.schema import PromptTemplate
from registry.prompts.versions import PromotedVersion, PromptSource, require_valid
from registry.tenants import Keys
from serving.settings import ServingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """A move that was permitted."""

    record: Promotion
    policy: Policy
    skipped: tuple[ServingModel, ...]
    """Models of the chain that do not answer with the version, for want of their own evidence."""


async def push(template: PromptTemplate, message: str, *, candidate: bool) -> Pushed:
    """Make the template a version, unless the newest has its content, and point `candidate` at it where wanted."""
    async with open_mlflow() as rest:
        publisher = PromptPublisher(rest)
        pushed = await publisher.push(template, message)
        if candidate:
            await publisher.set_alias(template.name, CANDIDATE, pushed.version.version)
        return pushed


async def promote(name: str, version: int) -> Promoted:
    """Promote a version with the chain of those who serve."""
    settings = ServingSettings()
    async with open_mlflow() as rest:
        found = await PromptSource(rest).by_version(name, version)
        policy = load_policy(settings.policies, found.template.use_case)
        with open_registry() as database:
            try:
                return await _move(rest, database, policy, found)
            except PromotionRefused as refused:
                refused.details["under_way"] = [*under_way(database, policy, found, time.time())]
                raise


async def rollback(name: str) -> Promoted:
    """Promote what was let through before the version under the alias.

    Raises:
        NoPromotion: nothing else has a valid record.
        PromptTampered: it is in MLflow no longer what it was.
    """
    policy = policy_about(name)
    async with open_mlflow() as rest:
        with open_registry() as database:
            version = await alias_move.version_before(PromptSource(rest), database, policy, _now_ms())
            return await _move(rest, database, policy, version)


def revoke(name: str, version: int, reason: str) -> tuple[Promotion, ...]:
    """End every record that lets the version's content serve."""
    require_valid(name)
    with open_registry() as database, AuditLog.open(FlowSettings().home / "audit", "cli") as log:
        return end_records(database, name, version, reason=reason, by=who(database), note=log.note_now)


def approve(name: str, version: int, *, agrees: bool, reason: str) -> dict[str, Any]:
    """Approve or reject a version under the caller's own key."""
    require_valid(name)
    with ApiClient.from_settings(FlowSettings()) as api:
        return api.approve(name, version, agrees=agrees, reason=reason)


def waive(name: str, version: int, hours: float, reason: str) -> dict[str, Any]:
    """Sign for a version under the caller's own key."""
    require_valid(name)
    with ApiClient.from_settings(FlowSettings()) as api:
        return api.waive(name, version, hours, reason)


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


async def _move(rest: MlflowRest, database: Database, policy: Policy, version: PromotedVersion) -> Promoted:
    """Decide, write the record and move the alias."""
    models = told_serving_models(database)
    with AuditLog.open(FlowSettings().home / "audit", "cli") as log:
        promoter, publisher = Promoter(database, note=log.note_now), PromptPublisher(rest)
        record = await alias_move.promote(promoter, publisher, policy, version, models, who(database))
    skipped = tuple(model for model in models if model not in record.models)
    return Promoted(record=record, policy=policy, skipped=skipped)


def policies_about(name: str) -> list[Policy]:
    """Every policy that names a prompt; without one it serves nowhere.

    Raises:
        InvalidInput: this can be no prompt's name.
        UseCaseNotFound: none does.
    """
    require_valid(name)
    policies = ServingSettings().policies
    found = [policy for policy in load_policies(policies).values() if policy.prompt == name]
    if not found:
        raise UseCaseNotFound(f"no policy in {str(policies)!r} names prompt {name!r}; see `assay prompts list`")
    return found


def policy_about(name: str) -> Policy:
    """The one policy that names a prompt.

    Raises:
        UseCaseNotFound: none does.
        InvalidInput: more than one does.
    """
    found = policies_about(name)
    if len(found) > 1:
        places = " and ".join(f"{policy.use_case!r} ({policy.alias})" for policy in found)
        raise InvalidInput(
            f"prompt {name!r} serves {places}; say which version: `assay prompts promote {name} VERSION`"
        )
    return found[0]


def _now_ms() -> int:
    return int(time.time() * 1000)


def who(database: Database) -> str:
    """Owner of the key that the gate in MLflow is shown, too; without one the user of this machine."""
    key = FlowSettings().mlflow_key
    if key is not None:
        return Keys(database).authenticate(key).owner
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"


@asynccontextmanager
async def open_mlflow() -> AsyncGenerator[MlflowRest]:
    """The MLflow that the environment names, with the key by which its gate knows who asks."""
    settings = FlowSettings()
    rest = MlflowRest(settings.mlflow_access, key=settings.mlflow_key)
    try:
        yield rest
    finally:
        await rest.aclose()
