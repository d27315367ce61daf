"""OpenAI's two formats on the wire: Chat Completions, which nearly every model server speaks, and Responses."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import orjson

from registry.messages import CompletionRequest, StopReason, Usage
from serving.providers.base import AuthenticationFailed, ContentRefused, ContextTooLong, ProviderError, RateLimited
from serving.providers.replies import Reply, count
from serving.providers.sse import Event
from serving.providers.structured import Schema
from serving.providers.transport import error_words, vendor_error

MEANINGS: Mapping[str, type[ProviderError]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "string_above_max_length": ContextTooLong,
    "content_filter": ContentRefused,
    "content_policy_violation": ContentRefused,
    "moderation_blocked": ContentRefused,
    "invalid_prompt": ContentRefused,
    "insufficient_quota": AuthenticationFailed,
    "billing_hard_limit_reached": AuthenticationFailed,
    "billing_not_active": AuthenticationFailed,
    "rate_limit_exceeded": RateLimited,
}
"""What the codes and types of error documents mean; of the others the status tells enough."""
RESPONSES_TOKENS_MIN = 16
"""Responses refuses a smaller limit; no answer of use is so short that the difference is missed."""
_DONE = b"[DONE]"
_CHAT_STOPS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens", "content_filter": "refusal"}
_INCOMPLETE: Mapping[str, StopReason] = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}


class Chat:
    """Chat Completions."""

    path: ClassVar[str] = "/chat/completions"

    def __init__(self, *, limit_field: str) -> None:
        self._limit_field = limit_field
        self.takes_temperature = True

    def body(self, model: str, request: CompletionRequest, schema: Schema | None) -> dict[str, Any]:
        """Messages, limit, temperature and schema, and nothing else."""
        body: dict[str, Any] = {
            "model": model,
            "messages": _turns(request),
            self._limit_field: request.max_output_tokens,
        }
        if request.temperature is not None and self.takes_temperature:
            body["temperature"] = request.temperature
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": _wanted(schema)}
        return body

    def streamed(self, body: dict[str, Any]) -> None:
        """With the usage, which comes in a chunk of its own after the last words."""
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}

    def read(self, document: dict[str, Any], reply: Reply) -> None:
        """One choice with a message."""
        _read_head(document, reply)
        reply.usage = _usage(document.get("usage"), "prompt", "completion")
        choice = document["choices"][0]
        self._read_words(choice["message"], reply)
        reply.stop = reply.stop or _CHAT_STOPS.get(str(choice.get("finish_reason")), "other")

    def read_event(self, event: Event, reply: Reply) -> None:
        """A chunk, the end, or an error that came too late for a status."""
        if event.data == _DONE:
            reply.ended = True
            return
        document: dict[str, Any] = orjson.loads(event.data)
        if error := document.get("error"):
            raise vendor_error(reply.provider, words=error_words(error, "code", "type"), meanings=MEANINGS)
        _read_head(document, reply)
        for choice in document.get("choices") or ():
            if choice.get("index", 0) == 0:  # one answer was asked for
                self._read_words(choice.get("delta") or {}, reply)
                if reason := choice.get("finish_reason"):
                    reply.stop = reply.stop or _CHAT_STOPS.get(reason, "other")
        if usage := _usage(document.get("usage"), "prompt", "completion"):
            reply.usage = usage
            # Some servers forget `[DONE]`: with a reason and the counts there is nothing left to come.
            reply.ended = reply.stop is not None

    def _read_words(self, message: dict[str, Any], reply: Reply) -> None:
        reply.think(message.get("reasoning_content") or message.get("reasoning"))
        if message.get("refusal"):
            reply.stop = "refusal"
            reply.add(message["refusal"])
        else:
            reply.add(message.get("content"))


class Responses:
    """The Responses API; nothing is stored at the vendor."""

    path: ClassVar[str] = "/responses"

    def __init__(self) -> None:
        self.takes_temperature = True

    def body(self, model: str, request: CompletionRequest, schema: Schema | None) -> dict[str, Any]:
        """Turns, limit, temperature and schema; `store` off, which is on when it is left out."""
        body: dict[str, Any] = {
            "model": model,
            "input": _turns(request),
            "max_output_tokens": max(request.max_output_tokens, RESPONSES_TOKENS_MIN),
            "store": False,
        }
        if request.temperature is not None and self.takes_temperature:
            body["temperature"] = request.temperature
        if schema is not None:
            body["text"] = {"format": {"type": "json_schema", **_wanted(schema)}}
        return body

    def streamed(self, body: dict[str, Any]) -> None:
        """Usage comes unasked, with the last event."""
        body["stream"] = True

    def read(self, document: dict[str, Any], reply: Reply) -> None:
        """Output items, of which the messages hold the text."""
        self._read_output(document["output"], reply)
        self._read_end(document, reply)

    def read_event(self, event: Event, reply: Reply) -> None:
        """A numbered event; one whose number was there already is the same one again."""
        document: dict[str, Any] = orjson.loads(event.data)
        number = document.get("sequence_number")
        if isinstance(number, int):
            if number <= reply.last_number:
                return
            reply.last_number = number
        self._take(document.get("type", event.name), document, reply)

    def _take(self, kind: str, document: dict[str, Any], reply: Reply) -> None:
        match kind:
            case "response.output_text.delta":
                reply.add(document["delta"])
            case "response.refusal.delta":
                reply.stop = "refusal"
                reply.add(document["delta"])
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                reply.think(document["delta"])
            case "response.output_item.added":
                reply.begin()  # reasoning that is not shown begins, and ends, so
            case "response.created":
                _read_head(document["response"], reply)
            case "response.completed" | "response.incomplete" | "response.failed":
                response = document["response"]
                if not reply.has_text:  # a server may send its text at the end only
                    self._read_output(response.get("output") or [], reply)
                self._read_end(response, reply)
            case "error":
                error = document.get("error") or document
                raise vendor_error(reply.provider, words=error_words(error, "code"), meanings=MEANINGS)
            case _:
                pass  # parts that open and close, and what a later version adds

    def _read_output(self, items: list[dict[str, Any]], reply: Reply) -> None:
        for part in (part for item in items if item.get("type") == "message" for part in item["content"]):
            if part.get("type") == "refusal":
                reply.stop = "refusal"
                reply.add(part.get("refusal"))
            elif part.get("type") == "output_text":
                reply.add(part.get("text"))

    def _read_end(self, document: dict[str, Any], reply: Reply) -> None:
        _read_head(document, reply)
        reply.usage = _usage(document.get("usage"), "input", "output") or reply.usage
        reply.ended = True
        if document.get("status") == "failed":
            words = error_words(document.get("error"), "code")
            raise vendor_error(reply.provider, words=words, meanings=MEANINGS)
        details: dict[str, Any] | None = document.get("incomplete_details")
        reply.stop = reply.stop or (_INCOMPLETE.get(details.get("reason", ""), "other") if details else "end")


def _turns(request: CompletionRequest) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in request.messages]


def _wanted(schema: Schema) -> dict[str, Any]:
    return {"name": "answer", "schema": schema.document, "strict": schema.strict}


def _read_head(document: dict[str, Any], reply: Reply) -> None:
    reply.name_model(document.get("model"))
    reply.name_call(document.get("id"))


def _usage(given: object, sent: str, written: str) -> Usage | None:
    """Counts of either format; None when there are none. Both include what was read from the cache in the input."""
    if not isinstance(given, dict) or not given:
        return None
    usage = cast("dict[str, Any]", given)
    total, output = count(usage, f"{sent}_tokens"), count(usage, f"{written}_tokens")
    cached = min(count(usage.get(f"{sent}_tokens_details"), "cached_tokens"), total)
    reasoning = min(count(usage.get(f"{written}_tokens_details"), "reasoning_tokens"), output)
    return Usage(input=total - cached, cache_read=cached, output=output, reasoning=reasoning)
