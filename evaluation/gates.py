"""Decide whether a candidate may replace the version in production, with error rates that are stated and simulated.

* FAIL          the candidate is worse: a one-sided test says so at `alpha`, and the clusters that won are not so few
                that those not seen could make up for it. Without a real drop this happens in about `alpha` of all
                decisions: simulated for 0/1 scores, for symmetric differences, and for rare large wins against many
                small losses. Where differences are skewed without bound (lognormal, sigma 1) in about twice alpha, and
                a win that no sample shows at all is beyond every test (Bahadur & Savage 1956).
* PASS          no significant drop, none seen beyond `margin`, and a true drop as large as `margin` would have been
                found in four of five cases, also if it lies in rare large losses.
* UNDERPOWERED  neither, for too few pairs: refuse, and get `n_needed` of them.

Blocking whenever the mean went down would be wrong in nearly half of all decisions where nothing changed.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.rare_moves import FEW, ROUNDING, least_error, most_gained
from evaluation.statistics import CELLS_MAX, Floats, checked_scores, cluster_numbers
from registry.errors import InvalidInput

Verdict = Literal["PASS", "FAIL", "UNDERPOWERED"]
Method = Literal["mcnemar-unconditional", "paired-cluster-bootstrap"]

SCORE_MAX: Final = 1e100
"""Larger scores have no squares that a computer can add up."""
MARGIN_MIN: Final = 1e-9
ALPHA_MIN: Final = 1e-9
DISCORDANT_MAX: Final = 1_000
"""Above it the normal distribution stands in for the exact sum."""
POWER: Final = 0.8
"""Probability with which a true drop of `mde` is found."""
RESAMPLES: Final = 4_999
SEED: Final = 20_260_101
"""Fixed, so that the same scores always get the same verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A verdict with what it rests on. Differences are candidate minus baseline, in units of the score."""

    verdict: Verdict
    difference: float
    ci: tuple[float, float]
    """Two-sided interval of the difference at level 1 - alpha."""
    mde: float
    """Smallest true drop that these pairs would show with probability 0.8."""
    n: int
    """Pairs compared."""
    n_needed: int
    """Pairs at which the mde would equal the margin, and a drop be known, if differences stay as they are; more than
    `n` if UNDERPOWERED."""
    p: float
    """One-sided p-value of «the candidate is not worse»."""
    alpha: float
    margin: float
    method: Method


def decide(
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    margin: float,
    alpha: float = 0.05,
    clusters: Sequence[Hashable] | None = None,
) -> GateResult:
    """Compare paired scores, higher being better.

    Scores that are all 0 or 1 and stand alone are compared by McNemar's test; others, and clustered ones, by the paired
    cluster bootstrap.

    Args:
        baseline: scores of the version in production.
        candidate: scores of the new version for the same questions in the same order.
        margin: largest drop that would be tolerable, in units of the score; at least 1e-9.
        alpha: rate of false alarms, 1e-9 to 0.5.
        clusters: what each pair belongs to, when pairs are not independent.

    Raises:
        InvalidInput: for unequal lengths, fewer than two pairs, values that are not finite or beyond 1e100, a wrong
            margin or alpha, clusters that cannot be told apart.
    """
    before, after = checked_scores(baseline, "baseline scores"), checked_scores(candidate, "candidate scores")
    if before.size != after.size:
        raise InvalidInput(f"{before.size} baseline and {after.size} candidate scores; pair them one to one")
    if before.size < 2:  # noqa: PLR2004 - a spread needs two
        raise InvalidInput(f"{before.size} pairs; a comparison needs at least 2")
    if np.abs(np.stack((before, after))).max() > SCORE_MAX:
        raise InvalidInput(f"scores must lie within {SCORE_MAX:g} of 0; no metric needs more")
    if not (MARGIN_MIN <= margin < math.inf and ALPHA_MIN <= alpha < 0.5):  # noqa: PLR2004 - a drop in every second
        raise InvalidInput(f"margin must be at least 1e-9 and alpha 1e-9 to 0.5, not {margin} and {alpha}")
    groups = cluster_numbers(clusters, before.size)
    alone = int(groups.max()) + 1 == groups.size
    if alone and np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all():
        return _mcnemar(before, after, margin, alpha)
    return _cluster_bootstrap(before, after, groups, margin, alpha)


def _mcnemar(before: Floats, after: Floats, margin: float, alpha: float) -> GateResult:
    """McNemar's test, unconditional; interval and spread of Bonett & Price 2012, with one loss and one win added."""
    n = before.size
    lost, won = int(((before == 1) & (after == 0)).sum()), int(((before == 0) & (after == 1)).sum())
    adjusted_won, adjusted_lost = (won + 1) / (n + 2), (lost + 1) / (n + 2)
    centre = adjusted_won - adjusted_lost
    spread = math.sqrt((adjusted_won + adjusted_lost - centre**2) / (n + 2))
    reach = _z(1 - alpha / 2) * spread
    few = lost + won < FEW
    return _result(
        difference=(won - lost) / n,
        ci=(max(centre - reach, -1.0), min(centre + reach, 1.0)),
        mde=(_z(1 - alpha) + _z(POWER)) * max(spread, math.sqrt(min(FEW, n)) / n if few else 0.0),
        few=few,
        n=n,
        p=_mcnemar_p(lost, lost + won, n),
        alpha=alpha,
        margin=margin,
        method="mcnemar-unconditional",
    )


