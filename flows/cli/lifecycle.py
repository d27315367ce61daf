"""`assay up | down | status | doctor | serve`: the platform on this machine."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def up(
    bare: Annotated[bool, typer.Option("--bare", help="Only the parts: no sample tenant, no evaluation.")] = False,
    as_json: Json = False,
) -> None:
    """Start MLflow, Prefect, the vector engine and the API; on the first run also the sample tenant."""
    from flows.cli import console
    from flows.cli.first_pass import FirstPass
    from flows.cli.platform_checks import evidence_checks
    from flows.cli.preflight import api_settings, require_startable
    from flows.cli.progress import UpProgress
    from infra.local.settings import LocalSettings
    from infra.local.supervisor import Platform

    settings = LocalSettings()
    serving = api_settings(settings)
    require_startable(serving)
    platform = Platform(settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside is ended in good order, too
    tour = FirstPass(settings, sample=not bare)
    try:
        with UpProgress() as progress:
            platform.up(tour.steps(), progress.report)
    except KeyboardInterrupt:
        console.note("interrupted; what this call had started is stopped again")
        raise typer.Exit(130) from None
    lines = [line.as_dict() for line in platform.status()]
    warnings = [check.message for check in evidence_checks(serving) if check.state != "ok"]
    if "promotion" in platform.failures:
        warnings.clear()  # its failure says the same
    if as_json:
        insight = tour.insight and tour.insight.model_dump(mode="json")
        console.print_json({"parts": lines, "insight": insight, "failures": platform.failures, "warnings": warnings})
    else:
        _print_status(lines)
        tour.print_insight()
        _print_what_next(settings.root, settings.api_url)
    for warning in warnings:
        console.warn(warning)
    if platform.failures:
        console.fail("; ".join(f"{name}: {reason}" for name, reason in platform.failures.items()))
        raise typer.Exit(1)


def down(as_json: Json = False) -> None:
    """Stop what `assay up` started here, and nothing else; data stays in home."""
    from flows.cli import console
    from infra.local.settings import LocalSettings
    from infra.local.supervisor import Platform

    stopped = Platform(LocalSettings()).down(lambda name, _state, detail: console.note(f"  {name}: {detail}"))
    if as_json:
        console.print_json({"stopped": stopped})
    elif not stopped:
        console.note("nothing was running")


def status(as_json: Json = False) -> None:
    """Show how every part is right now, and what the API says of itself; exit 3 when a part or dependency is down.

    `degraded`: answers go on, and somebody should look; `assay doctor` says more, and ends with 1.
    """
    from flows.cli import console
    from flows.cli.platform_checks import ask_readiness
    from infra.local.settings import LocalSettings
    from infra.local.supervisor import Platform

    lines = [line.as_dict() for line in Platform(LocalSettings()).status()]
    readiness = ask_readiness()
    if as_json:
        told = {"status": readiness.status, "dependencies": readiness.dependencies}
        console.print_json({"parts": lines, "readiness": told})
    else:
        _print_status(lines)
        typer.echo(f"API: {'; '.join((readiness.status, *readiness.troubles))}")
    if not readiness.answers or any(line["state"] not in {"running", "external"} for line in lines):
        raise typer.Exit(3)


def doctor(as_json: Json = False) -> None:
    """Check this machine and the running platform; exit 1 when something needs attention."""
    from rich.text import Text

    from flows.cli import console
    from flows.cli.platform_checks import platform_checks
    from flows.cli.preflight import api_settings
    from infra.local.doctor import machine_checks
    from infra.local.settings import LocalSettings

    settings = LocalSettings()
    checks = [*machine_checks(settings), *platform_checks(api_settings(settings))]
    if as_json:
        console.print_json({"checks": [check.as_dict() for check in checks]})
    else:
        styles = {"ok": "green", "warning": "yellow", "failed": "red"}
        console.print_table(
            "Doctor",
            ("check", "state", "what it means"),
            [(check.name, Text(check.state, styles[check.state]), check.message) for check in checks],
        )
    if any(check.state != "ok" for check in checks):
        raise typer.Exit(1)


def serve(
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Instead of ASSAY_API_PORT.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
) -> None:
    """Run the API in the foreground."""
    from flows.settings import FlowSettings
    from serving.server import run

    FlowSettings()  # a setting that only the flows read is as wrong here as there
    run(port=port, workers=workers)


def _print_what_next(home: Path, api_url: str) -> None:
    from flows.cli import console
    from flows.cli.first_pass import SAMPLE_TENANT

    here = Path(sys.executable).parent / "assay"
    assay = "assay" if shutil.which("assay") else os.path.relpath(here)
    console.note(f"\nAdmin key: {home / 'keys' / 'admin'}   API description: {api_url}/openapi.json")
    console.note(f"Next: {assay} ask QUESTION --tenant {SAMPLE_TENANT}   ·   {assay} status   ·   {assay} down")


def _print_status(lines: list[dict[str, str | int | None]]) -> None:
    from rich.text import Text

    from flows.cli import console

    styles = {"running": "green", "external": "green", "stopped": "yellow"}
    console.print_table(
        "Assay",
        ("part", "state", "pid", "url", "log"),
        [
            (line["name"], Text(str(line["state"]), styles.get(str(line["state"]), "red")), *list(line.values())[2:])
            for line in lines
        ],
    )
