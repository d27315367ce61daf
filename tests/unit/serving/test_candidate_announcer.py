"""Candidates are told to Prefect: each once, by whichever process, however often MLflow's push comes or is lost."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fakes.fake_clock import FakeClock
from fakes.fake_mlflow import URL, FakeMlflow
from pydantic import SecretStr

from registry.database import Database
from registry.prompts.candidates import CANDIDATE, announced_candidate
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import PromptTemplate, Variable
from serving.candidate_announcer import EVENT, CandidateAnnouncer
from serving.prefect_events import PrefectEvents

PROMPT = PromptTemplate(
    name="insights",
    use_case="insights",
    owner="tests",
    template="Answer {{question}}.",
    variables={"question": Variable(max_chars=100)},
)


@dataclass
class FakePrefect:
    """Prefect's events, kept; `status` is what it answers."""

    status: int = 204
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[httpx.Headers] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Take the events of one request."""
        assert request.url == "http://prefect.test/api/events"
        if self.status < 300:
            self.events += json.loads(request.content)
            self.headers.append(request.headers)
            self.arrived.set()
        return httpx.Response(self.status)

    @property
    def told(self) -> list[str]:
        """The versions that were announced, in order."""
        return [event["resource"]["prefect.resource.name"] for event in self.events]


@pytest.fixture
def prefect() -> FakePrefect:
    """A Prefect that takes everything."""
    return FakePrefect()


@pytest.fixture
async def mlflow() -> FakeMlflow:
    """Three versions of the prompt, and no candidate."""
    fake = FakeMlflow()
    publisher = PromptPublisher(MlflowRest(URL, client=fake.client()))
    for wording in ("{{question}}", "Answer {{question}}.", "Say: {{question}}"):
        await publisher.push(PROMPT.model_copy(update={"template": wording}))
    return fake


@pytest.fixture
def announcer(database: Database, mlflow: FakeMlflow, prefect: FakePrefect) -> CandidateAnnouncer:
    """One process."""
    return process(database, mlflow, prefect)


def process(database: Database, mlflow: FakeMlflow, prefect: FakePrefect, *prompts: str) -> CandidateAnnouncer:
    """A process that announces the candidates of these prompts."""
    return CandidateAnnouncer(
        database,
        prompts or ("insights",),
        mlflow=MlflowRest(URL, client=mlflow.client()),
        events=PrefectEvents(
            "http://prefect.test/api/", SecretStr("user:pass"), transport=httpx.MockTransport(prefect.handle)
        ),
        holder="this process",
        clock=FakeClock(1_700_000_000.0),
    )


def set_candidate(mlflow: FakeMlflow, version: int | None) -> None:
    """What an engineer does in MLflow; None takes the alias away."""
    aliases = mlflow.prompts["insights"].aliases
    if version is None:
        del aliases[CANDIDATE]
    else:
        aliases[CANDIDATE] = str(version)


async def test_a_new_candidate_is_announced_once(
    announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect
) -> None:
    """The event names prompt and version; looking again says nothing more."""
    await announcer.look()
    assert prefect.events == []
    set_candidate(mlflow, 2)
    await announcer.look()
    await announcer.look()
    (event,) = prefect.events
    assert (event["event"], event["occurred"]) == (EVENT, "2023-11-14T22:13:20+00:00")
    assert event["resource"] == {
        "prefect.resource.id": "assay.prompt.insights.2",
        "prefect.resource.name": "insights/2",
    }
    assert event["payload"] == {"prompt": "insights", "version": 2, "reference": "insights/2"}
    assert prefect.headers[0]["Authorization"] == "Basic dXNlcjpwYXNz"


async def test_a_candidate_set_again_is_announced_again(
    announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect
) -> None:
    """Once the alias was elsewhere, or away, the same version is a new candidate, and its event another one."""
    for version in (1, 2, 1, None, 1):
        set_candidate(mlflow, version)
        await announcer.look()
    assert prefect.told == ["insights/1", "insights/2", "insights/1", "insights/1"]
    assert len({event["id"] for event in prefect.events}) == 4


async def test_two_processes_send_the_same_event(database: Database, mlflow: FakeMlflow, prefect: FakePrefect) -> None:
    """Two that look at once, or one that dies before it remembers, send one id, which Prefect takes once."""
    set_candidate(mlflow, 3)
    await asyncio.gather(*(process(database, mlflow, prefect).look() for _ in range(2)))
    assert len({event["id"] for event in prefect.events}) == 1


@pytest.mark.parametrize("down", ["mlflow", "prefect"])
async def test_what_cannot_be_told_now_is_told_later(
    announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect, database: Database, down: str
) -> None:
    """While MLflow or Prefect is away nothing is remembered; the next look announces."""
    set_candidate(mlflow, 2)
    if down == "mlflow":
        mlflow.outage = lambda _: httpx.Response(503, json={"message": "starting"})
    else:
        prefect.status = 500
    await announcer.look()
    assert announced_candidate(database, "insights") is None
    mlflow.outage, prefect.status = None, 204
    await announcer.look()
    assert prefect.told == ["insights/2"]


async def test_one_prompts_trouble_is_not_anothers(
    database: Database, mlflow: FakeMlflow, prefect: FakePrefect
) -> None:
    """A prompt that cannot be asked for does not keep the next one waiting."""
    set_candidate(mlflow, 2)
    await process(database, mlflow, prefect, "No Name", "insights").look()
    assert prefect.told == ["insights/2"]


async def test_trouble_is_logged_once(
    announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of minutes is one line, not one every ten seconds."""
    set_candidate(mlflow, 2)
    prefect.status = 500
    for _ in range(3):
        await announcer.look()
    assert len(caplog.records) == 1


async def test_a_wake_is_enough(announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect) -> None:
    """The process that received MLflow's push looks at once, whoever holds the lease."""
    set_candidate(mlflow, 2)
    running = asyncio.create_task(announcer.run())
    announcer.wake()
    await asyncio.wait_for(prefect.arrived.wait(), 5)
    running.cancel()
    assert prefect.told == ["insights/2"]


async def test_without_a_push_the_poll_finds_it(
    announcer: CandidateAnnouncer, mlflow: FakeMlflow, prefect: FakePrefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost push costs one interval."""
    monkeypatch.setattr("serving.candidate_announcer.POLL_S", 0.01)
    set_candidate(mlflow, 2)
    running = asyncio.create_task(announcer.run())
    await asyncio.wait_for(prefect.arrived.wait(), 5)
    running.cancel()
    assert prefect.told == ["insights/2"]
