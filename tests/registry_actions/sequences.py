"""Random sequences of what people, machines and intruders do to prompts; the same seed gives the same sequence."""

from dataclasses import dataclass
from random import Random
from typing import Any

PLAIN, SIGNED = "plain", "signed"
"""Two prompts: the policy of the second asks for two people's approval beside lint and an evaluation."""
APPROVERS = {PLAIN: 0, SIGNED: 1}
MODELS = ("small", "large")
PEOPLE = ("ada", "bob", "cyd")
CONTENTS = 6
BROKEN = {5}
"""Contents that the linter refuses."""
WORKERS = 2
LENGTHS = (3, 6, 15)
"""How many things happen after the beginning: mostly little, and now and then a long story."""
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
GOOD = {"data": "questions", "rows": 1, "part": False, "questions": 40, "margin": 0.02, "resumed": False}
"""An evaluation as most policies want it."""
FLAWS = {"data": "others", "rows": 2, "part": True, "questions": 10, "margin": 0.1, "resumed": True}
"""What may be different."""
WAITS = (MINUTE, HOUR, 6 * HOUR, DAY, 31 * DAY)
"""Seconds that may pass at once."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action: its name, as in `Expected` and `RegistryWorld`, and its arguments."""

    name: str
    arguments: dict[str, Any]
    during: tuple["Step", ...] = ()
    """What happens between the decision about an alias and its record."""
    before_move: tuple["Step", ...] = ()
    """What happens between the record and the moving of the alias."""

    def __str__(self) -> str:
        """As a call."""
        said = f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"
        inside = "".join(f" during: {step}" for step in self.during)
        return said + inside + "".join(f" before the move: {step}" for step in self.before_move)


def sequence(seed: int, *, races: bool = True) -> list[Step]:
    """One sequence, of one of the LENGTHS.

    Args:
        seed: of the sequence.
        races: whether actions happen in the middle of others.
    """
    return _Author(Random(seed), races=races).write()  # noqa: S311 - no secret


