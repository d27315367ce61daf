"""A version's page in MLflow after approvals and moves of an alias: it says what is so."""

import asyncio
import logging

import httpx
import pytest
from fakes.fake_clock import FakeClock
from fakes.fake_mlflow import URL, FakeMlflow
from fakes.promotion_stage import EXTRACTIVE, PromotionStage, version_number

from registry.database import Database
from registry.prompts.candidates import remember_candidate
from registry.prompts.mlflow_rest import MlflowRest
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import tell_serving_models
from registry.prompts.publishing import PromptPublisher
from registry.prompts.revocation import revoke
from registry.prompts.versions import PromotedVersion
from registry.signals import bump_signal
from serving.version_pages import ASKED_MAX, VersionPages

POLICY = Policy(
    use_case="insights",
    prompt="insights",
    requires=(Requirement(kind="evaluation"), Requirement(kind="approval")),
)
ONE, TWO, THREE = (version_number(number) for number in (1, 2, 3))
STALE = (
    "Why I did it.\n\n[assay]\nPASS, 2020-01-01 00:00 UTC.\nMay not become 'production' yet: (1) no approval.\n[/assay]"
)


@pytest.fixture
def stage(database: Database) -> PromotionStage:
    """Three evaluated versions of known authors, of which the first two are approved."""
    made = PromotionStage(database, FakeClock(1_795_000_000.0))
    tell_serving_models(database, [EXTRACTIVE])
    for version in (ONE, TWO, THREE):
        made.wrote(version, "ada")
        made.evaluated(version, against=None if version == ONE else ONE)
    made.approves(ONE, "bob")
    made.approves(TWO, "bob")
    return made


@pytest.fixture
async def mlflow(stage: PromotionStage) -> FakeMlflow:
    """The versions in MLflow; the pages of the first two show what an evaluation left there before their approval."""
    fake = FakeMlflow()
    publisher = PromptPublisher(MlflowRest(URL, client=fake.client()))
    for version in (ONE, TWO, THREE):
        await publisher.push(version.template, "Mine.")
    for stored in fake.prompts["insights"].versions[:2]:
        stored["description"] = STALE
        stored["tags"] += [{"key": "assay.promotable", "value": "no"}]
    return fake


@pytest.fixture
def pages(stage: PromotionStage, mlflow: FakeMlflow) -> VersionPages:
    """One process."""
    return process(stage, mlflow)


def process(stage: PromotionStage, mlflow: FakeMlflow, holder: str = "a") -> VersionPages:
    """A process that keeps pages."""
    rest = MlflowRest(URL, client=mlflow.client())
    return VersionPages(stage.database, [POLICY], mlflow=rest, mlflow_url=URL, holder=holder, clock=stage.clock)


def move(stage: PromotionStage, mlflow: FakeMlflow, version: PromotedVersion) -> None:
    """Move the alias with its record, as the gate does, and let everybody know."""
    stage.let_through(version, policy=POLICY)
    mlflow.point("insights", "production", version.version)
    bump_signal(stage.database, PROMPTS_SIGNAL)


def page(mlflow: FakeMlflow, number: int) -> str:
    """The description of a version."""
    return mlflow.prompts["insights"].versions[number - 1]["description"]


def promotable(mlflow: FakeMlflow, number: int) -> str | None:
    """The tag of a version."""
    tags = mlflow.prompts["insights"].versions[number - 1]["tags"]
    return next((tag["value"] for tag in tags if tag["key"] == "assay.promotable"), None)


def writes(mlflow: FakeMlflow) -> int:
    """How often something was changed in MLflow."""
    return sum(method != "GET" for method, _ in mlflow.calls)


async def test_an_approval_reaches_the_page(pages: VersionPages, mlflow: FakeMlflow) -> None:
    """What was missing is no longer said to be, and the author's words stay."""
    pages.ask("insights", 2)
    await pages.look()
    assert page(mlflow, 2).startswith("Why I did it.\n\n[assay]\nPASS, 2026-11-18")
    assert "May become 'production'." in page(mlflow, 2)
    assert promotable(mlflow, 2) == "yes, with extractive"


