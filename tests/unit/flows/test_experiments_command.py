"""`assay experiments`: what it prints, for people and for machines, and how it ends."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.experiment_stage import ExperimentStage
from fakes.fake_clock import FakeClock
from fakes.fake_mlflow import FakeMlflow
from fakes.fake_serving import write_policy
from sqlalchemy import update
from typer.testing import CliRunner

from flows.cli import experiment_actions, prompt_actions
from flows.cli import experiment_options as options
from flows.cli.main import app
from registry.database import Database, open_database
from registry.errors import Conflict, InvalidInput, NotFound
from registry.prompts.experiment_design import Guardrail, Step
from registry.prompts.experiment_lifecycle import ExperimentRunning
from registry.prompts.experiments import ExperimentNotFound, running_experiments
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promotion_records import ServingModel, tell_serving_models, valid_promotions
from registry.prompts.revocation import NoPromotion
from registry.schema import experiments
from registry.tenants import Tenants

WORDING = """
name: insights
use_case: insights
owner: platform
template: "{how} {{{{passages}}}} {{{{question}}}}"
variables: {{question: {{max_chars: 100}}, passages: {{type: passages, max_chars: 1000}}}}
"""


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> FakeMlflow:
    """Three versions in a fake MLflow, of which the first is promoted."""
    fake = FakeMlflow()
    monkeypatch.setattr(prompt_actions, "MlflowRest", lambda url, **_: MlflowRest(url, client=fake.client()))
    write_policy(tmp_path / "policies")
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path / "policies"))
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "unused")
    database = open_database(database_url)
    tell_serving_models(database, [ServingModel(provider="extractive", model="extractive-1")])
    database.close()
    for how in ("Answer.", "Answer briefly.", "Answer at length."):
        file = tmp_path / "insights.yaml"
        file.write_text(WORDING.format(how=how))
        run("prompts", "push", file)
    run("prompts", "promote", "insights", 1)
    return fake


def run(*arguments: object, code: int = 0) -> str:
    """Run a command, check its exit code, and give its standard output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def run_json(*arguments: object, code: int = 0) -> Any:
    """The one JSON document of a command."""
    return json.loads(run(*arguments, "--json", code=code))


def test_an_experiment_from_start_to_stop(versions: FakeMlflow, database: Database) -> None:
    """Start tells the arms, status what they show, stop who ended it; production is never touched."""
    before = valid_promotions(database, "insights", "production", 2**53)
    Tenants(database).create("north", "North")
    started = run_json("experiments", "start", "insights", 2, 3, "--weights", "2,1,1", "--exclude", "north")
    arms = [(arm["name"], arm["version"], arm["weight"]) for arm in started["design"]["arms"]]
    assert arms == [("control", 1, 2), ("v2", 2, 1), ("v3", 3, 1)]
    (seen,) = run_json("experiments", "status", "insights")
    assert (seen["id"], seen["status"], seen["excluded"]) == (started["id"], "running", ["north"])
    assert [arm["units"] for arm in seen["arms"]] == [0, 0, 0]
    stopped = run_json("experiments", "stop", started["id"], "--reason", "a mistake")
    assert (stopped["status"], stopped["decision"]["reason"]) == ("ended", "a mistake")
    assert valid_promotions(database, "insights", "production", 2**53) == before
    assert running_experiments(database) == ()
    with pytest.raises(Conflict, match="ended already"):
        run("experiments", "stop", started["id"], "--reason", "again")


def test_people_read_sentences_and_tables(versions: FakeMlflow) -> None:
    """Without --json."""
    assert "control = insights/1, v2 = insights/2" in run("experiments", "start", "insights", 2)
    assert "a unit is a subject or session" in run("experiments", "status").lower().replace("\n", " ")
    assert "no experiments yet" not in run("experiments", "status", "insights")


def test_without_experiments_status_says_so(versions: FakeMlflow) -> None:
    """An empty list for machines, a hint for people."""
    assert run_json("experiments", "status") == []
    assert "assay experiments start" in run("experiments", "status")


def test_a_second_experiment_is_refused(versions: FakeMlflow) -> None:
    """One at a time for each prompt."""
    run("experiments", "start", "insights", 2)
    with pytest.raises(ExperimentRunning, match="stop it first"):
        run("experiments", "start", "insights", 3)


