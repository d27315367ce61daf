"""Burn-rate alarms: how fast an error budget is used up, and whether chance alone may have done it.

An objective of 99 % allows 1 % of failures, the budget; a burn rate of 6 uses it up six times too fast. The rules are
those of the SRE workbook (Beyer et al. 2018, ch. 5): a long window for what matters, a short one for whether it lasts.

Every minute with traffic weighs the same, whatever was asked in it. A breaker keeps requests from a dead provider, so
that an outage holds a few failed probes among thousands of earlier answers: counted by attempts, it would show up only
when the long window has forgotten the better times.

A burn rate alone alarms by chance: of ten attempts one failure burns ten times, and a provider that is exactly at its
objective burns at 1 or more half of the time. So an alarm also wants evidence: bets against «at most the budget fails
in each minute, whatever happened before» (Waudby-Smith & Ramdas 2024, J. R. Stat. Soc. B 86; Ville 1939). A bet of a
share b of the capital multiplies it by 1 + (b / budget) (share failed - budget) each minute, which on average gains
nothing while the provider keeps its objective. So the capital of several bets together exceeds 1 / alpha in at most
alpha of all windows (Markov), for any number of attempts, however the failures within a minute hang together.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from registry.alarms import Severity

Floats = NDArray[np.float64]

EVERY_MIN: Final = 5
"""Minutes between two looks; the alpha below is spent on so many looks."""
FALSE_ALARMS: Final = 0.01
"""Largest probability that a provider which keeps its objectives raises any alarm within DAYS."""
DAYS: Final = 30
OBJECTIVES: Final = 2
"""Availability and latency share the alpha."""
BETS: Final[Floats] = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
"""Shares of the capital: large ones find an outage, small ones a leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a burn rate matters."""

    severity: Severity
    factor: float
    """Burn rate that both windows reach."""
    long_min: int
    short_min: int

    def __str__(self) -> str:
        """As people read it, e.g. `14.4x in 1 h and 5 min`."""
        return f"{self.factor:g}x in {_span(self.long_min)} and {_span(self.short_min)}"


RULES: Final = (
    Rule(severity="page", factor=14.4, long_min=60, short_min=5),
    Rule(severity="page", factor=6.0, long_min=6 * 60, short_min=30),
    Rule(severity="ticket", factor=1.0, long_min=3 * 24 * 60, short_min=6 * 60),
)
WINDOW_MIN: Final = max(rule.long_min for rule in RULES)
"""Minutes that the rules look back."""
ALPHA: Final = FALSE_ALARMS / (DAYS * 24 * 60 / EVERY_MIN) / OBJECTIVES / len(RULES)
"""Of one rule at one look: the probabilities of all looks in DAYS add up to FALSE_ALARMS (Boole)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """One rule at some moments: arrays of one length."""

    rule: Rule
    long: Floats
    """Burn rate in the long window, at least 0; NaN without traffic."""
    short: Floats
    odds_log10: Floats
    """Decimal logarithm of what the bets made of a capital of 1 over the long window."""

    @property
    def starts(self) -> NDArray[np.bool_]:
        """Both windows burn, and chance does not explain it."""
        evident = self.odds_log10 >= -np.log10(ALPHA)
        return (self.long >= self.rule.factor) & (self.short >= self.rule.factor) & evident

    @property
    def lasts(self) -> NDArray[np.bool_]:
        """An alarm stays open: the long window burns, and the short one does too or has no traffic to tell."""
        return (self.long >= self.rule.factor) & ~(self.short < self.rule.factor)


def burn(failed: Floats, budget: float, ends: NDArray[np.intp]) -> tuple[Burn, ...]:
    """All rules at some moments.

    Args:
        failed: share of failures in each minute, 0 to 1; NaN for a minute without traffic.
        budget: the share that may fail, above 0 and below 1.
        ends: how many of the minutes had passed at each moment, 0 to all.

    Returns:
        One Burn a rule, each with one value a moment.
    """
    traffic = ~np.isnan(failed)
    shares = np.where(traffic, failed, 0.0)
    gains = np.where(traffic[:, None], np.log1p(BETS / budget * (shares[:, None] - budget)), 0.0)
    minutes, total, capital = (_running_sum(each) for each in (traffic.astype(np.float64), shares, gains))

    def rate(length: int) -> Floats:
        starts = np.maximum(ends - length, 0)
        seen = minutes[ends] - minutes[starts]
        share = np.divide(total[ends] - total[starts], seen, out=np.full(len(ends), np.nan), where=seen > 0)
        return np.round(share / budget, 9)  # differences of sums carry rounding, thresholds are exact

    burns: list[Burn] = []
    for rule in RULES:
        logs = capital[ends] - capital[np.maximum(ends - rule.long_min, 0)]
        together = np.logaddexp.reduce(logs, axis=1) - np.log(len(BETS))
        odds = np.asarray(together / np.log(10), dtype=np.float64)
        burns.append(Burn(rule=rule, long=rate(rule.long_min), short=rate(rule.short_min), odds_log10=odds))
    return tuple(burns)


def _running_sum(values: Floats) -> Floats:
    """Sums of the first 0, 1, 2, ... values."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])


def _span(minutes: int) -> str:
    for unit, length in (("d", 24 * 60), ("h", 60)):
        if minutes % length == 0:
            return f"{minutes // length} {unit}"
    return f"{minutes} min"
