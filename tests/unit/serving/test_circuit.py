"""The breaker's states, without time and without a network."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.providers.circuit import CALLS_MIN, COOL_DOWN_S_FIRST, COOL_DOWN_S_MAX, ROW_OF_FEW, ROW_OF_MANY, Circuit

SECOND_NS = 1_000_000_000
START_NS = 10**15


def fail(circuit: Circuit, now_ns: int, times: int = 1) -> None:
    """Calls that fail, while anybody may call."""
    for _ in range(times):
        ticket = circuit.enter(now_ns)
        assert ticket is not None
        circuit.failed(now_ns, ticket)


def succeed(circuit: Circuit, now_ns: int, times: int = 1) -> None:
    """Calls that are answered."""
    for _ in range(times):
        ticket = circuit.enter(now_ns)
        assert ticket is not None
        circuit.succeeded(now_ns, ticket)


def opened() -> Circuit:
    """A breaker that has just opened for the first time, at START_NS."""
    circuit = Circuit()
    fail(circuit, START_NS, ROW_OF_FEW)
    assert circuit.state(START_NS) == "open"
    return circuit


def after(seconds: float) -> int:
    """So many seconds after the start."""
    return START_NS + int(seconds * SECOND_NS)


class TestOpening:
    """When a provider is left alone."""

    def test_a_few_failures_in_a_row_open_it_when_little_is_known(self) -> None:
        """A provider that is dead from the start costs five calls."""
        circuit = Circuit()
        fail(circuit, START_NS, ROW_OF_FEW - 1)
        assert circuit.state(START_NS) == "closed"
        fail(circuit, START_NS)
        assert circuit.state(START_NS) == "open"

    def test_under_traffic_a_longer_row_opens_it(self) -> None:
        """A provider that dies under load is left alone long before half of the window has failed."""
        circuit = Circuit()
        succeed(circuit, START_NS, 3_000)
        fail(circuit, START_NS, ROW_OF_MANY - 1)
        assert circuit.state(START_NS) == "closed"
        fail(circuit, START_NS)
        assert circuit.state(START_NS) == "open"

    def test_half_of_enough_calls_open_it(self) -> None:
        """Also when they never fail in a row."""
        circuit = Circuit()
        for _ in range(CALLS_MIN // 2 - 1):
            succeed(circuit, START_NS)
            fail(circuit, START_NS)
        succeed(circuit, START_NS)
        assert circuit.state(START_NS) == "closed"
        fail(circuit, START_NS)
        assert circuit.state(START_NS) == "open"

    def test_failures_older_than_the_window_are_forgotten(self) -> None:
        """Half a minute later they count for nothing in the rate."""
        circuit = Circuit()
        for _ in range(9):
            fail(circuit, START_NS)
            succeed(circuit, START_NS)
        assert circuit.window(after(26)) == (18, 9)
        assert circuit.window(after(30)) == (0, 0)

    def test_failures_that_began_before_it_opened_do_not_hold_it_open(self) -> None:
        """A storm of late failures neither doubles nor prolongs the cool-down."""
        circuit = Circuit()
        late = [circuit.enter(START_NS) for _ in range(50)]
        fail(circuit, START_NS, ROW_OF_FEW)
        for ticket in late:
            assert ticket is not None
            circuit.failed(after(4), ticket)
        assert circuit.state(after(COOL_DOWN_S_FIRST)) == "half_open"

    @pytest.mark.parametrize(("share", "rate", "at_most"), [(0.05, 10, 0), (0.1, 10, 1), (0.2, 10, 2)])
    def test_chance_failures_hardly_ever_open_it(self, share: float, rate: int, at_most: int) -> None:
        """Independent failures at 5, 10 and 20 % of 20,000 calls; the benchmark has more of them."""
        draw, circuit, opened_times = random.Random(4), Circuit(), 0  # noqa: S311 - a simulation
        for number in range(20_000):
            now_ns = START_NS + number * SECOND_NS // rate
            ticket = circuit.enter(now_ns)
            if ticket is None:
                ticket = circuit.lease(now_ns, 1.0)
            if ticket is None:
                continue
            was_open = circuit.open_until_ns
            if draw.random() < share:
                circuit.failed(now_ns, ticket)
            else:
                circuit.succeeded(now_ns, ticket)
            opened_times += not was_open and circuit.open_until_ns > 0
        assert opened_times <= at_most


class TestProbing:
    """How it finds out that a provider is back."""

    def test_nobody_enters_while_it_is_open(self) -> None:
        """Neither as everyone nor as the probe, and the wait is told."""
        circuit = opened()
        now_ns = after(COOL_DOWN_S_FIRST - 1)
        assert circuit.enter(now_ns) is None
        assert circuit.lease(now_ns, 10) is None
        assert circuit.retry_after_s(now_ns) == 1.0

    def test_one_probe_goes_when_the_cool_down_is_over(self) -> None:
        """The second caller is turned away while the first one probes."""
        circuit = opened()
        now_ns = after(COOL_DOWN_S_FIRST)
        assert circuit.lease(now_ns, 10) is not None
        assert circuit.lease(now_ns, 10) is None
        assert 0 < circuit.retry_after_s(now_ns) <= COOL_DOWN_S_FIRST

    def test_its_success_closes_and_clears(self) -> None:
        """The next opening needs as many failures as the first one, and begins with the first cool-down."""
        circuit = opened()
        probe = circuit.lease(after(COOL_DOWN_S_FIRST), 10)
        assert probe is not None
        circuit.succeeded(after(6), probe)
        assert circuit.state(after(6)) == "closed"
        assert circuit.window(after(6)) == (1, 0)
        fail(circuit, after(6), ROW_OF_FEW - 1)
        assert circuit.state(after(6)) == "closed"
        fail(circuit, after(6))
        assert circuit.state(after(6 + COOL_DOWN_S_FIRST)) == "half_open"

    def test_its_failure_doubles_the_cool_down_up_to_a_minute(self) -> None:
        """5, 10, 20, 40, 60, 60 seconds."""
        circuit, now_ns = opened(), START_NS
        waits: list[int] = []
        for _ in range(6):
            wait_ns = circuit.open_until_ns - now_ns
            waits.append(wait_ns // SECOND_NS)
            now_ns += wait_ns
            probe = circuit.lease(now_ns, 1)
            assert probe is not None
            circuit.failed(now_ns, probe)
        assert waits == [5, 10, 20, 40, COOL_DOWN_S_MAX, COOL_DOWN_S_MAX]

    def test_a_prober_that_died_is_followed_by_another(self) -> None:
        """Its lease ends by itself, and what it may still say is not heard."""
        circuit = opened()
        dead = circuit.lease(after(5), 8.0)
        assert dead is not None
        assert circuit.lease(after(12.9), 8.0) is None
        second = circuit.lease(after(13), 8.0)
        assert second is not None
        circuit.succeeded(after(14), dead)
        assert circuit.state(after(14)) == "half_open"
        circuit.succeeded(after(15), second)
        assert circuit.state(after(15)) == "closed"

    def test_a_probe_that_was_broken_off_leaves_a_pause(self) -> None:
        """No verdict, and no stream of probes from users who hang up."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        circuit.give_back(after(6), probe, asked=True)
        assert circuit.lease(after(10.9), 10) is None
        assert circuit.lease(after(11), 10) is not None

    def test_a_probe_that_was_never_sent_leaves_none(self) -> None:
        """When we kept it from the vendor ourselves, the next one goes at once."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        circuit.give_back(after(6), probe, asked=False)
        assert circuit.lease(after(6), 10) is not None

    def test_a_vendor_that_declines_is_back(self) -> None:
        """It answered, if not what we hoped for."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        circuit.declined(probe)
        assert circuit.state(after(5)) == "closed"

    def test_a_ping_closes_it_on_trial(self) -> None:
        """The first failed call opens it again, with twice the cool-down."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        circuit.close_on_trial(probe)
        fail(circuit, after(6))
        assert circuit.state(after(15.9)) == "open"
        assert circuit.state(after(16)) == "half_open"

    def test_a_probe_that_goes_on_is_judged_as_any_call(self) -> None:
        """What it ends with counts under the ticket it was given; its old one is worth nothing."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        ticket = circuit.close_on_trial(probe)
        circuit.failed(after(6), probe)
        assert circuit.state(after(6)) == "closed"
        circuit.failed(after(6), ticket)
        assert circuit.state(after(6)) == "open"

    def test_a_call_that_succeeds_ends_the_trial(self) -> None:
        """From then on it is as new."""
        circuit = opened()
        probe = circuit.lease(after(5), 10)
        assert probe is not None
        circuit.close_on_trial(probe)
        succeed(circuit, after(6))
        fail(circuit, after(6), ROW_OF_FEW - 1)
        assert circuit.state(after(6)) == "closed"


