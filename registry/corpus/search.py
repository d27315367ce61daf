"""Find the passages of one tenant that answer a question: dense and BM25 side by side, fused by rank.

The tenant filter stands in every prefetch and around the whole, and each returned point is checked once more.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from qdrant_client import models

from registry.corpus.bm25 import query_weights
from registry.corpus.collection import DENSE, SPARSE, Corpus, RetrievalUnavailable, engine_errors
from registry.corpus.filters import tenant_condition, tenant_filter
from registry.errors import InvalidInput
from registry.insights import QUESTION_CHARS_MAX, FilterValue, Passage

SearchMode = Literal["hybrid", "dense", "bm25"]
"""hybrid: both, fused by reciprocal rank (Cormack et al. 2009); dense: meaning alone; bm25: words alone."""

TOP_K_MAX: Final = 200
PREFETCH_FACTOR, PREFETCH_MIN, FUSED_MAX = 4, 32, 1_000
IDS_MAX: Final = 256
DOCUMENT_PAGE, DOCUMENT_PAGES_MAX = 500, 20
SEARCH_TIMEOUT_S: Final = 2.0
"""A healthy engine answers in milliseconds; a caller has a deadline of its own."""

Payload = Mapping[str, Any]


async def search(
    corpus: Corpus,
    tenant: str,
    text: str,
    top_k: int = 8,
    filters: Mapping[str, FilterValue] | None = None,
    mode: SearchMode = "hybrid",
) -> list[Passage]:
    """The best passages of a tenant, best first; empty when it has none.

    Scores may be compared within one answer only: reciprocal ranks (hybrid), cosines (dense) or BM25 sums (bm25).

    Raises:
        InvalidInput: an undeclared or malformed filter, `top_k` outside 1 to 200, or an overlong text.
        RetrievalUnavailable: the engine does not answer in time; the next call tries again.
        EmbeddingMismatch: the collection holds another model's vectors.
    """
    narrowed = tenant_filter(tenant, filters)
    if not 1 <= top_k <= TOP_K_MAX:
        raise InvalidInput(f"top_k must be 1 to {TOP_K_MAX}, not {top_k}")
    if len(text) > QUESTION_CHARS_MAX:
        raise InvalidInput(f"a search text has at most {QUESTION_CHARS_MAX} characters, not {len(text)}")
    branches = await _branches(corpus, text, mode)
    if not branches:
        return []
    try:
        if not await corpus.verify(SEARCH_TIMEOUT_S):
            return []
        points = await _query(corpus, branches, narrowed, _word_rarity(tenant), top_k)
    except RetrievalUnavailable:
        corpus.forget_verification()
        raise
    passages = [_passage(point.id, point.payload, point.score, tenant) for point in points]
    return sorted(passages, key=lambda passage: (-passage.score, passage.document, passage.id))[:top_k]


async def get_passages(corpus: Corpus, tenant: str, ids: Sequence[str]) -> list[Passage]:
    """A tenant's passages by id, in the order asked, score 0; ids of others or of nobody are left out.

    Raises:
        InvalidInput: more than 256 ids, or one that is no UUID.
        RetrievalUnavailable: the engine does not answer in time.
    """
    wanted = _uuids(ids)
    owner = tenant_filter(tenant)
    if not wanted or not await corpus.verify(SEARCH_TIMEOUT_S):
        return []
    narrowed = models.Filter(must=[owner, models.HasIdCondition(has_id=list(wanted))])
    async with engine_errors(SEARCH_TIMEOUT_S):
        records, _ = await corpus.client.scroll(
            corpus.collection, scroll_filter=narrowed, limit=len(wanted), with_payload=True
        )
    found = {str(record.id): _passage(record.id, record.payload, 0.0, tenant) for record in records}
    return [found[key] for key in wanted if key in found]


async def document_passages(corpus: Corpus, tenant: str, document: str) -> list[Passage]:
    """All passages of one of a tenant's documents, at most 10,000, score 0; none when there is no such document.

    Raises:
        RetrievalUnavailable: the engine does not answer in time.
    """
    if not await corpus.verify(SEARCH_TIMEOUT_S):
        return []
    same = models.FieldCondition(key="document", match=models.MatchValue(value=document))
    wanted = models.Filter(must=[tenant_condition(tenant), same])
    found: list[Passage] = []
    offset = None
    for _ in range(DOCUMENT_PAGES_MAX):
        async with engine_errors(SEARCH_TIMEOUT_S):
            records, offset = await corpus.client.scroll(
                corpus.collection, scroll_filter=wanted, limit=DOCUMENT_PAGE, offset=offset, with_payload=True
            )
        found += [_passage(record.id, record.payload, 0.0, tenant) for record in records]
        if offset is None:
            break
    return found


Branch = tuple[str, models.SparseVector | list[float]]


async def _branches(corpus: Corpus, text: str, mode: SearchMode) -> list[Branch]:
    """The vectors to search by: name and vector; none for a text without words in mode bm25."""
    branches: list[Branch] = []
    if mode != "bm25":
        vector = (await asyncio.to_thread(corpus.embedder.embed, [text]))[0]
        branches.append((DENSE, vector.tolist()))
    if mode != "dense":
        indices, values = query_weights(text)
        if indices:
            branches.append((SPARSE, models.SparseVector(indices=indices, values=values)))
    return branches


async def _query(
    corpus: Corpus, branches: list[Branch], narrowed: models.Filter, rarity: models.SearchParams, top_k: int
) -> list[models.ScoredPoint]:
    params = {DENSE: None, SPARSE: rarity}
    async with engine_errors(SEARCH_TIMEOUT_S):
        if len(branches) == 1:
            ((using, vector),) = branches
            answer = await corpus.client.query_points(
                corpus.collection,
                query=vector,
                using=using,
                query_filter=narrowed,
                search_params=params[using],
                limit=top_k,
                with_payload=True,
            )
            return answer.points
        depth = max(PREFETCH_MIN, PREFETCH_FACTOR * top_k)
        answer = await corpus.client.query_points(
            corpus.collection,
            prefetch=[
                models.Prefetch(query=vector, using=using, filter=narrowed, params=params[using], limit=depth)
                for using, vector in branches
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            query_filter=narrowed,
            # All that was fused: the engine cuts among equal ranks as they come, and differently each time.
            limit=min(len(branches) * depth, FUSED_MAX),
            with_payload=True,
        )
        return answer.points


def _word_rarity(tenant: str) -> models.SearchParams:
    """How rare a word is, is counted in the tenant's own passages: what others store moves none of its scores."""
    own = models.Filter(must=[tenant_condition(tenant)])
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=own))


def _passage(key: str | int | uuid.UUID, payload: Payload | None, score: float, tenant: str) -> Passage:
    """Our record of a point; a point of another tenant stops the answer, whatever let it through."""
    if payload is None or payload.get("tenant") != tenant:
        raise RetrievalUnavailable("the vector engine answered with a passage of another tenant; the answer is dropped")
    return Passage(id=str(key), document=payload["document"], score=score, text=payload["text"])


def _uuids(ids: Sequence[str]) -> list[str]:
    if len(ids) > IDS_MAX:
        raise InvalidInput(f"at most {IDS_MAX} passage ids at once, not {len(ids)}")
    try:
        return list(dict.fromkeys(str(uuid.UUID(key)) for key in ids))
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput("a passage id is a UUID, as in the passages of an insight") from error
