"""Which content may serve where: decided on the policy's evidence, kept as a promotion record, audited.

The gate inside MLflow, the command line and the experiments all come here; nobody else writes a record.

* PromotionRefused (Refused) - evidence is missing; `details["missing"]` lists it, each with the command that makes it
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace

from registry.alarms import Note
from registry.database import Database, DatabaseUnavailable
from registry.errors import InvalidInput, JsonValue, Refused
from registry.prompts.approvals import APPROVAL, WAIVER, authors_of
from registry.prompts.case import Case, Production
from registry.prompts.decision import Decision, decide
from registry.prompts.evidence import ANY_MODEL, Evidence, evidence_for, record_evidence
from registry.prompts.lint import lint
from registry.prompts.policy import Policy
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptHashes
from registry.prompts.promotion_records import (
    EXPERIMENT,
    Promotion,
    PromotionEnded,
    ServingModel,
    last_proven,
    valid_promotion,
    valid_promotions,
    write_promotion,
)
from registry.prompts.revocation import revoke_promotions
from registry.prompts.versions import PromotedVersion
from registry.prompts.waivers import waiver_in_force
from registry.signals import bump_signal

FRESH_MAX = 1_000
"""Records of its own that a promoter remembers, to take them back when an alias did not move."""


class PromotionRefused(Refused):
    """The policy does not find its evidence."""

    code = "promotion-refused"


class Promoter:
    """Decides, and writes the records on which versions serve.

    Args:
        database: Evidence in, promotion records out.
        note: Writes to the audit log.
        clock: Seconds since the epoch.
        new_id: Ids of records.
    """

    def __init__(
        self,
        database: Database,
        *,
        note: Note,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.database = database
        self.clock = clock
        self._note = note
        self._new_id = new_id
        self._fresh: deque[str] = deque(maxlen=FRESH_MAX)

    def decide(self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel]) -> Decision:
        """Lint the version, then ask the policy about it with every model of the chain.

        Raises:
            InvalidInput: Another use case's version.
            PromptTampered: The version's content changed since it was first seen.
        """
        return decide(policy, models, self._case(policy, version))

    def let_through(
        self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel], by: str
    ) -> Promotion:
        """Allow the policy's alias to point at the version, and write the record before it does.

        In this order: the policy's evidence is there now; a waiver is in force; the content has a valid record of this
        place (a rollback). Afterwards the record returned is the newest valid one of the place; where it was that
        already, nothing is written.

        Args:
            policy: Of the use case.
            version: Where the alias is to point.
            models: The chain that serves, in order.
            by: Who moves it.

        Raises:
            PromotionRefused: None of them.
            InvalidInput: Another use case's version.
            PromptTampered: The version's content changed since it was first seen.
            LogUnavailable: The audit log cannot be written; no record was.
        """
        return self._admit(policy, version, models, policy.alias, by)

    def admit_arm(
        self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel], experiment_id: str, by: str
    ) -> Promotion:
        """Allow the version to serve as an arm of an experiment: on fresh evidence or a waiver, like production.

        The record holds for `experiment:ID` only. Raises as `let_through`.
        """
        record = self._admit(policy, version, models, f"{EXPERIMENT}{experiment_id}", by)
        bump_signal(self.database, PROMPTS_SIGNAL, self.clock)
        return record

    def take_back(self, record: Promotion) -> None:
        """End a record that this promoter wrote, because the alias did not move; one that was there before stays.

        Raises:
            DatabaseUnavailable: The record stands.
            LogUnavailable: The record is ended, and the log does not say so.
        """
        if record.id not in self._fresh:
            return
        self._fresh.remove(record.id)
        revoke_promotions(self.database, [record.id], self._now_ms())
        self._note("prompt.promotion-failed", _body(record) | {"promotion": record.id})

    def _case(self, policy: Policy, version: PromotedVersion) -> Case:
        if (version.name, version.template.use_case) != (policy.prompt, policy.use_case):
            raise InvalidInput(
                f"prompt {version.name!r} is written for use case {version.template.use_case!r}; the policy of "
                f"{policy.use_case!r} is about prompt {policy.prompt!r}"
            )
        PromptHashes(self.database, self.clock).require_unchanged(version)
        record_lint(self.database, version, clock=self.clock, new_id=self._new_id)
        return case_of(self.database, policy, version, self.clock())

    def _admit(
        self, policy: Policy, version: PromotedVersion, models: Sequence[ServingModel], alias: str, by: str
    ) -> Promotion:
        case = self._case(policy, version)
        decision = decide(policy, models, case)
        wanted = Promotion(
            id=self._new_id(),
            prompt_name=version.name,
            prompt_version=version.version,
            content_hash=version.content_hash,
            use_case=policy.use_case,
            alias=alias,
            models=tuple(models),
            basis="evidence",
            promoted_by=by,
            evidence=(),
            created_ms=int(case.now * 1000),
        )
        found = self._allowed(wanted, decision, policy, case)
        if found is None:
            raise self._refused(wanted, policy, decision)
        allowed, repeats = found
        newest = next(iter(valid_promotions(self.database, version.name, alias, wanted.created_ms, limit=1)), None)
        if newest is not None and _same(newest, allowed):
            with suppress(ValueError):
                self._fresh.remove(newest.id)  # it has stood since an earlier move, and outlives this one
            return newest
        ground: dict[str, JsonValue] = {"basis": allowed.basis, "policy": policy.summary}
        ids: dict[str, JsonValue] = {"promotion": allowed.id, "evidence": [*allowed.evidence]}
        self._note("prompt.promotion", _body(allowed) | ground | ids)
        try:
            written = write_promotion(self.database, allowed, repeats)
        except PromotionEnded as ended:  # revoked between the decision and now
            raise self._refused(wanted, policy, decision) from ended
        except DatabaseUnavailable:  # the log must not go on saying that it was let through
            self._note("prompt.promotion-failed", _body(allowed) | {"promotion": allowed.id})
            raise
        self._fresh.append(written.id)
        return written

    def _refused(self, wanted: Promotion, policy: Policy, decision: Decision) -> PromotionRefused:
        """Audit a refusal, and give the error that tells it."""
        self._note("prompt.promotion-refused", _body(wanted) | {"missing": len(decision.missing)})
        sentence = _refusal(wanted, policy, decision)
        return PromotionRefused(sentence, policy=policy.summary, missing=[*decision.missing])

    def _allowed(
        self, wanted: Promotion, decision: Decision, policy: Policy, case: Case
    ) -> tuple[Promotion, str | None] | None:
        """The record with its ground, and the id of the one that it repeats; None where there is no ground."""
        if decision.allowed:
            used = tuple(found.id for found in decision.evidence)
            return replace(wanted, models=decision.models, evidence=used), None
        waiver = waiver_in_force(policy, case.evidence, wanted.created_ms)
        if waiver is not None and wanted.models:
            signatures = tuple(signature.id for signature in waiver.signatures)
            return replace(wanted, basis="waiver", evidence=signatures, expires_ms=waiver.ends_ms), None
        if wanted.alias.startswith(EXPERIMENT):
            return None
        place = wanted.prompt_name, wanted.alias, wanted.content_hash
        earlier = valid_promotion(self.database, *place, wanted.created_ms)
        if earlier is None:
            return None
        grounds = {"models": earlier.models, "evidence": earlier.evidence, "expires_ms": earlier.expires_ms}
        return replace(wanted, basis="record", **grounds), earlier.id

    def _now_ms(self) -> int:
        return int(self.clock() * 1000)


def case_of(database: Database, policy: Policy, version: PromotedVersion, now: float) -> Case:
    """What the registry knows about a version, as a decision looks at it; writes nothing.

    Raises:
        DatabaseUnavailable: The database does not answer.
    """
    kinds = dict.fromkeys([*(requirement.kind for requirement in policy.requires), APPROVAL, WAIVER])
    last = last_proven(database, version.name, policy.alias, int(now * 1000))
    return Case(
        version=version,
        # Kind by kind, so that many of one do not push out those of another.
        evidence=[each for kind in kinds for each in evidence_for(database, version.name, version.content_hash, kind)],
        now=now,
        authors=authors_of(database, version.name, version.content_hash),
        production=None if last is None else Production(version=last.prompt_version, content_hash=last.content_hash),
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
    earlier = evidence_for(database, version.name, version.content_hash, "lint")
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


def _same(one: Promotion, other: Promotion) -> bool:
    """Whether two records let the same through, for the same reason and as long."""
    if one.content_hash != other.content_hash or one.prompt_version != other.prompt_version:
        return False
    if other.basis == "record":  # a rollback to what is the newest already adds nothing
        return True
    grounds = ((each.basis, each.expires_ms, frozenset(each.models), frozenset(each.evidence)) for each in (one, other))
    return len(set(grounds)) == 1


def _body(record: Promotion) -> dict[str, JsonValue]:
    return {
        "prompt": record.prompt_name,
        "version": record.prompt_version,
        "content_hash": record.content_hash,
        "use_case": record.use_case,
        "alias": record.alias,
        "by": record.promoted_by,
    }


def _refusal(wanted: Promotion, policy: Policy, decision: Decision) -> str:
    return (
        f"{wanted.prompt_name!r} version {wanted.prompt_version} may not become {wanted.alias!r}: the policy of "
        f"{policy.use_case!r} ({policy.summary}) misses {len(decision.missing)}: " + "; ".join(decision.missing)
    )
