"""No tenant ever reads, counts or deletes another tenant's passages: over every engine that we speak to."""

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fixtures_engine import ENGINE_KEY, EngineProcess
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from qdrant_client import AsyncQdrantClient, models

from registry.corpus.collection import Corpus, point_id
from registry.corpus.ingest import ingest
from registry.corpus.search import document_passages, get_passages, search
from registry.database import Database, open_database
from registry.embedding import Embedder
from registry.errors import InvalidInput
from registry.insights import FilterValue, Passage
from registry.tenants import Tenants

pytestmark = [pytest.mark.contract, pytest.mark.asyncio(loop_scope="module")]

OWNERS = ("acme", "acme-2", "acm")
"""Names that contain one another."""
SECRET = "SECRET"
FILTERS = TypeAdapter(dict[str, FilterValue])


def write_documents(directory: Path, owner: str) -> Path:
    """The same file names for every tenant; each text says whose it is. One tries to pass for another's."""
    directory.mkdir()
    others = [name for name in OWNERS if name != owner]
    front = f"---\ntenant: {others[0]}\ntitle: {others[1]}\nkind: review\ndate: 2026-05\nlanguage: en\n---\n"
    (directory / "plan.md").write_text(f"{front}# Plan\n\nRevenue of the {SECRET}-{owner} plan rose to 4.2 million.\n")
    (directory / "prices.csv").write_text(f"tenant,product,price\n{others[0]},{SECRET}-{owner},12\n")
    return directory


def is_own(passage: Passage, owner: str) -> bool:
    """Whether a passage says that it is this tenant's."""
    return f"{SECRET}-{owner} " in f"{passage.text} ".replace("\n", " ")


async def engine_client(kind: str, request: pytest.FixtureRequest) -> AsyncQdrantClient:
    """A client of the engine named, or a skip that says what is missing."""
    if kind == "memory":
        return AsyncQdrantClient(":memory:")
    if kind == "adapter":
        engine: EngineProcess = request.getfixturevalue("engine")
        return AsyncQdrantClient(url=engine.url, api_key=ENGINE_KEY, check_compatibility=False)
    if "QDRANT_URL" not in os.environ:
        pytest.skip("QDRANT_URL is not set: no real Qdrant cluster to check tenant isolation against")
    return AsyncQdrantClient(url=os.environ["QDRANT_URL"], api_key=os.environ.get("QDRANT_API_KEY"))


@pytest.fixture(scope="module")
def registry(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One registry for the engines of this module, each with tenants of its own names."""
    path = tmp_path_factory.mktemp("isolation") / "registry.db"
    shutil.copyfile(migrated_file, path)
    opened = open_database(f"sqlite:///{path}")
    for owner in (*OWNERS, "changing"):
        Tenants(opened).create(owner, owner)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of documents for each tenant."""
    directory = tmp_path_factory.mktemp("documents")
    for owner in OWNERS:
        write_documents(directory / owner, owner)
    return directory


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "adapter", "cluster"])
async def shared(
    request: pytest.FixtureRequest, embedder: Embedder, registry: Database, documents: Path
) -> AsyncIterator[Corpus]:
    """A collection that three tenants have filled through ingest."""
    client = await engine_client(request.param, request)
    corpus = Corpus("", None, embedder, collection=f"isolation-{uuid.uuid4()}", client=client)
    for owner in OWNERS:
        report = await ingest(corpus, registry, owner, [documents / owner])
        assert (report.added + report.updated, report.failed) == (2, ())
    yield corpus
    await client.delete_collection(corpus.collection)
    await client.close()


EVERY_OWNER = st.sampled_from(OWNERS)
WORDS = st.sampled_from([*(f"{SECRET}-{owner}" for owner in OWNERS), *OWNERS, "revenue", "plan", "price", "tenant"])
TEXTS = st.lists(WORDS | st.text(max_size=8), max_size=6).map(" ".join)
FIELDS = st.sampled_from(
    ["tenant", "document", "title", "kind", "language", "date", "text", "must", "should", "has_id"]
)
VALUES = st.one_of(
    EVERY_OWNER,
    st.sampled_from(["plan.md", "prices.csv", "review", "csv", "en", "2026", "2026-05"]),
    st.text(max_size=12),
    st.integers(),
    st.lists(EVERY_OWNER | st.sampled_from(["plan.md", "review", "2026-05"]), max_size=4),
    st.fixed_dictionaries({"gte": st.sampled_from(["0000", "2026", "x"]), "lte": st.sampled_from(["9999", "2026-05"])}),
    # What the engine's own filters look like, in the hope that one is passed on.
    st.sampled_from(
        [
            {"must_not": [{"key": "tenant", "match": {"value": "acme"}}]},
            {"should": [{"key": "tenant", "match": {"any": list(OWNERS)}}]},
            {"min_should": {"conditions": [], "min_count": 0}},
            {"match": {"except": ["acme"]}},
        ]
    ),
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    owner=EVERY_OWNER,
    text=TEXTS,
    filters=st.dictionaries(FIELDS, VALUES, max_size=3),
    top_k=st.integers(1, 200),
    mode=st.sampled_from(["hybrid", "dense", "bm25"]),
)
async def test_no_search_crosses_tenants(
    shared: Corpus, owner: str, text: str, filters: dict[str, Any], top_k: int, mode: Any
) -> None:
    """Whatever is asked and filtered by, every passage is the caller's own; a foreign field is refused."""
    try:
        found = await search(shared, owner, text, top_k, FILTERS.validate_python(filters), mode)
    except (InvalidInput, ValidationError):
        return
    assert all(is_own(passage, owner) for passage in found)
    assert "tenant" not in filters


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    owner=EVERY_OWNER,
    asked=st.lists(
        st.tuples(EVERY_OWNER, st.sampled_from(["plan.md", "prices.csv", "x"]), st.integers(0, 2)), max_size=9
    ),
)
async def test_no_id_crosses_tenants(shared: Corpus, owner: str, asked: list[tuple[str, str, int]]) -> None:
    """Knowing another tenant's ids is of no use; one's own are all found."""
    ids = [point_id(*which) for which in asked]
    found = await get_passages(shared, owner, ids)
    own = {point_id(*which) for which in asked if which[0] == owner and which[1] != "x" and which[2] == 0}
    assert {passage.id for passage in found} == own
    assert all(is_own(passage, owner) for passage in found)


