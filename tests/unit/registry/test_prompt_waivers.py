"""People's words: approvals that a policy asks for, and the waiver that two people may sign."""

import math
from dataclasses import replace
from typing import Any

import pytest
from fakes.fake_clock import FakeClock
from fakes.promotion_stage import CLAUDE, EXTRACTIVE, POLICY, PromotionStage, version, version_number

from registry.database import Database
from registry.errors import Conflict
from registry.prompts.approvals import WORDS_MAX
from registry.prompts.policy import Requirement
from registry.prompts.promotion import PromotionRefused
from registry.prompts.waivers import signature_end_ms

HOUR_S = 3_600
APPROVED = POLICY.model_copy(update={"requires": (*POLICY.requires, Requirement(kind="approval"))})


@pytest.fixture
def stage(database: Database, clock: FakeClock) -> PromotionStage:
    """A promoter with nothing shown yet."""
    return PromotionStage(database, clock)


def test_one_waiver_signature_is_not_enough(stage: PromotionStage) -> None:
    """Neither is a second one of the same person, however the name is written."""
    stage.signs(version(), "ada", 2)
    stage.signs(version(), " ADA", 2)
    with pytest.raises(PromotionRefused):
        stage.let_through(version())


def test_two_people_let_a_version_serve_for_a_while(stage: PromotionStage) -> None:
    """The record ends with the second latest signature, holds for the whole chain and names both signatures."""
    signatures = {stage.signs(version(), "ada", 4).id, stage.signs(version(), "bob", 2).id}
    promotion = stage.let_through(version(), CLAUDE, EXTRACTIVE)
    assert (promotion.basis, promotion.models) == ("waiver", (CLAUDE, EXTRACTIVE))
    assert set(promotion.evidence) == signatures
    assert promotion.expires_ms == pytest.approx((stage.clock() + 2 * HOUR_S) * 1000, abs=5)
    assert stage.let_through(version(), CLAUDE, EXTRACTIVE) == promotion
    stage.clock.now += 2 * HOUR_S + 1
    with pytest.raises(PromotionRefused):
        stage.let_through(version())


def test_a_waiver_takes_no_longer_than_the_policy_allows(stage: PromotionStage) -> None:
    """A policy that was tightened since cuts signatures short; with 0 hours nobody waives anything."""
    for person in ("ada", "bob"):
        stage.signs(version(), person, 24)
    short = POLICY.model_copy(update={"waiver_hours_max": 1.0})
    promotion = stage.let_through(version(), policy=short)
    assert promotion.expires_ms == pytest.approx((stage.clock() + HOUR_S) * 1000, abs=5)
    never = POLICY.model_copy(update={"waiver_hours_max": 0.0})
    with pytest.raises(PromotionRefused):
        stage.let_through(version_number(2), policy=never)


def test_a_signature_holds_for_its_content(stage: PromotionStage) -> None:
    """A waiver for one wording opens nothing for another."""
    for person in ("ada", "bob"):
        stage.signs(version(), person, 24)
    with pytest.raises(PromotionRefused):
        stage.let_through(version_number(2))


def test_evidence_goes_before_a_waiver(stage: PromotionStage) -> None:
    """A version with its evidence serves without an end, whoever signed for it."""
    for person in ("ada", "bob"):
        stage.signs(version(), person, 24)
    stage.evaluated(version())
    assert stage.let_through(version()).expires_ms is None


@pytest.mark.parametrize("copied", [False, True])
def test_a_waiver_replaces_no_comparison(stage: PromotionStage, copied: bool) -> None:  # noqa: FBT001 - a parameter
    """What serves by a waiver, or by a copy of one, is still compared with what was last let through on evidence."""
    stage.evaluated(version())
    stage.let_through(version())
    for person in ("ada", "bob"):
        stage.signs(version_number(2), person, 24)
    assert stage.let_through(version_number(2)).basis == "waiver"
    if copied:
        strict = POLICY.model_copy(update={"waiver_hours_max": 0.0})
        stage.let_through(version())
        assert stage.let_through(version_number(2), policy=strict).basis == "record"
    stage.evaluated(version_number(2))
    (sentence,) = stage.promoter.decide(POLICY, version_number(2), [EXTRACTIVE]).missing
    assert "did not compare with insights/1, which was last promoted on evidence" in sentence
    stage.evaluated(version_number(2), against=version())
    assert stage.let_through(version_number(2)).basis == "evidence"


