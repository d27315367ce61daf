"""Which prompt version serves, on good days and on bad ones."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fakes.fake_serving import FakePromptStore, prompt_version, prove

from registry.database import Database, DatabaseUnavailable
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.schema import InvalidTemplate, Variable
from registry.prompts.versions import PromptNotFound
from registry.signals import bump_signal, read_signal, take_lease
from serving.active_prompt import LEASE, ActivePrompts, PromptUnavailable
from serving.metrics import Metrics
from serving.prompt_alarms import PromptAlarms

SLOT = ("insights", "production")
ONE, TWO, THREE = prompt_version(1), prompt_version(2, "Answer anew."), prompt_version(3, "Answer well.")


class Stop(Exception):
    """Raised by a fake sleep after the rounds that a test wants."""


def rounds(count: int, between: Callable[[], None] = lambda: None) -> Any:
    """A sleep that does not sleep and ends the loop after `count` rounds."""
    left = count

    async def sleep(_seconds: float) -> None:
        nonlocal left
        left -= 1
        between()
        await asyncio.sleep(0)
        if left == 0:
            raise Stop

    return sleep


@pytest.fixture
def store(database: Database) -> FakePromptStore:
    """MLflow with version 1 promoted; versions 2 and 3 have their records too, from before."""
    prove(database, THREE, TWO, ONE)
    return FakePromptStore({SLOT: ONE})


def active(store: FakePromptStore, database: Database, sleep: Any = asyncio.sleep, holder: str = "a") -> ActivePrompts:
    """The prompts of one process."""
    alarms = PromptAlarms(database, [SLOT], lambda _kind, _body: None)
    return ActivePrompts(store, database, [SLOT], Metrics(), alarms, holder=holder, sleep=sleep)


def gauge(prompts: ActivePrompts, name: str) -> float | None:
    """A metric of the prompt."""
    return prompts._metrics.registry.get_sample_value(name, {"prompt": "insights", "alias": "production"})


async def test_a_start_serves_what_mlflow_has(store: FakePromptStore, database: Database) -> None:
    """With MLflow there, a new process serves where the alias points, not what lies on disk."""
    store.keep(ONE)
    store.versions[SLOT] = TWO
    prompts = active(store, database)
    await prompts.start()
    assert prompts.current(*SLOT).version == TWO
    assert prompts.states()[SLOT].freshness == "fresh"


async def test_a_start_without_mlflow_serves_what_was_last_let_through(
    store: FakePromptStore, database: Database
) -> None:
    """After a restart with MLflow down the newest record's version serves from disk, or the newest that lies there."""
    store.error = MlflowUnavailable("down")
    store.keep(THREE)
    store.keep(TWO)
    prompts = active(store, database)
    await prompts.start()
    assert prompts.current(*SLOT).version == TWO
    assert prompts.states()[SLOT].freshness == "stale"


async def test_nothing_anywhere_is_prompt_not_found(database: Database) -> None:
    """A first start without a promoted version has nothing to serve and says so."""
    prompts = active(FakePromptStore(), database)
    await prompts.start()
    with pytest.raises(PromptNotFound):
        prompts.current(*SLOT)
    assert prompts.states()[SLOT].trouble is None


async def test_nothing_kept_and_mlflow_away_is_not_called_unpromoted(database: Database) -> None:
    """Whether a version was promoted is unknown then, and the answer is 503 rather than 404."""
    prompts = active(FakePromptStore(error=MlflowUnavailable("down")), database)
    await prompts.start()
    with pytest.raises(PromptUnavailable):
        prompts.current(*SLOT)


async def test_mlflow_going_down_changes_nothing(store: FakePromptStore, database: Database) -> None:
    """What serves goes on serving, also an older version than the newest record's, and is fresh again with MLflow."""
    store.versions[SLOT] = TWO
    prompts = active(store, database)
    await prompts.start()
    store.error = MlflowUnavailable("down")
    assert await prompts.refresh() is False
    assert (prompts.current(*SLOT).version, prompts.states()[SLOT].freshness) == (TWO, "stale")
    store.error = None
    assert await prompts.refresh() is True
    assert prompts.states()[SLOT].freshness == "fresh"


