"""What the attempts of one call used and cost: for the insight, the audit log and the metrics."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from registry.errors import JsonValue
from registry.messages import Attempt, Usage
from registry.money.prices import Price, attempt_nano_usd
from serving.metrics import Metrics

AUDITED_MAX = 24
"""Attempts of one call that are listed in the log, whose entries are bounded; the totals are of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Attempts with what each of them cost."""

    attempts: tuple[tuple[Attempt, int], ...] = ()
    """In the order in which they were made; nano-USD."""

    @property
    def usage(self) -> Usage:
        """Tokens of all attempts."""
        return sum((attempt.usage for attempt, _ in self.attempts), Usage())

    @property
    def cost_nano_usd(self) -> int:
        """Nano-USD of all attempts."""
        return sum(cost for _, cost in self.attempts)

    def audited(self) -> dict[str, JsonValue]:
        """The totals and the first attempts, for the body of an outcome."""
        each: list[JsonValue] = [
            {
                "provider": attempt.provider,
                "model": attempt.model,
                "asked_model": attempt.asked_model,
                "usage": {**asdict(attempt.usage)},
                "estimated": attempt.estimated,
                "outcome": attempt.outcome,
                "cost_nano_usd": cost,
            }
            for attempt, cost in self.attempts[:AUDITED_MAX]
        ]
        return {"usage": {**asdict(self.usage)}, "cost_nano_usd": self.cost_nano_usd, "billed": each}

    def count(self, metrics: Metrics) -> None:
        """Add tokens and money to the metrics, each to the model that was asked: a vendor's own names have no end."""
        for attempt, cost in self.attempts:
            for bucket, tokens in asdict(attempt.usage).items():
                metrics.tokens.labels(attempt.provider, attempt.asked_model, bucket).inc(tokens)
            metrics.cost.labels(attempt.provider, attempt.asked_model).inc(cost)


def spending(attempts: Sequence[Attempt], at: datetime, price: Price) -> Spending:
    """Price attempts, each by its own model.

    Raises:
        UnpricedModel: an attempt's model has no price, and neither has the one that was asked for.
    """
    return Spending(attempts=tuple((attempt, attempt_nano_usd(attempt, at, price)) for attempt in attempts))
