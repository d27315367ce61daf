"""Candidates are remembered on either database, and verdicts reach the page of a real MLflow."""

import pytest
from fakes.fake_clock import FakeClock

from registry.database import Database
from registry.prompts.candidates import WITHDRAWN, Announced, announced_candidate, remember_candidate
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import PromptTemplate, Variable
from registry.prompts.verdicts import Verdict, show
from registry.prompts.versions import PromptSource

pytestmark = pytest.mark.contract

TEMPLATE = PromptTemplate(
    name="judged",
    use_case="judged",
    owner="tests",
    template="Answer {{question}}.",
    variables={"question": Variable(max_chars=100)},
)


def test_the_newest_candidate_of_each_prompt_is_remembered(registry: Database, clock: FakeClock) -> None:
    """A later one takes its place, a withdrawn one leaves its time, other prompts are apart."""
    assert announced_candidate(registry, "insights") is None
    remember_candidate(registry, "insights", 2, clock)
    remember_candidate(registry, "summary", 9, clock)
    clock.now += 1
    remember_candidate(registry, "insights", WITHDRAWN, clock)
    assert announced_candidate(registry, "insights") == Announced(version=WITHDRAWN, announced_ms=int(clock.now * 1000))
    other = announced_candidate(registry, "summary")
    assert other is not None
    assert other.version == 9


def verdict(word: str, **tags: str) -> Verdict:
    """A verdict on the one version."""
    named = {name.replace("_", "."): value for name, value in tags.items()}
    return Verdict(name="judged", version=1, word=word, lines=(f"{word}.",), tags=named)


async def test_a_real_page_shows_the_newest_verdict_beside_its_authors_words(mlflow_url: str) -> None:
    """Description and tags as MLflow itself gives them back; the content of the version is what it was."""
    rest = MlflowRest(mlflow_url)
    pushed = await PromptPublisher(rest).push(TEMPLATE, "Why I did it.")
    await show(rest, verdict("FAIL", assay_verdict="FAIL", assay_verdict_fast="FAIL"))
    await show(rest, verdict("PASS", assay_verdict="PASS"))
    stored = (await rest.get("model-versions/get", {"name": "judged", "version": "1"}))["model_version"]
    read = await PromptSource(rest).by_version("judged", 1)
    await rest.aclose()
    tags = {tag["key"]: tag["value"] for tag in stored["tags"]}
    assert stored["description"] == "Why I did it.\n\n[assay]\nPASS.\n[/assay]"
    assert (tags["assay.verdict"], "assay.verdict.fast" in tags) == ("PASS", False)
    assert read.content_hash == pushed.version.content_hash
