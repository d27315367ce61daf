"""Any LangChain chat model as a provider.

Not on the path of `POST /v1/insights`: importing LangChain costs a second. Needs `langchain-core`, which the extra
`platform` brings. The other direction, the chain as a chat model, is `serving.providers.langchain_chat`.
"""

import json
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from langchain_core import exceptions as langchain
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.runnables import Runnable
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - typed in part

from registry.messages import Completion, CompletionRequest, Delta, Role, StopReason, StreamEvent, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unreachable,
    translate,
)
from serving.providers.replies import Reply, count
from serving.providers.structured import compiled
from serving.providers.transport import identifier, vendor_error

logger = logging.getLogger(__name__)

_MESSAGES: Mapping[Role, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
_STOPS: Mapping[str, StopReason] = {
    "stop": "end",
    "end_turn": "end",
    "tool_use": "end",
    "tool_calls": "end",
    "end": "end",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "content_filter": "refusal",
    "safety": "refusal",
    "refusal": "refusal",
}
"""From the vendors' words, small; the integrations pass them on as they are."""
_KINDS: Mapping[type[Exception], type[ProviderError]] = {
    TimeoutError: TimedOut,
    OSError: Unreachable,
    langchain.ModelTimeoutError: TimedOut,
    langchain.ModelConnectionError: Unreachable,
    langchain.ModelAPIError: Overloaded,
    langchain.ModelRateLimitError: RateLimited,
    langchain.ModelAuthenticationError: AuthenticationFailed,
    langchain.ModelPermissionDeniedError: AuthenticationFailed,
    langchain.ModelNotFoundError: ModelNotFound,
    langchain.ModelInvalidRequestError: Rejected,
    langchain.ContextOverflowError: ContextTooLong,
}


class FromLangChain:
    """Any LangChain chat model as a provider, by LangChain's standard names.

    The model's own retries should be off (`max_retries=0`): a hidden attempt is neither counted nor billed. LangSmith's
    tracing is off for these calls, also where LANGSMITH_TRACING is set: content goes to the model and nowhere else.

    Args:
        model: what is asked.
        name: name in the chain; the one under which the price table knows the vendor.
        limit_argument: how the model names the limit on its output; None when it takes none per call, and then
            the limit of a request does not hold.
    """

    def __init__(self, model: BaseChatModel, *, name: str, limit_argument: str | None = "max_tokens") -> None:
        self.name = name
        self.model = _model_name(model)
        self._chat = model
        self._limit_argument = limit_argument
        self._fields = set(type(model).model_fields)
        if "max_retries" in self._fields and getattr(model, "max_retries", 0) != 0:
            logger.warning("provider %s retries by itself, unseen and unbilled; build it with max_retries=0", name)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once; a model that only knows synchronous calls works on in its thread when the attempt was ended.

        Raises:
            ProviderError: translated from LangChain's errors, or from the status that an unknown error carries.
        """
        asked, reading = self._prepare(request)
        with translate({Exception: self._meaning}):
            with tracing_context(enabled=False):
                message = await asked.ainvoke(_messages(request), **self._options(request))
            reading.add(message)
        return reading.completion()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As `complete`, piece by piece; a model that cannot stream gives one piece.

        Raises:
            ProviderError: as `complete`.
        """
        asked, reading = self._prepare(request)
        with translate({Exception: self._meaning}):
            messages = asked.astream(_messages(request), **self._options(request))
            async with aclosing(cast("AsyncGenerator[BaseMessage]", messages)):
                while True:
                    with tracing_context(enabled=False):
                        message = await anext(messages, None)
                    if message is None:
                        break
                    if piece := reading.add(message):
                        yield Delta(text=piece)
        completion = reading.completion()
        if rest := reading.rest(completion):
            yield Delta(text=rest)
        yield completion

    async def ping(self) -> None:
        """Nothing: LangChain knows no call that costs nothing."""

    async def aclose(self) -> None:
        """Nothing: who made the model closes it."""

    def _prepare(self, request: CompletionRequest) -> "tuple[Runnable[LanguageModelInput, AIMessage], _Reading]":
        if request.output_schema is None:
            return self._chat, _Reading(self, request)
        tool = {"name": "answer", "description": "The answer.", "parameters": dict(request.output_schema)}
        try:
            bound = self._chat.bind_tools([{"type": "function", "function": tool}], tool_choice="any")
        except NotImplementedError:
            return self._chat, _Reading(self, request)  # the prompt has to say it all
        return bound, _Reading(self, request, by_tool=True)

    def _options(self, request: CompletionRequest) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self._limit_argument is not None:
            options[self._limit_argument] = request.max_output_tokens
        if request.temperature is not None and "temperature" in self._fields:
            options["temperature"] = request.temperature
        return options

    def _meaning(self, error: Exception) -> ProviderError:
        word = identifier(type(error).__name__)
        kind = next((_KINDS[base] for base in type(error).__mro__ if base in _KINDS), None)
        if kind is None and "Timeout" in word:
            kind = TimedOut
        response = getattr(error, "response", None)
        status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
        if isinstance(status, int):
            headers = getattr(response, "headers", None)
            meanings = {} if kind is None else {word: kind}
            return vendor_error(self.name, words=(word,), meanings=meanings, status=status, headers=headers)
        # What nobody can read may pass: the next provider is asked, and the breaker counts.
        return (kind or Overloaded)(f"{self.name} failed with {word!r}")


class _Reading:
    """One answer of a chat model while it comes in: words, or the arguments of the tool that stands for the schema."""

    def __init__(self, provider: FromLangChain, request: CompletionRequest, *, by_tool: bool = False) -> None:
        schema = None if request.output_schema is None else compiled(request.output_schema)
        self._words, self._arguments = (
            Reply(provider=provider.name, asked_model=provider.model, request=request, schema=schema) for _ in range(2)
        )
        self._by_tool = by_tool
        self._call: object = None
        self._usage: UsageMetadata | None = None
        self._reply = self._words

    def add(self, message: BaseMessage) -> str:
        """Take the next piece, or the whole; gives what can go out as a delta."""
        self._words.add(str(message.text))
        for arguments in self._called(message) if self._by_tool else ():
            self._reply = self._arguments
            self._reply.add(arguments)
        if isinstance(message, AIMessage) and message.usage_metadata:
            self._usage = add_usage(self._usage, message.usage_metadata)
            self._words.usage = self._arguments.usage = _tokens(self._usage)
        said = message.response_metadata
        for reply in (self._words, self._arguments):
            reply.name_model(said.get("model_name") or said.get("model"))
            reply.name_call(said.get("request_id") or said.get("id"))
            if stop := said.get("finish_reason") or said.get("stop_reason") or said.get("done_reason"):
                reply.stop = _STOPS.get(str(stop).lower(), "other")
        # Words beside a tool call are no part of the document.
        return "" if self._by_tool and self._reply is self._words else self._reply.take()

    def completion(self) -> Completion:
        """The whole answer."""
        return self._reply.completion()

    def rest(self, completion: Completion) -> str:
        """What of it was held back."""
        return self._reply.rest(completion)

    def _called(self, message: BaseMessage) -> Iterator[str]:
        if isinstance(message, AIMessageChunk):
            for piece in message.tool_call_chunks:
                self._call = self._call or (piece["index"],)
                if self._call == (piece["index"],):  # the first call; any other is one too many
                    yield piece["args"] or ""
        elif isinstance(message, AIMessage):
            for call in message.tool_calls[:1]:
                yield json.dumps(call["args"], ensure_ascii=False)
            for wrong in message.invalid_tool_calls[:1]:
                yield wrong["args"] or ""


def _messages(request: CompletionRequest) -> list[BaseMessage]:
    return [_MESSAGES[message.role](content=message.content) for message in request.messages]


def _model_name(model: BaseChatModel) -> str:
    names = (getattr(model, field, None) for field in ("model_name", "model", "model_id"))
    return next((name for name in names if isinstance(name, str) and name), type(model).__name__)


def _tokens(given: UsageMetadata) -> Usage:
    """LangChain's counts in our buckets, which do not overlap: its `input_tokens` holds the cached ones too."""
    entered, produced = given.get("input_token_details"), given.get("output_token_details")
    left = count(given, "input_tokens")
    read = min(count(entered, "cache_read"), left)
    hour = min(count(entered, "ephemeral_1h_input_tokens"), left - read)
    # The lifetimes stand beside the sum in some integrations, and instead of it in others.
    written = max(count(entered, "cache_creation"), count(entered, "ephemeral_5m_input_tokens") + hour)
    short = min(written - hour, left - read - hour)
    output = count(given, "output_tokens")
    return Usage(
        input=left - read - hour - short,
        cache_read=read,
        cache_write_5m=short,
        cache_write_1h=hour,
        output=output,
        reasoning=min(count(produced, "reasoning"), output),
    )
