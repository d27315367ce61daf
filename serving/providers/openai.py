"""OpenAI Chat Completions through the official SDK, and every server that speaks the same.

The SDK's own retries are off: there is one retry loop, and it is not here. What the vendor answers is read from the
raw document, because compatible servers leave out fields that the SDK's models promise.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import openai
from pydantic import SecretStr

from registry.errors import JsonValue
from registry.messages import Completion, CompletionRequest, StopReason, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    ErrorTable,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    SchemaFailure,
    TimedOut,
    Unreachable,
    retry_after_s,
    translate,
)
from serving.providers.tokens import estimated_tokens

logger = logging.getLogger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""Far above any answer in this product (32k tokens are some 130 kB); a body beyond it is cut off, not read."""
CONNECT_S_MAX = 5.0
_STOPS: Mapping[str, StopReason] = {"stop": "end", "length": "max_tokens", "content_filter": "refusal"}
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error", "string_above_max_length")
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked", "invalid_prompt")
_NO_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")


class OpenAI:
    """One model behind one base URL; holds one connection pool, so make one per process."""

    def __init__(
        self,
        *,
        api_key: SecretStr,
        model: str,
        base_url: str = OPENAI_URL,
        name: str = "openai",
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self.name = name
        self.model = model
        loopback = urlsplit(base_url).hostname in {"127.0.0.1", "::1", "localhost"}
        # OpenAI's newer models refuse `max_tokens`, many compatible servers know nothing else.
        own = (urlsplit(base_url).hostname or "").endswith((".openai.com", ".azure.com"))
        self._limit_field = "max_completion_tokens" if own else "max_tokens"
        self._errors = _error_table(name)

        async def bound(response: httpx2.Response) -> None:
            response.stream = _Bounded(cast("httpx2.AsyncByteStream", response.stream), name, answer_bytes_max)

        self._client = openai.AsyncOpenAI(
            api_key=api_key.get_secret_value(),
            base_url=base_url,
            max_retries=0,
            # Uncompressed, so that the bound on bytes is a bound on memory.
            default_headers={"Accept-Encoding": "identity"},
            http_client=openai.DefaultAsyncHttpxClient(
                event_hooks={"response": [bound]},
                follow_redirects=False,  # a redirect would carry prompts to an address nobody configured
                trust_env=not loopback,  # a proxy cannot reach this machine's loopback
            ),
        )

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once, within `request.timeout_s` from connecting to the last byte.

        Raises:
            ProviderError: translated from the vendor's error by one table.
        """
        body = self._body(request)
        limits = httpx2.Timeout(request.timeout_s, connect=min(request.timeout_s, CONNECT_S_MAX))
        with translate(self._errors):
            # The SDK's time-out is per read: a slow drip would outlive it.
            async with asyncio.timeout(request.timeout_s):
                # A plain mapping fits no overload of the SDK; the raw response is what it returns for all of them.
                create: Any = self._client.chat.completions.with_raw_response.create
                raw: httpx2.Response = (await create(**body, timeout=limits)).http_response
        return self._read(raw.text, raw.headers.get("x-request-id"), request)

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.close()

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            self._limit_field: request.max_output_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.output_schema is not None:
            schema = {"name": "answer", "schema": request.output_schema, "strict": is_strict(request.output_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _read(self, text: str, request_id: str | None, request: CompletionRequest) -> Completion:
        try:
            document = json.loads(text)
            choice = document["choices"][0]
            message: dict[str, Any] = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise Garbled(
                f"{self.name} answered something that is not a chat completion", request_id=request_id
            ) from None
        words = refusal if isinstance(refusal, str) and refusal else content
        words = words if isinstance(words, str) else ""
        stop: StopReason = "refusal" if refusal else _STOPS.get(str(choice.get("finish_reason")), "other")
        usage = self._usage(document.get("usage"), request, words)
        named = document.get("model")
        answered = named if isinstance(named, str) and named else self.model
        if stop != "refusal" and (wrong := self._misses(words, stop, request)) is not None:
            raise SchemaFailure(wrong, usage=usage, model=answered, request_id=request_id)
        return Completion(
            text=words,
            stop_reason=stop,
            usage=usage,
            provider=self.name,
            model=answered,
            asked_model=self.model,
            request_id=request_id or (document["id"] if isinstance(document.get("id"), str) else None),
        )

    def _misses(self, text: str, stop: StopReason, request: CompletionRequest) -> str | None:
        """What the answer lacks, in a sentence; None when it is as asked for."""
        wanted = request.output_schema
        if text.strip() and (wanted is None or _fits(text, wanted)):
            return None
        why = (
            f"stopped at {request.max_output_tokens} tokens; raise max_output_tokens"
            if stop == "max_tokens"
            else "the model may not be able to"
        )
        what = "with any text" if wanted is None else "with the JSON of the output schema"
        return f"{self.name} did not answer {what}: {why}"

    def _usage(self, given: Any, request: CompletionRequest, answer: str) -> Usage:
        usage = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
        if not usage:
            logger.warning("%s reported no usage; it is estimated from the texts", self.name)
            prompt = (message.content for message in request.messages)
            return Usage(input=estimated_tokens(*prompt), output=estimated_tokens(answer))
        total = _count(usage, "prompt_tokens")
        cached = min(_count(usage.get("prompt_tokens_details"), "cached_tokens"), total)
        output = _count(usage, "completion_tokens")
        reasoning = min(_count(usage.get("completion_tokens_details"), "reasoning_tokens"), output)
        return Usage(input=total - cached, cache_read=cached, output=output, reasoning=reasoning)


def is_strict(schema: Any) -> bool:
    """Whether a JSON Schema meets OpenAI's strict mode: every object closed, every property required."""
    if isinstance(schema, list):
        return all(is_strict(item) for item in cast("list[Any]", schema))
    if not isinstance(schema, Mapping):
        return True
    fields = cast("Mapping[str, Any]", schema)
    properties = fields.get("properties")
    if fields.get("type") == "object" or isinstance(properties, Mapping):
        names = set(cast("Mapping[str, Any]", properties or {}))
        if fields.get("additionalProperties") is not False or names != set(fields.get("required") or ()):
            return False
    return all(is_strict(value) for value in fields.values())


class _Bounded(httpx2.AsyncByteStream):
    """A response body that ends with an error when it grows beyond its limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, name: str, bytes_max: int) -> None:
        self._stream = stream
        self._name = name
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for chunk in self._stream:
            seen += len(chunk)
            if seen > self._bytes_max:
                raise Garbled(f"{self._name} answered more than {self._bytes_max} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _error_table(name: str) -> ErrorTable:
    return {
        TimeoutError: lambda _: TimedOut(f"{name} gave no whole answer in time"),
        openai.APITimeoutError: lambda _: TimedOut(f"{name} gave no whole answer in time"),
        openai.APIConnectionError: lambda _: Unreachable(f"{name} cannot be reached, or broke the connection"),
        openai.APIStatusError: lambda error: _status_error(name, cast("openai.APIStatusError", error)),
        openai.OpenAIError: lambda error: Rejected(f"{name}: the SDK refused the call ({type(error).__name__})"),
        httpx2.HTTPError: lambda _: Unreachable(f"{name} cannot be reached, or broke the connection"),
        ValueError: lambda _: Garbled(f"{name} answered something that is not JSON"),
    }


_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    403: AuthenticationFailed,
    404: ModelNotFound,
    408: TimedOut,
    409: Overloaded,
    413: ContextTooLong,
    504: TimedOut,
}


def _status_error(name: str, error: openai.APIStatusError) -> ProviderError:
    words = [_identifier(word) for word in (error.code, error.type) if word and not str(word).isdigit()]
    said = f"{name} answered {error.status_code}" + (f" {words[0]!r}" if words else "")
    request_id = error.request_id
    if any(word in _TOO_LONG for word in words):
        kind = ContextTooLong
    elif any(word in _FILTERED for word in words):
        kind = ContentRefused
    elif any(word in _NO_QUOTA for word in words):
        kind = AuthenticationFailed
    elif error.status_code == _TOO_MANY_REQUESTS:
        wait = retry_after_s(error.response.headers)
        return RateLimited(said, retry_after_s=wait, request_id=request_id)
    else:
        kind = _BY_STATUS.get(error.status_code, Overloaded if error.status_code >= _SERVER_ERROR else Rejected)
    return kind(said, request_id=request_id)


def _identifier(word: object) -> str:
    """A vendor's code, cut to what a code can be: a sentence in its place would quote the prompt."""
    text = str(word)
    return text if text.isascii() and text.replace("_", "").replace("-", "").isalnum() else "unreadable"


def _fits(text: str, schema: Mapping[str, JsonValue]) -> bool:
    """Whether the text is a JSON object with the members that the schema requires."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    required = schema.get("required")
    members = set(cast("dict[str, Any]", value)) if isinstance(value, dict) else None
    return members is not None and (not isinstance(required, list) or members.issuperset(map(str, required)))


def _count(usage: Any, name: str) -> int:
    value = cast("dict[str, Any]", usage).get(name) if isinstance(usage, dict) else None
    return max(value, 0) if isinstance(value, int) and not isinstance(value, bool) else 0
