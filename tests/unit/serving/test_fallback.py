"""Fallback: who is asked next, with how much of the time, and what is told when nobody answers."""

import asyncio
import gc
import logging
from dataclasses import replace

import pytest
from fakes.acting_provider import FOREVER_S, Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Delta
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
from serving.providers.fallback import Fallback, ProvidersUnavailable
from serving.providers.metering import Metered

HANDS_OVER = [
    RateLimited("no"),
    Overloaded("no"),
    TimedOut("no"),
    Unreachable("no"),
    Garbled("no"),
    ContextTooLong("no"),
    SchemaFailure("no"),
    AuthenticationFailed("no"),
    ModelNotFound("no"),
    Rejected("no"),
    Saturated("no", retry_after_s=1.0),
    CircuitOpen("no", retry_after_s=1.0),
]


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def fails(name: str, error: ProviderError, wait_s: float = 0.0) -> ActingProvider:
    """A provider that fails before its first piece."""
    return ActingProvider(name=name, acts=[Act(pieces=(), wait_s=wait_s, error=error)])


async def answer(provider: Fallback, left_s: float | None = 8.0, *, streamed: bool) -> str:
    """The text, either way."""
    if streamed:
        return "".join(await texts(provider.stream(request(left_s))))
    return (await provider.complete(request(left_s))).text


