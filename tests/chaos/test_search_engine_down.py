"""Search while the vector engine is away, and after it came back."""

import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess

from registry.corpus.collection import Corpus, RetrievalUnavailable
from registry.corpus.search import get_passages, search
from registry.embedding import Embedder

pytestmark = [pytest.mark.chaos]


async def test_search_fails_by_name_and_recovers_by_itself(own_engine: EngineProcess, embedder: Embedder) -> None:
    """Never started, killed, started again: the same corpus object answers whenever the engine does."""
    corpus = Corpus(own_engine.url, ENGINE_KEY, embedder)
    with pytest.raises(RetrievalUnavailable):
        await search(corpus, "acme", "Revenue?")
    own_engine.start()
    assert await search(corpus, "acme", "Revenue?") == []
    await corpus.ensure()
    assert await search(corpus, "acme", "Revenue?") == []
    own_engine.kill()
    with pytest.raises(RetrievalUnavailable, match="is it running"):
        await search(corpus, "acme", "Revenue?")
    with pytest.raises(RetrievalUnavailable):
        await get_passages(corpus, "acme", ["00000000-0000-4000-8000-000000000000"])
    own_engine.start()
    assert await search(corpus, "acme", "Revenue?") == []
    await corpus.aclose()


async def test_a_wrong_key_is_named(own_engine: EngineProcess, embedder: Embedder) -> None:
    """An engine that does not let us in is unavailable, and the sentence points at the key."""
    own_engine.start()
    corpus = Corpus(own_engine.url, "not-the-engines-key", embedder)
    with pytest.raises(RetrievalUnavailable, match="QDRANT_API_KEY"):
        await search(corpus, "acme", "Revenue?")
    await corpus.aclose()
