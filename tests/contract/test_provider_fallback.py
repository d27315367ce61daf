"""The whole chain over real HTTP: Claude first and on a bad day, OpenAI behind it and well."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fakes.fake_anthropic import WRITES
from fakes.fake_vendor import INSIGHT, TEXT, FakeVendor
from fakes.fake_vendor_faults import Fault, Plan
from fakes.fake_vendor_wire import USAGE
from provider_calls import STRUCTURED, Mode, ask, either_mode, network_provider, within

from registry.messages import Attempt, CompletionRequest, Usage
from serving.providers.base import ContentRefused, Overloaded
from serving.providers.chain import Chain

pytestmark = [pytest.mark.contract, either_mode]

ANSWERED = ("responses", "answered")


@asynccontextmanager
async def chain_at(fault: Plan) -> AsyncGenerator[tuple[Chain, FakeVendor, FakeVendor]]:
    """Claude with a fault, OpenAI behind it, and the two vendors."""
    async with FakeVendor(fault) as claude, FakeVendor() as openai:
        chain = Chain([network_provider("anthropic", claude), network_provider("responses", openai)])
        try:
            yield chain, claude, openai
        finally:
            await chain.aclose()


def noted(request: CompletionRequest) -> tuple[CompletionRequest, list[Attempt]]:
    """The request, and the list that its attempts are told to."""
    attempts: list[Attempt] = []
    return replace(request, on_attempt=attempts.append), attempts


@pytest.mark.parametrize(
    ("fault", "outcome", "times"),
    [
        ("overloaded", "Overloaded", (1, 2, 3)),
        ("do-not-retry", "Overloaded", (1,)),
        ("refused", "Unreachable", (1, 2, 3)),
        ("reset", "Unreachable", (1, 2, 3)),
        ("html", "Garbled", (1, 2, 3)),
        ("rate-limited", "RateLimited", (1,)),
        ("bad-key", "AuthenticationFailed", (1,)),
        ("no-model", "ModelNotFound", (1,)),
        ("too-long", "ContextTooLong", (1,)),
        ("bad-request", "Rejected", (1,)),
        ("redirect", "ModelNotFound", (1,)),
        ("stall", "TimedOut", (1,)),
    ],
)
async def test_the_second_answers_for_the_first(fault: Fault, outcome: str, times: tuple[int, ...], mode: Mode) -> None:
    """Users notice nothing of a first provider's fault, and every attempt is told: what failed and what answered."""
    fault = "error-first" if (fault, mode) == ("overloaded", "streamed") else fault
    async with chain_at(fault) as (chain, claude, openai):
        request, attempts = noted(within(3.0))
        answered = await ask(chain, request, mode=mode)
    assert (answered.completion.text, answered.completion.provider) == (TEXT, "responses")
    *failed, last = [(attempt.provider, attempt.outcome) for attempt in attempts]
    assert last == ANSWERED
    assert set(failed) == {("anthropic", outcome)}
    assert len(failed) in times
    assert len(claude.requests) == (0 if fault == "refused" else len(failed))
    assert len(openai.requests) == 1


async def test_an_answer_against_the_schema_is_mended(mode: Mode) -> None:
    """A whole wrong answer is shown to its model once more, a streamed one handed over; both attempts are billed."""
    async with chain_at(lambda number, _: "not-the-schema" if number == 1 else "none") as (chain, claude, openai):
        request, attempts = noted(replace(within(5.0), output_schema=STRUCTURED))
        completion = (await ask(chain, request, mode=mode)).completion
    assert json.loads(completion.text) == INSIGHT
    assert attempts[0].usage == USAGE + WRITES
    assert len(attempts) == 2
    if mode == "whole":
        assert "I would rather chat." in str(claude.requests[1]["messages"])
        assert (completion.provider, openai.requests) == ("anthropic", [])
    assert claude.complaints == []


async def test_declined_content_ends_the_call(mode: Mode) -> None:
    """What one vendor's filter declined is not carried to another vendor."""
    async with chain_at("filtered") as (chain, claude, openai):
        with pytest.raises(ContentRefused):
            await ask(chain, within(5.0), mode=mode)
    assert (len(claude.requests), openai.requests) == (1, [])


async def test_a_stream_that_breaks_is_told_not_mended(mode: Mode) -> None:
    """After the first piece a failure is the caller's to know; before it the next provider answers unnoticed."""
    async with chain_at("error-event") as (chain, _, openai):
        request, attempts = noted(within(5.0))
        if mode == "streamed":
            with pytest.raises(Overloaded):
                await ask(chain, request, mode=mode)
            assert openai.requests == []
            assert attempts[0].first_byte_s is not None
            assert attempts[0].usage.input == USAGE.input
        else:
            assert (await ask(chain, request, mode=mode)).completion.provider == "anthropic"
    assert len(attempts) == 1


async def test_what_the_vendor_reported_is_what_is_billed(mode: Mode) -> None:
    """On a good day the bill is the first provider's own count, once."""
    async with chain_at("none") as (chain, _, openai):
        request, attempts = noted(within(5.0))
        await ask(chain, request, mode=mode)
    [attempt] = attempts
    assert (attempt.usage, attempt.estimated, attempt.outcome) == (USAGE + WRITES, False, "answered")
    assert attempt.usage != Usage()
    assert (attempt.first_byte_s is not None) == (mode == "streamed")
    assert openai.requests == []
