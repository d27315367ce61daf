"""Anthropic's Messages through the official SDK."""

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar, cast

import anthropic
import orjson
from pydantic import SecretStr

from registry.messages import CompletionRequest, Message, StopReason, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    ErrorTable,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
)
from serving.providers.network import Client, NetworkProvider
from serving.providers.replies import Reply, count
from serving.providers.sse import Event
from serving.providers.structured import SCHEMAS_KEPT_MAX, Schema
from serving.providers.transport import (
    ANSWER_BYTES_MAX,
    connection_error,
    connection_errors,
    error_words,
    http_client,
    refused_by_sdk,
    vendor_error,
)

ANTHROPIC_URL = "https://api.anthropic.com"
MEANINGS: Mapping[str, type[ProviderError]] = {
    "prompt_too_long": ContextTooLong,
    "request_too_large": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filtered": ContentRefused,
    "authentication_error": AuthenticationFailed,
    "permission_error": AuthenticationFailed,
    "billing_error": AuthenticationFailed,
    "not_found_error": ModelNotFound,
    "rate_limit_error": RateLimited,
    "overloaded_error": Overloaded,
    "api_error": Overloaded,
    "timeout_error": Overloaded,
}
"""What the types of error documents mean, and our words for what the vendor tells apart by a sentence only."""
_SENTENCES: Mapping[str, str] = {
    "prompt is too long": "prompt_too_long",
    "exceed context limit": "prompt_too_long",
    "content filtering policy": "content_filtered",
    "credit balance is too low": "billing_error",
}
"""Looked for, never shown: all come as `invalid_request_error`. Where the wording changes, that is what is left."""
_STOPS: Mapping[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "stop_sequence": "stop_sequence",
    "refusal": "refusal",
}
_CACHED = {"type": "ephemeral"}