def test_an_arm_without_evidence_is_refused(versions: FakeMlflow, tmp_path: Path) -> None:
    """Exit 1, with what is missing and how to get it."""
    policy = tmp_path / "policies" / "insights.yaml"
    policy.write_text(f"{policy.read_text()}  - kind: evaluation\n")
    refused = run_json("experiments", "start", "insights", 2, code=1)
    assert refused["started"] is False
    assert any("assay evaluate run" in sentence for sentence in refused["missing"])


def test_the_control_is_what_serves(versions: FakeMlflow) -> None:
    """An alias moved in MLflow's database back to a version that may serve is followed, here as in serving."""
    run("prompts", "promote", "insights", 2)
    versions.point("insights", "production", 1)
    started = run_json("experiments", "start", "insights", 3)
    assert [arm["version"] for arm in started["design"]["arms"]] == [1, 3]
    versions.point("insights", "production", 2)
    (seen,) = run_json("experiments", "status", "insights")
    assert seen["finding"]["outcome"] == "production-moved"


def test_without_a_production_version_there_is_no_control(versions: FakeMlflow) -> None:
    """Nothing to compare with: promote first."""
    run("prompts", "revoke", "insights", 1, "--reason", "test")
    with pytest.raises(NoPromotion, match="promote a version"):
        run("experiments", "start", "insights", 2)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ((1,), "same content"),
        ((2, "--weights", "1"), "1 weights for 2 arms"),
        ((2, "--weights", "1,x"), "numbers parted by commas"),
        ((2, "--weights", "1,-1"), "greater than 0"),
        ((2, "--metric", "luck"), "no metric 'luck'"),
        ((2, "--guardrail", "cost:x"), "METRIC:TOLERANCE"),
        ((2, "--guardrail", "accepted"), "stands twice"),
        ((2, "--ramp", "soon"), "HOURS:SHARE"),
        ((2, "--ramp", "0:1", "--ramp", "5:0.1"), "never shrink"),
        ((2, "--alpha", "0.9"), "less than or equal to 0.2"),
        ((2, "--exclude", "No Such"), "cannot be a tenant"),
        ((2, 3, 2, 3), "5 arms"),
    ],
)
def test_what_cannot_be_designed_is_said_plainly(versions: FakeMlflow, more: tuple[object, ...], reason: str) -> None:
    """Usage errors name what was typed."""
    with pytest.raises(InvalidInput, match=reason):
        run("experiments", "start", "insights", *more)


def test_a_tenant_to_leave_out_has_to_be_there(versions: FakeMlflow, database: Database) -> None:
    """With a slip of the pen the one that was meant would take part, so nothing starts."""
    with pytest.raises(NotFound, match="nobody"):
        run("experiments", "start", "insights", 2, "--exclude", "nobody")
    assert running_experiments(database) == ()


def test_an_experiment_that_cannot_be_read_is_shown_and_stopped(versions: FakeMlflow, database: Database) -> None:
    """By prompt, by id and among all, with what is wrong; stopped once, without a look at it."""
    started = run_json("experiments", "start", "insights", 2)
    with database.write() as connection:
        connection.execute(update(experiments).values(design="{}"))
    for name in ((), ("insights",), (started["id"],)):
        (seen,) = run_json("experiments", "status", *name)
        assert (seen["id"], seen["status"], seen["ended"]) == (started["id"], "unreadable", False)
        assert "design.arms" in seen["trouble"]
    assert f"`assay experiments stop {started['id']} --reason WHY`" in run("experiments", "status").replace("\n", " ")
    with pytest.raises(ExperimentRunning):
        run("experiments", "start", "insights", 3)
    stopped = run_json("experiments", "stop", started["id"], "--reason", "edited by hand")
    assert (stopped["status"], stopped["decision"]["reason"]) == ("ended", "edited by hand")
    assert valid_promotions(database, "insights", f"experiment:{started['id']}", 0) == ()
    with pytest.raises(Conflict, match="ended already"):
        run("experiments", "stop", started["id"], "--reason", "again")
    assert "it has ended" in run("experiments", "status").replace("\n", " ")
    run("experiments", "start", "insights", 3)


