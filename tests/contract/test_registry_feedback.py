"""What the record of feedback promises, on SQLite and on PostgreSQL alike."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes.fake_clock import FakeClock
from fakes.fake_insights import fake_insight
from sqlalchemy import select, text

from registry.audit.log import LogUnavailable
from registry.audit.vault import Vault
from registry.database import Database
from registry.errors import JsonValue
from registry.feedback import Feedback, FeedbackRecords
from registry.insight_records import InsightNotFound, InsightRecords
from registry.insights import Question
from registry.schema import vault_items

pytestmark = pytest.mark.contract


@pytest.fixture
def vault(registry: Database) -> Vault:
    """A vault."""
    return Vault(registry, b"m" * 32)


@pytest.fixture
def feedback(registry: Database, vault: Vault, clock: FakeClock) -> FeedbackRecords:
    """One insight of `acme` about `ada`."""
    records = InsightRecords(registry, vault, clock)
    records.save(fake_insight(), "acme", "tenant", Question(question="What?", subject="ada"), b"salt")
    return FeedbackRecords(registry, vault, records, clock)


def test_the_newest_word_counts(feedback: FeedbackRecords, registry: Database) -> None:
    """A second word takes the place of the first, its comment with it; when something was known first stays."""
    noted: list[Mapping[str, JsonValue]] = []
    feedback.give("ins_1", "acme", Feedback(rating=2, accepted=False, comment="Too long"), noted.append)
    first = _rows(registry, "SELECT created_ms FROM feedback")
    feedback._clock.now += 60  # type: ignore[attr-defined] - a fake clock
    given = feedback.give("ins_1", "acme", Feedback(rating=5), noted.append)
    assert (given.insight, given.rating, given.accepted, given.comment) == ("ins_1", 5, None, None)
    assert _rows(registry, "SELECT rating, accepted, vault_item FROM feedback") == [(5, None, None)]
    assert _rows(registry, "SELECT created_ms FROM feedback") == first
    assert [body["rating"] for body in noted] == [2, 5]
    with registry.read() as connection:
        assert connection.execute(select(vault_items.c.id).where(vault_items.c.kind == "feedback")).all() == []


def test_experiments_count_the_first_word(feedback: FeedbackRecords, registry: Database) -> None:
    """What a look rested on stays, at the time at which it was first told, whatever is said later."""
    chosen = "SELECT first_rating, first_accepted, rated_ms, accepted_ms FROM feedback"
    at: list[int] = []
    for said in (
        Feedback(rating=2),
        Feedback(rating=5, accepted=True),
        Feedback(rating=3, accepted=False),
        Feedback(rating=1),
    ):
        at.append(int(feedback._clock() * 1000))
        feedback.give("ins_1", "acme", said, lambda _body: None)
        feedback._clock.now += 60  # type: ignore[attr-defined] - a fake clock
    assert _rows(registry, chosen) == [(2, True, at[0], at[1])]
    assert _rows(registry, "SELECT rating, accepted FROM feedback") == [(1, None)]


def test_each_half_of_a_word_may_come_alone(feedback: FeedbackRecords, registry: Database) -> None:
    """Who says only that the answer was used has rated nothing; a rating that comes later counts from then on."""
    chosen = "SELECT first_rating, rated_ms, first_accepted, accepted_ms FROM feedback"
    first_ms = int(feedback._clock() * 1000)
    given = feedback.give("ins_1", "acme", Feedback(accepted=True), lambda _body: None)
    assert (given.rating, given.accepted) == (None, True)
    assert _rows(registry, chosen) == [(None, None, True, first_ms)]
    feedback._clock.now += 60  # type: ignore[attr-defined] - a fake clock
    feedback.give("ins_1", "acme", Feedback(rating=3), lambda _body: None)
    assert _rows(registry, chosen) == [(3, first_ms + 60_000, True, first_ms)]


def test_a_comment_is_in_the_vault_alone(feedback: FeedbackRecords, registry: Database, vault: Vault) -> None:
    """Neither columns nor the audit entry show it, and it goes with its subject."""
    noted: list[Mapping[str, JsonValue]] = []
    feedback.give("ins_1", "acme", Feedback(rating=2, comment="planted remark"), noted.append)
    rows = _rows(registry, "SELECT * FROM feedback")
    assert "planted" not in str(rows) + str(noted)
    assert noted[0]["comment"] is not None
    item = _rows(registry, "SELECT vault_item FROM feedback")[0][0]
    assert b"planted remark" in vault.get("acme", item)
    vault.erase("acme", "ada")
    with pytest.raises(InsightNotFound):
        feedback.give("ins_1", "acme", Feedback(rating=3), noted.append)


def test_two_words_at_once_leave_one(feedback: FeedbackRecords, registry: Database) -> None:
    """However many say something at the same time, one word and at most one comment are kept."""
    with ThreadPoolExecutor(6) as pool:
        said = [Feedback(rating=1 + number % 5, comment=f"remark {number}") for number in range(12)]
        list(pool.map(lambda each: feedback.give("ins_1", "acme", each, lambda _body: None), said))
    assert len(_rows(registry, "SELECT id FROM feedback")) == 1
    assert len(_rows(registry, "SELECT id FROM vault_items WHERE kind = 'feedback'")) == 1


def test_nothing_is_kept_that_is_not_logged(feedback: FeedbackRecords, registry: Database) -> None:
    """With the log away the word before counts."""
    feedback.give("ins_1", "acme", Feedback(rating=2, comment="kept"), lambda _body: None)

    def away(_body: Mapping[str, JsonValue]) -> None:
        raise LogUnavailable("no room")

    with pytest.raises(LogUnavailable):
        feedback.give("ins_1", "acme", Feedback(rating=5), away)
    assert _rows(registry, "SELECT rating FROM feedback") == [(2,)]
    assert len(_rows(registry, "SELECT id FROM vault_items WHERE kind = 'feedback'")) == 1


def test_another_tenants_insight_is_not_there(feedback: FeedbackRecords) -> None:
    """It looks like one that does not exist."""
    with pytest.raises(InsightNotFound):
        feedback.give("ins_1", "globex", Feedback(rating=5), lambda _body: None)


def _rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]
