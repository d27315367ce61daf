"""A record is written on evidence, on a waiver, or on an earlier record, and on nothing else."""

import json
from typing import Any

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import CLAUDE, EXTRACTIVE, POLICY, PromotionStage, version, version_number

from registry.database import Database, DatabaseUnavailable
from registry.errors import InvalidInput
from registry.prompts.decision import NOBODY_SERVES
from registry.prompts.evidence import evidence_for
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.promotion import PromotionRefused, record_lint
from registry.prompts.promotion_records import valid_promotion, was_promoted
from registry.prompts.revocation import NoPromotion, revoke
from registry.prompts.schema import ModelParameters
from registry.prompts.versions import PromotedVersion
from registry.signals import read_signal

HOUR_S = 3_600


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> PromotionStage:
    """A promoter with nothing shown yet."""
    return PromotionStage(database, clock)


def kinds(stage: PromotionStage) -> list[str]:
    """What was audited, in order."""
    return [kind for kind, _ in stage.notes]


def test_a_version_with_its_evidence_gets_its_record(stage: PromotionStage) -> None:
    """The record names content, place, models and evidence, and an audit note says the same."""
    evaluation = stage.evaluated(version())
    promotion = stage.let_through(version())
    (linted,) = evidence_for(stage.database, "insights", version().content_hash, "lint")
    (record,) = stage.records()
    assert record == {
        "id": promotion.id,
        "prompt_name": "insights",
        "prompt_version": 1,
        "content_hash": version().content_hash,
        "use_case": "insights",
        "alias": "production",
        "models": '[["extractive", "extractive-1"]]',
        "basis": "evidence",
        "promoted_by": "ada",
        "evidence": json.dumps([linted.id, evaluation.id]),
        "created_ms": int(stage.clock() * 1000),
        "expires_ms": None,
        "revoked_ms": None,
    }
    ((kind, body),) = stage.notes
    assert kind == "prompt.promotion"
    assert (body["policy"], body["by"], body["promotion"]) == ("evaluation + lint", "ada", promotion.id)
    assert (body["basis"], body["alias"]) == ("evidence", "production")


def test_a_prompt_that_was_ever_promoted_is_known(stage: PromotionStage) -> None:
    """`assay up` promotes a prompt that never served, and no other."""
    assert not was_promoted(stage.database, version().name)
    stage.evaluated(version())
    stage.let_through(version())
    assert was_promoted(stage.database, version().name)
    assert not was_promoted(stage.database, "another")


def test_without_evidence_there_is_no_record(stage: PromotionStage) -> None:
    """A refusal names what is missing and the command that makes it, writes no record, and is audited."""
    with pytest.raises(PromotionRefused) as caught:
        stage.let_through(version(number=7))
    assert "assay evaluate run --prompt insights/7" in caught.value.message
    assert "evaluation + lint" in caught.value.message
    assert len(caught.value.details["missing"]) == 1  # pyright: ignore[reportArgumentType] - a list, by the line above
    assert stage.records() == []
    assert kinds(stage) == ["prompt.promotion-refused"]


def test_a_lint_error_refuses(stage: PromotionStage) -> None:
    """Lint is run at promotion, so that a version pushed by other means does not slip through."""
    broken = version("{{passages}} {{question}} {{nobody}}")
    stage.evaluated(broken)
    with pytest.raises(PromotionRefused, match="undeclared-variable"):
        stage.let_through(broken)


def test_a_record_holds_for_the_models_with_evidence(stage: PromotionStage) -> None:
    """Evidence of the extractive provider never covers a language model, which gets its place with its own."""
    stage.evaluated(version())
    assert stage.let_through(version(), CLAUDE, EXTRACTIVE).models == (EXTRACTIVE,)
    stage.evaluated(version(), CLAUDE)
    assert stage.let_through(version(), CLAUDE, EXTRACTIVE).models == (CLAUDE, EXTRACTIVE)


