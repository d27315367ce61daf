"""Which request is being worked on: ids that logs, audit entries and problems share."""

import re
import secrets
import uuid
from contextvars import ContextVar
from dataclasses import dataclass

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class RequestIds:
    """Names of one request."""

    request_id: str
    """The client's X-Request-Id when it is sane, else ours."""
    trace_id: str
    """32 hexadecimal digits, from the W3C traceparent header when there is one."""
    parent_id: str = ""
    """16 hexadecimal digits: the caller's span in the traceparent header; empty without one."""
    sampled: bool = True
    """Whether the caller keeps the trace; false only when its traceparent header says so."""


NOBODY = RequestIds(request_id="", trace_id="")
"""Outside of any request, e.g. in a background task."""

current: ContextVar[RequestIds] = ContextVar("assay_request", default=NOBODY)


def request_ids(client_id: str | None, traceparent: str | None) -> RequestIds:
    """Take over the client's ids where they are well formed; never fails."""
    sane = client_id is not None and _REQUEST_ID.fullmatch(client_id) is not None
    request_id = client_id if sane and client_id else uuid.uuid4().hex
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None or set(match[1]) == {"0"} or set(match[2]) == {"0"}:
        return RequestIds(request_id=request_id, trace_id=secrets.token_hex(16))
    return RequestIds(request_id, trace_id=match[1], parent_id=match[2], sampled=bool(int(match[3], 16) & 1))
