"""Arms of an experiment, over the real object graph: sticky, in proportion, and never without their records."""

from collections import Counter
from typing import Any

import pytest
from fakes.experiment_stage import MODEL
from fakes.fake_serving import prompt_version, prove
from fakes.live_experiment import ONE, SUBJECTS, arms_of, begin, live_arms
from sqlalchemy import select

from registry.insights import Question
from registry.prompts.experiment_lifecycle import Experiments
from registry.prompts.promotion_records import valid_promotions
from registry.prompts.revocation import revoke_promotions
from registry.schema import insights
from serving.metrics import EXPERIMENT_LIVE


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


async def test_the_loop_finds_a_new_experiment(filled: Any) -> None:
    """The signal of its start is enough."""
    begin(filled)

    async def stop(_seconds: float) -> None:
        raise InterruptedError

    filled.services.arms._sleep = stop
    with pytest.raises(InterruptedError):
        await filled.services.arms.follow()
    assert (await filled.ask(subject="ada")).json()["prompt"]["arm"] is not None


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
