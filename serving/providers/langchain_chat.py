"""Assay's chain as a LangChain chat model.

For programs built on LangChain, never on the path of `POST /v1/insights`. Needs `langchain-core`, which the extra
`platform` brings. The other direction, a chat model as a provider, is `serving.providers.langchain`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, Protocol, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field, PrivateAttr, SkipValidation

from registry.errors import InvalidInput
from registry.messages import Attempt, Completion, CompletionRequest, Delta, Message, Role, StreamEvent, Usage
from serving.providers.loop_thread import LoopThread, Relay

_OPTIONS = frozenset({"max_tokens", "temperature", "deadline_s", "output_schema", "stream"})
_ROLES: Mapping[type[BaseMessage], Role] = {SystemMessage: "system", HumanMessage: "user", AIMessage: "assistant"}


class Answers(Protocol):
    """What AssayChat stands on: a chain, or a single provider."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer before the deadline."""
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Answer piece by piece."""
        ...

    async def aclose(self) -> None:
        """Give connections back."""
        ...


class AssayChat(BaseChatModel):
    """Assay's chain as a LangChain chat model: retries, fallback, one deadline and the bill, under LangChain's names.

    Give it a chain of its own: all calls, from whatever thread or event loop, run on one event loop in a thread of
    this object, because connections belong to a loop. Close it when you are done. A call through it is metered, but no
    insight: it is neither audited nor held against a budget.

    `invoke`, `stream` and their asynchronous twins take `max_tokens`, `temperature`, `deadline_s` and `output_schema`.
    Each raises a ProviderError when nobody answers, and InvalidInput for tools, images and stop words.
    """

    chain: SkipValidation[Answers]
    max_output_tokens: int = Field(default=1024, ge=1)
    temperature: float | None = None
    deadline_s: float = Field(default=30.0, gt=0, le=120)
    on_attempt: SkipValidation[Callable[[Attempt], None]] | None = None
    """Told of every attempt of every call, on the thread of the loop: what you are billed."""
    _loop: LoopThread = PrivateAttr(default_factory=LoopThread)

    @property
    def _llm_type(self) -> str:
        return "assay"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"max_output_tokens": self.max_output_tokens, "temperature": self.temperature}

    def close(self) -> None:
        """Close the chain and end the thread."""
        self._loop.close(self.chain.aclose)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """A runnable that answers with an instance of a pydantic class, or with a dict for any other schema.

        Args:
            schema: pydantic class, TypedDict or JSON Schema; goes to the chain as the output schema.
            include_raw: answer `{raw, parsed, parsing_error}` instead.
            kwargs: `method` and `strict` are taken and mean nothing; the vendor's door knows what it can do.

        Raises:
            SchemaFailure: when run, the model did not keep to the schema, also not when asked again.
        """
        if unknown := set(kwargs) - {"method", "strict"}:
            raise InvalidInput(f"with_structured_output does not take {min(unknown)!r}; leave it out")
        parser: BaseOutputParser[Any] = JsonOutputParser()
        if isinstance(schema, type) and issubclass(schema, BaseModel):
            wanted, parser = schema.model_json_schema(), PydanticOutputParser(pydantic_object=schema)
        else:
            wanted = convert_to_json_schema(cast("dict[str, Any]", schema))
        answer = self.bind(output_schema=wanted)
        return answer | RunnableLambda(_parse_beside(parser)) if include_raw else answer | parser

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        return _result(self._loop.wait(self.chain.complete(self._request(messages, stop, kwargs))))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        del run_manager
        asked = self.chain.complete(self._request(messages, stop, kwargs))
        return _result(await asyncio.wrap_future(self._loop.submit(asked)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        del run_manager
        request = self._request(messages, stop, kwargs)
        relay = Relay(lambda: self.chain.stream(request))
        try:
            while (event := self._loop.wait(relay.next())) is not None:
                yield _chunk(event)
        finally:
            self._loop.wait(relay.stop())

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[ChatGenerationChunk]:
        del run_manager
        request = self._request(messages, stop, kwargs)
        relay = Relay(lambda: self.chain.stream(request))
        try:
            while (event := await asyncio.wrap_future(self._loop.submit(relay.next()))) is not None:
                yield _chunk(event)
        finally:
            await asyncio.wrap_future(self._loop.submit(relay.stop()))

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> CompletionRequest:
        if unknown := sorted(set(options) - _OPTIONS) or (["stop"] if stop else []):
            raise InvalidInput(f"Assay's chain does not take {unknown[0]!r}; leave it out")
        return CompletionRequest(
            messages=tuple(_message(message) for message in messages),
            max_output_tokens=options.get("max_tokens") or self.max_output_tokens,
            temperature=options.get("temperature", self.temperature),
            output_schema=options.get("output_schema"),
            deadline=self._loop.time() + options.get("deadline_s", self.deadline_s),
            on_attempt=self.on_attempt or _nobody,
        )


def _nobody(_: Attempt) -> None:
    """For calls whose attempts nobody counts."""


def _message(message: BaseMessage) -> Message:
    role: Role | None = next((role for kind, role in _ROLES.items() if isinstance(message, kind)), None)
    parts = message.content if isinstance(message.content, list) else []
    if role is None or getattr(message, "tool_calls", None):
        raise InvalidInput(f"Assay's chain takes system, human and AI messages without tools, not {message.type!r}")
    if other := [part.get("type") for part in parts if isinstance(part, dict) and part.get("type") != "text"]:
        raise InvalidInput(f"Assay's chain takes text, not {other[0]!r}")
    return Message(role=role, content=str(message.text))


def _result(completion: Completion) -> ChatResult:
    message = AIMessage(
        content=completion.text,
        usage_metadata=_usage(completion.usage),
        response_metadata=_metadata(completion),
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def _chunk(event: StreamEvent) -> ChatGenerationChunk:
    if isinstance(event, Delta):
        return ChatGenerationChunk(message=AIMessageChunk(content=event.text))
    message = AIMessageChunk(
        content="",
        usage_metadata=_usage(event.usage),
        response_metadata=_metadata(event),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message)


def _metadata(completion: Completion) -> dict[str, Any]:
    return {
        "model_name": completion.model,
        "provider": completion.provider,
        "finish_reason": completion.stop_reason,
        "request_id": completion.request_id,
        "usage_estimated": completion.usage_estimated,
    }


def _usage(usage: Usage) -> UsageMetadata:
    """Ours in LangChain's buckets: `input_tokens` holds all that went in, and the details say what of it was cached."""
    details: dict[str, int] = {"cache_read": usage.cache_read, "cache_creation": usage.cache_write_5m}
    if usage.cache_write_1h:
        # The names that LangChain's Anthropic integration gives the two lifetimes; the sum stays out then.
        details |= {
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    return UsageMetadata(
        input_tokens=usage.prompt,
        output_tokens=usage.output,
        total_tokens=usage.prompt + usage.output,
        input_token_details=cast("InputTokenDetails", details),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning),
    )


def _parse_beside(parser: BaseOutputParser[Any]) -> Callable[[AIMessage], dict[str, Any]]:
    def parse(raw: AIMessage) -> dict[str, Any]:
        try:
            return {"raw": raw, "parsed": parser.invoke(raw), "parsing_error": None}
        except OutputParserException as error:
            return {"raw": raw, "parsed": None, "parsing_error": error}

    return parse
