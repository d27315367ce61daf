"""An insight for people: the answer, its claims with their evidence, and the bill."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from flows.cli.console import output
from registry.insights import Insight


def print_insight(question: str, insight: Insight) -> None:
    """Print one insight on standard output."""
    documents = {passage.id: passage.document for passage in insight.passages or []}
    lines = [Text(insight.answer or f"({insight.status})", style="bold"), Text()]
    for number, claim in enumerate(insight.claims or [], start=1):
        mark, style = ("✓", "green") if claim.grounded else ("?", "yellow")
        lines.append(Text.assemble((f"{mark} [{number}] ", style), claim.text))
        lines += [
            Text(f"      {documents.get(evidence.id, evidence.id)}: “{evidence.quote}”", style="dim")
            for evidence in claim.evidence
        ]
    lines += [Text(), Text(_seal(insight), style="dim")]
    output().print(_page(question, Group(*lines)))


@contextmanager
def writing(question: str) -> Generator[Callable[[str], None]]:
    """Show an answer while it is written; gives what takes its pieces, and leaves the place to the whole page."""
    answer = Text(style="bold")
    with Live(_page(question, answer), console=output(), transient=True) as live:

        def show(piece: str) -> None:
            answer.append(piece)
            live.update(_page(question, answer))

        yield show


def _page(question: str, content: RenderableType) -> Panel:
    return Panel(content, title=Text(question), title_align="left", padding=(1, 2))


def _seal(insight: Insight) -> str:
    prompt, provider, audit = insight.prompt, insight.provider, insight.audit
    free = " (own hardware, no vendor bill)" if float(insight.cost_usd) == 0 else ""
    return (
        f"prompt {prompt.name}/{prompt.version} @{prompt.alias} · {provider.name} {provider.model} · "
        f"cost {insight.cost_usd} USD{free} · audit {audit.log}:{audit.index} · {insight.id}"
    )
