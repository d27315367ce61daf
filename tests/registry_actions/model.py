"""The registry as its promises describe it: what is refused, what is let through, and until when.

Written from the rules and without the product's code, so that random sequences of actions can be compared with it.
Times are seconds, contents are numbers, models are names.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from registry_actions.rulings import DAY, Ruling, counting
from registry_actions.state import PRODUCTION, Experiment, Prompt, Record, Version

Outcome = Literal["done", "refused", "missing", "away"]
"""done; refused by a rule; there is no such thing; somebody who is needed does not answer."""

HOUR = 3_600.0
WAIVER_HOURS_MAX = 24.0
DAYS_MAX, OPENED_H = 28, 24
"""Of an experiment: days until it is over, and hours after which one with a ramp is open to everybody."""
MORE = 10
"""Questions that a resumed evaluation scores beside those it had."""


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

    def evaluate(
        self, prompt: str, version: int, model: str, *, against: int | None, resumed: bool, **found: Any
    ) -> Outcome:
        """An evaluation ended: `found` as a Ruling says it. A resumed one goes on with the newest."""
        outcome, content = self._read(prompt, version)
        if content is not None:
            rulings = self.prompts[prompt].rulings.setdefault((content, model), [])
            ruling = Ruling(at=self.now, against=against, id=next(self._ids), run=next(self._ids), **found)
            if resumed and rulings:
                before = rulings[-1]
                kept = {"run": before.run, "data": before.data, "rows": before.rows, "part": before.part}
                ruling = replace(ruling, **kept, questions=before.questions + MORE)
            rulings.append(ruling)
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

    def start(
        self, prompt: str, versions: Sequence[int], *, ramped: bool, meanwhile: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Versions beside the newest that was let through; each needs what production needs, now, and no copy helps.

        What happens `meanwhile`, after the decision about the first arm, is seen by the others.
        """
        about = self.prompts[prompt]
        control = about.followed(self.now)
        if control is None:
            return "missing"
        numbers = [control.version, *versions]
        found = [version for number in numbers if (version := about.find(number)) is not None]
        first = about.find(control.version)
        if first is not None and first.content != control.content:
            return "refused"
        if len(found) < len(numbers):
            return "missing"
        arms = [version.content for version in found]
        running = about.running
        if len({*arms}) < len(arms) or (running is not None and running.is_readable):
            return "refused"
        experiment = Experiment(f"experiment:{next(self._ids)}", arms, self.now, ramped)
        records: list[Record] = []
        for number, version, content in zip(numbers, found, arms, strict=True):
            admitted = None if version.read(content) is None else self._shown_or_waived(about, number, content)
            if admitted is None:
                break
            if not records:
                meanwhile()
            records.append(replace(admitted, place=experiment.place))
            about.records.append(records[-1])
        common = set(self.chain).intersection(*(record.models for record in records))
        whole = len(records) == len(arms) and common
        if not whole or about.running is not None:
            for record in records:
                record.revoked = True
            return "refused"
        about.experiments.append(experiment)
        return "done"

    def stop(self, prompt: str) -> Outcome:
        """Everybody has production again; nothing else changes."""
        newest = self.prompts[prompt].experiments[-1:]
        if not newest:
            return "missing"
        if not newest[0].runs:
            return "refused"
        self._end(self.prompts[prompt], newest[0])
        return "done"

    def watch(self, *, mlflow: bool) -> Outcome:
        """What is over ends: its time, or production is not its control, as far as MLflow tells."""
        for about in self.prompts.values():
            running = about.running
            if running is None or not running.is_readable:
                continue
            serving = about.followed(self.now) if mlflow else None
            moved = mlflow and (serving is None or serving.content != running.arms[0])
            if moved or self.now - running.began >= DAYS_MAX * DAY:
                self._end(about, running)
        return "done"

    def _end(self, about: Prompt, experiment: Experiment) -> None:
        experiment.runs = False
        for record in about.records:
            record.revoked |= record.place == experiment.place

    def revoke(self, prompt: str, version: int) -> Outcome:
        """All records of what was promoted under this number end."""
        about = self.prompts[prompt]
        contents = {record.content for record in about.records if record.version == version}
        ended = [record for record in about.valid(self.now, None) if record.content in contents]
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
        serves = any(record.content in contents for record in about.valid(self.now, None))
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
        found = {
            model: counting(
                about.rulings.get((content, model), []),
                about.asked,
                rival,
                self.now,
                lambda failure: self._lifted(about, content, failure.id),
            )
            for model in self.chain
        }
        return {model: ruling for model, ruling in found.items() if ruling is not None}

    def _lifted(self, about: Prompt, content: int, failure: int) -> bool:
        """Whether enough people who did not write it approved since."""
        wrote = about.authors(content)
        since = [
            who
            for (said, who), (agrees, word) in about.words.items()
            if said == content and agrees and who not in wrote and word > failure
        ]
        return len(since) >= (2 if None in wrote else 1)

    def _approved(self, about: Prompt, content: int) -> frozenset[int] | None:
        """Ids of the approvals that count; None: too few, or somebody objects."""
        if not about.approvers:
            return frozenset()
        wrote = about.authors(content)
        words = {who: word for (said, who), word in about.words.items() if said == content}
        counted = frozenset(word for who, (agrees, word) in words.items() if agrees and who not in wrote)
        needed = max(about.approvers, 2 if None in wrote else 0)
        return counted if all(agrees for agrees, _ in words.values()) and len(counted) >= needed else None
