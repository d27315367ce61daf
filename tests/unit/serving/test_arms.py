"""Arms of an experiment, over the real object graph: sticky, in proportion, and never without their records."""

from collections import Counter
from typing import Any

import pytest
from fakes.experiment_stage import MODEL, POLICY, design_of
from fakes.fake_serving import prompt_version, prove
from sqlalchemy import select, update

from registry.alarms import CLOSED, OPENED, open_alarms
from registry.audit.log import LogUnavailable
from registry.database import DatabaseUnavailable
from registry.insights import Question
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.experiments import Experiment, unreadable_experiments
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import valid_promotions
from registry.prompts.revocation import revoke_promotions
from registry.schema import experiments, insights, promotions
from serving import arms
from serving.experiment_alarms import UNREADABLE
from serving.metrics import EXPERIMENT_LIVE

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")
SUBJECTS = [f"person-{number}" for number in range(24)]


def begin(api: Any, **more: Any) -> Experiment:
    """Start an experiment of version 2 against version 1."""
    api.prompts.numbered = {1: ONE, 2: TWO}
    promoter = Promoter(api.services.database, note=api.services.log.note_now)
    return Experiments(api.services.database, api.services.log.note_now).start(
        POLICY, design_of(ONE, TWO, **more), [ONE, TWO], promoter=promoter, models=[MODEL], by="ada"
    )


@pytest.fixture
async def running(filled: Any) -> Any:
    """An API in which an experiment runs with equal arms."""
    filled.experiment = begin(filled)
    assert await filled.services.arms.refresh()
    return filled


async def arms_of(api: Any, subjects: list[str], **body: Any) -> dict[str, str | None]:
    """Which arm each subject gets."""
    found: dict[str, str | None] = {}
    for subject in subjects:
        found[subject] = (await api.ask(subject=subject, **body)).json()["prompt"]["arm"]
    return found


async def test_an_arm_answers_and_says_so(running: Any) -> None:
    """The insight names version, arm and experiment, the record and the audit log keep them, with the unit's hash."""
    given = await arms_of(running, SUBJECTS)
    subject = next(name for name, arm in given.items() if arm == "v2")
    answer = (await running.ask(subject=subject)).json()
    assert answer["prompt"] == {
        "name": "insights",
        "version": 2,
        "alias": f"experiment:{running.experiment.id}",
        "arm": "v2",
        "experiment": running.experiment.id,
    }
    with running.services.database.read() as connection:
        row = connection.execute(select(insights).where(insights.c.id == answer["id"])).one()
    assert (row.experiment, row.arm, row.prompt_version) == (running.experiment.id, "v2", 2)
    assert len(row.unit) == 64
    assert subject not in row.unit
    intent, outcome = running.audit()[-2:]
    assert row.unit == intent["body"]["subject"]
    assert outcome["body"]["prompt"]["arm"] == "v2"
    assert "Answer briefly." in running.provider.requests[-1].messages[0].content


async def test_a_subject_keeps_its_arm(running: Any) -> None:
    """However often it asks, and whatever session it asks in."""
    first = await arms_of(running, SUBJECTS)
    assert await arms_of(running, SUBJECTS, session="another") == first
    assert set(first.values()) == {"control", "v2"}


async def test_a_session_is_a_unit_where_no_subject_is_told(running: Any) -> None:
    """And who tells neither is in no experiment."""
    by_session = [(await running.ask(session=f"s{number}")).json()["prompt"]["arm"] for number in range(12)]
    assert set(by_session) == {"control", "v2"}
    alone = (await running.ask()).json()["prompt"]
    assert (alone["arm"], alone["experiment"], alone["version"], alone["alias"]) == (None, None, 1, "production")


async def test_the_unit_is_kept_without_an_experiment(filled: Any) -> None:
    """What a subject met before an experiment can be known in it."""
    answer = (await filled.ask(subject="ada")).json()
    with filled.services.database.read() as connection:
        row = connection.execute(select(insights).where(insights.c.id == answer["id"])).one()
    assert (row.experiment, row.arm) == (None, None)
    assert row.unit == filled.services.calls._subject_hash("north", "ada")
    assert row.latency_ms >= 0


async def test_excluded_tenants_and_units_beyond_the_ramp_get_production(filled: Any) -> None:
    """They count for no arm."""
    begin(filled, excluded=("north",))
    await filled.services.arms.refresh()
    assert set((await arms_of(filled, SUBJECTS)).values()) == {None}


