"""Graded quotes find their passages, whatever the splitter did."""

import pytest

from evaluation.relevance import judge
from registry.datasets import GradedQuote, GroundTruthRow
from registry.insights import Passage

PASSAGES = {
    "a.md": [
        Passage(id="p1", document="a.md", score=0, text="We sold\n  12 boxes in May."),
        Passage(id="p2", document="a.md", score=0, text="12 boxes in May. Then came June."),
        Passage(id="p3", document="a.md", score=0, text="Nothing of note."),
    ],
    "b.md": [Passage(id="p4", document="b.md", score=0, text="12 boxes in May.")],
}
fetched: list[str] = []


async def passages_of(document: str) -> list[Passage]:
    """A document's passages, noting who was asked for."""
    fetched.append(document)
    return PASSAGES.get(document, [])


def row(key: str, *quotes: tuple[str, str, int]) -> GroundTruthRow:
    """A question with these (document, quote, grade)."""
    relevant = tuple(GradedQuote(document=d, quote=q, grade=g) for d, q, g in quotes)
    return GroundTruthRow(id=key, question="?", split="dev", relevant=relevant)


async def test_a_quote_is_found_across_white_space_in_its_own_document() -> None:
    """Every passage of the named document that holds the quote is relevant; another document's twin is not."""
    judgements = await judge([row("q", ("a.md", "12  boxes in May.", 3))], passages_of)
    assert judgements.qrels == {"q": {"p1": 3, "p2": 3}}
    assert judgements.unresolved == {}


async def test_the_best_grade_of_a_passage_counts() -> None:
    """A passage that holds two quotes has the higher grade."""
    quotes = (("a.md", "12 boxes", 1), ("a.md", "Then came June", 2))
    assert (await judge([row("q", *quotes)], passages_of)).qrels == {"q": {"p1": 1, "p2": 2}}


@pytest.mark.parametrize("quote", [("a.md", "not there", 1), ("gone.md", "12 boxes", 1)])
async def test_a_quote_without_a_passage_is_reported(quote: tuple[str, str, int]) -> None:
    """A quote that no passage holds is not silently a miss: its document is named."""
    judgements = await judge([row("q", quote)], passages_of)
    assert judgements.qrels == {"q": {}}
    assert judgements.unresolved == {"q": (quote[0],)}


async def test_each_document_is_fetched_once() -> None:
    """Many questions on one document cost one fetch."""
    fetched.clear()
    await judge([row(str(n), ("a.md", "12 boxes", 1)) for n in range(5)], passages_of)
    assert fetched == ["a.md"]


async def test_only_good_passages_answer() -> None:
    """Grade 1 may be cited only when there is nothing better."""
    mixed = await judge([row("q", ("a.md", "12 boxes", 1), ("a.md", "Then came June", 2))], passages_of)
    assert mixed.answering("q") == {"p2"}
    weak = await judge([row("q", ("a.md", "We sold", 1))], passages_of)
    assert weak.answering("q") == {"p1"}