class Anthropic(NetworkProvider):
    """One Claude model behind one base URL; holds one connection pool, so make one per process."""

    def __init__(
        self,
        *,
        api_key: SecretStr,
        model: str,
        base_url: str | None = None,
        name: str = "anthropic",
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        url = base_url or ANTHROPIC_URL
        client = anthropic.AsyncAnthropic(
            api_key=api_key.get_secret_value(),
            base_url=url,
            max_retries=0,  # there is one retry loop, and it is not here
            open_telemetry=False,  # spans are made in one place of ours, and these would hold content
            http_client=http_client(name, url, answer_bytes_max),
        )
        super().__init__(
            name=name,
            model=model,
            client=cast("Client", client),  # the SDK's overloads are too many for the type checker to see it
            dialect=Messages(),
            models_path="/v1/models?limit=1",
        )

    def error_table(self) -> ErrorTable:
        """What the SDK's exceptions mean."""
        name = self.name
        return {
            **connection_errors(name),
            anthropic.APIConnectionError: lambda error: connection_error(name, error.__cause__),
            anthropic.APIStatusError: lambda error: _status_error(name, cast("anthropic.APIStatusError", error)),
            anthropic.AnthropicError: partial(refused_by_sdk, name),
        }


class Messages:
    """The Messages format."""

    path: ClassVar[str] = "/v1/messages"

    def body(self, model: str, request: CompletionRequest, schema: Schema | None) -> dict[str, Any]:
        """System turns apart, what never changes marked for the cache; no temperature: the API takes none."""
        system, turns = _marked(request.messages)
        body: dict[str, Any] = {"model": model, "max_tokens": request.max_output_tokens, "messages": turns}
        if system:
            body["system"] = system
        if schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": _accepted(schema.source)}}
        return body

    def streamed(self, body: dict[str, Any]) -> None:
        """Usage comes unasked, at both ends."""
        body["stream"] = True

    def read(self, document: dict[str, Any], reply: Reply) -> None:
        """Content blocks, of which the text ones are the answer."""
        for block in document["content"]:
            if block.get("type") == "text":
                reply.add(block.get("text"))
        _read_head(document, reply)
        reply.stop = _STOPS.get(str(document.get("stop_reason")), "other")

    def read_event(self, event: Event, reply: Reply) -> None:
        """From message_start to message_stop; pings and blocks that close are read over."""
        document: dict[str, Any] = orjson.loads(event.data)
        match document.get("type", event.name):
            case "content_block_delta":
                reply.add(document["delta"].get("text"))
                reply.think(document["delta"].get("thinking"))
            case "content_block_start":
                reply.begin()  # thinking that is not shown begins, and ends, so
            case "message_start":
                _read_head(document["message"], reply)
            case "message_delta":
                _read_usage(document.get("usage"), reply)
                if reason := document["delta"].get("stop_reason"):
                    reply.stop = _STOPS.get(reason, "other")
            case "message_stop":
                reply.ended = True
            case "error":
                raise vendor_error(reply.provider, words=_words(document), meanings=MEANINGS)
            case _:
                pass


def _marked(messages: tuple[Message, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """System blocks and turns as the vendor wants them, with one mark where the unchanging beginning of all ends.

    The vendor caches everything before a mark, system blocks first. It refuses blocks without a visible character.
    """
    ordered = sorted(messages, key=lambda message: message.role != "system")
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    last: dict[str, Any] | None = None
    stable = True
    for message in ordered:
        blocks, is_whole = _blocks(message)
        if stable and message.content[: message.stable_chars].strip():
            last = blocks[0]
        stable = stable and is_whole
        if message.role == "system":
            system += blocks
        elif blocks:
            turns.append({"role": message.role, "content": blocks})
    if last is not None:
        last["cache_control"] = _CACHED
    return system, turns


def _blocks(message: Message) -> tuple[list[dict[str, Any]], bool]:
    """A turn as one block, or two where its unchanging beginning ends; and whether it never changes at all."""
    first, rest = message.content[: message.stable_chars], message.content[message.stable_chars :]
    if not first.strip() or not rest.strip():
        whole = [{"type": "text", "text": message.content}] if message.content.strip() else []
        return whole, not rest.strip()
    return [{"type": "text", "text": first}, {"type": "text", "text": rest}], False


@lru_cache(maxsize=SCHEMAS_KEPT_MAX)
def _accepted(source: bytes) -> dict[str, Any]:
    """The schema with what the vendor refuses (limits on lengths, numbers) told in descriptions instead.

    As it is where the SDK does not know how.
    """
    document: dict[str, Any] = orjson.loads(source)
    try:
        return anthropic.transform_schema(document)
    except (ValueError, AssertionError, TypeError, AttributeError):
        return document


def _read_head(message: dict[str, Any], reply: Reply) -> None:
    reply.name_model(message.get("model"))
    reply.name_call(message.get("id"))
    _read_usage(message.get("usage"), reply)


def _read_usage(given: object, reply: Reply) -> None:
    """Take counts in; those of a later event replace the earlier ones, and what it leaves out stays.

    Input excludes the cache. What was written to it is one number, of which the part with the long lifetime is told
    at the start of a stream only.
    """
    if not isinstance(given, dict):
        return
    fresh = cast("dict[str, Any]", given)
    reply.counts.update({name: value for name, value in fresh.items() if value is not None})
    written = count(reply.counts, "cache_creation_input_tokens")
    hour = count(reply.counts.get("cache_creation"), "ephemeral_1h_input_tokens")
    short = count(reply.counts.get("cache_creation"), "ephemeral_5m_input_tokens")
    output = count(reply.counts, "output_tokens")
    reply.usage = Usage(
        input=count(reply.counts, "input_tokens"),
        cache_read=count(reply.counts, "cache_read_input_tokens"),
        cache_write_5m=max(written - hour, short),
        cache_write_1h=hour,
        output=output,
        reasoning=min(count(reply.counts.get("output_tokens_details"), "thinking_tokens"), output),
    )


def _words(body: object) -> list[object]:
    """What an error document says, as words that `MEANINGS` knows."""
    error, *_ = error_words(body, "error")
    sentence, *types = error_words(error, "message", "type")
    told = [word for phrase, word in _SENTENCES.items() if phrase in str(sentence).lower()]
    return [*told, *types]


def _status_error(name: str, error: anthropic.APIStatusError) -> ProviderError:
    return vendor_error(
        name,
        words=_words(error.body),
        meanings=MEANINGS,
        status=error.status_code,
        headers=error.response.headers,
    )
