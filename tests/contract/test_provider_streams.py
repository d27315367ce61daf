"""What the network adapters promise while an answer is being streamed."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest
from fakes.fake_anthropic import WRITES
from fakes.fake_vendor import DATED, INSIGHT, REQUEST_ID, TEXT
from fakes.fake_vendor_faults import Fault
from fakes.fake_vendor_wire import USAGE
from provider_calls import MODEL, PATIENCE_S, REQUEST, STRUCTURED, WIRES, Wire, ask, at_vendor, call, within

from registry.messages import Completion, Delta
from serving.providers.base import Overloaded, ProviderError, TimedOut, Unreachable

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


@pytest.mark.parametrize(
    ("fault", "kind"), [("cut", Unreachable), ("error-event", Overloaded), ("stall-mid", TimedOut)]
)
async def test_a_broken_stream_tells_what_is_known(wire: Wire, fault: Fault, kind: type[ProviderError]) -> None:
    """After the first delta the error comes as it is, with model, call id and the usage reported until then."""
    texts: list[str] = []
    async with at_vendor(wire, fault) as (provider, _), asyncio.timeout(PATIENCE_S):
        with pytest.raises(kind) as caught:  # noqa: PT012 - the deltas before it matter
            async with aclosing(provider.stream(within(0.5))) as stream:
                async for event in stream:
                    assert isinstance(event, Delta)
                    texts.append(event.text)
    assert TEXT.startswith("".join(texts))
    assert texts
    error = caught.value
    assert (error.model, error.request_id) == (f"{MODEL}{DATED}", REQUEST_ID)
    if wire == "anthropic":  # the only one that reports usage at the start
        assert error.usage is not None
        assert replace(error.usage, output=0, reasoning=0) == replace(USAGE + WRITES, output=0, reasoning=0)
        assert error.usage.output > 0
    else:
        assert error.usage is None


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
