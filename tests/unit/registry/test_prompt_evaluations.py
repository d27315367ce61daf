"""Which evaluations a decision hears: on how many questions, which data, at which margin, and after which FAIL."""

from typing import Any

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import EXTRACTIVE, POLICY, PromotionStage, version, version_number
from pydantic import ValidationError
from sqlalchemy import update

from registry.database import Database
from registry.prompts.evaluations import newest_evaluation
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promotion import case_of
from registry.prompts.verdicts import waiting
from registry.schema import evidence

SHA = "a" * 64


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> PromotionStage:
    """A promoter over a content that ada wrote."""
    made = PromotionStage(database, clock)
    made.wrote(version(), "ada")
    return made


def policy(**evaluation: Any) -> Policy:
    """A policy that asks for lint and an evaluation."""
    asked = {"kind": "evaluation", **evaluation}
    return POLICY.model_copy(update={"requires": (Requirement(kind="lint"), Requirement.model_validate(asked))})


def missing(stage: PromotionStage, number: int | None = None, **evaluation: Any) -> str:
    """What stands in the way of the version now."""
    about = version() if number is None else version_number(number)
    return "; ".join(stage.promoter.decide(policy(**evaluation), about, [EXTRACTIVE]).missing)


def measured(stage: PromotionStage, verdict: str = "PASS", dataset: str = "sample", **details: Any) -> None:
    """Store an evaluation of the version on some data."""
    stage.evaluated(version(), verdict=verdict, dataset=dataset, details={"dataset_sha256": SHA, **details})


@pytest.mark.parametrize(
    ("details", "said"), [({"questions": 49}, "scored 49 questions"), ({}, "nobody knows how many")]
)
def test_too_few_questions_do_not_count(stage: PromotionStage, details: dict[str, Any], said: str) -> None:
    """A handful of easy questions is no evidence where the policy says how many it takes; nor is an unknown number."""
    measured(stage, **details)
    assert said in missing(stage, questions_min=50)
    assert missing(stage) == ""
    measured(stage, questions=50)
    assert missing(stage, questions_min=50) == ""


def test_a_stated_hash_takes_only_these_rows(stage: PromotionStage) -> None:
    """Another version of the dataset is another dataset, and the remedy names the right one."""
    measured(stage)
    assert missing(stage, dataset="sample", dataset_sha256=SHA) == ""
    assert f"--dataset sample@{'b' * 12}`" in missing(stage, dataset="sample", dataset_sha256="b" * 64)
    with pytest.raises(ValidationError, match="needs `dataset`"):
        Requirement(kind="evaluation", dataset_sha256=SHA)


def test_no_other_dataset_overrules_a_fail(stage: PromotionStage) -> None:
    """A pass on home-made questions leaves that FAIL, unless the policy names the dataset that counts."""
    measured(stage, "FAIL", reasons=["too bad"])
    measured(stage, dataset="mine", dataset_sha256="b" * 64)
    assert "on dataset 'sample' says FAIL (too bad)" in missing(stage)
    assert missing(stage, dataset="mine") == ""


def test_too_few_cases_to_tell_hide_no_fail(stage: PromotionStage) -> None:
    """UNDERPOWERED on the dataset that failed is no ruling: the FAIL before it is still the newest."""
    measured(stage, "FAIL")
    measured(stage, "UNDERPOWERED")
    measured(stage, dataset="mine", dataset_sha256="b" * 64)
    assert "on dataset 'sample' says FAIL" in missing(stage)


@pytest.mark.parametrize("against", [None, "c" * 64])
def test_measuring_again_does_not_undo_a_fail(stage: PromotionStage, against: str | None) -> None:
    """Also for a first version: the same rows and opponent asked until they pass show luck."""
    measured(stage, "FAIL", evaluation="one", against_content=against)
    measured(stage, evaluation="two", against_content=against)
    assert (
        "have somebody who did not write it read it and then run `assay prompts approve insights 1 --reason WHY`"
        in missing(stage)
    )


def test_a_resumed_run_may_pass(stage: PromotionStage) -> None:
    """The same evaluation, gone on with where questions were left, is one measurement."""
    measured(stage, "FAIL", evaluation="one", questions=80)
    measured(stage, evaluation="one", questions=85)
    assert missing(stage) == ""


@pytest.mark.parametrize(
    "change", [{"questions": 85}, {"dataset_sha256": "b" * 64}, {"against_content": "c" * 64}, {"questions": None}]
)
def test_what_was_asked_anew_was_not_resumed(stage: PromotionStage, change: dict[str, Any]) -> None:
    """Under the same id, too: with nothing left to ask, or other rows, or another opponent, it is a new measurement."""
    measured(stage, "FAIL", evaluation="one", questions=85)
    details: dict[str, Any] = {"evaluation": "one", "questions": 86} | change
    measured(stage, **details)
    assert "says FAIL" in missing(stage)


def test_other_rows_under_the_same_name_undo_no_fail(stage: PromotionStage) -> None:
    """Whoever measures may change the rows: correcting them takes somebody else's word, or the policy's hash."""
    measured(stage, "FAIL", evaluation="one")
    measured(stage, evaluation="two", dataset_sha256="b" * 64)
    assert "an earlier evaluation with extractive extractive-1 on dataset 'sample' says FAIL" in missing(stage)
    assert missing(stage, dataset="sample", dataset_sha256="b" * 64) == ""
    stage.approves(version(), "bob")
    assert missing(stage) == ""


