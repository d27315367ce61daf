"""The histogram of how long a provider takes."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.messages import Attempt
from serving.providers.board import Board
from serving.providers.latency import MINUTE_NS, LatencyWindow

SECOND_NS = 1_000_000_000
START_NS = 10**15

seconds = st.floats(min_value=0.001, max_value=110.0)


def attempt(took_s: float, outcome: str = "answered", **more: object) -> Attempt:
    """An attempt at the one provider of this page."""
    return Attempt(provider="p", model="m", asked_model="m", outcome=outcome, seconds=took_s, **more)  # type: ignore[arg-type]


@given(times=st.lists(seconds, min_size=1, max_size=300), q=st.floats(min_value=0.01, max_value=0.99))
def test_a_quantile_is_that_of_the_observations_rounded_up_to_a_bucket(times: list[float], q: float) -> None:
    """Between the order statistic and 5 % above it."""
    window = LatencyWindow()
    for took_s in times:
        window.record(START_NS, took_s)
    exact = float(np.quantile(times, q, method="inverted_cdf"))
    found = window.read(START_NS).quantile_s(q)
    # The survival's rounding may move an order statistic that lies exactly on a step by one.
    after = float(np.quantile(times, min(q + 1e-9, 1.0), method="inverted_cdf"))
    before = float(np.quantile(times, max(q - 1e-9, 0.0), method="inverted_cdf"))
    assert found is not None
    assert min(before, exact) * 0.999 <= found <= max(after, exact) * 1.051


def test_nothing_seen_has_no_quantile() -> None:
    """An empty window says so."""
    seen = LatencyWindow().read(START_NS)
    assert (seen.n, seen.quantile_s(0.5)) == (0, None)


def test_what_is_older_than_five_minutes_is_forgotten() -> None:
    """The window slides."""
    window = LatencyWindow()
    window.record(START_NS, 60.0)
    assert window.read(START_NS + 4 * MINUTE_NS).n == 1
    assert window.read(START_NS + 6 * MINUTE_NS).n == 0
    window.record(START_NS + 6 * MINUTE_NS, 1.0)
    assert window.read(START_NS + 6 * MINUTE_NS).n == 1


def test_a_time_from_the_future_is_not_read() -> None:
    """Words written before the machine started again count for nothing."""
    window = LatencyWindow()
    window.record(START_NS, 60.0)
    assert window.read(START_NS - 3 * MINUTE_NS).n == 0


def test_attempts_cut_off_are_neither_answers_nor_forgotten() -> None:
    """Known example: of 10, 4 end at 1 s, 4 are cut off at 2 s, 2 end at 4 s; half of those at risk end after 2 s."""
    window = LatencyWindow()
    for took_s, censored in [(1.0, False)] * 4 + [(2.0, True)] * 4 + [(4.0, False)] * 2:
        window.record(START_NS, took_s, censored=censored)
    seen = window.read(START_NS)
    assert seen.n == 6
    assert seen.quantile_s(0.4) == pytest.approx(1.0, rel=0.05)
    assert seen.quantile_s(0.41) == pytest.approx(4.0, rel=0.05)


def test_a_quantile_hidden_by_cut_off_attempts_is_at_least_the_longest_wait() -> None:
    """When everything beyond was cut off, nobody claims to know better."""
    window = LatencyWindow()
    for _ in range(9):
        window.record(START_NS, 0.1)
    window.record(START_NS, 7.0, censored=True)
    found = window.read(START_NS).quantile_s(0.99)
    assert found == pytest.approx(7.0, rel=0.05)


class TestSlot:
    """What an attempt leaves behind."""

    def test_streamed_and_whole_answers_are_kept_apart(self) -> None:
        """First bytes come from streams, whole times from the others."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(attempt(2.0))
        slot.observe(attempt(9.0, streamed=True, first_byte_s=0.5))
        seen = slot.read()
        assert (seen.whole.n, seen.first_byte.n) == (1, 1)
        assert seen.first_byte.quantile_s(0.5) == pytest.approx(0.5, rel=0.05)

    def test_a_stream_broken_off_after_its_first_byte_is_an_observation_of_it(self) -> None:
        """How it ended does not matter to how it began."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(attempt(9.0, "Unreachable", streamed=True, first_byte_s=0.5))
        assert slot.read().first_byte.n == 1

    @pytest.mark.parametrize("outcome", ["cancelled", "TimedOut"])
    @pytest.mark.parametrize("streamed", [True, False])
    def test_who_was_cut_off_is_censored(self, outcome: str, *, streamed: bool) -> None:
        """In the histogram that it would have belonged to."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(attempt(3.0, outcome, streamed=streamed))
        seen = slot.read()
        assert (sum(seen.first_byte.censored), sum(seen.whole.censored)) == (int(streamed), int(not streamed))

    @pytest.mark.parametrize("outcome", ["Overloaded", "RateLimited", "SchemaFailure"])
    def test_a_failure_says_nothing_about_the_time_of_answers(self, outcome: str) -> None:
        """A quick refusal does not make a provider quick."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(attempt(0.01, outcome))
        assert sum(slot.read().whole.answered) == 0
        assert slot.read().error == outcome

    def test_a_changed_answering_model_is_noticed(self) -> None:
        """With what it was before, and when."""
        now_ns = START_NS
        slot = Board.private(lambda: now_ns).slot("p", "m")
        for model in ("m-1", "m-1", "m-2", "m-2"):
            slot.observe(Attempt(provider="p", model=model, asked_model="m"))
        now_ns += 4 * SECOND_NS
        seen = slot.read()
        assert (seen.model, seen.model_before, seen.model_changed_ago_s) == ("m-2", "m-1", 4.0)

    def test_the_first_answering_model_is_no_change(self) -> None:
        """There was none before."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(attempt(1.0))
        assert slot.read().model_before is None

    def test_names_longer_than_their_place_are_cut_short(self) -> None:
        """A vendor's name never overruns the memory that it is written to."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        slot.observe(Attempt(provider="p", model="é" * 500, asked_model="m"))
        slot.observe(attempt(1.0, "E" * 500))
        seen = slot.read()
        assert seen.error == "E" * 39
        assert (seen.model or "").startswith("é" * 63)


class TestHedgeDelay:
    """When a second attempt is worth its price."""

    def test_few_answers_make_no_hedge(self) -> None:
        """Below 100 nobody knows what late means."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        for _ in range(99):
            slot.observe(attempt(0.1))
        assert slot.hedge_after_s(streamed=False) is None

    def test_late_is_a_quarter_above_the_usual_time(self) -> None:
        """Whole answers and streams by their own figures."""
        slot = Board.private(lambda: START_NS).slot("p", "m")
        for _ in range(200):
            slot.observe(attempt(0.1))
        assert slot.hedge_after_s(streamed=False) == pytest.approx(0.125, rel=0.06)
        assert slot.hedge_after_s(streamed=True) is None

    @pytest.mark.parametrize("seed", range(3))
    def test_it_does_not_creep_up_to_the_stragglers(self, seed: int) -> None:
        """With exactly 5 % stragglers of 1 s that hedging cuts off, late stays near the usual 50 ms."""
        draw = random.Random(seed)  # noqa: S311 - a simulation
        now_ns = START_NS
        slot = Board.private(lambda: now_ns).slot("p", "m")

        def took_s() -> float:
            return 1.0 if draw.random() < 0.05 else draw.gauss(0.05, 0.005)

        for _ in range(6_000):
            now_ns += SECOND_NS // 20
            after_s, first_s = slot.hedge_after_s(streamed=False), took_s()
            if after_s is None or first_s <= after_s:
                slot.observe(attempt(first_s))
                continue
            assert after_s < 0.1
            second_s = took_s()
            if after_s + second_s < first_s:
                slot.observe(attempt(second_s))
                slot.observe(attempt(after_s + second_s, "cancelled"))
            else:
                slot.observe(attempt(first_s))
                slot.observe(attempt(first_s - after_s, "cancelled"))
