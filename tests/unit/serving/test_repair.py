"""Repair: one more chance for an answer that misses its schema."""

import pytest
from fakes.acting_provider import Act, ActingProvider, request, texts
from fakes.virtual_clock import on_virtual_clock

from registry.messages import Message
from serving.providers.base import Overloaded, SchemaFailure
from serving.providers.repair import ANSWER_CHARS_MAX, Repair

WRONG = SchemaFailure("a's answer lacks 'claims'", answer='{"answer": 1}')


@on_virtual_clock
async def test_the_model_sees_what_was_wrong() -> None:
    """The second attempt carries the conversation, the wrong answer, and what was wrong with it."""
    told: list[str] = []
    vendor = ActingProvider(acts=[Act(error=WRONG), Act()])
    repaired = Repair(vendor, count=lambda _, event: told.append(event))
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
        await Repair(vendor).complete(request(9))
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
            await Repair(vendor).complete(request(9))
        assert len(vendor.requests) == 1

    main()


@on_virtual_clock
async def test_without_time_the_failure_stands() -> None:
    """At the deadline nobody is asked again."""
    vendor = ActingProvider(acts=[Act(pieces=(), wait_s=9.0, error=WRONG), Act()])
    with pytest.raises(SchemaFailure):
        await Repair(vendor).complete(request(9))
    assert len(vendor.requests) == 1


@on_virtual_clock
async def test_a_stream_is_not_repaired() -> None:
    """The pieces of a wrong answer are with the reader already."""
    vendor = ActingProvider(acts=[Act(error=WRONG), Act()])
    with pytest.raises(SchemaFailure):
        await texts(Repair(vendor).stream(request(9)))
    assert len(vendor.requests) == 1
