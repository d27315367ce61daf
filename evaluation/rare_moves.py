"""What few clusters cannot show: how far others may move that moved rarely or never in the sample."""

import math
from statistics import NormalDist
from typing import Final

from evaluation.statistics import Floats

FEW: Final = 3
"""None seen among n is compatible with 3 / n (rule of three, Hanley & Lippman-Hand 1983): the least that is assumed."""
ROUNDING: Final = 1e-9
"""Relative difference that sums of floats may show where there is none."""


def least_error(differences: Floats, whole: float) -> float:
    """Standard error to assume at least: three clusters may move, by what those that differ show about such moves.

    Without any the rule of three alone stands: three clusters, over the whole range. Each that differs tells more about
    how far one moves, so three small differences are not taken for proof that there are no large ones.

    Args:
        differences: one a cluster, as parts of a cluster of mean size.
        whole: the range that scores have.
    """
    differing = int((differences != 0).sum())
    size = (FEW * whole**2 + float(differences @ differences)) / (FEW + differing)
    return math.sqrt(min(FEW, differences.size) * size) / differences.size


def most_gained(differences: Floats, whole: float, alpha: float) -> float:
    """Sum that as many clusters may win, at level 1 - alpha; far above the one seen when few of them won.

    With the sign of the differences turned it is what may be lost. Wins are a compound Poisson sum. Its limit is that
    of the Poisson number with the same variance and third moment, in units of their quotient. Where no cluster won, the
    unit is the whole range: at 95 % that would be the rule of three.

    Args:
        differences: as in `least_error`.
        whole: the range that scores have.
        alpha: probability with which clusters of the same kind win more, up to 0.5.
    """
    won = differences[differences > ROUNDING * whole]
    if not won.size:
        return _poisson_limit(0, alpha) * whole
    parts = won / won.max()
    unit = float((parts**3).sum() / (parts**2).sum())
    count = float((parts**2).sum()) / unit**2
    return float(won.max()) * (float(parts.sum()) + unit * (_poisson_limit(count, alpha) - count))


def _poisson_limit(count: float, alpha: float) -> float:
    """Upper limit of a Poisson mean at level 1 - alpha (Wilson & Hilferty 1931)."""
    z = NormalDist().inv_cdf(1 - alpha)
    return (count + 1) * (1 - 1 / (9 * (count + 1)) + z / (3 * math.sqrt(count + 1))) ** 3
