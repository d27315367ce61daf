"""What every provider promises, whoever stands behind it, whether its answer is streamed or not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from fakes.fake_chat_model import FakeChatModel
from fakes.fake_vendor import INSIGHT, TEXT, FakeVendor
from fakes.fake_vendor_wire import REASONING
from langchain_core.messages import AIMessage
from provider_calls import MODES, REQUEST, STRUCTURED, WIRES, Mode, ask, either_mode, network_provider, within

from registry.claims import read_answer
from registry.messages import Delta
from serving.providers.base import Provider
from serving.providers.extractive import Extractive
from serving.providers.langchain import FromLangChain
from serving.providers.scripted import Row, Scripted

pytestmark = pytest.mark.contract

MESSAGE = AIMessage(TEXT, response_metadata={"finish_reason": "stop"})


@pytest.fixture(params=["extractive", "scripted", "langchain", *WIRES])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Each adapter, behind the port."""
    async with FakeVendor() as vendor:
        local: dict[str, Provider] = {
            "extractive": Extractive(),
            "scripted": Scripted([Row(answer=TEXT)]),
            "langchain": FromLangChain(FakeChatModel(message=MESSAGE, document=INSIGHT), name="langchain"),
        }
        provider = local.get(request.param) or network_provider(request.param, vendor)
        yield provider
        await provider.aclose()
        assert vendor.complaints == []


@either_mode
async def test_names_itself_and_the_model_that_answered(provider: Provider, mode: Mode) -> None:
    """A completion names the provider, the asked model, one of its family that answered, and a stop reason."""
    completion = (await ask(provider, mode=mode)).completion
    assert (completion.provider, completion.asked_model) == (provider.name, provider.model)
    assert completion.model.startswith(provider.model)
    assert completion.stop_reason == "end"


@either_mode
async def test_plain_text_carries_marks(provider: Provider, mode: Mode) -> None:
    """Without an output schema the answer is text whose claims cite by marks."""
    draft = read_answer((await ask(provider, mode=mode)).completion.text)
    assert [claim.citations for claim in draft.claims] == [("P1",)]


@either_mode
async def test_schema_gives_its_json(provider: Provider, mode: Mode) -> None:
    """Under the insights schema the text is one JSON document with answer and claims."""
    completion = (await ask(provider, replace(REQUEST, output_schema=STRUCTURED), mode=mode)).completion
    assert set(json.loads(completion.text)) == {"answer", "claims"}
    assert read_answer(completion.text).claims[0].citations == ("P1",)


@either_mode
async def test_usage_counts_both_ways(provider: Provider, mode: Mode) -> None:
    """Usage is positive on both sides, and reasoning is a part of the output."""
    usage = (await ask(provider, mode=mode)).completion.usage
    assert usage.input > 0
    assert usage.output > 0
    assert 0 <= usage.reasoning <= usage.output


@either_mode
async def test_reasoning_is_no_part_of_the_answer(provider: Provider, mode: Mode) -> None:
    """What a model thought before it answered is shown to nobody."""
    assert REASONING not in (await ask(provider, mode=mode)).completion.text


async def test_streamed_and_whole_answers_agree(provider: Provider) -> None:
    """The completion at the end of a stream is the one that the whole answer is."""
    whole, streamed = [(await ask(provider, mode=mode)).completion for mode in MODES]
    assert whole == streamed


@either_mode
async def test_answers_side_by_side(provider: Provider, mode: Mode) -> None:
    """One provider serves many calls at the same time."""
    answers = await asyncio.gather(*(ask(provider, mode=mode) for _ in range(8)))
    assert len({answer.completion.text for answer in answers}) == 1


async def test_a_stream_can_be_left_early(provider: Provider) -> None:
    """A reader that leaves after the first delta leaves no task behind, and the provider goes on answering."""
    before = asyncio.all_tasks()
    async with aclosing(provider.stream(within(30))) as stream:
        assert isinstance(await anext(stream), Delta)
    assert {task for task in asyncio.all_tasks() - before if "serving" in repr(task)} == set()
    assert (await ask(provider, mode="streamed")).completion.text


async def test_ping_answers(provider: Provider) -> None:
    """A provider on a good day can be pinged."""
    await provider.ping()
