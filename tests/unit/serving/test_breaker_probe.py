"""The breaker's probe: one of all, and what becomes of its verdict."""

import asyncio
import fcntl
from contextlib import aclosing
from pathlib import Path

import pytest
from fakes.fake_breaker_vendor import ANSWER, Vendor, around, ask, half_open, request
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Completion, CompletionRequest
from serving.providers.base import (
    CircuitOpen,
    ContentRefused,
    ContextTooLong,
    Overloaded,
    ProviderError,
    Rejected,
    SchemaFailure,
    Unreachable,
)

DECLINED = [Rejected("x"), ContextTooLong("x"), ContentRefused("x"), SchemaFailure("x")]


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


@on_virtual_clock
async def test_a_probe_that_begins_to_reason_lets_everyone_in() -> None:
    """The vendor is there before its first words are."""
    breaker, slot = await half_open(vendor := Vendor())
    states: list[str] = []

    async def reason(asked: CompletionRequest) -> Completion:
        asked.on_begin()
        states.append(slot.state)
        return ANSWER

    vendor.complete = reason
    await ask(breaker)
    assert states == ["closed"]