def _mcnemar_p(lost: int, discordant: int, n: int) -> float:
    """P(statistic at least as large) without a difference, summed over all tables that n pairs can give.

    How many pairs differ is unknown beforehand and taken from the data (an estimated p-value: Storer & Kim 1990; for
    matched pairs Lloyd 2008). It keeps alpha better than the mid-p, and finds more than the exact conditional test.
    """
    statistic = (2 * lost - discordant) / math.sqrt(max(discordant, 1))
    if discordant > DISCORDANT_MAX:
        return NormalDist().cdf(-statistic)
    share = discordant / n
    reach = 9 * math.sqrt(n * share * (1 - share))
    counts = np.arange(max(0, math.floor(discordant - reach)), min(n, math.ceil(discordant + reach)) + 1)
    likely = np.array([_binomial(int(count), n, share) for count in counts])
    roots = np.sqrt(counts.clip(min=1).astype(np.float64))
    needed = np.ceil((counts + statistic * roots) / 2 - ROUNDING).astype(np.intp).clip(min=0)
    return min(1.0, float(likely @ _at_least(needed, counts)))


def _binomial(count: int, n: int, share: float) -> float:
    """P(`count` of `n`) when each happens with probability `share`."""
    if share in {0.0, 1.0}:
        return float(count == n * share)
    return math.exp(_log_choose(n, count) + count * math.log(share) + (n - count) * math.log1p(-share))


def _at_least(needed: NDArray[np.intp], counts: NDArray[np.intp]) -> Floats:
    """P(`needed` losses or more of each count) when a loss and a win are equally likely."""
    factorials = np.concatenate(([0.0], np.log(np.arange(1, int(counts.max()) + 1)).cumsum()))
    longest = max(0, int((counts - needed).max())) + 1
    losses = needed[:, None] + np.arange(longest)
    possible = losses <= counts[:, None]
    losses = np.where(possible, losses, 0)
    logs = factorials[counts][:, None] - factorials[losses] - factorials[counts[:, None] - losses]
    return (np.exp(logs - counts[:, None] * math.log(2)) * possible).sum(axis=1)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _cluster_bootstrap(
    before: Floats, after: Floats, groups: NDArray[np.intp], margin: float, alpha: float
) -> GateResult:
    """Wild cluster bootstrap of the studentised mean difference, the null imposed (Cameron, Gelbach & Miller 2008).

    The signs of whole clusters are flipped; it keeps its error rate from about ten clusters on, where percentiles of
    resampled clusters reject up to twice too often. Flipping takes differences for symmetric, so a drop counts only
    where it outweighs what the clusters that won may win at most.
    """
    difference = after - before
    sums = np.bincount(groups, difference).astype(np.float64)
    sizes = np.bincount(groups).astype(np.float64)
    mean = float(difference.mean())
    whole = max(1.0, float(max(before.max(), after.max()) - min(before.min(), after.min())))
    error = float(_standard_errors(sums[None, :], sizes, np.array([mean]))[0])
    seen = float(_studentised(np.array([mean]), np.array([error]))[0])
    flipped = _flipped_statistics(sums, sizes)
    at_most = seen + ROUNDING * abs(seen) if math.isfinite(seen) else seen
    p = (1 + int((flipped <= at_most).sum())) / (1 + flipped.size)
    critical = float(np.quantile(flipped, 1 - alpha, method="higher"))
    reach = float(np.quantile(np.abs(flipped), 1 - alpha, method="higher"))
    differences = sums / sizes.mean()
    won, lost = float(differences.clip(0).sum()), float(-differences.clip(max=0).sum())
    # No win at all and losses above their mean have to come together, each by chance: so twice alpha is enough there.
    unseen = alpha if won > ROUNDING * whole else min(2 * alpha, 0.5)
    least = least_error(differences, whole)
    few = error < least
    if few:
        error, critical, reach = least, _z(1 - alpha), _z(1 - alpha / 2)
    if not math.isfinite(reach):  # so few clusters that all of them may fall to one side
        error, critical, reach = whole, 1.0, 1.0
    return _result(
        difference=mean,
        ci=(mean - reach * error, mean + reach * error),
        mde=(critical + _z(POWER)) * error,
        few=few,
        n=difference.size,
        p=p,
        undone=most_gained(differences, whole, unseen) / lost if lost else 0.0,
        missed=(most_gained(-differences, whole, 1 - POWER) - won) / differences.size,
        alpha=alpha,
        margin=margin,
        method="paired-cluster-bootstrap",
    )


