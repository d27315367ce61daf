"""The local model's way to evidence: a real llama.cpp server answers, the verdict holds for it alone.

It is too small to be judged by its answers, so nothing here depends on whether they are right.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.fake_evaluation import FakeRuns
from fakes.fake_mlflow import FakeMlflow
from fakes.fake_serving import FACT, FakePromptStore, add_document, fake_corpus
from fixtures_llama import MODEL, LlamaProcess, require_llama

from flows.evaluation_outcome import Outcome, conclude
from flows.prompt_evaluation import Order, answer, prepare
from flows.wiring import EVALUATION, EvaluationServices
from registry.database import Database
from registry.datasets import Datasets, GroundTruthRow
from registry.prompts.evidence import evidence_for
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import load_policy
from registry.prompts.promotion import Promoter
from registry.prompts.promotion_records import ServingModel
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import load_template
from registry.prompts.versions import PromptSource
from registry.tenants import Tenants
from serving.providers.vendors import ProviderPolicy, build_vendors
from serving.settings import ServingSettings
from serving.wiring import build

pytestmark = pytest.mark.contract

ROWS = [
    {"id": f"q{number}", "question": question, "tenant": "north", "split": "test"}
    | {"relevant": [{"document": "returns.md", "quote": "7 percent", "grade": 3}]}
    for number, question in enumerate(("What was the return rate?", "How many percent were returned in 2026?"))
]
POLICY = """
use_case: insights
prompt: insights
requires: [{kind: evaluation, floors: {answer_right: 0.5}}]
"""
PROMPT = """
name: insights
use_case: insights
owner: platform
template: "From {{passages}} answer in JSON: {{question}}"
variables: {question: {max_chars: 100}, passages: {type: passages, max_chars: 1000}}
output_schema:
  type: object
  additionalProperties: false
  required: [answer, claims]
  properties:
    answer: {type: string, maxLength: 60}
    claims:
      type: array
      maxItems: 1
      items:
        type: object
        additionalProperties: false
        required: [text, citations]
        properties: {text: {type: string, maxLength: 60}, citations: {type: array, maxItems: 1, items: {type: string}}}
model: {max_output_tokens: 120, temperature: 0.0, top_k: 1}
"""
EXTRACTIVE, LOCAL = (
    ServingModel(provider=each[0], model=each[1]) for each in (("extractive", "extractive-1"), ("local", MODEL))
)


@dataclass
class Place:
    """Where the evaluations are: a registry, one prompt in a fake MLflow, one document, and the model's server."""

    database: Database
    settings: ServingSettings
    mlflow: FakeMlflow
    policy: ProviderPolicy

    @asynccontextmanager
    async def services(self, provider: str) -> AsyncIterator[EvaluationServices]:
        """The serving code with this provider alone."""
        corpus, rest = fake_corpus(), MlflowRest("http://mlflow", client=self.mlflow.client())
        await add_document(corpus, "north", "returns.md", FACT)
        vendors = build_vendors([provider], self.policy)
        parts = build(self.settings, role=EVALUATION, vendors=vendors, corpus=corpus, promoted=FakePromptStore())
        yield EvaluationServices(services=parts, prompts=PromptSource(rest))
        await parts.aclose()
        await rest.aclose()

    async def evaluate(self, provider: str) -> Outcome:
        """One evaluation of version 1, from the questions to the evidence."""
        async with self.services(provider) as services:
            home = self.settings.home
            prepared = await prepare(Order(prompt="insights/1", provider=provider, dataset="d"), services, home)
            answered = await answer(prepared, prepared.candidate, services, home, lambda _: None)
            return conclude(prepared, answered, None, services, FakeRuns())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaProcess]:
    """A server of our own, on a free port."""
    require_llama()
    server = LlamaProcess(tmp_path_factory.mktemp("llama")).start()
    yield server
    server.stop()


@pytest.fixture
async def place(
    llama: LlamaProcess, database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """Version 1 is pushed, its policy asks for an evaluation."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "insights.yaml").write_text(POLICY)
    secrets = {"ASSAY_MASTER_KEY": "ab" * 32, "ASSAY_WEBHOOK_SECRET": "unused", "QDRANT_API_KEY": "unused"}
    for name, value in {**secrets, "ASSAY_DATABASE_URL": database_url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path / "policies"))
    (tmp_path / "insights.yaml").write_text(PROMPT)
    mlflow = FakeMlflow()
    rest = MlflowRest("http://mlflow", client=mlflow.client())
    await PromptPublisher(rest).push(load_template(tmp_path / "insights.yaml"))
    await rest.aclose()
    Tenants(database).create("north", "North")
    settings = ServingSettings()
    Datasets(settings.home).add("d", [GroundTruthRow.model_validate(row) for row in ROWS])
    return Place(database, settings, mlflow, ProviderPolicy(local_base_url=f"{llama.url}/v1"))


async def test_the_local_models_evidence_holds_for_it_alone(place: Place) -> None:
    """Its verdict is stored for provider and model; a promotion takes it along only if it passed, and nobody for it."""
    verdicts = {provider: (await place.evaluate(provider)).ruling.verdict for provider in ("extractive", "local")}
    async with place.services("extractive") as services:
        version = await services.prompt("insights/1")
    stored = {row.provider: row for row in evidence_for(place.database, "insights", version.content_hash)}
    assert (stored["local"].model, stored["local"].verdict) == (MODEL, verdicts["local"])
    assert verdicts["extractive"] == "PASS"
    promoter = Promoter(place.database, note=lambda _kind, _body: None)
    policy = load_policy(place.settings.policies, "insights")
    record = promoter.let_through(policy, version, [EXTRACTIVE, LOCAL], "ada")
    assert record.models == ((EXTRACTIVE, LOCAL) if verdicts["local"] == "PASS" else (EXTRACTIVE,))
