"""The breaker around a provider: what counts, what does not, and one probe."""

import asyncio
from contextlib import aclosing

import pytest
from fakes.fake_breaker_vendor import ANSWER, Vendor, around, ask, request
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Attempt, Delta
from serving.providers.base import (
    AuthenticationFailed,
    CircuitOpen,
    ContentRefused,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    Saturated,
    SchemaFailure,
    TimedOut,
    Unreachable,
)

COUNTS = [
    Overloaded("x"),
    Unreachable("x"),
    Garbled("x"),
    RateLimited("x"),
    AuthenticationFailed("x"),
    ModelNotFound("x"),
]
DECLINED = [Rejected("x"), ContextTooLong("x"), ContentRefused("x"), SchemaFailure("x")]
KEPT_BACK = [Saturated("x", retry_after_s=1.0), CircuitOpen("x", retry_after_s=1.0)]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("error", COUNTS, ids=lambda error: type(error).__name__)
@on_virtual_clock
async def test_what_the_provider_did_opens_it(error: ProviderError, *, streamed: bool) -> None:
    """Five in a row, then nobody asks."""
    breaker, slot = around(vendor := Vendor(error))
    for _ in range(5):
        assert await ask(breaker, streamed=streamed) is type(error)
    assert await ask(breaker, streamed=streamed) is CircuitOpen
    assert (vendor.asked, slot.state) == (5, "open")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("error", [*DECLINED, *KEPT_BACK], ids=lambda error: type(error).__name__)
@on_virtual_clock
async def test_what_the_caller_did_does_not(error: ProviderError, *, streamed: bool) -> None:
    """A thousand bad requests of one tenant leave the provider to the others."""
    breaker, slot = around(Vendor(error))
    for _ in range(100):
        await ask(breaker, streamed=streamed)
    assert (slot.state, slot.read().calls) == ("closed", 0)


@pytest.mark.parametrize("streamed", [False, True])
@on_virtual_clock
async def test_hanging_up_does_not(*, streamed: bool) -> None:
    """A cancelled call says nothing about the provider."""
    breaker, slot = around(Vendor(takes_s=20.0))
    for _ in range(30):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await ask(breaker, streamed=streamed)
    assert (slot.state, slot.read().calls) == ("closed", 0)


@on_virtual_clock
async def test_a_reader_who_leaves_a_stream_early_is_no_failure() -> None:
    """The vendor's stream is closed with it."""
    breaker, slot = around(vendor := Vendor())
    async with aclosing(breaker.stream(request())) as events:
        assert await anext(events) == Delta(text="yes")
    assert (slot.read().calls, vendor.closed) == (0, ["stream"])


@on_virtual_clock
async def test_a_reader_who_leaves_after_the_answer_counts_as_answered() -> None:
    """Who has the completion need not ask for more."""
    breaker, slot = around(Vendor())
    async with aclosing(breaker.stream(request())) as events:
        await anext(events)
        assert await anext(events) == ANSWER
    assert (slot.read().calls, slot.read().failed) == (1, 0)


@on_virtual_clock
async def test_the_wait_is_told() -> None:
    """An open breaker says for how long, without asking."""
    breaker, _ = around(vendor := Vendor(Overloaded("x")))
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(2)
    with pytest.raises(CircuitOpen, match="p is left alone for 3 s") as caught:
        await breaker.complete(request())
    assert (caught.value.retry_after_s, vendor.asked) == (3.0, 5)


@pytest.mark.parametrize("error", [RateLimited("x", retry_after_s=2.0), Overloaded("x", retry_after_s=2.0)])
@on_virtual_clock
async def test_a_vendor_that_wants_rest_keeps_everyone_away_until_then(error: ProviderError) -> None:
    """One request learns it, by a 429 or a 503; then all are let in at once."""
    breaker, _ = around(vendor := Vendor(error))
    assert await ask(breaker) is type(error)
    vendor.error = None
    assert await ask(breaker) is CircuitOpen
    await asyncio.sleep(2)
    assert await asyncio.gather(*(ask(breaker) for _ in range(9))) == [None] * 9


