"""Moves an alias in MLflow together with the record that allows it: both hold or neither. And finds the way back."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from registry.database import Database
from registry.errors import AssayError
from registry.prompts.policy import Policy
from registry.prompts.promoted import PROMPTS_SIGNAL, promoted_version
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import Promotion, ServingModel, last_of_each_content
from registry.prompts.revocation import NoPromotion
from registry.prompts.schema import InvalidTemplate
from registry.prompts.versions import PromotedVersion, PromptNotFound, PromptSource
from registry.signals import bump_signal


class Aliases(Protocol):
    """Where aliases live (`registry.prompts.publishing.PromptPublisher`)."""

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    async def alias_version(self, name: str, alias: str) -> int | None:
        """The version that an alias points at, or None."""
        ...


async def promote(
    promoter: Promoter,
    aliases: Aliases,
    policy: Policy,
    version: PromotedVersion,
    models: Sequence[ServingModel],
    by: str,
) -> Promotion:
    """Move the policy's alias to the version and record why it may serve.

    Audit note and record are durable before the alias moves. When moving it fails in whatever way, a cancellation
    included, MLflow is asked where the alias points: if at this version, the record stands, otherwise, or when MLflow
    does not tell, it is revoked. A request that MLflow works off even later moves the alias without a record; promoting
    again writes one.

    Raises:
        PromotionRefused: Evidence is missing.
        InvalidInput: Another use case's version.
        PromptTampered: The version's content changed since it was first seen.
        MlflowUnavailable: The alias did not move, as far as MLflow tells.
        LogUnavailable: The audit log cannot be written; the alias did not move.
    """
    record = promoter.let_through(policy, version, models, by)
    try:
        await aliases.set_alias(version.name, policy.alias, version.version)
    except BaseException as error:  # also when cancelled, the record must tell the truth
        moved = await _moved_after_all(promoter, aliases, record)
        if moved:
            bump_signal(promoter.database, PROMPTS_SIGNAL, promoter.clock)
        if moved and isinstance(error, AssayError):
            return record
        raise
    bump_signal(promoter.database, PROMPTS_SIGNAL, promoter.clock)
    return record


async def version_before(source: PromptSource, database: Database, policy: Policy, now_ms: int) -> PromotedVersion:
    """What was let through before the version under the policy's alias: where a rollback goes.

    Raises:
        NoPromotion: Nothing else has a valid record.
        PromptNotFound: Its version is deleted.
        PromptTampered: It is in MLflow no longer what it was.
        MlflowUnavailable: No usable answer.
        DatabaseUnavailable: The registry does not answer.
    """
    name, current = policy.prompt, None
    with suppress(PromptNotFound, InvalidTemplate):  # then whatever was let through last is the way back
        current = (await source.by_alias(name, policy.alias)).content_hash
    records = last_of_each_content(database, name, policy.alias, now_ms)
    earlier = next((record for record in records if record.content_hash != current), None)
    if earlier is None:
        raise NoPromotion(f"no other version of prompt {name!r} may be {policy.alias!r}; promote one")
    return await promoted_version(source, earlier)


async def _moved_after_all(promoter: Promoter, aliases: Aliases, record: Promotion) -> bool:
    """Whether the alias points at the version though moving it failed; unless it surely does, the record ends."""
    moved = False
    try:
        with suppress(AssayError):  # what nobody confirms counts as not moved
            moved = await aliases.alias_version(record.prompt_name, record.alias) == record.prompt_version
    finally:
        if not moved:
            promoter.take_back(record)
    return moved
