"""Tokens into money."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidInput
from registry.messages import Attempt, Usage
from registry.money.prices import UnpricedModel, attempt_nano_usd, cost_nano_usd, format_usd, parse_usd

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEXT_MODELS = [
    (provider.id, model.id)
    for provider in providers
    if provider.id in {"anthropic", "openai"}
    for model in provider.models
    if (price := model.get_prices(NOW)).input_mtok is not None and price.output_mtok is not None
]
BUCKETS = [field.name for field in fields(Usage)]
tokens = st.integers(0, 2_000_000)
usages = st.builds(Usage, input=tokens, cache_read=tokens, cache_write_5m=tokens, cache_write_1h=tokens, output=tokens)


class TestCost:
    """registry.money.prices.cost_nano_usd."""

    def test_golden_bill(self) -> None:
        """A bill with a large cache write, checked by hand: 6 x 5 + 159,217 x 6.25 + 2,745 x 25 per million."""
        usage = Usage(input=6, cache_write_5m=159_217, output=2_745)
        assert cost_nano_usd("anthropic", "claude-opus-4-7", usage, NOW) == 1_063_761_250

    @given(model=st.sampled_from(TEXT_MODELS), usage=usages)
    def test_agrees_with_the_price_table(self, model: tuple[str, str], usage: Usage) -> None:
        """For every text model and every usage, tiers included, we ask what the table's own arithmetic asks."""
        theirs = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input + usage.cache_read + usage.cache_write_5m + usage.cache_write_1h,
                cache_read_tokens=usage.cache_read,
                cache_write_tokens=usage.cache_write_5m + usage.cache_write_1h,
                cache_write_1h_tokens=usage.cache_write_1h,
                output_tokens=usage.output,
            ),
            model[1],
            provider_id=model[0],
            genai_request_timestamp=NOW,
        ).total_price
        ours = Decimal(cost_nano_usd(*model, usage, NOW)) / 10**9
        assert 0 <= ours - theirs < Decimal("1e-9")

    @given(usage=usages, more=st.integers(1, 1_000_000))
    def test_reasoning_is_not_charged_twice(self, usage: Usage, more: int) -> None:
        """Reasoning is a part of the output and adds nothing."""
        thinking = Usage(input=usage.input, output=usage.output, reasoning=more)
        plain = Usage(input=usage.input, output=usage.output)
        assert cost_nano_usd("openai", "gpt-5-mini", thinking, NOW) == cost_nano_usd("openai", "gpt-5-mini", plain, NOW)

    def test_a_dated_model_name_is_understood(self) -> None:
        """The name that a vendor's answer carries has the price of its family."""
        usage = Usage(input=1_000, output=100)
        assert cost_nano_usd("openai", "gpt-5-mini-2025-08-07", usage, NOW) == 450_000

    @given(bucket=st.sampled_from(BUCKETS), count=st.integers(max_value=-1) | st.floats())
    def test_tokens_are_counted_from_zero(self, bucket: str, count: float) -> None:
        """A negative or broken count is refused where it is made, before it can lower a price."""
        with pytest.raises(InvalidInput, match="whole numbers"):
            Usage(**{bucket: count})  # pyright: ignore[reportArgumentType] - the wrong type is the test

    def test_an_attempt_costs_what_the_answering_model_costs(self) -> None:
        """The vendor's name for the model that answered decides, not the one that was asked for."""
        attempt = Attempt(provider="openai", model="gpt-5", asked_model="gpt-5-mini", usage=Usage(output=1_000))
        assert attempt_nano_usd(attempt, NOW) == cost_nano_usd("openai", "gpt-5", attempt.usage, NOW)

    def test_an_answer_under_an_unknown_name_costs_what_was_asked_for(self) -> None:
        """A name that no table knows yet is priced as the configured model; with neither known there is no price."""
        attempt = Attempt(provider="openai", model="house-7", asked_model="gpt-5-mini", usage=Usage(output=1_000))
        assert attempt_nano_usd(attempt, NOW) == cost_nano_usd("openai", "gpt-5-mini", attempt.usage, NOW)
        with pytest.raises(UnpricedModel):
            attempt_nano_usd(replace(attempt, asked_model="house-8"), NOW)

    @pytest.mark.parametrize("provider", ["extractive", "scripted", "local"])
    def test_own_hardware_costs_nothing(self, provider: str) -> None:
        """No bill comes for a provider that runs on our own machines, whatever its model."""
        assert cost_nano_usd(provider, "anything", Usage(input=10**9, output=10**9), NOW) == 0

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("anthropic", "claude-nope"),
            ("openai", ""),
            ("openai", "claude-opus-4-7"),
            ("openai", "whisper-1"),
            ("x", "y"),
        ],
    )
    def test_an_unknown_price_is_never_zero(self, provider: str, model: str) -> None:
        """What nobody can price is refused, also when no token was used."""
        with pytest.raises(UnpricedModel):
            cost_nano_usd(provider, model, Usage(), NOW)

    def test_the_day_is_that_of_utc(self) -> None:
        """The same moment in another time zone costs the same; a time without a zone is refused."""
        elsewhere = NOW.astimezone(timezone(timedelta(hours=13)))
        usage = Usage(input=1)
        assert cost_nano_usd("openai", "gpt-5-mini", usage, elsewhere) == 250
        with pytest.raises(InvalidInput, match="time zone"):
            cost_nano_usd("openai", "gpt-5-mini", usage, NOW.replace(tzinfo=None))


class TestAmounts:
    """registry.money.prices.format_usd and parse_usd."""

    @given(nano=st.integers(0, 10**18 - 1))
    def test_what_is_written_is_read(self, nano: int) -> None:
        """Writing and reading an amount loses nothing."""
        assert parse_usd(format_usd(nano)) == nano

    def test_nine_places(self) -> None:
        """Amounts are written with exactly nine places."""
        written = [format_usd(nano) for nano in (0, 123_450, 1_063_761_250, -1)]
        assert written == ["0.000000000", "0.000123450", "1.063761250", "-0.000000001"]

    @pytest.mark.parametrize(("text", "nano"), [("0", 0), ("12.5", 12_500_000_000), ("0.000000001", 1)])
    def test_short_forms_are_read(self, text: str, nano: int) -> None:
        """Places may be left out."""
        assert parse_usd(text) == nano

    @pytest.mark.parametrize(
        "text", ["", "-1", "1e3", "1.", ".5", "1,5", "0.0000000001", "nan", "\u0661", "1\n", "9" * 10]
    )
    def test_other_text_is_refused(self, text: str) -> None:
        """Signs, exponents, ten places, other digits and huge amounts are no amount."""
        with pytest.raises(InvalidInput, match="no amount"):
            parse_usd(text)
