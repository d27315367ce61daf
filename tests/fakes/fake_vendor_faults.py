"""The faults that a fake vendor can be told to show, and what a status fault looks like in each vendor's words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

StatusFault = Literal[
    "rate-limited",  # 429, retry-after in seconds
    "rate-limited-ms",  # 429, retry-after-ms beside a coarser retry-after
    "rate-limited-date",  # 429, retry-after as an HTTP date far away
    "no-quota",  # the account has no money left
    "server-error",  # 500
    "overloaded",  # 529 at Anthropic, 503 at OpenAI
    "overloaded-wait",  # the same, with retry-after
    "gateway-timeout",  # 504
    "do-not-retry",  # 500 with x-should-retry: false
    "please-retry",  # 409 with x-should-retry: true
    "bad-key",
    "no-rights",
    "no-model",
    "bad-request",  # its code is a sentence that quotes the prompt
    "no-temperature",  # a model that takes none: a body without one is answered
    "no-temperature-uncoded",  # the same as Responses says it: the code is null
    "wrong-temperature",  # a temperature that no model takes
    "too-long",  # the prompt does not fit into the context
    "too-long-llama",  # the same in llama.cpp's words
    "too-large",  # 413
    "filtered",  # the vendor's filter declined the prompt
]
"""Answered with a status instead of an answer, streamed or not, also to a ping."""

WireFault = Literal[
    "refused",  # nobody listens
    "reset",  # the connection breaks before the headers
    "stall",  # silence before the headers, until `release` is set
    "stall-body",  # silence after the headers, until `release` is set
    "stall-mid",  # silence after the first piece, until `release` is set
    "cut",  # the connection is closed in the middle of the body
    "unfinished",  # a stream ends in good order, without its last events; a whole answer as `cut`
    "drip",  # a byte each 20 ms
    "huge",  # 131 MB
    "compressed",  # the headers claim a compression that nobody asked for
    "redirect",  # 307 to an address that nobody configured
    "html",  # a captive portal's page, status 200
]
"""Something breaks below the vendor's own format."""

AnswerFault = Literal[
    "malformed",  # JSON, or one event of a stream, that cannot be read
    "no-content",  # JSON without an answer in it
    "empty",  # an answer of no characters
    "not-the-schema",  # a sentence, whatever schema was asked for
    "wrong-shape",  # JSON that misses the schema
    "fenced",  # the right JSON in a Markdown fence
    "stopped-short",  # cut off at max_tokens, in the middle of the JSON
    "refusal",  # the model declines
    "content-filter",  # the vendor's filter ends the answer
    "no-usage",  # no token counts
    "bare",  # only what a careless compatible server sends: no ids, model, usage
    "other-model",  # another model than the asked one answers
]
"""A whole answer, and something is wrong with it."""

StreamFault = Literal[
    "stall-opened",  # silence after the opening event, which names model and id, until `release` is set
    "stall-thinking",  # silence between the reasoning and the first piece of text, until `release` is set
    "error-first",  # an error event before the first piece
    "error-event",  # an error event after the first piece
    "error-limited",  # the error event says that we are throttled
    "failed",  # Responses: the stream, or the answer, ends as `failed`; elsewhere as `error-event`
    "duplicates",  # every event but a piece of text comes twice (Responses: these too, under the same number)
    "odd-framing",  # CRLF, comments, ids, data in two lines, a byte at a time: allowed by the SSE standard
    "huge-event",  # one event of 2 MB
]
"""Shown by streams only; a whole answer comes as if there were no fault, unless said otherwise."""

Fault = Literal["none"] | StatusFault | WireFault | AnswerFault | StreamFault
Plan = Fault | Callable[[int, Mapping[str, Any]], Fault]
"""One fault for every request; or a function of a request's number (from 1) and body. Pings have number 0, no body."""

SECRET = "planted: the prompt says 'the quarterly secret', the key is sk-planted"
"""What vendors do put into their error sentences; it must not come out on our side."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One status answer in both vendors' words."""

    status: int
    anthropic: str
    """`error.type` at Anthropic."""
    openai: tuple[str, str | None]
    """`error.type` and `error.code` at OpenAI."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    anthropic_status: int | None = None
    """Where Anthropic's status is another one."""
    sentence: str = SECRET
    param: str | None = None
    """`error.param` at OpenAI."""


_LIMIT = ("requests", "rate_limit_exceeded")
_INVALID = "invalid_request_error"
REFUSALS: Mapping[str, Refusal] = {
    "rate-limited": Refusal(status=429, anthropic="rate_limit_error", openai=_LIMIT, headers={"retry-after": "7"}),
    "rate-limited-ms": Refusal(
        status=429,
        anthropic="rate_limit_error",
        openai=_LIMIT,
        headers={"retry-after-ms": "1500", "retry-after": "2"},
    ),
    "rate-limited-date": Refusal(
        status=429,
        anthropic="rate_limit_error",
        openai=_LIMIT,
        headers={"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"},
    ),
    "no-quota": Refusal(
        status=429, anthropic_status=402, anthropic="billing_error", openai=("insufficient_quota", "insufficient_quota")
    ),
    "server-error": Refusal(status=500, anthropic="api_error", openai=("server_error", None)),
    "overloaded": Refusal(
        status=503, anthropic_status=529, anthropic="overloaded_error", openai=("service_unavailable_error", None)
    ),
    "overloaded-wait": Refusal(
        status=503,
        anthropic_status=529,
        anthropic="overloaded_error",
        openai=("service_unavailable_error", None),
        headers={"retry-after": "30"},
    ),
    "gateway-timeout": Refusal(status=504, anthropic="timeout_error", openai=("server_error", None)),
    "do-not-retry": Refusal(
        status=500, anthropic="api_error", openai=("server_error", None), headers={"x-should-retry": "false"}
    ),
    "please-retry": Refusal(
        status=409, anthropic="conflict_error", openai=("conflict_error", None), headers={"x-should-retry": "true"}
    ),
    "bad-key": Refusal(status=401, anthropic="authentication_error", openai=(_INVALID, "invalid_api_key")),
    "no-rights": Refusal(status=403, anthropic="permission_error", openai=("permission_error", None)),
    "no-model": Refusal(status=404, anthropic="not_found_error", openai=(_INVALID, "model_not_found")),
    "bad-request": Refusal(status=400, anthropic=_INVALID, openai=(_INVALID, SECRET)),
    "no-temperature": Refusal(
        status=400, anthropic=_INVALID, openai=(_INVALID, "unsupported_value"), param="temperature"
    ),
    "no-temperature-uncoded": Refusal(
        status=400,
        anthropic=_INVALID,
        openai=(_INVALID, None),
        param="temperature",
        sentence="Unsupported parameter: 'temperature' is not supported with this model.",
    ),
    "wrong-temperature": Refusal(
        status=400, anthropic=_INVALID, openai=(_INVALID, "decimal_above_max_value"), param="temperature"
    ),
    "too-long": Refusal(
        status=400,
        anthropic=_INVALID,
        openai=(_INVALID, "context_length_exceeded"),
        sentence="prompt is too long: 208310 tokens > 200000 maximum",
    ),
    "too-long-llama": Refusal(
        status=400, anthropic="exceed_context_size_error", openai=("exceed_context_size_error", "400")
    ),
    "too-large": Refusal(status=413, anthropic="request_too_large", openai=(_INVALID, None)),
    "filtered": Refusal(
        status=400,
        anthropic=_INVALID,
        openai=(_INVALID, "content_filter"),
        sentence="Output blocked by content filtering policy",
    ),
}

assert set(REFUSALS) == set(get_args(StatusFault))
