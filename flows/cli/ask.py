"""`assay ask`: a question to the running API, the insight as a page or as JSON."""

from typing import Annotated, Any

import typer


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    tenant: Annotated[str, typer.Option(help="Whose documents answer.")],
    use_case: Annotated[str, typer.Option(help="Which prompt and policy.")] = "insights",
    as_json: Annotated[bool, typer.Option("--json", help="The whole insight as JSON.")] = False,
) -> None:
    """Ask a question and print the cited, priced and sealed answer."""
    from flows.api_client import ApiClient
    from flows.cli import console
    from flows.settings import FlowSettings

    with ApiClient.from_settings(FlowSettings()) as api:
        insight = api.ask(question, tenant=tenant, use_case=use_case)
    if as_json:
        console.print_json(insight)
    else:
        print_insight(question, insight)


def print_insight(question: str, insight: dict[str, Any]) -> None:
    """Print an insight for people: answer, claims with their evidence, and the bill."""
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    documents = {passage["id"]: passage["document"] for passage in insight["passages"] or []}
    lines: list[Text] = [Text(insight["answer"] or f"({insight['status']})", style="bold"), Text()]
    for number, claim in enumerate(insight["claims"] or [], start=1):
        mark, style = ("✓", "green") if claim["grounded"] else ("?", "yellow")
        lines.append(Text.assemble((f"{mark} [{number}] ", style), claim["text"]))
        for evidence in claim["evidence"]:
            source = documents.get(evidence["id"], evidence["id"])
            lines.append(Text(f"      {source}: “{evidence['quote']}”", style="dim"))
    prompt, provider, audit = insight["prompt"], insight["provider"], insight["audit"]
    free = " (own hardware, no vendor bill)" if float(insight["cost_usd"]) == 0 else ""
    lines.append(Text())
    lines.append(
        Text(
            f"prompt {prompt['name']}/{prompt['version']} @{prompt['alias']} · "
            f"{provider['name']} {provider['model']} · "
            f"cost {insight['cost_usd']} USD{free} · audit {audit['log']}:{audit['index']} · {insight['id']}",
            style="dim",
        )
    )
    Console().print(Panel(Group(*lines), title=Text(question), title_align="left", padding=(1, 2)))
