"""Calls and their feedback, written into the registry as serving writes them."""

from datetime import UTC, datetime
from typing import Any

from registry.audit.vault import Vault
from registry.database import Database
from registry.feedback import FeedbackRecords
from registry.insight_records import InsightRecords
from registry.insights import AuditPosition, Claim, Insight, PromptRef, ProviderRef, Question, UsageRecord

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY_START_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000)
"""Midnight before NOON."""
QUESTION = Question(question="What?")


class RecordedCalls:
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
