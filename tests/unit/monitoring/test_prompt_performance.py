"""How a prompt version does in use, as figures with intervals."""

from dataclasses import replace

import pytest

from monitoring.prompt_performance import by_day, by_version
from registry.prompt_outcomes import Moments, VersionOutcomes
from registry.rollups import DAY_MS

NOBODY = Moments(n=0, total=0, squares=0)
DAY = VersionOutcomes(
    name="insights",
    version=1,
    day_ms=0,
    calls=10,
    blocked=1,
    abstained=3,
    accepted=1,
    accepted_told=2,
    told=3,
    claims=20,
    grounded=18,
    calls_with_claims=6,
    claims_squared=80,
    grounded_squared=66,
    claims_grounded=72,
    means={
        "cost_nano_usd": Moments(n=10, total=20e9, squares=50e18),
        "input_tokens": Moments(n=10, total=1_000, squares=110_000),
        "output_tokens": Moments(n=10, total=100, squares=1_100),
        "rating": Moments(n=2, total=9, squares=41),
    },
    latencies={100: 8, 2_000: 1},
)


def test_every_figure_is_there() -> None:
    """Shares are of what they say: of calls, of answers, of claims."""
    (line,) = by_day([DAY])
    assert {name: (pytest.approx(f.value), f.n) for name, f in line.figures.items()} == {
        "rating": (4.5, 2),
        "accepted": (0.5, 2),
        "feedback": (0.3, 10),
        "grounded": (0.9, 20),
        "abstained": (3 / 9, 9),
        "blocked": (0.1, 10),
        "cost_usd": (2.0, 10),
        "input_tokens": (100, 10),
        "output_tokens": (10, 10),
        "latency_p50_s": (0.1, 9),
        "latency_p95_s": (2.0, 9),
    }
    assert all(figure.low <= figure.value <= figure.high for figure in line.figures.values())


def test_what_nothing_was_counted_for_is_left_out() -> None:
    """Without feedback and claims there is no rating, no acceptance and no grounded share, rather than a zero."""
    silent = replace(
        DAY, claims=0, calls_with_claims=0, accepted_told=0, means={**DAY.means, "rating": NOBODY}, latencies={}
    )
    (line,) = by_day([silent])
    gone = {"rating", "accepted", "grounded", "latency_p50_s", "latency_p95_s"}
    assert gone.isdisjoint(line.figures)


def test_equal_ratings_are_not_certainty() -> None:
    """Two ratings of 5 leave room below."""
    (line,) = by_day([replace(DAY, means={**DAY.means, "rating": Moments(n=2, total=10, squares=50)})])
    rating = line.figures["rating"]
    assert (rating.value, rating.high) == (5, 5)
    assert rating.low < 4


def test_days_add_up_to_the_version() -> None:
    """Over all days the counts are the sums, and versions stand apart, the newest first."""
    second = replace(DAY, day_ms=DAY_MS)
    other = replace(DAY, version=2)
    new, old = by_version([DAY, second, other])
    assert (new.version, new.calls, old.version, old.calls, old.from_ms) == (2, 10, 1, 20, 0)
    assert old.figures["grounded"].n == 40
