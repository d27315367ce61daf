"""States what a series says: a passed metric, or a column of a table that two asked periods compare.

A metric gives its reading in the asked period, its extreme, or its change from first to last; a column its change
between the two rows. A change names both readings, so that it can be checked.
"""

import re
from collections.abc import Sequence

from registry.claims import DraftClaim
from registry.figures import figures
from registry.insights import MetricPoint, MetricSeries
from registry.periods import Period, periods
from serving.providers.relevance import Scored
from serving.words import content_words

METRICS_STATED_MAX = 2
NAME_CHARS_MAX = 80
_ENDS = ("first", "last")
_NAMES_THE_PASSED = re.compile(
    r"\b(?:passed|given|these|this|attached) (?:\w+ )?(?:series|metrics?|readings)\b", re.IGNORECASE
)
_ASKS_CHANGE = re.compile(
    r"\b(?:by how|chang\w*|differ\w*|compare\w*|develop\w*|grow\w*|grew|r[io]se|fell|fall|drop\w*|increas\w*|"
    r"decreas\w*|more|fewer|less|veränder\w*|gestiegen|gesunken|évolu\w*|chang\w*)\b",
    re.IGNORECASE,
)
_ASKS_HIGHEST = re.compile(r"\b(?:highest|most|best|peak|maximum|max|largest|höchste\w*|maximal\w*)\b", re.IGNORECASE)
_ASKS_LOWEST = re.compile(r"\b(?:lowest|least|worst|minimum|min|smallest|niedrigste\w*|minimal\w*)\b", re.IGNORECASE)


def about_metrics(question: str, metrics: Sequence[MetricSeries]) -> tuple[DraftClaim, ...]:
    """Claims on the metrics that the question names by a word of their name or as passed, in order, at most two."""
    asked = set(content_words(question))
    passed = _NAMES_THE_PASSED.search(question) is not None
    named = [
        (number, series)
        for number, series in enumerate(metrics, 1)
        if passed or asked & set(content_words(_spoken(series.name)))
    ]
    return tuple(
        DraftClaim(text=_statement(question, series), citations=(f"M{number}",))
        for number, series in named[:METRICS_STATED_MAX]
    )


def about_columns(question: str, ranked: Sequence[Scored]) -> tuple[DraftClaim, ...]:
    """The change of the best-scored table column between two asked periods; nothing when either row is missing."""
    wanted = [period for period in periods(question) if period.unit in {"date", "quarter"}]
    best = next((item.candidate.cell for item in ranked if item.candidate.cell is not None), None)
    if len(wanted) != len(_ENDS) or best is None or not _ASKS_CHANGE.search(question):
        return ()
    ends: list[tuple[MetricPoint, int]] = []
    for period in wanted:
        for item in ranked:
            cell = item.candidate.cell
            if cell is None or cell.column != best.column or not any(period.covers(at) for at in periods(cell.row)):
                continue
            figure = next(iter(figures(cell.value)), None)
            if figure is not None and figure.period is None:
                ends.append((MetricPoint(t=cell.row.rjust(4), value=float(figure.value)), item.candidate.passage + 1))
                break
    if len(ends) != len(_ENDS):
        return ()
    series = MetricSeries(name=best.column[:NAME_CHARS_MAX], points=[point for point, _ in ends])
    labels = dict.fromkeys(f"P{label}" for _, label in ends)
    return (DraftClaim(text=_change(series.name, series, *series.points), citations=tuple(labels)),)


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
    return _change(name, series, first, last)


def _change(name: str, series: MetricSeries, first: MetricPoint, last: MetricPoint) -> str:
    """Both readings, then their difference and its share of the first."""
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
    return f"{_number(point.value)}{_unit(series)} in {point.t.strip()}"


def _unit(series: MetricSeries) -> str:
    unit = series.unit.strip()
    return f" {unit}" if unit and unit != "count" else ""


def _number(value: float) -> str:
    """With thousands parted, and the decimals that it has, at most six."""
    whole = round(value, 6)
    return f"{int(whole):,}" if whole == int(whole) else f"{whole:,.6f}".rstrip("0")


def _spoken(name: str) -> str:
    return name.replace("_", " ")
