"""However an alias moved: only what a valid promotion record names serves."""

import pytest
from fakes.fake_clock import FakeClock
from fakes.fake_serving import FakePromptStore, prompt_version, prove, withdraw

from registry.alarms import Alarm, open_alarms
from registry.database import Database, DatabaseUnavailable
from registry.prompts.mlflow_rest import MlflowRejected, MlflowUnavailable
from registry.prompts.promoted import PromptTampered
from registry.prompts.schema import InvalidTemplate, Variable
from registry.prompts.versions import PromotedVersion, PromptNotFound
from serving.active_prompt import ActivePrompts
from serving.metrics import Metrics
from serving.prompt_alarms import PromptAlarms

SLOT = ("insights", "production")
FIRST, SECOND, THIRD = (prompt_version(number, f"Answer {number}.") for number in (1, 2, 3))


class Lock:
    """The prompts of one process, MLflow as it sees it, and the alarms of the poll's holder."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.database = database
        self.clock = clock
        self.store = FakePromptStore(numbered={1: FIRST, 2: SECOND, 3: THIRD})
        self.metrics = Metrics()
        self.noted: list[str] = []
        self.prompts = self.process()

    def process(self) -> ActivePrompts:
        """A process that has seen nothing yet."""
        alarms = PromptAlarms(self.database, [SLOT], lambda kind, body: self.noted.append(kind), self.clock)
        return ActivePrompts(self.store, self.database, [SLOT], self.metrics, alarms, holder="a", clock=self.clock)

    async def point_at(self, version: PromotedVersion | None) -> int:
        """Move the alias by hand, or take it away; the version that serves then."""
        self.store.versions = {} if version is None else {SLOT: version}
        return await self.look()

    async def look(self) -> int:
        """Refresh as the poll does; the version that serves then."""
        await self.prompts.refresh()
        self.prompts._alarms.settle(self.prompts._findings())
        return self.serving

    @property
    def serving(self) -> int:
        """The version that serves."""
        return self.prompts.current(*SLOT).version.version

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What is open."""
        return open_alarms(self.database)

    def gauge(self, name: str) -> float | None:
        """A metric of the prompt."""
        return self.metrics.registry.get_sample_value(name, {"prompt": "insights", "alias": "production"})


@pytest.fixture
def clock() -> FakeClock:
    """Minutes after the records of `prove`."""
    return FakeClock(1_000.0)


@pytest.fixture
def lock(database: Database, clock: FakeClock) -> Lock:
    """Version 1 promoted."""
    prove(database, FIRST)
    return Lock(database, clock)


async def test_an_alias_moved_by_hand_changes_nothing(lock: Lock) -> None:
    """The promoted version goes on; an alarm, a metric and the state say why, until the alias is back."""
    assert await lock.point_at(FIRST) == 1
    assert lock.alarms == ()
    assert await lock.point_at(SECOND) == 1
    assert [(alarm.kind, alarm.subject, alarm.severity) for alarm in lock.alarms] == [
        ("prompt-unproven", "insights@production", "page")
    ]
    assert lock.alarms[0].details == {
        "reason": "unproven",
        "version": 2,
        "content_hash": SECOND.content_hash,
        "serving": 1,
    }
    assert lock.gauge("assay_prompt_unproven") == 1
    assert (lock.prompts.states()[SLOT].freshness, lock.prompts.states()[SLOT].trouble) == ("stale", "unproven")
    assert await lock.point_at(FIRST) == 1
    assert (lock.alarms, lock.gauge("assay_prompt_unproven")) == ((), 0)
    assert lock.noted == ["alarm.opened", "alarm.closed"]


async def test_evidence_found_later_is_enough(lock: Lock) -> None:
    """When the version that the alias points at gets its record, it serves and the alarm closes."""
    await lock.point_at(SECOND)
    prove(lock.database, SECOND, at_ms=2_000)
    assert await lock.look() == 2
    assert lock.alarms == ()


