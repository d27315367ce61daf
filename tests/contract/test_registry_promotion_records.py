"""What promotion records and the told chain promise, on SQLite and on PostgreSQL alike."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat

import pytest
from sqlalchemy import update

from registry.database import Database
from registry.prompts.promotion_records import (
    Promotion,
    ServingModel,
    last_of_each_content,
    promotions_of,
    tell_serving_models,
    told_serving_models,
    valid_promotion,
    valid_promotions,
    was_promoted,
    write_promotion,
)
from registry.prompts.revocation import revoke_promotions
from registry.schema import promotions

pytestmark = pytest.mark.contract

FIRST = Promotion(
    id="r1",
    prompt_name="insights",
    prompt_version=1,
    content_hash="h1",
    use_case="insights",
    alias="production",
    models=(ServingModel(provider="openai", model="gpt"), ServingModel(provider="extractive", model="e1")),
    basis="evidence",
    promoted_by="ada",
    evidence=("e1", "e2"),
    created_ms=1_000,
)
WAIVED = replace(FIRST, id="r2", content_hash="h2", basis="waiver", created_ms=2_000, expires_ms=9_000)


@pytest.fixture
def written(registry: Database) -> Database:
    """A promoted content, and one that a waiver let through after it."""
    for record in (FIRST, WAIVED):
        write_promotion(registry, record)
    return registry


def test_the_newest_comes_first(written: Database) -> None:
    """What was last let through, and everything as it was written."""
    assert valid_promotions(written, "insights", "production", 3_000) == (WAIVED, FIRST)
    assert was_promoted(written, "insights")


def test_a_record_ends_when_it_says(written: Database) -> None:
    """From its very millisecond on."""
    ends_ms = WAIVED.expires_ms or 0
    assert valid_promotion(written, "insights", "production", "h2", ends_ms - 1) == WAIVED
    assert valid_promotion(written, "insights", "production", "h2", ends_ms) is None
    assert valid_promotions(written, "insights", "production", ends_ms) == (FIRST,)


def test_a_revoked_record_is_over(written: Database) -> None:
    """And keeps the time of its first revocation."""
    revoke_promotions(written, [FIRST.id], 4_000)
    revoke_promotions(written, [FIRST.id], 5_000)
    assert valid_promotion(written, "insights", "production", "h1", 3_000) is None
    assert was_promoted(written, "insights")


@pytest.mark.parametrize(("name", "alias"), [("other", "production"), ("insights", "experiment:1")])
def test_a_record_counts_in_its_place_only(written: Database, name: str, alias: str) -> None:
    """Another prompt or alias with the same content needs its own."""
    assert valid_promotion(written, name, alias, "h1", 3_000) is None
    assert valid_promotions(written, name, alias, 3_000) == ()


def test_a_content_has_its_newest_record(written: Database) -> None:
    """When a content was let through twice, the later record says with which models."""
    again = replace(FIRST, id="r3", models=FIRST.models[:1], created_ms=3_000)
    write_promotion(written, again)
    assert valid_promotion(written, "insights", "production", "h1", 4_000) == again


def test_workers_tell_one_chain(registry: Database) -> None:
    """Processes of two chains that start at once leave one of both, whole; a shorter one leaves nothing of a longer."""
    long = tuple(ServingModel(provider=f"p{number}", model="m") for number in range(4))
    short = (ServingModel(provider="only", model="m"),)
    assert told_serving_models(registry) == ()
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(tell_serving_models, repeat(registry), [long, short] * 8))
    assert told_serving_models(registry) in {long, short}
    for chain in (long, short):
        tell_serving_models(registry, chain)
        assert told_serving_models(registry) == chain


@pytest.mark.parametrize(
    "damage", [{"models": "[1]"}, {"models": "{"}, {"evidence": "null"}, {"evidence": "[1]"}, {"basis": "whim"}]
)
def test_a_row_that_cannot_be_read_is_no_record(written: Database, damage: dict[str, str]) -> None:
    """It is passed over; the records beside and before it count, also an older one of the same content."""
    write_promotion(written, replace(FIRST, id="r3", created_ms=3_000))
    with written.write() as connection:
        connection.execute(update(promotions).where(promotions.c.id == "r3").values(damage))
    place = (written, "insights", "production")
    assert valid_promotions(*place, 4_000, limit=1) == (WAIVED,)
    assert valid_promotion(*place, "h1", 4_000) == FIRST
    assert last_of_each_content(*place, 4_000) == (WAIVED, FIRST)
    assert promotions_of(written, "insights", 1, 4_000) == (WAIVED, FIRST)
