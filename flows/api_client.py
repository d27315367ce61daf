"""A client of our own HTTP API, for the command line: a problem document becomes the error it stands for."""

import json
import math
from collections.abc import Callable, Iterator
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from flows.settings import FlowSettings
from registry.errors import AssayError, InvalidInput, NotFound, Refused, Unavailable
from registry.insights import Insight
from serving.providers.sse import Event, EventParser

TIMEOUT_S = 130.0
"""The longest deadline a question may carry, and a little."""


class ApiClient:
    """Talks to one API with one key.

    Args:
        url: base URL of the API.
        key: bearer key.
        transport: replaces the network in tests.

    Raises:
        InvalidInput: the address or the key cannot be one.
    """

    def __init__(self, url: str, key: str, transport: httpx.BaseTransport | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is no address of an API; set ASSAY_URL to http://… or https://…")
        if not key or not key.isascii() or not key.isprintable():
            raise InvalidInput("ASSAY_KEY does not hold a key; `assay keys create` prints one")
        self._url = url
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S, transport=transport
        )

    @classmethod
    def from_settings(cls, settings: FlowSettings) -> Self:
        """The API and key of the environment, else the local ones."""
        return cls(settings.api_url, settings.api_key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(
        self,
        question: str,
        *,
        tenant: str,
        use_case: str = "insights",
        deadline_s: float | None = None,
        subject: str | None = None,
        session: str | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Insight:
        """POST /v1/insights; a platform key names the tenant in a header.

        Args:
            question: what is asked.
            tenant: whose documents answer.
            use_case: which prompt and policy.
            deadline_s: seconds to wait; None leaves it to the API.
            subject: whom the question is about.
            session: what the question belongs to.
            on_text: given the answer piece by piece while it is written; None waits for the whole.

        Raises:
            AssayError: what the API's problem stands for.
        """
        try:
            (question + tenant + use_case + (subject or "") + (session or "")).encode()
        except UnicodeEncodeError as error:
            raise InvalidInput("the question is not valid Unicode text") from error
        optional = {"deadline_s": deadline_s, "subject": subject, "session": session}
        given = {name: value for name, value in optional.items() if value is not None}
        body: dict[str, Any] = {"question": question, "use_case": use_case, **given}
        headers = {"Assay-Tenant": tenant}
        if on_text is None:
            answer = self._call("POST", "/v1/insights", headers, body)
        else:
            answer = self._stream("/v1/insights", headers, body | {"stream": True}, on_text)
        return Insight.model_validate(answer)

    def providers(self) -> list[dict[str, Any]]:
        """GET /v1/providers; needs a platform key.

        Raises:
            AssayError: what the API's problem stands for.
        """
        return self._call("GET", "/v1/providers", {}, None)["items"]

    def approve(self, name: str, version: int, *, agrees: bool, reason: str) -> dict[str, Any]:
        """POST /v1/prompts/NAME/VERSION/approvals; needs an engineer's own platform key.

        Raises:
            AssayError: what the API's problem stands for.
        """
        body = {"decision": "approve" if agrees else "reject", "reason": reason}
        return self._call("POST", f"/v1/prompts/{quote(name, safe='')}/{version}/approvals", {}, body)

    def waive(self, name: str, version: int, hours: float, reason: str) -> dict[str, Any]:
        """POST /v1/prompts/NAME/VERSION/waivers; key and errors as for `approve`."""
        if not math.isfinite(hours):
            raise InvalidInput(f"hours must be a number above 0, not {hours}")
        body = {"hours": hours, "reason": reason}
        return self._call("POST", f"/v1/prompts/{quote(name, safe='')}/{version}/waivers", {}, body)

    def _call(self, method: str, path: str, headers: dict[str, str], body: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise self._away(error) from error
        return self._document(response)

    def _stream(self, path: str, headers: dict[str, str], body: Any, on_text: Callable[[str], None]) -> dict[str, Any]:
        """What the event `done` carries."""
        try:
            with self._client.stream("POST", path, json=body, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    return self._document(response)
                for event in _events(response):
                    data: dict[str, Any] = json.loads(event.data)
                    if event.name == "delta":
                        on_text(data["text"])
                    elif event.name == "error":
                        raise _error(data["status"], data)
                    elif event.name == "done":
                        return data
        except httpx.TransportError as error:
            raise self._away(error) from error
        raise Unavailable(f"the stream from {self._url} ended before the answer was whole; ask again")

    def _away(self, error: httpx.TransportError) -> Unavailable:
        return Unavailable(f"no answer from the API at {self._url} ({error}); is the platform up?")

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = response.json()
        except ValueError as error:
            raise Unavailable(
                f"{self._url} answered {response.status_code} without JSON; is it the Assay API?"
            ) from error
        if response.is_success:
            return document
        raise _error(response.status_code, document)


def _events(response: httpx.Response) -> Iterator[Event]:
    parser = EventParser()
    for chunk in response.iter_bytes():
        yield from parser.feed(chunk)


def _error(status: int, problem: dict[str, Any]) -> AssayError:
    message = str(problem.get("detail") or problem.get("title") or f"the API answered {status}")
    errors: list[dict[str, str]] = problem.get("errors") or []
    faults = "; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in errors)
    if faults:
        message = f"the request cannot be used; {faults}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable(message)
    if status == HTTPStatus.NOT_FOUND:
        return NotFound(message)
    if status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}:
        return InvalidInput(message)
    return Refused(message)
