"""What requests may hold: collections, payload indexes, points and their payload."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from infra.local.engine.filters import IDS_MAX, Body, FieldPath, Filter, PointId

POINTS_MAX = 1_000
"""In one upsert; the engine holds Python's lock while it writes them (about 30 us each)."""
PAGE_MAX = 1_000
"""Points in one answer."""
DIMENSIONS_MAX = 8_192
VECTORS_MAX = 16
SPARSE_MAX = 10_000
COMPONENT_MAX = 1e15
"""So that a dot product of the longest vectors stays finite in 32 bits."""
PAYLOAD_DEPTH_MAX = 32
"""The engine cannot read its log back with payload nested deeper than about 120."""
PAYLOAD_BYTES_MAX = 256 * 1024
"""Of one point, as JSON: a page of 1,000 points stays bearable."""

VectorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""Also a part of a file name in the engine's storage."""
Component = Annotated[float, Field(ge=-COMPONENT_MAX, le=COMPONENT_MAX)]
Dense = Annotated[list[Component], Field(min_length=1, max_length=DIMENSIONS_MAX)]


class Sparse(Body):
    """A sparse vector; its indices are unique."""

    indices: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(max_length=SPARSE_MAX)]
    values: Annotated[list[Component], Field(max_length=SPARSE_MAX)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.indices) != len(self.values):
            raise ValueError("indices and values must be of one length")
        if len(set(self.indices)) != len(self.indices):
            raise ValueError("indices must be unique")
        return self


def _bearable(payload: dict[str, Any]) -> dict[str, Any]:
    if len(orjson.dumps(payload)) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload may take {PAYLOAD_BYTES_MAX} bytes")
    level: list[Any] = [payload]
    for _ in range(PAYLOAD_DEPTH_MAX):
        level = [child for node in level for child in _children(node) if isinstance(child, dict | list)]
        if not level:
            return payload
    raise ValueError(f"payload may be nested {PAYLOAD_DEPTH_MAX} deep")


