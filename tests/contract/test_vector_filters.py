"""Filters of a vector store: any combination means the same over every adapter."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models
from vector_points import COLOURS, POINTS, TENANTS, matches, numbers, payload, point_id

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]

Predicate = Callable[[dict[str, Any]], bool]


def condition() -> st.SearchStrategy[tuple[models.Condition, Predicate]]:
    """A condition beside what it means."""
    colours = st.lists(st.sampled_from([*COLOURS, "none"]), min_size=1, max_size=3)
    bounds = st.tuples(st.integers(-1, POINTS), st.integers(-1, POINTS))
    return st.one_of(
        st.sampled_from(TENANTS).map(lambda name: (matches("tenant", name), lambda p, name=name: p["tenant"] == name)),
        st.integers(0, POINTS).map(lambda n: (matches("number", n), lambda p, n=n: p["number"] == n)),
        st.integers(1, POINTS).map(
            lambda day: (
                models.FieldCondition(key="day", range=models.DatetimeRange(lt=datetime(2026, 1, day, tzinfo=UTC))),
                lambda p, day=day: p["number"] + 1 < day,
            )
        ),
        colours.map(
            lambda any_: (
                models.FieldCondition(key="colour", match=models.MatchAny(any=any_)),
                lambda p, any_=any_: p["colour"] in any_,
            )
        ),
        colours.map(
            lambda but: (
                models.FieldCondition(key="colour", match=models.MatchExcept(**{"except": but})),
                lambda p, but=but: p["colour"] not in but,
            )
        ),
        bounds.map(
            lambda pair: (
                models.FieldCondition(key="number", range=models.Range(gte=pair[0], lt=pair[1])),
                lambda p, pair=pair: pair[0] <= p["number"] < pair[1],
            )
        ),
        bounds.map(
            lambda pair: (
                models.FieldCondition(key="size", range=models.Range(gt=pair[0], lte=pair[1])),
                lambda p, pair=pair: pair[0] < p["size"] <= pair[1],
            )
        ),
        st.lists(st.integers(0, POINTS + 5), max_size=5).map(
            lambda some: (
                models.HasIdCondition(has_id=[point_id(n) for n in some]),
                lambda p, some=some: p["number"] in some,
            )
        ),
    )


def combined(
    inner: st.SearchStrategy[tuple[models.Condition, Predicate]],
) -> st.SearchStrategy[tuple[models.Condition, Predicate]]:
    """A filter of conditions beside what it means."""
    some = st.lists(inner, min_size=1, max_size=3)

    def joined(how: str, parts: list[tuple[models.Condition, Predicate]], least: int) -> tuple[Any, Predicate]:
        conditions = [one for one, _ in parts]
        meanings = [meaning for _, meaning in parts]
        if how == "must":
            return models.Filter(must=conditions), lambda p: all(meaning(p) for meaning in meanings)
        if how == "should":
            return models.Filter(should=conditions), lambda p: any(meaning(p) for meaning in meanings)
        if how == "must_not":
            return models.Filter(must_not=conditions), lambda p: not any(meaning(p) for meaning in meanings)
        enough = models.MinShould(conditions=conditions, min_count=least)
        return models.Filter(min_should=enough), lambda p: sum(meaning(p) for meaning in meanings) >= least

    return st.builds(joined, st.sampled_from(["must", "should", "must_not", "min_should"]), some, st.integers(1, 3))


class TestFilters:
    """Filters mean the same everywhere."""

    @given(drawn=st.recursive(condition(), combined, max_leaves=6))
    @settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_filter_selects_what_it_means(
        self, vector_client: QdrantClient, shared_collection: str, drawn: tuple[models.Condition, Predicate]
    ) -> None:
        """Any filter, however combined, passes exactly the points that it describes."""
        chosen, meaning = drawn
        found, _ = vector_client.scroll(
            shared_collection, scroll_filter=models.Filter(must=[chosen]), limit=POINTS, with_payload=True
        )
        assert sorted(numbers(found)) == [n for n in range(POINTS) if meaning(payload(n))]
