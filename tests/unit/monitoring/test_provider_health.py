"""Availability, waiting time, cost and findings out of recorded attempts."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from monitoring.burn_rate import WINDOW_MIN
from monitoring.provider_health import (
    ANSWERED,
    CANCELLED,
    FAILURES,
    Objectives,
    findings,
    health,
    wilson,
    window_start_ms,
)
from registry.rollups import MINUTE_MS, AttemptSum, bucket_of
from serving.providers.base import AuthenticationFailed, ModelNotFound, ProviderError, Transient

OBJECTIVES = Objectives(share=0.99, slow_s=10)
NOW_MS = 1_795_000_000_000
MINUTE = NOW_MS // MINUTE_MS * MINUTE_MS


def attempts(
    outcome: str = ANSWERED, count: int = 1, seconds: float = 2.0, *, streamed: bool = False, ago_min: int = 0
) -> AttemptSum:
    """Attempts of one minute."""
    return AttemptSum(
        provider="openai",
        model="gpt",
        period_ms=MINUTE - ago_min * MINUTE_MS,
        outcome=outcome,
        streamed=streamed,
        bucket=bucket_of(seconds),
        attempts=count,
        tokens=100 * count,
        cost_nano_usd=1_000 * count,
    )


def family(error: type[ProviderError]) -> set[type[ProviderError]]:
    """A class and all that derive from it."""
    return {error}.union(*(family(child) for child in error.__subclasses__()))


def test_the_provider_is_blamed_for_these_errors_and_no_others() -> None:
    """The names are those of the provider layer: everything transient, and our account there."""
    blamed = family(Transient) | {AuthenticationFailed, ModelNotFound}
    ours = {error.__name__ for error in blamed if error.__module__ == "serving.providers.base"}
    assert ours == FAILURES


def test_availability_leaves_out_what_is_not_the_providers() -> None:
    """Cancelled, wrongly asked and refused attempts neither help nor harm."""
    others = [
        attempts(name, 50) for name in (CANCELLED, "Rejected", "ContextTooLong", "SchemaFailure", "ContentRefused")
    ]
    (line,) = health([attempts(count=97), attempts("Overloaded", 2), attempts("TimedOut", 1), *others], OBJECTIVES)
    assert line.available is not None
    assert (line.available.value, line.available.n) == (0.97, 100)
    assert (line.attempts, line.cancelled, line.failed) == (350, 50, {"Overloaded": 2, "TimedOut": 1})


def test_a_time_out_counts_when_the_provider_had_a_second() -> None:
    """Callers with tiny deadlines do not make a provider unavailable."""
    (line,) = health([attempts(), attempts("TimedOut", seconds=1.0), attempts("TimedOut", seconds=1.5)], OBJECTIVES)
    assert line.available is not None
    assert line.available.n == 2


def test_answers_are_in_time_up_to_the_limit() -> None:
    """Ten seconds are in time, eleven are not; failures are no answers."""
    (line,) = health(
        [attempts(count=3, seconds=10), attempts(seconds=13), attempts("TimedOut", seconds=60)], OBJECTIVES
    )
    assert line.in_time is not None
    assert (line.in_time.value, line.in_time.n) == (0.75, 4)


def test_waiting_times_of_whole_and_streamed_answers_stand_apart() -> None:
    """Quantiles are upper edges of buckets: at least the value, at most 26 % above."""
    sums = [attempts(count=94, seconds=1.9), attempts(count=6, seconds=7), attempts(seconds=0.4, streamed=True)]
    (line,) = health(sums, OBJECTIVES)
    assert (line.p50_s, line.p95_s, line.first_piece_p95_s) == (1.995, 7.943, 0.501)


def test_cost_is_per_thousand_tokens_paid_for() -> None:
    """1,000 nano-USD for 100 tokens are 10,000 for a thousand."""
    (line,) = health([attempts(count=7)], OBJECTIVES)
    assert line.usd_per_1k_tokens == "0.000010000"


def test_nothing_is_made_up_where_nothing_was_asked() -> None:
    """Without attempts that count there is no share, no time and no cost."""
    (line,) = health([replace(attempts(CANCELLED), tokens=0, cost_nano_usd=0)], OBJECTIVES)
    assert (line.available, line.in_time, line.p50_s, line.usd_per_1k_tokens) == (None, None, None, None)


def test_providers_models_and_periods_stand_apart() -> None:
    """One line each, in order."""
    later, other = attempts(ago_min=-1), replace(attempts(), model="gpt-2")
    lines = health([other, later, attempts(), replace(attempts(), provider="anthropic")], OBJECTIVES)
    assert [(line.provider, line.model, line.period_ms - MINUTE) for line in lines] == [
        ("anthropic", "gpt", 0),
        ("openai", "gpt", 0),
        ("openai", "gpt", MINUTE_MS),
        ("openai", "gpt-2", 0),
    ]


@given(st.integers(1, 100_000), st.data())
def test_an_interval_holds_its_share(n: int, data: st.DataObject) -> None:
    """0 <= low <= share <= high <= 1 for every count."""
    share = wilson(data.draw(st.integers(0, n)), n)
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.high - share.low < 1


def test_the_interval_is_wilsons() -> None:
    """9 of 10: 0.596 to 0.982, as in Newcombe's tables."""
    share = wilson(9, 10)
    assert (round(share.low, 3), round(share.high, 3)) == (0.596, 0.982)


def outage(minutes: int, outcome: str = "Overloaded", seconds: float = 2) -> list[AttemptSum]:
    """Two good hours, then so many bad minutes until now."""
    good = [attempts(count=20, ago_min=ago) for ago in range(minutes, minutes + 120)]
    return good + [attempts(outcome, seconds=seconds, ago_min=ago) for ago in range(minutes)]


def starts(sums: list[AttemptSum]) -> set[tuple[str, str]]:
    """Kind and severity of what starts."""
    return {(each.kind, each.severity) for each in findings(sums, OBJECTIVES, NOW_MS) if each.starts}


def test_an_outage_is_found_with_what_it_rests_on() -> None:
    """Twelve minutes of failing probes page, and the details name rule, burn rates and errors."""
    found = [each for each in findings(outage(12), OBJECTIVES, NOW_MS) if each.starts]
    page = next(each for each in found if each.severity == "page")
    assert (page.kind, page.subject, page.lasts) == ("provider-availability", "openai/gpt", True)
    assert page.details["rule"] == "14.4x in 1 h and 5 min"
    assert (page.details["burn_long"], page.details["burn_short"]) == (20.0, 100.0)
    assert (page.details["attempts"], page.details["failed"]) == (48 * 20 + 12, {"Overloaded": 12})


def test_slow_answers_are_found_as_slow() -> None:
    """A provider that answers after a minute is available and late."""
    assert starts(outage(40, ANSWERED, seconds=60)) >= {("provider-latency", "page")}
    assert not {kind for kind, _ in starts(outage(40, ANSWERED, seconds=60))} & {"provider-availability"}


def test_what_is_not_the_providers_starts_nothing() -> None:
    """Hours of cancelled and refused attempts are no outage."""
    assert starts(outage(120, CANCELLED)) == starts(outage(120, "ContentRefused")) == set()


def test_the_window_ends_with_the_minute_that_runs() -> None:
    """The current minute counts, and what lies before the first one does not."""
    assert window_start_ms(NOW_MS) == MINUTE - (WINDOW_MIN - 1) * MINUTE_MS
    old = [attempts("Overloaded", 1_000, ago_min=WINDOW_MIN + ago) for ago in range(60)]
    assert starts(old + [attempts(ago_min=ago) for ago in range(60)]) == set()
