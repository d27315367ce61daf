"""One function a call of Qdrant's REST API, in the order of its reference."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import BaseModel, ValidationError

from infra.local.engine import bodies, queries
from infra.local.engine.answers import done
from infra.local.engine.catalog import Catalog
from infra.local.engine.collection import Collection
from infra.local.engine.problems import NotFound, TooLarge, Unprocessable, WrongInput

API_VERSION = "1.20.0"
"""The edition of Qdrant's REST API that we speak a part of; clients compare it with their own."""
BODY_TIMEOUT_S = 30.0

router = APIRouter()
T = TypeVar("T", bound=BaseModel)


def catalog(request: Request) -> Catalog:
    """The collections of this process."""
    found: Catalog = request.app.state.catalog
    return found


def collection(name: str, request: Request) -> Collection:
    """The collection that the path names."""
    return catalog(request).get(name)


Collections = Annotated[Catalog, Depends(catalog)]
Named = Annotated[Collection, Depends(collection)]


async def parsed(request: Request, model: type[T]) -> T:
    """The request's body, read within its limits and understood.

    Raises:
        TooLarge: over the byte limit.
        WrongInput: not JSON, or not sent in time.
        Unprocessable: JSON that does not say what the call needs.
    """
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            raw = await _read(request)
    except TimeoutError as error:
        raise WrongInput(f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from error
    try:
        return model.model_validate(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise WrongInput(f"Format error in JSON body: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unprocessable(f"Validation error in JSON body: [{where[:200]}: {first['msg'][:300]}]") from error


async def _read(request: Request) -> bytes:
    limit: int = request.app.state.settings.body_bytes_max
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is over {limit} bytes; send smaller batches")
        chunks.append(chunk)
    return b"".join(chunks)


def body(model: type[T]) -> Callable[[Request], Any]:
    """A dependency that reads the body as this model."""

    async def read(request: Request) -> T:
        return await parsed(request, model)

    return read


# --- service ---


@router.get("/")
async def version() -> Response:
    """Name and API version; clients ask for it once."""
    return Response(
        orjson.dumps({"title": "Qdrant engine (edge) behind Assay's REST adapter", "version": API_VERSION}),
        media_type="application/json",
    )


@router.get("/healthz")
@router.get("/livez")
@router.get("/readyz")
async def probe() -> Response:
    """The process answers and its collections are open: it serves only after they are."""
    return PlainTextResponse("ok")


# --- collections ---


@router.get("/collections")
async def list_collections(all_collections: Collections) -> Response:
    """Names of all collections."""
    started = time.perf_counter()
    return done({"collections": [{"name": name} for name in all_collections.names]}, started)


@router.get("/collections/{name}")  # noqa: FAST003 - Named takes it
async def get_collection(found: Named) -> Response:
    """Configuration, payload indexes and counts."""
    started = time.perf_counter()
    return done(found.info(), started)


@router.get("/collections/{name}/exists")
async def collection_exists(name: str, all_collections: Collections) -> Response:
    """Whether there is such a collection."""
    started = time.perf_counter()
    return done({"exists": name in all_collections.names}, started)


@router.put("/collections/{name}")
async def create_collection(
    name: str,
    config: Annotated[bodies.CollectionConfig, Depends(body(bodies.CollectionConfig))],
    all_collections: Collections,
) -> Response:
    """Make an empty collection."""
    started = time.perf_counter()
    all_collections.create(name, config)
    return done(True, started)  # noqa: FBT003 - Qdrant's result is a bare true


@router.patch("/collections/{name}")
async def update_collection(
    name: str,
    change: Annotated[bodies.CollectionUpdate, Depends(body(bodies.CollectionUpdate))],
    all_collections: Collections,
) -> Response:
    """Merge metadata."""
    started = time.perf_counter()
    all_collections.add_metadata(name, change.metadata)
    return done(True, started)  # noqa: FBT003 - Qdrant's result is a bare true


@router.delete("/collections/{name}")
async def delete_collection(name: str, all_collections: Collections) -> Response:
    """Remove a collection and its data."""
    started = time.perf_counter()
    return done(all_collections.delete(name), started)


# --- payload indexes ---


@router.put("/collections/{name}/index")
async def create_index(found: Named, index: Annotated[bodies.NewIndex, Depends(body(bodies.NewIndex))]) -> Response:
    """Index a payload field."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.create_index(index), started)


@router.delete("/collections/{name}/index/{field}")  # noqa: FAST003 - Named takes it
async def delete_index(found: Named, field: str) -> Response:
    """Drop a payload index."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.delete_index(field), started)


# --- points: writes ---


@router.put("/collections/{name}/points")
async def upsert(found: Named, points: Annotated[bodies.Upsert, Depends(body(bodies.Upsert))]) -> Response:
    """Insert or replace points; `wait=false` is answered like `wait=true`, after the write."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.upsert(points.all_points()), started)


@router.post("/collections/{name}/points/delete")
async def delete_points(found: Named, chosen: Annotated[bodies.Selection, Depends(body(bodies.Selection))]) -> Response:
    """Delete points by id or filter."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.delete(chosen), started)


@router.post("/collections/{name}/points/payload")
async def set_payload(
    found: Named, change: Annotated[bodies.PayloadChange, Depends(body(bodies.PayloadChange))]
) -> Response:
    """Set some payload keys."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.set_payload(change), started)


@router.put("/collections/{name}/points/payload")
async def overwrite_payload(
    found: Named, change: Annotated[bodies.PayloadChange, Depends(body(bodies.PayloadChange))]
) -> Response:
    """Replace the whole payload."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.overwrite_payload(change), started)


@router.post("/collections/{name}/points/payload/delete")
async def delete_payload(
    found: Named, removal: Annotated[bodies.PayloadRemoval, Depends(body(bodies.PayloadRemoval))]
) -> Response:
    """Delete payload keys."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.delete_payload(removal), started)


@router.post("/collections/{name}/points/payload/clear")
async def clear_payload(found: Named, chosen: Annotated[bodies.Selection, Depends(body(bodies.Selection))]) -> Response:
    """Delete the whole payload."""
    started = time.perf_counter()
    async with found.writing:
        return done(found.clear_payload(chosen), started)


# --- points: reads ---


@router.post("/collections/{name}/points")
async def retrieve(found: Named, wanted: Annotated[queries.Retrieve, Depends(body(queries.Retrieve))]) -> Response:
    """Points by id."""
    started = time.perf_counter()
    return done(found.retrieve(wanted), started)


@router.get("/collections/{name}/points/{point}")  # noqa: FAST003 - Named takes it
async def get_point(found: Named, point: str) -> Response:
    """One point with payload and vectors."""
    started = time.perf_counter()
    try:
        wanted = queries.Retrieve(ids=[int(point) if point.isdecimal() else point], with_vector=True)
    except ValidationError as error:
        raise WrongInput(f"Wrong input: {point[:60]!r} is no point id") from error
    points = found.retrieve(wanted)
    if not points:
        raise NotFound(f"Not found: Point with id {point} does not exists!")
    return done(points[0], started)


@router.post("/collections/{name}/points/scroll")
async def scroll(found: Named, wanted: Annotated[queries.Scroll, Depends(body(queries.Scroll))]) -> Response:
    """A page of points by id."""
    started = time.perf_counter()
    return done(found.scroll(wanted), started)


@router.post("/collections/{name}/points/count")
async def count(found: Named, wanted: Annotated[queries.Count, Depends(body(queries.Count))]) -> Response:
    """How many points pass a filter."""
    started = time.perf_counter()
    return done(found.count(wanted), started)


@router.post("/collections/{name}/points/query")
async def query(found: Named, wanted: Annotated[queries.Query, Depends(body(queries.Query))]) -> Response:
    """Search, with prefetch and fusion."""
    started = time.perf_counter()
    return done({"points": found.query([wanted])[0]}, started)


@router.post("/collections/{name}/points/query/batch")
async def query_batch(
    found: Named, wanted: Annotated[queries.QueryBatch, Depends(body(queries.QueryBatch))]
) -> Response:
    """Several searches at once."""
    started = time.perf_counter()
    return done([{"points": points} for points in found.query(wanted.searches)], started)
