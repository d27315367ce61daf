"""The breaker around a provider: what counts, what does not, and one probe."""

import asyncio
import fcntl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Attempt, Completion, CompletionRequest, Delta, Message, StreamEvent, Usage
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
from serving.providers.board import Board
from serving.providers.breaker import Breaker
from serving.providers.slot import Slot

ANSWER = Completion(text="yes", stop_reason="end", usage=Usage(), provider="p", model="m")


@dataclass
class Vendor:
    """Does what a test tells it to, and counts."""

    error: BaseException | None = None
    takes_s: float = 0.0
    asked: int = 0
    pinged: int = 0
    name: str = "p"
    model: str = "m"
    closed: list[str] = field(default_factory=list)
    hook: Callable[[], None] | None = None
    """Runs in each attempt."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """One attempt."""
        self._ask()
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return ANSWER

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """One attempt, in a piece; an error comes after it."""
        self._ask()
        try:
            yield Delta(text="yes")
            await asyncio.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            yield ANSWER
        finally:
            self.closed.append("stream")

    async def ping(self) -> None:
        """One ping."""
        self.pinged += 1
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        """Nothing to close."""
        self.closed.append("vendor")

    def _ask(self) -> None:
        self.asked += 1
        if self.hook is not None:
            self.hook()


def request(within_s: float = 30.0) -> CompletionRequest:
    """A request that has so many seconds."""
    deadline = asyncio.get_running_loop().time() + within_s
    return CompletionRequest(messages=(Message(role="user", content="?"),), max_output_tokens=9, deadline=deadline)


def around(vendor: Vendor, path: Path | None = None) -> tuple[Breaker, Slot]:
    """A breaker with a slot of its own, on the running loop's clock; `path` is the board's file."""
    loop = asyncio.get_running_loop()

    def clock() -> int:
        return int(loop.time() * 1e9)

    slot = (Board.shared(path, clock) if path else Board.private(clock)).slot("p", "m")
    return Breaker(vendor, slot), slot


async def ask(breaker: Breaker, *, streamed: bool = False, within_s: float = 30.0) -> type[BaseException] | None:
    """Ask once; gives the kind of error it ended with."""
    try:
        if streamed:
            async with aclosing(breaker.stream(request(within_s))) as events:
                assert [event async for event in events] == [Delta(text="yes"), ANSWER]
        else:
            assert await breaker.complete(request(within_s)) == ANSWER
    except ProviderError as error:
        return type(error)
    return None


async def half_open(vendor: Vendor, path: Path | None = None) -> tuple[Breaker, Slot]:
    """A breaker whose next call is the probe; the vendor is as the test made it again."""
    breaker, slot = around(vendor, path)
    was, vendor.error, vendor.takes_s = (vendor.error, vendor.takes_s), Overloaded("x"), 0.0
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error, vendor.takes_s = was
    return breaker, slot


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


@on_virtual_clock
async def test_one_of_many_probes_and_lets_the_others_back_in() -> None:
    """After the cool-down one request goes through; its answer opens the door for all."""
    breaker, slot = around(vendor := Vendor(Overloaded("x")))
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error, vendor.takes_s, vendor.asked = None, 1.0, 0
    outcomes = await asyncio.gather(*(ask(breaker) for _ in range(20)))
    assert (outcomes.count(None), outcomes.count(CircuitOpen), vendor.asked) == (1, 19, 1)
    assert slot.state == "closed"


@on_virtual_clock
async def test_a_cancelled_probe_gives_its_lease_back() -> None:
    """A first cool-down later, the next request probes."""
    breaker, slot = await half_open(vendor := Vendor(takes_s=25.0))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await ask(breaker)
    assert await ask(breaker) is CircuitOpen
    await asyncio.sleep(5)
    vendor.takes_s = 0.0
    assert await ask(breaker) is None
    assert slot.state == "closed"


class TestStreamedProbes:
    """A stream that is the probe is back with its first piece, not with its last."""

    @on_virtual_clock
    async def test_the_first_piece_lets_everyone_in(self) -> None:
        """Nobody waits for a slow reader, and a reader who leaves then closes no door."""
        breaker, slot = await half_open(Vendor())
        async with aclosing(breaker.stream(request())) as events:
            await anext(events)
            assert await ask(breaker) is None
        assert slot.state == "closed"

    @on_virtual_clock
    async def test_a_reader_who_leaves_after_it_leaves_the_trial(self) -> None:
        """Its leaving says nothing; the next failure does."""
        breaker, slot = await half_open(vendor := Vendor())
        async with aclosing(breaker.stream(request())) as events:
            await anext(events)
        assert slot.state == "closed"
        vendor.error = Overloaded("x")
        await ask(breaker)
        assert slot.state == "open"

    @on_virtual_clock
    async def test_a_probe_that_breaks_off_opens_it_again(self) -> None:
        """For twice as long."""
        breaker, slot = await half_open(vendor := Vendor())
        vendor.error = Unreachable("cut")
        assert await ask(breaker, streamed=True) is Unreachable
        assert (slot.state, slot.retry_after_s) == ("open", 10.0)

    @on_virtual_clock
    async def test_a_whole_stream_ends_the_trial(self) -> None:
        """Then it takes as many failures as ever to open it."""
        breaker, slot = await half_open(vendor := Vendor())
        assert await ask(breaker, streamed=True) is None
        vendor.error = Overloaded("x")
        for _ in range(4):
            await ask(breaker)
        assert slot.state == "closed"


class TestStoppedWorkers:
    """Another worker is stopped while it holds the board's lock."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(("error", "state"), [(None, "closed"), (Overloaded("x"), "open")])
    @on_virtual_clock
    async def test_a_probes_verdict_is_told_later(
        self, tmp_path: Path, error: ProviderError | None, state: str, *, streamed: bool
    ) -> None:
        """All others wait for it: it is not lost as a statistic may be."""
        breaker, slot = await half_open(vendor := Vendor(), lock := tmp_path / "providers.board")
        vendor.error = error
        with lock.open("rb") as stopped:
            vendor.hook = lambda: fcntl.flock(stopped, fcntl.LOCK_EX)
            await ask(breaker, streamed=streamed)
            assert slot.state == "half_open"
            fcntl.flock(stopped, fcntl.LOCK_UN)
        vendor.hook = None
        await asyncio.sleep(0.1)
        assert slot.state == state

    @on_virtual_clock
    async def test_a_reader_who_leaves_meanwhile_closes_no_door(self, tmp_path: Path) -> None:
        """The first piece is the verdict, however late it is told."""
        breaker, slot = await half_open(vendor := Vendor(), lock := tmp_path / "providers.board")
        with lock.open("rb") as stopped:
            vendor.hook = lambda: fcntl.flock(stopped, fcntl.LOCK_EX)
            events = breaker.stream(request())
            await anext(events)
            fcntl.flock(stopped, fcntl.LOCK_UN)
            await events.aclose()
        assert slot.state == "closed"

    @on_virtual_clock
    async def test_it_is_not_told_for_ever(self, tmp_path: Path) -> None:
        """When the lock stays away, the lease runs out and another call probes."""
        breaker, slot = await half_open(vendor := Vendor(), lock := tmp_path / "providers.board")
        with lock.open("rb") as stopped:
            vendor.hook = lambda: fcntl.flock(stopped, fcntl.LOCK_EX)
            await ask(breaker)
            await asyncio.sleep(2)
        vendor.hook = None
        await asyncio.sleep(2)
        assert (slot.state, await ask(breaker)) == ("half_open", CircuitOpen)
        await asyncio.sleep(30)
        assert (await ask(breaker), slot.state) == (None, "closed")


@pytest.mark.parametrize("error", DECLINED, ids=lambda error: type(error).__name__)
@on_virtual_clock
async def test_a_declined_probe_closes_it(error: ProviderError) -> None:
    """The vendor answers again; what it answered is the caller's matter."""
    breaker, slot = around(vendor := Vendor(Overloaded("x")))
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error = error
    await ask(breaker)
    assert slot.state == "closed"


@on_virtual_clock
async def test_a_bug_gives_the_lease_back() -> None:
    """What is no provider's error is raised as it is and leaves nothing behind."""
    breaker, slot = around(vendor := Vendor(Overloaded("x")))
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error = KeyError("bug")
    with pytest.raises(KeyError):
        await ask(breaker)
    await asyncio.sleep(5)
    assert slot.state == "half_open"
    vendor.error = None
    assert await ask(breaker) is None


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