async def test_a_first_version_without_a_record_serves_nobody(database: Database, clock: FakeClock) -> None:
    """Nothing was ever promoted: there is nothing to fall back on, and the alarm says so."""
    lock = Lock(database, clock)
    with pytest.raises(PromptNotFound, match="may serve"):
        await lock.point_at(FIRST)
    assert lock.alarms[0].details["serving"] is None


async def test_an_alias_that_was_taken_away_changes_nothing(lock: Lock) -> None:
    """Deleting the alias outside the gate withdraws nothing: the newest promotion serves, and an alarm says so."""
    await lock.point_at(FIRST)
    assert await lock.point_at(None) == 1
    assert lock.alarms[0].details["reason"] == "no-alias"


async def test_processes_agree(lock: Lock) -> None:
    """Whatever each process served before, all fall back on what was last let through."""
    await lock.point_at(FIRST)
    prove(lock.database, SECOND, at_ms=2_000)
    late, lock.prompts = lock.prompts, lock.process()
    await lock.point_at(SECOND)
    assert await lock.point_at(THIRD) == 2
    await late.refresh()
    assert late.current(*SLOT).version.version == 2


async def test_a_rollback_needs_only_a_record(lock: Lock) -> None:
    """An older version whose record is valid serves where the alias points at it."""
    prove(lock.database, SECOND, at_ms=2_000)
    assert [await lock.point_at(version) for version in (SECOND, FIRST, SECOND)] == [2, 1, 2]
    assert lock.alarms == ()


async def test_a_revoked_version_stops(lock: Lock) -> None:
    """Without its record the version goes, and the one before it serves."""
    prove(lock.database, SECOND, at_ms=2_000)
    await lock.point_at(SECOND)
    withdraw(lock.database, SECOND)
    prove(lock.database, FIRST, at_ms=500)
    assert await lock.look() == 1


async def test_a_record_of_another_place_does_not_count(lock: Lock) -> None:
    """What was let through under another alias, or as an experiment's arm, is not let through here."""
    elsewhere = PromotedVersion(
        name="insights", version=2, alias="experiment:e1", template=SECOND.template, content_hash=SECOND.content_hash
    )
    prove(lock.database, elsewhere, at_ms=2_000)
    assert await lock.point_at(SECOND) == 1


async def test_the_same_content_under_another_number_serves(lock: Lock) -> None:
    """A record is about a content: the same wording pushed again needs no new one."""
    again = PromotedVersion(
        name="insights", version=7, alias="production", template=FIRST.template, content_hash=FIRST.content_hash
    )
    assert await lock.point_at(again) == 7
    assert lock.alarms == ()


async def test_a_waiver_ends_to_the_second(lock: Lock) -> None:
    """When it ends no call gets the version any more, also with MLflow and the registry away; then the alarm opens."""
    prove(lock.database, SECOND, at_ms=2_000, expires_ms=1_060_000)
    assert await lock.point_at(SECOND) == 2
    lock.clock.now = 1_059.999
    assert lock.serving == 2
    lock.clock.now = 1_060.0
    assert (lock.serving, lock.prompts.current(*SLOT).promotion) == (1, "1000-1")
    assert lock.alarms == ()
    assert await lock.look() == 1
    assert lock.alarms[0].details["version"] == 2


async def test_a_waiver_ends_with_mlflow_away(lock: Lock) -> None:
    """What follows comes from memory or disk; nobody has to be asked."""
    prove(lock.database, SECOND, at_ms=2_000, expires_ms=1_060_000)
    await lock.point_at(FIRST)
    await lock.point_at(SECOND)
    lock.store.error = MlflowUnavailable("down")
    lock.clock.now = 2_000.0
    assert await lock.look() == 1
    restarted = lock.process()
    await restarted.start()
    assert restarted.current(*SLOT).version.version == 1


