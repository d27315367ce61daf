"""A small door to MLflow's REST API, for processes that must not carry mlflow itself.

* MlflowUnavailable (Unavailable) - no answer, a slow one, or one that is not MLflow's
* MlflowNotFound (NotFound)       - MLflow has no such object
* MlflowRejected (InvalidInput)   - MLflow cannot use the request; carries its sentence
* MlflowRefused (Refused)         - MLflow, or the gate in it, does not allow it; carries its sentence
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from registry.errors import InvalidInput, NotFound, Refused, Unavailable

PREFIX = "/api/2.0/mlflow/"
CONNECT_TIMEOUT_S = 1.0
READ_TIMEOUT_S = 3.0
TOTAL_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 8 * 1024 * 1024
SENTENCE_CHARS_MAX = 4_000
"""Of MLflow's reason; the gate's names everything that is missing."""
KEY_HEADER = "X-Assay-Key"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

Json = dict[str, Any]


class MlflowUnavailable(Unavailable):
    """MLflow did not answer, or not in time, or with something else than MLflow's JSON."""

    code = "mlflow-unavailable"


class MlflowNotFound(NotFound):
    """MLflow has no such object."""


class MlflowRejected(InvalidInput):
    """MLflow refused the request as it stands."""


class MlflowRefused(Refused):
    """The caller may not do this; the message says what is missing."""


class MlflowRest:
    """Calls MLflow with short time-outs. One for each process; close it.

    Args:
        url: Base URL; user and password may stand in it (`http://user:password@host`).
        key: Tells the gate inside MLflow who is asking; it travels over https or on this machine only.
        client: Another HTTP client, e.g. one with a mock transport.
    """

    def __init__(self, url: str, *, key: str | None = None, client: httpx.AsyncClient | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {KEY_HEADER: key} if key and key.isascii() and _may_carry_a_key(self._url) else {}
        # Proxy variables are not read: MLflow stands inside, and a loopback call must not leave the machine.
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._client = client or httpx.AsyncClient(timeout=timeout, trust_env=False)

    async def get(self, path: str, parameters: Mapping[str, str]) -> Json:
        """Read an object.

        Raises:
            MlflowUnavailable: No usable answer.
            MlflowNotFound: No such object.
            MlflowRejected: MLflow cannot use the request.
            MlflowRefused: MLflow does not allow it.
        """
        return await self._call("GET", path, parameters=parameters)

    async def send(self, method: str, path: str, body: Json) -> Json:
        """Create, change or delete an object; raises as `get`."""
        return await self._call(method, path, body=body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, *, parameters: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        try:
            async with (
                asyncio.timeout(TOTAL_TIMEOUT_S),
                self._client.stream(
                    method, f"{self._url}{PREFIX}{path}", params=parameters, json=body, headers=self._headers
                ) as response,
            ):
                content = await _read(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise MlflowUnavailable(f"MLflow does not answer ({type(error).__name__}); is it running?") from error
        return _answer(response.status_code, content)


def _may_carry_a_key(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > ANSWER_BYTES_MAX:
            raise MlflowUnavailable(f"MLflow's answer is larger than {ANSWER_BYTES_MAX} bytes")
    return bytes(content)


def _answer(status: int, content: bytes) -> Json:
    try:
        parsed: object = json.loads(content)
    except ValueError as error:
        raise MlflowUnavailable(f"what answers is not MLflow (status {status}, no JSON); check its URL") from error
    if not isinstance(parsed, dict):
        raise MlflowUnavailable(f"what answers is not MLflow (status {status}); check its URL")
    answer = cast("Json", parsed)
    if status < 300:  # noqa: PLR2004 - HTTP success
        return answer
    message = str(answer.get("message", "no reason given"))[:SENTENCE_CHARS_MAX]
    if answer.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        raise MlflowNotFound(message)
    if answer.get("error_code") == "INVALID_PARAMETER_VALUE":
        raise MlflowRejected(message)
    if answer.get("error_code") in {"PERMISSION_DENIED", "UNAUTHENTICATED"}:
        raise MlflowRefused(message)
    raise MlflowUnavailable(f"MLflow answered {status}: {message}")
