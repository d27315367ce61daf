"""Metering: every attempt is told once, with what it cost, however it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from fakes.acting_provider import FOREVER_S, USAGE, Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Attempt, Completion, CompletionRequest, Delta, StreamEvent, Usage
from serving.providers.base import (
    ATTEMPT_S_MAX,
    AuthenticationFailed,
    ContentRefused,
    Garbled,
    Overloaded,
    ProviderError,
    RateLimited,
    SchemaFailure,
    TimedOut,
    Unreachable,
)
from serving.providers.metering import Metered

STALLS = Act(wait_s=FOREVER_S)


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


@on_virtual_clock
async def test_an_answer_is_told() -> None:
    """The request's bill and every observer get the same attempt, with the vendor's own numbers."""
    bill: list[Attempt] = []
    seen: list[Attempt] = []
    await Metered(ActingProvider(acts=[Act(wait_s=1.5)]), [seen.append]).complete(request(9, bill=bill))
    expected = Attempt(provider="a", model="a-1-x", asked_model="a-1", usage=USAGE, seconds=3.0)
    assert (bill, seen) == ([expected], [expected])


@on_virtual_clock
async def test_a_stream_is_told() -> None:
    """A streamed attempt says when its first piece came, and is told before the completion is handed on."""
    bill: list[Attempt] = []
    events = Metered(ActingProvider(acts=[Act(pieces=("a", "b"), wait_s=2.0)])).stream(request(9, bill=bill))
    async with aclosing(events):
        async for event in events:
            assert bool(bill) == isinstance(event, Completion)
    (attempt,) = bill
    assert (attempt.streamed, attempt.first_byte_s, attempt.seconds, attempt.usage) == (True, 2.0, 6.0, USAGE)


@pytest.mark.parametrize(
    "error", [RateLimited("no"), Overloaded("no"), Unreachable("no", usage=Usage()), AuthenticationFailed("no")]
)
def test_what_cannot_have_cost_costs_nothing(error: ProviderError) -> None:
    """A vendor that refused to begin, or was not reached, bills nothing."""

    @on_virtual_clock
    async def main() -> None:
        bill: list[Attempt] = []
        with pytest.raises(type(error)):
            await Metered(ActingProvider(acts=[Act(error=error)])).complete(request(9, bill=bill))
        assert [(a.outcome, a.usage, a.estimated) for a in bill] == [(type(error).__name__, Usage(), False)]

    main()


@pytest.mark.parametrize("error", [Unreachable("broke"), Garbled("no JSON"), TimedOut("504")])
def test_what_may_have_cost_is_estimated(error: ProviderError) -> None:
    """When nobody says what was used, and the vendor had the request, its prompt is billed as an estimate."""

    @on_virtual_clock
    async def main() -> None:
        bill: list[Attempt] = []
        with pytest.raises(type(error)):
            await Metered(ActingProvider(acts=[Act(pieces=(), error=error)])).complete(request(9, bill=bill))
        assert [(a.usage, a.estimated) for a in bill] == [(Usage(input=2), True)]

    main()


@pytest.mark.parametrize("kind", [SchemaFailure, ContentRefused])
def test_what_the_vendor_reports_with_its_error_counts(kind: type[ProviderError]) -> None:
    """Tokens, model and request id of a failed attempt are the vendor's."""

    @on_virtual_clock
    async def main() -> None:
        bill: list[Attempt] = []
        error = kind("no", usage=Usage(input=5), model="a-1-dated", request_id="r-7")
        with pytest.raises(kind):
            await Metered(ActingProvider(acts=[Act(error=error)])).complete(request(9, bill=bill))
        (attempt,) = bill
        assert (attempt.usage, attempt.estimated) == (Usage(input=5), False)
        assert (attempt.model, attempt.asked_model, attempt.request_id) == ("a-1-dated", "a-1", "r-7")

    main()


