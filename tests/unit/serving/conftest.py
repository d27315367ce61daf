"""The real object graph of the API on a registry of the test's own, with fakes at the rim."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes.fake_serving import (
    FACT,
    FakePromptStore,
    FakeProvider,
    add_document,
    fake_corpus,
    prompt_version,
    prove,
    write_policy,
)
from fakes.live_experiment import begin

from registry.database import Database
from registry.prompts.versions import PromotedVersion
from registry.tenants import Keys, Tenants
from serving.app import create_app
from serving.services import Services
from serving.settings import ServingSettings
from serving.wiring import build


@dataclass
class Api:
    """A running API without a socket, and what a test needs to poke it."""

    services: Services
    client: httpx.AsyncClient
    keys: dict[str, str]
    provider: FakeProvider
    prompts: FakePromptStore
    home: Path
    moments: Iterator[int] = field(default_factory=lambda: count(2_000))

    async def prove(self, version: PromotedVersion, *models: tuple[str, str]) -> None:
        """Let a version through, with these models beside the API's own, and have it served."""
        own = (self.provider.name, self.provider.model)
        self.prompts.versions[version.name, version.alias] = version
        prove(self.services.database, version, models=[own, *models], at_ms=next(self.moments))
        await self.services.prompts.refresh()

    def as_(self, who: str, **headers: str) -> dict[str, str]:
        """Headers of a caller."""
        return {"Authorization": f"Bearer {self.keys[who]}", **headers}

    async def ask(self, question: str = "What is the return rate?", who: str = "app", **body: Any) -> httpx.Response:
        """POST /v1/insights."""
        return await self.client.post("/v1/insights", json={"question": question, **body}, headers=self.as_(who))

    def audit(self, *kinds: str) -> list[dict[str, Any]]:
        """Entries of this process's audit log of these kinds."""
        lines = (self.home / "audit" / f"{self.services.log.name}.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry["kind"] in (kinds or ("insight",))]


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServingSettings:
    """Settings of an API in a home of its own."""
    write_policy(tmp_path / "policies")
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    monkeypatch.setenv("ASSAY_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "planted-webhook-secret")
    monkeypatch.setenv("QDRANT_API_KEY", "planted-engine-key")
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path / "policies"))
    return ServingSettings()


@pytest.fixture
def keys(database: Database) -> dict[str, str]:
    """Two tenants and a key for every kind of caller."""
    tenants, made = Tenants(database), Keys(database)
    tenants.create("north", "North")
    tenants.create("south", "South")
    wanted = {
        "app": ("app", "north"),
        "reviewer": ("reviewer", "north"),
        "auditor": ("auditor", "north"),
        "engineer": ("engineer", "north"),
        "ops": ("ops", None),
        "admin": ("admin", None),
        "south": ("app", "south"),
    }
    return {who: made.create(role, tenant, "tests").key for who, (role, tenant) in wanted.items()}


@pytest.fixture
def provider() -> FakeProvider:
    """The model; a test may replace it."""
    return FakeProvider()


@pytest.fixture
async def api(settings: ServingSettings, keys: dict[str, str], provider: FakeProvider) -> AsyncIterator[Api]:
    """An API with a promoted prompt and an empty corpus."""
    prompts = FakePromptStore({("insights", "production"): prompt_version()})
    corpus = fake_corpus()
    services = build(settings, vendors=[provider], corpus=corpus, promoted=prompts)
    prove(services.database, prompt_version())
    app = create_app(settings, lambda _settings: services)
    await services.prompts.start()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield Api(services, client, keys, provider, prompts, settings.home)
    await services.aclose()
    await corpus.client.close()


@pytest.fixture
async def filled(api: Api) -> Api:
    """An API whose tenant `north` has a document."""
    await add_document(api.services.corpus, "north", "returns.md", FACT, "Parking is free on Sundays.")
    return api


@pytest.fixture
async def running(filled: Any) -> Any:
    """An API in which an experiment runs with equal arms."""
    filled.experiment = begin(filled)
    assert await filled.services.arms.refresh()
    return filled