@pytest.mark.parametrize("tenant", ["", "*", "ACME", "acme ", "acme\x00", "acme,acme-2", '{"any": ["acme"]}', "acm%"])
async def test_no_tenant_name_means_several(shared: Corpus, tenant: str) -> None:
    """Something like a pattern or a list is no tenant."""
    with pytest.raises(InvalidInput):
        await search(shared, tenant, "revenue")
    with pytest.raises(InvalidInput):
        await get_passages(shared, tenant, [point_id("acme", "plan.md", 0)])
    with pytest.raises(InvalidInput):
        await document_passages(shared, tenant, "plan.md")


async def test_whole_documents_are_the_callers_own(shared: Corpus) -> None:
    """The same document name gives each tenant its own text."""
    for owner in OWNERS:
        (passage,) = await document_passages(shared, owner, "plan.md")
        assert is_own(passage, owner)


async def test_deleting_and_replacing_touch_one_tenant(shared: Corpus, registry: Database, tmp_path: Path) -> None:
    """A tenant that adds, changes and removes documents of common names leaves the others as they were."""
    before = {owner: await search(shared, owner, "revenue plan price", 50) for owner in OWNERS}
    directory = write_documents(tmp_path / "changing", "changing")
    await ingest(shared, registry, "changing", [directory])
    (directory / "plan.md").write_text(f"{SECRET}-changing starts anew.")
    (directory / "prices.csv").unlink()
    report = await ingest(shared, registry, "changing", [directory])
    assert (report.updated, report.removed, await shared.count("changing")) == (1, 1, 1)
    (directory / "plan.md").unlink()
    await ingest(shared, registry, "changing", [directory])
    assert await shared.count("changing") == 0
    after = {owner: await search(shared, owner, "revenue plan price", 50) for owner in OWNERS}
    assert {owner: {passage.id for passage in found} for owner, found in after.items()} == {
        owner: {passage.id for passage in found} for owner, found in before.items()
    }


async def test_what_others_store_moves_no_score(shared: Corpus, registry: Database, tmp_path: Path) -> None:
    """A tenant's BM25 scores do not tell which words other tenants' documents hold."""
    before = await search(shared, "acme", "revenue plan", 50, mode="bm25")
    directory = tmp_path / "changing"
    directory.mkdir()
    (directory / "words.txt").write_text("revenue revenue plan\n\n" * 40)
    await ingest(shared, registry, "changing", [directory])
    during = await search(shared, "acme", "revenue plan", 50, mode="bm25")
    (directory / "words.txt").unlink()
    await ingest(shared, registry, "changing", [directory])
    assert [passage.score for passage in during] == pytest.approx([passage.score for passage in before])


async def test_a_tenant_named_in_a_payload_gains_nothing(shared: Corpus) -> None:
    """Points carry the tenant that was ingested for, once, whatever the documents say."""
    found, _ = await shared.client.scroll(shared.collection, limit=100, with_payload=True)
    owners = [record.payload["tenant"] for record in found if record.payload]
    assert sorted(owners) == sorted([*OWNERS, *OWNERS])
    for record in found:
        assert record.payload is not None
        assert f"{SECRET}-{record.payload['tenant']} " in f"{record.payload['text']} ".replace("\n", " ")


async def test_the_engine_itself_obeys_the_tenant_condition(shared: Corpus) -> None:
    """The promise rests on the engine's filter, not only on our second look at what it returns."""
    for owner in OWNERS:
        condition = models.FieldCondition(key="tenant", match=models.MatchValue(value=owner))
        found, _ = await shared.client.scroll(
            shared.collection, scroll_filter=models.Filter(must=[condition]), limit=100, with_payload=True
        )
        assert [record.payload["tenant"] for record in found if record.payload] == [owner, owner]
