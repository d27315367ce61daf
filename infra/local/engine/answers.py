"""Engine objects and results as Qdrant's JSON."""
# pyright: basic
# The engine's records are typed loosely in its stub.

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
import qdrant_edge as edge
from starlette.responses import Response


def done(result: Any, started: float) -> Response:
    """A success; `started` is a reading of `time.perf_counter()`."""
    return _json({"result": result, "status": "ok", "time": round(time.perf_counter() - started, 6)}, 200)


def failed(status: int, message: str) -> Response:
    """A failure, in the shape that Qdrant's clients show."""
    return _json({"status": {"error": message}, "time": 0.0}, status)


def records(found: Iterable[edge.Record]) -> list[dict[str, Any]]:
    """Points as read."""
    return [_point(one) for one in found]


def scored(found: Iterable[edge.ScoredPoint]) -> list[dict[str, Any]]:
    """Points as found, with version and score."""
    return [{**_point(one), "version": one.version, "score": one.score} for one in found]


def point_id(given: Any) -> Any:
    """An id as JSON: a number or the text of a UUID."""
    return str(given) if isinstance(given, UUID) else given


def _point(one: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    point: dict[str, Any] = {"id": point_id(one.id)}
    if one.payload is not None:
        point["payload"] = one.payload
    if one.vector is not None:
        point["vector"] = _vector(one.vector)
    return point


def _vector(given: Any) -> Any:
    if isinstance(given, dict):
        return {name: _vector(vector) for name, vector in given.items()}
    if isinstance(given, edge.SparseVector):
        return {"indices": given.indices, "values": given.values}
    return given


def _json(content: Any, status: int) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
