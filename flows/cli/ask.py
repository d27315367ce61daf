"""`assay ask`: a question to the running API, the insight as a page or as JSON; on a terminal, while it is written."""

from typing import Annotated

import typer


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    tenant: Annotated[str, typer.Option(help="Whose documents answer.")],
    use_case: Annotated[str, typer.Option(help="Which prompt and policy.")] = "insights",
    deadline_s: Annotated[
        float | None, typer.Option(min=0.001, max=120, help="Seconds to wait; API's default 30.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Whom it is about; their questions meet one arm of an experiment.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="The same for questions without a subject.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole insight as JSON.")] = False,
) -> None:
    """Ask a question and print the cited, priced and sealed answer."""
    from flows.api_client import ApiClient
    from flows.cli import console
    from flows.cli.insight_page import print_insight, writing
    from flows.settings import FlowSettings

    with ApiClient.from_settings(FlowSettings()) as api:
        if as_json or not console.output().is_terminal:
            insight = api.ask(
                question, tenant=tenant, use_case=use_case, deadline_s=deadline_s, subject=subject, session=session
            )
        else:
            with writing(question) as on_text:
                insight = api.ask(
                    question,
                    tenant=tenant,
                    use_case=use_case,
                    deadline_s=deadline_s,
                    subject=subject,
                    session=session,
                    on_text=on_text,
                )
    if as_json:
        console.print_json(insight.model_dump(mode="json"))
    else:
        print_insight(question, insight)