async def test_what_serves_says_so_and_what_served_may_come_back(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow
) -> None:
    """After a promotion both pages are true, each with its tag."""
    move(stage, mlflow, ONE)
    stage.clock.now += 3_600
    move(stage, mlflow, TWO)
    await pages.look()
    assert "Serves as 'production' since 2026-11-18 12:06 UTC." in page(mlflow, 2)
    assert promotable(mlflow, 2) == "serves, with extractive"
    assert "Was let through as 'production' before: a rollback may bring it back." in page(mlflow, 1)
    assert promotable(mlflow, 1) == "yes, with extractive"
    assert "May not" not in page(mlflow, 1) + page(mlflow, 2)


async def test_a_rollback_changes_places(pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow) -> None:
    """The version that serves again does so since it came back."""
    move(stage, mlflow, ONE)
    move(stage, mlflow, TWO)
    await pages.look()
    stage.clock.now += 3_600
    move(stage, mlflow, ONE)
    await pages.look()
    assert "Serves as 'production' since 2026-11-18 12:06 UTC." in page(mlflow, 1)
    assert "a rollback may bring it back." in page(mlflow, 2)


async def test_a_revocation_takes_the_way_back_off_the_page(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow
) -> None:
    """What serves instead does so since the revocation, though the alias still points at the revoked version."""
    move(stage, mlflow, ONE)
    move(stage, mlflow, TWO)
    stage.clock.now += 3_600
    revoke(stage.database, "insights", 2, reason="wrong", by="bob", note=stage.note, clock=stage.clock)
    await pages.look()
    assert "Serves as 'production' since 2026-11-18 12:06 UTC." in page(mlflow, 1)
    assert "Serves" not in page(mlflow, 2)
    assert "rollback" not in page(mlflow, 2)


async def test_an_alias_behind_the_gate_is_believed_as_far_as_serving_does(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow
) -> None:
    """A content with its record serves, since nobody knows when; one without does not, wherever the alias points."""
    move(stage, mlflow, ONE)
    move(stage, mlflow, TWO)
    mlflow.point("insights", "production", 1)
    await pages.look()
    assert "Serves as 'production'.\n" in page(mlflow, 1)
    mlflow.point("insights", "production", 3)
    bump_signal(stage.database, PROMPTS_SIGNAL)
    await pages.look()
    assert "Serves as 'production' since" in page(mlflow, 2)
    assert "a rollback may bring it back." in page(mlflow, 1)
    assert page(mlflow, 3) == "Mine."


async def test_a_waiver_that_ended_does_not_count_as_serving(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow
) -> None:
    """What it stood in for serves again since that hour, and its page says what it lacks."""
    move(stage, mlflow, ONE)
    stage.signs(THREE, "bob", 2)
    stage.signs(THREE, "eve", 2)
    move(stage, mlflow, THREE)
    await pages.look()
    stage.clock.now += 3 * 3_600
    bump_signal(stage.database, PROMPTS_SIGNAL)
    await pages.look()
    assert "Serves as 'production' since 2026-11-18 13:06 UTC." in page(mlflow, 1)
    assert "May not become 'production' yet: (1)" in page(mlflow, 3)


async def test_a_waiver_says_its_end(pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow) -> None:
    """One signature is begun, two let it serve until the stated hour."""
    remember_candidate(stage.database, "insights", 3)
    stage.signs(THREE, "bob", 2)
    pages.ask("insights", 3)
    await pages.look()
    assert "1 of 2 signatures for a waiver." in page(mlflow, 3)
    stage.signs(THREE, "eve", 2)
    pages.ask("insights", 3)
    await pages.look()
    assert "May become 'production' on a waiver until 2026-11-18 13:06 UTC." in page(mlflow, 3)
    move(stage, mlflow, THREE)
    await pages.look()
    assert (
        "Serves as 'production' since 2026-11-18 11:06 UTC, until 2026-11-18 13:06 UTC when its waiver ends."
        in page(mlflow, 3)
    )


