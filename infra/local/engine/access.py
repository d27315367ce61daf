"""The gate before every route: the Host we were called by, the api key, the size of the body."""

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.engine.answers import failed
from infra.local.engine.problems import EngineProblem, Forbidden, TooLarge, Unauthorized
from infra.local.engine.settings import EngineSettings

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
"""Probes carry no key, as on a Qdrant server."""


class Gate:
    """Lets a request pass that names this host, brings the key and announces a bearable body."""

    def __init__(self, app: ASGIApp, settings: EngineSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or hand the request on."""
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except EngineProblem as problem:
                await failed(problem.status, str(problem))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        name = host_name(headers.get("host", ""))
        if name not in self._settings.host_names:
            raise Forbidden(f"Host {name[:100]!r} is not this engine; call it by a loopback name or ASSAY_HOST")
        if path not in OPEN_PATHS:
            self._check_key(headers)
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._settings.body_bytes_max:
            raise TooLarge(f"the body is over {self._settings.body_bytes_max} bytes; send smaller batches")

    def _check_key(self, headers: Headers) -> None:
        given = headers.get("api-key") or _bearer(headers.get("authorization", ""))
        if not given:
            raise Unauthorized("Must provide an API key or an Authorization bearer token")
        if not hmac.compare_digest(given.encode(), self._settings.api_key.encode()):
            raise Unauthorized("Invalid API key")


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
