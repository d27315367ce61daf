"""How versions stand: what became of the records that let them serve, and what is on its way for one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.prompt_places import Place
from registry.database import Database
from registry.prompts.approvals import APPROVAL, newest_words, person, said_by
from registry.prompts.candidates import announced_candidate
from registry.prompts.evaluations import EVALUATION
from registry.prompts.experiments import running_experiments
from registry.prompts.policy import Policy
from registry.prompts.promotion import case_of
from registry.prompts.promotion_records import (
    EXPERIMENT,
    Promotion,
    promotions_of,
    told_serving_models,
)
from registry.prompts.verdicts import waiting
from registry.prompts.versions import PromotedVersion
from registry.prompts.waivers import SIGNATURES, signature_end_ms, signatures_in_force

OVER = ("ended", "revoked")
"""States of a record that lets nothing serve any more: its waiver or experiment ended, or somebody revoked it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A promotion record and what became of it."""

    record: Promotion
    state: str
    """`serves`, `may serve` (a rollback finds it), `replaced` by a newer one, or one of OVER."""

    @property
    def ended_ms(self) -> int | None:
        """When it was over; None: it is not."""
        if self.state not in OVER:
            return None
        return self.record.expires_ms if self.record.revoked_ms is None else self.record.revoked_ms


def kept_records(database: Database, version: PromotedVersion, places: Sequence[Place], now_ms: int) -> list[Kept]:
    """Every record of a version's content and what became of it, newest first.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    serving = {place.record.id for place in places if place.record is not None}
    running = {experiment.alias for experiment in running_experiments(database, version.name)}
    found: list[Kept] = []
    newest: set[tuple[str, str]] = set()
    for record in promotions_of(database, version.name, version.version, None):
        if record.revoked_ms is not None:
            state = "ended" if record.alias.startswith(EXPERIMENT) else "revoked"
        elif record.expires_ms is not None and record.expires_ms <= now_ms:
            state = "ended"
        elif (record.alias, record.content_hash) in newest:
            state = "replaced"
        else:
            newest.add((record.alias, record.content_hash))
            state = "serves" if record.id in serving or record.alias in running else "may serve"
        found.append(Kept(record=record, state=state))
    return found


def under_way(database: Database, policy: Policy, version: PromotedVersion, now: float) -> Iterator[str]:
    """What somebody has begun for a version that may not be promoted yet, a sentence each.

    Args:
        database: the registry.
        policy: of the use case.
        version: in question.
        now: seconds since the epoch.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    case = case_of(database, policy, version, now)
    about = f"{version.name} {version.version}"
    signatures = signatures_in_force(policy, case.evidence, int(now * 1000))
    if 0 < len(signatures) < SIGNATURES:
        given = (f"{said_by(each)!r} until {_time(signature_end_ms(policy, each))}" for each in signatures)
        yield (
            f"{len(signatures)} of {SIGNATURES} signatures for a waiver: {', '.join(given)}; "
            f"somebody else may sign with `assay prompts waive {about} --hours HOURS --reason WHY`"
        )
    wrote = {person(author) for author in case.authors.known}
    approved = [each for each in newest_words(APPROVAL, case.evidence) if each.verdict == "PASS"]
    names = " and ".join(repr(said_by(each)) for each in approved if person(said_by(each)) not in wrote)
    if names:
        yield f"approved so far by {names}"
    yield from unanswered(database, policy, version, now)


def unanswered(database: Database, policy: Policy, version: PromotedVersion, now: float) -> Iterator[str]:
    """The evaluations of a candidate that were asked for and told no verdict yet, a sentence each.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    case = case_of(database, policy, version, now)
    announced = announced_candidate(database, version.name)
    if announced is not None and announced.version == version.version:
        done = {
            (each.provider, each.model)
            for each in case.evidence
            if each.kind == EVALUATION and each.created_ms >= announced.announced_ms
        }
        models = [each.model for each in waiting(policy, told_serving_models(database), case)]
        for model in dict.fromkeys(each for each in models if (each.provider, each.model) not in done):
            yield (
                f"an evaluation with {model.provider} {model.model} was asked for at {_time(announced.announced_ms)} "
                "and has told no verdict yet; its run of `evaluate-candidate` in Prefect says how far it is"
            )


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