class TestTimeouts:
    """Whose fault it is when the time is over."""

    @pytest.mark.parametrize("streamed", [False, True])
    @on_virtual_clock
    async def test_a_tiny_deadline_is_the_callers(self, *, streamed: bool) -> None:
        """One tenant's half seconds do not take the provider from everyone."""
        breaker, slot = around(Vendor(TimedOut("x"), takes_s=0.5))
        for _ in range(50):
            assert await ask(breaker, streamed=streamed, within_s=0.5) is TimedOut
        assert (slot.state, slot.read().calls) == ("closed", 0)

    @pytest.mark.parametrize("streamed", [False, True])
    @on_virtual_clock
    async def test_a_fair_one_is_the_providers(self, *, streamed: bool) -> None:
        """A provider that stalls is left alone."""
        breaker, slot = around(Vendor(TimedOut("x"), takes_s=1.0))
        for _ in range(5):
            assert await ask(breaker, streamed=streamed, within_s=1.0) is TimedOut
        assert slot.state == "open"

    @on_virtual_clock
    async def test_fair_is_what_answers_usually_take(self) -> None:
        """With a p95 of 4 s, three seconds prove nothing and five do."""
        breaker, slot = around(vendor := Vendor(TimedOut("x"), takes_s=3.0))
        for _ in range(40):
            slot.observe(Attempt(provider="p", model="m", asked_model="m", seconds=4.0))
        for _ in range(10):
            await ask(breaker)
        assert slot.read().calls == 0
        vendor.takes_s = 5.0
        for _ in range(5):
            await ask(breaker)
        assert slot.state == "open"

    @on_virtual_clock
    async def test_a_stall_does_not_excuse_itself(self) -> None:
        """However many attempts were cut off, a fair time is that of the answers."""
        breaker, slot = around(Vendor(TimedOut("x"), takes_s=5.0))
        for _ in range(40):
            slot.observe(Attempt(provider="p", model="m", asked_model="m", seconds=0.5))
        for _ in range(500):
            slot.observe(Attempt(provider="p", model="m", asked_model="m", seconds=20.0, outcome="TimedOut"))
        for _ in range(5):
            await ask(breaker)
        assert slot.state == "open"


class TestPing:
    """The active probe's door."""

    @on_virtual_clock
    async def test_a_failed_ping_opens_it_at_once(self) -> None:
        """It is sent when nobody asks: there is nothing better to know."""
        breaker, slot = around(Vendor(Unreachable("x")))
        with pytest.raises(Unreachable):
            await breaker.ping()
        assert (slot.state, slot.read().error) == ("open", "Unreachable")

    @on_virtual_clock
    async def test_a_ping_without_an_answer_ends(self) -> None:
        """After five seconds it has failed."""
        breaker, slot = around(Vendor(takes_s=1e6))
        with pytest.raises(TimedOut):
            await breaker.ping()
        assert slot.state == "open"

    @pytest.mark.parametrize("error", [ModelNotFound("x"), AuthenticationFailed("x")])
    @on_virtual_clock
    async def test_a_door_that_is_not_for_us_says_nothing(self, error: ProviderError) -> None:
        """Compatible servers lack an address, and keys may be restricted to generating."""
        breaker, slot = around(Vendor(error))
        with pytest.raises(type(error)):
            await breaker.ping()
        assert slot.state == "closed"

    @on_virtual_clock
    async def test_a_ping_brings_an_idle_provider_back_on_trial(self) -> None:
        """The first failed call after it opens the breaker again."""
        breaker, slot = around(vendor := Vendor(Overloaded("x")))
        for _ in range(5):
            await ask(breaker)
        await asyncio.sleep(5)
        vendor.error = None
        await breaker.ping()
        assert slot.state == "closed"
        vendor.error = Overloaded("x")
        await ask(breaker)
        assert slot.state == "open"


@on_virtual_clock
async def test_opening_and_closing_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log learns once that a provider is left alone, and once that it is asked again."""
    breaker, _ = around(vendor := Vendor(Overloaded("x")))
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error = None
    await ask(breaker)
    assert caplog.messages == ["provider p is left alone for 5 s", "provider p is asked again"]
