"""The flow `evaluate-candidate`: whom it asks, what it leaves undone, and that the version's page says so."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.fake_mlflow import URL, FakeMlflow

from flows import evaluate_candidate as module
from flows.evaluate_candidate import CandidateNotEvaluated, evaluate_candidate
from registry.database import Database, open_database
from registry.errors import InvalidInput, Unavailable
from registry.prompts.candidates import CANDIDATE
from registry.prompts.evidence import record_evidence
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.promoted import PromptTampered
from registry.prompts.promotion_records import ServingModel, tell_serving_models
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import InvalidTemplate, PromptTemplate, Variable, content_hash

TEMPLATE = PromptTemplate(
    name="insights",
    use_case="insights",
    owner="tests",
    template="Answer {{question}}.",
    variables={"question": Variable(max_chars=100)},
)
CHAIN = (ServingModel(provider="good", model="g-1"), ServingModel(provider="other", model="o-1"))


@dataclass
class Evaluations:
    """Instead of `evaluate-prompt`: every evaluation passes, but those of providers that have no key."""

    database_url: str
    without_key: set[str] = field(default_factory=set)
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    async def __call__(self, **order: Any) -> None:
        """Evaluate."""
        self.asked.append(order)
        if order["provider"] in self.without_key:
            raise InvalidInput("set its key")
        database = open_database(self.database_url)
        passed(database, ServingModel(provider=order["provider"], model=order["model"]))
        database.close()


def passed(database: Database, model: ServingModel) -> None:
    """Evidence that the version passed with a model."""
    record_evidence(
        database,
        kind="evaluation",
        prompt_name="insights",
        prompt_version=1,
        content_hash=content_hash(TEMPLATE),
        provider=model.provider,
        model=model.model,
        verdict="PASS",
        details={},
        dataset="sample",
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verdicts that Prefect was told; the flow's functions run without a server."""
    words: list[str] = []

    async def artifact(_text: str, *, key: str, description: str) -> None:
        words.append(description)

    monkeypatch.setattr(module, "acreate_markdown_artifact", artifact)
    monkeypatch.setattr(module, "emit_event", lambda **event: words.append(event["event"]))
    monkeypatch.setattr(module, "get_run_logger", lambda: logging.getLogger(__name__))
    return words


@pytest.fixture
async def mlflow(
    monkeypatch: pytest.MonkeyPatch, database: Database, database_url: str, tmp_path: Path, told: list[str]
) -> FakeMlflow:
    """A candidate, a policy that asks for its evaluation, and a chain of two."""
    fake = FakeMlflow()
    monkeypatch.setattr(module, "MlflowRest", lambda url: MlflowRest(url, client=fake.client()))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path))
    (tmp_path / "insights.yaml").write_text("use_case: insights\nprompt: insights\nrequires: [{kind: evaluation}]\n")
    tell_serving_models(database, CHAIN)
    await PromptPublisher(MlflowRest(URL, client=fake.client())).push(TEMPLATE)
    fake.point("insights", CANDIDATE, 1)
    return fake


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch, mlflow: FakeMlflow, database_url: str) -> Evaluations:
    """What evaluations come to."""
    made = Evaluations(database_url)
    monkeypatch.setattr(module, "evaluate_prompt", made)
    return made


def page(mlflow: FakeMlflow) -> str:
    """What stands in the description of the version."""
    return mlflow.prompts["insights"].versions[0]["description"]


async def run(prompt: str = "insights/1") -> dict[str, Any]:
    """Run the flow's function."""
    return dict(await evaluate_candidate.fn(prompt))


async def test_every_model_that_serves_and_has_no_ruling_is_asked(
    evaluations: Evaluations, mlflow: FakeMlflow, database: Database, told: list[str]
) -> None:
    """One has its evidence already; the other is asked, as the very model that serves; the page says PASS."""
    passed(database, CHAIN[0])
    result = await run("insights@candidate")
    (order,) = evaluations.asked
    wanted = {"prompt": "insights/1", "dataset": "sample", "tenant": None, "provider": "other", "model": "o-1"}
    assert order == wanted
    assert result["verdict"] == "PASS"
    assert "May become 'production'." in page(mlflow)
    assert told == ["Verdict PASS", "assay.prompt.verdict"]


async def test_one_that_cannot_be_asked_does_not_keep_the_next_from_it(
    evaluations: Evaluations, mlflow: FakeMlflow
) -> None:
    """The page has both, what was shown and what could not be done; the run fails, so that somebody looks."""
    evaluations.without_key = {"good"}
    with pytest.raises(CandidateNotEvaluated, match="Not evaluated with good g-1 on sample: set its key"):
        await run()
    assert [order["provider"] for order in evaluations.asked] == ["good", "other"]
    assert "PASS (1 of 2 models)" in page(mlflow)
    assert "Not evaluated with good g-1 on sample: set its key." in page(mlflow)


@pytest.mark.parametrize("now", [None, 2])
async def test_a_candidate_that_was_replaced_costs_nothing(
    evaluations: Evaluations, mlflow: FakeMlflow, now: int | None
) -> None:
    """Whoever waited in the queue while the alias moved on is not evaluated any more."""
    rest = MlflowRest(URL, client=mlflow.client())
    await PromptPublisher(rest).push(TEMPLATE.model_copy(update={"template": "{{question}}"}))
    mlflow.point("insights", CANDIDATE, now)
    assert (await run())["verdict"] is None
    assert evaluations.asked == []


async def test_a_version_that_cannot_be_read_says_why(evaluations: Evaluations, mlflow: FakeMlflow) -> None:
    """A tag typed wrong in MLflow's UI is told on the page of the version."""
    mlflow.set_tag("insights", 1, "assay.spec", "{")
    with pytest.raises(InvalidTemplate):
        await run()
    assert "Not evaluated: tag 'assay.spec' of prompt 'insights' is not JSON" in page(mlflow)
    assert evaluations.asked == []


async def test_a_rewritten_version_is_not_evaluated(evaluations: Evaluations, mlflow: FakeMlflow) -> None:
    """Evidence for words that changed after they were first seen would be evidence for nothing."""
    await run()
    mlflow.set_tag("insights", 1, "mlflow.prompt.text", "Obey {{question}}.")
    with pytest.raises(PromptTampered):
        await run()
    assert len(evaluations.asked) == 2
    assert "versions are final" in page(mlflow)


async def test_before_anybody_serves_nobody_is_asked(
    evaluations: Evaluations, mlflow: FakeMlflow, database: Database
) -> None:
    """Without a chain the page says what to start."""
    tell_serving_models(database, [])
    await run()
    assert evaluations.asked == []
    assert "no serving process has told which models answer" in page(mlflow)


async def test_an_outage_leaves_the_page_alone(evaluations: Evaluations, mlflow: FakeMlflow) -> None:
    """A run that could not even begin fails, and says nothing about the version."""
    mlflow.prompts["insights"].versions[0]["description"] = "Mine."
    mlflow.outage = lambda _: httpx.Response(503, json={"message": "starting"})
    with pytest.raises(Unavailable):
        await run()
    assert page(mlflow) == "Mine."
