"""A serving process as the rules want it: what it answers with, from where the registry and MLflow stand."""

from dataclasses import dataclass, field

from registry_actions.model import PRODUCTION, Prompt, Record, RegistryModel

ASKS_MAX = 3
"""Versions that a worker asks MLflow for before it gives up on older ones."""


@dataclass(slots=True)
class Worker:
    """One process.

    `serving` and `then` are records by place; `disk` holds contents.
    """

    serving: dict[str, Record | None] = field(default_factory=dict[str, Record | None])
    then: dict[str, Record | None] = field(default_factory=dict[str, Record | None])
    disk: dict[str, set[int]] = field(default_factory=dict[str, set[int]])

    def current(self, prompt: str, now: float) -> Record | None:
        """What answers a call at this moment."""
        both = self.serving.get(prompt), self.then.get(prompt)
        return next((record for record in both if record is not None and record.holds(now)), None)

    def restart(self) -> None:
        """Only the disk is left."""
        self.serving, self.then = {}, {}

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