def test_a_chain_that_nobody_told_refuses(stage: PromotionStage) -> None:
    """Without a chain nobody could answer with the version; the sentence says how to make one known."""
    stage.evaluated(version())
    with pytest.raises(PromotionRefused) as caught:
        stage.promoter.let_through(POLICY, version(), [], "ada")
    assert caught.value.details["missing"] == [NOBODY_SERVES]


@pytest.mark.parametrize(
    "other",
    [
        version("{{passages}} {{question}}."),
        version(model=ModelParameters(max_output_tokens=301)),
        version(output_schema={"type": "object", "properties": {"answer": {}}}),
    ],
    ids=["wording", "parameters", "schema"],
)
def test_evidence_is_bound_to_its_content(stage: PromotionStage, other: PromotedVersion) -> None:
    """Evidence for another wording, parameter or schema does not count."""
    stage.evaluated(other)
    with pytest.raises(PromotionRefused):
        stage.let_through(version())


def test_an_equal_version_shares_evidence(stage: PromotionStage) -> None:
    """The same content pushed again needs no second evaluation."""
    stage.evaluated(version(number=1))
    assert stage.let_through(version(number=3)).prompt_version == 3


def test_a_rewritten_version_is_refused(stage: PromotionStage) -> None:
    """A version whose text changed since it was first seen is refused, evidence or not."""
    stage.promoter.decide(POLICY, version(), [EXTRACTIVE])
    rewritten = version("{{passages}} {{question}}!")
    stage.evaluated(rewritten)
    with pytest.raises(PromptTampered):
        stage.let_through(rewritten)


def test_another_use_case_is_refused(stage: PromotionStage) -> None:
    """A policy decides about its own prompt only."""
    for about in (version(use_case="reports"), version(name="other")):
        with pytest.raises(InvalidInput):
            stage.let_through(about)


def test_nothing_is_written_twice(stage: PromotionStage) -> None:
    """The gate finds the record that the command line has just written, and lets the move pass without a second."""
    stage.evaluated(version())
    first = stage.let_through(version(), CLAUDE, EXTRACTIVE)
    assert stage.let_through(version(), EXTRACTIVE, CLAUDE) == first
    assert kinds(stage) == ["prompt.promotion"]


def test_new_evidence_makes_a_new_record(stage: PromotionStage) -> None:
    """The newest record names what it rests on now."""
    stage.evaluated(version())
    first = stage.let_through(version())
    stage.evaluated(version())
    second = stage.let_through(version())
    assert (second.id != first.id, second.evidence != first.evidence) == (True, True)


def test_a_later_version_is_compared_with_the_one_that_serves(stage: PromotionStage) -> None:
    """Evidence against floors, or against an easier version, is not enough once another content was let through."""
    one, two, weak = version_number(1), version_number(2), version_number(9)
    stage.evaluated(one)
    stage.let_through(one)
    for against in (None, weak):
        stage.evaluated(two, against=against)
        with pytest.raises(PromotionRefused, match="did not compare with insights/1"):
            stage.let_through(two)
    stage.evaluated(two, against=one)
    assert stage.let_through(two).basis == "evidence"


def test_a_rollback_needs_its_record_only(stage: PromotionStage) -> None:
    """What was let through once goes back though its evidence has aged; models and evidence come from its record."""
    one, two = version_number(1), version_number(2)
    stage.evaluated(one)
    first = stage.let_through(one)
    stage.evaluated(two, against=one)
    stage.let_through(two)
    stage.clock.now += 40 * 24 * HOUR_S
    again = stage.let_through(one, CLAUDE)
    assert (again.basis, again.models, again.evidence) == ("record", first.models, first.evidence)
    assert stage.let_through(one, CLAUDE) == again
    assert [record["prompt_version"] for record in stage.records()] == [1, 2, 1]