async def test_a_rewritten_version_is_not_served(
    store: FakePromptStore, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """When a version's content changed, what was let through stays, a metric says so and one line is logged."""
    prompts = active(store, database)
    await prompts.start()
    store.error = PromptTampered("changed")
    await prompts.refresh()
    await prompts.refresh()
    assert prompts.current(*SLOT).version == ONE
    assert gauge(prompts, "assay_prompt_tampered") == 1
    assert len([record for record in caplog.records if "not refreshed" in record.message]) == 1
    store.error = None
    await prompts.refresh()
    assert gauge(prompts, "assay_prompt_tampered") == 0


@pytest.mark.parametrize(
    "found",
    [
        prompt_version(4, company=Variable(type="string", max_chars=10)),
        prompt_version(4, question=Variable(type="integer", max_chars=10)),
    ],
)
async def test_a_version_that_wants_more_than_serving_has_is_not_served(
    store: FakePromptStore, database: Database, found: Any
) -> None:
    """A required variable nobody supplies would fail every question, proven or not: the version before it stays."""
    prompts = active(store, database)
    await prompts.start()
    prove(database, found, at_ms=2_000)
    store.versions[SLOT] = found
    assert await prompts.refresh() is True
    assert prompts.current(*SLOT).version == ONE


async def test_an_unusable_template_is_not_served(store: FakePromptStore, database: Database) -> None:
    """A version that cannot be read is as good as none, and is not asked for again each second."""
    prompts = active(store, database)
    await prompts.start()
    store.error = InvalidTemplate("tag is not JSON")
    assert await prompts.refresh() is True
    assert prompts.current(*SLOT).version == ONE


async def test_a_signal_makes_every_process_look(store: FakePromptStore, database: Database) -> None:
    """When the signal grows the new version is fetched; while it rests MLflow is left alone."""

    def promote() -> None:
        store.versions[SLOT] = TWO
        bump_signal(database, PROMPTS_SIGNAL)

    looks = iter(range(4))

    def between() -> None:
        if next(looks) == 1:
            promote()

    prompts = active(store, database, rounds(4, between))
    with suppress(Stop):
        await prompts.follow_signal()
    assert prompts.current(*SLOT).version == TWO
    assert store.fetches == 2


async def test_a_signal_while_mlflow_is_down_is_not_lost(store: FakePromptStore, database: Database) -> None:
    """A fetch that failed is tried again at the next look."""
    store.error = MlflowUnavailable("down")

    def recover() -> None:
        store.error = None

    prompts = active(store, database, rounds(2, recover))
    with suppress(Stop):
        await prompts.follow_signal()
    assert prompts.current(*SLOT).version == ONE


async def test_a_lost_push_is_found_by_the_poll(store: FakePromptStore, database: Database) -> None:
    """The lease holder notices a moved alias by itself and tells the others."""

    def move() -> None:
        store.versions[SLOT] = TWO

    prompts = active(store, database, rounds(3, move))
    with suppress(Stop):
        await prompts.poll()
    assert prompts.current(*SLOT).version == TWO
    assert read_signal(database, PROMPTS_SIGNAL) == 2  # once on taking the lease, once for the move


async def test_only_the_lease_holder_polls(store: FakePromptStore, database: Database) -> None:
    """While another process holds the lease, MLflow is not asked by this one."""
    assert take_lease(database, LEASE, "b", 60)
    prompts = active(store, database, rounds(2))
    with suppress(Stop):
        await prompts.poll()
    assert store.fetches == 0


class BlinkingDatabase(Database):
    """A registry that is away while `away` is set."""

    def __init__(self, database: Database) -> None:
        super().__init__(database._engine)
        self._database = database
        self.away = True

    def _require(self) -> Database:
        if self.away:
            raise DatabaseUnavailable("away")
        return self._database

    def read(self) -> Any:
        """As `Database.read`."""
        return self._require().read()

    def write(self) -> Any:
        """As `Database.write`."""
        return self._require().write()


@pytest.mark.parametrize("loop", ["follow_signal", "poll"])
async def test_a_registry_that_blinks_costs_a_second(
    store: FakePromptStore, database: Database, caplog: pytest.LogCaptureFixture, loop: str
) -> None:
    """While the registry is away both loops go on trying; each outage has one warning, and then all is as before."""
    blinking = BlinkingDatabase(database)
    looks = iter(range(9))

    def between() -> None:
        blinking.away = next(looks) in {0, 1, 4, 5}

    prompts = active(store, blinking, rounds(8, between))
    with suppress(Stop):
        await getattr(prompts, loop)()
    assert prompts.current(*SLOT).version == ONE
    assert len([record for record in caplog.records if "registry" in record.message]) == 2


async def test_a_request_keeps_its_version_through_a_swap(filled: Any) -> None:
    """A promotion in the middle of a request does not touch it; the next one uses the new version."""
    quote = filled.provider.answer

    async def promote_meanwhile(request: Any) -> Any:
        await filled.prove(TWO)
        return await quote(request)

    filled.provider.answer = promote_meanwhile
    first, second = (await filled.ask()).json(), (await filled.ask()).json()
    outcome = filled.audit()[1]["body"]["prompt"]
    assert (first["prompt"]["version"], second["prompt"]["version"]) == (1, 2)
    assert outcome["content_hash"] == ONE.content_hash
