"""A LangChain chat model that says what a test tells it, by LangChain's standard names."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from pydantic import Field

from registry.messages import CompletionRequest, Message, StreamEvent
from serving.providers.langchain import FromLangChain


class FakeChatModel(BaseChatModel):
    """Answers with `message`, streamed as `chunks` when there are any; remembers what it was asked."""

    model_name: str = "fake-1"
    temperature: float | None = None
    message: AIMessage = Field(default_factory=lambda: AIMessage("Nine per cent."))
    document: dict[str, Any] | None = None
    """What it calls a tool with, when it is given one; None never calls."""
    chunks: list[AIMessageChunk] = Field(default_factory=list)
    error: Exception | None = None
    """Raised instead of an answer, or after the chunks."""
    hangs: bool = False
    """Never answers, or not after the chunks."""
    takes_tools: bool = True
    asked: list[tuple[list[BaseMessage], dict[str, Any]]] = Field(default_factory=list)
    closed: asyncio.Event = Field(default_factory=asyncio.Event)
    """Set when a stream has ended, however it did."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.asked.append((messages, kwargs))
        await self._misbehave()
        return ChatResult(generations=[ChatGeneration(message=self._answer(kwargs))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append((messages, kwargs))
        try:
            for chunk in self.chunks:
                yield ChatGenerationChunk(message=chunk.model_copy())
            await self._misbehave()
            if not self.chunks:
                whole = self._answer(kwargs).model_dump(exclude={"type"})
                yield ChatGenerationChunk(message=AIMessageChunk(**whole))
        finally:
            self.closed.set()

    def _answer(self, kwargs: dict[str, Any]) -> AIMessage:
        if self.document is None or "tools" not in kwargs:
            return self.message
        call = tool_call(name="answer", args=self.document, id="call_1")
        return self.message.model_copy(update={"content": "", "tool_calls": [call]})

    async def _misbehave(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Pass the tools on, or say that there is no such thing."""
        if not self.takes_tools:
            raise NotImplementedError
        return self.bind(tools=list(tools), tool_choice=tool_choice, **kwargs)


def request(**changes: Any) -> CompletionRequest:
    """A request with a turn of each kind."""
    turns = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello."),
        Message(role="assistant", content="Yes?"),
        Message(role="user", content="How many were late?"),
    )
    return CompletionRequest(**{"messages": turns, "max_output_tokens": 50, **changes})


async def events_of(model: FakeChatModel, asked: CompletionRequest) -> list[StreamEvent]:
    """Everything a stream gives."""
    async with aclosing(FromLangChain(model, name="fake").stream(asked)) as events:
        return [event async for event in events]
