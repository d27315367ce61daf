"""How often `evaluation.gates.decide` is wrong, by simulation, against the rates that it states.

* FAIL though nothing changed: at most alpha, 5 %.
* PASS though the candidate is worse by the margin: at most 20 %, as PASS wants an mde within the margin.
* FAIL when the candidate is worse by the mde: four of five times, which is what an mde is.
* FAIL when it is worse by the margin of five points: nine of ten times, at the sample sizes that the design names
  (500 pairs of which 15 % differ, 200 of which 6 % differ).

A rate is taken to be as stated unless the simulated one lies more than 2.33 standard errors on the wrong side, which
chance does once in a hundred. The seed is fixed. The last case draws questions in clusters whose answers change
together, as questions about one document do; such pairs tell less, so there the mde is larger.

Then differences that are not symmetric though their mean is 0: rare large wins beside many small losses keep alpha.
Lognormal ones, and rare wins amid noise, where some samples show none, are given without a promise. A drop of the
margin that lies in rare large losses passes in at most 20 %, as any other.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.progress import Progress

from evaluation.gates import GateResult, decide
from tests.benchmarks.measurement import Figure

SEED = 20_261_123
ALPHA, MARGIN = 0.05, 0.05
MISSED_DROPS = 0.20
STANDARD_ERRORS = 2.33
RUNS, CLUSTERED_RUNS = 20_000, 1_000

Draw = Callable[[np.random.Generator, float], GateResult]
"""Simulates one comparison with this true difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of comparison."""

    name: str
    runs: int
    draw: Draw
    power: float | None = None
    """How often a drop by the margin shall end in FAIL."""


def _pairs(n: int, discordant: float) -> Draw:
    """Right-or-wrong answers to `n` questions, of which this share differs between the versions."""

    def draw(chance: np.random.Generator, difference: float) -> GateResult:
        won = (discordant + difference) / 2
        lost = discordant - won
        lose, win, right, wrong = chance.multinomial(n, [lost, won, *[(1 - discordant) / 2] * 2])
        before = np.repeat([1.0, 0.0, 1.0, 0.0], [lose, win, right, wrong])
        after = np.repeat([0.0, 1.0, 1.0, 0.0], [lose, win, right, wrong])
        return decide(before, after, margin=MARGIN, alpha=ALPHA)

    return draw


def _clusters(count: int, touched: float, changed: float) -> Draw:
    """Right-or-wrong answers in clusters of 1 to 6; in a touched cluster this share changes, all the same way."""

    def draw(chance: np.random.Generator, difference: float) -> GateResult:
        groups = np.repeat(np.arange(count), chance.integers(1, 7, count))
        worse = (1 - difference / (touched * changed)) / 2
        direction = np.where(chance.random(count) < worse, -1, 1) * (chance.random(count) < touched)
        change = direction[groups] * (chance.random(groups.size) < changed)
        before = np.where(change == 0, chance.random(groups.size) < 0.7, change < 0).astype(float)
        return decide(before, before + change, margin=MARGIN, alpha=ALPHA, clusters=groups.tolist())

    return draw


def _skewed(n: int, win: float, size: float, noise: float) -> Draw:
    """Single scores within 0 and 1: this share gains `size`, the others lose as much in all, give or take `noise`."""

    def draw(chance: np.random.Generator, difference: float) -> GateResult:
        loss = win * size / (1 - win)
        moved = np.where(chance.random(n) < win, size, -loss + noise * chance.uniform(-1, 1, n)) + difference
        before = np.where(moved > loss + noise, 0.1, 0.5)
        return decide(before, before + moved, margin=MARGIN, alpha=ALPHA)

    return draw


def _rarely_lost(n: int, lost: float) -> Draw:
    """Single scores of which this share loses a whole point and the others gain a little."""

    def draw(chance: np.random.Generator, difference: float) -> GateResult:
        moved = np.where(chance.random(n) < lost, -1.0, (lost + difference) / (1 - lost))
        before = np.where(moved < 0, 1.0, 0.2)
        return decide(before, before + moved, margin=MARGIN, alpha=ALPHA)

    return draw


def _whole_clusters(count: int, won: float) -> Draw:
    """Clusters of five 0/1 scores: this share is won whole, five times as many lose one of them."""

    def draw(chance: np.random.Generator, _: float) -> GateResult:
        drawn = chance.random(count)
        before, after = np.zeros((2, count, 5))
        before[(drawn >= won) & (drawn < 6 * won), 0] = 1
        after[drawn < won] = 1
        groups = np.repeat(np.arange(count), 5)
        return decide(before.ravel(), after.ravel(), margin=MARGIN, alpha=ALPHA, clusters=groups.tolist())

    return draw


def _lognormal(n: int) -> Draw:
    """Differences with a long tail of wins."""

    def draw(chance: np.random.Generator, _: float) -> GateResult:
        return decide(np.zeros(n), chance.lognormal(0, 1, n) - math.exp(0.5), margin=MARGIN, alpha=ALPHA)

    return draw


ASYMMETRIC: Sequence[tuple[str, Draw, float]] = (
    ("32 clusters, 4 % won whole", _whole_clusters(32, 0.04), ALPHA),
    ("32 clusters, 10 % won whole", _whole_clusters(32, 0.1), ALPHA),
    ("100 clusters, 4 % won whole", _whole_clusters(100, 0.04), ALPHA),
    ("50 scores, 2 % won by 0.8", _skewed(50, 0.02, 0.8, 0.0), ALPHA),
    ("166 scores, 5 % won by 0.8", _skewed(166, 0.05, 0.8, 0.0), ALPHA),
    ("166 scores, 5 % won by 0.8, noise", _skewed(166, 0.05, 0.8, 0.1), 1.0),
    ("50 scores, 2 % won by 0.8, noise", _skewed(50, 0.02, 0.8, 0.1), 1.0),
    *((f"{n} lognormal differences", _lognormal(n), 1.0) for n in (30, 100, 400)),
)
"""Name, how to draw without a drop, and the rate that is stated; 1: none."""

CASES = (
    Case(name="500 pairs, 15 % differ", runs=RUNS, power=0.9, draw=_pairs(500, 0.15)),
    Case(name="200 pairs, 6 % differ", runs=RUNS, power=0.9, draw=_pairs(200, 0.06)),
    Case(name="200 clusters of 1 to 6, 15 % differ", runs=CLUSTERED_RUNS, draw=_clusters(200, 0.3, 0.5)),
)


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Simulated rates beside the stated ones, case by case."""
    for case in CASES:
        same, mde = _simulated(progress, case, 0.0)
        yield _rate(f"{case.name}: FAIL, no change", same["FAIL"], case.runs, at_most=ALPHA)
        worse, _ = _simulated(progress, case, -MARGIN)
        yield _rate(f"{case.name}: PASS, worse by 5 points", worse["PASS"], case.runs, at_most=MISSED_DROPS)
        if case.power is not None:
            yield _rate(f"{case.name}: FAIL, worse by 5 points", worse["FAIL"], case.runs, at_least=case.power)
        least, _ = _simulated(progress, case, -mde)
        name = f"{case.name}: FAIL, worse by the mde ({100 * mde:.1f} points)"
        yield _rate(name, least["FAIL"], case.runs, at_least=1 - MISSED_DROPS)
    for name, draw, stated in ASYMMETRIC:
        case = Case(name=name, runs=CLUSTERED_RUNS, draw=draw)
        same, _ = _simulated(progress, case, 0.0)
        yield _rate(f"{name}: FAIL, no change", same["FAIL"], case.runs, at_most=stated)
    for n, lost in ((40, 0.055), (100, 0.055), (166, 0.075)):
        case = Case(name=f"{n} scores, {100 * lost:g} % lost", runs=CLUSTERED_RUNS, draw=_rarely_lost(n, lost))
        worse, _ = _simulated(progress, case, -MARGIN)
        yield _rate(f"{case.name}: PASS, worse by 5 points", worse["PASS"], case.runs, at_most=MISSED_DROPS)


