"""What the record of experiments promises, on SQLite and on PostgreSQL alike."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes.experiment_stage import MODEL, POLICY, ExperimentStage, design_of
from fakes.fake_clock import FakeClock
from fakes.fake_serving import prompt_version
from sqlalchemy import text

from registry.audit.log import LogUnavailable
from registry.database import Database
from registry.errors import InvalidInput, JsonValue, Refused
from registry.prompts.experiment_lifecycle import ExperimentRunning, note_run
from registry.prompts.experiments import (
    ExperimentNotFound,
    find_experiment,
    list_experiments,
    running_experiments,
    unreadable_experiments,
)
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import PromotionRefused
from registry.prompts.promotion_records import ServingModel, valid_promotion, valid_promotions
from registry.signals import read_signal

pytestmark = pytest.mark.contract

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")
DAY_S = 86_400
EDITS = [
    ("design = 'x'", "design: "),
    ("design = '{}'", "design.arms: Field required"),
    ("decision = '[1'", "decision: not JSON"),
    ("created_by = 'x', decision = '7'", "decision: "),
    ("status = 'paused'", "status: "),
    ("design = replace(design, 'control', 'No Name')", "design.arms.0.name"),
]
"""What somebody might make of a row, and what is told then."""


@pytest.fixture
def stage(registry: Database, clock: FakeClock) -> ExperimentStage:
    """A registry in which version 1 is promoted."""
    stage = ExperimentStage(registry, clock)
    stage.promote(ONE)
    return stage


class TestLifecycle:
    """registry.prompts.experiment_lifecycle."""

    def test_a_started_experiment_has_a_record_for_every_arm(self, stage: ExperimentStage) -> None:
        """Each arm's content may serve in the experiment's place, and there alone."""
        experiment = stage.start(ONE, TWO)
        now_ms = int(stage.clock.now * 1000)
        found = [
            valid_promotion(stage.database, "insights", experiment.alias, v.content_hash, now_ms) for v in (ONE, TWO)
        ]
        assert all(found)
        assert valid_promotion(stage.database, "insights", "production", TWO.content_hash, now_ms) is None
        assert running_experiments(stage.database, "insights") == (experiment,)
        assert find_experiment(stage.database, experiment.id) == experiment

    def test_starting_and_ending_are_audited_and_signalled(self, stage: ExperimentStage) -> None:
        """Both leave an entry with who did it, and every worker looks again."""
        before = read_signal(stage.database, PROMPTS_SIGNAL)
        experiment = stage.start(ONE, TWO)
        started = read_signal(stage.database, PROMPTS_SIGNAL)
        stage.experiments.end(experiment, {"outcome": "stopped", "arm": None}, "bob")
        noted = [(kind, body["by"]) for kind, body in stage.notes if kind.startswith("experiment.")]
        assert noted == [("experiment.started", "ada"), ("experiment.ended", "bob")]
        assert before < started < read_signal(stage.database, PROMPTS_SIGNAL)

    def test_an_ended_experiment_leaves_no_record_and_production_as_it_was(self, stage: ExperimentStage) -> None:
        """No arm may serve any more, and what production was let through with is untouched."""
        production = valid_promotions(stage.database, "insights", "production", int(stage.clock.now * 1000))
        experiment = stage.start(ONE, TWO)
        stage.clock.now += 60
        ended = stage.experiments.end(experiment, {"outcome": "better", "arm": "v2"}, "watch-experiments")
        now_ms = int(stage.clock.now * 1000)
        assert ended is not None
        assert find_experiment(stage.database, experiment.id) == ended
        assert valid_promotions(stage.database, "insights", experiment.alias, now_ms) == ()
        assert valid_promotions(stage.database, "insights", "production", now_ms) == production

    def test_it_ends_once(self, stage: ExperimentStage) -> None:
        """Of two who end it at once one does, and his decision stands."""
        experiment = stage.start(ONE, TWO)
        with ThreadPoolExecutor(4) as pool:
            by = [f"person-{number}" for number in range(4)]
            ended = list(pool.map(lambda who: stage.experiments.end(experiment, {"outcome": who}, who), by))
        won = [each for each in ended if each is not None]
        assert len(won) == 1
        assert find_experiment(stage.database, experiment.id).decision == won[0].decision

    def test_a_prompt_has_one_running_experiment(self, stage: ExperimentStage) -> None:
        """A second one is refused, also when two are started at the same moment; after the end another may run."""
        with ThreadPoolExecutor(4) as pool:
            started = [pool.submit(stage.start, ONE, TWO) for _ in range(4)]
        errors = [each.exception() for each in started]
        (experiment,) = running_experiments(stage.database)
        assert sum(error is None for error in errors) == 1
        assert {type(error) for error in errors if error} == {ExperimentRunning}
        places = {row[0] for row in _rows(stage.database, "SELECT alias FROM promotions WHERE revoked_ms IS NULL")}
        assert places == {"production", experiment.alias}
        stage.experiments.end(experiment, {"outcome": "stopped"}, "ada")
        again = stage.start(ONE, TWO)
        assert list_experiments(stage.database, "insights")[0].id in {again.id, experiment.id}

    def test_an_arm_without_evidence_starts_nothing(self, stage: ExperimentStage) -> None:
        """The policy refuses the arm, and the records of the arms before it are taken back."""
        bad = prompt_version(3, "Answer {{nothing}}.")
        with pytest.raises(PromotionRefused, match="insights"):
            stage.start(ONE, bad)
        places = {row[0] for row in _rows(stage.database, "SELECT alias FROM promotions WHERE revoked_ms IS NULL")}
        assert places == {"production"}
        assert list_experiments(stage.database) == ()

    def test_without_its_audit_entry_nothing_starts_or_ends(self, stage: ExperimentStage) -> None:
        """The log is away: no experiment starts, and one that runs goes on."""
        experiment = stage.start(ONE, TWO)

        def away(_kind: str, _body: Mapping[str, JsonValue]) -> None:
            raise LogUnavailable("no room")

        stage.experiments._note = away
        with pytest.raises(LogUnavailable):
            stage.experiments.end(experiment, {"outcome": "stopped"}, "ada")
        assert running_experiments(stage.database) == (experiment,)
        now_ms = int(stage.clock.now * 1000)
        assert len(valid_promotions(stage.database, "insights", experiment.alias, now_ms)) == 2

    def test_a_run_is_kept_with_the_decision(self, stage: ExperimentStage) -> None:
        """The decision record names its MLflow run."""
        experiment = stage.start(ONE, TWO)
        ended = stage.experiments.end(experiment, {"outcome": "better", "arm": "v2"}, "ada")
        assert ended is not None
        note_run(stage.database, ended, {"id": "r1", "url": "http://mlflow/r1"})
        kept = find_experiment(stage.database, experiment.id).decision
        assert kept == {"outcome": "better", "arm": "v2", "run": {"id": "r1", "url": "http://mlflow/r1"}}

    @pytest.mark.parametrize(("change", "trouble"), EDITS)
    def test_an_edited_row_is_no_experiment(self, stage: ExperimentStage, change: str, trouble: str) -> None:
        """It serves no arm, the others go on without it, and it is told what is wrong with it."""
        experiment = stage.start(ONE, TWO)
        edit(stage.database, change)
        assert running_experiments(stage.database) == ()
        (row,) = unreadable_experiments(stage.database)
        assert (row.id, row.prompt_name, row.is_over) == (experiment.id, "insights", False)
        assert trouble in row.trouble
        assert unreadable_experiments(stage.database, "insights") == unreadable_experiments(stage.database, row.id)

    @pytest.mark.parametrize(("change", "trouble"), EDITS)
    def test_an_edited_row_can_be_ended(self, stage: ExperimentStage, change: str, trouble: str) -> None:
        """Once, with its arms' records, in the audit log; after that the prompt may have another experiment."""
        stage.start(ONE, TWO)
        edit(stage.database, change)
        (row,) = unreadable_experiments(stage.database)
        decision = {"outcome": "stopped", "arm": None, "trouble": trouble}
        assert stage.experiments.end_unreadable(row, decision, "bob")
        assert not stage.experiments.end_unreadable(row, decision, "bob")
        assert stage.notes[-1][0] == "experiment.ended"
        assert valid_promotions(stage.database, "insights", row.alias, 0) == ()
        assert all(each.is_over for each in unreadable_experiments(stage.database))
        assert stage.start(ONE, TWO).status == "running"

    def test_an_unreadable_row_in_another_name_is_none_of_this_one(self, stage: ExperimentStage) -> None:
        """Rows are asked for by prompt or id, whatever is asked."""
        stage.start(ONE, TWO)
        edit(stage.database, "design = ''")
        assert [unreadable_experiments(stage.database, name) for name in ("other", "exp\0", "")] == [(), (), ()]

    @pytest.mark.parametrize("name", ["exp_none", "exp\0", ""])
    def test_an_unknown_experiment_is_not_found(self, stage: ExperimentStage, name: str) -> None:
        """Whatever the id looks like."""
        with pytest.raises(ExperimentNotFound):
            find_experiment(stage.database, name)


def test_arms_need_a_model_in_common(stage: ExperimentStage) -> None:
    """Versions that were proven with different models would compare the models."""
    other = ServingModel(provider="other", model="other")
    real = stage.promoter.admit_arm

    def admit(policy: Any, version: Any, models: Any, *more: Any) -> Any:
        return real(policy, version, [MODEL] if version == ONE else [other], *more)

    stage.promoter.admit_arm = admit  # type: ignore[method-assign] - stands in for evidence of different models
    with pytest.raises(Refused, match="no model has the evidence for every arm"):
        stage.start(ONE, TWO)
    assert running_experiments(stage.database) == ()


def test_the_arms_are_those_of_the_design(stage: ExperimentStage) -> None:
    """A design about other content is refused."""
    with pytest.raises(InvalidInput, match="not these versions"):
        stage.experiments.start(
            POLICY, design_of(ONE, TWO), [ONE, prompt_version(3, "x")], promoter=stage.promoter, models=[MODEL], by="a"
        )


def edit(database: Database, change: str) -> None:
    """Change every experiment past the product."""
    with database.write() as connection:
        connection.execute(text(f"UPDATE experiments SET {change}"))  # noqa: S608 - this test's own


def _rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]
