"""The sample prompts with a model that follows its prompt: the five bad ones are refused, the better one passes.

The real path: the prompt is rendered, retrieval runs on the sample data, `scripted` answers as the wording says
(`tests/fakes/prompt_following_model.py`), answers are grounded and checked, and `evaluation.verdict.rule` decides by
`policies/insights.yaml`, against v1 in production. Each bad prompt is judged as it is and, with nothing promised, once
more with the parameters of v1, so that nothing but its wording differs.

The model is an idealised double; what a language model makes of these prompts is another question.
"""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.progress import Progress

from evaluation.summary import Summary
from evaluation.verdict import Ruling, rule
from registry.datasets import GroundTruthRow
from registry.prompts.policy import Requirement, load_policy
from registry.prompts.schema import content_hash
from registry.prompts.versions import PromotedVersion
from serving.providers.scripted import Scripted
from serving.wiring import build
from tests.benchmarks.measurement import Figure
from tests.benchmarks.sample_platform import SamplePlatform, sample_platform
from tests.benchmarks.sample_prompts import FOLDER, platform_settings, prompts, summary_of
from tests.fakes.prompt_following_model import PromptFollowingModel

POLICIES = FOLDER.parent.parent / "policies"
SOUND, BETTER = "insights-v1", "insights-v2"
WORDS_ALONE = "wording alone"


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """The verdict on every sample prompt."""

    async def measure() -> list[Figure]:
        async with sample_platform(folder) as platform:
            return await _measured(progress, platform)

    return asyncio.run(measure())


async def _measured(progress: Progress, platform: SamplePlatform) -> list[Figure]:
    rows = platform.rows("test")
    candidates = dict(_candidates())
    model = Scripted(PromptFollowingModel(rows))
    services = build(platform_settings(platform), role="benchmark", vendors=[model], corpus=platform.corpus)
    try:
        summaries: dict[str, Summary] = {}
        for name, version in progress.track(candidates.items(), description="prompt_following"):
            summaries[name] = await summary_of(platform, services, version, rows)
    finally:
        await services.aclose()
    production = summaries.pop(SOUND)
    figures = [Figure(name=f"{SOUND}: answer_right", value=_right(production), unit="", n=len(rows))]
    for name, summary in summaries.items():
        figures.append(_figure(name, summary, _ruling(rows, summary, production)))
    return figures


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
        yield (
            f"{name}, {WORDS_ALONE}",
            PromotedVersion(
                name=version.name,
                version=100 + version.version,
                alias="",
                template=template,
                content_hash=content_hash(template),
            ),
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