def _simulated(progress: Progress, case: Case, difference: float) -> tuple[Counter[str], float]:
    """How often each verdict came, and the median of the mdes."""
    chance = np.random.default_rng([SEED, round(abs(difference) * 1000)])
    runs: Sequence[int] = range(case.runs)
    shown = progress.track(runs, description=f"gate_error_rates: {case.name}, {difference * 100:+.1f} points")
    results = [case.draw(chance, difference) for _ in shown]
    return Counter(result.verdict for result in results), median(result.mde for result in results)


def _rate(name: str, count: int, runs: int, *, at_most: float = 1.0, at_least: float = 0.0) -> Figure:
    """A simulated rate beside the stated one, which is a limit above or below; alone where none is stated."""
    rate = count / runs
    if at_most == 1 and at_least == 0:
        return Figure(name=name, value=100 * rate, unit="%", n=runs)
    stated = at_most if at_most < 1 else at_least
    slack = STANDARD_ERRORS * math.sqrt(stated * (1 - stated) / runs)
    if at_most < 1:
        promise, kept = f"≤ {at_most:.0%} + {100 * slack:.2f}", rate <= at_most + slack
    else:
        promise, kept = f"≥ {at_least:.0%} - {100 * slack:.2f}", rate >= at_least - slack
    return Figure(name=name, value=100 * rate, unit="%", n=runs, promise=promise, kept=kept)
