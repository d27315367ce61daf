"""People's words about a content: who wrote it, who approves it, who rejects it.

A word is evidence of kind `approval` or `waiver` and comes over HTTP, with a personal key: never from a tag in MLflow,
where anyone could type another's name.
"""

import secrets
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select

from registry.database import Database
from registry.errors import Conflict, JsonValue, Refused
from registry.prompts.evidence import ANY_MODEL, Evidence, evidence_for, record_evidence
from registry.prompts.policy import Requirement
from registry.prompts.versions import PromotedVersion
from registry.schema import prompt_hashes

APPROVAL = "approval"
WAIVER = "waiver"
APPROVERS_OF_UNKNOWN = 2
"""People who have to approve where nobody knows the author: one of them may be the author."""
WORDS_MAX = 20
"""Approvals, or waiver signatures, that one person may give for one content: nobody crowds out the others' words."""
REASON_CHARS_SHOWN = 120
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says about a content."""

    kind: Literal["approval", "waiver"]
    by: str
    """Owner of the key."""
    key: str
    """Id of the key."""
    agrees: bool
    reason: str
    hours: float | None = None
    """Of a waiver: how long it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authors:
    """Who wrote a content: whoever created a version that has it."""

    known: tuple[str, ...] = ()
    complete: bool = False
    """False: of at least one version nobody knows who wrote it."""


def person(name: str) -> str:
    """The form in which two spellings of a name are the same person: `Ada ` is `ada`."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def authors_of(database: Database, prompt_name: str, content_hash: str) -> Authors:
    """Who wrote the versions of a prompt that have this content.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    same = (prompt_hashes.c.name == prompt_name) & (prompt_hashes.c.content_hash == content_hash)
    with database.read() as connection:
        found = connection.scalars(select(prompt_hashes.c.author).where(same).distinct()).all()
    known = sorted(author for author in found if author)
    return Authors(known=tuple(known), complete=bool(found) and all(found))


def record_word(
    database: Database,
    version: PromotedVersion,
    word: Word,
    *,
    clock: Callable[[], float] = time.time,
    new_id: Callable[[], str] = lambda: secrets.token_hex(16),
) -> Evidence:
    """Store what a person says about the version's content; their newest word counts.

    Raises:
        Conflict: this person said something about this content too often.
        DatabaseUnavailable: the database does not answer.
    """
    require_room(database, version, word)
    details: dict[str, JsonValue] = {
        "by": word.by,
        "key": word.key,
        "decision": "approve" if word.agrees else "reject",
        "reason": word.reason,
    }
    if word.hours is not None:
        details["hours"] = word.hours
    return record_evidence(
        database,
        kind=word.kind,
        prompt_name=version.name,
        prompt_version=version.version,
        content_hash=version.content_hash,
        provider=ANY_MODEL,
        model=ANY_MODEL,
        verdict="PASS" if word.agrees else "FAIL",
        details=details,
        clock=clock,
        new_id=new_id,
    )


def require_room(database: Database, version: PromotedVersion, word: Word) -> None:
    """Refuse a person's next word where WORDS_MAX are stored.

    Raises:
        Conflict: push the wording as a new version with a change, or let somebody else speak.
    """
    stored = evidence_for(database, version.name, version.content_hash, word.kind)
    if sum(person(said_by(each)) == person(word.by) for each in stored) >= WORDS_MAX:
        raise Conflict(
            f"{word.by!r} has given {WORDS_MAX} words of kind {word.kind!r} for {version.name}/{version.version}; "
            "that is the limit for one content"
        )


def require_not_author(database: Database, version: PromotedVersion, word: Word) -> None:
    """Refuse the approval of somebody who wrote the content: it would never count.

    Raises:
        Refused: another person has to approve.
    """
    if person(word.by) in {person(author) for author in authors_of(database, version.name, version.content_hash).known}:
        raise Refused(f"{word.by!r} wrote {version.name}/{version.version}; another person has to approve it")


def said_by(word: Evidence) -> str:
    """Whose word it is."""
    return str(word.details.get("by", ""))


def newest_words(kind: str, evidence: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """The newest word of each person, newest first; `evidence` is sorted so."""
    newest: dict[str, Evidence] = {}
    for each in evidence:
        if each.kind == kind and person(said_by(each)):
            newest.setdefault(person(said_by(each)), each)
    return tuple(newest.values())


def judge_approvals(
    requirement: Requirement, version: PromotedVersion, evidence: Sequence[Evidence], authors: Authors, now: float
) -> tuple[tuple[str, ...], tuple[Evidence, ...]]:
    """What is missing until enough people approve, and the approvals that count.

    An author's approval never counts; anybody's newest rejection refuses, whatever its age.

    Args:
        requirement: of kind `approval`.
        version: in question.
        evidence: of its content, newest first.
        authors: of its content.
        now: seconds since the epoch.
    """
    words = newest_words(APPROVAL, evidence)
    remedy = f"`assay prompts approve {version.name} {version.version} --reason WHY`"
    rejected = tuple(
        f"{said_by(each)!r} rejected it ({str(each.details.get('reason', ''))[:REASON_CHARS_SHOWN]!r}); "
        f"mend it and push it again, or have {said_by(each)!r} run {remedy}"
        for each in words
        if each.verdict != "PASS"
    )
    wrote = {person(author) for author in authors.known}
    oldest_ms = None if requirement.max_age_days is None else now * 1000 - requirement.max_age_days * DAY_MS
    counted = tuple(
        each
        for each in words
        if each.verdict == "PASS"
        and person(said_by(each)) not in wrote
        and (oldest_ms is None or each.created_ms >= oldest_ms)
    )
    needed = max(requirement.approvers, 1 if authors.complete else APPROVERS_OF_UNKNOWN)
    if len(counted) >= needed:
        return rejected, counted
    return (*rejected, _too_few(len(counted), needed, authors, remedy)), counted


def _too_few(counted: int, needed: int, authors: Authors, remedy: str) -> str:
    if authors.complete:
        wrote = f"by other people than {' and '.join(map(repr, authors.known))}, who wrote it"
    else:
        wrote = "by different people, because nobody knows for sure who wrote it"
    return f"{counted} of {needed} approvals {wrote}; let them run {remedy} with their own keys"
