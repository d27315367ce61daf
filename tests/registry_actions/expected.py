"""What must come of a step of a random sequence: its outcome, where aliases point, which records hold, what serves."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from registry_actions.model import Outcome, RegistryModel
from registry_actions.rulings import Asked
from registry_actions.sequences import APPROVERS, BROKEN, WORKERS, Step
from registry_actions.state import PRODUCTION, Experiment, Record, Version
from registry_actions.worker import Live, Worker

BY_NUMBER_FIRST = frozenset({"set_alias", "promote", "evaluate", "approve", "sign", "delete_version"})
"""They ask MLflow for the version before they need the registry."""
WITHOUT_MLFLOW = frozenset({"revoke", "tell_chain", "knock", "stop_experiment", "watch_experiments"})
"""They need the registry alone."""
MOVES = frozenset({"set_alias", "promote", "rollback", "start_experiment"})
INTRUSIONS = frozenset({"insert", "point", "rewrite", "spoil_disk", "plant_on_disk"})
EDITS = frozenset({"end_arm", "plant_in_design", "garble_design", "revive_experiment"})
NATURE = INTRUSIONS | EDITS | {"restart", "wait", "outage", "look", "ask"}
"""What happens whoever is there."""
ELSEWHERE = "experiment:none"
KNOCKS: dict[str, Outcome] = {"forged": "refused", "old": "refused", "replayed": "refused", "genuine": "done"}


@dataclass(slots=True)
class Expected:
    """The registry, two workers and the weather, as the rules want them."""

    registry: RegistryModel = field(default_factory=lambda: RegistryModel(APPROVERS, BROKEN))
    workers: list[Worker] = field(default_factory=lambda: [Worker() for _ in range(WORKERS)])
    away: dict[str, bool] = field(default_factory=lambda: {"mlflow": False, "registry": False})

    def apply(self, step: Step) -> Outcome:
        """Do the step; its outcome."""
        withheld = None if step.name in NATURE else self._withheld(step)
        if withheld is not None:
            return withheld
        if step.name in MOVES:
            return getattr(self, step.name)(step)
        doer = self if hasattr(self, step.name) else self.registry
        return getattr(doer, step.name)(**step.arguments)

    def serving(self, worker: int, prompt: str) -> Record | None:
        """What a worker answers with."""
        return self.workers[worker].current(prompt, self.registry.now)

    def arms(self, worker: int, prompt: str) -> Live | None:
        """Whose arms a worker answers with; None: production answers everybody."""
        return self.workers[worker].open(prompt, self.registry.now)

    def look(self, worker: int | None = None, prompt: str | None = None) -> Outcome:
        """One worker, or each, asks the registry and MLflow; without the registry nothing changes."""
        if self.away["registry"]:
            return "done"
        for each in self.workers if worker is None else [self.workers[worker]]:
            for name in APPROVERS if prompt is None else [prompt]:
                each.look(self.registry, name, mlflow=not self.away["mlflow"])
            each.look_at_arms(self.registry, mlflow=not self.away["mlflow"])
        return "done"

    def _withheld(self, step: Step) -> Outcome | None:
        """The outcome where somebody who is needed does not answer; None: they all do, or are not needed."""
        name = step.name
        if self.away["mlflow"] and name not in WITHOUT_MLFLOW:
            return "away"
        if not self.away["registry"]:
            return None
        if name in {"set_free_alias", "edit"} or step.arguments.get("alias") not in {None, PRODUCTION}:
            return None
        if name == "push":
            self.insert(step.arguments["prompt"], step.arguments["content"])
            return "done"
        if name == "knock" and step.arguments["kind"] in {"forged", "old"}:
            return "refused"
        gone = name in BY_NUMBER_FIRST and self._gone(step.arguments["prompt"], step.arguments["version"])
        return "missing" if gone else "away"

    def _gone(self, prompt: str, version: int) -> bool:
        return self.registry.prompts[prompt].find(version) is None

    def _all(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.apply(step)

    def set_alias(self, step: Step) -> Outcome:
        """The gate decides while MLflow sets the alias."""
        prompt, version = step.arguments["prompt"], step.arguments["version"]
        outcome, _ = self.registry.let_through(prompt, version, lambda: self._all(step.during))
        if outcome == "done":
            self._all(step.before_move)
            self.registry.prompts[prompt].aliases[PRODUCTION] = version
        return outcome

    def promote(self, step: Step, version: int | None = None) -> Outcome:
        """The command decides, then the gate; a refusal there takes the command's record back."""
        prompt = step.arguments["prompt"]
        version = step.arguments["version"] if version is None else version
        assert version is not None
        outcome, fresh = self.registry.let_through(prompt, version, lambda: self._all(step.during))
        if outcome != "done":
            return outcome
        self._all(step.before_move)
        aliases = self.registry.prompts[prompt].aliases
        outcome, _ = self.registry.let_through(prompt, version)
        if outcome != "done":
            if aliases.get(PRODUCTION) == version:
                return "done"
            if fresh is not None:
                fresh.revoked = True
            return outcome
        aliases[PRODUCTION] = version
        return "done"

    def rollback(self, step: Step) -> Outcome:
        """Promote the newest that holds, other than what the alias points at."""
        about = self.registry.prompts[step.arguments["prompt"]]
        pointed = about.find(about.aliases.get(PRODUCTION))
        current = None if pointed is None else pointed.content
        earlier = next((each for each in about.valid(self.registry.now) if each.content != current), None)
        version = None if earlier is None else about.find(earlier.version)
        if earlier is None or version is None:
            return "missing"
        return self.promote(step, earlier.version) if version.content == earlier.content else "refused"

    def start_experiment(self, step: Step) -> Outcome:
        """Versions beside production."""
        told = {name: step.arguments[name] for name in ("prompt", "versions", "ramped")}
        return self.registry.start(**told, meanwhile=lambda: self._all(step.during))

    def stop_experiment(self, prompt: str) -> Outcome:
        """Everybody has production again."""
        return self.registry.stop(prompt)

    def watch_experiments(self) -> Outcome:
        """What is over ends."""
        return self.registry.watch(mlflow=not self.away["mlflow"])

    def end_arm(self, prompt: str, arm: int, how: str) -> Outcome:
        """Somebody edits the record of an arm in the registry's database, so that it lets nothing serve there."""
        newest = self._newest_experiment(prompt)
        content = None if newest is None or newest.garbled else newest.arms[arm]
        records = self.registry.prompts[prompt].records
        for number, record in enumerate(records):
            if newest is None or (record.place, record.content, record.revoked) != (newest.place, content, False):
                continue
            place = ELSEWHERE if how == "elsewhere" else record.place
            expires = self.registry.now if how == "expired" else record.expires
            records[number] = replace(record, place=place, expires=expires, revoked=how not in {"elsewhere", "expired"})
        return "done"

    def plant_in_design(self, prompt: str, arm: int, content: int) -> Outcome:
        """Somebody writes another content into the design of an experiment."""
        newest = self._newest_experiment(prompt)
        if newest is not None and not newest.garbled:
            newest.arms[arm] = content
        return "done"

    def garble_design(self, prompt: str) -> Outcome:
        """Somebody makes a design unreadable."""
        newest = self._newest_experiment(prompt)
        if newest is not None:
            newest.garbled = True
        return "done"

    def revive_experiment(self, prompt: str) -> Outcome:
        """Somebody says in the registry's database that an experiment still runs; its records ended with it."""
        newest = self._newest_experiment(prompt)
        if newest is not None:
            newest.runs = True
        return "done"

    def _newest_experiment(self, prompt: str) -> Experiment | None:
        return next(reversed(self.registry.prompts[prompt].experiments), None)

    def ask(self, prompt: str, **asked: Any) -> Outcome:
        """The policy of a prompt asks for something else of evaluations from now on."""
        self.registry.prompts[prompt].asked = Asked(**asked)
        return "done"

    def evaluate(self, prompt: str, version: int, model: str, *, against: str, **found: Any) -> Outcome:
        """An evaluation against what serves, or against nothing."""
        rival = self.registry.production(prompt) if against == PRODUCTION else None
        return self.registry.evaluate(prompt, version, model, against=rival, **found)

    def push(self, prompt: str, content: int, who: str | None) -> Outcome:
        """A new version comes through the gate."""
        return self.registry.push(prompt, content, who)

    def set_free_alias(self, prompt: str, version: int) -> Outcome:
        """An alias that no policy names."""
        if self._gone(prompt, version):
            return "missing"
        self.registry.prompts[prompt].aliases["test"] = version
        return "done"

    def tell_chain(self, models: tuple[str, ...]) -> Outcome:
        """Serving says which models answer."""
        self.registry.chain = models
        return "done"

    def insert(self, prompt: str, content: int) -> Outcome:
        """A version that the gate did not see."""
        self.registry.prompts[prompt].versions.append(Version(content))
        return "done"

    def point(self, prompt: str, version: int | None) -> Outcome:
        """Somebody changes the alias in the database of MLflow."""
        aliases = self.registry.prompts[prompt].aliases
        aliases.pop(PRODUCTION, None)
        if version is not None:
            aliases[PRODUCTION] = version
        return "done"

    def rewrite(self, prompt: str, version: int, content: int) -> Outcome:
        """Somebody changes the wording in the database of MLflow."""
        about = self.registry.prompts[prompt]
        if version <= len(about.versions):  # it is not there when MLflow was away while it was pushed
            about.versions[version - 1].content = content
        return "done"

    def restart(self, worker: int) -> Outcome:
        """A worker is started anew: what it has on disk, then what the others say."""
        self.workers[worker].restart()
        if not self.away["registry"]:
            for prompt in APPROVERS:
                self.workers[worker].look(self.registry, prompt, mlflow=False)
        self.look(worker)
        return "done"

    def spoil_disk(self, worker: int, prompt: str, content: int) -> Outcome:
        """A file that cannot be read is no file."""
        self.workers[worker].disk.setdefault(prompt, set()).discard(content)
        return "done"

    def plant_on_disk(self, worker: int, prompt: str, content: int) -> Outcome:
        """Nor is one that does not hold what its name says."""
        return self.spoil_disk(worker, prompt, content)

    def edit(self, **_: Any) -> Outcome:
        """Content is final."""
        return "refused"

    def knock(self, kind: str) -> Outcome:
        """A push at the door for webhooks."""
        return KNOCKS[kind]

    def wait(self, seconds: float) -> Outcome:
        """Time passes."""
        self.registry.now += seconds
        return "done"

    def outage(self, *, mlflow: bool, registry: bool) -> Outcome:
        """Somebody is away, or back."""
        self.away = {"mlflow": mlflow, "registry": registry}
        return "done"
