"""From our configuration to a shard of the engine, and back."""
# pyright: basic
# The engine's stub spells enum constructors and unions that strict mode cannot follow.

from pathlib import Path
from typing import Any

import qdrant_edge as edge

from infra.local.engine.bodies import CollectionConfig, DenseParams, Hnsw, IndexParams, SparseParams
from infra.local.engine.problems import WrongInput

SEARCH_THREADS = 1
"""A search holds Python's lock while it runs; two threads gained nothing and cost memory."""

INDEX_PARAMS: dict[str, Any] = {
    "keyword": edge.KeywordIndexParams,
    "integer": edge.IntegerIndexParams,
    "float": edge.FloatIndexParams,
    "datetime": edge.DatetimeIndexParams,
    "uuid": edge.UuidIndexParams,
    "text": edge.TextIndexParams,
}
INDEX_OPTIONS = ("is_tenant", "is_principal", "on_disk", "lookup", "range", "lowercase", "phrase_matching")


def create_shard(path: Path, config: CollectionConfig) -> edge.EdgeShard:
    """A new, empty shard in a directory that does not exist yet."""
    path.mkdir(parents=True)
    return edge.EdgeShard.create(str(path), _edge_config(config))


def load_shard(path: Path) -> edge.EdgeShard:
    """The shard in a directory, with its log replayed."""
    return edge.EdgeShard.load(str(path))


def index_params(wanted: IndexParams) -> Any:
    """A payload index as the engine takes it.

    Raises:
        WrongInput: an option does not belong to this type.
    """
    options = wanted.model_dump(exclude={"type"}, exclude_none=True)
    try:
        return INDEX_PARAMS[wanted.type](**options)
    except TypeError as error:
        raise WrongInput(f"Wrong input: an index of type {wanted.type!r} has no such option ({error})") from error


def index_types(state: "edge.ShardInfo") -> dict[str, str]:
    """Type of each payload index by field."""
    return {field: _type_name(index.data_type) for field, index in state.payload_schema.items()}


def index_options(params: Any) -> dict[str, Any]:
    """The options that were set on a payload index."""
    found = {name: getattr(params, name, None) for name in INDEX_OPTIONS}
    return {name: value for name, value in found.items() if value is not None}


def _type_name(given: Any) -> str:
    return str(given).rpartition(".")[2].lower()


def _edge_config(config: CollectionConfig) -> edge.EdgeConfig:
    dense = config.vectors
    vectors = {name: _dense(one) for name, one in dense.items()} if isinstance(dense, dict) else dense and _dense(dense)
    return edge.EdgeConfig(
        vectors=vectors,
        sparse_vectors={name: _sparse(one) for name, one in (config.sparse_vectors or {}).items()} or None,
        on_disk_payload=config.on_disk_payload,
        hnsw_config=config.hnsw_config and _hnsw(config.hnsw_config),
        max_search_threads=SEARCH_THREADS,
    )


def _dense(params: DenseParams) -> edge.EdgeVectorParams:
    return edge.EdgeVectorParams(params.size, getattr(edge.Distance, params.distance), on_disk=params.on_disk)


def _sparse(params: SparseParams) -> edge.EdgeSparseVectorParams:
    modifier = edge.Modifier.Idf if params.modifier == "idf" else None
    return edge.EdgeSparseVectorParams(modifier=modifier)


def _hnsw(given: Hnsw) -> edge.HnswIndexConfig:
    return edge.HnswIndexConfig(
        m=16 if given.m is None else given.m,
        ef_construct=given.ef_construct or 100,
        full_scan_threshold=given.full_scan_threshold or 10_000,
        payload_m=given.payload_m,
    )