def _children(node: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


Payload = Annotated[dict[str, Any], AfterValidator(_bearable)]


def _vector_kind(value: Any) -> str:
    return "dense" if isinstance(value, list) else "sparse"


def _vectors_kind(value: Any) -> str:
    return "one" if isinstance(value, list) else "named"


Vector = Annotated[Annotated[Dense, Tag("dense")] | Annotated[Sparse, Tag("sparse")], Discriminator(_vector_kind)]
Vectors = Annotated[
    Annotated[Dense, Tag("one")] | Annotated[dict[VectorName, Vector], Tag("named")], Discriminator(_vectors_kind)
]
Ids = Annotated[list[PointId], Field(max_length=IDS_MAX)]


class Hnsw(Body):
    """Settings of the graph index."""

    m: Annotated[int, Field(ge=0, le=128)] | None = None
    ef_construct: Annotated[int, Field(ge=4, le=1_000)] | None = None
    full_scan_threshold: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    payload_m: Annotated[int, Field(ge=0, le=128)] | None = None


class DenseParams(Body):
    """A dense vector of a collection."""

    size: Annotated[int, Field(ge=1, le=DIMENSIONS_MAX)]
    distance: Literal["Cosine", "Dot", "Euclid", "Manhattan"]
    on_disk: bool | None = None


class SparseParams(Body):
    """A sparse vector of a collection."""

    modifier: Literal["none", "idf"] | None = None


class StrictMode(Body):
    """What a caller may ask of strict mode: the very thing that always holds here."""

    enabled: Literal[True] | None = None
    unindexed_filtering_retrieve: Literal[False] | None = None
    unindexed_filtering_update: Literal[False] | None = None


class CollectionConfig(Body):
    """Body of PUT /collections/{name}; kept on disk as given."""

    vectors: DenseParams | Annotated[dict[VectorName, DenseParams], Field(max_length=VECTORS_MAX)] | None = None
    sparse_vectors: Annotated[dict[VectorName, SparseParams], Field(max_length=VECTORS_MAX)] | None = None
    hnsw_config: Hnsw | None = None
    on_disk_payload: bool | None = None
    strict_mode_config: StrictMode | None = None
    metadata: Payload | None = None

    @model_validator(mode="after")
    def _has_vectors(self) -> Self:
        if not self.vectors and not self.sparse_vectors:
            raise ValueError("a collection needs vectors or sparse_vectors")
        dense = self.vectors if isinstance(self.vectors, dict) else {}
        both = set(dense) & set(self.sparse_vectors or {})
        if both:
            raise ValueError(f"vector names {sorted(both)!r} are both dense and sparse")
        return self


class CollectionUpdate(Body):
    """Body of PATCH /collections/{name}: metadata only."""

    metadata: Payload


IndexType = Literal["keyword", "integer", "float", "datetime", "uuid", "text"]
"""Neither `geo`, which nobody needs here, nor `bool`: this engine's binding turns true into 1 and finds nothing."""


class IndexParams(Body):
    """A payload index with options; which ones apply depends on the type."""

    type: IndexType
    is_tenant: bool | None = None
    is_principal: bool | None = None
    on_disk: bool | None = None
    lookup: bool | None = None
    range: bool | None = None
    lowercase: bool | None = None
    phrase_matching: bool | None = None


class NewIndex(Body):
    """Body of PUT /collections/{name}/index."""

    field_name: FieldPath
    field_schema: IndexType | IndexParams


class NewPoint(Body):
    """A point to write."""

    id: PointId
    vector: Vectors
    payload: Payload | None = None


class Columns(Body):
    """Points by column."""

    ids: Annotated[list[PointId], Field(max_length=POINTS_MAX)]
    vectors: Annotated[
        Annotated[list[Dense], Field(max_length=POINTS_MAX), Tag("one")]
        | Annotated[dict[VectorName, Annotated[list[Vector], Field(max_length=POINTS_MAX)]], Tag("named")],
        Discriminator(_vectors_kind),
    ]
    payloads: Annotated[list[Payload | None], Field(max_length=POINTS_MAX)] | None = None

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        columns: list[list[Any]] = list(self.vectors.values()) if isinstance(self.vectors, dict) else [self.vectors]
        columns += [] if self.payloads is None else [self.payloads]
        if any(len(column) != len(self.ids) for column in columns):
            raise ValueError("ids, vectors and payloads must be of one length")
        return self

    def points(self) -> list[NewPoint]:
        """The same points, one by one."""
        payloads = self.payloads or [None] * len(self.ids)
        empty: list[Any] = [{}] * len(self.ids)
        rows: list[Any] = []
        if isinstance(self.vectors, dict):
            columns = zip(*self.vectors.values(), strict=True)
            rows.extend(dict(zip(self.vectors, row, strict=True)) for row in columns)
        else:
            rows.extend(self.vectors)
        return [
            NewPoint.model_construct(id=one, vector=vector, payload=payload)
            for one, vector, payload in zip(self.ids, rows or empty, payloads, strict=True)
        ]


class Upsert(Body):
    """Body of PUT /collections/{name}/points, as a list or by column."""

    points: Annotated[list[NewPoint], Field(max_length=POINTS_MAX)] | None = None
    batch: Columns | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.points is None) == (self.batch is None):
            raise ValueError("give either points or batch")
        return self

    def all_points(self) -> list[NewPoint]:
        """The points, in whichever form they came."""
        return self.batch.points() if self.batch is not None else list(self.points or [])


class Selection(Body):
    """Points by id or by filter."""

    points: Ids | None = None
    filter: Filter | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.points is None) == (self.filter is None):
            raise ValueError("give either points or filter")
        return self


class PayloadChange(Selection):
    """Payload to set or to overwrite on points."""

    payload: Payload


class PayloadRemoval(Selection):
    """Payload keys to delete from points."""

    keys: Annotated[list[FieldPath], Field(min_length=1, max_length=100)]
