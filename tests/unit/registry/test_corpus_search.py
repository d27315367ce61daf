"""Search: the right passage first, filters obeyed, failures named."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http import models as rest
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from registry.corpus import search as search_module
from registry.corpus.bm25 import passage_weights
from registry.corpus.collection import DENSE, SPARSE, Corpus, EmbeddingMismatch, RetrievalUnavailable, point_id
from registry.corpus.search import SearchMode, get_passages, search
from registry.embedding import Embedder
from registry.errors import InvalidInput
from registry.insights import Range

TEXTS = {
    "may.md": "Revenue rose to 4.2 million euros in May.",
    "outage.md": "The payment gateway XJ-7731 failed for four hours.",
    "churn.md": "Many customers left because the subscription became dearer.",
}


def points(embedder: Embedder, tenant: str, texts: dict[str, str] = TEXTS) -> list[models.PointStruct]:
    """One point a document, dated by month in the order given."""
    vectors = embedder.embed(list(texts.values()))
    made: list[models.PointStruct] = []
    for number, ((document, text), vector) in enumerate(zip(texts.items(), vectors, strict=True), start=1):
        sparse = passage_weights(text)
        payload = {"tenant": tenant, "document": document, "position": 0, "text": text, "kind": "note"}
        made.append(
            models.PointStruct(
                id=point_id(tenant, document, 0),
                vector={
                    DENSE: vector.tolist(),
                    SPARSE: models.SparseVector(indices=sparse.indices, values=sparse.values),
                },
                payload={**payload, "date": 20260000 + number * 100},
            )
        )
    return made


@pytest.fixture
async def filled(corpus: Corpus, embedder: Embedder) -> Corpus:
    """Two tenants with the same documents."""
    await corpus.upsert([*points(embedder, "acme"), *points(embedder, "other")])
    return corpus


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
@pytest.mark.parametrize(
    ("question", "document"),
    [("How high was revenue in May?", "may.md"), ("What happened to gateway XJ-7731?", "outage.md")],
)
async def test_the_answering_passage_comes_first(
    filled: Corpus, mode: SearchMode, question: str, document: str
) -> None:
    """Each mode finds the passage that shares words and meaning with the question."""
    found = await search(filled, "acme", question, 3, mode=mode)
    assert found[0].document == document
    assert found[0].text == TEXTS[document]
    assert [passage.score for passage in found] == sorted((passage.score for passage in found), reverse=True)


async def test_meaning_finds_what_words_do_not(filled: Corpus) -> None:
    """A paraphrase without a shared word is found densely, and so by the hybrid, but not by BM25."""
    question = "Why did clients quit?"
    assert (await search(filled, "acme", question, 1))[0].document == "churn.md"
    assert await search(filled, "acme", question, 1, mode="bm25") == []


async def test_filters_narrow(filled: Corpus) -> None:
    """Documents outside a filter are not found, however well they match."""
    question = "How high was revenue in May?"
    later = await search(filled, "acme", question, filters={"date": Range(gte="2026-02")})
    assert {passage.document for passage in later} == {"outage.md", "churn.md"}
    assert await search(filled, "acme", question, filters={"kind": "minutes"}) == []
    one = await search(filled, "acme", question, filters={"document": ["churn.md", "none.md"], "kind": "note"})
    assert [passage.document for passage in one] == ["churn.md"]


@pytest.mark.parametrize("text", ["???", "", "\x00", "\U0001d518", "où est l'été", "'; DROP TABLE passages; --"])
async def test_any_text_is_a_question(filled: Corpus, text: str) -> None:
    """Signs, emptiness and other languages give passages or none, never an error."""
    for mode in ("hybrid", "dense", "bm25"):
        assert len(await search(filled, "acme", text, mode=mode)) <= len(TEXTS)


async def test_a_tenant_without_documents_gets_nothing(filled: Corpus) -> None:
    """An empty corpus is not an error."""
    assert await search(filled, "newcomer", "Revenue?") == []


async def test_a_missing_collection_gives_nothing(embedder: Embedder) -> None:
    """Before the first ingest there is nothing to find."""
    corpus = Corpus("", None, embedder, client=AsyncQdrantClient(":memory:"))
    assert await search(corpus, "acme", "Revenue?") == []
    assert await get_passages(corpus, "acme", [point_id("acme", "may.md", 0)]) == []


@pytest.mark.parametrize("top_k", [0, -1, 201])
async def test_top_k_is_bounded(filled: Corpus, top_k: int) -> None:
    """A number of passages that makes no sense is refused."""
    with pytest.raises(InvalidInput, match="top_k"):
        await search(filled, "acme", "Revenue?", top_k)


async def test_an_overlong_text_is_refused(filled: Corpus) -> None:
    """The same limit as for a question."""
    with pytest.raises(InvalidInput, match="at most 4000"):
        await search(filled, "acme", "x" * 4001)


async def test_passages_by_id_are_the_tenants_own(filled: Corpus) -> None:
    """Ids of another tenant and of nobody are left out; order and duplicates follow the request."""
    mine, theirs = point_id("acme", "may.md", 0), point_id("other", "may.md", 0)
    churn = point_id("acme", "churn.md", 0)
    found = await get_passages(filled, "acme", [churn, theirs, mine, churn, point_id("acme", "no.md", 0)])
    assert [passage.id for passage in found] == [churn, mine]


@pytest.mark.parametrize("ids", [["7"], ["x"], [""], [None], ["a" * 36], ["0" * 32] * 257])
async def test_malformed_ids_are_refused(filled: Corpus, ids: list[Any]) -> None:
    """What is no UUID, or too many of them, is the caller's mistake."""
    with pytest.raises(InvalidInput):
        await get_passages(filled, "acme", ids)


