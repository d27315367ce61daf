"""An alias moves when the use case's policy finds its evidence, current now; and a record says so.

* PromotionRefused (Refused) - evidence is missing; `details["missing"]` lists it, each with the command that makes it
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Protocol

from registry.database import Database
from registry.errors import AssayError, InvalidInput, JsonValue, Refused
from registry.prompts.decision import Decision, check
from registry.prompts.evidence import ANY_MODEL, Evidence, evidence_for, record_evidence
from registry.prompts.lint import lint
from registry.prompts.policy import Policy
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptHashes
from registry.prompts.promotion_records import Promotion, ServingModel, revoke_promotions, write_promotion
from registry.prompts.versions import PromotedVersion
from registry.signals import bump_signal

Note = Callable[[str, Mapping[str, JsonValue]], object]
"""Writes one durable entry to the audit log: (kind, body)."""


class Aliases(Protocol):
    """Where aliases live (`registry.prompts.publishing.PromptPublisher`)."""

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    async def alias_version(self, name: str, alias: str) -> int | None:
        """The version that an alias points at, or None."""
        ...


class PromotionRefused(Refused):
    """The policy does not find its evidence."""

    code = "promotion-refused"


class Promoter:
    """Promotes versions on evidence.

    Args:
        database: Evidence in, promotion records out.
        aliases: In MLflow.
        note: Writes to the audit log.
        clock: Seconds since the epoch.
        new_id: Ids of records.
    """

    def __init__(
        self,
        database: Database,
        *,
        aliases: Aliases,
        note: Note,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._database = database
        self._aliases = aliases
        self._note = note
        self._clock = clock
        self._new_id = new_id

    def decide(self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel]) -> Decision:
        """Lint the version, then ask the policy for every model of the chain.

        Raises:
            InvalidInput: Another use case's version, or an empty chain.
            PromptTampered: The version's content changed since it was first seen.
        """
        if not models:
            raise InvalidInput("no provider is configured; set ASSAY_PROVIDERS")
        if (version.name, version.template.use_case) != (policy.prompt, policy.use_case):
            raise InvalidInput(
                f"prompt {version.name!r} is written for use case {version.template.use_case!r}; the policy of "
                f"{policy.use_case!r} is about prompt {policy.prompt!r}"
            )
        PromptHashes(self._database, self._clock).require_unchanged(version)
        record_lint(self._database, version, clock=self._clock, new_id=self._new_id)
        evidence = evidence_for(self._database, version.name, version.content_hash)
        now = self._clock()
        decisions = [check(policy, version, each.provider, each.model, evidence, now) for each in models]
        missing = tuple(dict.fromkeys(sentence for decision in decisions for sentence in decision.missing))
        used = {found.id: found for decision in decisions for found in decision.evidence}
        return Decision(allowed=not missing, missing=missing, evidence=tuple(used.values()), policy=policy.summary)

    async def promote(
        self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel], promoted_by: str
    ) -> Promotion:
        """Move the policy's alias to the version and record why it may serve.

        Audit note and record are durable before the alias moves. When moving it fails in whatever way, a cancellation
        included, MLflow is asked where the alias points: if at this version, the record stands, otherwise, or when
        MLflow does not tell, it is revoked. A request that MLflow works off even later moves the alias without a
        record; promoting again writes one.

        Raises:
            PromotionRefused: Evidence is missing.
            InvalidInput: Another use case's version, or an empty chain.
            PromptTampered: The version's content changed since it was first seen.
            MlflowUnavailable: The alias did not move, as far as MLflow tells.
            LogUnavailable: The audit log cannot be written; the alias did not move.
        """
        decision = self.decide(policy, version, models)
        body: dict[str, JsonValue] = {
            "prompt": version.name,
            "version": version.version,
            "content_hash": version.content_hash,
            "use_case": policy.use_case,
            "alias": policy.alias,
            "policy": policy.summary,
            "by": promoted_by,
        }
        if not decision.allowed:
            self._note("prompt.promotion-refused", body | {"missing": len(decision.missing)})
            raise PromotionRefused(
                _refusal(policy, version, decision), policy=policy.summary, missing=[*decision.missing]
            )
        record = self._record(policy, version, models, decision, promoted_by)
        self._note("prompt.promotion", {**body, "promotion": record.id, "evidence": [*record.evidence]})
        write_promotion(self._database, record)
        try:
            await self._aliases.set_alias(version.name, policy.alias, version.version)
        except BaseException as error:  # also when cancelled, the record must tell the truth
            moved = await self._moved_after_all(record, policy.alias, body)
            if moved:
                bump_signal(self._database, PROMPTS_SIGNAL, self._clock)
            if moved and isinstance(error, AssayError):
                return record
            raise
        bump_signal(self._database, PROMPTS_SIGNAL, self._clock)
        return record

    async def _moved_after_all(self, record: Promotion, alias: str, body: Mapping[str, JsonValue]) -> bool:
        """Whether the alias points at the version though moving it failed; unless it surely does, the record ends."""
        moved = False
        try:
            with suppress(AssayError):  # what nobody confirms counts as not moved
                moved = await self._aliases.alias_version(record.prompt_name, alias) == record.prompt_version
        finally:
            if not moved:
                revoke_promotions(self._database, [record.id], int(self._clock() * 1000))
                self._note("prompt.promotion-failed", {**body, "promotion": record.id})
        return moved

    def _record(
        self,
        policy: Policy,
        version: PromotedVersion,
        models: Sequence[ServingModel],
        decision: Decision,
        promoted_by: str,
    ) -> Promotion:
        return Promotion(
            id=self._new_id(),
            prompt_name=version.name,
            prompt_version=version.version,
            content_hash=version.content_hash,
            use_case=policy.use_case,
            alias=policy.alias,
            models=tuple(models),
            basis="evidence",
            promoted_by=promoted_by,
            evidence=tuple(found.id for found in decision.evidence),
            created_ms=int(self._clock() * 1000),
        )


def record_lint(
    database: Database,
    version: PromotedVersion,
    *,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Evidence:
    """Lint a version now and store the verdict, unless the same one is stored already."""
    findings = lint(version.template)
    verdict = "FAIL" if any(finding.severity == "error" for finding in findings) else "PASS"
    details: dict[str, JsonValue] = {"findings": [asdict(finding) for finding in findings]}
    earlier = [e for e in evidence_for(database, version.name, version.content_hash) if e.kind == "lint"]
    if earlier and (earlier[0].verdict, earlier[0].details) == (verdict, details):
        return earlier[0]
    return record_evidence(
        database,
        kind="lint",
        prompt_name=version.name,
        prompt_version=version.version,
        content_hash=version.content_hash,
        provider=ANY_MODEL,
        model=ANY_MODEL,
        verdict=verdict,
        details=details,
        clock=clock,
        new_id=new_id,
    )


def _refusal(policy: Policy, version: PromotedVersion, decision: Decision) -> str:
    return (
        f"{version.name!r} version {version.version} may not become {policy.alias!r}: the policy of "
        f"{policy.use_case!r} ({policy.summary}) misses {len(decision.missing)}: " + "; ".join(decision.missing)
    )
