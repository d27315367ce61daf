"""Any LangChain chat model as a provider: the promises of the port."""

import logging
from typing import cast

import pytest
from fakes.fake_chat_model import FakeChatModel, events_of, request
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from registry.messages import Completion, Delta, Usage
from serving.providers.base import (
    SchemaFailure,
)
from serving.providers.langchain import FromLangChain

SECRET = "the prompt says sk-secret"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
REPORTED = UsageMetadata(
    input_tokens=100,
    output_tokens=20,
    total_tokens=120,
    input_token_details={"cache_read": 30, "cache_creation": 10},
    output_token_details={"reasoning": 5},
)
COUNTED = Usage(input=60, cache_read=30, cache_write_5m=10, output=20, reasoning=5)


async def test_an_answer_is_read_by_the_standard_names() -> None:
    """Text, stop reason, model, id and usage come out of a message where every integration puts them."""
    said = {"model_name": "fake-1-20260101", "finish_reason": "length", "id": "msg_1"}
    model = FakeChatModel(message=AIMessage("Nine.", usage_metadata=REPORTED, response_metadata=said))
    assert await FromLangChain(model, name="fake").complete(request()) == Completion(
        text="Nine.",
        stop_reason="max_tokens",
        usage=COUNTED,
        provider="fake",
        model="fake-1-20260101",
        asked_model="fake-1",
        request_id="msg_1",
    )


async def test_a_model_is_asked_in_its_own_terms() -> None:
    """Turns become LangChain's messages, and limit and temperature go out as call arguments."""
    model = FakeChatModel()
    await FromLangChain(model, name="fake").complete(request(temperature=0.2))
    ((messages, kwargs),) = model.asked
    turns = [(message.type, message.content) for message in messages]
    assert turns == [("system", "Be brief."), ("human", "Hello."), ("ai", "Yes?"), ("human", "How many were late?")]
    assert kwargs == {"max_tokens": 50, "temperature": 0.2}


async def test_the_limit_goes_out_under_the_models_name_for_it() -> None:
    """A model that calls the limit otherwise gets it under that name."""
    model = FakeChatModel()
    await FromLangChain(model, name="fake", limit_argument="num_predict").complete(request())
    assert model.asked[0][1] == {"num_predict": 50}


async def test_an_answer_without_usage_is_estimated_and_says_so() -> None:
    """A model that reports no tokens has them estimated from the texts."""
    completion = await FromLangChain(FakeChatModel(), name="fake").complete(request())
    assert completion.usage_estimated
    assert completion.usage.input > 0
    assert completion.usage.output > 0


async def test_a_stream_is_deltas_and_then_their_sum() -> None:
    """Pieces come as they are written, then one completion whose text is the pieces joined, with the usage summed."""
    started = UsageMetadata(input_tokens=10, output_tokens=0, total_tokens=10)
    ended = UsageMetadata(input_tokens=0, output_tokens=3, total_tokens=3)
    chunks = [
        AIMessageChunk("Nine ", usage_metadata=started, response_metadata={"model_name": "fake-2"}),
        AIMessageChunk(""),
        AIMessageChunk("per cent."),
        AIMessageChunk("", usage_metadata=ended, response_metadata={"stop_reason": "end_turn"}),
    ]
    *deltas, completion = await events_of(FakeChatModel(chunks=chunks), request())
    assert deltas == [Delta(text="Nine "), Delta(text="per cent.")]
    assert completion == Completion(
        text="Nine per cent.",
        stop_reason="end",
        usage=Usage(input=10, output=3),
        provider="fake",
        model="fake-2",
        asked_model="fake-1",
    )


