"""What happens to every request before and after its route: ids, limits, headers, one log line.

Plain ASGI: nothing here runs a request in another task, so a client that hangs up cancels nothing by accident.
"""

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.errors import InvalidInput
from serving.metrics import Metrics
from serving.problems import problem_response
from serving.request_context import current, request_ids

access_log = logging.getLogger("serving.access")
logger = logging.getLogger(__name__)

BODY_BYTES_MAX = 256 * 1024
"""Sixteen metric series of a thousand points are 1.3 times less."""
IN_FLIGHT_MAX = 256
"""Requests worked on at once by one process; more are told to come back."""
REQUEST_S_MAX = 150.0
"""The longest deadline a question may carry, and the time to seal its record."""

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class PayloadTooLarge(InvalidInput):
    """The body is larger than the API takes."""

    code = "payload-too-large"


class RequestFrame:
    """Gives each request its ids, bounds its time, answers what nobody caught, and writes one line about it."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, in_flight_max: int = IN_FLIGHT_MAX, request_s_max: float = REQUEST_S_MAX
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._in_flight_max = in_flight_max
        self._request_s_max = request_s_max
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        ids = request_ids(headers.get("x-request-id"), headers.get("traceparent"))
        token = current.set(ids)
        sender = _Sender(send, ids.request_id)
        started = perf_counter()
        self._in_flight += 1
        self._metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, sender)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.dec()
            self._write(scope, sender.status, perf_counter() - started)
            current.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: "_Sender") -> None:
        if self._in_flight > self._in_flight_max and scope["path"] != "/healthz":  # busy is alive
            response = problem_response(
                "overloaded", "this process is busy; try again in a second", headers={"Retry-After": "1"}
            )
            await response(scope, receive, send)
            return
        limit = asyncio.timeout(self._request_s_max)
        try:
            async with limit:
                await self._app(scope, receive, send)
        except ClientDisconnect:
            send.status = send.status or 499
        except Exception as error:  # the rim: a bug becomes a logged 500, not a cut line
            if isinstance(error, TimeoutError) and limit.expired():
                response = problem_response("deadline-exceeded", "the request took too long and was stopped")
            else:
                logger.exception("unexpected error in a request")
                response = problem_response(
                    "internal-error", "something broke on our side; quote the request_id when you report it"
                )
            if send.status is not None:
                raise  # half an answer is out; the server breaks the connection
            await response(scope, receive, send)

    def _write(self, scope: Scope, status: int | None, seconds: float) -> None:
        # The route's template, never the address itself: that is the client's text.
        route = str(getattr(scope.get("route"), "path", "none"))
        method = scope["method"] if scope["method"] in _METHODS else "other"
        shown = status or 499  # nobody was there to be answered
        self._metrics.requests.labels(method, route, str(shown)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        fields = {"method": method, "route": route, "status": shown, "ms": round(seconds * 1000, 1)}
        state: dict[str, Any] = scope.get("state") or {}
        fields |= {name: state[name] for name in ("key_id", "tenant", "insight") if name in state}
        access_log.info("request", extra={"fields": fields})


class BodyLimit:
    """Stops reading a body at the limit, whether or not its length was declared."""

    def __init__(self, app: ASGIApp, bytes_max: int = BODY_BYTES_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and (len(declared) > 12 or int(declared) > self._bytes_max):  # noqa: PLR2004 - a terabyte
            await self._refusal()(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._bytes_max:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"a body may have {self._bytes_max} bytes; send less")

    def _refusal(self) -> ASGIApp:
        # Connection: close, so that the server does not read what it was told to refuse.
        return problem_response("payload-too-large", self._too_large().message, headers={"Connection": "close"})


class _Sender:
    """Adds the headers that every answer carries and remembers the status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
