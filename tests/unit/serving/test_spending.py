"""Failed attempts are paid for too: in the insight, in the audit log and in the metrics."""

from typing import Any

import pytest
from fakes.fake_serving import FakeProvider

from registry.messages import CompletionRequest, Usage
from serving.providers.base import Overloaded, ProviderError, SchemaFailure
from serving.providers.chain import Chain

WASTED = SchemaFailure("no JSON", usage=Usage(input=10, output=5), model="first-2026")
NOTHING_USED: dict[str, int] = {
    "input": 0,
    "cache_read": 0,
    "cache_write_5m": 0,
    "cache_write_1h": 0,
    "output": 0,
    "reasoning": 0,
}


class FailingProvider(FakeProvider):
    """Fails as told, under a name and a model of its own."""

    name = "failing"
    model = "first"

    def __init__(self, error: ProviderError) -> None:
        super().__init__()
        self.error = error
        self.answer = self._fail

    async def _fail(self, _request: CompletionRequest) -> Any:
        raise self.error


@pytest.fixture
def priced(filled: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An API where a token of `first-2026` costs 100 nano-USD and any other 1."""

    def price(_provider: str, model: str, usage: Usage, _at: object) -> int:
        return (100 if model == "first-2026" else 1) * (usage.input + usage.output)

    monkeypatch.setattr(filled.services.insights._asking, "_price", price)
    return filled


def chain(api: Any, monkeypatch: pytest.MonkeyPatch, *providers: FakeProvider) -> None:
    """Put these providers in place of the API's own."""
    monkeypatch.setattr(api.services.insights._asking, "_complete", Chain(providers).complete)


async def test_a_failed_attempt_is_in_the_insight(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage and cost are those of all attempts, each at the price of its own model."""
    chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
    answer = (await priced.ask()).json()
    assert answer["provider"] == {"name": "scripted", "model": "scripted", "asked_model": "scripted", "attempts": 2}
    assert answer["usage"] == {**NOTHING_USED, "input": 110, "output": 25}
    assert answer["cost_usd"] == "0.000001620"


async def test_a_failed_attempt_is_in_the_outcome(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit entry has the totals and, attempt by attempt, model, tokens and cost."""
    chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
    await priced.ask()
    body = priced.audit()[-1]["body"]
    assert (body["usage"]["input"], body["cost_nano_usd"]) == (110, 1_620)
    assert [
        (each["provider"], each["model"], each["asked_model"], each["cost_nano_usd"]) for each in body["billed"]
    ] == [
        ("failing", "first-2026", "first", 1_500),
        ("scripted", "scripted", "scripted", 120),
    ]


async def test_a_call_without_an_answer_says_what_it_spent(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody answers, the failed outcome still has tokens and cost, and the problem says who was tried."""
    chain(priced, monkeypatch, FailingProvider(WASTED), FailingProvider(Overloaded("5xx")))
    answer = await priced.ask()
    outcome = priced.audit()[-1]
    assert (answer.status_code, outcome["status"], outcome["body"]["code"]) == (503, "failed", "providers-unavailable")
    assert (outcome["body"]["usage"]["input"], outcome["body"]["cost_nano_usd"]) == (10, 1_500)
    assert [each["provider"] for each in answer.json()["tried"]] == ["failing", "failing"]


async def test_metrics_count_each_model(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and money of a failed attempt are counted under its own provider and model."""
    chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
    await priced.ask()
    text = priced.services.metrics.render().decode()
    assert 'assay_cost_nano_usd_total{model="first-2026",provider="failing"} 1500.0' in text
    assert 'assay_tokens_total{bucket="input",model="scripted",provider="scripted"} 100.0' in text
