"""`assay ingest`: a tenant's files become passages that answers can cite."""

from pathlib import Path
from typing import Annotated, Any

import typer

LINES_MAX = 200
"""Problem lines shown to people; `--json` has them all."""


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or directories: md txt html csv pdf.")],
    tenant: Annotated[str, typer.Option(help="Whose documents these are.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Bring a tenant's passages in line with its files; unchanged files are skipped, vanished ones removed.

    Exit 1 when a file could not be read; the others are searchable then all the same.
    """
    import asyncio

    from flows.cli import console

    report = asyncio.run(_ingest(paths, tenant))
    if as_json:
        console.print_json(report)
    else:
        _print(report)
    if report["failed"]:
        raise typer.Exit(1)


async def _ingest(paths: list[Path], tenant: str) -> dict[str, Any]:
    """The report as JSON would show it."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flows.cli.console import people
    from flows.settings import FlowSettings
    from registry.corpus.collection import Corpus
    from registry.corpus.ingest import IngestProgress, ingest
    from registry.database import open_database
    from registry.embedding import load_embedder

    settings = FlowSettings()
    database = open_database(settings.database_url)
    corpus = Corpus(settings.qdrant_url, settings.engine_key, load_embedder())
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=people, transient=True) as bar:
            task = bar.add_task("reading", total=None)

            def show(step: IngestProgress) -> None:
                bar.update(task, total=step.total, completed=step.done, description=escape(step.document[-60:]))

            report = await ingest(corpus, database, tenant, paths, show)
            return report.model_dump(mode="json")
    finally:
        await corpus.aclose()
        database.close()


def _print(report: dict[str, Any]) -> None:
    from flows.cli import console

    counts = [report[name] for name in ("added", "updated", "unchanged", "removed", "passages")]
    problems = [*report["failed"], *report["skipped"]]
    console.print_table(
        f"Documents of {report['tenant']}",
        ("added", "updated", "unchanged", "removed", "passages written", "failed", "skipped"),
        [(*counts, len(report["failed"]), len(report["skipped"]))],
    )
    for line in problems[:LINES_MAX]:
        console.note(f"{line['path']}: {line['problem']}")
    if len(problems) > LINES_MAX:
        console.note(f"and {len(problems) - LINES_MAX} more; --json lists them all")
