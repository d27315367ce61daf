"""The registry as its promises describe it, in a few lists and sets: what is refused, and what serves.

Written from the rules and without the product's code, so that random sequences of actions can be compared with it.
Times are seconds, contents are numbers, models are names.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Literal

Outcome = Literal["done", "refused", "missing", "away"]
"""done; refused by a rule; there is no such thing; somebody who is needed does not answer."""

PRODUCTION = "production"
HOUR, DAY = 3_600.0, 86_400.0
RULING_DAYS = 30
WAIVER_HOURS_MAX = 24.0


@dataclass(slots=True)
class Version:
    """One version in MLflow."""

    content: int
    """What it says now."""
    author: str | None = None
    first: int | None = None
    """What it said when Assay first saw it; None: nobody has looked yet."""
    deleted: bool = False

    def read(self) -> int | None:
        """Its content, remembered at the first look; None: changed since."""
        self.first = self.content if self.first is None else self.first
        return self.content if self.content == self.first else None


@dataclass(frozen=True, slots=True)
class Ruling:
    """The newest evaluation of a content with a model."""

    passed: bool
    at: float
    against: int | None
    """The content that it was compared with."""
    id: int


@dataclass(slots=True)
class Record:
    """Somebody was let through."""

    version: int
    content: int
    models: frozenset[str]
    expires: float | None
    grounds: frozenset[int]
    """Ids of rulings and words; lint, which says the same at all times, is left out."""
    copied: bool = False
    """It rests on an earlier record: a rollback."""
    revoked: bool = False

    def holds(self, now: float) -> bool:
        """Whether it has not ended by itself."""
        return self.expires is None or now < self.expires


@dataclass(slots=True)
class Prompt:
    """All that is known about one prompt."""

    approvers: int
    versions: list[Version] = field(default_factory=list[Version])
    aliases: dict[str, int] = field(default_factory=dict[str, int])
    rulings: dict[tuple[int, str], Ruling] = field(default_factory=dict[tuple[int, str], Ruling])
    """By content and model."""
    failures: dict[tuple[int, str, int | None], int] = field(default_factory=dict[tuple[int, str, int | None], int])
    """By content, model and opponent: id of the newest ruling that failed, on whatever rows."""
    words: dict[tuple[int, str], tuple[bool, int]] = field(default_factory=dict[tuple[int, str], tuple[bool, int]])
    """By content and person: whether their newest word is yes, and its id."""
    waivers: dict[tuple[int, str], tuple[float, int]] = field(default_factory=dict[tuple[int, str], tuple[float, int]])
    """By content and person: when the signature ends, and its id."""
    records: list[Record] = field(default_factory=list[Record])

    def find(self, number: int | None) -> Version | None:
        """The version of this number, unless it was deleted."""
        there = number is not None and 0 < number <= len(self.versions) and not self.versions[number - 1].deleted
        return self.versions[number - 1] if there and number else None

    def authors(self, content: int) -> set[str | None]:
        """Who wrote it, in whatever version; None: nobody knows."""
        return {version.author for version in self.versions if version.first == content}

    def valid(self, now: float) -> list[Record]:
        """Valid records, the newest first."""
        return [record for record in reversed(self.records) if not record.revoked and record.holds(now)]

    def proven(self, now: float) -> Record | None:
        """The newest valid record that does not rest on a waiver."""
        return next((record for record in self.valid(now) if record.expires is None), None)

    def valid_for(self, content: int, now: float) -> Record | None:
        """The newest valid record of a content."""
        return next((record for record in self.valid(now) if record.content == content), None)


class RegistryModel:
    """What must come of each action; the methods are the actions.

    Args:
        approvers: prompt → how many people its policy wants to approve.
        broken: contents with a lint error.
    """

    def __init__(self, approvers: Mapping[str, int], broken: Collection[int]) -> None:
        self.prompts = {name: Prompt(count) for name, count in approvers.items()}
        self.chain: tuple[str, ...] = ()
        self.now = 0.0
        self._broken = broken
        self._ids = count()

    def push(self, prompt: str, content: int, author: str | None) -> Outcome:
        """A new version comes through the gate, which remembers it."""
        self.prompts[prompt].versions.append(Version(content, author, first=content))
        return "done"

    def evaluate(self, prompt: str, version: int, model: str, *, passed: bool, against: int | None) -> Outcome:
        """An evaluation ended."""
        outcome, content = self._read(prompt, version)
        if content is not None:
            ruling = Ruling(passed, self.now, against, next(self._ids))
            self.prompts[prompt].rulings[content, model] = ruling
            if not passed:
                self.prompts[prompt].failures[content, model, against] = ruling.id
        return outcome

    def approve(self, prompt: str, version: int, who: str, *, agrees: bool) -> Outcome:
        """A person approved or rejected a version; no author approves."""
        outcome, content = self._read(prompt, version)
        if content is not None:
            if agrees and who in self.prompts[prompt].authors(content):
                return "refused"
            self.prompts[prompt].words[content, who] = agrees, next(self._ids)
        return outcome

    def sign(self, prompt: str, version: int, who: str, hours: float) -> Outcome:
        """A person signed a waiver."""
        outcome, content = self._read(prompt, version)
        if content is not None:
            end = self.now + min(hours, WAIVER_HOURS_MAX) * HOUR
            self.prompts[prompt].waivers[content, who] = end, next(self._ids)
        return outcome

    def let_through(
        self, prompt: str, version: int, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[Outcome, Record | None]:
        """What asking for the protected alias comes to before it moves, and the record if one is new.

        What happens `meanwhile`, after the decision and before its record, changes nothing, except that no record can
        be copied that has ended.
        """
        about = self.prompts[prompt]
        outcome, content = self._read(prompt, version)
        if content is None:
            return outcome, None
        shown, copied = self._shown_or_waived(about, version, content), about.valid_for(content, self.now)
        if shown is not None:
            new = shown
        elif copied is not None:
            new = replace(copied, version=version, copied=True)
        else:
            return "refused", None
        newest = next(iter(about.valid(self.now)), None)
        if newest is not None and new in (newest, replace(newest, copied=True)):
            return "done", None
        meanwhile()
        if shown is None and copied is not None and copied.revoked:
            return "refused", None
        about.records.append(new)
        return "done", new

    def revoke(self, prompt: str, version: int) -> Outcome:
        """All records of what was promoted under this number end."""
        about = self.prompts[prompt]
        contents = {record.content for record in about.records if record.version == version}
        ended = [record for record in about.valid(self.now) if record.content in contents]
        for record in ended:
            record.revoked = True
        return "done" if ended else "missing"

    def delete_version(self, prompt: str, version: int) -> Outcome:
        """What may serve, or what production points at while anything may, stays; another goes with its aliases."""
        about = self.prompts[prompt]
        found = about.find(version)
        if found is None:
            return "missing"
        contents = {record.content for record in about.records if record.version == version}
        serves = any(record.content in contents for record in about.valid(self.now))
        if serves or (about.aliases.get(PRODUCTION) == version and about.valid(self.now)):
            return "refused"
        found.deleted = True
        about.aliases = {alias: number for alias, number in about.aliases.items() if number != version}
        return "done"

    def delete_alias(self, prompt: str, alias: str) -> Outcome:
        """The protected alias stays while anything may serve under it."""
        about = self.prompts[prompt]
        if alias == PRODUCTION and about.valid(self.now):
            return "refused"
        about.aliases.pop(alias, None)
        return "done"

    def production(self, prompt: str) -> int | None:
        """The content that was last let through on evidence and still may serve."""
        last = self.prompts[prompt].proven(self.now)
        return None if last is None else last.content

    def _read(self, prompt: str, version: int) -> tuple[Outcome, int | None]:
        found = self.prompts[prompt].find(version)
        if found is None:
            return "missing", None
        content = found.read()
        return ("done", content) if content is not None else ("refused", None)

    def _shown_or_waived(self, about: Prompt, version: int, content: int) -> Record | None:
        """The record that rests on evidence, else on two signatures."""
        approved = self._approved(about, content)
        if content not in self._broken and approved is not None and (passing := self._passing(about, content)):
            grounds = approved | {ruling.id for ruling in passing.values()}
            return Record(version, content, frozenset(passing), None, grounds)
        holding = sorted(
            (end, word) for (signed, _), (end, word) in about.waivers.items() if signed == content and end > self.now
        )
        if len(holding) > 1 and self.chain:
            signatures = frozenset(word for _, word in holding)
            return Record(version, content, frozenset(self.chain), holding[-2][0], signatures)
        return None

    def _passing(self, about: Prompt, content: int) -> dict[str, Ruling]:
        """The models of the chain whose evaluation counts."""
        last = about.proven(self.now)
        rival = None if last is None or last.content == content else last.content
        return {
            model: ruling
            for model in self.chain
            if (ruling := about.rulings.get((content, model))) is not None
            and ruling.passed
            and self.now - ruling.at <= RULING_DAYS * DAY
            and rival in {None, ruling.against}
            and self._lifted(about, content, self._failed(about, content, model, rival))
        }

    def _failed(self, about: Prompt, content: int, model: str, rival: int | None) -> int | None:
        """The newest ruling that failed: against today's rival, or nothing; with no rival, against anything."""
        failed = [
            ruling
            for (said, by, against), ruling in about.failures.items()
            if (said, by) == (content, model) and (rival is None or against in {None, rival})
        ]
        return max(failed, default=None)

    def _lifted(self, about: Prompt, content: int, failure: int | None) -> bool:
        """Whether nothing failed before, or enough people who did not write it approved since."""
        wrote = about.authors(content)
        since = [
            who
            for (said, who), (agrees, word) in about.words.items()
            if said == content and agrees and who not in wrote and word > (failure or 0)
        ]
        return failure is None or len(since) >= (2 if None in wrote else 1)

    def _approved(self, about: Prompt, content: int) -> frozenset[int] | None:
        """Ids of the approvals that count; None: too few, or somebody objects."""
        if not about.approvers:
            return frozenset()
        wrote = about.authors(content)
        words = {who: word for (said, who), word in about.words.items() if said == content}
        counted = frozenset(word for who, (agrees, word) in words.items() if agrees and who not in wrote)
        needed = max(about.approvers, 2 if None in wrote else 0)
        return counted if all(agrees for agrees, _ in words.values()) and len(counted) >= needed else None
