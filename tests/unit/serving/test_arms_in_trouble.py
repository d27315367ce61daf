"""Arms of an experiment when texts, records, rows, the registry or the loop fail: production, and somebody is told."""

from typing import Any

import pytest
from fakes.fake_serving import prompt_version
from fakes.live_experiment import SUBJECTS, arms_of, begin, live_arms, look_once
from sqlalchemy import update

from registry.alarms import CLOSED, OPENED, open_alarms
from registry.audit.log import LogUnavailable
from registry.database import DatabaseUnavailable
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import unreadable_experiments
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.schema import experiments, promotions
from serving import arms
from serving.experiment_alarms import UNREADABLE


async def test_an_arm_whose_text_cannot_be_had_waits(filled: Any) -> None:
    """With MLflow away and nothing on disk everybody gets production, and the next look tries again."""
    begin(filled)
    filled.prompts.error = MlflowUnavailable("away")
    assert await filled.services.arms.refresh() is False
    assert (await filled.ask(subject="ada")).json()["prompt"]["arm"] is None
    filled.prompts.error = None
    assert await filled.services.arms.refresh() is True
    assert (await filled.ask(subject="ada")).json()["prompt"]["arm"] is not None


async def test_arms_outlive_mlflow(running: Any) -> None:
    """What this process has serves on while MLflow is away."""
    running.prompts.error = MlflowUnavailable("away")
    assert await running.services.arms.refresh() is True
    assert (await running.ask(subject="ada")).json()["prompt"]["arm"] is not None


async def test_a_rewritten_arm_serves_nowhere(filled: Any) -> None:
    """A text that is not what the record names is refused, and nobody tries again and again."""
    begin(filled)
    filled.prompts.numbered[2] = prompt_version(2, "Do as I say.")
    await filled.services.arms.refresh()
    given = await arms_of(filled, SUBJECTS)
    assert set(given.values()) == {None}


async def test_the_registry_away_leaves_arms_as_they_are(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on, and what is live serves on."""

    def away(*_: Any) -> None:
        raise DatabaseUnavailable("away")

    turns = 0

    async def stop_after_two(_seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise InterruptedError

    monkeypatch.setattr(arms, "read_signal", away)
    running.services.arms._sleep = stop_after_two
    with pytest.raises(InterruptedError):
        await running.services.arms.follow()
    assert (await running.ask(subject="ada")).json()["prompt"]["arm"] is not None


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (experiments, "design", "{}"),
        (experiments, "design", "[" * 10_000),
        (promotions, "models", "[1]"),
        (promotions, "evidence", "{"),
    ],
)
async def test_an_arm_whose_row_cannot_be_read_serves_nobody(running: Any, table: Any, column: str, value: str) -> None:
    """The loop goes on and everybody gets production."""
    here = {experiments: experiments.c.id == running.experiment.id}
    chosen = here.get(table, promotions.c.alias == running.experiment.alias)
    with running.services.database.write() as connection:
        connection.execute(update(table).where(chosen).values({column: value}))
    await look_once(running)
    assert set((await arms_of(running, SUBJECTS[:4])).values()) == {None}


async def test_an_experiment_that_cannot_be_read_opens_an_alarm_until_it_is_ended(running: Any) -> None:
    """Once, in the registry and in the audit log; production answers all the while."""
    database, log = running.services.database, running.services.log
    with database.write() as connection:
        connection.execute(update(experiments).values(design="{}"))
    for _ in range(2):
        await running.services.arms.refresh()
    (alarm,) = open_alarms(database, UNREADABLE)
    assert (alarm.subject, alarm.severity, alarm.details["prompt"]) == (running.experiment.id, "ticket", "insights")
    assert (await running.ask(subject="ada")).json()["prompt"]["alias"] == "production"
    (row,) = unreadable_experiments(database)
    Experiments(database, log.note_now).end_unreadable(row, {"outcome": "stopped"}, "ada")
    await running.services.arms.refresh()
    assert open_alarms(database, UNREADABLE) == ()
    assert [entry["kind"] for entry in running.audit(OPENED, CLOSED)] == [OPENED, CLOSED]


async def test_an_alarm_that_cannot_be_noted_is_opened_later(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on without its audit entry, and the next look tries again."""
    with running.services.database.write() as connection:
        connection.execute(update(experiments).values(design="{}"))

    def away(*_: Any) -> None:
        raise LogUnavailable("no room")

    with monkeypatch.context() as patch:
        patch.setattr(running.services.arms._alarms, "_note", away)
        await look_once(running)
    assert open_alarms(running.services.database, UNREADABLE) == ()
    await look_once(running)
    assert len(open_alarms(running.services.database, UNREADABLE)) == 1


async def test_a_loop_that_dies_leaves_no_arm(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches any more may be revoked: everybody gets production."""

    def broken(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr(arms, "unended_experiments", broken)
    await look_once(running)
    assert live_arms(running) == []
    assert set((await arms_of(running, SUBJECTS[:4])).values()) == {None}
