"""Does a sequence step by step in the product and in the model, and compares what can be seen after each step."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from fakes.fake_clock import FakeClock
from fakes.fake_mlflow import URL, FakeMlflow
from fakes.gated_fake import GatedFake, LeavingDatabase, NotingGatekeeper
from sqlalchemy import delete, select

from registry.database import Database, open_database
from registry.prompts.gatekeeper import GateSettings
from registry.prompts.mlflow_rest import PREFIX
from registry.prompts.promotion_records import Promotion, valid_promotions
from registry.prompts.schema import content_hash
from registry.schema import evidence, metadata, promotions
from registry_actions.contents import CONTENT_OF, IS_PROMPT, POLICIES
from registry_actions.door import FakeDoor
from registry_actions.expected import Expected
from registry_actions.model import PRODUCTION, Record
from registry_actions.sequences import APPROVERS, MINUTE, WORKERS, Step, sequence
from registry_actions.world import RegistryWorld

Seen = tuple[int, int, tuple[str, ...], int | None]
"""Of a record: version, content, models, seconds until its end."""


class Disagreement(AssertionError):
    """The product did something else than the rules want."""


class Comparison:
    """One sequence on the product and on the model."""

    def __init__(self, world: RegistryWorld, alias: Callable[[str], int | None]) -> None:
        self.world = world
        self.expected = Expected()
        self.checks = 0
        self._alias = alias
        self._proven: set[str] = set()

    def run(self, steps: Sequence[Step]) -> None:
        """Do every step.

        Raises:
            Disagreement: Names the step, what was expected and what was seen.
        """
        for place, step in enumerate(steps):
            try:
                self._step(step, place % WORKERS)
            except Disagreement as found:
                story = "\n".join(f"{number}: {each}" for number, each in enumerate(steps[: place + 1]))
                raise Disagreement(f"{found}\n{story}") from None

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
            self._same("records", [_seen(each, now) for each in about.valid(now)], self._records(prompt))
            self._require_record(worker, prompt)

    def require_records(self) -> None:
        """Have every process look; what serves then has its record, whoever won."""
        for worker in range(WORKERS):
            self.world.serving.look(worker)
            for prompt in APPROVERS:
                self._require_record(worker, prompt)
        for prompt in APPROVERS:
            self._records(prompt)

    def _same(self, what: str, wanted: object, found: object) -> None:
        self.checks += 1
        if wanted != found:
            raise Disagreement(f"{what}: the model says {wanted!r}, the product {found!r}")

    def _same_serving(self, worker: int, prompt: str) -> None:
        wanted, found = self.expected.serving(worker, prompt), self.world.serving.serving(worker, prompt)
        mine = None if wanted is None else (wanted.content, tuple(sorted(wanted.models)))
        theirs = None
        if found is not None:
            models = tuple(sorted(model for _, model in found.models or ()))
            theirs = CONTENT_OF[content_hash(found.version.template)], models
        self._same(f"serving {prompt} in {worker}", mine, theirs)

    def _records(self, prompt: str) -> list[Seen]:
        now_ms = int(self.world.clock() * 1000)
        found = valid_promotions(self.world.database, prompt, PRODUCTION, now_ms)
        for record in found:
            self._require_grounds(record)
        return [_stored(record, now_ms) for record in found]

    def _require_record(self, worker: int, prompt: str) -> None:
        """The one promise behind all others, asked of the tables directly: what serves has its record now."""
        served = self.world.serving.serving(worker, prompt)
        if served is None:
            return
        self.checks += 1
        with self.world.database.read() as connection:
            row = connection.execute(select(promotions).where(promotions.c.id == served.promotion)).mappings().one()
        ended = row["expires_ms"] is not None and row["expires_ms"] <= int(self.world.clock() * 1000)
        text = content_hash(served.version.template)
        if ended or row["revoked_ms"] is not None or (row["prompt_name"], row["content_hash"]) != (prompt, text):
            raise Disagreement(f"{prompt} serves {text} without a record")

    def _require_grounds(self, record: Promotion) -> None:
        """Each record rests on passing evidence of its content, or on the signatures of two people."""
        if record.id in self._proven:
            return
        self.checks += 1
        self._proven.add(record.id)
        with self.world.database.read() as connection:
            rows = connection.execute(select(evidence).where(evidence.c.id.in_(record.evidence))).mappings().all()
        said = {json.loads(row["details"]).get("by") for row in rows if row["kind"] == "waiver"}
        kinds = {row["kind"] for row in rows}
        asked = {requirement.kind for requirement in POLICIES[record.prompt_name].requires}
        whole = len(rows) == len(record.evidence) > 0 and all(
            (row["prompt_name"], row["content_hash"], row["verdict"])
            == (record.prompt_name, record.content_hash, "PASS")
            for row in rows
        )
        if not whole or (len(said) < 2 if said else kinds != asked):
            raise Disagreement(f"{record!r} rests on {kinds!r}")


def write_policies(home: Path) -> None:
    """Both policies into `home/policies`."""
    (home / "policies").mkdir(exist_ok=True)
    for prompt, policy in POLICIES.items():
        text = json.dumps(policy.model_dump(mode="json", exclude_defaults=True))
        (home / "policies" / f"{prompt}.yaml").write_text(text)


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

    world = RegistryWorld(database, FakeDoor(mlflow), home, clock=clock, pass_time=pass_time, weather=weather)
    settings = GateSettings(home=folder, policies=folder / "policies")
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


_WRITTEN = {"evidence", "promotions", "prompt_hashes", "serving_models", "webhook_deliveries", "signals"}


def _number(version: str | None) -> int | None:
    return None if version is None else int(version)


def _seen(record: Record, now: float) -> Seen:
    end = None if record.expires is None else round((record.expires - now) / MINUTE)
    return record.version, record.content, tuple(sorted(record.models)), end


def _stored(record: Promotion, now_ms: int) -> Seen:
    end = None if record.expires_ms is None else round((record.expires_ms - now_ms) / 1000 / MINUTE)
    return (
        record.prompt_version,
        CONTENT_OF[record.content_hash],
        tuple(sorted(each.model for each in record.models)),
        end,
    )
