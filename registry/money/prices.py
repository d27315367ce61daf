"""Tokens into money: whole nano-USD inside, decimal strings with nine places outside.

Vendors' prices come from the table inside genai-prices, which is never fetched anew at run time. They are looked up
once for each (provider, model, day) and kept as integers; a price is then a few multiplications.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

from registry.errors import InvalidInput
from registry.messages import Attempt, Usage

NANO = 1_000_000_000
"""Nano-USD in one US dollar."""
MILLION = 1_000_000
OWN_HARDWARE = frozenset({"extractive", "scripted", "local"})
"""Providers that run on our own machines: no bill comes for them, whatever the model."""
VENDORS = frozenset({"anthropic", "openai"})
"""Providers that send a bill, by their name in the price table."""

_USD = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?")


class UnpricedModel(InvalidInput):
    """Nobody knows what this model costs, so it is not used: an unknown price is never zero."""

    code = "unpriced-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Nano-USD for a million tokens of each bucket."""

    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """Rates that hold once a prompt, cached parts included, is longer than `above` tokens."""

    above: int
    rates: Rates


def cost_nano_usd(provider: str, model: str, usage: Usage, at: datetime) -> int:
    """What an attempt costs, rounded up to a whole nano-USD.

    Args:
        provider: its name in the chain, e.g. `anthropic`.
        model: as the vendor names it; a date at its end is understood.
        usage: tokens in buckets that do not overlap.
        at: when it was asked, with a time zone; prices change by day (UTC).

    Raises:
        UnpricedModel: nobody knows the price.
        InvalidInput: `at` has no time zone.
    """
    if provider in OWN_HARDWARE:
        return 0
    if at.tzinfo is None:
        raise InvalidInput("a price needs a time with a time zone")
    tariffs = _tariffs(provider, model, at.astimezone(UTC).date())
    rates = next(tariff.rates for tariff in tariffs if usage.prompt > tariff.above)
    total = (
        usage.input * rates.input
        + usage.cache_read * rates.cache_read
        + usage.cache_write_5m * rates.cache_write_5m
        + usage.cache_write_1h * rates.cache_write_1h
        + usage.output * rates.output
    )
    return -(-total // MILLION)


Price = Callable[[str, str, Usage, datetime], int]
"""Provider, model, usage and time to nano-USD, as `cost_nano_usd` does."""


def attempt_nano_usd(attempt: Attempt, at: datetime, price: Price = cost_nano_usd) -> int:
    """What one attempt costs: at the price of the model that answered, or of the asked one where that has none.

    A vendor may answer under a name that no price table knows yet; the call is made and paid for by then.

    Raises:
        UnpricedModel: neither has a price.
    """
    try:
        return price(attempt.provider, attempt.model, attempt.usage, at)
    except UnpricedModel:
        return price(attempt.provider, attempt.asked_model, attempt.usage, at)


def format_usd(nano: int) -> str:
    """An amount as people write it, with nine places: 123450 is `0.000123450`."""
    whole, fraction = divmod(abs(nano), NANO)
    return f"{'-' if nano < 0 else ''}{whole}.{fraction:09d}"


def parse_usd(text: str) -> int:
    """The nano-USD of a decimal string of at most nine places, not negative.

    Raises:
        InvalidInput: it does not read so.
    """
    found = _USD.fullmatch(text)
    if found is None or not text.isascii():
        raise InvalidInput(f"{text[:40]!r} is no amount; write dollars like 12.5, with at most nine places")
    return int(found[1]) * NANO + int((found[2] or "").ljust(9, "0"))


@lru_cache(maxsize=1_024)
def _tariffs(provider: str, model: str, day: date) -> tuple[Tariff, ...]:
    """The tariffs of a model, the one for the longest prompts first."""
    # The table takes 0.2 s and several MB; a process without vendors never needs it.
    import genai_prices  # noqa: PLC0415 - see above

    if provider not in VENDORS:
        raise UnpricedModel(f"provider {provider!r} has no prices; use one of {', '.join(sorted(VENDORS))}")
    noon = datetime.combine(day, time(12), UTC)
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), model, provider_id=provider, genai_request_timestamp=noon)
    except LookupError as error:
        raise UnpricedModel(
            f"nobody knows what {provider} model {model!r} costs; use another model, or a newer genai-prices"
        ) from error
    price = found.model_price
    if price.input_mtok is None or price.output_mtok is None:
        raise UnpricedModel(f"{provider} model {model!r} is not priced by text tokens; use another model")
    return _from_price(found.model_price)


def _from_price(price: Any) -> tuple[Tariff, ...]:
    values: list[Any] = list(price.__dict__.values())
    starts: set[int] = {tier.start for value in values for tier in getattr(value, "tiers", ())}
    return tuple(Tariff(above=above, rates=_rates(price, above)) for above in sorted({-1, *starts}, reverse=True))


def _rates(price: Any, above: int) -> Rates:
    """Rates of the tariff that begins `above`; a bucket without its own price costs what its parent costs."""

    def rate(value: Any) -> int:
        steps = [tier.price for tier in getattr(value, "tiers", ()) if tier.start <= above]
        usd: Decimal = steps[-1] if steps else getattr(value, "base", value)
        return int((usd * NANO).to_integral_value(ROUND_CEILING))

    def first(*values: Any) -> int:
        return rate(next(value for value in values if value is not None))

    write = (price.cache_write_mtok, price.input_mtok)
    return Rates(
        input=rate(price.input_mtok),
        cache_read=first(price.cache_read_mtok, price.input_mtok),
        cache_write_5m=first(price.cache_write_5m_mtok, *write),
        cache_write_1h=first(price.cache_write_1h_mtok, *write),
        output=rate(price.output_mtok),
    )
