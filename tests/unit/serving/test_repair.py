"""Repair: one more chance for an answer that misses its schema."""

import random

import pytest
from fakes.acting_provider import Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Message
from serving.providers.base import Overloaded, ProviderError, SchemaFailure
from serving.providers.repair import ANSWER_CHARS_MAX, Repair, repair_budget
from serving.providers.retry import Retry, retry_budget

WRONG = SchemaFailure("a's answer lacks 'claims'", answer='{"answer": 1}')


@on_virtual_clock
async def test_the_model_sees_what_was_wrong() -> None:
    """The second attempt carries the conversation, the wrong answer, and what was wrong with it."""
    told: list[str] = []
    vendor = ActingProvider(acts=[Act(error=WRONG), Act()])
    repaired = Repair(vendor, repair_budget(), count=lambda _, event: told.append(event))
    assert (await repaired.complete(request(9))).text == "yes"
    first, second = vendor.requests
    assert second.messages[:2] == (*first.messages, Message(role="assistant", content='{"answer": 1}'))
    assert second.messages[2].role == "user"
    assert "a's answer lacks 'claims'" in second.messages[2].content
    assert (second.deadline, second.on_attempt) == (first.deadline, first.on_attempt)
    assert told == ["repaired"]


@on_virtual_clock
async def test_once() -> None:
    """A second wrong answer is a failure."""
    vendor = ActingProvider(acts=[Act(error=WRONG)])
    with pytest.raises(SchemaFailure):
        await Repair(vendor, repair_budget()).complete(request(9))
    assert len(vendor.requests) == 2


@pytest.mark.parametrize(
    "error",
    [
        SchemaFailure("stopped at 10 tokens"),
        SchemaFailure("empty", answer=" \n"),
        SchemaFailure("endless", answer="x" * (ANSWER_CHARS_MAX + 1)),
        Overloaded("no", answer="x"),
    ],
)
def test_what_is_not_repaired(error: SchemaFailure) -> None:
    """An answer that was cut off, is empty or is endless is not asked for again, nor is another failure."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[Act(error=error), Act()])
        with pytest.raises(type(error)):
            await Repair(vendor, repair_budget()).complete(request(9))
        assert len(vendor.requests) == 1

    main()


@on_virtual_clock
async def test_without_time_the_failure_stands() -> None:
    """At the deadline nobody is asked again."""
    vendor = ActingProvider(acts=[Act(pieces=(), wait_s=9.0, error=WRONG), Act()])
    with pytest.raises(SchemaFailure):
        await Repair(vendor, repair_budget()).complete(request(9))
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("offered", [1, 10, 200])
def test_a_model_that_always_misses_is_seldom_repaired(offered: int) -> None:
    """Repairs are one and at most 10 % of the offered requests; beyond it the next provider is asked at once."""

    @on_virtual_clock
    async def main() -> None:
        vendor = ActingProvider(acts=[Act(pieces=(), error=WRONG)])
        repaired = Repair(vendor, repair_budget())
        for _ in range(offered):
            with pytest.raises(SchemaFailure):
                await repaired.complete(request(9))
        assert offered < len(vendor.requests) <= offered + 1 + 0.1 * offered

    main()


@pytest.mark.parametrize("seed", range(3))
def test_repairs_do_not_stretch_the_budget_of_retries(seed: int) -> None:
    """Where attempts fail and answers miss, retries stay within 10 % of the offered requests, and two."""

    @on_virtual_clock
    async def main() -> None:
        draw, told = random.Random(seed), list[str]()  # noqa: S311 - a simulation
        acts = [Act(pieces=(), error=draw.choice([WRONG, Overloaded("no")])) for _ in range(900)]
        chain = Repair(
            Retry(ActingProvider(acts=acts), retry_budget(), count=lambda _, event: told.append(event)),
            repair_budget(),
            count=lambda _, event: told.append(event),
        )
        for _ in range(600):
            with pytest.raises(ProviderError):
                await chain.complete(request(60))
        assert 45 < told.count("repaired") <= 1 + 60
        assert 45 < told.count("retried") <= 2 + 60

    main()


@on_virtual_clock
async def test_a_stream_is_not_repaired() -> None:
    """The pieces of a wrong answer are with the reader already."""
    vendor = ActingProvider(acts=[Act(error=WRONG), Act()])
    with pytest.raises(SchemaFailure):
        await texts(Repair(vendor, repair_budget()).stream(request(9)))
    assert len(vendor.requests) == 1
