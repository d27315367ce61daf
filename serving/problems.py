"""Every error that leaves over HTTP: one table from problem code to status and title, rendered per RFC 9457."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from registry.errors import AssayError, Conflict, InvalidInput, JsonValue, NotFound, Refused, Unavailable
from serving.request_context import current

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
FIELD_ERRORS_MAX = 20
"""Most single faults listed in one problem; a client that has more starts with these."""
_RESERVED = {"type", "title", "status", "detail", "instance", "code", "request_id"}


@dataclass(frozen=True, slots=True)
class Problem:
    """What a problem code means to a client."""

    status: int
    title: str


PROBLEMS: Mapping[str, Problem] = {
    "invalid-request": Problem(422, "The request cannot be used as it is"),
    "unauthenticated": Problem(401, "No valid key"),
    "forbidden": Problem(403, "This key may not do that"),
    "insight-not-found": Problem(404, "No such insight"),
    "prompt-not-found": Problem(404, "No such prompt version"),
    "use-case-not-found": Problem(404, "No such use case"),
    "not-found": Problem(404, "Nothing here"),
    "method-not-allowed": Problem(405, "The method does not fit the address"),
    "request-timeout": Problem(408, "The request did not arrive in time"),
    "conflict": Problem(409, "It clashes with what is there"),
    "prompt-tampered": Problem(409, "The prompt version is not what it was"),
    "webhook-replayed": Problem(409, "This push was accepted before"),
    "idempotency-conflict": Problem(409, "The Idempotency-Key belongs to another request"),
    "input-blocked": Problem(400, "The content was declined"),
    "payload-too-large": Problem(413, "The body is too large"),
    "unsupported-media-type": Problem(415, "The body has the wrong media type"),
    "budget-exceeded": Problem(402, "It would cost more than allowed"),
    "rate-limited": Problem(429, "Too many requests"),
    "internal-error": Problem(500, "Our mistake"),
    "providers-unavailable": Problem(503, "No model provider answers"),
    "retrieval-unavailable": Problem(503, "The vector engine does not answer"),
    "prompt-unavailable": Problem(503, "The promoted prompt cannot be read"),
    "log-unavailable": Problem(503, "The audit log cannot be written"),
    "database-unavailable": Problem(503, "The registry's database does not answer"),
    "vault-sealed": Problem(503, "Stored content cannot be opened"),
    "unpriced-model": Problem(503, "The model has no price"),
    "overloaded": Problem(503, "Too many requests at once"),
    "unavailable": Problem(503, "Something needed does not answer"),
    "deadline-exceeded": Problem(504, "No answer within the deadline"),
}
"""Problem code → status and title. Each code has its heading in docs/problems.md."""

_BY_KIND: tuple[tuple[type[AssayError], str], ...] = (
    (InvalidInput, "invalid-request"),
    (NotFound, "not-found"),
    (Conflict, "conflict"),
    (Refused, "forbidden"),
    (Unavailable, "unavailable"),
)
"""What a code that is not in the table is shown as: by the branch of the error tree it grows on."""

_BY_STATUS: Mapping[int, str] = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "payload-too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
}


def problem_response(
    code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: JsonValue
) -> Response:
    """Render one problem; `members` are extra members of the document."""
    sent = dict(headers or {})
    if code == "unauthenticated":
        sent.setdefault("WWW-Authenticate", "Bearer")
    document = problem_document(code, detail, **members)
    return Response(orjson.dumps(document), PROBLEMS[code].status, sent, MEDIA_TYPE)


def problem_document(code: str, detail: str, **members: JsonValue) -> dict[str, Any]:
    """One problem as RFC 9457 writes it; `members` are extra members of the document."""
    kind = PROBLEMS[code]
    return {
        "type": f"urn:assay:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail.encode("utf-8", "replace").decode(),
        "code": code,
        "request_id": current.get().request_id,
        **{name: value for name, value in members.items() if name not in _RESERVED},
    }


def render(error: AssayError) -> Response:
    """The problem of an expected failure."""
    return problem_response(code_of(error), error.message, headers=_retry_after(error.details), **error.details)


def code_of(error: AssayError) -> str:
    """The code that an expected failure is shown as; a server's fault is logged."""
    code = error.code
    if code not in PROBLEMS:
        code = next((name for kind, name in _BY_KIND if isinstance(error, kind)), "internal-error")
    if PROBLEMS[code].status >= 500:  # noqa: PLR2004 - a server's fault is worth a line
        causes = [type(cause).__name__ for cause in (error, error.__cause__) if cause is not None]
        logger.warning("a request failed", extra={"fields": {"code": error.code, "causes": causes}})
    return code


def install(app: FastAPI) -> None:
    """Make `app` answer every error as a problem."""
    app.add_exception_handler(AssayError, _expected)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def field_errors(errors: Sequence[Any]) -> list[JsonValue]:
    """Pydantic's faults as `{pointer, detail}`, without what the client sent.

    The pointer leaves out the names of a union's branches, so that it points into the client's document.
    """
    listed: dict[str, str] = {}
    for error in errors:
        pointer = _pointer(error["loc"])
        listed.setdefault(pointer, str(error["msg"]))
        if len(listed) == FIELD_ERRORS_MAX:
            break
    return [{"pointer": pointer, "detail": detail} for pointer, detail in listed.items()]


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its OpenAPI entry."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        example = {
            "type": f"urn:assay:problem:{code}",
            "title": kind.title,
            "status": kind.status,
            "detail": "One sentence that says what to change.",
            "code": code,
            "request_id": "0f2c9a5e7b1d4c3f8a6e5d4c3b2a1908",
        }
        response = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
    return responses


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. Act on `code`; `detail` is for people and may change.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(PROBLEMS)},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Single faults of the body.",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


async def _expected(_request: Request, error: Exception) -> Response:
    return render(cast("AssayError", error))


async def _validation(_request: Request, error: Exception) -> Response:
    faults = field_errors(cast("RequestValidationError", error).errors())
    return problem_response("invalid-request", "the request's parameters do not fit", errors=faults)


async def _http(request: Request, error: Exception) -> Response:
    raised = cast("HTTPException", error)
    code = _BY_STATUS.get(raised.status_code)
    if code is None:
        code = "internal-error" if raised.status_code >= 500 else "invalid-request"  # noqa: PLR2004 - a class of status
    detail = {
        "not-found": "there is nothing at this address; see /openapi.json",
        "method-not-allowed": f"this address does not take {request.method}; see the Allow header",
    }.get(code, PROBLEMS[code].title)
    return problem_response(code, detail, headers=raised.headers)


def _pointer(place: Sequence[str | int]) -> str:
    parts = [str(part) for part in place if not _is_branch(part)]
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _is_branch(part: str | int) -> bool:
    return part in {"str", "int", "float", "list[str]", "list[int]", "Range"}


def _retry_after(details: Mapping[str, JsonValue]) -> dict[str, str]:
    wait_s = details.get("retry_after_s")
    return {"Retry-After": str(max(1, math.ceil(wait_s)))} if isinstance(wait_s, int | float) else {}
