"""Engine objects and results as Qdrant's JSON."""
# pyright: basic
# The engine's records are typed loosely in its stub, which also names classes (ShardInfo) that it does not export.

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import orjson
import qdrant_edge as edge
from starlette.responses import Response

from infra.local.engine.bodies import CollectionConfig
from infra.local.engine.shards import index_options, index_types


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


def collection_info(state: "edge.ShardInfo", config: CollectionConfig, *, optimizing: bool) -> dict[str, Any]:
    """What Qdrant tells about a collection."""
    types = index_types(state)
    return {
        "status": "yellow" if optimizing else "green",
        "optimizer_status": "ok",
        "indexed_vectors_count": state.indexed_vectors_count,
        "points_count": state.points_count,
        "segments_count": state.segments_count,
        "config": _config(config),
        "payload_schema": {
            field: {
                "data_type": types[field],
                "params": {"type": types[field], **index_options(index.params)},
                "points": index.points,
            }
            for field, index in state.payload_schema.items()
        },
    }


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


def _config(config: CollectionConfig) -> dict[str, Any]:
    given = config.model_dump(exclude_none=True)
    params = {key: given[key] for key in ("vectors", "sparse_vectors", "on_disk_payload") if key in given}
    return {
        "params": {**params, "shard_number": 1, "replication_factor": 1},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000} | given.get("hnsw_config", {}),
        "optimizer_config": {"default_segment_number": 0, "flush_interval_sec": 5},
        "strict_mode_config": {
            "enabled": True,
            "unindexed_filtering_retrieve": False,
            "unindexed_filtering_update": False,
        },
        "metadata": given.get("metadata"),
    }
