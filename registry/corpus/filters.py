"""The filters that a caller may set, and the tenant filter that nobody may touch.

A caller's filter is ours, never the engine's own: only declared fields, only equality, membership and range, each value
checked. The tenant is added here and nowhere else, so there is one place to prove.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError
from qdrant_client import models

from registry.errors import InvalidInput
from registry.insights import FilterValue, Name, Range

FieldKind = Literal["keyword", "date"]
DECLARED_FIELDS: Final[Mapping[str, FieldKind]] = {
    "document": "keyword",
    "title": "keyword",
    "kind": "keyword",
    "language": "keyword",
    "date": "date",
}
"""What a document may be filtered by, and how. A date is written YYYY, YYYY-MM or YYYY-MM-DD and means the period."""

VALUES_MAX = 64
VALUE_CHARS_MAX = 500
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_TENANT = TypeAdapter[str](Name)
_MONTHS, _DAYS = 12, 31


def tenant_filter(tenant: str, filters: Mapping[str, FilterValue] | None = None) -> models.Filter:
    """The tenant's own passages, narrowed by the caller's filters.

    Raises:
        InvalidInput: an undeclared field, or a value that its field cannot have.
    """
    conditions: list[models.Condition] = [tenant_condition(tenant)]
    for field, value in (filters or {}).items():
        conditions.append(_condition(field, value))
    return models.Filter(must=conditions)


def tenant_condition(tenant: str) -> models.FieldCondition:
    """Passages of exactly this tenant.

    Raises:
        InvalidInput: the tenant is not a tenant's name.
    """
    try:
        name = _TENANT.validate_python(tenant, strict=True)
    except ValidationError as error:
        raise InvalidInput(f"{tenant!r} is no tenant's id; see `assay tenants list`") from error
    return models.FieldCondition(key="tenant", match=models.MatchValue(value=name))


def date_number(text: str) -> int | None:
    """Make a date sortable: 2026-05-31 is 20260531, 2026-05 is 20260500, 2026 is 20260000; None when it is no date."""
    period = _period(text)
    return period[0] if period else None


def _condition(field: str, value: FilterValue) -> models.Condition:
    if field == "tenant":
        raise InvalidInput("the tenant comes with the key and cannot be filtered; leave 'tenant' out of filters")
    kind = DECLARED_FIELDS.get(field)
    if kind is None:
        raise InvalidInput(f"no filter field {field!r}; declared are {', '.join(sorted(DECLARED_FIELDS))}")
    if kind == "date":
        return _date_condition(field, value)
    if isinstance(value, Range):
        raise InvalidInput(f"filter {field!r} takes a value or a list of values, not a range; ranges are for dates")
    texts = [_text(field, item) for item in _values(field, value)]
    return models.FieldCondition(key=field, match=models.MatchAny(any=texts))


def _date_condition(field: str, value: FilterValue) -> models.Condition:
    if isinstance(value, Range):
        if value.gte is None and value.lte is None:
            raise InvalidInput(f"the range of filter {field!r} needs gte or lte")
        low = None if value.gte is None else _dated(field, value.gte)[0]
        high = None if value.lte is None else _dated(field, value.lte)[1]
        return models.FieldCondition(key=field, range=models.Range(gte=low, lte=high))
    periods = [_dated(field, item) for item in _values(field, value)]
    return models.Filter(
        should=[models.FieldCondition(key=field, range=models.Range(gte=low, lte=high)) for low, high in periods]
    )


def _values(field: str, value: str | float | Sequence[str | float]) -> list[str | float]:
    values = list(value) if isinstance(value, list) else [value]
    if not 1 <= len(values) <= VALUES_MAX:
        raise InvalidInput(f"filter {field!r} takes 1 to {VALUES_MAX} values, not {len(values)}")
    return [item for item in values if isinstance(item, (str, int, float))]


def _text(field: str, value: str | float) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= VALUE_CHARS_MAX:
        raise InvalidInput(f"filter {field!r} takes text of 1 to {VALUE_CHARS_MAX} characters, not {str(value)[:40]!r}")
    return value


def _dated(field: str, value: str | float) -> tuple[int, int]:
    whole = isinstance(value, float) and value.is_integer()  # a year in a range arrives as 2026.0
    period = _period(str(int(value) if whole else value))
    if period is None:
        raise InvalidInput(f"filter {field!r} takes YYYY, YYYY-MM or YYYY-MM-DD, not {str(value)[:40]!r}")
    return period


def _period(text: str) -> tuple[int, int] | None:
    """First and last sortable number of the period that a date names."""
    found = _DATE.fullmatch(text)
    if not found:
        return None
    year, month, day = (int(part) if part else None for part in found.groups())
    if year is None or (month is not None and not 1 <= month <= _MONTHS) or (day is not None and not 1 <= day <= _DAYS):
        return None
    low = year * 10_000 + (month or 0) * 100 + (day or 0)
    span = 0 if day else 99 if month else 9_999
    return low, low + span
