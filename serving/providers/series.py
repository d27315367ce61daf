"""States what a passed metric says: its latest reading, its change, its reading in the period that is asked for."""

import re
from collections.abc import Sequence

from registry.claims import DraftClaim
from registry.insights import MetricPoint, MetricSeries
from registry.periods import Period, periods
from serving.words import content_words

METRICS_STATED_MAX = 2
_ASKS_HIGHEST = re.compile(r"\b(?:highest|most|best|peak|maximum|max|largest|höchste\w*|maximal\w*)\b", re.IGNORECASE)
_ASKS_LOWEST = re.compile(r"\b(?:lowest|least|worst|minimum|min|smallest|niedrigste\w*|minimal\w*)\b", re.IGNORECASE)


def about_metrics(question: str, metrics: Sequence[MetricSeries]) -> tuple[DraftClaim, ...]:
    """Claims on the metrics that the question names by a word of their name, in their order, at most two."""
    asked = set(content_words(question))
    named = [
        (number, series) for number, series in enumerate(metrics, 1) if asked & set(content_words(_spoken(series.name)))
    ]
    return tuple(
        DraftClaim(text=_statement(question, series), citations=(f"M{number}",))
        for number, series in named[:METRICS_STATED_MAX]
    )


def _statement(question: str, series: MetricSeries) -> str:
    wanted = [point for period in periods(question) for point in series.points if _within(point, period)]
    name = _spoken(series.name)
    if len(wanted) == 1:
        return f"{name} was {_reading(wanted[0], series)}."
    points = wanted or series.points
    if _ASKS_HIGHEST.search(question):
        return f"The highest {name} was {_reading(max(points, key=lambda point: point.value), series)}."
    if _ASKS_LOWEST.search(question):
        return f"The lowest {name} was {_reading(min(points, key=lambda point: point.value), series)}."
    first, last = points[0], points[-1]
    if first is last:
        return f"{name} was {_reading(last, series)}."
    if first.value == last.value:
        return f"{name} was {_reading(first, series)} and again {_reading(last, series)}."
    difference = last.value - first.value
    verb = "rose" if difference > 0 else "fell"
    change = f"{name} {verb} from {_reading(first, series)} to {_reading(last, series)}"
    by = f"a difference of {_number(abs(difference))}{_unit(series)}"
    percent = f" ({abs(difference) / abs(first.value):.1%})" if first.value else ""
    return f"{change}, {by}{percent}."


def _within(point: MetricPoint, period: Period) -> bool:
    return any(period.covers(known) for known in periods(point.t)) or (
        period.unit == "date" and point.t.startswith(period.digits)
    )


def _reading(point: MetricPoint, series: MetricSeries) -> str:
    return f"{_number(point.value)}{_unit(series)} in {point.t}"


def _unit(series: MetricSeries) -> str:
    unit = series.unit.strip()
    return f" {unit}" if unit and unit != "count" else ""


def _number(value: float) -> str:
    """With thousands parted, and the decimals that it has, at most six."""
    whole = round(value, 6)
    return f"{int(whole):,}" if whole == int(whole) else f"{whole:,.6f}".rstrip("0")


def _spoken(name: str) -> str:
    return name.replace("_", " ")
