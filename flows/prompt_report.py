"""How the versions of a prompt do in use, gathered from the registry and shown to machines and people."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitoring.intervals import Estimate
from monitoring.prompt_performance import FIGURES, Performance, by_day, by_version
from registry.database import Database
from registry.errors import JsonValue
from registry.prompt_outcomes import newest_evaluations, read_outcomes
from registry.prompts.evaluations import QUESTIONS
from registry.prompts.evidence import Evidence
from registry.rollups import DAY_MS

DAYS = 30
"""Days that are looked back, today included."""
QUALITY = "answer_right"
"""The metric of an evaluation that stands for its quality."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionReport:
    """One version of a prompt in use."""

    whole: Performance
    """Over all days."""
    days: tuple[Performance, ...]
    """The newest first."""
    evaluations: tuple[Evidence, ...]
    """The newest with each model."""


def look(
    database: Database, name: str | None = None, days: int = DAYS, clock: Callable[[], float] = time.time
) -> tuple[VersionReport, ...]:
    """Every version that was called in the last days, in UTC, the newest version of each prompt first.

    Args:
        database: the registry.
        name: of one prompt; None: of all.
        days: how many, today included; at least 1.
        clock: seconds since the epoch.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    now_ms = int(clock() * 1000)
    outcomes = read_outcomes(database, now_ms // DAY_MS * DAY_MS - (days - 1) * DAY_MS, now_ms + 1, name)
    each_day: defaultdict[tuple[str, int], list[Performance]] = defaultdict(list)
    for line in by_day(outcomes):
        each_day[line.name, line.version].append(line)
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for prompt, version in each_day:
        versions[prompt].append(version)
    evaluated = {prompt: newest_evaluations(database, prompt, numbers) for prompt, numbers in versions.items()}
    return tuple(
        VersionReport(
            whole=whole,
            days=tuple(each_day[whole.name, whole.version]),
            evaluations=evaluated[whole.name].get(whole.version, ()),
        )
        for whole in by_version(outcomes)
    )


def document(reports: Iterable[VersionReport]) -> list[dict[str, JsonValue]]:
    """The versions for machines; a limit that the data do not set is null."""
    return [
        {
            "prompt": report.whole.name,
            "version": report.whole.version,
            "first_day": day_of(report.whole),
            "calls": report.whole.calls,
            "figures": _figures(report.whole),
            "evaluations": [_evaluation(each) for each in report.evaluations],
            "days": [{"day": day_of(day), "calls": day.calls, "figures": _figures(day)} for day in report.days],
        }
        for report in reports
    ]


def shown(figure: Estimate | None) -> str:
    """A figure with its interval, e.g. `0.91 (0.88 to 0.93)`."""
    if figure is None:
        return ""
    return f"{_number(figure.value)} ({_number(figure.low)} to {_number(figure.high)})"


def quality(report: VersionReport) -> str:
    """The newest evaluations for people."""
    return "; ".join(
        f"{each.verdict} with {each.provider} {each.model}{_quality(quality_of(each))}" for each in report.evaluations
    )


def quality_of(evaluation: Evidence) -> Estimate | None:
    """The share of right answers that an evaluation found; None when it measured none."""
    details = evaluation.details
    metrics, intervals = details.get("metrics"), details.get("intervals")
    value = metrics.get(QUALITY) if isinstance(metrics, dict) else None
    if not isinstance(value, int | float):
        return None
    interval = intervals.get(QUALITY) if isinstance(intervals, dict) else None
    match interval:
        case [int() | float() as low, int() | float() as high, int() as n]:
            return Estimate(value=value, low=low, high=high, n=n)
        case _:  # evidence that was made before intervals were stored
            asked = details.get(QUESTIONS)
            n = asked if isinstance(asked, int) and not isinstance(asked, bool) else 0
            return Estimate(value=value, low=-math.inf, high=math.inf, n=n)


def markdown(reports: Sequence[VersionReport], days: int = DAYS) -> str:
    """The versions for people, as Prefect and MLflow show them."""
    lines = [f"Calls of the last {days} days that tenants paid for, with 95 % intervals.", ""]
    for report in reports:
        whole = report.whole
        lines += [f"### {whole.name}/{whole.version}: {whole.calls} calls since {day_of(whole)}", ""]
        lines += ["| figure | of | value | interval | n |", "|---|---|---|---|---|"]
        lines += [_row(name, each) for name, each in whole.figures.items()]
        if report.evaluations:
            lines += ["", f"Newest evaluation: {quality(report)}."]
        lines.append("")
    return "\n".join(lines if reports else [*lines, "No prompt version was called."])


def day_of(line: Performance) -> str:
    """The first day of a line, e.g. 2026-11-23."""
    return datetime.fromtimestamp(line.from_ms / 1000, UTC).date().isoformat()


def _quality(figure: Estimate | None) -> str:
    """The share of right answers with its interval and its n, as far as they were recorded."""
    if figure is None:
        return ""
    value = shown(figure) if math.isfinite(figure.low) or math.isfinite(figure.high) else _number(figure.value)
    return f", {QUALITY} {value}{f', n {figure.n}' if figure.n else ''}"


def _row(name: str, each: Estimate) -> str:
    return (
        f"| {name} | {FIGURES[name]} | {_number(each.value)} | {_number(each.low)} to {_number(each.high)} | {each.n} |"
    )


def _figures(line: Performance) -> dict[str, JsonValue]:
    return {name: _figure(each) for name, each in line.figures.items()}


def _figure(each: Estimate) -> dict[str, JsonValue]:
    return {"value": each.value, "low": _finite(each.low), "high": _finite(each.high), "n": each.n}


def _evaluation(each: Evidence) -> dict[str, JsonValue]:
    figure = quality_of(each)
    return {
        "provider": each.provider,
        "model": each.model,
        "verdict": each.verdict,
        "dataset": each.dataset,
        QUALITY: None if figure is None else _figure(figure),
        "run_id": each.run_id,
        "evidence": each.id,
    }


def _finite(limit: float) -> float | None:
    return limit if math.isfinite(limit) else None


def _number(value: float) -> str:
    """Four digits that count; `?` for a limit that the data do not set."""
    return f"{value:.4g}" if math.isfinite(value) else "?"
