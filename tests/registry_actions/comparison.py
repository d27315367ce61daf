"""Does a sequence step by step in the product and in the model, and compares what can be seen after each step."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from fakes.fake_clock import FakeClock
from fakes.fake_mlflow import URL, FakeMlflow
from fakes.gated_fake import GatedFake, LeavingDatabase, NotingGatekeeper
from sqlalchemy import delete

from registry.database import Database, open_database
from registry.prompts.gatekeeper import GateSettings
from registry.prompts.mlflow_rest import PREFIX
from registry.prompts.promotion_records import Promotion, valid_promotions
from registry.prompts.schema import content_hash
from registry.schema import metadata
from registry_actions.contents import CONTENT_OF, IS_PROMPT, policy
from registry_actions.door import FakeDoor
from registry_actions.expected import Expected
from registry_actions.model import OPENED_H
from registry_actions.proofs import Disagreement, Proofs
from registry_actions.sequences import APPROVERS, HOUR, WORKERS, Step, sequence
from registry_actions.state import PRODUCTION, Record
from registry_actions.world import RegistryWorld
from serving.second_lock import Served

Seen = tuple[int, int, tuple[str, ...], float | None]
"""Of a record: version, content, models, seconds until its end."""
LATE_S = 60.0
"""A running server may do a step so much later than the model; what ends, ends hours apart."""


class Comparison:
    """One sequence on the product and on the model."""

    def __init__(self, world: RegistryWorld, alias: Callable[[str], int | None]) -> None:
        self.world = world
        self.expected = Expected()
        self.proofs = Proofs(world)
        self._alias = alias
        self._compared = 0

    @property
    def checks(self) -> int:
        """How much was compared and proven."""
        return self._compared + self.proofs.checks

    def run(self, steps: Sequence[Step]) -> None:
        """Do every step.

        Raises:
            Disagreement: Names the step, what was expected and what was seen; or what was raised.
        """
        for place, step in enumerate(steps):
            with told(steps[: place + 1]):
                self._step(step, place % WORKERS)

    def _step(self, step: Step, worker: int) -> None:
        named = step.arguments.get("prompt")
        self._same("outcome", self.expected.apply(step), self.world.apply(step))
        for side in (self.expected, self.world):  # what happens an hour later does not happen in the very millisecond
            side.wait(1.0)
        for prompt in APPROVERS:  # what ends by itself ends without anybody looking
            self._same_serving(worker, prompt)
        self.expected.look(worker, named)
        self.world.serving.look(worker, named)
        for prompt in APPROVERS:
            self._same_serving(worker, prompt)
        if self.expected.away["registry"]:
            return
        for prompt in APPROVERS if named is None else [named]:
            about = self.expected.registry.prompts[prompt]
            self._same("alias", about.aliases.get(PRODUCTION), self._alias(prompt))
            now = self.expected.registry.now
            self._same_records("records", [_seen(each, now) for each in about.valid(now)], self._records(prompt))
            self._same_experiments(prompt, now)
            self._require_record(worker, prompt)
        if self.world.serving.experiments:
            self.proofs.require_no_orphans()

    def require_records(self) -> None:
        """Have every process look; what serves then has its record, whoever won."""
        for worker in range(WORKERS):
            self.world.serving.look(worker)
            for prompt in APPROVERS:
                self._require_record(worker, prompt)
        for prompt in APPROVERS:
            self._records(prompt)

    def _same(self, what: str, wanted: object, found: object) -> None:
        self._compared += 1
        if wanted != found:
            raise Disagreement(f"{what}: the model says {wanted!r}, the product {found!r}")

    def _same_records(self, what: str, wanted: Sequence[Seen], found: Sequence[Seen]) -> None:
        """The same records; those that end do so at nearly the same time."""
        nearly = [
            (*theirs[:3], ours[3]) if _near(ours[3], theirs[3]) else theirs
            for ours, theirs in zip(wanted, found, strict=False)
        ]
        self._same(what, list(wanted), [*nearly, *found[len(nearly) :]])

    def _same_serving(self, worker: int, prompt: str) -> None:
        wanted, found = self.expected.serving(worker, prompt), self.world.serving.serving(worker, prompt)
        mine = None if wanted is None else (wanted.content, tuple(sorted(wanted.models)))
        theirs = None if found is None else _shown(found)
        self._same(f"serving {prompt} in {worker}", mine, theirs)
        if found is not None:
            self._same_arms(worker, prompt, found)

    def _same_arms(self, worker: int, prompt: str, production: Served) -> None:
        """Who gets which arm is the product's to choose: one of those that the model has, or production."""
        live, now = self.expected.arms(worker, prompt), self.expected.registry.now
        answers = self.world.serving.answers(worker, prompt, production)
        ours = [each.place for each in self.expected.registry.prompts[prompt].experiments]
        places = {None: None, **dict(zip(self.world.experimenters.started.get(prompt, []), ours, strict=False))}
        wanted = {(None, *_shown(production))}
        if live is not None:
            arms = {(live.place, each.content, tuple(sorted(live.models))) for each in live.arms}
            wanted = wanted | arms if live.ramped and now - live.began < OPENED_H * HOUR else arms
        found = {(places[each.experiment], *_shown(each)) for each in answers.values()}
        self._same(f"answers of {prompt} in {worker} beside {wanted}", [], list(found - wanted))
        others = {each.promotion for each in self.world.serving.outsiders(worker, prompt, production)}
        self._same(f"answers of {prompt} in {worker} for who takes no part", {production.promotion}, others)

    def _same_experiments(self, prompt: str, now: float) -> None:
        """The newest experiment's records; what it did to the alias and to production's records is compared above."""
        about = self.expected.registry.prompts[prompt]
        started = self.world.experimenters.started.get(prompt, [])
        self._same("experiments", len(about.experiments), len(started))
        if started:
            wanted = [_seen(each, now) for each in about.valid(now, about.experiments[-1].place)]
            self._same_records("records of arms", wanted, self._records(prompt, f"experiment:{started[-1]}"))

    def _records(self, prompt: str, place: str = PRODUCTION) -> list[Seen]:
        now_ms = int(self.world.clock() * 1000)
        found = valid_promotions(self.world.database, prompt, place, now_ms)
        for record in found:
            self.proofs.require_grounds(record)
        return [_stored(record, now_ms) for record in found]

    def _require_record(self, worker: int, prompt: str) -> None:
        served = self.world.serving.serving(worker, prompt)
        if served is not None:
            self.proofs.require_record(prompt, served, PRODUCTION)
            self.proofs.require_arms(prompt, served, self.world.serving.answers(worker, prompt, served))