class TestSchemas:
    """An output schema goes out as the one tool that the model has to call."""

    async def test_the_arguments_of_the_tool_are_the_answer(self) -> None:
        """The document is what the model calls the tool with, whatever it says beside it."""
        call = tool_call(name="answer", args={"answer": "nine"}, id="1")
        model = FakeChatModel(message=AIMessage("Calling the tool.", tool_calls=[call]))
        completion = await FromLangChain(model, name="fake").complete(request(output_schema=SCHEMA))
        assert completion.text == '{"answer": "nine"}'
        tools = model.asked[0][1]["tools"]
        assert tools[0]["function"]["parameters"] == SCHEMA
        assert model.asked[0][1]["tool_choice"] == "any"

    async def test_the_arguments_stream(self) -> None:
        """Pieces of the arguments are the deltas; a second call of the tool is none."""
        chunks = [
            AIMessageChunk("Calling."),
            AIMessageChunk("", tool_call_chunks=[tool_call_chunk(name="answer", args="", id="1", index=1)]),
            AIMessageChunk("", tool_call_chunks=[tool_call_chunk(args='{"answer": ', index=1)]),
            AIMessageChunk("", tool_call_chunks=[tool_call_chunk(args='"other"}', index=2)]),
            AIMessageChunk("", tool_call_chunks=[tool_call_chunk(args='"nine"}', index=1)]),
        ]
        *deltas, completion = await events_of(FakeChatModel(chunks=chunks), request(output_schema=SCHEMA))
        assert "".join(cast("Delta", delta).text for delta in deltas) == '{"answer": "nine"}'
        assert len(deltas) > 1
        assert cast("Completion", completion).text == '{"answer": "nine"}'

    @pytest.mark.parametrize("takes_tools", [True, False])
    @pytest.mark.parametrize("streamed", [True, False])
    async def test_a_model_that_writes_the_document_has_answered_too(
        self,
        takes_tools: bool,  # noqa: FBT001 - a row of the table
        streamed: bool,  # noqa: FBT001 - a row of the table
    ) -> None:
        """A model without tools, or one that does not call them, may write the document as its text."""
        words = 'Here: {"answer": "nine"}'
        model = FakeChatModel(message=AIMessage(words), chunks=[AIMessageChunk(words)], takes_tools=takes_tools)
        asked = request(output_schema=SCHEMA)
        if streamed:
            completion = cast("Completion", (await events_of(model, asked))[-1])
        else:
            completion = await FromLangChain(model, name="fake").complete(asked)
        assert completion.text == '{"answer": "nine"}'

    @pytest.mark.parametrize(
        "message",
        [
            AIMessage("", tool_calls=[tool_call(name="answer", args={"reply": "nine"}, id="1")]),
            AIMessage("", invalid_tool_calls=[invalid_tool_call(name="answer", args='{"answer": ', id="1")]),
            AIMessage("I cannot."),
        ],
    )
    async def test_what_misses_the_schema_is_a_failure_that_carries_the_answer(self, message: AIMessage) -> None:
        """A wrong answer is a SchemaFailure with its text and usage, so that it can be repaired and is billed."""
        message.usage_metadata = REPORTED
        with pytest.raises(SchemaFailure) as caught:
            await FromLangChain(FakeChatModel(message=message), name="fake").complete(request(output_schema=SCHEMA))
        assert caught.value.answer
        assert caught.value.usage == COUNTED


class TestPrivacy:
    """Content goes to the model and nowhere else."""

    async def test_tracing_to_a_third_party_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """LANGSMITH_TRACING in the environment does not send prompts to LangSmith."""
        monkeypatch.setenv("LANGSMITH_TRACING", "true")
        monkeypatch.setenv("LANGSMITH_API_KEY", "planted")
        traced: list[object] = []
        monkeypatch.setattr(
            "langchain_core.tracers.langchain.LangChainTracer.__init__", lambda *_, **__: traced.append(1)
        )
        model = FakeChatModel(chunks=[AIMessageChunk("Nine")])
        await FromLangChain(model, name="fake").complete(request())
        await events_of(model, request())
        assert traced == []

    def test_a_model_with_retries_of_its_own_is_pointed_out(self, caplog: pytest.LogCaptureFixture) -> None:
        """Retries that nobody counts are worth a line in the log."""

        class Retrying(FakeChatModel):
            max_retries: int = 2

        with caplog.at_level(logging.WARNING):
            FromLangChain(Retrying(), name="fake")
        assert "max_retries=0" in caplog.text
