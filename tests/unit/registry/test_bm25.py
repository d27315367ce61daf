"""BM25's half of the formula, as sparse vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.corpus.bm25 import (
    AVERAGE_TERMS,
    QUERY_TERMS_MAX,
    passage_weights,
    period_terms,
    query_weights,
    term_id,
    terms,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Revenue ROSE, in May!", ["revenue", "rose", "in", "may"]),
        ("4.2 million, 1,240 units (2026-05)", ["4.2", "million", "1,240", "units", "2026-05"]),
        ("Über die Straße", ["über", "die", "strasse"]),
        ("hausse des coûts", ["hausse", "des", "coûts"]),
        ("收入增长", ["收入", "入增", "增长"]),
        ("Q3の売上", ["q3", "の売", "売上"]),
        ("Выручка", ["выручка"]),
        ("\ufb01nance", ["finance"]),
        ("?! ...", []),
    ],
)
def test_terms_are_words_and_figures_of_any_script(text: str, expected: list[str]) -> None:
    """Words fold case and width, figures stay whole, unspaced scripts give pairs."""
    assert list(terms(text)) == expected


def test_weights_follow_the_formula() -> None:
    """A word twice in a passage of 3 terms: 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 120))."""
    weights = passage_weights("churn churn fell")
    by_id = dict(zip(weights.indices, weights.values, strict=True))
    norm = 1.2 * (0.25 + 0.75 * 3 / AVERAGE_TERMS)
    assert by_id[term_id("churn")] == pytest.approx(2 * 2.2 / (2 + norm))
    assert by_id[term_id("fell")] == pytest.approx(2.2 / (1 + norm))


def test_term_ids_never_change() -> None:
    """Stored vectors stay readable: the id of a word is fixed for good."""
    assert term_id("revenue") == 1_414_050_070


def test_a_question_weighs_each_different_word_once() -> None:
    """Repeating a word in a question does not make it count more."""
    weights = query_weights("churn, churn and CHURN")
    assert sorted(weights.indices) == sorted([term_id("churn"), term_id("and")])
    assert set(weights.values) == {1.0}


@given(st.text(max_size=100))
def test_any_text_gives_a_valid_sparse_vector(text: str) -> None:
    """Indices ascend without repeats within 32 bits, weights are positive, whatever is thrown in."""
    for weights in (passage_weights(text), query_weights(text)):
        assert weights.indices == sorted(set(weights.indices))
        assert all(0 <= index < 2**32 for index in weights.indices)
        assert all(value > 0 for value in weights.values)
        assert len(weights.indices) == len(weights.values)


def test_an_endless_question_is_bounded() -> None:
    """At most 256 terms of a question are searched for."""
    assert len(query_weights(" ".join(f"word{n}" for n in range(1000))).indices) <= QUERY_TERMS_MAX


@pytest.mark.parametrize("text", ["month: 2026-05", "im Mai 2026", "31/05/2026", "mai 2026", "MAY 2026"])
def test_a_month_is_found_however_it_is_written(text: str) -> None:
    """Questions say `May 2026` where tables say `2026-05`; they share the month and its quarter."""
    assert set(period_terms(text)) == {"month 202605", "quarter 20262"}


def test_a_quarter_finds_its_months() -> None:
    """A question about a quarter shares a term with each month of it, and with no other month."""
    (quarter,) = period_terms("revenue in Q2 2026")
    assert [quarter in set(period_terms(f"2026-{month:02}")) for month in range(1, 13)] == [
        *[False] * 3,
        *[True] * 3,
        *[False] * 6,
    ]