class _Author:
    def __init__(self, chance: Random, *, races: bool) -> None:
        self._chance = chance
        self._races = races
        self._versions = dict.fromkeys(APPROVERS, 0)

    def write(self) -> list[Step]:
        steps = [Step("tell_chain", {"models": MODELS}), *map(self._ask, APPROVERS)]
        for prompt in APPROVERS:
            steps += [self._push(prompt, insertion=False) for _ in range(2)]
        main = self._chance.choice([PLAIN, SIGNED])
        for _ in range(self._chance.choice(LENGTHS)):
            prompt = main if self._chance.random() < 0.85 else self._chance.choice([PLAIN, SIGNED])
            steps += self._some(prompt)
        return steps

    def _some(self, prompt: str) -> list[Step]:
        """One action, or a few that belong together."""
        kinds = {
            self._promising: 5,
            self._move: 7,
            self._said: 4,
            self._evaluated: 4,
            self._new: 3,
            self._tried_elsewhere: 1,
            self._experiment: 4,
            self._run: 3,
            self._changed: 5,
            self._intruder: 5,
            self._weather: 4,
        }
        [kind] = self._chance.choices(list(kinds), list(kinds.values()))
        return kind(prompt)

    def _promising(self, prompt: str) -> list[Step]:
        """All that a version needs, and the click."""
        version = self._version(prompt)
        return [*self._proof(prompt, version), self._alias(prompt, version)]

    def _proof(self, prompt: str, version: int, model: str | None = None) -> list[Step]:
        """All that a version needs."""
        steps = [self._evaluation(prompt, version, passed=True, against="production", good=True, model=model)]
        if prompt == SIGNED:
            steps += [
                Step("approve", {"prompt": prompt, "version": version, "who": who, "agrees": True}) for who in PEOPLE
            ]
        return steps

    def _move(self, prompt: str) -> list[Step]:
        return [self._alias(prompt, self._version(prompt))]

    def _alias(self, prompt: str, version: int, name: str | None = None) -> Step:
        name = name or self._chance.choices(["set_alias", "promote", "rollback"], [6, 3, 2])[0]
        who = self._chance.choice([*PEOPLE, None])
        arguments: dict[str, Any] = {"prompt": prompt, "version": version, "who": who}
        if name == "set_alias":
            arguments["route"] = self._chance.choice(["api", "ui", "client"])
        if name == "rollback":
            del arguments["version"]
        during = self._race(prompt) if self._races and self._chance.random() < 0.3 else ()
        before = self._race(prompt) if self._races and self._chance.random() < 0.3 else ()
        return Step(name, arguments, during, before)

    def _tried_elsewhere(self, prompt: str) -> list[Step]:
        """What failed against production is measured against what a rollback brings back, until it passes."""
        fresh = [self._push(prompt, insertion=False) for _ in range(2)]
        *earlier, version = range(max(1, self._versions[prompt] - 2), self._versions[prompt] + 1)
        steps = [*fresh]
        for each in earlier:
            steps += [*self._proof(prompt, each), self._alias(prompt, each, "promote")]
        steps += [
            self._evaluation(prompt, version, passed=False, against="production", good=True, model=each)
            for each in MODELS
        ]
        if self._chance.random() < 0.8:
            steps.append(self._alias(prompt, version, "rollback"))
        return [*steps, *self._proof(prompt, version)[:1], self._alias(prompt, version, "promote")]

    def _experiment(self, prompt: str) -> list[Step]:
        """Versions beside production, mostly with what they need: evidence, or signatures that end."""
        chance, newest = self._chance, self._versions[prompt]
        control, *others = chance.sample(range(max(1, newest - 3), newest + 1), chance.choice([2, min(3, newest)]))
        model, steps = chance.choice([*MODELS, None]), list[Step]()
        if chance.random() < 0.9:
            move = Step("promote", {"prompt": prompt, "version": control, "who": "ada"})
            steps += [*self._proof(prompt, control, model), move]
        for version in (control, *others) if chance.random() < 0.9 else ():
            if chance.random() < 0.25:
                said = {"prompt": prompt, "version": version, "hours": chance.choice([1.0, 6.0])}
                steps += [Step("sign", {**said, "who": who}) for who in PEOPLE[:2]]
            elif version != control:
                steps += self._proof(prompt, version, model)
        arguments = {"prompt": prompt, "versions": (*others,), "who": "ada", "ramped": chance.random() < 0.3}
        during = self._race(prompt) if self._races and chance.random() < 0.2 else ()
        steps.append(Step("start_experiment", arguments, during))
        for _ in range(chance.choice([0, 1, 2, 3])):
            [happens] = chance.choices([self._run, self._weather, self._move, self._changed], [4, 2, 1, 1])
            steps += happens(prompt)
        return steps

    def _run(self, prompt: str) -> list[Step]:
        """What becomes of an experiment, by its people or by an intruder."""
        newest = {"prompt": prompt}
        ended = {**newest, "arm": self._chance.choice([0, 1])}
        kinds = [
            (Step("stop_experiment", newest), 3),
            (Step("watch_experiments", {}), 3),
            (Step("end_arm", {**ended, "how": self._chance.choice(["revoked", "expired", "garbled", "elsewhere"])}), 3),
            (Step("plant_in_design", {**ended, "content": self._content()}), 2),
            (Step("garble_design", newest), 1),
            (Step("revive_experiment", newest), 2),
        ]
        return self._chance.choices([step for step, _ in kinds], [weight for _, weight in kinds])

    def _race(self, prompt: str) -> tuple[Step, ...]:
        """What others may do in that moment."""
        return tuple(
            self._chance.choice(
                [
                    lambda: Step("revoke", {"prompt": prompt, "version": self._version(prompt)}),
                    lambda: self._evaluation(prompt, self._version(prompt), passed=False, against="production"),
                    lambda: self._rewrite(prompt),
                    lambda: self._point(prompt),
                    lambda: Step("look", {}),
                ]
            )()
            for _ in range(self._chance.choice([1, 1, 2]))
        )

    def _said(self, prompt: str) -> list[Step]:
        version = self._version(prompt)
        people = self._chance.sample(PEOPLE, self._chance.choice([1, 2, 2]))
        if self._chance.random() < 0.5:
            agrees = self._chance.random() < 0.8
            return [
                Step("approve", {"prompt": prompt, "version": version, "who": who, "agrees": agrees}) for who in people
            ]
        hours = self._chance.choice([1.0, 6.0, 24.0])
        signed = [Step("sign", {"prompt": prompt, "version": version, "who": who, "hours": hours}) for who in people]
        return [*signed, self._alias(prompt, version)]

    def _evaluated(self, prompt: str) -> list[Step]:
        """Some evaluations of a version, and now and then the click."""
        against = self._chance.choice(["production", "production", "nothing"])
        version = self._version(prompt)
        steps = [
            self._evaluation(prompt, version, passed=self._chance.random() < 0.6, against=against)
            for _ in range(self._chance.choice([1, 1, 2]))
        ]
        return steps if self._chance.random() < 0.6 else [*steps, self._alias(prompt, version)]

    def _evaluation(
        self, prompt: str, version: int, *, passed: bool, against: str, good: bool = False, model: str | None = None
    ) -> Step:
        """An evaluation; a `good` one as most policies want it."""
        arguments = {
            "prompt": prompt,
            "version": version,
            "model": model or self._chance.choice(MODELS),
            "passed": passed,
            "against": against,
            **GOOD,
        }
        if not good:
            arguments |= self._chance.choice([{}, {}, *({name: value} for name, value in FLAWS.items())])
        return Step("evaluate", arguments)

    def _ask(self, prompt: str) -> Step:
        """What a policy asks of evaluations."""
        data = self._chance.choice([None, "questions", "questions"])
        arguments = {
            "prompt": prompt,
            "data": data,
            "rows": self._chance.choice([None, 1]) if data else None,
            "questions": self._chance.choice([1, 20, 20]),
            "margin": self._chance.choices([0.05, 0.01], [7, 1])[0],
        }
        return Step("ask", arguments)

    def _new(self, prompt: str) -> list[Step]:
        return [self._push(prompt, insertion=self._chance.random() < 0.2)]

    def _push(self, prompt: str, *, insertion: bool) -> Step:
        self._versions[prompt] += 1
        content = self._chance.randrange(CONTENTS)
        if insertion:
            return Step("insert", {"prompt": prompt, "content": content})
        return Step("push", {"prompt": prompt, "content": content, "who": self._chance.choice([*PEOPLE, None])})

    def _changed(self, prompt: str) -> list[Step]:
        """What the rules know: revoking, deleting, editing through the front door, another chain or policy."""
        version = self._version(prompt)
        return [
            self._chance.choice(
                [
                    lambda: Step("revoke", {"prompt": prompt, "version": version}),
                    lambda: Step("revoke", {"prompt": prompt, "version": version}),
                    lambda: Step("delete_version", {"prompt": prompt, "version": version}),
                    lambda: Step(
                        "delete_alias", {"prompt": prompt, "alias": self._chance.choice(["production", "test"])}
                    ),
                    lambda: Step("edit", {"prompt": prompt, "version": version, "content": self._content()}),
                    lambda: Step("set_free_alias", {"prompt": prompt, "version": version}),
                    lambda: self._ask(prompt),
                    lambda: Step("tell_chain", {"models": self._chance.choice([MODELS, MODELS[:1], MODELS[1:]])}),
                ]
            )()
        ]

    def _intruder(self, prompt: str) -> list[Step]:
        """Whoever reaches MLflow's database, the disk of a worker, or the door for webhooks."""
        worker = self._chance.randrange(WORKERS)
        arguments = {"worker": worker, "prompt": prompt, "content": self._content()}
        kinds = {
            lambda: self._point(prompt): 4,
            lambda: self._rewrite(prompt): 4,
            lambda: Step("spoil_disk", arguments): 2,
            lambda: Step("plant_on_disk", arguments): 1,
            lambda: Step("knock", {"kind": self._chance.choice(["forged", "old", "replayed", "genuine"])}): 2,
        }
        [kind] = self._chance.choices(list(kinds), list(kinds.values()))
        return [kind()]

    def _point(self, prompt: str) -> Step:
        version = self._version(prompt) if self._chance.random() < 0.85 else None
        return Step("point", {"prompt": prompt, "version": version})

    def _rewrite(self, prompt: str) -> Step:
        return Step("rewrite", {"prompt": prompt, "version": self._version(prompt), "content": self._content()})

    def _weather(self, _: str) -> list[Step]:
        kind = self._chance.choice(["wait", "wait", "outage", "restart", "restart"])
        if kind == "wait":
            return [Step("wait", {"seconds": self._chance.choice(WAITS)})]
        if kind == "restart":
            return [Step("restart", {"worker": self._chance.randrange(WORKERS)})]
        away = {"mlflow": self._chance.random() < 0.4, "registry": self._chance.random() < 0.25}
        return [Step("outage", away)]

    def _version(self, prompt: str) -> int:
        """Rather one of the newest than an old one."""
        newest = self._versions[prompt]
        return max(1, newest - self._chance.choice([0, 0, 0, 1, 1, 2, 3]))

    def _content(self) -> int:
        return self._chance.randrange(CONTENTS)
