"""Runs the evaluation flow in this process, recorded by the Prefect server, with a progress bar."""

import asyncio
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import typer

from flows.cli import console
from flows.cli.prompt_actions import serving_models
from flows.settings import FlowSettings
from registry.datasets import Datasets, Split
from registry.errors import InvalidInput
from registry.prompts.versions import parse_reference
from serving.prefect_events import PrefectUnavailable
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from flows.evaluate_prompt import Tell

HEALTH_TIMEOUT_S = 3.0


def run_flow(
    *,
    prompt: str,
    provider: str | None,
    dataset: str,
    split: Split | None,
    tenant: str | None,
    against: str | None,
    resume: str | None,
) -> dict[str, Any]:
    """Run `evaluate-prompt` here and give its outcome.

    Raises:
        PrefectUnavailable: there is no server to record the run.
        AssayError: what the flow raises.
    """
    settings = FlowSettings()
    parse_reference(prompt)  # a slip of the pen is found now, not after the seconds that Prefect takes to import
    Datasets(settings.home).get(dataset)
    _require_provider(provider)
    _require_prefect(settings.prefect_url)
    _configure_prefect(settings)
    from flows.evaluate_prompt import evaluate_prompt, progress

    with _progress_bars() as tell:
        progress.set(tell)
        return asyncio.run(
            evaluate_prompt(
                prompt=prompt,
                dataset=dataset,
                split=split,
                tenant=tenant,
                against=against,
                resume=resume,
                provider=provider,
            )
        )


def _require_provider(provider: str | None) -> None:
    """Refuse a provider that cannot be made: an unknown name, no key, no price."""
    from flows.wiring import measured_alone
    from serving.providers.vendors import PROVIDERS

    if provider is not None and provider not in PROVIDERS:
        raise InvalidInput(f"there is no provider {provider!r}; --provider takes one of: {', '.join(PROVIDERS)}")
    alone = measured_alone(ServingSettings(), provider)
    try:
        asyncio.run(serving_models(alone))
    except InvalidInput as error:
        raise InvalidInput(f"provider {alone.providers[0]!r} cannot be measured; {error.message}") from error


def _require_prefect(url: str) -> None:
    try:
        healthy = httpx.get(f"{url}/health", timeout=HEALTH_TIMEOUT_S, trust_env=False).is_success
    except httpx.HTTPError:
        healthy = False
    if not healthy:
        raise PrefectUnavailable(f"Prefect does not answer at {url}; run `assay up`, or set PREFECT_API_URL")


def _configure_prefect(settings: FlowSettings) -> None:
    """Prefect reads these when it is imported; without a URL it would start a server of its own."""
    os.environ.setdefault("PREFECT_API_URL", settings.prefect_url)
    os.environ.setdefault("PREFECT_HOME", str(settings.home / "prefect"))
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # the server keeps the log
    os.environ.setdefault("DO_NOT_TRACK", "1")


@contextmanager
def _progress_bars() -> "Generator[Tell]":
    """A bar for each version that is evaluated, and what fills them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from evaluation.run import Progress as Standing

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console.people) as bar:
        preparing = bar.add_task("preparing", total=None)
        bars: dict[str, TaskID] = {}

        def tell(evaluation: str, version: str, now: Standing) -> None:
            if not bars:
                bar.remove_task(preparing)
                console.note(f"evaluation {evaluation}; if it stops, go on with --resume {evaluation}")
            if version not in bars:
                bars[version] = bar.add_task(version, total=now.total)
            missing = f", {now.unscored} unscored" if now.unscored else ""
            bar.update(bars[version], completed=now.done, description=f"{version}{missing}")

        yield tell


def print_outcome(outcome: dict[str, Any]) -> None:
    """The outcome for people."""
    prompt, dataset = outcome["prompt"], outcome["dataset"]
    whose = f", tenant {outcome['tenant']!r} alone" if outcome["tenant"] else ""
    title = (
        f"{prompt['name']}/{prompt['version']} with {outcome['provider']} {outcome['model']} "
        f"on {dataset['name']} ({outcome['split'] or 'all'}, {outcome['questions']} questions{whose})"
    )
    compared = outcome["against"] is not None
    columns = ("metric", "mean", "95 % interval", "n", *(("production",) if compared else ()))
    rows = [
        (
            row["metric"],
            f"{row['value']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            row["n"],
            *((f"{row['production']:.3f}" if "production" in row else "",) if compared else ()),
        )
        for row in outcome["metrics"]
    ]
    console.print_table(title, columns, rows)
    typer.echo(f"verdict: {outcome['verdict']}")
    for reason in outcome["reasons"]:
        typer.echo(f"  {reason}")
    if outcome["unscored"]:
        typer.echo(f"  {len(outcome['unscored'])} unscored; go on with --resume {outcome['evaluation']}")
    if outcome["unresolved"]:
        typer.echo(f"  {len(outcome['unresolved'])} questions have quotes that no passage contains; ingest them anew?")
    typer.echo(f"evidence: {outcome['evidence'] or 'none, only split test makes some'}")
    typer.echo(f"run: {outcome['run']['url']}")