@on_virtual_clock
async def test_time_runs_out() -> None:
    """At the deadline the attempt is stopped, and its prompt is billed as an estimate."""
    bill: list[Attempt] = []
    end = now() + 4.0
    with pytest.raises(TimedOut):
        await Metered(ActingProvider(acts=[STALLS])).complete(request(4, bill=bill))
    assert now() == end
    assert [(a.outcome, a.usage, a.estimated, a.seconds) for a in bill] == [("TimedOut", Usage(input=2), True, 4.0)]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_attempt_without_a_deadline_ends_too(streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whoever sets no deadline does not wait forever."""

    @on_virtual_clock
    async def main() -> None:
        provider, started = Metered(ActingProvider(acts=[STALLS])), now()
        with pytest.raises(TimedOut):
            await (texts(provider.stream(request())) if streamed else provider.complete(request()))
        assert now() == started + ATTEMPT_S_MAX

    main()


@on_virtual_clock
async def test_without_time_nobody_is_asked() -> None:
    """Past the deadline the vendor is not asked, and nothing is billed."""
    bill: list[Attempt] = []
    vendor = ActingProvider()
    with pytest.raises(TimedOut, match="no time was left to ask a"):
        await Metered(vendor).complete(request(0, bill=bill))
    assert (vendor.requests, bill) == ([], [])


@on_virtual_clock
async def test_a_cancelled_attempt_is_billed() -> None:
    """Who is cancelled while the vendor works pays for the prompt; the cancellation goes on."""
    bill: list[Attempt] = []
    task = asyncio.create_task(Metered(ActingProvider(acts=[STALLS])).complete(request(9, bill=bill)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(a.outcome, a.usage, a.estimated, a.seconds) for a in bill] == [("cancelled", Usage(input=2), True, 1.0)]


@on_virtual_clock
async def test_the_callers_own_limit_at_the_deadline_is_a_time_out() -> None:
    """A vendor that had all the time there was is late, also when its caller's limit struck in the same moment."""
    bill: list[Attempt] = []
    asked = request(4, bill=bill)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout_at(asked.deadline):
            await Metered(ActingProvider(acts=[STALLS])).complete(asked)
    assert [a.outcome for a in bill] == ["TimedOut"]


@on_virtual_clock
async def test_a_reader_who_leaves_pays_for_what_was_written() -> None:
    """Closing a stream ends the vendor's call at once and bills prompt and pieces as an estimate, once."""
    bill: list[Attempt] = []
    vendor = ActingProvider(acts=[Act(pieces=("12345678", "x", "y"), wait_s=1.0)])
    events = Metered(vendor).stream(request(9, bill=bill))
    assert isinstance(await anext(events), Delta)
    await events.aclose()
    assert vendor.running == 0
    expected = ("cancelled", Usage(input=2, output=2), True, 1.0)
    assert [(a.outcome, a.usage, a.estimated, a.first_byte_s) for a in bill] == [expected]


@on_virtual_clock
async def test_leaving_after_the_completion_changes_nothing() -> None:
    """A reader who has the completion has an answer, whether or not it reads on."""
    bill: list[Attempt] = []
    events = Metered(ActingProvider()).stream(request(9, bill=bill))
    while not isinstance(await anext(events), Completion):
        pass
    await events.aclose()
    assert [(a.outcome, a.usage) for a in bill] == [("answered", USAGE)]


@on_virtual_clock
async def test_a_stream_that_breaks_is_billed_for_its_pieces() -> None:
    """What a broken stream had written is estimated when the vendor reports nothing."""
    bill: list[Attempt] = []
    broken = Act(pieces=("12345678", "1234"), error=Unreachable("cut"))
    with pytest.raises(Unreachable):
        await texts(Metered(ActingProvider(acts=[broken])).stream(request(9, bill=bill)))
    assert [(a.outcome, a.usage, a.estimated) for a in bill] == [("Unreachable", Usage(input=2, output=3), True)]


@on_virtual_clock
async def test_what_a_broken_stream_reported_is_not_estimated() -> None:
    """The vendor's own count goes before ours, also of an answer that was never finished."""
    bill: list[Attempt] = []
    broken = Act(pieces=("12345678",), error=Unreachable("cut", usage=Usage(input=3, output=1)))
    with pytest.raises(Unreachable):
        await texts(Metered(ActingProvider(acts=[broken])).stream(request(9, bill=bill)))
    assert [(a.usage, a.estimated) for a in bill] == [(Usage(input=3, output=1), False)]


@on_virtual_clock
async def test_a_stream_without_an_end_is_a_failure() -> None:
    """A vendor's door that forgets the completion does not pass for an answer."""
    with pytest.raises(Unreachable, match="before the answer was whole"):
        await texts(Metered(ActingProvider(acts=[Act(forgets_end=True)])).stream(request(9)))


@on_virtual_clock
async def test_a_stream_stops_at_the_deadline() -> None:
    """A stream that drips is cut at the deadline, however often it gives a sign of life."""
    end = now() + 5.0
    with pytest.raises(TimedOut):
        await texts(Metered(ActingProvider(acts=[Act(pieces=("x",) * 99, wait_s=0.3)])).stream(request(5)))
    assert now() == pytest.approx(end)


class Reasoner(ActingProvider):
    """Tells what is known, thinks for 3 s after 1 s, and then is silent."""

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """One answer."""
        progress = request.progress
        assert progress is not None
        progress.model, progress.request_id = "a-1-dated", "r-7"
        progress.usage = Usage(input=3, cache_read=90, output=1)
        await asyncio.sleep(1)
        request.on_begin()
        progress.written_bytes = 40
        await asyncio.sleep(3)
        yield Delta(text="Nine")
        await asyncio.sleep(FOREVER_S)


@on_virtual_clock
async def test_a_model_that_reasons_has_begun() -> None:
    """The limit on the beginning gives way to the deadline as soon as the model is at work, once told outside."""
    bill: list[Attempt] = []
    begun: list[float] = []
    started = now()
    asked = replace(request(9, bill=bill), first_delta_deadline=started + 2, on_begin=lambda: begun.append(now()))
    with pytest.raises(TimedOut):
        await texts(Metered(Reasoner()).stream(asked))
    assert (now(), begun) == (started + 9, [started + 1])
    assert [(a.outcome, a.first_byte_s) for a in bill] == [("TimedOut", 1.0)]


@on_virtual_clock
async def test_what_is_known_of_an_answer_that_was_left_is_billed() -> None:
    """The vendor's counts from the start hold; only the output that it had not counted is an estimate."""
    bill: list[Attempt] = []
    events = Metered(Reasoner()).stream(request(9, bill=bill))
    await anext(events)
    await events.aclose()
    (attempt,) = bill
    assert (attempt.usage, attempt.estimated) == (Usage(input=3, cache_read=90, output=10), True)
    assert (attempt.outcome, attempt.model, attempt.request_id) == ("cancelled", "a-1-dated", "r-7")


@on_virtual_clock
async def test_who_watches_cannot_fail_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """An observer's own fault is logged, and the others are told all the same."""
    seen: list[Attempt] = []

    def broken(_: Attempt) -> None:
        raise ZeroDivisionError

    await Metered(ActingProvider(), [broken, seen.append]).complete(request(9))
    assert len(seen) == 1
    assert "an observer of provider a failed" in caplog.text
