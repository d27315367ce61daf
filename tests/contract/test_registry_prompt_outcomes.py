"""What came of each prompt version's calls, summed by day, on SQLite and on PostgreSQL alike."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from registry.audit.vault import Vault
from registry.database import Database
from registry.feedback import Feedback, FeedbackRecords
from registry.insight_records import InsightRecords
from registry.insights import AuditPosition, Claim, Insight, PromptRef, ProviderRef, Question, UsageRecord
from registry.prompt_outcomes import VersionOutcomes, read_outcomes
from registry.rollups import DAY_MS

pytestmark = pytest.mark.contract

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY_START_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
QUESTION = Question(question="What?")


class Calls:
    """Writes calls as serving does."""

    def __init__(self, registry: Database) -> None:
        vault = Vault(registry, bytes(range(32)))
        self.records = InsightRecords(registry, vault)
        self.feedback = FeedbackRecords(registry, vault, self.records)
        self.made = 0

    def add(self, *, version: int = 1, billed_to: str = "tenant", seconds: float = 0.1, **changes: Any) -> str:
        """One call; gives its id."""
        self.made += 1
        fields: dict[str, Any] = {
            "id": f"ins_{self.made}",
            "use_case": "insights",
            "status": "served",
            "answer": "A.",
            "claims": [Claim(text="a", grounded=True), Claim(text="b", grounded=False)],
            "passages": [],
            "prompt": PromptRef(name="insights", version=version, alias="production"),
            "provider": ProviderRef(name="extractive", model="extractive-1"),
            "usage": UsageRecord(input=10, cache_read=5, output=4),
            "cost_usd": "5.000000000",
            "audit": AuditPosition(log="serve-1", index=2),
            "created_at": NOON,
        }
        insight = Insight(**{**fields, **changes})
        self.records.save(insight, "acme", billed_to, QUESTION, b"salt", seconds=seconds)
        return insight.id


@pytest.fixture
def calls(registry: Database, acme: str) -> Calls:
    """A tenant whose calls are written."""
    assert acme == "acme"
    return Calls(registry)


def outcomes(registry: Database) -> tuple[VersionOutcomes, ...]:
    """Everything that was written."""
    return read_outcomes(registry, 0, DAY_START_MS + 10 * DAY_MS)


def test_the_calls_of_a_day_are_summed(registry: Database, calls: Calls) -> None:
    """Counts, claims, tokens, money and latencies of one version on one day stand in one line."""
    calls.add()
    calls.add(abstained=True, claims=[], seconds=3.21)
    calls.add(status="blocked", claims=None, answer=None)
    (line,) = outcomes(registry)
    assert (line.name, line.version, line.day_ms) == ("insights", 1, DAY_START_MS)
    assert (line.calls, line.blocked, line.abstained) == (3, 1, 1)
    assert (line.claims, line.grounded, line.calls_with_claims) == (2, 1, 1)
    assert (line.means["input_tokens"].total, line.means["output_tokens"].total) == (45, 12)
    assert line.means["cost_nano_usd"].total == 15e9
    assert line.means["cost_nano_usd"].squares == pytest.approx(75e18)
    assert line.latencies == {100: 1, 3_300: 1}


def test_versions_and_days_stand_apart(registry: Database, calls: Calls) -> None:
    """Each version has a line for each of its days, the oldest day first."""
    calls.add()
    calls.add(version=2)
    calls.add(created_at=NOON - timedelta(days=1))
    assert [(line.day_ms, line.version, line.calls) for line in outcomes(registry)] == [
        (DAY_START_MS - DAY_MS, 1, 1),
        (DAY_START_MS, 1, 1),
        (DAY_START_MS, 2, 1),
    ]


def test_evaluations_do_not_count(registry: Database, calls: Calls) -> None:
    """Calls at the platform's own expense say nothing about use."""
    calls.add(billed_to="evaluation")
    assert outcomes(registry) == ()


def test_feedback_counts_on_the_day_of_its_call(registry: Database, calls: Calls) -> None:
    """Ratings and acceptances are joined to their calls; a call nobody spoke of has none."""
    for said in (Feedback(rating=5, accepted=True), Feedback(rating=2, accepted=False), Feedback(rating=4)):
        calls.feedback.give(calls.add(), "acme", said, lambda _body: None)
    calls.add()
    (line,) = outcomes(registry)
    assert (line.calls, line.accepted, line.accepted_told) == (4, 1, 2)
    assert (line.means["rating"].n, line.means["rating"].total, line.means["rating"].squares) == (3, 11, 45)
