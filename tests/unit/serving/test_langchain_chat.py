"""Assay's chain as a LangChain chat model: asked, streamed and parsed as any other, from any thread or loop."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import closing
from typing import Any, TypedDict

import pytest
from fakes.fake_chain import USAGE, FakeChain
from fakes.fake_chat_model import FakeChatModel
from langchain_core.exceptions import ContextOverflowError, ModelInvalidRequestError
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel

from registry.errors import InvalidInput
from registry.messages import Attempt, Message
from serving.providers.base import Overloaded, SchemaFailure
from serving.providers.chain import Chain
from serving.providers.fallback import ProvidersUnavailable
from serving.providers.langchain import FromLangChain
from serving.providers.langchain_chat import AssayChat
from serving.providers.scripted import Row, Scripted


@pytest.fixture
def chain() -> FakeChain:
    """What stands behind the chat model."""
    return FakeChain()


@pytest.fixture
def chat(chain: FakeChain) -> Generator[AssayChat]:
    """The chat model, closed at the end."""
    with closing(AssayChat(chain=chain)) as made:
        yield made


METADATA = {
    "model_name": "claude-x-1",
    "provider": "anthropic",
    "finish_reason": "end",
    "request_id": "req_1",
    "usage_estimated": False,
}
COUNTED = {
    "input_tokens": 100,
    "output_tokens": 20,
    "total_tokens": 120,
    "input_token_details": {"cache_read": 30, "cache_creation": 10},
    "output_token_details": {"reasoning": 5},
}


def test_an_answer_says_who_wrote_it_and_what_it_used(chat: AssayChat) -> None:
    """`invoke` gives the text, the usage in LangChain's buckets, and model, provider and stop reason."""
    message = chat.invoke("How many were late?")
    assert (message.content, message.usage_metadata, message.response_metadata) == ("Nine per cent.", COUNTED, METADATA)


async def test_the_asynchronous_twin_answers_the_same(chat: AssayChat) -> None:
    """`ainvoke` gives what `invoke` gives."""
    message = await chat.ainvoke("How many were late?")
    assert (message.content, message.usage_metadata, message.response_metadata) == ("Nine per cent.", COUNTED, METADATA)


def test_pieces_arrive_as_they_are_written(chat: AssayChat) -> None:
    """`stream` gives the deltas, then usage and metadata; summed they are the whole answer."""
    chunks = list(chat.stream("How many were late?"))
    assert [chunk.content for chunk in chunks] == ["Nine pe", "r cent.", ""]
    whole = AIMessageChunk("")
    for chunk in chunks:
        whole = whole + chunk
    assert (whole.content, whole.usage_metadata, whole.response_metadata) == ("Nine per cent.", COUNTED, METADATA)


async def test_pieces_arrive_asynchronously_too(chat: AssayChat) -> None:
    """`astream` gives what `stream` gives."""
    assert [chunk.content async for chunk in chat.astream("How many were late?")] == ["Nine pe", "r cent.", ""]


def test_a_conversation_and_its_options_become_one_request(chat: AssayChat, chain: FakeChain) -> None:
    """Turns, limit and temperature go into the request, and the deadline counts from the call."""
    turns = [SystemMessage("Be brief."), HumanMessage("Hello."), AIMessage("Yes?"), HumanMessage("How many?")]
    chat.invoke(turns, max_tokens=7, temperature=0.5, deadline_s=100)
    (request,) = chain.requests
    assert request.messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello."),
        Message(role="assistant", content="Yes?"),
        Message(role="user", content="How many?"),
    )
    assert (request.max_output_tokens, request.temperature) == (7, 0.5)
    assert 0 < chain.left_s[0] <= 100


def test_every_attempt_is_told() -> None:
    """`on_attempt` hears of each attempt: what the caller is billed."""
    attempts: list[Attempt] = []
    with closing(AssayChat(chain=FakeChain(), on_attempt=attempts.append)) as chat:
        chat.invoke("How many were late?")
    assert [attempt.usage for attempt in attempts] == [USAGE]


def test_it_stands_in_a_chain_of_langchains(chat: AssayChat, chain: FakeChain) -> None:
    """A prompt template pipes into it."""
    (ChatPromptTemplate.from_messages([("human", "How many {what}?")]) | chat).invoke({"what": "returns"})
    assert chain.requests[0].messages[0].content == "How many returns?"


def test_a_real_chain_stands_behind_it() -> None:
    """Fallback and the bill work through it: the second provider answers, and both attempts are told."""
    attempts: list[Attempt] = []
    first = FromLangChain(FakeChatModel(error=ModelInvalidRequestError("too much")), name="first")
    broken = FromLangChain(FakeChatModel(error=ContextOverflowError("too long")), name="broken")
    second = Scripted([Row(answer="Nine.")])
    with closing(AssayChat(chain=Chain([broken, second]), on_attempt=attempts.append)) as chat:
        assert chat.invoke("How many were late?").content == "Nine."
        assert "".join(str(chunk.content) for chunk in chat.stream("How many were late?")) == "Nine."
    told = [(attempt.provider, attempt.outcome) for attempt in attempts]
    assert told == [("broken", "ContextTooLong"), ("scripted", "answered")] * 2
    with closing(AssayChat(chain=Chain([first]))) as chat, pytest.raises(ProvidersUnavailable):
        chat.invoke("How many were late?")


class Answer(BaseModel):
    """How many."""

    number: int


class AnswerDict(TypedDict):
    """How many."""

    number: int