def _standard_errors(sums: Floats, sizes: Floats, means: Floats) -> Floats:
    """Cluster-robust standard errors of means, one for each row of cluster sums."""
    count = sizes.size
    residuals = sums - means[:, None] * sizes
    return np.sqrt(count / max(count - 1, 1) * (residuals**2).sum(axis=1)) / sizes.sum()


def _studentised(means: Floats, errors: Floats) -> Floats:
    """Means over their errors; infinite where there is no spread but rounding, 0 where there is nothing at all."""
    spread = errors > ROUNDING * np.abs(means)
    return np.divide(means, errors, out=np.where(means == 0, 0.0, np.copysign(np.inf, means)), where=spread)


def _flipped_statistics(sums: Floats, sizes: Floats) -> Floats:
    """The statistic under random signs of the clusters."""
    random = np.random.default_rng(SEED)
    blocks: list[Floats] = []
    size = max(1, CELLS_MAX // sums.size)
    for start in range(0, RESAMPLES, size):
        signs = random.integers(0, 2, (min(size, RESAMPLES - start), sums.size)) * 2 - 1
        flipped = signs * sums
        means = flipped.sum(axis=1) / sizes.sum()
        blocks.append(_studentised(means, _standard_errors(flipped, sizes, means)))
    return np.concatenate(blocks)


def _result(
    *,
    difference: float,
    ci: tuple[float, float],
    mde: float,
    few: bool,
    n: int,
    p: float,
    alpha: float,
    margin: float,
    method: Method,
    undone: float = 0.0,
    missed: float = 0.0,
) -> GateResult:
    """The verdict.

    `undone` is what may have been won over what was lost: from 1 on a drop is not known. `missed` is the drop that rare
    losses may hide, as they were seen: not more than the margin in a PASS.
    """
    # An error shrinks with the root of n; what is assumed for lack of differences is 3 / n and shrinks with n.
    times_more = mde / margin if few else (mde / margin) ** 2
    held = max(mde, missed) <= margin and difference >= -margin * (1 + ROUNDING)
    times_more = max(times_more, missed / margin)
    verdict: Verdict = "PASS" if held else "UNDERPOWERED"
    if p <= alpha:
        verdict = "FAIL" if undone < 1 else "UNDERPOWERED"
        times_more = max(times_more, undone)
    needed = math.ceil(n * times_more)
    return GateResult(
        verdict=verdict,
        difference=difference,
        ci=ci,
        mde=mde,
        n=n,
        n_needed=max(needed, n + 1) if verdict == "UNDERPOWERED" else needed,
        p=p,
        alpha=alpha,
        margin=margin,
        method=method,
    )


def _z(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)