async def test_pages_that_nobody_asked_about_stay(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow
) -> None:
    """A version without a paragraph that is neither candidate nor serving gets none, approved or once promoted."""
    stage.approves(THREE, "bob")
    pages.ask("insights", 3)
    move(stage, mlflow, ONE)
    move(stage, mlflow, THREE)
    move(stage, mlflow, ONE)
    await pages.look()
    assert (page(mlflow, 3), promotable(mlflow, 3)) == ("Mine.", None)


async def test_the_candidate_gets_its_page(pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow) -> None:
    """It is the one that people look at, also before its evaluation has ended."""
    remember_candidate(stage.database, "insights", 3)
    pages.ask("insights", 3)
    await pages.look()
    assert "May not become 'production' yet: (1)" in page(mlflow, 3)


async def test_nothing_new_writes_nothing(pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow) -> None:
    """Its own writing moves nothing, so a look follows with no call; a signal without news changes no page."""
    move(stage, mlflow, ONE)
    await pages.look()
    calls = len(mlflow.calls)
    await pages.look()
    assert len(mlflow.calls) == calls
    before = writes(mlflow)
    stage.clock.now += 3_600
    bump_signal(stage.database, PROMPTS_SIGNAL)
    await pages.look()
    assert (writes(mlflow), len(mlflow.calls) > calls) == (before, True)


async def test_one_process_tells_a_move(stage: PromotionStage, mlflow: FakeMlflow) -> None:
    """The others ask MLflow nothing while its lease runs."""
    first, second = process(stage, mlflow), process(stage, mlflow, "b")
    move(stage, mlflow, ONE)
    await first.look()
    calls = len(mlflow.calls)
    await second.look()
    assert len(mlflow.calls) == calls


async def test_mlflow_away_is_told_once_and_made_up_for(
    pages: VersionPages, stage: PromotionStage, mlflow: FakeMlflow, caplog: pytest.LogCaptureFixture
) -> None:
    """Approval and move wait for it; the log has one line."""
    pages.ask("insights", 2)
    move(stage, mlflow, ONE)
    mlflow.outage = lambda _request: httpx.Response(503, text="busy")
    with caplog.at_level(logging.WARNING):
        await pages.look()
        await pages.look()
    assert [record.message for record in caplog.records] == ["pages of versions are not up to date; trying again"]
    mlflow.outage = None
    await pages.look()
    assert "May become" in page(mlflow, 2)
    assert "Serves as" in page(mlflow, 1)


async def test_a_version_that_is_gone_keeps_no_other_from_its_page(pages: VersionPages, mlflow: FakeMlflow) -> None:
    """It is passed over."""
    pages.ask("insights", 9)
    pages.ask("insights", 1)
    await pages.look()
    assert "May become" in page(mlflow, 1)


async def test_what_waits_has_a_limit(pages: VersionPages, mlflow: FakeMlflow) -> None:
    """Nobody fills the memory of a process with approvals."""
    for number in range(ASKED_MAX + 10):
        pages.ask("another", number)
    pages.ask("insights", 1)
    await pages.look()
    assert page(mlflow, 1) == STALE


async def test_asking_wakes_the_loop(pages: VersionPages, mlflow: FakeMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """An approval is on the page without the wait between two looks."""
    looked = asyncio.Event()
    monkeypatch.setattr("serving.version_pages.LOOK_S", 3_600)

    async def look() -> None:
        looked.set()

    monkeypatch.setattr(pages, "look", look)
    running = asyncio.create_task(pages.run())
    pages.ask("insights", 1)
    async with asyncio.timeout(5):
        await looked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
