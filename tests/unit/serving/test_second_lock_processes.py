"""The second lock over several processes: one that starts, one that watches for all."""

import pytest
from fakes.fake_clock import FakeClock
from fakes.fake_serving import FakePromptStore, prompt_version, prove, withdraw

from registry.alarms import open_alarms
from registry.database import Database
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import Promotion
from registry.prompts.versions import PromotedVersion
from registry.signals import bump_signal, read_signal
from serving.active_prompt import ActivePrompts, PromptUnavailable
from serving.metrics import Metrics
from serving.prompt_alarms import PromptAlarms
from serving.second_lock import MLFLOW_ASKS_MAX

SLOT = ("insights", "production")
ONE, TWO, THREE = (prompt_version(number, f"Answer {number}.") for number in (1, 2, 3))


class Stop(Exception):
    """Raised by a fake sleep after one round of a loop."""


class Store(FakePromptStore):
    """Remembers which numbers it was asked for."""

    asked: list[int]

    async def of_record(self, record: Promotion) -> PromotedVersion:
        """As `FakePromptStore.of_record`."""
        self.asked.append(record.prompt_version)
        return await super().of_record(record)


class Process:
    """One serving process, and what it wrote into its audit log."""

    def __init__(self, store: Store, database: Database, holder: str) -> None:
        self.notes: list[str] = []
        clock = FakeClock(10.0)
        alarms = PromptAlarms(database, [SLOT], lambda kind, _body: self.notes.append(kind), clock)
        self.prompts = ActivePrompts(
            store, database, [SLOT], Metrics(), alarms, holder=holder, clock=clock, sleep=self._stop
        )

    async def poll(self) -> None:
        """One round."""
        with pytest.raises(Stop):
            await self.prompts.poll()

    @property
    def serving(self) -> int:
        """The version that a call would get."""
        return self.prompts.current(*SLOT).version.version

    async def _stop(self, _seconds: float) -> None:
        raise Stop


@pytest.fixture
def store(database: Database) -> Store:
    """MLflow with version 1 promoted, which alone has a record."""
    prove(database, ONE)
    made = Store({SLOT: ONE}, numbered={each.version: each for each in (ONE, TWO, THREE)})
    made.asked = []
    return made


async def test_a_new_process_fetches_what_was_last_let_through(store: Store, database: Database) -> None:
    """With the alias at an unproven version the newest record's text comes by its number, and is kept."""
    prove(database, TWO, at_ms=2_000)
    store.versions[SLOT] = THREE
    process = Process(store, database, "a")
    await process.prompts.start()
    assert (process.serving, store.asked, list(store.disk)) == (2, [2], [TWO.content_hash])


async def test_a_file_without_a_record_serves_nobody(store: Store, database: Database) -> None:
    """A revoked version is not served from disk, with MLflow away."""
    await Process(store, database, "a").prompts.start()
    withdraw(database, ONE)
    store.error = MlflowUnavailable("down")
    later = Process(store, database, "b")
    await later.prompts.start()
    assert list(store.disk) == [ONE.content_hash]
    with pytest.raises(PromptUnavailable):
        assert later.serving


async def test_few_versions_are_asked_for(store: Store, database: Database) -> None:
    """However many records name versions that MLflow lost, one look asks for few of them, the newest first."""
    prove(database, *(prompt_version(number, f"Answer {number}.") for number in range(10, 20)), at_ms=2_000)
    store.versions.clear()
    await Process(store, database, "a").prompts.refresh()
    assert store.asked == [19, 18, 17][:MLFLOW_ASKS_MAX]


async def test_a_record_ended_in_the_database_is_noticed(store: Store, database: Database) -> None:
    """Nobody raised a signal: the poll sees it, and tells the other processes."""
    process = Process(store, database, "a")
    prove(database, TWO, at_ms=2_000)
    store.versions[SLOT] = TWO
    await process.poll()
    told = read_signal(database, PROMPTS_SIGNAL)
    withdraw(database, TWO)
    prove(database, THREE, at_ms=4_000)
    await process.poll()
    assert (process.serving, read_signal(database, PROMPTS_SIGNAL)) == (3, told + 1)


async def test_one_process_keeps_the_alarms(store: Store, database: Database) -> None:
    """Only who holds the lease opens them; the others follow the lock and say nothing."""
    store.versions[SLOT] = TWO
    first, second = Process(store, database, "a"), Process(store, database, "b")
    for process in (first, second, first):
        await process.poll()
    assert (first.notes, second.notes, len(open_alarms(database))) == (["alarm.opened"], [], 1)


async def test_an_alarm_tells_what_is_wrong_now(store: Store, database: Database) -> None:
    """An alias that moves on to another unproven version closes the alarm and opens it anew; once for each."""
    process = Process(store, database, "a")
    for version in (TWO, THREE):
        store.versions[SLOT] = version
        bump_signal(database, PROMPTS_SIGNAL)
        for _ in range(2):
            await process.poll()
    (alarm,) = open_alarms(database)
    assert alarm.details["version"] == 3
    assert process.notes == ["alarm.opened", "alarm.closed", "alarm.opened"]
