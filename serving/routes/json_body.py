"""Reads a JSON body so strictly that whatever comes through is safe for every part behind.

One JSON document in UTF-8; no NaN, no lone surrogate, no control character but tab and line ends, no number beyond 64
bits, no deep nesting; types as declared, without conversion.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar, cast

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from registry.errors import InvalidInput, Unavailable
from serving.problems import field_errors

READ_TIMEOUT_S = 10.0
"""A quarter of a megabyte takes ten seconds at 200 kbit/s."""
NUMBER_MAX = 2**63 - 1
DEPTH_MAX = 32
"""Levels of lists and objects; the deepest question has five."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Body = TypeVar("Body", bound=BaseModel)


class UnsupportedMediaType(InvalidInput):
    """The body is not declared to be JSON."""

    code = "unsupported-media-type"


class RequestTimeout(Unavailable):
    """The client was too slow in sending its body."""

    code = "request-timeout"


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """The dependency that reads the body as `model`."""

    async def read(request: Request) -> Body:
        _require_json(request)
        return parse(await read_body(request), model)

    return read


async def read_body(request: Request) -> bytes:
    """The whole body, if it comes in time.

    Raises:
        RequestTimeout: it did not.
        PayloadTooLarge: it is longer than the API takes.
    """
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await request.body()
    except TimeoutError as error:
        raise RequestTimeout(f"the body did not arrive within {READ_TIMEOUT_S:g} s") from error


def parse(raw: bytes, model: type[Body]) -> Body:
    """Read a JSON document as `model`.

    Raises:
        InvalidInput: it is not JSON, or not this model's; lists the faults without quoting the document.
    """
    if not raw.strip():
        raise InvalidInput("the body is empty; send a JSON object")
    try:
        document: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON in UTF-8: {error.msg} (byte {error.pos})") from error
    if not isinstance(document, dict):
        raise InvalidInput("the body must be a JSON object")
    faults: list[Any] = [{"loc": place, "msg": text} for place, text in _unsafe(cast("Any", document), ())]
    if faults:
        raise _refusal(faults)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False, include_context=False)) from error


def _refusal(faults: list[Any]) -> InvalidInput:
    listed = field_errors(faults)
    return InvalidInput("the body does not fit; `errors` lists what to change", errors=listed)


def _require_json(request: Request) -> None:
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in {"", "utf-8", "utf8"}:
        raise UnsupportedMediaType("send the header `Content-Type: application/json`, and UTF-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body without Content-Encoding")


def _unsafe(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every control character, every number that is too large and every level that is too deep, with its place."""
    if len(place) > DEPTH_MAX:
        yield place[:1], f"nested more than {DEPTH_MAX} levels deep"
    elif isinstance(value, str):
        if _CONTROL.search(value):
            yield place, "control characters are not allowed"
    elif isinstance(value, dict):
        for name, member in cast("dict[str, Any]", value).items():
            if _CONTROL.search(name):
                yield place, "a member's name has control characters"
            else:
                yield from _unsafe(member, (*place, name))
    elif isinstance(value, list):
        for index, member in enumerate(cast("list[Any]", value)):
            yield from _unsafe(member, (*place, index))
    elif isinstance(value, int | float) and abs(value) > NUMBER_MAX:
        yield place, f"numbers go up to {NUMBER_MAX}"