def test_the_newest_record_is_newest_within_one_tick(stage: PromotionStage) -> None:
    """Also when the clock stands still, or another machine's ran ahead, the last one let through comes first."""
    one, two = version_number(1), version_number(2)
    stage.evaluated(one)
    stage.clock.now += 60
    stage.let_through(one)
    stage.clock.now -= 60
    stage.evaluated(two, against=one)
    records = [stage.let_through(about) for about in (two, one, two)]
    times = [record.created_ms for record in records]
    assert times == sorted(set(times))


def test_an_arm_has_a_place_of_its_own(stage: PromotionStage) -> None:
    """An arm is let through like production, and its record never counts for production."""
    stage.evaluated(version())
    record = stage.promoter.admit_arm(POLICY, version(), [EXTRACTIVE], "e1", "ada")
    assert record.alias == "experiment:e1"
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1
    now_ms = int(stage.clock() * 1000)
    assert valid_promotion(stage.database, "insights", "production", version().content_hash, now_ms) is None


def test_an_arm_rests_on_no_earlier_record(stage: PromotionStage) -> None:
    """What production once served is no arm without evidence that holds today."""
    stage.evaluated(version())
    stage.let_through(version())
    stage.promoter.admit_arm(POLICY, version(), [EXTRACTIVE], "e1", "ada")
    stage.clock.now += 40 * 24 * HOUR_S
    with pytest.raises(PromotionRefused):
        stage.promoter.admit_arm(POLICY, version(), [EXTRACTIVE], "e1", "ada")


def test_a_record_is_taken_back_by_its_writer_only(stage: PromotionStage) -> None:
    """A move that failed ends the record made for it, and never one that was there before."""
    stage.evaluated(version())
    record = stage.let_through(version())
    PromotionStage(stage.database, stage.clock).promoter.take_back(record)
    assert stage.revoked() == [False]
    stage.promoter.take_back(record)
    stage.promoter.take_back(record)
    assert stage.revoked() == [True]
    assert kinds(stage) == ["prompt.promotion", "prompt.promotion-failed"]


def test_a_record_that_could_not_be_stored_is_noted(stage: PromotionStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log said before that the version was let through; it must not be the last word."""

    def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    stage.evaluated(version())
    monkeypatch.setattr("registry.prompts.promotion.write_promotion", away)
    with pytest.raises(DatabaseUnavailable):
        stage.let_through(version())
    assert kinds(stage) == ["prompt.promotion", "prompt.promotion-failed"]


def test_a_revocation_ends_every_record_of_the_content(stage: PromotionStage) -> None:
    """In every place and under every number of the same content; the workers are told, and a rollback finds nothing."""
    one, same, two = version_number(1), version("Case 1. {{passages}} {{question}}", 5), version_number(2)
    for about, against in ((one, None), (two, one)):
        stage.evaluated(about, against=against)
        stage.let_through(about)
    stage.let_through(same)
    stage.promoter.admit_arm(POLICY, one, [EXTRACTIVE], "e1", "ada")
    arguments: dict[str, Any] = {"reason": "it is rude", "by": "bob", "note": stage.note, "clock": stage.clock}
    ended = revoke(stage.database, "insights", 1, **arguments)
    assert {record.alias for record in ended} == {"production", "experiment:e1"}
    assert [record["prompt_version"] for record in stage.records() if record["revoked_ms"] is None] == [2]
    assert stage.notes[-1][0] == "prompt.revocation"
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 2
    with pytest.raises(NoPromotion, match="insights/1"):
        revoke(stage.database, "insights", 1, **arguments)


def test_a_policy_of_lint_alone_needs_no_model_evidence(stage: PromotionStage) -> None:
    """What a policy does not ask for is not looked for."""
    policy = Policy(use_case="insights", prompt="insights", requires=(Requirement(kind="lint"),))
    assert stage.let_through(version(), CLAUDE, policy=policy).models == (CLAUDE,)


def test_lint_is_stored_once(stage: PromotionStage) -> None:
    """Asking again about the same content writes no second row."""
    assert record_lint(stage.database, version()) == record_lint(stage.database, version(number=2))
    assert len(evidence_for(stage.database, "insights", version().content_hash)) == 1