class TestStructuredOutput:
    """`with_structured_output` sends the schema to the chain and parses what comes back."""

    def test_a_pydantic_class_comes_back_as_its_instance(self) -> None:
        """The class's JSON Schema goes out, an instance comes back."""
        chain = FakeChain('{"number": 9}')
        with closing(AssayChat(chain=chain)) as chat:
            assert chat.with_structured_output(Answer).invoke("How many?") == Answer(number=9)
        assert chain.requests[0].output_schema == Answer.model_json_schema()

    @pytest.mark.parametrize("schema", [AnswerDict, {"title": "Answer", **Answer.model_json_schema()}])
    def test_any_other_schema_comes_back_as_a_dict(self, schema: Any) -> None:
        """A TypedDict or a JSON Schema gives a dict."""
        chain = FakeChain('{"number": 9}')
        with closing(AssayChat(chain=chain)) as chat:
            assert chat.with_structured_output(schema).invoke("How many?") == {"number": 9}
        properties: Any = (chain.requests[0].output_schema or {})["properties"]
        assert properties["number"]["type"] == "integer"

    async def test_the_raw_answer_comes_beside_it(self) -> None:
        """`include_raw` gives message, value and error; an answer that cannot be parsed raises nothing."""
        for text, parsed in (('{"number": 9}', Answer(number=9)), ('{"number": "many"}', None)):
            with closing(AssayChat(chain=FakeChain(text))) as chat:
                both = await chat.with_structured_output(Answer, include_raw=True).ainvoke("How many?")
            assert (both["raw"].content, both["parsed"]) == (text, parsed)
            assert (both["parsing_error"] is None) == (parsed is not None)

    def test_a_schema_failure_is_ours(self) -> None:
        """What the chain could not repair is raised as the chain raises it."""
        chain = FakeChain(error=SchemaFailure("missed"))
        with closing(AssayChat(chain=chain)) as chat, pytest.raises(SchemaFailure):
            chat.with_structured_output(Answer).invoke("How many?")


class TestLoops:
    """Connections belong to one event loop, whoever calls and from wherever."""

    def test_every_call_runs_on_the_same_loop(self, chat: AssayChat, chain: FakeChain) -> None:
        """Synchronous calls, calls inside a running loop, and two loops after one another share one."""

        async def inside() -> None:
            chat.invoke("synchronous, inside a running loop")
            await chat.ainvoke("asynchronous")

        chat.invoke("from no loop")
        asyncio.run(inside())
        asyncio.run(inside())
        chat.batch(["from", "worker", "threads"])
        assert len(chain.requests) == 8
        assert len(chain.loops) == 1

    def test_an_error_arrives_where_the_call_was_made(self) -> None:
        """What the chain raises is raised by `invoke` and by `stream`."""
        with closing(AssayChat(chain=FakeChain(error=Overloaded("busy")))) as chat:
            with pytest.raises(Overloaded):
                chat.invoke("How many?")
            with pytest.raises(Overloaded):
                list(chat.stream("How many?"))

    async def test_a_cancelled_call_is_cancelled_at_the_chain(self) -> None:
        """Cancelling `ainvoke` ends the vendor's call."""
        chain = FakeChain("")
        with closing(AssayChat(chain=chain)) as chat:
            task = asyncio.create_task(chat.ainvoke("How many?"))
            await asyncio.to_thread(chain.began.wait, 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(chain.stopped.wait, 30)

    def test_a_reader_who_leaves_ends_the_call(self) -> None:
        """Closing a stream before its end closes the chain's."""
        chain = FakeChain("")
        with closing(AssayChat(chain=chain)) as chat:
            chunks = chat.stream("How many?")
            next(chunks)
            chunks.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator, whatever its type says
            assert chain.stopped.wait(30)

    def test_a_call_that_would_wait_for_itself_is_refused(self) -> None:
        """A blocking call from `on_attempt`, which runs on the object's own thread, is refused rather than stuck."""
        refused: list[str] = []

        def ask_again(_: Attempt) -> None:
            with pytest.raises(InvalidInput) as caught:
                chat.invoke("And again?")
            refused.append(caught.value.message)

        with closing(AssayChat(chain=FakeChain(), on_attempt=ask_again)) as chat:
            chat.invoke("How many?")
        assert "await" in refused[0]

    def test_closing_ends_what_runs_and_closes_the_chain(self) -> None:
        """After `close` the chain is closed, calls in flight are over, and a further call says so."""
        chain = FakeChain("")
        chat = AssayChat(chain=chain)

        def call() -> None:
            with pytest.raises(CancelledError):
                chat.invoke("How many?")

        caller = threading.Thread(target=call)
        caller.start()
        assert chain.began.wait(30)
        chat.close()
        chat.close()
        caller.join(30)
        assert (chain.closed, chain.stopped.is_set(), caller.is_alive()) == (True, True, False)
        with pytest.raises(InvalidInput, match="closed"):
            chat.invoke("How many?")


@pytest.mark.parametrize(
    ("asked", "options", "named"),
    [
        ([HumanMessage([{"type": "image_url", "image_url": "https://x"}])], {}, "image_url"),
        ([ToolMessage("9", tool_call_id="1")], {}, "tool"),
        ([HumanMessage("How many?")], {"stop": ["\n"]}, "stop"),
        ([HumanMessage("How many?")], {"top_p": 0.5}, "top_p"),
    ],
)
def test_what_the_port_does_not_have_is_refused(
    chat: AssayChat, asked: list[Any], options: dict[str, Any], named: str
) -> None:
    """Images, tools and foreign options are refused by name rather than dropped in silence."""
    with pytest.raises(InvalidInput, match=named):
        chat.invoke(asked, **options)