async def test_a_waiver_alone_leaves_nothing(database: Database, clock: FakeClock) -> None:
    """When the only record ends nothing serves."""
    lock = Lock(database, clock)
    prove(database, FIRST, expires_ms=1_060_000)
    assert await lock.point_at(FIRST) == 1
    clock.now = 1_060.0
    with pytest.raises(PromptNotFound):
        assert lock.serving


async def test_models_are_those_of_the_record(lock: Lock) -> None:
    """A call carries who was proven with its version, and the record that lets it serve."""
    prove(lock.database, FIRST, at_ms=2_000, models=[("openai", "gpt"), ("extractive", "e1")])
    await lock.point_at(FIRST)
    served = lock.prompts.current(*SLOT)
    assert (served.models, served.promotion) == (frozenset({("openai", "gpt"), ("extractive", "e1")}), "2000-1")


async def test_a_rewritten_version_serves_as_it_was_promoted(lock: Lock) -> None:
    """A new process serves the promoted wording from disk while MLflow holds another one under the number."""
    await lock.point_at(FIRST)
    lock.store.error = PromptTampered("changed")
    lock.prompts = lock.process()
    assert await lock.look() == 1
    assert lock.alarms[0].details["reason"] == "tampered"


async def test_an_unreadable_version_is_an_alarm_and_an_ailing_mlflow_is_none(lock: Lock) -> None:
    """Tags that hold no template are told; a request that MLflow rejects says nothing about the alias."""
    await lock.point_at(FIRST)
    lock.store.error = MlflowRejected("odd")
    assert (await lock.look(), lock.alarms, await lock.prompts.refresh()) == (1, (), False)
    lock.store.error = InvalidTemplate("tag is not JSON")
    assert await lock.look() == 1
    assert lock.alarms[0].details["reason"] == "unreadable"


async def test_what_cannot_be_had_is_passed_over(lock: Lock) -> None:
    """When MLflow lost the version that was last let through, the one before it serves."""
    prove(lock.database, SECOND, at_ms=2_000)
    del lock.store.numbered[2]
    assert await lock.point_at(THIRD) == 1


async def test_what_serving_cannot_fill_in_is_passed_over(lock: Lock) -> None:
    """Also where a record lets it serve: a variable that nobody supplies would reach the model as a gap."""
    wants = {"question": Variable(max_chars=4_000), "region": Variable(max_chars=40)}
    unfilled = lock.store.numbered[4] = prompt_version(4, "Answer for a region.", **wants)
    prove(lock.database, unfilled, at_ms=2_000)
    assert await lock.point_at(None) == 1


async def test_mlflow_away_closes_no_alarm(lock: Lock) -> None:
    """Whether the alias is back is unknown then."""
    await lock.point_at(SECOND)
    lock.store.error = MlflowUnavailable("down")
    await lock.look()
    assert (len(lock.alarms), lock.gauge("assay_prompt_unproven")) == (1, 1)


async def test_without_the_registry_nothing_changes(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias that moves while nobody can read records moves nothing."""
    prove(lock.database, SECOND, at_ms=2_000)
    await lock.point_at(FIRST)

    def away() -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(lock.database, "read", away)
    lock.store.versions = {SLOT: SECOND}
    assert await lock.prompts.refresh() is False
    assert (lock.serving, lock.prompts.states()[SLOT].trouble) == (1, "database-unavailable")
    monkeypatch.undo()
    assert await lock.look() == 2


async def test_an_alarm_of_another_holder_is_closed(lock: Lock) -> None:
    """Who takes over the lease finds the alarms as they are, also one about a prompt that serves no more."""
    await lock.point_at(SECOND)
    elsewhere = PromptAlarms(lock.database, [("old", "production")], lambda kind, body: None, lock.clock)
    elsewhere.settle({("old", "production"): {"reason": "unproven"}})
    assert {alarm.subject for alarm in lock.alarms} == {"old@production"}
    lock.prompts = lock.process()
    await lock.point_at(FIRST)
    assert lock.alarms == ()
