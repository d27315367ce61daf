"""What all vendors behind a network share: an HTTP client with limits, and what statuses and headers mean."""

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from functools import cache, partial
from typing import cast
from urllib.parse import urlsplit

import httpx2

from registry.messages import Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContextTooLong,
    ErrorTable,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unreachable,
    retry_after_s,
)

ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""Far above any answer in this product (32k tokens are some 130 kB); a body beyond it is cut off, not read."""
EVENT_STREAM = "text/event-stream"
STREAM_OVERHEAD = 16
"""A streamed answer may take so many times the bytes: each piece of a word travels in an event of its own."""
CONNECT_S_MAX = 5.0
KEEP_ALIVE_S = 30.0
CONNECTIONS_MAX = 1_000
"""Above every limit of ours on calls at the same time, so that no call waits for a connection unseen."""
WORD_CHARS_MAX = 64
NAME_CHARS_MAX = 200
"""Of a model's name or a call's id: they go into logs, metrics and records."""

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    301: ModelNotFound,
    302: ModelNotFound,
    303: ModelNotFound,
    307: ModelNotFound,
    308: ModelNotFound,
    401: AuthenticationFailed,
    402: AuthenticationFailed,
    403: AuthenticationFailed,
    404: ModelNotFound,
    405: ModelNotFound,
    410: ModelNotFound,
    408: Overloaded,
    409: Overloaded,
    413: ContextTooLong,
    421: ModelNotFound,
    429: RateLimited,
}
"""A redirect, 405, 410 and 421 say what 404 says: the configured address is not the model's."""
_SERVER_ERROR = 500


def http_client(name: str, base_url: str, answer_bytes_max: int = ANSWER_BYTES_MAX) -> httpx2.AsyncClient:
    """Make the HTTP client of one provider: bounded answers, no redirects, no proxy to this machine's loopback."""

    # A coroutine because the client awaits its hooks.
    async def bound(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise Garbled(f"{name} answered in a compression that nobody asked for")
        kinds = (response.request.headers.get("accept", ""), response.headers.get("content-type", ""))
        streamed = all(kind.startswith(EVENT_STREAM) for kind in kinds)
        bytes_max = answer_bytes_max * STREAM_OVERHEAD if streamed else answer_bytes_max
        response.stream = _Bounded(cast("httpx2.AsyncByteStream", response.stream), name, bytes_max)

    return httpx2.AsyncClient(
        event_hooks={"response": [bound]},
        limits=httpx2.Limits(
            max_connections=CONNECTIONS_MAX, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE_S
        ),
        timeout=httpx2.Timeout(None, connect=CONNECT_S_MAX),  # the attempt's own end is the bound on reading
        follow_redirects=False,  # a redirect would carry prompts to an address nobody configured
        verify=_tls_context(),
        trust_env=not is_loopback(base_url),  # a proxy cannot reach this machine's loopback
        # Uncompressed, so that the bound on bytes is a bound on memory.
        headers={"Accept-Encoding": "identity"},
    )


@cache
def _tls_context() -> ssl.SSLContext:
    """One for all providers of the process: to read every authority's certificate takes longer than a call."""
    return httpx2.create_ssl_context()


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}


def connection_error(name: str, cause: object) -> ProviderError:
    """What it means that a request got no answer, by the exception of the HTTP client that stands behind."""
    if isinstance(cause, ProviderError):
        return cause  # our own bounds, which an SDK wrapped
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError | httpx2.UnsupportedProtocol):
        return Unreachable(f"{name} cannot be reached", usage=Usage())
    if isinstance(cause, httpx2.TimeoutException | TimeoutError):
        return TimedOut(f"{name} gave no whole answer in time")
    return Unreachable(f"{name} broke the connection")


def connection_errors(name: str) -> ErrorTable:
    """What the exceptions below a vendor's SDK mean."""
    return {
        TimeoutError: partial(connection_error, name),
        httpx2.HTTPError: partial(connection_error, name),
        httpx2.StreamError: partial(connection_error, name),
        ValueError: lambda _: Garbled(f"{name} answered something that is not JSON"),
    }


def refused_by_sdk(name: str, error: Exception) -> ProviderError:
    """What it means that a vendor's SDK did not send the request."""
    return Rejected(f"{name}: the SDK refused the call ({type(error).__name__})", usage=Usage())


def error_words(document: object, *members: str) -> list[object]:
    """The codes and types that an error document gives; none when it is not an object."""
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    return [fields.get(member) for member in members]


def vendor_error(
    name: str,
    *,
    words: Iterable[object],
    meanings: Mapping[str, type[ProviderError]],
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProviderError:
    """Translate a vendor's refusal.

    Args:
        name: Name of the provider.
        words: The codes and types that the vendor's error document gives, most telling first.
        meanings: What those words mean, per vendor; a word that is not there leaves it to the status.
        status: HTTP status; None for an error that came inside a stream, which is the vendor's failure unless a word
            says otherwise.
        headers: Of the answer, ignoring case.
    """
    codes = [identifier(word) for word in words if word and not str(word).isdigit()]
    kind = next((meanings[code] for code in codes if code in meanings), None) or _kind_of(status)
    said = f"{name} broke off" if status is None else f"{name} answered {status}"
    said += f" {codes[0]!r}" if codes else ""
    given = headers or {}
    return kind(
        said,
        request_id=request_id_in(given),
        should_retry=_should_retry(given),
        retry_after_s=retry_after_s(given),
    )


def request_id_in(headers: Mapping[str, str]) -> str | None:
    """The vendor's id of the call, as its headers give it."""
    return name_in(headers.get("x-request-id")) or name_in(headers.get("request-id"))


def name_in(word: object) -> str | None:
    """A model's name or a call's id, when the word looks like one."""
    if isinstance(word, str) and word.isprintable() and len(word) <= NAME_CHARS_MAX:
        return word or None
    return None


def identifier(word: object) -> str:
    """A vendor's code, cut to what a code can be: a sentence in its place would quote the prompt."""
    text = str(word)
    readable = text.isascii() and len(text) <= WORD_CHARS_MAX and text.replace("_", "").replace("-", "").isalnum()
    return text if readable else "unreadable"


def _kind_of(status: int | None) -> type[ProviderError]:
    if status is None or status >= _SERVER_ERROR:
        return Overloaded
    return _BY_STATUS.get(status, Rejected)


def _should_retry(headers: Mapping[str, str]) -> bool | None:
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


class _Bounded(httpx2.AsyncByteStream):
    """A response body that ends with an error when it grows beyond its limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, name: str, bytes_max: int) -> None:
        self._stream = stream
        self._name = name
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        seen = 0
        async with aclosing(cast("AsyncGenerator[bytes]", self._stream.__aiter__())) as chunks:
            async for chunk in chunks:
                seen += len(chunk)
                if seen > self._bytes_max:
                    raise Garbled(f"{self._name} answered more than {self._bytes_max} bytes")
                yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
