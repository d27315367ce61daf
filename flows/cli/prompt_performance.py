"""`assay prompts performance`: how each version of a prompt does in use."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.prompt_report import VersionReport

VERSIONS_SHOWN = 5
"""Newest versions that stand beside each other; `--json` has all."""


def performance(
    name: Annotated[str, typer.Argument(help="The prompt.", show_default=False)],
    days: Annotated[int, typer.Option(help="Days to look back, today included, in UTC.", min=1, max=400)] = 30,
    figure: Annotated[
        str | None, typer.Option(help="Show this figure day by day, e.g. grounded; without it all over all days.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Ratings, grounded share, cost, tokens, latency and block rate of each version in use, with 95 % intervals."""
    from contextlib import closing

    from flows.cli import console
    from flows.cli.prompt_actions import policies_about
    from flows.prompt_report import document, look
    from flows.settings import FlowSettings
    from monitoring.prompt_performance import FIGURES
    from registry.database import open_database
    from registry.errors import InvalidInput
    from registry.prompts.versions import require_valid

    require_valid(name)
    if figure is not None and figure not in FIGURES:
        raise InvalidInput(f"there is no figure {figure!r}; choose one of {', '.join(FIGURES)}")
    with closing(open_database(FlowSettings().database_url)) as database:
        reports = look(database, name, days)
    if not reports:
        policies_about(name)  # nobody can call a prompt that serves nowhere: most likely the name is wrong
    if as_json:
        console.print_json({"prompt": name, "days": days, "versions": document(reports)})
    elif figure is None:
        _print_versions(f"{name}, the last {days} days", reports[:VERSIONS_SHOWN])
    else:
        _print_days(f"{figure} of {name} ({FIGURES[figure]})", figure, reports[:VERSIONS_SHOWN])


def _print_versions(title: str, reports: Sequence["VersionReport"]) -> None:
    from flows.cli import console
    from flows.prompt_report import day_of, quality, shown
    from monitoring.prompt_performance import FIGURES

    rows: list[list[str]] = []
    if reports:
        rows = [
            ["calls", *(str(report.whole.calls) for report in reports)],
            ["since", *(day_of(report.whole) for report in reports)],
            *([name, *(shown(report.whole.figures.get(name)) for report in reports)] for name in FIGURES),
            ["evaluated", *(quality(report) for report in reports)],
        ]
    console.print_table(title, ("figure", *(f"version {report.whole.version}" for report in reports)), rows)


def _print_days(title: str, figure: str, reports: Sequence["VersionReport"]) -> None:
    from flows.cli import console
    from flows.prompt_report import day_of, shown

    by_day = [{day_of(day): shown(day.figures.get(figure)) for day in report.days} for report in reports]
    days = sorted({day for each in by_day for day in each}, reverse=True)
    rows = [[day, *(each.get(day, "") for each in by_day)] for day in days]
    console.print_table(title, ("day", *(f"version {report.whole.version}" for report in reports)), rows)
