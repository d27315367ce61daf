"""What we ask of a vector store, driven by the vendor's own client over every adapter."""

import math
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient, QdrantClient, models

pytestmark = [
    pytest.mark.contract,
    # The client's in-memory mode says that it ignores payload indexes; that is the difference we test.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]

DENSE, SPARSE = "dense", "bm25"
TENANTS = ("north", "south")
COLOURS = ("red", "green", "blue")
POINTS = 30


def point_id(number: int) -> str:
    """The same UUID for the same number."""
    return str(uuid.UUID(int=number + 1))


def vector(number: int) -> list[float]:
    """A direction in the plane, a little further round for each number."""
    angle = math.pi * number / (2 * POINTS)
    return [math.cos(angle), math.sin(angle), 0.0, 0.0]


def payload(number: int) -> dict[str, Any]:
    """Tenant, colour, number and size of a point."""
    return {
        "tenant": TENANTS[number % 2],
        "colour": COLOURS[number % 3],
        "number": number,
        "size": number / 2,
        "day": f"2026-01-{number + 1:02d}T12:00:00Z",
    }


def point(number: int) -> models.PointStruct:
    """A point with a dense vector, two words and a payload."""
    words = models.SparseVector(indices=sorted({0, 1 + number % 5}), values=[1.0, 1.0])
    return models.PointStruct(id=point_id(number), vector={DENSE: vector(number), SPARSE: words}, payload=payload(number))


def create(client: QdrantClient, name: str) -> None:
    """An empty collection with our shape and payload indexes."""
    client.create_collection(
        name,
        vectors_config={DENSE: models.VectorParams(size=4, distance=models.Distance.COSINE)},
        sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    client.create_payload_index(name, "tenant", tenant)
    client.create_payload_index(name, "colour", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(name, "number", models.PayloadSchemaType.INTEGER)
    client.create_payload_index(name, "size", models.PayloadSchemaType.FLOAT)
    client.create_payload_index(name, "day", models.PayloadSchemaType.DATETIME)


def matches(key: str, value: str | int) -> models.FieldCondition:
    """A field equals a value."""
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def numbers(points: list[Any]) -> list[int]:
    """Which points came back, in their order."""
    return [uuid.UUID(str(found.id)).int - 1 for found in points]


@pytest.fixture(scope="module", params=["memory", "edge", "server"])
def client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    """The same client over Qdrant's in-memory mode, our adapter, and a real server when one is named."""
    if request.param == "memory":
        made = QdrantClient(":memory:")
    elif request.param == "edge":
        running: EngineProcess = request.getfixturevalue("engine")
        made = QdrantClient(url=running.url, api_key=ENGINE_KEY)
    elif url := os.environ.get("QDRANT_URL"):
        made = QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY"))
    else:
        pytest.skip("QDRANT_URL is not set: the promises were not checked on a real Qdrant server")
    yield made
    made.close()


@pytest.fixture
def empty(client: QdrantClient) -> Iterator[str]:
    """Name of an empty collection of this test's own."""
    name = f"test-{uuid.uuid4().hex}"
    create(client, name)
    yield name
    client.delete_collection(name)


@pytest.fixture
def filled(client: QdrantClient, empty: str) -> str:
    """Name of a collection with 30 points."""
    client.upsert(empty, [point(number) for number in range(POINTS)], wait=True)
    return empty


@pytest.fixture(scope="module")
def shared(client: QdrantClient) -> Iterator[str]:
    """A collection with 30 points that no test writes to."""
    name = f"shared-{uuid.uuid4().hex}"
    create(client, name)
    client.upsert(name, [point(number) for number in range(POINTS)], wait=True)
    yield name
    client.delete_collection(name)


class TestCollections:
    """Create, look, delete."""

    def test_a_created_collection_exists_and_is_listed(self, client: QdrantClient, empty: str) -> None:
        """A collection is there as soon as it was created."""
        listed = {one.name for one in client.get_collections().collections}
        assert client.collection_exists(empty)
        assert empty in listed

    def test_a_deleted_collection_is_gone(self, client: QdrantClient, empty: str) -> None:
        """Deleting takes effect at once, and the name is free again."""
        client.delete_collection(empty)
        assert not client.collection_exists(empty)
        create(client, empty)
        assert client.count(empty).count == 0

    def test_the_configuration_comes_back_as_given(self, client: QdrantClient, empty: str) -> None:
        """Size, distance and modifier can be checked by whoever opens a collection."""
        params = client.get_collection(empty).config.params
        assert isinstance(params.vectors, dict)
        assert params.sparse_vectors is not None
        assert (params.vectors[DENSE].size, params.vectors[DENSE].distance) == (4, models.Distance.COSINE)
        assert params.sparse_vectors[SPARSE].modifier == models.Modifier.IDF

    def test_metadata_is_kept_and_merged(self, client: QdrantClient) -> None:
        """Notes on a collection, such as its embedding model, can be stored with it and updated."""
        name = f"test-{uuid.uuid4().hex}"
        dense = models.VectorParams(size=2, distance=models.Distance.DOT)
        client.create_collection(name, vectors_config={DENSE: dense}, metadata={"model": "a", "by": "us"})
        client.update_collection(name, metadata={"model": "b"})
        assert client.get_collection(name).config.metadata == {"model": "b", "by": "us"}
        client.delete_collection(name)

    def test_creating_it_twice_is_an_error(self, client: QdrantClient, empty: str) -> None:
        """A collection is never replaced silently."""
        with pytest.raises(Exception, match="already exists"):
            create(client, empty)


class TestWrites:
    """Upsert, delete, payload."""

    def test_points_by_column_are_points(self, client: QdrantClient, empty: str) -> None:
        """The batch form stores what the list form stores."""
        made = [point(number) for number in range(3)]
        vectors = {name: [one.vector[name] for one in made] for name in (DENSE, SPARSE)}  # pyright: ignore
        batch = models.Batch(
            ids=[one.id for one in made], vectors=vectors, payloads=[one.payload or {} for one in made]
        )
        client.upsert(empty, batch, wait=True)
        found = client.retrieve(empty, [point_id(1)], with_payload=True)
        assert found[0].payload == payload(1)
        assert client.count(empty).count == 3

    def test_the_same_id_replaces_the_point(self, client: QdrantClient, filled: str) -> None:
        """An upsert of a known id leaves one point, the new one."""
        client.upsert(filled, [models.PointStruct(id=point_id(3), vector={DENSE: vector(0)}, payload={"number": -1})])
        assert client.retrieve(filled, [point_id(3)])[0].payload == {"number": -1}
        assert client.count(filled).count == POINTS

    def test_an_unwaited_write_is_seen_in_the_end(self, client: QdrantClient, empty: str) -> None:
        """`wait=False` may answer earlier and loses nothing."""
        client.upsert(empty, [point(1)], wait=False)
        client.upsert(empty, [point(2)], wait=True)
        assert client.count(empty).count == 2

    def test_points_are_deleted_by_id(self, client: QdrantClient, filled: str) -> None:
        """Named points go, absent ids are no error."""
        client.delete(filled, [point_id(1), point_id(2), point_id(10_000)])
        assert client.count(filled).count == POINTS - 2

    def test_points_are_deleted_by_filter(self, client: QdrantClient, filled: str) -> None:
        """What passes the filter goes and nothing else."""
        chosen = models.Filter(must=[matches("tenant", "north")])
        client.delete(filled, models.FilterSelector(filter=chosen))
        assert client.count(filled).count == POINTS / 2
        assert client.count(filled, count_filter=chosen).count == 0

    def test_payload_is_set_overwritten_deleted_and_cleared(self, client: QdrantClient, filled: str) -> None:
        """The four payload writes do what their names say."""
        ids: list[Any] = [point_id(0)]

        def now() -> dict[str, Any] | None:
            return client.retrieve(filled, ids)[0].payload

        client.overwrite_payload(filled, {"number": 7, "colour": "red"}, points=ids)
        client.set_payload(filled, {"colour": "blue"}, points=ids)
        assert now() == {"number": 7, "colour": "blue"}
        client.delete_payload(filled, ["number"], points=ids)
        assert now() == {"colour": "blue"}
        client.clear_payload(filled, points_selector=ids)
        assert not now()

    def test_a_filter_follows_a_changed_payload(self, client: QdrantClient, filled: str) -> None:
        """Payload indexes are kept up to date by every write."""
        client.set_payload(filled, {"tenant": "east"}, points=models.Filter(must=[matches("tenant", "south")]))
        tenants = {
            name: client.count(filled, count_filter=models.Filter(must=[matches("tenant", name)])).count
            for name in ("north", "south", "east")
        }
        assert tenants == {"north": POINTS / 2, "south": 0, "east": POINTS / 2}


class TestReads:
    """Retrieve, scroll, count."""

    def test_only_known_ids_are_retrieved(self, client: QdrantClient, shared: str) -> None:
        """An absent id is left out."""
        found = client.retrieve(shared, [point_id(4), point_id(10_000)])
        assert numbers(found) == [4]

    def test_payload_and_vectors_come_as_asked(self, client: QdrantClient, shared: str) -> None:
        """Selectors by key and by vector name hold."""
        found = client.retrieve(shared, [point_id(5)], with_payload=["number"], with_vectors=[SPARSE])[0]
        assert found.payload == {"number": 5}
        assert isinstance(found.vector, dict)
        assert set(found.vector) == {SPARSE}

    def test_excluded_payload_stays_away(self, client: QdrantClient, shared: str) -> None:
        """A payload selector can name what to leave out."""
        unwanted = models.PayloadSelectorExclude(exclude=["tenant", "colour", "size", "day"])
        assert client.retrieve(shared, [point_id(5)], with_payload=unwanted)[0].payload == {"number": 5}

    def test_a_normalised_vector_comes_back(self, client: QdrantClient, filled: str) -> None:
        """Cosine vectors are stored at length one."""
        client.upsert(filled, [models.PointStruct(id=1, vector={DENSE: [3.0, 4.0, 0.0, 0.0]})])
        found = client.retrieve(filled, [1], with_vectors=True)[0].vector
        assert isinstance(found, dict)
        assert found[DENSE] == pytest.approx([0.6, 0.8, 0.0, 0.0])

    def test_scrolling_meets_every_point_once(self, client: QdrantClient, shared: str) -> None:
        """Pages follow each other without gap or overlap, and the last has no successor."""
        seen: list[int] = []
        offset = None
        for _ in range(POINTS):
            page, offset = client.scroll(shared, limit=7, offset=offset)
            seen += numbers(page)
            if offset is None:
                break
        assert sorted(seen) == list(range(POINTS))


class TestQueries:
    """Dense, sparse, hybrid."""

    def test_the_nearest_come_first(self, client: QdrantClient, shared: str) -> None:
        """Order and score are the cosine's."""
        found = client.query_points(shared, query=vector(0), using=DENSE, limit=3).points
        assert numbers(found) == [0, 1, 2]
        assert [one.score for one in found] == pytest.approx([vector(n)[0] for n in range(3)], abs=1e-6)

    def test_offset_limit_and_threshold_cut_the_list(self, client: QdrantClient, shared: str) -> None:
        """A page starts after the offset and ends at the limit or the threshold."""
        page = client.query_points(shared, query=vector(0), using=DENSE, limit=2, offset=2).points
        near = client.query_points(shared, query=vector(0), using=DENSE, limit=30, score_threshold=vector(2)[0] - 1e-4)
        assert numbers(page) == [2, 3]
        assert numbers(near.points) == [0, 1, 2]

    def test_a_query_respects_its_filter(self, client: QdrantClient, shared: str) -> None:
        """Nothing outside the filter is found, however near."""
        chosen = models.Filter(must=[matches("tenant", "south")])
        found = client.query_points(shared, query=vector(0), using=DENSE, limit=3, query_filter=chosen).points
        assert numbers(found) == [1, 3, 5]

    def test_a_rare_word_outweighs_a_common_one(self, client: QdrantClient, shared: str) -> None:
        """Word 0 is in every point and word 3 in a fifth: inverse document frequency decides."""
        words = models.SparseVector(indices=[0, 3], values=[1.0, 1.0])
        found = client.query_points(shared, query=words, using=SPARSE, limit=POINTS).points
        rare = {number for number in range(POINTS) if 1 + number % 5 == 3}
        assert set(numbers(found)[: len(rare)]) == rare

    def test_fusion_adds_reciprocal_ranks(self, client: QdrantClient, shared: str) -> None:
        """RRF's score is the sum over the prefetches of 1 / (2 + rank), rank from 0."""
        chosen = models.Filter(must=[matches("number", 4)])
        found = client.query_points(
            shared,
            prefetch=[
                models.Prefetch(query=vector(0), using=DENSE, limit=2),
                models.Prefetch(query=vector(0), using=DENSE, limit=2, filter=chosen),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            limit=3,
        ).points
        assert {number: one.score for number, one in zip(numbers(found), found, strict=True)} == pytest.approx(
            {0: 1 / 2, 4: 1 / 2, 1: 1 / 3}
        )

    def test_hybrid_search_keeps_to_the_filter_of_each_prefetch(self, client: QdrantClient, shared: str) -> None:
        """Dense and sparse candidates are both narrowed before they are fused."""
        chosen = models.Filter(must=[matches("tenant", "north"), matches("colour", "red")])
        words = models.SparseVector(indices=[0, 2], values=[1.0, 1.0])
        found = client.query_points(
            shared,
            prefetch=[
                models.Prefetch(query=vector(9), using=DENSE, limit=20, filter=chosen),
                models.Prefetch(query=words, using=SPARSE, limit=20, filter=chosen),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            query_filter=chosen,
            limit=20,
            with_payload=True,
        ).points
        assert {(one.payload or {})["tenant"] for one in found} == {"north"}
        assert sorted(numbers(found)) == [0, 6, 12, 18, 24]

    def test_distribution_based_fusion_ranks_the_same_best(self, client: QdrantClient, shared: str) -> None:
        """DBSF is available beside RRF."""
        prefetch = [models.Prefetch(query=vector(n), using=DENSE, limit=5) for n in (0, 1)]
        fused = models.FusionQuery(fusion=models.Fusion.DBSF)
        found = client.query_points(shared, prefetch=prefetch, query=fused, limit=5).points
        assert set(numbers(found)[:2]) <= {0, 1, 2}

    def test_a_batch_answers_each_query_in_order(self, client: QdrantClient, shared: str) -> None:
        """A batch is its queries, one after the other."""
        wanted = [models.QueryRequest(query=vector(n), using=DENSE, limit=1) for n in (0, POINTS - 1, 7)]
        answers = client.query_batch_points(shared, wanted)
        assert [numbers(answer.points) for answer in answers] == [[0], [POINTS - 1], [7]]


class TestPayloadIndexes:
    """Create and delete."""

    def test_indexes_are_listed_with_their_type(self, client: QdrantClient, empty: str) -> None:
        """A collection tells which fields may be filtered on; the in-memory mode has none."""
        if client.get_collection(empty).payload_schema:
            schema = client.get_collection(empty).payload_schema
            assert {field: index.data_type.value for field, index in schema.items()} == {
                "tenant": "keyword",
                "colour": "keyword",
                "number": "integer",
                "size": "float",
                "day": "datetime",
            }
            client.delete_payload_index(empty, "colour")
            assert "colour" not in client.get_collection(empty).payload_schema


Predicate = Callable[[dict[str, Any]], bool]


def condition() -> st.SearchStrategy[tuple[models.Condition, Predicate]]:
    """A condition beside what it means."""
    colours = st.lists(st.sampled_from([*COLOURS, "none"]), min_size=1, max_size=3)
    bounds = st.tuples(st.integers(-1, POINTS), st.integers(-1, POINTS))
    return st.one_of(
        st.sampled_from(TENANTS).map(lambda name: (matches("tenant", name), lambda p, name=name: p["tenant"] == name)),
        st.integers(0, POINTS).map(lambda n: (matches("number", n), lambda p, n=n: p["number"] == n)),
        st.integers(1, POINTS).map(
            lambda day: (
                models.FieldCondition(key="day", range=models.DatetimeRange(lt=datetime(2026, 1, day, tzinfo=UTC))),
                lambda p, day=day: p["number"] + 1 < day,
            )
        ),
        colours.map(
            lambda any_: (
                models.FieldCondition(key="colour", match=models.MatchAny(any=any_)),
                lambda p, any_=any_: p["colour"] in any_,
            )
        ),
        colours.map(
            lambda but: (
                models.FieldCondition(key="colour", match=models.MatchExcept(**{"except": but})),
                lambda p, but=but: p["colour"] not in but,
            )
        ),
        bounds.map(
            lambda pair: (
                models.FieldCondition(key="number", range=models.Range(gte=pair[0], lt=pair[1])),
                lambda p, pair=pair: pair[0] <= p["number"] < pair[1],
            )
        ),
        bounds.map(
            lambda pair: (
                models.FieldCondition(key="size", range=models.Range(gt=pair[0], lte=pair[1])),
                lambda p, pair=pair: pair[0] < p["size"] <= pair[1],
            )
        ),
        st.lists(st.integers(0, POINTS + 5), max_size=5).map(
            lambda some: (
                models.HasIdCondition(has_id=[point_id(n) for n in some]),
                lambda p, some=some: p["number"] in some,
            )
        ),
    )


def combined(
    inner: st.SearchStrategy[tuple[models.Condition, Predicate]],
) -> st.SearchStrategy[tuple[models.Condition, Predicate]]:
    """A filter of conditions beside what it means."""
    some = st.lists(inner, min_size=1, max_size=3)

    def joined(how: str, parts: list[tuple[models.Condition, Predicate]], least: int) -> tuple[Any, Predicate]:
        conditions = [one for one, _ in parts]
        meanings = [meaning for _, meaning in parts]
        if how == "must":
            return models.Filter(must=conditions), lambda p: all(meaning(p) for meaning in meanings)
        if how == "should":
            return models.Filter(should=conditions), lambda p: any(meaning(p) for meaning in meanings)
        if how == "must_not":
            return models.Filter(must_not=conditions), lambda p: not any(meaning(p) for meaning in meanings)
        enough = models.MinShould(conditions=conditions, min_count=least)
        return models.Filter(min_should=enough), lambda p: sum(meaning(p) for meaning in meanings) >= least

    return st.builds(joined, st.sampled_from(["must", "should", "must_not", "min_should"]), some, st.integers(1, 3))


class TestFilters:
    """Filters mean the same everywhere."""

    @given(drawn=st.recursive(condition(), combined, max_leaves=6))
    @settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_filter_selects_what_it_means(
        self, client: QdrantClient, shared: str, drawn: tuple[models.Condition, Predicate]
    ) -> None:
        """Any filter, however combined, passes exactly the points that it describes."""
        chosen, meaning = drawn
        found, _ = client.scroll(shared, scroll_filter=models.Filter(must=[chosen]), limit=POINTS, with_payload=True)
        assert sorted(numbers(found)) == [n for n in range(POINTS) if meaning(payload(n))]


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")
async def test_the_async_client_works_too(engine: EngineProcess) -> None:
    """AsyncQdrantClient, which serving uses, needs nothing else."""
    name = f"test-{uuid.uuid4().hex}"
    asynchronous = AsyncQdrantClient(url=engine.url, api_key=ENGINE_KEY)
    dense = models.VectorParams(size=4, distance=models.Distance.COSINE)
    await asynchronous.create_collection(name, vectors_config={DENSE: dense})
    await asynchronous.upsert(name, [models.PointStruct(id=1, vector={DENSE: vector(1)})])
    found = await asynchronous.query_points(name, query=vector(1), using=DENSE)
    assert [one.id for one in found.points] == [1]
    await asynchronous.delete_collection(name)
    await asynchronous.close()
