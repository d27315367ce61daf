"""What the record of insights and idempotency keys promises, on SQLite and on PostgreSQL alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from fakes.fake_clock import FakeClock
from sqlalchemy import text

from registry import insight_records
from registry.audit.vault import Vault
from registry.database import Database
from registry.insight_records import IdempotencyConflict, InsightNotFound, InsightRecords
from registry.insights import AuditPosition, Insight, PromptRef, ProviderRef, Question, UsageRecord

pytestmark = pytest.mark.contract

MASTER_KEY = bytes(range(32))
HOUR_S = 3600
ROUTE = "POST /v1/insights"


def insight(name: str = "ins_1") -> Insight:
    """An answer as serving gives it out."""
    return Insight(
        id=name,
        use_case="insights",
        status="served",
        answer="Secret answer.",
        claims=[],
        passages=[],
        prompt=PromptRef(name="insights", version=3, alias="production"),
        provider=ProviderRef(name="extractive", model="sentences-1"),
        usage=UsageRecord(input=10, output=4),
        cost_usd="0.000000007",
        audit=AuditPosition(log="serve-1", index=2),
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


class TestInsightRecords:
    """registry.insight_records: insights."""

    @pytest.fixture
    def records(self, registry: Database) -> InsightRecords:
        """Empty records."""
        return InsightRecords(registry, Vault(registry, MASTER_KEY))

    def test_an_insight_comes_back_whole(self, records: InsightRecords) -> None:
        """What was saved is got by its tenant and by a platform key, with question and salt."""
        question = Question(question="What is it?", subject="ada")
        records.save(insight(), "acme", "tenant", question, b"\xff" * 32)
        assert records.get("ins_1", "acme") == insight() == records.get("ins_1", None)
        sealed = records.sealed("ins_1", "acme")
        assert (sealed.question, sealed.salt) == (question, b"\xff" * 32)

    def test_another_tenant_gets_nothing(self, records: InsightRecords) -> None:
        """For other tenants, and for unknown and odd ids, there is no such insight."""
        records.save(insight(), "acme", "tenant", Question(question="What?"), b"salt")
        for name, tenant in (("ins_1", "globex"), ("ins_2", "acme"), ("ins\0", "acme"), ("", None)):
            with pytest.raises(InsightNotFound):
                records.get(name, tenant)

    def test_content_is_not_in_the_columns(self, records: InsightRecords, registry: Database) -> None:
        """The row holds ids and numbers; question and answer are in the vault alone."""
        records.save(insight(), "acme", "evaluation", Question(question="Secret question?"), b"salt")
        with registry.read() as connection:
            row = connection.execute(text("SELECT * FROM insights")).mappings().one()
        assert "ecret" not in str(row)
        assert (row["cost_nano_usd"], row["billed_to"], row["audit_index"]) == (7, "evaluation", 2)

    def test_an_erased_subject_takes_its_insights_along(self, records: InsightRecords, registry: Database) -> None:
        """After erasing the subject, its insights are gone and others are not."""
        records.save(insight("ins_1"), "acme", "tenant", Question(question="What?", subject="ada"), b"salt")
        records.save(insight("ins_2"), "acme", "tenant", Question(question="What?"), b"salt")
        Vault(registry, MASTER_KEY).erase("acme", "ada")
        with pytest.raises(InsightNotFound, match="erased"):
            records.get("ins_1", "acme")
        assert records.get("ins_2", "acme").id == "ins_2"


class TestIdempotency:
    """registry.insight_records: idempotency keys."""

    @pytest.fixture
    def records(self, registry: Database, clock: FakeClock) -> InsightRecords:
        """Empty records under a fake clock."""
        return InsightRecords(registry, Vault(registry, MASTER_KEY), clock)

    def test_the_same_request_gets_the_same_insight(self, records: InsightRecords) -> None:
        """The first call works, the next ones get what it gave."""
        assert records.begin("acme", "k", ROUTE, "body") is None
        records.finish("acme", "k", ROUTE, "ins_1")
        assert [records.begin("acme", "k", ROUTE, "body") for _ in range(2)] == ["ins_1", "ins_1"]

    def test_another_body_is_a_conflict(self, records: InsightRecords) -> None:
        """A key belongs to one body."""
        records.begin("acme", "k", ROUTE, "body")
        records.finish("acme", "k", ROUTE, "ins_1")
        with pytest.raises(IdempotencyConflict, match="another body"):
            records.begin("acme", "k", ROUTE, "other")

    def test_tenants_and_routes_are_apart(self, records: InsightRecords) -> None:
        """The same key of another tenant or route is another key."""
        records.begin("acme", "k", ROUTE, "body")
        assert records.begin("globex", "k", ROUTE, "other") is None
        assert records.begin("acme", "k", "POST /other", "other") is None

    def test_a_running_call_is_a_conflict(self, records: InsightRecords) -> None:
        """A repeat that comes too early is told to wait."""
        records.begin("acme", "k", ROUTE, "body")
        with pytest.raises(IdempotencyConflict, match="still running"):
            records.begin("acme", "k", ROUTE, "body")

    def test_a_failed_call_frees_its_key(self, records: InsightRecords) -> None:
        """After `forget` the request can be sent again; a finished key is not forgotten."""
        records.begin("acme", "k", ROUTE, "body")
        records.forget("acme", "k", ROUTE)
        assert records.begin("acme", "k", ROUTE, "other") is None
        records.finish("acme", "k", ROUTE, "ins_1")
        records.forget("acme", "k", ROUTE)
        assert records.begin("acme", "k", ROUTE, "other") == "ins_1"

    def test_a_dead_call_frees_its_key_in_time(self, records: InsightRecords, clock: FakeClock) -> None:
        """A call that never ended, because its process died, blocks its key for five minutes only."""
        records.begin("acme", "k", ROUTE, "body")
        clock.now += 300
        assert records.begin("acme", "k", ROUTE, "body") is None

    def test_a_key_is_remembered_for_a_day(self, records: InsightRecords, clock: FakeClock) -> None:
        """After 24 hours the key is free, not before."""
        records.begin("acme", "k", ROUTE, "body")
        records.finish("acme", "k", ROUTE, "ins_1")
        clock.now += 24 * HOUR_S - 1
        assert records.begin("acme", "k", ROUTE, "body") == "ins_1"
        clock.now += 1
        assert records.begin("acme", "k", ROUTE, "body") is None

    def test_a_key_freed_in_between_is_claimed(
        self, records: InsightRecords, registry: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the first call fails just between the claim and the look, the next one does the work."""
        answers = iter([False])
        claim = insight_records.insert_or_ignore
        monkeypatch.setattr(insight_records, "insert_or_ignore", lambda *given: next(answers, True) and claim(*given))
        assert records.begin("acme", "k", ROUTE, "body") is None
        with registry.read() as connection:
            assert connection.execute(text("SELECT count(*) FROM idempotency")).scalar() == 1

    def test_a_key_that_comes_and_goes_is_a_conflict(
        self, records: InsightRecords, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The claim is tried twice and no more; the caller is told to try again."""
        monkeypatch.setattr(insight_records, "insert_or_ignore", lambda *_given: False)
        with pytest.raises(IdempotencyConflict, match="again"):
            records.begin("acme", "k", ROUTE, "body")

    def test_of_many_at_once_one_does_the_work(self, records: InsightRecords) -> None:
        """Eight threads send the same request and exactly one may do it."""
        start = threading.Barrier(8)

        def send(_: int) -> bool:
            start.wait()
            try:
                return records.begin("acme", "k", ROUTE, "body") is None
            except IdempotencyConflict:
                return False

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(send, range(8))) == 1
