"""Keeps one call within its `max_cost_usd`: clamps the answer's length rather than refuse, refuses what cannot fit.

* BudgetExceeded (Refused) - even the shortest useful answer would cost more than allowed
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from registry.errors import Refused
from registry.messages import CompletionRequest, Usage
from registry.money.prices import Price, cost_nano_usd, format_usd

BYTES_PER_TOKEN = 3
"""Below the 3.5 to 4.5 of common tokenizers on prose, so that the estimate errs upwards."""
OUTPUT_TOKENS_MIN = 64
"""Fewer do not hold a cited sentence."""


class BudgetExceeded(Refused):
    """The call would cost more than its caller allows."""

    code = "budget-exceeded"


@dataclass(frozen=True, slots=True)
class PricedModel:
    """One provider of the chain and the model that it asks."""

    provider: str
    model: str


class BudgetGate:
    """Estimates before the call what it will cost at the dearest provider of the chain that may answer."""

    def __init__(
        self,
        models: Sequence[PricedModel],
        price: Price = cost_nano_usd,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._models = tuple(models)
        self._price = price
        self._clock = clock

    def admit(self, request: CompletionRequest, max_nano_usd: int | None) -> CompletionRequest:
        """The request, its answer clamped to what the rest of the money buys.

        Raises:
            BudgetExceeded: too little is left for an answer.
            UnpricedModel: a provider that may answer has no price.
        """
        models = [each for each in self._models if request.may_ask(each.provider, each.model)]
        for model in models:
            self._cost(model, Usage())  # a model without a price is found before it is paid for
        if max_nano_usd is None:
            return request
        prompt = Usage(input=prompt_tokens(request))
        allowed = request.max_output_tokens
        for model in models:
            allowed = min(allowed, self._affordable(model, prompt, max_nano_usd))
        if allowed < min(OUTPUT_TOKENS_MIN, request.max_output_tokens):
            needed = max(self._cost(m, replace(prompt, output=OUTPUT_TOKENS_MIN)) for m in models)
            raise BudgetExceeded(
                f"this question would cost about {format_usd(needed)} USD at least; raise max_cost_usd",
                limit_usd=format_usd(max_nano_usd),
                estimate_usd=format_usd(needed),
            )
        return replace(request, max_output_tokens=allowed)

    def _affordable(self, model: PricedModel, prompt: Usage, max_nano_usd: int) -> int:
        """Output tokens that the rest of the money buys here."""
        left = max_nano_usd - self._cost(model, prompt)
        thousand = self._cost(model, Usage(output=1_000))
        if left < 0:
            return 0
        return 1_000_000 if thousand == 0 else left * 1_000 // thousand

    def _cost(self, model: PricedModel, usage: Usage) -> int:
        return self._price(model.provider, model.model, usage, datetime.fromtimestamp(self._clock(), UTC))


def prompt_tokens(request: CompletionRequest) -> int:
    """Estimated tokens of the prompt; more than a tokenizer counts on prose."""
    return sum(len(message.content.encode()) // BYTES_PER_TOKEN + 4 for message in request.messages)
