"""Failed attempts are paid for too: in the insight, in the audit log and in the metrics."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes.fake_serving import FakeProvider, StalledProvider, prompt_version

from registry.audit.log import ENTRY_BYTES_MAX
from registry.insights import Question
from registry.messages import Attempt, CompletionRequest, Usage
from registry.money.prices import UnpricedModel
from registry.tenants import Principal
from serving.providers.base import Overloaded, ProviderError, SchemaFailure
from serving.providers.chain import Chain
from serving.spending import spending

CALLER = Principal(key_id="k1", tenant="north", role="app", owner="tests")

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


async def chain(api: Any, monkeypatch: pytest.MonkeyPatch, *providers: FakeProvider) -> None:
    """Put these providers in place of the API's own, the prompt proven with each."""
    await api.prove(prompt_version(), *((each.name, each.model) for each in providers))
    monkeypatch.setattr(api.services.insights._asking, "_complete", Chain(providers).complete)


async def test_a_failed_attempt_is_in_the_insight(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage and cost are those of all attempts, each at the price of its own model."""
    await chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
    answer = (await priced.ask()).json()
    assert answer["provider"] == {"name": "scripted", "model": "scripted", "asked_model": "scripted", "attempts": 2}
    assert answer["usage"] == {**NOTHING_USED, "input": 110, "output": 25}
    assert answer["cost_usd"] == "0.000001620"


async def test_a_failed_attempt_is_in_the_outcome(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit entry has the totals and, attempt by attempt, model, tokens and cost."""
    await chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
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
    await chain(priced, monkeypatch, FailingProvider(WASTED), FailingProvider(Overloaded("5xx")))
    answer = await priced.ask()
    outcome = priced.audit()[-1]
    assert (answer.status_code, outcome["status"], outcome["body"]["code"]) == (503, "failed", "providers-unavailable")
    assert (outcome["body"]["usage"]["input"], outcome["body"]["cost_nano_usd"]) == (10, 1_500)
    assert [each["provider"] for each in answer.json()["tried"]] == ["failing", "failing"]


async def test_metrics_count_each_model(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and money of a failed attempt are counted under its provider and the model that was asked for."""
    await chain(priced, monkeypatch, FailingProvider(WASTED), priced.provider)
    await priced.ask()
    text = priced.services.metrics.render().decode()
    assert 'assay_cost_nano_usd_total{model="first",provider="failing"} 1500.0' in text
    assert 'assay_tokens_total{bucket="input",model="scripted",provider="scripted"} 100.0' in text


async def test_what_a_first_provider_used_is_not_lost_at_the_deadline(
    priced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time is over while the second one works, the outcome has both: one counted, one estimated."""
    await chain(priced, monkeypatch, FailingProvider(WASTED), StalledProvider())
    answer = await priced.ask(deadline_s=0.2)
    outcome = priced.audit()[-1]
    assert (answer.json()["code"], outcome["status"]) == ("deadline-exceeded", "deadline-exceeded")
    assert [(each["provider"], each["error"]) for each in answer.json()["tried"]] == [
        ("failing", "SchemaFailure"),
        ("scripted", "TimedOut"),
    ]
    assert [(each["provider"], each["estimated"], each["usage"]["output"]) for each in outcome["body"]["billed"]] == [
        ("failing", False, 5),
        ("scripted", True, 0),
    ]
    assert outcome["body"]["cost_nano_usd"] > 1_500


async def test_a_cancelled_call_is_paid_for(priced: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that gives up leaves the bill of what was used."""
    stalled = StalledProvider()
    await chain(priced, monkeypatch, FailingProvider(WASTED), stalled)
    call = asyncio.create_task(priced.services.insights.answer(Question(question="return rate?"), CALLER))
    await stalled.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    body = priced.audit()[-1]["body"]
    assert [each["outcome"] for each in body["billed"]] == ["SchemaFailure", "cancelled"]


async def test_a_bill_that_cannot_be_priced_hides_no_failure(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed call ends with its own error also when nobody knows what its attempts cost."""

    def unpriced(*_args: Any) -> int:
        raise UnpricedModel("nobody knows")

    monkeypatch.setattr(filled.services.insights._asking, "_price", unpriced)
    await chain(filled, monkeypatch, FailingProvider(WASTED))
    assert (await filled.ask()).json()["code"] == "providers-unavailable"
    assert filled.audit()[-1]["status"] == "failed"


def test_any_number_of_attempts_fits_into_an_entry() -> None:
    """The log lists the first attempts; its totals are those of all."""
    usage = Usage(input=10**9, cache_read=10**9, cache_write_5m=10**9, cache_write_1h=10**9, output=10**9)
    attempt = Attempt(provider="p" * 40, model="m" * 100, asked_model="a" * 60, usage=usage, outcome="Overloaded")
    audited = spending([attempt] * 200, datetime.now(UTC), lambda *_: 7).audited()
    assert len(json.dumps(audited)) < ENTRY_BYTES_MAX * 0.8
    assert (audited["cost_nano_usd"], audited["usage"]["output"]) == (1_400, 200 * 10**9)
