"""Splitting: passages that stand on their own, fit the embedder and keep every word."""

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from registry.corpus.loaders.records import LoadedDocument, Section
from registry.corpus.splitting import CHARS_PER_TOKEN, TOKENS, Splitter
from registry.embedding import TOKENS_MAX, Embedder

WORDS = st.sampled_from(["revenue", "rose", "Umsatz", "l'été", "4.2", "收入", "a" * 300, "x.", "Ende!\n", "\n\n", "🙂"])


@pytest.fixture(scope="module")
def splitter(embedder: Embedder) -> Splitter:
    """A splitter over the real tokenizer."""
    return Splitter(embedder)


def split(splitter: Splitter, text: str, *, heading: str = "", title: str = "Review") -> list[str]:
    """Passages of a document with one section."""
    return splitter.split(LoadedDocument(title=title, sections=(Section(heading=heading, text=text),)))


def test_a_short_section_is_one_passage_with_its_place(splitter: Splitter) -> None:
    """Title and headings stand on a first line, then the text, unchanged."""
    assert split(splitter, "It fell.\nTwice.", heading="Figures > Churn") == [
        "Review > Figures > Churn\n\nIt fell.\nTwice."
    ]


def test_a_heading_that_repeats_the_title_is_said_once(splitter: Splitter) -> None:
    """The usual first heading adds nothing to the title."""
    assert split(splitter, "Text.", heading="review > Churn") == ["Review > Churn\n\nText."]


def test_passages_break_between_sentences(splitter: Splitter) -> None:
    """A long paragraph is cut after full stops, not inside sentences."""
    text = " ".join(f"In month {n} the revenue of the northern region rose by {n} percent." for n in range(60))
    passages = split(splitter, text)
    assert len(passages) > 5
    assert all(passage.endswith("percent.") for passage in passages)
    assert all(passage.partition("\n\n")[2].startswith("In month") for passage in passages)


def test_rows_of_a_table_stay_whole(splitter: Splitter) -> None:
    """Rows are kept together; several share a passage."""
    rows = [f"month: 2026-{n:02}\nrevenue_gbp: {n * 1000}\nboxes: {n}" for n in range(1, 40)]
    passages = split(splitter, "\n\n".join(rows))
    assert len(passages) < len(rows)
    for row in rows:
        assert any(row in passage for passage in passages)


def test_sections_are_never_mixed(splitter: Splitter) -> None:
    """No passage holds text of two sections."""
    sections = (Section(heading="A", text="alpha"), Section(heading="B", text="beta"))
    passages = splitter.split(LoadedDocument(title="T", sections=sections))
    assert passages == ["T > A\n\nalpha", "T > B\n\nbeta"]


def test_marks_without_words_make_no_passage(splitter: Splitter) -> None:
    """A ruler is not worth finding."""
    assert split(splitter, "----\n\n***") == []


@hypothesis_settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=400), st.text(max_size=300))
def test_every_passage_fits_and_no_word_is_lost(embedder: Embedder, words: list[str], heading: str) -> None:
    """The embedder reads every passage to its end, and every word of the text is in some passage."""
    text = " ".join(words)
    passages = split(Splitter(embedder), text, heading=heading)
    bodies = [passage.partition("\n\n")[2] for passage in passages]
    for passage, body in zip(passages, bodies, strict=True):
        assert embedder.count_tokens(passage) < TOKENS_MAX
        assert len(body) <= TOKENS * CHARS_PER_TOKEN + CHARS_PER_TOKEN
    found = "".join(bodies)
    assert {word.strip() for word in words if word.strip().isalnum()} - {"a" * 300} <= set(
        "".join(f" {body} " for body in bodies).split()
    ) or all(word.strip() in found for word in words)
