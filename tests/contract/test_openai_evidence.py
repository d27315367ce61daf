"""From questions to a promotion with a vendor that answers under dated names: evidence has to be found again."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes.fake_serving import FakePromptStore, add_document, fake_corpus, prompt_version
from fakes.fake_vendor import FakeVendor
from pydantic import SecretStr

from flows.evaluation_outcome import conclude
from flows.prompt_evaluation import Order, answer, prepare
from flows.wiring import EvaluationServices
from registry.datasets import Datasets, GroundTruthRow
from registry.prompts.case import Case
from registry.prompts.decision import decide
from registry.prompts.evidence import evidence_for
from registry.prompts.policy import load_policy
from registry.prompts.promotion_records import ServingModel
from registry.prompts.versions import PromptReference
from registry.runs import LoggedRun, RunReport
from registry.tenants import Tenants
from serving.providers.vendors import ProviderPolicy, build_vendors
from serving.settings import ServingSettings
from serving.wiring import build

pytestmark = pytest.mark.contract

POLICY = """
use_case: insights
prompt: insights
requires: [{kind: evaluation, floors: {answer_right: 0.5}}]
"""
MODEL = "gpt-5-mini"
VERSION = prompt_version()


class FakeSource:
    """Knows one version."""

    async def find(self, _reference: PromptReference) -> Any:
        """That version."""
        return VERSION


class FakeRuns:
    """Takes every run."""

    def log(self, _report: RunReport) -> LoggedRun:
        """Give it an id."""
        return LoggedRun(id="run-1", url="http://mlflow/run-1")


@pytest.fixture
async def services(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EvaluationServices]:
    """The real serving code with the real adapter at a fake vendor, and one document."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "insights.yaml").write_text(POLICY)
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "planted-webhook-secret")
    monkeypatch.setenv("QDRANT_API_KEY", "planted-engine-key")
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path / "policies"))
    corpus = fake_corpus()
    await add_document(corpus, "acme", "parcels.md", "Nine of ten parcels arrived.")
    async with FakeVendor() as vendor:
        policy = ProviderPolicy(openai_api_key=SecretStr("k"), openai_model=MODEL, openai_base_url=vendor.openai_url)
        vendors = build_vendors(["openai"], policy)
        built = build(ServingSettings(), vendors=vendors, corpus=corpus, promoted=FakePromptStore())
        Tenants(built.database).create("acme", "Acme")
        source: Any = FakeSource()
        yield EvaluationServices(services=built, prompts=source)
        await built.aclose()
    await corpus.client.close()


async def test_evidence_made_with_a_vendor_lets_its_model_serve(services: EvaluationServices) -> None:
    """Evaluate, store, ask the policy: the configured model may serve, though its answers carry a dated name."""
    home, database = services.services.settings.home, services.services.database
    relevant = [{"document": "parcels.md", "quote": "Nine of ten parcels arrived.", "grade": 3}]
    row = {"id": "q", "question": "How many parcels arrived?", "split": "test", "tenant": "acme", "relevant": relevant}
    Datasets(home).add("d", [GroundTruthRow.model_validate(row)])
    prepared = await prepare(Order(prompt="insights/1", provider="openai", dataset="d"), services, home)
    candidate = await answer(prepared, prepared.candidate, services, home, lambda _: None)
    runs: Any = FakeRuns()
    conclude(prepared, candidate, None, services, runs)
    found = evidence_for(database, VERSION.name, VERSION.content_hash)
    policy = load_policy(services.services.settings.policies, "insights")
    chain = [ServingModel(provider="openai", model=model) for model in ("gpt-5", MODEL)]
    decision = decide(policy, chain, Case(version=VERSION, evidence=found, now=time.time()))
    assert (decision.models, [each.model for each in decision.skipped]) == ((chain[1],), [chain[0]])
    assert found[0].details["answered_by"] == [f"{MODEL}-2026-10-01"]
    assert float(candidate.records[0].cost_usd) > 0