def test_no_other_opponent_undoes_a_fail(stage: PromotionStage) -> None:
    """Who lost against one version does not go back to a weaker one, which needs nothing more, and win against that."""
    first, second = version_number(2), version_number(3)
    stage.evaluated(first, dataset="sample")
    stage.promoter.let_through(policy(), first, [EXTRACTIVE], "ada")
    stage.evaluated(second, dataset="sample", against=first)
    stage.promoter.let_through(policy(), second, [EXTRACTIVE], "ada")
    stage.evaluated(version(), verdict="FAIL", dataset="sample", against=second)
    stage.promoter.let_through(policy(), first, [EXTRACTIVE], "ada")
    stage.evaluated(version(), dataset="sample", against=first)
    assert "an earlier evaluation with extractive extractive-1 on dataset 'sample' says FAIL" in missing(stage)
    stage.approves(version(), "bob")
    assert missing(stage) == ""


@pytest.mark.parametrize("against", [None, "c" * 64, "d" * 64])
def test_a_first_version_cannot_choose_its_opponent(stage: PromotionStage, against: str | None) -> None:
    """While nothing is in production, a FAIL stands whatever weak version the next run is compared with."""
    measured(stage, "FAIL", against_content=against)
    measured(stage, against_content="e" * 64)
    assert "says FAIL" in missing(stage)


def test_a_fail_stands_for_its_own_dataset(stage: PromotionStage) -> None:
    """What was resumed to a PASS on one dataset is no FAIL on another that was measured since."""
    measured(stage, "FAIL", evaluation="one", questions=80)
    measured(stage, evaluation="one", questions=85)
    measured(stage, dataset="mine", dataset_sha256="b" * 64)
    assert missing(stage) == ""


@pytest.mark.parametrize("asked", [{}, {"dataset": "sample"}, {"dataset": "sample", "dataset_sha256": SHA}])
def test_one_tenant_s_rows_are_not_the_dataset(stage: PromotionStage, asked: dict[str, Any]) -> None:
    """Whoever measures may not leave the hard rows out; a look at some takes nothing from an evaluation of all."""
    measured(stage, questions=60, tenant="easy")
    said = missing(stage, questions_min=50, **asked)
    assert "no evaluation with extractive extractive-1 of all rows: the newest asked for tenant 'easy' alone" in said
    assert "run `assay evaluate run --prompt insights/1 --provider extractive" in said
    measured(stage, questions=160)
    measured(stage, "UNDERPOWERED", questions=20, tenant="easy")
    assert missing(stage, questions_min=50, **asked) == ""


def test_a_part_that_failed_stands(stage: PromotionStage) -> None:
    """A FAIL for one tenant is one, unless the policy names the rows that count."""
    measured(stage, "FAIL", tenant="hard", evaluation="one", questions=40)
    assert "says FAIL" in missing(stage)
    measured(stage, evaluation="one", questions=160)
    assert "an earlier evaluation" in missing(stage)
    assert missing(stage, dataset="sample", dataset_sha256=SHA) == ""
    stage.approves(version(), "bob")
    assert missing(stage) == ""


def test_a_fail_of_the_same_moment_stands(stage: PromotionStage) -> None:
    """Two machines may store their evidence within one tick of the clock; the FAIL is heard whichever comes first."""
    measured(stage, "FAIL")
    measured(stage)
    with stage.database.write() as connection:
        connection.execute(update(evidence).values(created_ms=1))
    assert "says FAIL" in missing(stage)


def test_somebody_else_s_later_approval_lifts_a_fail(stage: PromotionStage) -> None:
    """An approval before the FAIL, of the author, or taken back since lifts nothing."""
    stage.approves(version(), "bob")
    measured(stage, "FAIL", evaluation="one")
    measured(stage, evaluation="two")
    stage.approves(version(), "ada")
    assert "says FAIL" in missing(stage)
    stage.approves(version(), "bob")
    assert missing(stage) == ""
    stage.approves(version(), "bob", rejects=True)
    assert "says FAIL" in missing(stage)


def test_two_lift_the_fail_of_what_nobody_knows_the_author_of(stage: PromotionStage) -> None:
    """One of them may have written it."""
    stage.wrote(version(), None)
    measured(stage, "FAIL", evaluation="one")
    measured(stage, evaluation="two")
    stage.approves(version(), "bob")
    assert "have two people read it" in missing(stage)
    stage.approves(version(), "cid")
    assert missing(stage) == ""


def test_a_larger_margin_than_the_policy_s_does_not_count(stage: PromotionStage) -> None:
    """Who measured while a policy was lax measures anew once it is not."""
    measured(stage, margin=0.15)
    assert "measured with margin 0.15, the policy now asks for 0.05; evaluate anew" in missing(stage, margin=0.05)
    assert missing(stage, margin=0.15) == ""


@pytest.mark.parametrize(
    "change", [{"questions_min": 86}, {"margin": 0.1}, {"dataset": "sample", "dataset_sha256": "b" * 64}]
)
def test_what_does_not_count_is_measured_anew(stage: PromotionStage, change: dict[str, Any]) -> None:
    """The evaluation of candidates does by itself what the sentence asks for."""
    measured(stage, questions=85, margin=0.15)
    case = case_of(stage.database, policy(margin=0.15), version(), stage.clock())
    assert waiting(policy(margin=0.15), (EXTRACTIVE,), case) == ()
    (left,) = waiting(policy(**change), (EXTRACTIVE,), case)
    assert left.dataset == Requirement(kind="evaluation", **change).data


def test_the_newest_on_the_named_dataset_is_looked_at(stage: PromotionStage) -> None:
    """Evaluations on other data come and go."""
    measured(stage)
    measured(stage, "FAIL", dataset="mine")
    case = case_of(stage.database, policy(), version(), stage.clock())
    found = newest_evaluation(Requirement(kind="evaluation", dataset="sample"), case, EXTRACTIVE)
    assert found is not None
    assert found.dataset == "sample"