async def test_a_ramp_takes_its_share_and_moves_nobody(filled: Any) -> None:
    """Who takes part at a tenth has the same arm when everybody does."""
    many = [f"person-{number}" for number in range(60)]
    begin(filled, ramp=({"share": 0.2}, {"after_h": 1, "share": 1}))
    served = filled.services.arms
    await served.refresh()
    early = await arms_of(filled, many)
    served._clock = lambda start=served._clock: start() + 3_700
    later = await arms_of(filled, many)
    taking_part = {name: arm for name, arm in early.items() if arm}
    assert 3 <= len(taking_part) <= 24
    assert {name: later[name] for name in taking_part} == taking_part
    assert None not in later.values()


async def test_weights_share_units_out(filled: Any) -> None:
    """With nine to one the control has most."""
    begin(filled, weights=(9, 1))
    await filled.services.arms.refresh()
    counts = Counter((await arms_of(filled, [f"person-{number}" for number in range(60)])).values())
    assert counts["control"] > 3 * counts["v2"]


async def test_an_ended_experiment_gives_everybody_production(running: Any) -> None:
    """From the next look on."""
    store = Experiments(running.services.database, running.services.log.note_now)
    store.end(running.experiment, {"outcome": "stopped"}, "ada")
    await running.services.arms.refresh()
    assert set((await arms_of(running, SUBJECTS[:4])).values()) == {None}


async def test_a_revoked_arm_takes_all_arms_along(running: Any) -> None:
    """With one arm missing the others have nothing to be compared with."""
    database = running.services.database
    record = next(
        r for r in valid_promotions(database, "insights", running.experiment.alias, 0) if r.prompt_version == 2
    )
    revoke_promotions(database, [record.id], 1)
    await running.services.arms.refresh()
    assert set((await arms_of(running, SUBJECTS)).values()) == {None}


async def test_a_promotion_wins_over_the_experiment_at_once(running: Any) -> None:
    """Whoever promotes another version wants everybody to have it, also the units of the control."""
    three = prompt_version(3, "Answer well.")
    prove(running.services.database, three, at_ms=9_000)
    running.prompts.versions["insights", "production"] = three
    await running.services.prompts.refresh()
    answer = (await running.ask(subject="person-1")).json()
    assert (answer["prompt"]["version"], answer["prompt"]["arm"]) == (3, None)


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


async def test_only_models_that_all_arms_were_proven_with_answer(running: Any) -> None:
    """A version is compared with a version, not a model with a model."""
    await running.ask(subject="ada")
    assert running.provider.requests[-1].models == frozenset({(MODEL.provider, MODEL.model)})


async def test_an_evaluation_meets_no_arm(running: Any) -> None:
    """A pinned version answers, whoever asks."""
    services = running.services
    caller = await services.access.principal(running.keys["app"])
    question = Question(question="What is the return rate?", subject="person-1")
    insight = await services.insights.answer(question, caller, billed_to="evaluation", prompt=ONE)
    assert (insight.prompt.arm, insight.prompt.experiment) == (None, None)


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


async def test_the_loop_finds_a_new_experiment(filled: Any) -> None:
    """The signal of its start is enough."""
    begin(filled)

    async def stop(_seconds: float) -> None:
        raise InterruptedError

    filled.services.arms._sleep = stop
    with pytest.raises(InterruptedError):
        await filled.services.arms.follow()
    assert (await filled.ask(subject="ada")).json()["prompt"]["arm"] is not None


async def look_once(api: Any) -> None:
    """One round of the loop, which may fail."""

    async def stop(_seconds: float) -> None:
        raise InterruptedError

    api.services.arms._sleep = stop
    with pytest.raises(InterruptedError):
        await api.services.arms.follow()


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


def live_arms(api: Any) -> list[str]:
    """What /metrics says about experiments."""
    return [line for line in api.services.metrics.render().decode().split("\n") if line.startswith(EXPERIMENT_LIVE)]


async def test_metrics_name_the_arms_while_they_serve(running: Any) -> None:
    """One line an arm, and none once it is over."""
    experiment = running.experiment.id
    lines = [f'{EXPERIMENT_LIVE}{{arm="{arm}",experiment="{experiment}"}} 1.0' for arm in ("control", "v2")]
    assert live_arms(running) == lines
    Experiments(running.services.database, running.services.log.note_now).end(
        running.experiment, {"outcome": "stopped"}, "ada"
    )
    await running.services.arms.refresh()
    assert live_arms(running) == []


async def test_a_loop_that_dies_leaves_no_arm(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches any more may be revoked: everybody gets production."""

    def broken(*_: Any) -> None:
        raise InterruptedError

    monkeypatch.setattr(arms, "unended_experiments", broken)
    await look_once(running)
    assert live_arms(running) == []
    assert set((await arms_of(running, SUBJECTS[:4])).values()) == {None}
