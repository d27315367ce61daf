"""Insights made up for tests of evaluation, and a target that gives them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from registry.insights import (
    AuditPosition,
    Claim,
    Evidence,
    Insight,
    InsightStatus,
    Passage,
    PromptRef,
    ProviderRef,
    Question,
    UsageRecord,
)


def fake_insight(
    answer: str = "There were 12 boxes.",
    *,
    cites: Sequence[str] = (),
    metrics: Sequence[str] = (),
    retrieved: Sequence[str] = (),
    abstained: bool = False,
    status: InsightStatus = "served",
    model: str = "fake-1",
    asked_model: str = "",
) -> Insight:
    """An insight whose one claim cites these passages and metrics."""
    evidence = [Evidence(kind="passage", id=key, quote="q") for key in cites]
    evidence += [Evidence(kind="metric", id=name, quote="q") for name in metrics]
    return Insight(
        id="ins_1",
        use_case="insights",
        status=status,
        answer=answer,
        claims=[] if abstained else [Claim(text=answer, grounded=bool(evidence), evidence=evidence)],
        passages=[Passage(id=key, document="a.md", score=1.0, text="t") for key in retrieved],
        abstained=abstained,
        prompt=PromptRef(name="insights", version=1, alias=""),
        provider=ProviderRef(name="fake", model=model, asked_model=asked_model),
        usage=UsageRecord(),
        cost_usd="0.000000000",
        audit=AuditPosition(log="test", index=0),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


class FakeTarget:
    """Answers by question text; an exception among the answers is raised. Counts what is under way."""

    def __init__(self, answers: Mapping[str, Insight | Exception] | Callable[[str], Insight | Exception]) -> None:
        self._answer = answers if callable(answers) else answers.__getitem__
        self.asked: list[str] = []
        self.at_once_max = 0
        self._at_once = 0

    async def __call__(self, question: Question) -> Insight:
        """Answer after giving others their turn."""
        self.asked.append(question.question)
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        answer = self._answer(question.question)
        if isinstance(answer, Exception):
            raise answer
        return answer