@contextmanager
def told(steps: Sequence[Step]) -> Generator[None]:
    """Whatever goes wrong is told with the whole story.

    Raises:
        Disagreement: In place of what was raised.
    """
    try:
        yield
    except Exception as found:  # also what only a slow or broken server makes of it
        story = "\n".join(f"{number}: {each}" for number, each in enumerate(steps))
        raise Disagreement(f"{type(found).__name__}: {found}\n{story}") from found


def write_policies(home: Path) -> Path:
    """Both policies into `home/policies`, asking for the least."""
    folder = home / "policies"
    folder.mkdir(exist_ok=True)
    for prompt in APPROVERS:
        text = json.dumps(policy(prompt).model_dump(mode="json", exclude_defaults=True))
        (folder / f"{prompt}.yaml").write_text(text)
    return folder


@contextmanager
def registry_in(folder: Path, url: str) -> Generator[LeavingDatabase]:
    """A migrated registry that can be sent away, with the policies beside it."""
    write_policies(folder)
    opened = open_database(url)
    try:
        yield LeavingDatabase(opened._engine)  # pyright: ignore[reportPrivateUsage] - the same one
    finally:
        opened.close()


def compare_on_fake(seed: int, database: LeavingDatabase, folder: Path, home: Path) -> tuple[int, int]:
    """Run one sequence on the product with the fake MLflow; steps done, and checks made.

    Args:
        seed: Of the sequence.
        database: Emptied first.
        folder: With the policies.
        home: Empty: the disks of the processes.

    Raises:
        Disagreement: The product did something else than the rules want.
    """
    empty(database)
    mlflow, clock = FakeMlflow(), FakeClock()
    comparison: Comparison

    def pass_time(seconds: float) -> None:
        clock.now += seconds

    def weather(mlflow_away: bool, registry_away: bool) -> None:  # noqa: FBT001 - told by position
        mlflow.outage = (lambda _: httpx.Response(503, json={})) if mlflow_away else None
        database.away = registry_away

    policies = write_policies(folder)
    world = RegistryWorld(database, FakeDoor(mlflow), home, policies, clock=clock, pass_time=pass_time, weather=weather)
    settings = GateSettings(home=folder, policies=policies)
    GatedFake(mlflow, NotingGatekeeper(settings, database, world.note, clock), world.before_move)
    comparison = Comparison(world, lambda prompt: _number(mlflow.prompts[prompt].aliases.get(PRODUCTION)))
    comparison.expected.registry.now = clock.now
    for prompt in APPROVERS:
        body = {"name": prompt, "tags": [IS_PROMPT]}
        mlflow.handle(httpx.Request("POST", f"{URL}{PREFIX}registered-models/create", json=body))
    steps = sequence(seed)
    try:
        comparison.run(steps)
    finally:
        database.away = False
        world.close()
    return len(steps), comparison.checks


def empty(database: Database) -> None:
    """Forget everything."""
    with database.write() as connection:
        for table in (name for name in metadata.sorted_tables if name.name in _WRITTEN):
            connection.execute(delete(table))


_WRITTEN = {
    *("evidence", "promotions", "prompt_hashes", "serving_models", "webhook_deliveries", "signals"),
    *("experiments", "alarms"),
}


def _number(version: str | None) -> int | None:
    return None if version is None else int(version)


def _near(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < LATE_S


def _shown(served: Served) -> tuple[int, tuple[str, ...]]:
    models = tuple(sorted(model for _, model in served.models or ()))
    return CONTENT_OF[content_hash(served.version.template)], models


def _seen(record: Record, now: float) -> Seen:
    end = None if record.expires is None else record.expires - now
    return record.version, record.content, tuple(sorted(record.models)), end


def _stored(record: Promotion, now_ms: int) -> Seen:
    end = None if record.expires_ms is None else (record.expires_ms - now_ms) / 1000
    return (
        record.prompt_version,
        CONTENT_OF[record.content_hash],
        tuple(sorted(each.model for each in record.models)),
        end,
    )