class TestStayingAway:
    """A vendor that throttles says until when."""

    def test_one_wish_keeps_everyone_away(self) -> None:
        """Then it is as it was: a throttle alone needs no probe."""
        circuit = Circuit()
        ticket = circuit.enter(START_NS)
        assert ticket is not None
        circuit.failed(START_NS, ticket, away_s=2.0)
        assert circuit.enter(after(1.9)) is None
        assert circuit.retry_after_s(after(1)) == 1.0
        assert circuit.enter(after(2)) is not None

    def test_an_hour_is_taken_for_a_minute(self) -> None:
        """A mistaken header does not take a provider away for long."""
        circuit = Circuit()
        circuit.failed(START_NS, 0, away_s=3_600.0)
        assert circuit.state(after(60)) == "closed"

    def test_a_shorter_wish_does_not_shorten_a_longer_one(self) -> None:
        """Answers may arrive in any order."""
        circuit = Circuit()
        circuit.failed(START_NS, 0, away_s=20.0)
        circuit.failed(after(1), 0, away_s=1.0)
        assert circuit.state(after(19)) == "open"


ENDINGS: dict[str, Callable[[Circuit, int, int], object]] = {
    "fails": lambda circuit, now_ns, ticket: circuit.failed(now_ns, ticket),
    "is throttled": lambda circuit, now_ns, ticket: circuit.failed(now_ns, ticket, away_s=7.0),
    "succeeds": lambda circuit, now_ns, ticket: circuit.succeeded(now_ns, ticket),
    "is declined": lambda circuit, _now_ns, ticket: circuit.declined(ticket),
    "shows up": lambda circuit, _now_ns, ticket: circuit.close_on_trial(ticket),
    "is cancelled": lambda circuit, now_ns, ticket: circuit.give_back(now_ns, ticket, asked=True),
    "dies": lambda _circuit, _now_ns, _ticket: None,
}
STEP = st.tuples(st.sampled_from(sorted(ENDINGS)), st.integers(0, 3), st.floats(min_value=0.0, max_value=30.0))


@given(steps=st.lists(STEP, max_size=120))
@settings(max_examples=300)
def test_never_two_probes_within_a_cool_down(steps: list[tuple[str, int, float]]) -> None:
    """Whatever four workers do, die and cancel: probes that reach the vendor are at least five seconds apart."""
    circuit, now_s, probed_s = Circuit(), 0.0, -math.inf
    held: dict[int, int] = {}
    for ending, worker, pause_s in steps:
        now_s += pause_s
        now_ns = after(now_s)
        if worker in held:
            ENDINGS[ending](circuit, now_ns, held.pop(worker))
        elif (ticket := circuit.enter(now_ns)) is not None:
            held[worker] = ticket
        elif (ticket := circuit.lease(now_ns, 3.0)) is not None:
            assert now_s - probed_s >= COOL_DOWN_S_FIRST - 1e-6
            held[worker], probed_s = ticket, now_s
        assert circuit.is_sane(now_ns, 121)
        assert 0 <= circuit.retry_after_s(now_ns) <= COOL_DOWN_S_MAX
        assert (circuit.enter(now_ns) is not None) == (circuit.state(now_ns) == "closed")
