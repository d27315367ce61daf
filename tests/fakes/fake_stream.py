"""What tests of event streams send: a call that has begun, and the insight that comes of it."""

from registry.insights import AuditPosition, Insight, PromptRef, ProviderRef, UsageRecord
from serving.asking import Begun

PROMPT = PromptRef(name="insights", version=1, alias="production")
BEGUN = Begun(id="ins_1", use_case="insights", prompt=PROMPT)
INSIGHT = Insight.model_validate(
    {
        "id": "ins_1",
        "use_case": "insights",
        "status": "served",
        "answer": "Nine.",
        "claims": [],
        "passages": [],
        "prompt": PROMPT,
        "provider": ProviderRef(name="scripted", model="scripted"),
        "usage": UsageRecord(),
        "cost_usd": "0.000000000",
        "audit": AuditPosition(log="serve-1", index=0),
        "created_at": "2026-11-23T09:30:00Z",
    }
)
