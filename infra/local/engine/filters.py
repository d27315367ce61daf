"""Conditions on payload, id and vectors: their JSON form, the index they need, their engine form.

A filter on a field without a fitting payload index is refused, as Qdrant Cloud's strict mode does: on a real
collection it would scan every point. Three traps are refused where Qdrant takes them: a condition that tests
two things at once (the engine *or*s them), `min_should` with a count below 1 (matches everything), and a
condition that tests nothing.
"""
# pyright: basic
# The engine's stub spells enum constructors and unions that strict mode cannot follow.

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import qdrant_edge as edge
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from infra.local.engine.problems import WrongInput

IDS_MAX = 10_000
CONDITIONS_MAX = 64
"""In one list; an answer's filter has fewer than ten."""
DEPTH_MAX = 5
VALUES_MAX = 1_000
TEXT_CHARS_MAX = 4_096

INDEXES_FOR_MATCH: dict[type, tuple[str, ...]] = {
    int: ("integer",),
    str: ("keyword", "uuid"),
}


class Body(BaseModel):
    """Part of a request: unknown members are refused, because a mistyped condition must not match everything."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True)


def _uuid_or_number(value: int | str) -> int | str:
    if isinstance(value, str):
        try:
            return str(UUID(value))
        except ValueError:
            raise ValueError(f"{value[:60]!r} is neither a UUID nor an unsigned integer") from None
    if not 0 <= value < 2**64:
        raise ValueError("a numeric point id is an unsigned 64-bit integer")
    return value


PointId = Annotated[int | str, AfterValidator(_uuid_or_number)]
FieldPath = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,4}$")]
"""A payload key, or a path of keys with dots; it also becomes a file name in the engine's storage."""
Text = Annotated[str, Field(max_length=TEXT_CHARS_MAX)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Finite = Annotated[float, Field(ge=-1e300, le=1e300)]


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("this engine cannot match booleans; store 0 and 1, or words")  # noqa: TRY004 - pydantic's way
    return value


class Match(Body):
    """Exactly one kind of match."""

    value: Annotated[Integer | Text | None, BeforeValidator(_not_boolean)] = None
    any: Annotated[list[Text] | list[Integer] | None, Field(max_length=VALUES_MAX)] = None
    except_: Annotated[list[Text] | list[Integer] | None, Field(alias="except", max_length=VALUES_MAX)] = None
    text: Text | None = None
    phrase: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> "Match":
        if len(self.model_fields_set) != 1 or next(iter(_given(self).values()), None) is None:
            raise ValueError("match needs exactly one of value, any, except, text, phrase")
        return self


class Range(Body):
    """Bounds, all numbers or all RFC 3339 times."""

    gte: Finite | Text | None = None
    gt: Finite | Text | None = None
    lte: Finite | Text | None = None
    lt: Finite | Text | None = None

    @model_validator(mode="after")
    def _alike(self) -> "Range":
        kinds = {isinstance(bound, str) for bound in _given(self).values() if bound is not None}
        if len(kinds) != 1:
            raise ValueError("range needs at least one bound, all numbers or all times")
        return self

    @property
    def of_times(self) -> bool:
        """True when the bounds are times."""
        return any(isinstance(bound, str) for bound in _given(self).values())


class ValuesCount(Body):
    """How many values a field holds."""

    gte: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    gt: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    lte: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    lt: Annotated[int, Field(ge=0, lt=2**32)] | None = None


class FieldCondition(Body):
    """One test on one field."""

    key: FieldPath
    match: Match | None = None
    range: Range | None = None
    values_count: ValuesCount | None = None
    is_empty: bool | None = None
    is_null: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> "FieldCondition":
        tests = [name for name, value in _given(self).items() if name != "key" and value is not None]
        if len(tests) != 1:
            raise ValueError("a field condition needs exactly one test; put two tests into two conditions")
        return self


class Key(Body):
    """Names a field."""

    key: FieldPath


class IsEmpty(Body):
    """The field is missing, null or an empty list."""

    is_empty: Key


class IsNull(Body):
    """The field is null."""

    is_null: Key


class HasId(Body):
    """The point's id is one of these."""

    has_id: Annotated[list[PointId], Field(max_length=IDS_MAX)]


class HasVector(Body):
    """The point has this vector."""

    has_vector: Annotated[str, Field(max_length=64)]


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        for name in ("key", "is_empty", "is_null", "has_id", "has_vector"):
            if name in value:
                return name
        return "filter"
    return type(value).__name__  # a condition that came as an object already


Condition = Annotated[
    Annotated[FieldCondition, Tag("key")]
    | Annotated[IsEmpty, Tag("is_empty")]
    | Annotated[IsNull, Tag("is_null")]
    | Annotated[HasId, Tag("has_id")]
    | Annotated[HasVector, Tag("has_vector")]
    | Annotated["Filter", Tag("filter")],
    Discriminator(_kind),
]
Conditions = Annotated[list[Condition], Field(max_length=CONDITIONS_MAX)]


class MinShould(Body):
    """At least so many of these hold."""

    conditions: Annotated[list[Condition], Field(min_length=1, max_length=CONDITIONS_MAX)]
    min_count: Annotated[int, Field(ge=1, le=CONDITIONS_MAX)]


class Filter(Body):
    """All of must, one of should, none of must_not; a lone condition stands for a list of one."""

    must: Conditions | Condition | None = None
    should: Conditions | Condition | None = None
    must_not: Conditions | Condition | None = None
    min_should: MinShould | None = None


Indexes = Mapping[str, str]
"""Type of each payload index by field, e.g. `{"tenant": "keyword"}`."""


def engine_filter(given: Filter | None, indexes: Indexes, depth: int = 0) -> edge.Filter | None:
    """The filter as the engine takes it.

    Raises:
        WrongInput: a field has no fitting index, or the filter is nested too deeply.
    """
    if given is None:
        return None
    if depth >= DEPTH_MAX:
        raise WrongInput(f"Wrong input: a filter may be nested {DEPTH_MAX} deep")

    def converted(clause: "Conditions | Condition") -> list[Any]:
        return [_condition(one, indexes, depth) for one in (clause if isinstance(clause, list) else [clause])]

    least = given.min_should
    return edge.Filter(
        must=None if given.must is None else converted(given.must),
        should=None if given.should is None else converted(given.should),
        must_not=None if given.must_not is None else converted(given.must_not),
        min_should=least and edge.MinShould(converted(least.conditions), least.min_count),
    )


def _condition(given: Any, indexes: Indexes, depth: int) -> Any:
    match given:
        case Filter():
            return engine_filter(given, indexes, depth + 1)
        case HasId():
            return edge.HasIdCondition(set(given.has_id))
        case HasVector():
            return edge.HasVectorCondition(given.has_vector)
        case IsEmpty():
            _require_index(given.is_empty.key, indexes, ())
            return edge.IsEmptyCondition(given.is_empty.key)
        case IsNull():
            _require_index(given.is_null.key, indexes, ())
            return edge.IsNullCondition(given.is_null.key)
        case _:
            return _field_condition(given, indexes)


def _field_condition(given: FieldCondition, indexes: Indexes) -> edge.FieldCondition:
    key = given.key
    if given.match is not None:
        wanted, match = _match(given.match)
        _require_index(key, indexes, wanted)
        return edge.FieldCondition(key, match=match)
    if given.range is not None:
        _require_index(key, indexes, ("datetime",) if given.range.of_times else ("integer", "float"))
        bounds = edge.RangeDateTime if given.range.of_times else edge.RangeFloat
        return edge.FieldCondition(key, range=bounds(**_given(given.range)))
    _require_index(key, indexes, ())
    if given.values_count is not None:
        return edge.FieldCondition(key, values_count=edge.ValuesCount(**_given(given.values_count)))
    return edge.FieldCondition(key, is_empty=given.is_empty, is_null=given.is_null)


def _match(given: Match) -> tuple[tuple[str, ...], Any]:
    if given.text is not None:
        return ("text",), edge.MatchText(given.text)
    if given.phrase is not None:
        return ("text",), edge.MatchPhrase(given.phrase)
    if given.value is not None:
        return INDEXES_FOR_MATCH[type(given.value)], edge.MatchValue(given.value)
    if given.any is not None:
        return _indexes_for(given.any), edge.MatchAny(given.any)
    values = given.except_ or []
    return _indexes_for(values), edge.MatchExcept(values)


def _indexes_for(values: list[Any]) -> tuple[str, ...]:
    return INDEXES_FOR_MATCH[type(values[0])] if values else ()


def _require_index(key: str, indexes: Indexes, wanted: tuple[str, ...]) -> None:
    """Any index will do when no type is wanted."""
    present = indexes.get(key)
    if present is None or (wanted and present not in wanted):
        kinds = ", ".join(wanted) or "any"
        raise WrongInput(
            f"Bad request: Index required but not found for {key!r} of one of the following types: [{kinds}]. "
            "Help: Create an index for this key or use a different filter."
        )


def _given(body: Body) -> dict[str, Any]:
    return {name: getattr(body, name) for name in body.model_fields_set}
