"""The sample prompts with a model that follows its prompt: the five bad ones are refused, the better one passes.

The real path: the prompt is rendered, retrieval runs on the sample data, `scripted` answers as the wording says
(`tests/fakes/prompt_following_model.py`), answers are grounded and checked, and `evaluation.verdict.rule` decides by
`policies/insights.yaml`, against v1 in production. Each bad prompt is judged as it is and, with nothing promised, once
more with the parameters of v1, so that nothing but its wording differs.

In the end v2 is asked once more with a model that also calculates, on dev and on test: how many of its claims hold,
with `(564 / 785) * 100 = 71.8 %` beside the sentences that it quotes.

The model is an idealised double; what a language model makes of these prompts is another question.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from evaluation.data.make.__main__ import SAMPLE
from evaluation.summary import Summary
from evaluation.verdict import Ruling, rule
from registry.datasets import GroundTruthRow, Split
from registry.prompts.policy import Requirement, load_policy
from registry.prompts.schema import PromptTemplate, content_hash
from registry.prompts.versions import PromotedVersion
from serving.providers.scripted import Scripted
from serving.wiring import build
from tests.benchmarks.measurement import Figure
from tests.benchmarks.sample_platform import SamplePlatform, sample_platform
from tests.benchmarks.sample_prompts import FOLDER, SPLITS, platform_settings, prompts, summary_of
from tests.fakes.prompt_following_model import PromptFollowingModel

POLICIES = FOLDER.parent.parent / "policies"
SOUND, BETTER = "insights-v1", "insights-v2"
WORDS_ALONE = "wording alone"
_CALCULATES = re.compile(r"[-+*/]")
_UNITS = {"percent": "%", "percentage-points": "pp", "count": ""}


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """The verdict on every sample prompt."""

    async def measure() -> list[Figure]:
        async with sample_platform(folder) as platform:
            return await _measured(progress, platform)

    return asyncio.run(measure())


async def _measured(progress: Progress, platform: SamplePlatform) -> list[Figure]:
    rows = platform.rows("test")
    candidates = dict(_candidates())
    model = PromptFollowingModel(platform.questions)
    services = build(platform_settings(platform), role="benchmark", vendors=[Scripted(model)], corpus=platform.corpus)
    try:
        summaries: dict[str, Summary] = {}
        for name, version in progress.track(candidates.items(), description="prompt_following"):
            summaries[name] = await summary_of(platform, services, version, rows)
        model.equations = _equations(platform.questions)
        calculating = candidates[BETTER]
        calculated = {
            split: await summary_of(platform, services, _numbered(calculating, 200), platform.rows(split))
            for split in SPLITS
        }
    finally:
        await services.aclose()
    production = summaries.pop(SOUND)
    figures = [Figure(name=f"{SOUND}: answer_right", value=_right(production), unit="", n=len(rows))]
    for name, summary in summaries.items():
        figures.append(_figure(name, summary, _ruling(rows, summary, production)))
    return figures + [_calculated(split, calculated[split]) for split in SPLITS]


def _calculated(split: Split, summary: Summary) -> Figure:
    """The share of claims that hold when the model calculates where the prompt asks for it."""
    found = summary.metrics["claims_grounded"]
    name = f"{BETTER}, calculating, {split}: claims_grounded (answer_right {_right(summary):.3f})"
    return Figure(name=name, value=found.value, unit="", n=found.n)


def _equations(rows: Sequence[GroundTruthRow]) -> dict[str, list[str]]:
    """What no document states, as an equation with the figures that documents write."""
    by_id = {row.id: row for row in rows}
    found: dict[str, list[str]] = {}
    for line in (SAMPLE / "arithmetic.jsonl").read_text(encoding="utf-8").splitlines():
        working: dict[str, Any] = json.loads(line)
        row, expression = by_id[working["id"]], str(working["expression"])
        if _CALCULATES.search(expression):
            figure = row.figures[int(working["figure"])]
            unit = _UNITS.get(figure.unit, figure.unit)
            found.setdefault(row.id, []).append(f"{expression} = {figure.value:.15g} {unit}".strip())
    return found


def _candidates() -> Iterator[tuple[str, PromotedVersion]]:
    """Every prompt as it is, then the bad ones with the parameters and the room of v1."""
    known = prompts()
    yield from known.items()
    sound = known[SOUND].template
    for name, version in known.items():
        if name in {SOUND, BETTER}:
            continue
        variables = {key: sound.variables[key] for key in version.template.variables}
        template = version.template.model_copy(update={"model": sound.model, "variables": variables})
        yield f"{name}, {WORDS_ALONE}", _numbered(version, 100, template)


def _numbered(version: PromotedVersion, offset: int, template: PromptTemplate | None = None) -> PromotedVersion:
    """The version under a number of its own, whose answers are kept apart."""
    template = template or version.template
    return PromotedVersion(
        name=version.name,
        version=offset + version.version,
        alias="",
        template=template,
        content_hash=content_hash(template),
    )


def _ruling(rows: list[GroundTruthRow], candidate: Summary, production: Summary) -> Ruling:
    """As `assay evaluate run` rules."""
    asked = _asked()
    return rule(rows, candidate, production, floors=asked.floors, margin=asked.margin)


def _asked() -> Requirement:
    policy = load_policy(POLICIES, "insights")
    return next(requirement for requirement in policy.requires if requirement.kind == "evaluation")


def _figure(name: str, summary: Summary, ruling: Ruling) -> Figure:
    """A share of right answers, and whether the verdict is the one that the prompt deserves."""
    said = f"{name}: {ruling.verdict} ({'; '.join(ruling.reasons)})"
    promise, kept = None, None
    if not name.endswith(WORDS_ALONE):
        promise = "PASS" if name == BETTER else "refused"
        kept = (ruling.verdict == "PASS") == (name == BETTER)
    return Figure(name=said, value=_right(summary), unit="", n=len(summary.scores), promise=promise, kept=kept)


def _right(summary: Summary) -> float:
    return summary.metrics["answer_right"].value