def test_an_approval_by_somebody_else_is_asked_for(stage: PromotionStage) -> None:
    """The author's own word does not count; another person's does."""
    stage.evaluated(version())
    stage.wrote(version(), "ada")
    stage.approves(version(), "Ada")
    with pytest.raises(PromotionRefused, match=r"0 of 1 approvals by other people than 'ada'"):
        stage.let_through(version(), policy=APPROVED)
    approval = stage.approves(version(), "bob")
    assert approval.id in stage.let_through(version(), policy=APPROVED).evidence


def test_two_approve_what_nobody_knows_the_author_of(stage: PromotionStage) -> None:
    """One of the two may have written it, the other has not."""
    stage.evaluated(version())
    stage.approves(version(), "ada")
    with pytest.raises(PromotionRefused, match="1 of 2 approvals by different people"):
        stage.let_through(version(), policy=APPROVED)
    stage.approves(version(), "bob")
    assert stage.let_through(version(), policy=APPROVED)


def test_a_rejection_refuses_until_its_giver_thinks_otherwise(stage: PromotionStage) -> None:
    """The newest word of each person counts, and one rejection outweighs any number of approvals."""
    stage.evaluated(version())
    for person in ("ada", "bob", "cid"):
        stage.approves(version(), person)
    stage.approves(version(), "bob", rejects=True)
    with pytest.raises(PromotionRefused, match=r"'bob' rejected it \('I read it'\)"):
        stage.let_through(version(), policy=APPROVED)
    stage.approves(version(), "bob")
    assert stage.let_through(version(), policy=APPROVED)


def test_a_policy_without_approval_hears_no_rejection(stage: PromotionStage) -> None:
    """Only what a policy names decides."""
    stage.evaluated(version())
    stage.approves(version(), "bob", rejects=True)
    assert stage.let_through(version()).basis == "evidence"


def test_all_authors_of_a_content_are_its_authors(stage: PromotionStage) -> None:
    """Whoever pushes a colleague's wording again approves neither it nor, by that, the colleague's version."""
    same = version(number=2)
    for about, author in ((version(), "ada"), (same, "bob")):
        stage.wrote(about, author)
    stage.evaluated(version())
    for person in ("ada", "bob"):
        stage.approves(version(), person)
    with pytest.raises(PromotionRefused, match="0 of 1 approvals by other people than 'ada' and 'bob'"):
        stage.let_through(version(), policy=APPROVED)
    stage.approves(same, "cid")
    assert stage.let_through(version(), policy=APPROVED)


def test_one_unknown_author_of_a_content_asks_for_two(stage: PromotionStage) -> None:
    """A version that came in without the gate may be anybody's."""
    stage.wrote(version(), "ada")
    stage.wrote(version(number=2), None)
    stage.evaluated(version())
    for person in ("ada", "bob"):
        stage.approves(version(), person)
    with pytest.raises(PromotionRefused, match="1 of 2 approvals"):
        stage.let_through(version(), policy=APPROVED)
    stage.approves(version(), "cid")
    assert stage.let_through(version(), policy=APPROVED)


def test_an_approval_ages_and_a_rejection_does_not(stage: PromotionStage) -> None:
    """What a policy's `max_age_days` makes too old no longer counts, unless it says no."""
    policy = POLICY.model_copy(update={"requires": (Requirement(kind="approval", max_age_days=1),)})
    stage.wrote(version(), "ada")
    stage.approves(version(), "bob")
    assert stage.let_through(version(), policy=policy)
    stage.approves(version_number(2), "bob", rejects=True)
    stage.clock.now += 25 * HOUR_S
    assert not stage.promoter.decide(policy, version(), [EXTRACTIVE]).allowed
    assert "rejected" in stage.promoter.decide(policy, version_number(2), [EXTRACTIVE]).missing[0]


def test_many_words_of_one_person_do_not_hide_another_s(stage: PromotionStage) -> None:
    """A person's words about one content are counted, so that a rejection cannot be pushed out of sight."""
    stage.evaluated(version())
    stage.approves(version(), "bob", rejects=True)
    for _ in range(WORDS_MAX):
        stage.approves(version(), "ada")
    with pytest.raises(Conflict, match="'ada' has given 20 words"):
        stage.approves(version(), "ada")
    assert "'bob' rejected it" in stage.promoter.decide(APPROVED, version(), [EXTRACTIVE]).missing[0]


@pytest.mark.parametrize("hours", [math.nan, -math.inf, -1e308, "8", True, None])
def test_hours_that_are_none_hold_for_none(stage: PromotionStage, hours: Any) -> None:
    """Whatever an edited row says in place of hours, it is a signature that has ended."""
    signature = stage.signs(version(), "ada", 4)
    edited = replace(signature, details={**signature.details, "hours": hours})
    assert signature_end_ms(POLICY, edited) == signature.created_ms
