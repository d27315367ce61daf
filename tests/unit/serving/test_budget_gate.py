"""One call and its max_cost_usd."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from fakes.fake_serving import prompt_version
from hypothesis import given
from hypothesis import strategies as st

from registry.messages import CompletionRequest, Message, Usage
from registry.money.prices import UnpricedModel
from serving.budget_gate import OUTPUT_TOKENS_MIN, BudgetExceeded, BudgetGate, PricedModel, prompt_tokens


def price(provider: str, _model: str, usage: Usage, _at: datetime) -> int:
    """Per token in nano-USD: `dear` 1,000 in and 4,000 out, `cheap` a tenth, `free` nothing."""
    rate = {"dear": 1_000, "cheap": 100, "free": 0}[provider]
    return rate * (usage.input + 4 * usage.output)


def gate(*providers: str) -> BudgetGate:
    """A gate in front of these providers."""
    return BudgetGate([PricedModel(name, "m") for name in providers], price)


def request(text: str = "question", tokens: int = 800) -> CompletionRequest:
    """A request as rendered."""
    return CompletionRequest(messages=(Message(role="user", content=text),), max_output_tokens=tokens)


def test_without_a_limit_nothing_changes() -> None:
    """No max_cost_usd, no clamp."""
    assert gate("dear").admit(request(), None) == request()


def test_a_free_chain_is_never_limited() -> None:
    """What costs nothing fits into any budget, zero included."""
    assert gate("free").admit(request(), 0) == request()


def test_the_answer_is_clamped_to_what_the_money_buys() -> None:
    """A tight budget shortens the answer; it does not refuse it."""
    limit = 1_000 * prompt_tokens(request()) + 4_000 * 100
    assert gate("dear").admit(request(), limit).max_output_tokens == 100


def test_the_dearest_provider_of_the_chain_counts() -> None:
    """A fallback may answer, so its price must fit too."""
    limit = 1_000 * prompt_tokens(request()) + 4_000 * 100
    assert gate("cheap", "dear").admit(request(), limit).max_output_tokens == 100


def test_a_provider_that_may_not_answer_does_not_count() -> None:
    """What the prompt version was not proven with is not asked, whatever it would cost."""
    asked = replace(request(), models=frozenset({("cheap", "m")}))
    limit = 1_000 * prompt_tokens(request()) + 4_000 * 100
    assert gate("cheap", "dear").admit(asked, limit) == asked
    assert gate("dear").admit(asked, 0) == asked


def test_too_little_money_is_refused_with_an_estimate() -> None:
    """Below a useful answer the call is refused and says what it would take."""
    with pytest.raises(BudgetExceeded) as refusal:
        gate("dear").admit(request(), 1_000)
    assert refusal.value.details == {"limit_usd": "0.000001000", "estimate_usd": "0.000262000"}


def test_a_model_without_a_price_is_found_before_it_is_asked() -> None:
    """Also without a limit: a call that cannot be priced is not made."""
    with pytest.raises(UnpricedModel):
        BudgetGate([PricedModel("openai", "no-such-model")]).admit(request(), None)


async def test_an_unpriced_model_is_our_failure_not_the_callers(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and the outcome is `failed`."""
    unpriced = BudgetGate([PricedModel("openai", "no-such-model")])
    monkeypatch.setattr(filled.services.insights, "_gate", unpriced)
    await filled.prove(prompt_version(), ("openai", "no-such-model"))
    answer = await filled.ask()
    assert (answer.status_code, answer.json()["code"]) == (503, "unpriced-model")
    assert filled.audit()[-1]["status"] == "failed"


@given(text=st.text(max_size=500), tokens=st.integers(1, 4_000), limit=st.integers(0, 20_000_000))
def test_what_is_admitted_fits_the_estimate(text: str, tokens: int, limit: int) -> None:
    """Estimated input and clamped output together never cost more than allowed, and the answer is long enough."""
    asked = request(text, tokens)
    try:
        admitted = gate("cheap", "dear").admit(asked, limit)
    except BudgetExceeded:
        return
    usage = Usage(input=prompt_tokens(asked), output=admitted.max_output_tokens)
    assert price("dear", "m", usage, datetime.min) <= limit  # noqa: DTZ901 - not looked at
    assert min(OUTPUT_TOKENS_MIN, tokens) <= admitted.max_output_tokens <= tokens


async def test_a_call_over_its_budget_is_refused_before_a_provider_is_asked(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """402 with limit and estimate; the model is not asked, the refusal is audited."""
    monkeypatch.setattr(filled.services.insights, "_gate", gate("dear"))
    await filled.prove(prompt_version(), ("dear", "m"))
    answer = await filled.ask(max_cost_usd="0.000001")
    assert (answer.status_code, answer.json()["code"]) == (402, "budget-exceeded")
    assert answer.json()["limit_usd"] == "0.000001000"
    assert filled.provider.requests == []
    assert filled.audit()[-1]["status"] == "refused"
