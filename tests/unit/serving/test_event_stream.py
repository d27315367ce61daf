"""The response that does its work while it is sent, apart from any question."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fakes.fake_client import FakeClient
from fakes.fake_stream import BEGUN, INSIGHT
from fakes.virtual_clock import on_virtual_clock

from registry.insights import Insight
from registry.messages import Delta
from serving.asking import Tell
from serving.call_log import DeadlineExceeded
from serving.routes.event_stream import EventStream


def streaming(work: Callable[[Tell], Awaitable[tuple[Insight, bool]]]) -> FakeClient:
    """A client of one stream."""
    return FakeClient(EventStream(work), "/", {})


@on_virtual_clock
async def test_a_silence_is_broken_every_ten_seconds() -> None:
    """While a model thinks, comments keep the line open, at most ten seconds after whatever came last."""

    async def slow(tell: Tell) -> tuple[Insight, bool]:
        await tell(BEGUN)
        await asyncio.sleep(19.0)
        await tell(Delta(text="Nine."))
        await asyncio.sleep(25.0)
        return INSIGHT, False

    client = streaming(slow)
    await client.call()
    assert client.comments == 3
    assert [name for name, _ in client.events] == ["meta", "delta", "done"]


@on_virtual_clock
async def test_nothing_keeps_a_stream_alive_that_has_not_begun() -> None:
    """Before the first event there is no comment either: an early failure stays an ordinary problem."""

    async def refused(_tell: Tell) -> tuple[Insight, bool]:
        await asyncio.sleep(60.0)
        raise DeadlineExceeded("no answer within 60 s")

    client = streaming(refused)
    with pytest.raises(DeadlineExceeded):
        await client.call()
    assert client.status is None


@on_virtual_clock
async def test_no_comment_queues_behind_a_full_line() -> None:
    """A reader who takes nothing gets no comments on top; the work still ends when it hangs up."""
    ended = asyncio.Event()

    async def waiting(tell: Tell) -> tuple[Insight, bool]:
        try:
            await tell(BEGUN)
            await tell(Delta(text="Nine."))
        finally:
            ended.set()
        return INSIGHT, False

    client = FakeClient(EventStream(waiting), "/", {}, reads=2)
    call = asyncio.create_task(client.call())
    await asyncio.sleep(100.0)
    client.hang_up()
    await call
    assert ended.is_set()
    assert client.comments == 0


async def test_no_task_outlives_the_response() -> None:
    """Neither the work nor the listener is left behind when the client hangs up."""
    before = asyncio.all_tasks()

    async def stalled(tell: Tell) -> tuple[Insight, bool]:
        await tell(BEGUN)
        await asyncio.Event().wait()
        return INSIGHT, False

    client = streaming(stalled)
    call = asyncio.create_task(client.call())
    await client.until("meta")
    client.hang_up()
    await call
    assert asyncio.all_tasks() == before


async def test_line_ends_in_an_answer_do_not_end_its_event() -> None:
    """Any text is one data line."""
    text = "one\r\n\r\ntwo\n\nevent: done\u2028three"

    async def work(tell: Tell) -> tuple[Insight, bool]:
        await tell(BEGUN)
        await tell(Delta(text=text))
        return INSIGHT, False

    client = streaming(work)
    await client.call()
    assert client.answer == text
