"""What the network adapters promise while an answer is being streamed."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

import pytest
from fakes.fake_anthropic import WRITES
from fakes.fake_vendor import DATED, INSIGHT, REQUEST_ID, TEXT
from fakes.fake_vendor_faults import Fault
from fakes.fake_vendor_wire import USAGE
from provider_calls import MODEL, PATIENCE_S, REQUEST, STRUCTURED, WIRES, Wire, ask, at_vendor, call, noted, within

from registry.messages import Completion, Delta
from serving.providers.base import Provider, ProviderError, TimedOut
from serving.providers.hedge import Hedge
from serving.providers.traffic_budget import TrafficBudget

pytestmark = [pytest.mark.contract, pytest.mark.parametrize("wire", WIRES)]


@pytest.mark.parametrize("fault", ["odd-framing", "duplicates"])
async def test_odd_but_lawful_streams_are_read(wire: Wire, fault: Fault) -> None:
    """Whatever the framing, and when a vendor repeats itself, the text is there once and the usage is right."""
    completion = (await call(wire, fault, mode="streamed")).completion
    assert completion.text == TEXT
    assert completion.usage == (USAGE + WRITES if wire == "anthropic" else USAGE)


@pytest.mark.parametrize(("structured", "start"), [(False, TEXT[:1]), (True, "{")])
async def test_pieces_come_when_they_are_written(wire: Wire, structured: bool, start: str) -> None:  # noqa: FBT001
    """The first delta is there while the vendor still writes, also of a JSON document."""
    request = replace(REQUEST, output_schema=STRUCTURED) if structured else REQUEST
    async with (
        asyncio.timeout(PATIENCE_S),
        at_vendor(wire, "stall-mid") as (provider, vendor),
        aclosing(provider.stream(request)) as stream,
    ):
        first = await anext(stream)
        assert isinstance(first, Delta)
        assert first.text.startswith(start)
        vendor.release.set()
        *_, last = [event async for event in stream]
    assert isinstance(last, Completion)


async def test_leaving_early_hangs_up(wire: Wire) -> None:
    """Closing the generator ends the call at the vendor."""
    async with at_vendor(wire, "stall-mid") as (provider, vendor), asyncio.timeout(PATIENCE_S):
        async with aclosing(provider.stream(REQUEST)) as stream:
            await anext(stream)
        await vendor.hung_up()


Ending = Literal["cut", "error-event", "stall-mid", "left", "cancelled"]
ENDINGS: dict[Ending, tuple[Fault, str]] = {
    "cut": ("cut", "Unreachable"),
    "error-event": ("error-event", "Overloaded"),
    "stall-mid": ("stall-mid", "TimedOut"),
    "left": ("stall-mid", "cancelled"),
    "cancelled": ("stall-mid", "cancelled"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_broken_stream_tells_what_is_known(wire: Wire, ending: Ending) -> None:
    """However an answer ends before its time, its attempt has model, call id and the usage reported until then."""
    fault, outcome = ENDINGS[ending]
    request, attempts = noted(within(0.5 if ending == "stall-mid" else PATIENCE_S))
    texts: list[str] = []
    begun = asyncio.Event()

    async def read(provider: Provider) -> None:
        async with aclosing(provider.stream(request)) as stream:
            async for event in stream:
                assert isinstance(event, Delta)
                texts.append(event.text)
                begun.set()
                if ending == "left":
                    return

    async with at_vendor(wire, fault) as (provider, _), asyncio.timeout(PATIENCE_S):
        reading = asyncio.create_task(read(provider))
        await begun.wait()
        if ending == "cancelled":
            reading.cancel()
        await asyncio.wait([reading])
    error = None if reading.cancelled() else reading.exception()
    assert error is None or isinstance(error, ProviderError)
    assert TEXT.startswith("".join(texts))
    (attempt,) = attempts
    assert (attempt.outcome, attempt.model, attempt.request_id) == (outcome, f"{MODEL}{DATED}", REQUEST_ID)
    assert attempt.estimated
    assert attempt.usage.output > 0
    if wire == "anthropic":  # the only one that reports usage at the start
        assert replace(attempt.usage, output=0, reasoning=0) == replace(USAGE + WRITES, output=0, reasoning=0)


async def test_the_loser_of_a_race_tells_what_is_known(wire: Wire) -> None:
    """A hedged stream that lost is billed by what its vendor had counted, and names its model."""
    request, attempts = noted(within(PATIENCE_S))
    async with (
        at_vendor(wire, lambda number, _: "stall-opened" if number == 1 else "none") as (provider, vendor),
        asyncio.timeout(PATIENCE_S),
    ):
        hedged = Hedge(provider, lambda _: 0.05, TrafficBudget(share=1.0, start=1.0, cap=1.0))
        async with aclosing(hedged.stream(request)) as stream:
            async for _ in stream:
                pass
        assert len(vendor.requests) == 2
    lost = next(attempt for attempt in attempts if attempt.outcome == "cancelled")
    assert (lost.model, lost.request_id, lost.estimated) == (f"{MODEL}{DATED}", REQUEST_ID, True)
    if wire == "anthropic":
        assert replace(lost.usage, output=0, reasoning=0) == replace(USAGE + WRITES, output=0, reasoning=0)


@pytest.mark.parametrize(
    ("fault", "answer"), [("stall-thinking", None), ("stall-mid", f"Here it is: {json.dumps(INSIGHT)}")]
)
async def test_what_is_not_shown_is_a_beginning_too(wire: Wire, fault: Fault, answer: str | None) -> None:
    """A model that reasons, or writes what is held back, is not cut off as one that says nothing."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + 0.5
    begun: list[float] = []
    request, attempts = noted(replace(within(PATIENCE_S), first_delta_deadline=limit, output_schema=STRUCTURED))
    request = replace(request, on_begin=lambda: begun.append(loop.time()))
    async with at_vendor(wire, fault) as (provider, vendor):
        vendor.answer = answer
        loop.call_at(limit + 0.1, vendor.release.set)
        answered = await ask(provider, request, mode="streamed")
    assert json.loads(answered.completion.text) == INSIGHT
    assert [attempt.outcome for attempt in attempts] == ["answered"]
    assert len(begun) == 1
    assert begun[0] < limit


async def test_silence_is_no_beginning(wire: Wire) -> None:
    """A vendor that accepted the request and says nothing has not begun: the next provider has its turn."""
    limit = asyncio.get_running_loop().time() + 0.3
    request, attempts = noted(replace(within(PATIENCE_S), first_delta_deadline=limit))
    async with at_vendor(wire, "stall-body") as (provider, _):
        with pytest.raises(TimedOut):
            await ask(provider, request, mode="streamed")
    assert [attempt.first_byte_s for attempt in attempts] == [None]


async def test_a_finished_stream_gives_its_connection_back(wire: Wire) -> None:
    """Streams one after the other go over one connection."""
    async with at_vendor(wire) as (provider, vendor):
        for _ in range(3):
            await ask(provider, mode="streamed")
    assert (vendor.connections, vendor.hangups) == (1, 0)


async def test_a_slow_reader_gets_the_whole_stream(wire: Wire) -> None:
    """A reader that lets other things happen between the deltas misses nothing."""
    texts: list[str] = []
    async with (
        at_vendor(wire) as (provider, _),
        aclosing(provider.stream(replace(REQUEST, output_schema=STRUCTURED))) as stream,
    ):
        async for event in stream:
            for _ in range(20):
                await asyncio.sleep(0)
            if isinstance(event, Delta):
                texts.append(event.text)
    assert json.loads("".join(texts)) == INSIGHT