async def test_a_foreign_point_stops_the_answer(filled: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an engine ignored the filter, nothing would be served."""
    leaked = models.ScoredPoint(id=1, version=0, score=1, payload={"tenant": "other", "document": "d", "text": "t"})

    async def leaky(*_: Any, **__: Any) -> rest.QueryResponse:
        return rest.QueryResponse(points=[leaked])

    monkeypatch.setattr(filled.client, "query_points", leaky)
    with pytest.raises(RetrievalUnavailable, match="another tenant"):
        await search(filled, "acme", "Revenue?")


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (ResponseHandlingException(httpx.ConnectError("refused")), "does not answer"),
        (UnexpectedResponse(401, "no", b"", httpx.Headers()), "answered 401.*QDRANT_API_KEY"),
        (UnexpectedResponse(500, "oops", b"", httpx.Headers()), "answered 500"),
        (ConnectionResetError(), "does not answer"),
    ],
)
async def test_an_engine_that_is_down_has_a_name_and_recovers(
    filled: Corpus, monkeypatch: pytest.MonkeyPatch, failure: Exception, sentence: str
) -> None:
    """The failure is RetrievalUnavailable; the next call after recovery succeeds by itself."""

    async def failing(*_: Any, **__: Any) -> rest.QueryResponse:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(filled.client, "query_points", failing)
        with pytest.raises(RetrievalUnavailable, match=sentence):
            await search(filled, "acme", "Revenue?")
    assert await search(filled, "acme", "Revenue?")


async def test_a_slow_engine_is_not_waited_for(filled: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the search's own time limit the caller gets the error."""

    async def slow(*_: Any, **__: Any) -> rest.QueryResponse:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(filled.client, "query_points", slow)
    monkeypatch.setattr(search_module, "SEARCH_TIMEOUT_S", 0.01)
    with pytest.raises(RetrievalUnavailable, match=r"within 0.01 s"):
        await search(filled, "acme", "Revenue?")


class OtherEmbedder(Embedder):
    """Another model's name on the same weights."""

    def __init__(self) -> None:
        self.model_id = "another-model/1"

    def embed(self, texts: Sequence[str]) -> Any:
        """Vectors that mean nothing to the first model."""
        return np.ones((len(texts), 384), dtype=np.float32)


async def test_another_models_collection_is_refused(filled: Corpus) -> None:
    """Searching or filling a collection of another embedding model is refused with a sentence that names both."""
    stranger = Corpus("", None, OtherEmbedder(), client=filled.client)
    for attempt in (search(stranger, "acme", "Revenue?"), stranger.ensure()):
        with pytest.raises(EmbeddingMismatch, match=r"MiniLM.*another-model/1.*ingest again"):
            await attempt


def test_point_ids_keep_tenants_documents_and_positions_apart() -> None:
    """No two of them share an id by the way their names run together."""
    assert point_id("a", "bc", 1) == point_id("a", "bc", 1)
    assert len({point_id("a", "bc", 1), point_id("ab", "c", 1), point_id("a", "bc1", 1), point_id("a", "bc", 11)}) == 4
