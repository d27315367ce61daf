"""The fake vendor against the official SDKs: what it writes is what their types promise."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import anthropic
import httpx
import openai
import pytest
from anthropic.types import Message, ModelInfo, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from fakes.fake_vendor import DATED, FORMATS, TEXT, FakeVendor
from fakes.fake_vendor_faults import REFUSALS
from fakes.fake_vendor_wire import Reply
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

pytestmark = pytest.mark.contract

TURNS = [{"role": "user", "content": "How many parcels arrived?"}]
BODIES: Mapping[str, dict[str, Any]] = {
    "/v1/messages": {"model": "small", "max_tokens": 64, "messages": TURNS},
    "/v1/chat/completions": {"model": "small", "max_tokens": 64, "messages": TURNS},
    "/v1/responses": {"model": "small", "max_output_tokens": 64, "input": TURNS, "store": False},
}
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01", "authorization": "Bearer k"}
WHOLE: Mapping[str, TypeAdapter[Any]] = {
    "/v1/messages": TypeAdapter(Message),
    "/v1/chat/completions": TypeAdapter(ChatCompletion),
    "/v1/responses": TypeAdapter(Response),
}
EVENT: Mapping[str, TypeAdapter[Any]] = {
    "/v1/messages": TypeAdapter(RawMessageStreamEvent),
    "/v1/chat/completions": TypeAdapter(ChatCompletionChunk),
    "/v1/responses": TypeAdapter(ResponseStreamEvent),
}


@pytest.fixture
async def vendor() -> AsyncIterator[FakeVendor]:
    """A vendor on a good day."""
    async with FakeVendor() as vendor:
        yield vendor


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("stop", ["end", "max_tokens", "refusal", "filter"])
def test_whole_answers_are_of_the_sdks_types(path: str, stop: Any) -> None:
    """Each format's whole answer satisfies its SDK's model, every member included."""
    WHOLE[path].validate_python(FORMATS[path].answer(Reply(text=TEXT, model="m", stop=stop)))


@pytest.mark.parametrize("path", FORMATS)
@pytest.mark.parametrize("stop", ["end", "max_tokens", "refusal", "filter"])
def test_events_are_of_the_sdks_types(path: str, stop: Any) -> None:
    """Each event of each format's stream satisfies its SDK's model; pings are Anthropic's only exception."""
    events = FORMATS[path].events(Reply(text=TEXT, model="m", stop=stop), {"stream_options": {"include_usage": True}})
    documents = [event.data for event in events if isinstance(event.data, dict) and event.name != "ping"]
    assert len(documents) > 2
    for document in documents:
        EVENT[path].validate_python(document)


@pytest.mark.parametrize("fault", [name for name in REFUSALS if name not in {"too-large", "too-long-llama"}])
def test_errors_are_of_the_sdks_types(fault: str) -> None:
    """Anthropic's error documents name kinds that its SDK knows, but for those a proxy or llama.cpp answers."""
    document = FORMATS["/v1/messages"].error(REFUSALS[fault])
    assert fault == "please-retry" or TypeAdapter(ErrorResponse).validate_python(document)


async def test_anthropics_sdk_reads_it(vendor: FakeVendor) -> None:
    """The SDK gets the same text whole and streamed, with usage and request id."""
    async with anthropic.AsyncAnthropic(base_url=vendor.anthropic_url, api_key="k", max_retries=0) as client:
        create: Any = client.messages.create
        message = await create(**BODIES["/v1/messages"])
        async with client.messages.stream(**BODIES["/v1/messages"]) as stream:
            streamed = await stream.get_final_message()
        assert ModelInfo.model_validate((await client.models.retrieve("small")).model_dump())
    assert message.content[1].to_dict()["text"] == TEXT
    assert streamed.content[1].to_dict()["text"] == TEXT
    assert (streamed.stop_reason, streamed.usage.output_tokens, message.model) == ("end_turn", 30, f"small{DATED}")
    assert vendor.complaints == []


async def test_openais_sdk_reads_both_its_formats(vendor: FakeVendor) -> None:
    """The SDK gets the same text from Chat Completions and Responses, whole and streamed."""
    async with openai.AsyncOpenAI(base_url=vendor.openai_url, api_key="k", max_retries=0) as client:
        chat_create, create = cast("Any", client.chat.completions.create), cast("Any", client.responses.create)
        chat, chat_stream = BODIES["/v1/chat/completions"], {"stream": True, "stream_options": {"include_usage": True}}
        completion = await chat_create(**chat)
        chunks = [chunk async for chunk in await chat_create(**chat, **chat_stream)]
        response = await create(**BODIES["/v1/responses"])
        events = [event async for event in await create(**BODIES["/v1/responses"], stream=True)]
        assert Model.model_validate((await client.models.retrieve("small")).model_dump())
    assert completion.choices[0].message.content == TEXT == response.output_text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
    assert events[-1].response.output_text == TEXT
    assert chunks[-1].usage.prompt_tokens == 120
    assert vendor.complaints == []


@pytest.mark.parametrize("path", FORMATS)
async def test_unknown_members_are_refused(vendor: FakeVendor, path: str) -> None:
    """A member that the vendor does not take is answered with 400, as the vendor would."""
    async with httpx.AsyncClient(base_url=vendor.anthropic_url, headers=HEADERS) as client:
        answers = [await client.post(path, json=BODIES[path] | more) for more in ({}, {"top_secret": 1})]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert len(vendor.complaints) == 1


async def test_faults_can_follow_a_plan(vendor: FakeVendor) -> None:
    """A function of the request's number plants a sequence."""
    vendor.fault = lambda number, _: "overloaded" if number < 3 else "none"
    async with httpx.AsyncClient(base_url=vendor.anthropic_url, headers=HEADERS) as client:
        answers = [await client.post("/v1/messages", json=BODIES["/v1/messages"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [529, 529, 200]


async def test_a_hang_up_is_seen(vendor: FakeVendor) -> None:
    """A client that leaves during a stall is counted, and its connection is gone."""
    vendor.fault = "stall"
    async with httpx.AsyncClient(base_url=vendor.anthropic_url, headers=HEADERS) as client:
        call = asyncio.ensure_future(client.post("/v1/messages", json=BODIES["/v1/messages"]))
        await vendor.asked()
        call.cancel()
        await asyncio.wait_for(vendor.hung_up(), 5)
    assert vendor.hangups == 1


async def test_a_stall_can_be_released(vendor: FakeVendor) -> None:
    """What stalls goes on when the test says so."""
    vendor.fault = "stall-mid"
    async with httpx.AsyncClient(base_url=vendor.anthropic_url, headers=HEADERS) as client:
        body = BODIES["/v1/messages"] | {"stream": True}
        async with client.stream("POST", "/v1/messages", json=body) as answer:
            lines: list[str] = []
            async for line in answer.aiter_lines():
                lines.append(line)
                if "text_delta" in line:
                    vendor.release.set()
    assert lines[-2] == 'data: {"type": "message_stop"}'


async def test_it_returns_on_the_same_port(vendor: FakeVendor) -> None:
    """A stopped vendor refuses connections, and answers again after a start."""
    await vendor.stop()
    async with httpx.AsyncClient(base_url=vendor.anthropic_url, headers=HEADERS) as client:
        with pytest.raises(httpx.ConnectError):
            await client.post("/v1/messages", json=BODIES["/v1/messages"])
        await vendor.start()
        assert (await client.post("/v1/messages", json=BODIES["/v1/messages"])).status_code == 200
