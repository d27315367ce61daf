"""Searches and reads: their JSON form and their engine form."""
# pyright: basic
# The engine's stub spells enum constructors and unions that strict mode cannot follow.

from typing import Annotated, Any, Literal, Self

import qdrant_edge as edge
from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from infra.local.engine.bodies import PAGE_MAX, Dense, Sparse, Vector, VectorName
from infra.local.engine.filters import Body, Filter, Indexes, PointId, engine_filter
from infra.local.engine.problems import WrongInput

PREFETCHES_MAX = 8
PREFETCH_DEPTH_MAX = 3
BATCH_MAX = 64
BATCH_POINTS_MAX = 10_000
OFFSET_MAX = 10_000
RRF_K = 2
"""Qdrant's default."""


class Fields(Body):
    """Payload keys to leave in or out."""

    include: Annotated[list[str], Field(max_length=64)] | None = None
    exclude: Annotated[list[str], Field(max_length=64)] | None = None


PayloadWanted = bool | Annotated[list[str], Field(max_length=64)] | Fields
VectorWanted = bool | Annotated[list[VectorName], Field(max_length=16)]


class Rrf(Body):
    """Reciprocal rank fusion."""

    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    weights: Annotated[list[Annotated[float, Field(ge=0, le=1e6)]], Field(max_length=PREFETCHES_MAX)] | None = None


class RrfQuery(Body):
    """Fuse by rank, with parameters."""

    rrf: Rrf


class FusionQuery(Body):
    """Fuse what the prefetches found."""

    fusion: Literal["rrf", "dbsf"]


class NearestQuery(Body):
    """Nearest to a vector."""

    nearest: Vector


class IdfCorpus(Body):
    """Document frequencies are counted over these points only."""

    corpus: Filter


class Params(Body):
    """How to search."""

    exact: bool | None = None
    hnsw_ef: Annotated[int, Field(ge=1, le=10_000)] | None = None
    indexed_only: bool | None = None
    idf: Literal["global"] | IdfCorpus | None = None


def _query_kind(value: Any) -> str:
    if isinstance(value, dict):
        return next((name for name in ("nearest", "fusion", "rrf") if name in value), "sparse")
    return "dense"


Scoring = Annotated[
    Annotated[Dense, Tag("dense")]
    | Annotated[Sparse, Tag("sparse")]
    | Annotated[NearestQuery, Tag("nearest")]
    | Annotated[FusionQuery, Tag("fusion")]
    | Annotated[RrfQuery, Tag("rrf")],
    Discriminator(_query_kind),
]


class Search(Body):
    """What a query and a prefetch have in common."""

    prefetch: "Annotated[list[Prefetch], Field(max_length=PREFETCHES_MAX)] | None" = None
    query: Scoring | None = None
    using: Annotated[str, Field(max_length=64)] | None = None
    filter: Filter | None = None
    params: Params | None = None
    score_threshold: Annotated[float, Field(ge=-1e30, le=1e30)] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 10

    @field_validator("prefetch", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value


class Prefetch(Search):
    """A search whose results the outer query works on."""


class Query(Search):
    """Body of POST /collections/{name}/points/query."""

    offset: Annotated[int, Field(ge=0, le=OFFSET_MAX)] = 0
    with_payload: PayloadWanted = False
    with_vector: VectorWanted = False


class QueryBatch(Body):
    """Body of POST /collections/{name}/points/query/batch."""

    searches: Annotated[list[Query], Field(max_length=BATCH_MAX)]

    @model_validator(mode="after")
    def _bearable(self) -> Self:
        if sum(search.limit for search in self.searches) > BATCH_POINTS_MAX:
            raise ValueError(f"the limits of a batch may add up to {BATCH_POINTS_MAX}")
        return self


class Scroll(Body):
    """Body of POST /collections/{name}/points/scroll."""

    offset: PointId | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = 10
    filter: Filter | None = None
    with_payload: PayloadWanted = True
    with_vector: VectorWanted = False


class Count(Body):
    """Body of POST /collections/{name}/points/count; always exact here."""

    filter: Filter | None = None
    exact: bool = True


class Retrieve(Body):
    """Body of POST /collections/{name}/points."""

    ids: Annotated[list[PointId], Field(max_length=PAGE_MAX)]
    with_payload: PayloadWanted = True
    with_vector: VectorWanted = False


def engine_query(given: Query, indexes: Indexes) -> edge.QueryRequest:
    """A query as the engine takes it.

    Raises:
        WrongInput: a filter without index, prefetches nested too deeply, or fusion without prefetches.
    """
    return edge.QueryRequest(
        **_search(given, indexes, 0),
        offset=given.offset,
        with_payload=payload_wanted(given.with_payload),
        with_vector=given.with_vector,
    )


def engine_scroll(given: Scroll, indexes: Indexes) -> edge.ScrollRequest:
    """A scroll as the engine takes it.

    Raises:
        WrongInput: a filter without index.
    """
    return edge.ScrollRequest(
        offset=given.offset,
        limit=given.limit,
        filter=engine_filter(given.filter, indexes),
        with_payload=payload_wanted(given.with_payload),
        with_vector=given.with_vector,
    )


def payload_wanted(given: PayloadWanted) -> Any:
    """A payload selector as the engine takes it.

    Raises:
        WrongInput: both or none of include and exclude.
    """
    if not isinstance(given, Fields):
        return given
    if (given.include is None) == (given.exclude is None):
        raise WrongInput("Wrong input: with_payload needs either include or exclude")
    if given.exclude is not None:
        return edge.PayloadSelector.Exclude(given.exclude)
    return edge.PayloadSelector.Include(given.include or [])


def _search(given: Search, indexes: Indexes, depth: int) -> dict[str, Any]:
    if depth > PREFETCH_DEPTH_MAX:
        raise WrongInput(f"Wrong input: prefetches may be nested {PREFETCH_DEPTH_MAX} deep")
    prefetches = [edge.Prefetch(**_search(one, indexes, depth + 1)) for one in given.prefetch or []]
    if prefetches and given.query is None:
        raise WrongInput("Wrong input: prefetches need a query that works on what they found")
    return {
        "limit": given.limit,
        "query": _scoring(given, len(prefetches)),
        "prefetches": prefetches or None,
        "filter": engine_filter(given.filter, indexes),
        "score_threshold": given.score_threshold,
        "params": given.params and _params(given.params, indexes),
    }


def _scoring(given: Search, prefetches: int) -> Any:
    query = given.query
    if query is None:
        return None
    if isinstance(query, RrfQuery | FusionQuery):
        if not prefetches:
            raise WrongInput("Wrong input: fusion needs at least one prefetch")
        if isinstance(query, FusionQuery):
            return edge.Fusion.Rrf(RRF_K) if query.fusion == "rrf" else edge.Fusion.Dbsf()
        return edge.Fusion.Rrf(query.rrf.k or RRF_K, query.rrf.weights)
    vector = query.nearest if isinstance(query, NearestQuery) else query
    if isinstance(vector, Sparse):
        return edge.Query.Nearest(edge.SparseVector(vector.indices, vector.values), given.using)
    return edge.Query.Nearest(vector, given.using)


def _params(given: Params, indexes: Indexes) -> edge.SearchParams:
    corpus = engine_filter(given.idf.corpus, indexes) if isinstance(given.idf, IdfCorpus) else None
    return edge.SearchParams(
        hnsw_ef=given.hnsw_ef,
        exact=bool(given.exact),
        indexed_only=bool(given.indexed_only),
        idf=corpus and edge.IdfParams(corpus),
    )
