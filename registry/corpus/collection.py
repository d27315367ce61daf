"""The one collection of all tenants' passages, and the errors that its engine can cause.

* RetrievalUnavailable (Unavailable) - the engine is down, slow or refuses us; the same call may work later
  x EmbeddingMismatch - the collection holds another model's vectors; searching it would return noise

Every point carries its tenant. Reads and deletions go through `registry.corpus.filters.tenant_filter`.
"""

import asyncio
import uuid
import warnings
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from registry.corpus.filters import tenant_filter
from registry.embedding import DIMENSIONS, Embedder
from registry.errors import Unavailable

DENSE: Final = "dense"
SPARSE: Final = "bm25"
MODEL_KEY: Final = "embedding_model"
WRITE_TIMEOUT_S: Final = 60
POINTS_PER_WRITE_MAX: Final = 128

INDEXES: Final[dict[str, models.PayloadSchemaType | models.KeywordIndexParams]] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "document": models.PayloadSchemaType.KEYWORD,
    "title": models.PayloadSchemaType.KEYWORD,
    "kind": models.PayloadSchemaType.KEYWORD,
    "language": models.PayloadSchemaType.KEYWORD,
    "date": models.PayloadSchemaType.INTEGER,
    "position": models.PayloadSchemaType.INTEGER,
}
"""Everything that a filter of ours names; the engine refuses filters on other fields."""

_NAMESPACE = uuid.UUID("5b8e7f0a-3c54-5d6e-9a1b-7f2c4d8e6a90")
_CONFLICT = 409
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class RetrievalUnavailable(Unavailable):
    """The vector engine does not answer, or does not let us in."""

    code = "retrieval-unavailable"


class EmbeddingMismatch(RetrievalUnavailable):
    """The collection was filled by another embedding model, so its vectors cannot be compared with ours."""


def point_id(tenant: str, document: str, position: int) -> str:
    """The id of a passage: the same tenant, document and position always give the same one, no others do."""
    # Lengths stand before the names, so that no document name can imitate another tenant's.
    return str(uuid.uuid5(_NAMESPACE, f"{len(tenant)}:{tenant}{len(document)}:{document}{position}"))


@asynccontextmanager
async def engine_errors(timeout_s: float) -> AsyncGenerator[None]:
    """Bound the wait and translate what the engine's client raises.

    Raises:
        RetrievalUnavailable: instead of every vendor error.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise RetrievalUnavailable(f"the vector engine did not answer within {timeout_s:g} s") from error
    except UnexpectedResponse as error:
        raise RetrievalUnavailable(
            f"the vector engine answered {error.status_code}; see its log, and check QDRANT_URL and QDRANT_API_KEY"
        ) from error
    except (ApiException, QdrantException, OSError, ValidationError) as error:
        raise RetrievalUnavailable(
            f"the vector engine does not answer ({type(error).__name__}); is it running?"
        ) from error


class Corpus:
    """The passages of all tenants in one collection of a Qdrant engine.

    Give `client` to share or replace the connection (`AsyncQdrantClient(":memory:")` in tests); it is then the caller's
    to close.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None,
        embedder: Embedder,
        collection: str = "assay",
        *,
        client: AsyncQdrantClient | None = None,
    ) -> None:
        self.embedder = embedder
        self.collection = collection
        self._owns_client = client is None
        self.client = client or _connect(url, api_key)
        self._verified = False

    async def aclose(self) -> None:
        """Close the connection, if it is ours."""
        if self._owns_client:
            await self.client.close()

    async def ensure(self) -> None:
        """Create the collection and its indexes where they are missing, and check whose vectors it holds.

        Raises:
            RetrievalUnavailable: the engine does not answer.
            EmbeddingMismatch: another model filled the collection.
        """
        async with engine_errors(WRITE_TIMEOUT_S):
            if not await self.client.collection_exists(self.collection):
                await self._create()
        if not await self.verify():
            raise RetrievalUnavailable(f"collection {self.collection!r} vanished while it was made; run this again")
        async with engine_errors(WRITE_TIMEOUT_S):
            for field, schema in INDEXES.items():
                await self.client.create_payload_index(self.collection, field, schema, wait=True)

    async def verify(self, timeout_s: float = WRITE_TIMEOUT_S) -> bool:
        """Check that the collection holds this embedder's vectors; False when there is no collection yet.

        Asks the engine until it has once said yes, then remembers.

        Raises:
            RetrievalUnavailable: the engine does not answer.
            EmbeddingMismatch: another model filled the collection.
        """
        if self._verified:
            return True
        async with engine_errors(timeout_s):
            if not await self.client.collection_exists(self.collection):
                return False
            config = (await self.client.get_collection(self.collection)).config
        found = (config.metadata or {}).get(MODEL_KEY)
        if found != self.embedder.model_id:
            raise EmbeddingMismatch(
                f"collection {self.collection!r} holds vectors of {found!r}, this process embeds with"
                f" {self.embedder.model_id!r}; delete the collection and ingest again"
            )
        self._verified = True
        return True

    def forget_verification(self) -> None:
        """Ask the engine again at the next call: it failed, and may come back as another one."""
        self._verified = False

    async def ping(self, timeout_s: float = 2.0) -> None:
        """Ask the engine for anything at all, for readiness.

        Raises:
            RetrievalUnavailable: it does not answer.
        """
        async with engine_errors(timeout_s):
            await self.client.collection_exists(self.collection)

    async def upsert(self, points: Sequence[models.PointStruct]) -> None:
        """Write points; durable when it returns."""
        for start in range(0, len(points), POINTS_PER_WRITE_MAX):
            async with engine_errors(WRITE_TIMEOUT_S):
                await self.client.upsert(self.collection, list(points[start : start + POINTS_PER_WRITE_MAX]), wait=True)

    async def delete_from(self, tenant: str, document: str, position: int) -> None:
        """Delete a document's passages from a position on; 0 deletes the document."""
        selector = tenant_filter(tenant, {"document": document})
        tail = models.FieldCondition(key="position", range=models.Range(gte=position))
        async with engine_errors(WRITE_TIMEOUT_S):
            await self.client.delete(
                self.collection,
                models.FilterSelector(filter=models.Filter(must=[selector, tail])),
                wait=True,
            )

    async def count(self, tenant: str, document: str | None = None) -> int:
        """Passages of a tenant, or of one of its documents."""
        narrowed = tenant_filter(tenant, {"document": document} if document is not None else None)
        async with engine_errors(WRITE_TIMEOUT_S):
            return (await self.client.count(self.collection, count_filter=narrowed, exact=True)).count

    async def _create(self) -> None:
        try:
            await self.client.create_collection(
                self.collection,
                vectors_config={DENSE: models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                metadata={MODEL_KEY: self.embedder.model_id},
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:  # another process made it a moment ago
                raise


def _connect(url: str, api_key: str | None) -> AsyncQdrantClient:
    with warnings.catch_warnings():
        if urlsplit(url).hostname in _LOOPBACK:  # a key in clear is fine within one machine, and there only
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(url=url, api_key=api_key, timeout=WRITE_TIMEOUT_S, check_compatibility=False)
