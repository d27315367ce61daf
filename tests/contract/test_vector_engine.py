"""What we ask of a vector store, driven by the vendor's own client over every adapter."""

import uuid
from typing import Any

import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from vector_points import DENSE, POINTS, SPARSE, create, matches, numbers, payload, point, point_id, vector, words

pytestmark = [
    pytest.mark.contract,
    # The client's in-memory mode says that it ignores payload indexes; that is the difference we test.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]


class TestCollections:
    """Create, look, delete."""

    def test_a_created_collection_exists_and_is_listed(
        self, vector_client: QdrantClient, empty_collection: str
    ) -> None:
        """A collection is there as soon as it was created."""
        listed = {one.name for one in vector_client.get_collections().collections}
        assert vector_client.collection_exists(empty_collection)
        assert empty_collection in listed

    def test_a_deleted_collection_is_gone(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """Deleting takes effect at once, and the name is free again."""
        vector_client.delete_collection(empty_collection)
        assert not vector_client.collection_exists(empty_collection)
        create(vector_client, empty_collection)
        assert vector_client.count(empty_collection).count == 0

    def test_the_configuration_comes_back_as_given(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """Size, distance and modifier can be checked by whoever opens a collection."""
        params = vector_client.get_collection(empty_collection).config.params
        assert isinstance(params.vectors, dict)
        assert params.sparse_vectors is not None
        assert (params.vectors[DENSE].size, params.vectors[DENSE].distance) == (4, models.Distance.COSINE)
        assert params.sparse_vectors[SPARSE].modifier == models.Modifier.IDF

    def test_metadata_is_kept_and_merged(self, vector_client: QdrantClient) -> None:
        """Notes on a collection, such as its embedding model, can be stored with it and updated."""
        name = f"test-{uuid.uuid4().hex}"
        dense = models.VectorParams(size=2, distance=models.Distance.DOT)
        vector_client.create_collection(name, vectors_config={DENSE: dense}, metadata={"model": "a", "by": "us"})
        vector_client.update_collection(name, metadata={"model": "b"})
        assert vector_client.get_collection(name).config.metadata == {"model": "b", "by": "us"}
        vector_client.delete_collection(name)

    def test_creating_it_twice_is_an_error(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """A collection is never replaced silently."""
        with pytest.raises(Exception, match="already exists"):
            create(vector_client, empty_collection)


class TestWrites:
    """Upsert, delete, payload."""

    def test_points_by_column_are_points(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """The batch form stores what the list form stores."""
        batch = models.Batch(
            ids=[point_id(number) for number in range(3)],
            vectors={
                DENSE: [vector(number) for number in range(3)],
                SPARSE: [words(number) for number in range(3)],
            },
            payloads=[payload(number) for number in range(3)],
        )
        vector_client.upsert(empty_collection, batch, wait=True)
        found = vector_client.retrieve(empty_collection, [point_id(1)], with_payload=True)
        assert found[0].payload == payload(1)
        assert vector_client.count(empty_collection).count == 3

    def test_the_same_id_replaces_the_point(self, vector_client: QdrantClient, filled_collection: str) -> None:
        """An upsert of a known id leaves one point, the new one."""
        vector_client.upsert(
            filled_collection, [models.PointStruct(id=point_id(3), vector={DENSE: vector(0)}, payload={"number": -1})]
        )
        assert vector_client.retrieve(filled_collection, [point_id(3)])[0].payload == {"number": -1}
        assert vector_client.count(filled_collection).count == POINTS

    def test_an_unwaited_write_is_seen_in_the_end(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """`wait=False` may answer earlier and loses nothing."""
        vector_client.upsert(empty_collection, [point(1)], wait=False)
        vector_client.upsert(empty_collection, [point(2)], wait=True)
        assert vector_client.count(empty_collection).count == 2

    def test_points_are_deleted_by_id(self, vector_client: QdrantClient, filled_collection: str) -> None:
        """Named points go, absent ids are no error."""
        vector_client.delete(filled_collection, [point_id(1), point_id(2), point_id(10_000)])
        assert vector_client.count(filled_collection).count == POINTS - 2

    def test_points_are_deleted_by_filter(self, vector_client: QdrantClient, filled_collection: str) -> None:
        """What passes the filter goes and nothing else."""
        chosen = models.Filter(must=[matches("tenant", "north")])
        vector_client.delete(filled_collection, models.FilterSelector(filter=chosen))
        assert vector_client.count(filled_collection).count == POINTS / 2
        assert vector_client.count(filled_collection, count_filter=chosen).count == 0

    def test_payload_is_set_overwritten_deleted_and_cleared(
        self, vector_client: QdrantClient, filled_collection: str
    ) -> None:
        """The four payload writes do what their names say."""
        ids: list[Any] = [point_id(0)]

        def now() -> dict[str, Any] | None:
            return vector_client.retrieve(filled_collection, ids)[0].payload

        vector_client.overwrite_payload(filled_collection, {"number": 7, "colour": "red"}, points=ids)
        vector_client.set_payload(filled_collection, {"colour": "blue"}, points=ids)
        assert now() == {"number": 7, "colour": "blue"}
        vector_client.delete_payload(filled_collection, ["number"], points=ids)
        assert now() == {"colour": "blue"}
        vector_client.clear_payload(filled_collection, points_selector=ids)
        assert not now()

    def test_a_filter_follows_a_changed_payload(self, vector_client: QdrantClient, filled_collection: str) -> None:
        """Payload indexes are kept up to date by every write."""
        vector_client.set_payload(
            filled_collection, {"tenant": "east"}, points=models.Filter(must=[matches("tenant", "south")])
        )
        tenants = {
            name: vector_client.count(
                filled_collection, count_filter=models.Filter(must=[matches("tenant", name)])
            ).count
            for name in ("north", "south", "east")
        }
        assert tenants == {"north": POINTS / 2, "south": 0, "east": POINTS / 2}


class TestReads:
    """Retrieve, scroll, count."""

    def test_only_known_ids_are_retrieved(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """An absent id is left out."""
        found = vector_client.retrieve(shared_collection, [point_id(4), point_id(10_000)])
        assert numbers(found) == [4]

    def test_payload_and_vectors_come_as_asked(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """Selectors by key and by vector name hold."""
        found = vector_client.retrieve(
            shared_collection, [point_id(5)], with_payload=["number"], with_vectors=[SPARSE]
        )[0]
        assert found.payload == {"number": 5}
        assert isinstance(found.vector, dict)
        assert set(found.vector) == {SPARSE}

    def test_excluded_payload_stays_away(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """A payload selector can name what to leave out."""
        unwanted = models.PayloadSelectorExclude(exclude=["tenant", "colour", "size", "day"])
        assert vector_client.retrieve(shared_collection, [point_id(5)], with_payload=unwanted)[0].payload == {
            "number": 5
        }

    def test_a_normalised_vector_comes_back(self, vector_client: QdrantClient, filled_collection: str) -> None:
        """Cosine vectors are stored at length one."""
        vector_client.upsert(filled_collection, [models.PointStruct(id=1, vector={DENSE: [3.0, 4.0, 0.0, 0.0]})])
        found = vector_client.retrieve(filled_collection, [1], with_vectors=True)[0].vector
        assert isinstance(found, dict)
        assert found[DENSE] == pytest.approx([0.6, 0.8, 0.0, 0.0])

    def test_scrolling_meets_every_point_once(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """Pages follow each other without gap or overlap, and the last has no successor."""
        seen: list[int] = []
        offset = None
        for _ in range(POINTS):
            page, offset = vector_client.scroll(shared_collection, limit=7, offset=offset)
            seen += numbers(page)
            if offset is None:
                break
        assert sorted(seen) == list(range(POINTS))


class TestQueries:
    """Dense, sparse, hybrid."""

    def test_the_nearest_come_first(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """Order and score are the cosine's."""
        found = vector_client.query_points(shared_collection, query=vector(0), using=DENSE, limit=3).points
        assert numbers(found) == [0, 1, 2]
        assert [one.score for one in found] == pytest.approx([vector(n)[0] for n in range(3)], abs=1e-6)

    def test_offset_limit_and_threshold_cut_the_list(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """A page starts after the offset and ends at the limit or the threshold."""
        page = vector_client.query_points(shared_collection, query=vector(0), using=DENSE, limit=2, offset=2).points
        near = vector_client.query_points(
            shared_collection, query=vector(0), using=DENSE, limit=30, score_threshold=vector(2)[0] - 1e-4
        )
        assert numbers(page) == [2, 3]
        assert numbers(near.points) == [0, 1, 2]

    def test_a_query_respects_its_filter(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """Nothing outside the filter is found, however near."""
        chosen = models.Filter(must=[matches("tenant", "south")])
        found = vector_client.query_points(
            shared_collection, query=vector(0), using=DENSE, limit=3, query_filter=chosen
        ).points
        assert numbers(found) == [1, 3, 5]

    def test_a_rare_word_outweighs_a_common_one(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """Word 0 is in every point and word 3 in a fifth: inverse document frequency decides."""
        wanted = models.SparseVector(indices=[0, 3], values=[1.0, 1.0])
        found = vector_client.query_points(shared_collection, query=wanted, using=SPARSE, limit=POINTS).points
        rare = {number for number in range(POINTS) if 1 + number % 5 == 3}
        assert set(numbers(found)[: len(rare)]) == rare

    def test_fusion_adds_reciprocal_ranks(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """RRF's score is the sum over the prefetches of 1 / (2 + rank), rank from 0."""
        chosen = models.Filter(must=[matches("number", 4)])
        found = vector_client.query_points(
            shared_collection,
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

    def test_hybrid_search_keeps_to_the_filter_of_each_prefetch(
        self, vector_client: QdrantClient, shared_collection: str
    ) -> None:
        """Dense and sparse candidates are both narrowed before they are fused."""
        chosen = models.Filter(must=[matches("tenant", "north"), matches("colour", "red")])
        wanted = models.SparseVector(indices=[0, 2], values=[1.0, 1.0])
        found = vector_client.query_points(
            shared_collection,
            prefetch=[
                models.Prefetch(query=vector(9), using=DENSE, limit=20, filter=chosen),
                models.Prefetch(query=wanted, using=SPARSE, limit=20, filter=chosen),
            ],
            query=models.FusionQuery(fusion=models.Fusion.RRF),
            query_filter=chosen,
            limit=20,
            with_payload=True,
        ).points
        assert {(one.payload or {})["tenant"] for one in found} == {"north"}
        assert sorted(numbers(found)) == [0, 6, 12, 18, 24]

    def test_distribution_based_fusion_ranks_the_same_best(
        self, vector_client: QdrantClient, shared_collection: str
    ) -> None:
        """DBSF is available beside RRF."""
        prefetch = [models.Prefetch(query=vector(n), using=DENSE, limit=5) for n in (0, 1)]
        fused = models.FusionQuery(fusion=models.Fusion.DBSF)
        found = vector_client.query_points(shared_collection, prefetch=prefetch, query=fused, limit=5).points
        assert set(numbers(found)[:2]) <= {0, 1, 2}

    def test_a_batch_answers_each_query_in_order(self, vector_client: QdrantClient, shared_collection: str) -> None:
        """A batch is its queries, one after the other."""
        wanted = [models.QueryRequest(query=vector(n), using=DENSE, limit=1) for n in (0, POINTS - 1, 7)]
        answers = vector_client.query_batch_points(shared_collection, wanted)
        assert [numbers(answer.points) for answer in answers] == [[0], [POINTS - 1], [7]]


class TestPayloadIndexes:
    """Create and delete."""

    def test_indexes_are_listed_with_their_type(self, vector_client: QdrantClient, empty_collection: str) -> None:
        """A collection tells which fields may be filtered on; the in-memory mode has none."""
        if vector_client.get_collection(empty_collection).payload_schema:
            schema = vector_client.get_collection(empty_collection).payload_schema
            assert {field: index.data_type.value for field, index in schema.items()} == {
                "tenant": "keyword",
                "colour": "keyword",
                "number": "integer",
                "size": "float",
                "day": "datetime",
            }
            vector_client.delete_payload_index(empty_collection, "colour")
            assert "colour" not in vector_client.get_collection(empty_collection).payload_schema


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
