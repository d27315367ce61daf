"""Filters: declared fields only, and the tenant is not one of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from registry.corpus.filters import DECLARED_FIELDS, date_number, tenant_filter
from registry.errors import InvalidInput
from registry.insights import Range


def test_the_tenant_condition_always_comes_first() -> None:
    """Whatever the caller filters by, the tenant is required too."""
    made = tenant_filter("acme", {"kind": "review", "date": Range(gte="2026-01")})
    assert isinstance(made.must, list)
    assert made.must[0] == models.FieldCondition(key="tenant", match=models.MatchValue(value="acme"))
    assert made.should is None
    assert made.must_not is None


@pytest.mark.parametrize("tenant", ["", "Acme", "a b", "*", "acme\n", "../x", None, 7, ["acme"], "a" * 64])
def test_only_a_tenants_name_is_a_tenant(tenant: Any) -> None:
    """Anything that could not be a tenant's id is refused before the engine is asked."""
    with pytest.raises(InvalidInput, match="tenant"):
        tenant_filter(tenant)


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"tenant": "other"}, "the tenant comes with the key"),
        ({"text": "x"}, "no filter field 'text'"),
        ({"must": "x"}, "no filter field 'must'"),
        ({"kind": Range(gte="a")}, "not a range"),
        ({"kind": []}, "1 to 64 values"),
        ({"kind": ["x"] * 65}, "1 to 64 values"),
        ({"kind": ""}, "1 to 500 characters"),
        ({"kind": 3}, "takes text"),
        ({"kind": "x" * 501}, "1 to 500 characters"),
        ({"date": "May 2026"}, "YYYY-MM-DD"),
        ({"date": "2026-13"}, "YYYY-MM-DD"),
        ({"date": "2026-02-32"}, "YYYY-MM-DD"),
        ({"date": Range()}, "needs gte or lte"),
        ({"date": Range(gte=float("inf"))}, "YYYY-MM-DD"),
        ({"date": 20.5}, "YYYY-MM-DD"),
    ],
)
def test_a_bad_filter_is_refused_with_a_sentence(filters: dict[str, Any], sentence: str) -> None:
    """Each mistake is named together with what would be right."""
    with pytest.raises(InvalidInput, match=sentence):
        tenant_filter("acme", filters)


@pytest.mark.parametrize(
    ("value", "inside", "outside"),
    [
        ("2026-05", ["2026-05", "2026-05-01", "2026-05-31"], ["2026-04-30", "2026-06", "2026"]),
        ("2026", ["2026", "2026-01", "2026-12-31"], ["2025-12-31", "2027"]),
        ("2026-05-07", ["2026-05-07"], ["2026-05", "2026-05-08"]),
        (2026, ["2026-03"], ["2025"]),
        (Range(gte="2026-02", lte="2026-03"), ["2026-02-01", "2026-03-31", "2026-03"], ["2026-01-31", "2026-04-01"]),
        (Range(gte=2026.0), ["2026", "2031-01"], ["2025-12"]),
        (["2025-01", "2026-01"], ["2025-01-09", "2026-01"], ["2025-02"]),
    ],
)
def test_a_date_means_its_whole_period(value: Any, inside: list[str], outside: list[str]) -> None:
    """A month matches its days, a year its months; ranges include both ends."""
    matches = _date_matcher(tenant_filter("acme", {"date": value}))
    assert [date for date in inside if not matches(date)] == []
    assert [date for date in outside if matches(date)] == []


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=4))
def test_no_filter_of_text_loses_the_tenant(filters: dict[str, str]) -> None:
    """Either it is refused, or the tenant is still required and only declared fields are named."""
    try:
        made = tenant_filter("acme", filters)
    except InvalidInput:
        return
    assert isinstance(made.must, list)
    assert made.must[0] == models.FieldCondition(key="tenant", match=models.MatchValue(value="acme"))
    assert set(filters) <= set(DECLARED_FIELDS)


def _date_matcher(made: models.Filter) -> Any:
    assert isinstance(made.must, list)
    condition = made.must[1]
    parts = condition.should if isinstance(condition, models.Filter) else [condition]
    assert isinstance(parts, list)

    def matches(date: str) -> bool:
        number = date_number(date)
        assert number is not None
        ranges = [part.range for part in parts if isinstance(part, models.FieldCondition)]
        return any(
            isinstance(span, models.Range)
            and (span.gte is None or number >= span.gte)
            and (span.lte is None or number <= span.lte)
            for span in ranges
        )

    return matches
