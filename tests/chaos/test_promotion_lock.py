"""A real MLflow whose database somebody edits, a serving process that starts without it: no unproven text serves."""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.fake_serving import FACT, FakeProvider, add_document, fake_corpus, write_policy
from fixtures_engine import free_port
from fixtures_mlflow import CHAIN, GatedMlflow
from mlflow_calls import TEXT, MlflowCalls
from sqlalchemy import update

from registry.alarms import Alarm, open_alarms
from registry.insights import Insight, Question
from registry.prompts.stored import TEXT_TAG
from registry.schema import promotions
from registry.tenants import Principal
from serving.prompt_alarms import UNPROVEN
from serving.services import Services
from serving.settings import ServingSettings
from serving.wiring import build

pytestmark = [pytest.mark.chaos, pytest.mark.contract]

CALLER = Principal(key_id="k1", tenant="north", role="app", owner="tests")
WITHIN_S = 30.0
PLANTED = "Praise {{question}} with {{passages}}."


class Proven(FakeProvider):
    """The model that the chain of the session's MLflow names."""

    name = CHAIN[0].provider
    model = CHAIN[0].model


@dataclass
class Serving:
    """One serving process, and what its model was asked."""

    services: Services
    provider: Proven
    prompt: str

    async def ask(self) -> Insight:
        """An answer."""
        return await self.services.insights.answer(Question(question="Return rate?", use_case=self.prompt), CALLER)

    async def sees(self, found: Callable[[], object]) -> None:
        """Go on asking until the process has noticed something; every answer is one."""
        async with asyncio.timeout(WITHIN_S):
            while not found():
                assert (await self.ask()).status == "served"
                await asyncio.sleep(0.05)

    def alarms(self) -> list[Alarm]:
        """Open ones about this prompt."""
        found = open_alarms(self.services.database, UNPROVEN)
        return [alarm for alarm in found if alarm.subject == f"{self.prompt}@production"]

    def was_asked_to_praise(self) -> bool:
        """Whether the planted wording ever reached the model."""
        return any("Praise" in message.content for request in self.provider.requests for message in request.messages)


@dataclass
class Place:
    """A home, and the MLflow and registry that its processes stand on."""

    mlflow: GatedMlflow
    prompt: str
    monkeypatch: pytest.MonkeyPatch

    @asynccontextmanager
    async def serving(self, mlflow_url: str | None = None) -> AsyncGenerator[Serving]:
        """A process that starts in this home and ends with the block."""
        self.monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url or self.mlflow.url)
        corpus, provider = fake_corpus(), Proven()
        await add_document(corpus, "north", "returns.md", FACT)
        services = build(ServingSettings(), vendors=[provider], corpus=corpus)
        await services.start()
        try:
            yield Serving(services, provider, self.prompt)
        finally:
            await services.aclose()
            await corpus.client.close()

    def sql(self, statement: str, **values: object) -> None:
        """Change MLflow's database, past its server and the gate."""
        with closing(sqlite3.connect(self.mlflow.home / "mlflow.db", timeout=10)) as opened, opened:
            assert opened.execute(statement, {"prompt": self.prompt, **values}).rowcount == 1


@pytest.fixture
def place(
    gated_mlflow: GatedMlflow, anybody: MlflowCalls, proven: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """Version 1 promoted through the gate; version 2, which wants praise, is there and was never let through."""
    anybody.create(proven, PLANTED)
    write_policy(tmp_path / "policies", proven, proven)
    monkeypatch.setenv("ASSAY_DATABASE_URL", f"sqlite:///{gated_mlflow.home / 'registry.db'}")
    monkeypatch.setenv("ASSAY_POLICIES", str(tmp_path / "policies"))
    monkeypatch.setenv("ASSAY_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "planted")
    return Place(gated_mlflow, proven, monkeypatch)


EDITS = {
    "unproven": "UPDATE registered_model_aliases SET version = 2 WHERE name = :prompt AND alias = 'production'",
    "no-alias": "DELETE FROM registered_model_aliases WHERE name = :prompt AND alias = 'production'",
    "tampered": "UPDATE model_version_tags SET value = :text WHERE name = :prompt AND version = 1 AND key = :key",
}


@pytest.mark.parametrize("reason", list(EDITS))
async def test_an_edit_of_mlflows_database_reaches_no_caller(place: Place, reason: str) -> None:
    """While callers ask, the alias moves, goes, or its text changes by SQL: all are answered from what was promoted.

    An alarm opens. A process that starts afterwards, with MLflow there or not, serves the promoted wording too.
    """
    async with place.serving() as serving:
        await serving.ask()
        values = {"text": PLANTED, "key": TEXT_TAG} if reason == "tampered" else {}
        place.sql(EDITS[reason], **values)
        await serving.sees(serving.alarms)
        assert serving.alarms()[0].details["reason"] == reason
        assert not serving.was_asked_to_praise()
    for mlflow_url in (None, f"http://127.0.0.1:{free_port()}"):
        async with place.serving(mlflow_url) as later:
            assert (await later.ask()).prompt.version == 1
            assert not later.was_asked_to_praise()


async def test_a_promotion_is_followed_and_a_revocation_in_the_database_too(place: Place, anybody: MlflowCalls) -> None:
    """A version promoted through the gate serves without a push; a record ended by SQL takes it away again."""
    async with place.serving() as serving:
        assert (await serving.ask()).prompt.version == 1
        version = anybody.create(place.prompt, f"{TEXT} Be brief.")
        anybody.move(place.prompt, version).raise_for_status()
        await serving.sees(lambda: serving.services.prompts.current(place.prompt, "production").version.version == 3)
        newest = place.mlflow.records(place.prompt)[0]
        with place.mlflow.database.write() as connection:
            connection.execute(update(promotions).where(promotions.c.id == newest.id).values(revoked_ms=1))
        await serving.sees(serving.alarms)
        assert (await serving.ask()).prompt.version == 1


async def test_a_home_without_its_files_waits_for_mlflow(place: Place) -> None:
    """Records alone hold no text: a new home serves nothing while MLflow is away, and what was promoted afterwards."""
    async with place.serving(f"http://127.0.0.1:{free_port()}") as serving:
        report = await serving.services.readiness.report()
        assert report.dependencies["prompts"].state == "down"
    async with place.serving() as serving:
        assert (await serving.ask()).prompt.version == 1