def test_numbers_that_cannot_be_looked_at_keep_nothing_going(
    versions: FakeMlflow, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends, and the decision record says that nothing could be measured."""

    def broken(*_: Any) -> None:
        raise ArithmeticError

    started = run_json("experiments", "start", "insights", 2)
    monkeypatch.setattr(experiment_actions, "assess", broken)
    stopped = run_json("experiments", "stop", started["id"], "--reason", "a mistake")
    assert stopped["decision"]["trouble"] == "nothing could be measured: ArithmeticError"
    assert running_experiments(database) == ()


def test_an_unknown_experiment_is_not_found(versions: FakeMlflow) -> None:
    """By name, by id, to look at and to stop."""
    for arguments in (("status", "nothing"), ("stop", "exp_0", "--reason", "x")):
        with pytest.raises(ExperimentNotFound):
            run("experiments", *arguments)


def test_a_plan_rests_on_the_last_weeks(versions: FakeMlflow, database: Database) -> None:
    """Mean, spread and units a day come from the record; more units a day take fewer days."""
    stage = ExperimentStage(database, FakeClock(time.time() - 7_000))
    calls = [{"arm": None, "unit": f"u{place}", "said": (4, place % 10 < 7)} for place in range(560)]
    stage.meet(calls)
    made = run_json("experiments", "plan", "insights", "--days", 60)
    assert (made["mean"], made["units_per_day"]) == (pytest.approx(0.7), pytest.approx(20))
    assert 1_000 < made["units_planned"] < 1_600
    assert made["days"] == pytest.approx(2 * made["units_planned"] / 20, rel=0.01)
    faster = run_json("experiments", "plan", "insights", "--units-per-day", 2_000)
    assert faster["days"] < 2
    assert faster["mde"] < made["mde"]
    assert "Start with --planned" in run("experiments", "plan", "insights")


def test_a_plan_without_a_past_wants_numbers(versions: FakeMlflow) -> None:
    """A share can be told; the spread of a cost cannot be guessed."""
    with pytest.raises(InvalidInput, match="say --units-per-day"):
        run("experiments", "plan", "insights")
    told = run_json("experiments", "plan", "insights", "--units-per-day", 500, "--mean", 0.8)
    assert told["spread"] == pytest.approx(0.4)
    with pytest.raises(InvalidInput, match="to know cost"):
        run("experiments", "plan", "insights", "--metric", "cost", "--units-per-day", 500)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        run("experiments", "plan", "insights", "--units-per-day", 500, "--mean", 3)


@pytest.mark.parametrize(
    ("effect", "mean", "words"),
    [
        (5, 0.6, "0.05 means five points"),
        (1, 0.6, "0.05 means five points"),
        (0.5, 0.6, "0.5 more is over 1"),
        (0, None, "--effect is a number above 0"),
        ("nan", None, "--effect is a number above 0"),
        (-0.1, None, "--effect is a number above 0"),
    ],
)
def test_an_effect_that_no_share_can_have_is_refused(
    versions: FakeMlflow, effect: object, mean: float | None, words: str
) -> None:
    """Points are parts of 1; and what is wrong with the effect is said before anything is looked up."""
    told = () if mean is None else ("--mean", mean, "--units-per-day", 400)
    with pytest.raises(InvalidInput, match=words):
        run("experiments", "plan", "insights", "--effect", effect, *told)


def test_a_plan_counts_days_as_people_do(versions: FakeMlflow) -> None:
    """One day is no days."""
    told = ("--mean", 0.5, "--units-per-day", 1_000_000)
    assert ", 1 day;" in run("experiments", "plan", "insights", *told)


def test_options_become_parts_of_a_design() -> None:
    """Guardrails with tolerances, a ramp by hours; unless told, everything else is watched."""
    assert options.guardrails(["cost:0.1", "grounded"], "accepted") == (
        Guardrail(metric="cost", tolerance=0.1),
        Guardrail(metric="grounded"),
    )
    assert "cost" not in {each.metric for each in options.guardrails(None, "cost")}
    assert options.ramp(["0:0.1", "24:1"]) == (Step(share=0.1), Step(after_h=24, share=1))
