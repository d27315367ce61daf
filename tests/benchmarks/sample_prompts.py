"""The sample prompts with `extractive` on dev and test: what a version's parameters change without a language model.

`python -m tests.benchmarks.sample_prompts` prints the table of the data card, with intervals. `extractive` works on the
material and never reads a prompt's wording, so versions that differ in words alone score the same here.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))  # the tests' own modules stand there

from fixtures_engine import ENGINE_KEY  # noqa: E402 - as above

from evaluation.data.make.__main__ import SAMPLE  # noqa: E402 - after the line above
from evaluation.journal import Journal, QuestionRecord  # noqa: E402 - as above
from evaluation.relevance import Judgements  # noqa: E402 - as above
from evaluation.run import run  # noqa: E402 - as above
from evaluation.summary import Summary, compare, summarise  # noqa: E402 - as above
from registry.datasets import GroundTruthRow, Split  # noqa: E402 - as above
from registry.insights import Insight, Question  # noqa: E402 - as above
from registry.prompts.schema import content_hash, load_template  # noqa: E402 - as above
from registry.prompts.versions import PromotedVersion  # noqa: E402 - as above
from registry.tenants import Principal  # noqa: E402 - as above
from serving.services import Services  # noqa: E402 - as above
from serving.settings import ServingSettings  # noqa: E402 - as above
from serving.wiring import build  # noqa: E402 - as above
from tests.benchmarks.measurement import Figure  # noqa: E402 - as above
from tests.benchmarks.sample_platform import TENANTS, SamplePlatform, cell, sample_platform  # noqa: E402 - as above

SPLITS: tuple[Split, ...] = ("dev", "test")
METRICS = ("answer_right", "figure_right", "citation_supports", "abstention_right")
MARGIN = 0.05
MASTER_KEY = "5a" * 32


def prompts() -> dict[str, PromotedVersion]:
    """Every sample prompt by the name of its file."""
    return {
        path.stem: PromotedVersion(
            name=template.name, version=number, alias="", template=template, content_hash=content_hash(template)
        )
        for number, path in enumerate(sorted((SAMPLE / "prompts").glob("*.yaml"), key=_sound_first), start=1)
        for template in (load_template(path),)
    }


def _sound_first(path: Path) -> tuple[bool, str]:
    """v1 and v2, then the worse ones by name."""
    return not path.stem.endswith(("-v1", "-v2")), path.stem


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """Share of right answers of every sample prompt on both splits."""

    async def measure() -> list[Figure]:
        async with sample_platform(folder) as platform:
            task = progress.add_task("sample prompts", total=len(prompts()) * len(SPLITS))
            figures: list[Figure] = []
            async for name, split, summary, _ in _summaries(platform):
                found = summary.metrics["answer_right"]
                figures.append(Figure(name=f"answer_right, {name}, {split}", value=found.value, unit="", n=found.n))
                progress.advance(task)
            return figures

    return asyncio.run(measure())


async def main() -> None:
    """Print the table of the data card."""
    out = Console(soft_wrap=True, markup=False, highlight=False)
    out.print(f"| prompt | split | {' | '.join(METRICS)} | against v1 |\n|---|---|{'---|' * len(METRICS)}---|")
    sound: dict[str, Summary] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with sample_platform(Path(folder)) as platform:
            async for name, split, summary, rows in _summaries(platform):
                cells: list[str] = []
                for metric in METRICS:
                    having = [row for row in rows if metric in summary.scores.get(row.id, {})]
                    cells.append(cell([summary.scores[row.id][metric] for row in having], having))
                baseline = sound.setdefault(split, summary)
                verdict = "" if baseline is summary else _verdict(rows, baseline, summary)
                out.print(f"| {name} | {split} | {' | '.join(cells)} | {verdict} |")


def _verdict(rows: list[GroundTruthRow], baseline: Summary, candidate: Summary) -> str:
    """What the gate says of a candidate, and by how much it is better."""
    found = compare(rows, baseline, candidate, margin=MARGIN)
    return f"{found.verdict} ({found.difference:+.3f})"


async def _summaries(platform: SamplePlatform):  # noqa: ANN202 - an async generator of the four below
    """Name, split, summary and rows of every sample prompt on every split."""
    settings = platform_settings(platform)
    services = build(settings, role="benchmark", corpus=platform.corpus)
    try:
        for name, version in prompts().items():
            for split in SPLITS:
                rows = platform.rows(split)
                yield name, split, await summary_of(platform, services, version, rows), rows
    finally:
        await services.aclose()


def platform_settings(platform: SamplePlatform) -> ServingSettings:
    """A process of its own: nothing of the person who runs this is read."""
    for variable in [name for name in os.environ if name.startswith(("ASSAY_", "OPENAI_", "ANTHROPIC_", "QDRANT_"))]:
        del os.environ[variable]
    return ServingSettings.model_validate(
        {
            "home": platform.home,
            "database_url": platform.database_url,
            "assay_master_key": MASTER_KEY,
            "assay_webhook_secret": "of-no-use-here",
            "qdrant_api_key": ENGINE_KEY,
            "ASSAY_PROVIDERS": "extractive",
            "ASSAY_POLICIES": FOLDER.parent.parent / "policies",
        }
    )


async def summary_of(
    platform: SamplePlatform, services: Services, version: PromotedVersion, rows: list[GroundTruthRow]
) -> Summary:
    """Ask every question of the rows under its own tenant."""
    records: dict[str, QuestionRecord] = {}
    qrels: dict[str, Mapping[str, int]] = {}
    for tenant in TENANTS:
        own = [row for row in rows if row.tenant == tenant]
        judgements = await platform.judged(tenant, own)
        qrels |= judgements.qrels
        name = f"{version.version}-{rows[0].split}-{tenant}"
        with Journal(platform.home / "journals" / f"{name}.jsonl", {"run": name}) as journal:
            target = _target(services, version, tenant)
            answered = await run(own, target, judgements, journal, instructions=version.template.instructions)
            records |= {record.id: record for record in answered}
    return summarise(rows, [records[row.id] for row in rows], Judgements(qrels=qrels, unresolved={}))


def _target(services: Services, version: PromotedVersion, tenant: str) -> Callable[[Question], Awaitable[Insight]]:
    caller = Principal(key_id="benchmark", tenant=tenant, role="engineer", owner="benchmark")

    async def ask(question: Question) -> Insight:
        return await services.insights.answer(question, caller, prompt=version)

    return ask


if __name__ == "__main__":
    asyncio.run(main())