@pytest.mark.parametrize("streamed", [False, True])
class TestOrder:
    """Who is asked."""

    async def test_first_answers(self, streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """Nobody else is asked when the first provider answers."""
        second = ActingProvider(name="b")
        assert await answer(Fallback([ActingProvider(), second]), streamed=streamed) == "yes"
        assert second.requests == []

    @pytest.mark.parametrize("error", HANDS_OVER)
    async def test_next_is_asked(self, error: ProviderError, streamed: bool) -> None:  # noqa: FBT001 - as above
        """A failure that another provider may not have hands over."""
        assert await answer(Fallback([fails("a", error), ActingProvider(name="b")]), streamed=streamed) == "yes"

    async def test_two_rejections_end_it(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """A request that two vendors reject is wrong: no third one is asked, and the error says so."""
        third = ActingProvider(name="c")
        chain = Fallback([fails("a", Rejected("HTTP 422")), fails("b", Rejected("HTTP 400")), third])
        with pytest.raises(ProvidersUnavailable, match="rejected by all that were asked: a "):
            await answer(chain, streamed=streamed)
        assert third.requests == []

    async def test_only_rejections_speak_about_the_request(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """A vendor that fails or does not know us between two rejections says nothing about the request."""
        errors = [Rejected("no"), AuthenticationFailed("no"), Overloaded("no")]
        chain = Fallback([*(fails(name, error) for name, error in zip("abc", errors, strict=True)), ActingProvider()])
        assert await answer(chain, streamed=streamed) == "yes"

    async def test_one_rejection_among_other_failures_is_not_all(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """When another one merely failed, the request may be right: the error says that nobody answered."""
        with pytest.raises(ProvidersUnavailable, match="no provider answered"):
            await answer(Fallback([fails("a", Rejected("no")), fails("b", Overloaded("no"))]), streamed=streamed)

    async def test_refused_content_is_not_taken_elsewhere(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """Content that one vendor refused is not shown to the next."""
        second = ActingProvider(name="b")
        with pytest.raises(ContentRefused) as caught:
            await answer(Fallback([fails("a", ContentRefused("no")), second]), streamed=streamed)
        assert (caught.value.code, second.requests) == ("input-blocked", [])


@pytest.mark.parametrize("streamed", [False, True])
class TestNobodyAnswers:
    """What is told then."""

    async def test_who_was_tried(self, streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """The error lists who was tried with what they said, and the shortest wait that was asked for."""
        chain = Fallback(
            [
                fails("a", RateLimited("slow down", retry_after_s=7.0)),
                fails("b", CircuitOpen("left alone", retry_after_s=4.0)),
                fails("c", Overloaded("5xx", retry_after_s=3.0)),
            ]
        )
        with pytest.raises(ProvidersUnavailable) as caught:
            await answer(chain, streamed=streamed)
        assert caught.value.code == "providers-unavailable"
        assert caught.value.details == {
            "tried": [
                {"provider": "a", "model": "a-1", "error": "RateLimited", "message": "slow down"},
                {"provider": "b", "model": "b-1", "error": "CircuitOpen", "message": "left alone"},
                {"provider": "c", "model": "c-1", "error": "Overloaded", "message": "5xx"},
            ],
            "retry_after_s": 3.0,
        }

    async def test_all_are_saturated(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """When our own limits are all that stands in the way, the caller is asked to come back soon."""
        full = [fails(name, Saturated("full", retry_after_s=wait_s)) for name, wait_s in (("a", 4.0), ("b", 2.0))]
        with pytest.raises(Saturated) as caught:
            await answer(Fallback(full), streamed=streamed)
        assert (caught.value.code, caught.value.retry_after_s) == ("rate-limited", 2.0)


class TestProven:
    """A prompt version answers with the models that it was proven with."""

    @staticmethod
    async def answer(chain: Fallback, *models: tuple[str, str], streamed: bool) -> str:
        """The text of a request that these models may answer."""
        asked = replace(request(8.0), prompt="insights/4", models=frozenset(models))
        return "".join(await texts(chain.stream(asked))) if streamed else (await chain.complete(asked)).text

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_others_are_skipped(self, streamed: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """A preferred provider, and another model of a proven provider, are not asked."""
        first, other, proven = ActingProvider(), ActingProvider(name="b"), ActingProvider(name="c")
        chain = Fallback([first, other, proven])
        assert await self.answer(chain, ("b", "b-2"), ("c", "c-1"), streamed=streamed) == "yes"
        assert (first.requests, other.requests, len(proven.requests)) == ([], [], 1)

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_nobody_left(self, streamed: bool) -> None:  # noqa: FBT001 - as above
        """Without a proven provider in the chain the error names the prompt and the command that helps."""
        with pytest.raises(ProvidersUnavailable, match="evaluate run --prompt insights/4 --provider a") as caught:
            await self.answer(Fallback([ActingProvider()]), ("gone", "g-1"), streamed=streamed)
        assert caught.value.details == {"tried": []}

    @on_virtual_clock
    async def test_the_last_proven_one_has_all_the_time(self) -> None:
        """Nobody stands behind it, whoever else is in the chain."""
        proven, started = ActingProvider(), now()
        await Fallback([proven, ActingProvider(name="b")]).complete(
            replace(request(16), models=frozenset({("a", "a-1")}))
        )
        assert proven.requests[0].deadline - started == 16.0


async def test_what_we_kept_back_is_not_news(caplog: pytest.LogCaptureFixture) -> None:
    """An open breaker writes no warning for every request; a vendor's failure does."""
    caplog.set_level(logging.INFO)
    await answer(
        Fallback([fails("a", CircuitOpen("no", retry_after_s=1)), fails("b", Overloaded("no")), ActingProvider()]),
        streamed=False,
    )
    assert [record.getMessage() for record in caplog.records] == ["provider b failed: Overloaded"]


class TestTime:
    """One deadline for all."""

    @on_virtual_clock
    async def test_shares(self) -> None:
        """Each earlier provider may use half of the time left, the last one all of it."""
        vendors = [fails(name, Overloaded("no"), wait_s=2.0) for name in ("a", "b")]
        last, started = ActingProvider(name="c"), now()
        await Fallback([*vendors, last]).complete(request(16))
        deadlines = [vendor.requests[0].deadline - started for vendor in (*vendors, last)]
        assert deadlines == [8.0, 2.0 + 14.0 / 2, 16.0]

    @on_virtual_clock
    async def test_a_stalled_stream_hands_over_at_its_share(self) -> None:
        """A provider that does not begin in its share is left, while there is time for the next."""
        stalls = ActingProvider(acts=[Act(wait_s=FOREVER_S)])
        started = now()
        chain = Fallback([Metered(stalls), Metered(ActingProvider(name="b", acts=[Act(pieces=("b",))]))])
        assert await texts(chain.stream(request(16))) == ["b"]
        assert (now() - started, stalls.running) == (8.0, 0)

    @on_virtual_clock
    async def test_a_stream_that_began_has_the_whole_deadline(self) -> None:
        """An earlier provider's stream is not cut at its share once it has begun."""
        slow = ActingProvider(acts=[Act(pieces=("a", "b"), wait_s=5.0)])
        assert await texts(Fallback([Metered(slow), ActingProvider()]).stream(request(16))) == ["a", "b"]

    @on_virtual_clock
    async def test_a_stream_that_breaks_is_not_taken_up_elsewhere(self) -> None:
        """After the first piece a failure is told as it is: two halves make no answer."""
        second = ActingProvider(name="b")
        broken = ActingProvider(acts=[Act(pieces=("x",), error=Unreachable("cut"))])
        events = Fallback([broken, second]).stream(request(16))
        assert await anext(events) == Delta(text="x")
        with pytest.raises(Unreachable, match="cut"):
            await anext(events)
        assert second.requests == []

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_without_time_nobody_is_asked(self, streamed: bool) -> None:  # noqa: FBT001 - a parameter
        """Past the deadline no provider is asked."""
        vendor = ActingProvider()
        with pytest.raises(ProvidersUnavailable, match="a \\(no time was left to ask it"):
            await answer(Fallback([vendor]), 0.0, streamed=streamed)
        assert vendor.requests == []

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_without_a_deadline(self, streamed: bool) -> None:  # noqa: FBT001 - a parameter
        """Who sets no deadline is answered too."""
        chain = Fallback([fails("a", Overloaded("no")), ActingProvider()])
        assert await answer(chain, None, streamed=streamed) == "yes"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_failure_leaves_nothing_to_the_garbage_collector(*, streamed: bool) -> None:
    """Prompts of failed calls are freed at once, and no full collection stops the loop on their account."""
    chain = Fallback([fails("a", Overloaded("no")), fails("b", Overloaded("no"))])
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ProvidersUnavailable):
            await answer(chain, None, streamed=streamed)
        assert gc.collect() == 0
    finally:
        gc.enable()
