"""`assay providers`: how the language models behind the API are."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

app = typer.Typer(name="providers", help="How the language models behind the API are.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

COLUMNS = ("#", "provider", "model", "state", "calls", "failed", "p50 ms", "p95 ms", "first byte p95 ms", "remarks")


@app.callback()
def providers() -> None:
    """How the language models behind the API are."""


@app.command("list")
def list_providers(as_json: Json = False) -> None:
    """Show each provider in the order in which it is asked; needs a platform key of role `ops` or `admin`."""
    from flows.api_client import ApiClient
    from flows.cli import console
    from flows.settings import FlowSettings

    with ApiClient.from_settings(FlowSettings()) as api:
        items = api.providers()
    if as_json:
        console.print_json(items)
    else:
        console.print_table("Providers", COLUMNS, [_row(item) for item in items])


def _row(item: Mapping[str, Any]) -> list[object]:
    window, latency = item["window"], item["latency"]
    return [
        item["position"],
        item["provider"],
        item["model"],
        item["state"],
        window["calls"],
        window["failed"],
        latency["p50_ms"],
        latency["p95_ms"],
        item["first_byte"]["p95_ms"],
        "; ".join(_remarks(item)),
    ]


def _remarks(item: Mapping[str, Any]) -> list[str]:
    remarks: list[str] = []
    if (wait_s := item["retry_after_s"]) is not None:
        remarks.append(f"left alone for {wait_s:.0f} s")
    if error := item["last_error"]:
        remarks.append(f"last error {error['kind']} at {error['at']}")
    if changed := item["model_changed"]:
        remarks.append(f"answers as {item['answering_model']} instead of {changed['from']} since {changed['at']}")
    remarks += [
        f"{alarm['kind']} ({alarm['severity']}) since {alarm['opened_at']}" for alarm in item.get("alarms") or ()
    ]
    remarks += [
        f"skipped for {each['prompt']}/{each['version']}: run `{'`, then `'.join(each['commands'])}`"
        for each in item.get("skipped_for") or ()
    ]
    return remarks
