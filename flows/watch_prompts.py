"""The flow `watch-prompts`: how each prompt version does in use, in MLflow beside the version and in Prefect."""

import asyncio
import math
import re
from collections.abc import Sequence
from contextlib import closing

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from flows.prompt_report import DAYS, QUALITY, VersionReport, day_of, document, look, markdown, quality_of, shown
from flows.settings import FlowSettings
from monitoring.intervals import Estimate
from monitoring.prompt_performance import FIGURES, Performance
from registry.database import open_database
from registry.errors import JsonValue
from registry.rollups import DAY_MS
from registry.runs import RunReport, Runs, RunsUnavailable

EXPERIMENT = "assay-performance"
"""Where MLflow keeps the lasting runs, one a version."""
RUNS_MAX = 50
"""Newest versions whose runs are gone on with at once."""


@flow(name="watch-prompts", persist_result=False)
async def watch_prompts() -> dict[str, JsonValue]:
    """Gather what came of each version's calls, day by day, and write it back.

    Raises:
        DatabaseUnavailable: the registry's database does not answer.
        RunsUnavailable: MLflow does not take the runs; the artifacts are there, and the next look writes them.
    """
    settings = FlowSettings()
    reports = await asyncio.to_thread(_look, settings)
    get_run_logger().info("%d versions were called in the last %d days", len(reports), DAYS)
    await acreate_markdown_artifact(markdown(reports), key="prompts", description=f"The last {DAYS} days")
    for prompt in dict.fromkeys(report.whole.name for report in reports):
        key = f"prompts-{re.sub(r'[^a-z0-9]+', '-', prompt)}-by-day"
        await acreate_table_artifact(table([each for each in reports if each.whole.name == prompt]), key=key)
    runs = Runs(settings.mlflow_access, EXPERIMENT)
    urls: dict[str, JsonValue] = {}
    failed: RunsUnavailable | None = None
    for report in reports[:RUNS_MAX]:
        try:
            logged = await asyncio.to_thread(write_back, runs, report)
            urls[f"{report.whole.name}/{report.whole.version}"] = logged
        except RunsUnavailable as error:
            failed = error
    if failed is not None:
        raise failed
    return {"days": DAYS, "versions": [*document(reports)], "runs": urls}


def _look(settings: FlowSettings) -> tuple[VersionReport, ...]:
    with closing(open_database(settings.database_url)) as database:
        return look(database)


def write_back(runs: Runs, report: VersionReport) -> str:
    """Go on with the version's run, and give its page; a metric's step is the day, counted from 1970-01-01.

    Raises:
        RunsUnavailable: MLflow does not take the run.
    """
    whole = report.whole
    about = f"{whole.name}/{whole.version}"
    steps = {day.from_ms // DAY_MS: metrics(day) for day in report.days}
    for evaluation in reversed(report.evaluations):  # the newest is written last and stands
        quality = quality_of(evaluation)
        if quality is not None:
            named = _named(f"{QUALITY}_{evaluation.provider}", quality)
            steps.setdefault(evaluation.created_ms // DAY_MS, {}).update(named)
    lasting = RunReport(
        name=f"{about} in use",
        prompt=(whole.name, whole.version),
        parameters={"prompt": about},
        tables={"days.json": table([report])},
        description=markdown([report]),
    )
    return runs.log_steps(about, lasting, steps).url


def metrics(line: Performance) -> dict[str, float]:
    """A period's figures with their limits, as far as the data set any."""
    found = {"calls": float(line.calls)}
    for name, figure in line.figures.items():
        found |= _named(name, figure)
    return found


def _named(name: str, figure: Estimate) -> dict[str, float]:
    values = {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return {key: value for key, value in values.items() if math.isfinite(value)}


def table(reports: Sequence[VersionReport]) -> list[dict[str, JsonValue]]:
    """One line for each version and day, the newest day first, for people."""
    lines = [(day.from_ms, report.whole.version, day) for report in reports for day in report.days]
    return [
        {
            "day": day_of(day),
            "version": version,
            "calls": day.calls,
            **{name: shown(day.figures.get(name)) for name in FIGURES},
        }
        for _, version, day in sorted(lines, key=lambda line: (-line[0], -line[1]))
    ]
