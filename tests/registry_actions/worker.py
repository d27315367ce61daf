"""A serving process as the rules want it: what it answers with, from where the registry and MLflow stand."""

from dataclasses import dataclass, field

from registry_actions.model import RegistryModel
from registry_actions.state import PRODUCTION, Experiment, Prompt, Record

ASKS_MAX = 3
"""Versions that a worker asks MLflow for before it gives up on older ones."""


@dataclass(frozen=True, slots=True)
class Live:
    """An experiment that a process serves."""

    place: str
    arms: tuple[Record, ...]
    """The control first."""
    models: frozenset[str]
    """Who answers: those that every arm has."""
    began: float
    ramped: bool
    """Whether it opens to half of the subjects first."""


@dataclass(slots=True)
class Worker:
    """One process.

    `serving`, `then` and `live` are by prompt; `disk` holds contents.
    """

    serving: dict[str, Record | None] = field(default_factory=dict[str, Record | None])
    then: dict[str, Record | None] = field(default_factory=dict[str, Record | None])
    live: dict[str, Live] = field(default_factory=dict[str, Live])
    disk: dict[str, set[int]] = field(default_factory=dict[str, set[int]])

    def current(self, prompt: str, now: float) -> Record | None:
        """What answers a call at this moment."""
        both = self.serving.get(prompt), self.then.get(prompt)
        return next((record for record in both if record is not None and record.holds(now)), None)

    def open(self, prompt: str, now: float) -> Live | None:
        """The experiment whose arms answer a call at this moment; None: production does."""
        live, production = self.live.get(prompt), self.current(prompt, now)
        if live is None or production is None or live.arms[0].content != production.content:
            return None
        return live if all(arm.holds(now) for arm in live.arms) else None

    def restart(self) -> None:
        """Only the disk is left."""
        self.serving, self.then, self.live = {}, {}, {}

    def look(self, registry: RegistryModel, prompt: str, *, mlflow: bool) -> None:
        """Ask the registry, and MLflow if it answers."""
        about, before = registry.prompts[prompt], self.serving.get(prompt)
        if mlflow:
            pointed = about.find(about.aliases.get(PRODUCTION))
            wanted = None if pointed is None else pointed.read()
        else:
            wanted = None if before is None else before.content
        after = self.then.get(prompt)
        at_hand = {record.content for record in (before, after) if record is not None}
        now = self._choose(about, registry.now, wanted, at_hand, prompt, mlflow=mlflow)
        later = None
        if now is not None and now.expires is not None:
            later = self._choose(about, now.expires, wanted, at_hand, prompt, mlflow=mlflow)
        if now is not None:
            self.disk.setdefault(prompt, set()).add(now.content)
        self.serving[prompt], self.then[prompt] = now, later

    def look_at_arms(self, registry: RegistryModel, *, mlflow: bool) -> None:
        """Ask the registry what runs, and have the texts: one arm that may not serve keeps all from it."""
        running = {prompt: about.running for prompt, about in registry.prompts.items()}
        found = {
            prompt: self._load(registry.prompts[prompt], experiment, prompt, registry.now, mlflow=mlflow)
            for prompt, experiment in running.items()
            if experiment is not None and experiment.is_readable
        }
        self.live = {prompt: live for prompt, live in found.items() if live is not None}

    def _load(self, about: Prompt, experiment: Experiment, prompt: str, now: float, *, mlflow: bool) -> Live | None:
        valid = [about.valid_for(content, now, experiment.place) for content in experiment.arms]
        arms = [record for record in valid if record is not None]
        if len(arms) < len(valid):
            return None
        disk = self.disk.setdefault(prompt, set())
        at_hand = {arm.content for arm in self.live[prompt].arms} if prompt in self.live else set[int]()
        for arm in arms:
            if arm.content in at_hand | disk:
                continue
            found = about.find(arm.version) if mlflow else None
            if found is None or found.content != arm.content:
                return None
            disk.add(arm.content)
        models = arms[0].models.intersection(*(arm.models for arm in arms))
        return Live(experiment.place, tuple(arms), models, experiment.began, experiment.ramped) if models else None

    def _choose(
        self, about: Prompt, at: float, wanted: int | None, at_hand: set[int], prompt: str, *, mlflow: bool
    ) -> Record | None:
        """What the alias says if that is proven, else the newest proven content whose text can be had."""
        if wanted is not None and (proven := about.valid_for(wanted, at)):
            return proven
        disk = self.disk.setdefault(prompt, set())
        asks = ASKS_MAX if mlflow else 0
        seen: set[int] = set()
        for record in about.valid(at):
            if record.content in seen:
                continue
            seen.add(record.content)
            if record.content in at_hand | disk:
                return record
            if asks:
                asks -= 1
                found = about.find(record.version)
                if found is not None and found.content == record.content:
                    disk.add(record.content)
                    return record
        return None
