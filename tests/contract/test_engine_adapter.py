"""What our REST adapter adds to the vendor's engine: who may call, what is refused, how it starts and stops."""

import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from qdrant_client import QdrantClient
from vector_points import DENSE, SPARSE, create, point, vector

pytestmark = pytest.mark.contract

Json = dict[str, Any]
GOOD = {DENSE: vector(1)}


@pytest.fixture(scope="module")
def http(engine: EngineProcess) -> Iterator[httpx.Client]:
    """A bare HTTP client with the right key."""
    with httpx.Client(base_url=engine.url, headers={"api-key": ENGINE_KEY}) as made:
        yield made


@pytest.fixture(scope="module")
def path(engine: EngineProcess) -> Iterator[str]:
    """Path of a collection with 30 points."""
    name = f"adapter-{uuid.uuid4().hex}"
    client = QdrantClient(url=engine.url, api_key=ENGINE_KEY)
    create(client, name)
    client.upsert(name, [point(number) for number in range(30)])
    yield f"/collections/{name}"
    client.delete_collection(name)
    client.close()


def error(answer: httpx.Response) -> str:
    """The sentence of a refusal."""
    return str(answer.json()["status"]["error"])


class TestWhoMayCall:
    """Key, host, size."""

    @pytest.mark.parametrize("route", ["/", "/collections", "/collections/any/points/count", "/no/such/route"])
    def test_nothing_is_told_without_the_key(self, engine: EngineProcess, route: str) -> None:
        """Every route wants the key before it says whether it exists."""
        assert httpx.get(engine.url + route).status_code == 401

    def test_a_wrong_key_is_refused(self, engine: EngineProcess) -> None:
        """A key that is nearly right is wrong."""
        answer = httpx.get(f"{engine.url}/collections", headers={"api-key": ENGINE_KEY + "x"})
        assert (answer.status_code, error(answer)) == (401, "Invalid API key")

    def test_a_bearer_token_is_as_good(self, engine: EngineProcess) -> None:
        """The key may come as `Authorization: Bearer` too."""
        assert httpx.get(f"{engine.url}/collections", headers={"authorization": f"Bearer {ENGINE_KEY}"}).is_success

    @pytest.mark.parametrize("probe", ["/healthz", "/livez", "/readyz"])
    def test_probes_are_open(self, engine: EngineProcess, probe: str) -> None:
        """A supervisor needs no key to see that the process is well."""
        assert httpx.get(engine.url + probe).is_success

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:6333", "", "localhost.:1"])
    def test_a_foreign_host_name_is_refused(self, http: httpx.Client, host: str) -> None:
        """A page that rebinds its name to loopback gets nothing, even with the key."""
        assert http.get("/collections", headers={"host": host}).status_code == 403

    @pytest.mark.parametrize("host", ["localhost:1", "LOCALHOST", "[::1]:6333", "127.0.0.1"])
    def test_loopback_names_are_ours(self, http: httpx.Client, host: str) -> None:
        """Whatever the port, case or address family."""
        assert http.get("/collections", headers={"host": host}).is_success

    @pytest.mark.parametrize("length", ["999999999", "16777217"])
    def test_an_announced_oversized_body_is_refused(self, engine: EngineProcess, path: str, length: str) -> None:
        """A body over 16 MiB is refused before it is read."""
        connection = HTTPConnection("127.0.0.1", engine.port, timeout=10)
        connection.putrequest("PUT", f"{path}/points")
        connection.putheader("api-key", ENGINE_KEY)
        connection.putheader("content-length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()

    def test_an_unannounced_oversized_body_is_refused(self, http: httpx.Client, path: str) -> None:
        """A body that comes in chunks is cut off at the limit."""
        answer = http.put(f"{path}/points", content=(b" " * 1_048_576 for _ in range(20)))
        assert answer.status_code == 413


UNINDEXED = {"must": [{"key": "text", "match": {"value": "x"}}]}
WITH_FILTER = [
    ("/points/count", {"filter": UNINDEXED}),
    ("/points/scroll", {"filter": UNINDEXED}),
    ("/points/query", {"query": vector(0), "using": DENSE, "filter": UNINDEXED}),
    (
        "/points/query",
        {"prefetch": [{"query": vector(0), "using": DENSE, "filter": UNINDEXED}], "query": {"fusion": "rrf"}},
    ),
    ("/points/delete", {"filter": UNINDEXED}),
    ("/points/payload", {"filter": UNINDEXED, "payload": {"a": 1}}),
]


class TestStrictMode:
    """Filters that a real cluster would refuse, and those that would select too much."""

    @pytest.mark.parametrize(("route", "body"), WITH_FILTER)
    def test_an_unindexed_field_cannot_be_filtered_on(
        self, http: httpx.Client, path: str, route: str, body: Json
    ) -> None:
        """Reads and writes alike need a payload index for each field of their filter."""
        answer = http.post(path + route, json=body)
        assert answer.status_code == 400
        assert "Index required but not found for 'text'" in error(answer)

    def test_an_index_of_another_type_does_not_do(self, http: httpx.Client, path: str) -> None:
        """A range over a keyword field would be a scan as well."""
        body = {"filter": {"must": {"key": "tenant", "range": {"gte": 1}}}}
        assert "[integer, float]" in error(http.post(f"{path}/points/count", json=body))

    @pytest.mark.parametrize(
        "tricky",
        [
            {"min_should": {"conditions": [{"key": "tenant", "match": {"value": "nobody"}}], "min_count": 0}},
            {"min_should": {"conditions": [{"key": "tenant", "match": {"value": "nobody"}}], "min_count": -1}},
            {"min_should": {"conditions": [], "min_count": 1}},
            {"must": [{"key": "tenant", "match": {"value": "nobody"}, "range": {"gte": 0}}]},
            {"must": [{"key": "tenant", "match": {"value": "nobody"}, "is_empty": False}]},
            {"must": [{"key": "tenant"}]},
            {"must": [{"key": "tenant", "match": {}}]},
            {"must": [{"key": "tenant", "match": {"value": None}}]},
            {"must": [{"key": "tenant", "match": {"value": "nobody", "any": ["north"]}}]},
            {"must": [{"key": "tenant", "match": {"value": True}}]},
            {"must": [{"key": "tenant", "range": {}}]},
            {"must": [{"key": "tenant[]", "match": {"value": "nobody"}}]},
            {"musst": [{"key": "tenant", "match": {"value": "nobody"}}]},
            {"must": [{"nested": {"key": "a", "filter": {}}}]},
            {"must": "everything"},
            [],
        ],
    )
    def test_a_filter_that_could_select_too_much_is_refused(self, http: httpx.Client, path: str, tricky: Any) -> None:
        """Empty, doubled, misspelt and always-true conditions are errors and never match everything."""
        answer = http.post(f"{path}/points/count", json={"filter": tricky})
        assert answer.status_code in {400, 422}
        assert error(answer)

    def test_an_empty_choice_matches_nothing(self, http: httpx.Client, path: str) -> None:
        """`any: []` and `has_id: []` select no point."""
        for nobody in ({"key": "tenant", "match": {"any": []}}, {"has_id": []}):
            answer = http.post(f"{path}/points/count", json={"filter": {"must": [nobody]}})
            assert answer.json()["result"] == {"count": 0}

    def test_a_deeply_nested_filter_is_refused(self, http: httpx.Client, path: str) -> None:
        """Nesting is bounded."""
        nested: Json = {"must": []}
        for _ in range(20):
            nested = {"must": [nested]}
        assert http.post(f"{path}/points/count", json={"filter": nested}).status_code == 400


class TestRubbish:
    """Clear 4xx answers."""

    @pytest.mark.parametrize(
        ("points", "said"),
        [
            ([{"id": 1, "vector": {DENSE: [1.0]}}], "expected dim: 4, got 1"),
            ([{"id": 1, "vector": {"other": vector(1)}}], "Not existing vector name"),
            ([{"id": 1, "vector": {SPARSE: vector(1)}}], "Not existing vector name"),
            ([{"id": 1, "vector": {SPARSE: {"indices": [1, 2], "values": [1.0]}}}], "one length"),
            ([{"id": 1, "vector": {SPARSE: {"indices": [1, 1], "values": [1.0, 2.0]}}}], "unique"),
            ([{"id": 1, "vector": {DENSE: [1e300, 0, 0, 0]}}], "less than or equal"),
            ([{"id": -1, "vector": GOOD}], "unsigned"),
            ([{"id": "me", "vector": GOOD}], "UUID"),
            ([{"id": 1, "vector": GOOD, "payload": [1]}], "dictionary"),
            ([{"id": 1, "vector": GOOD, "payload": {"text": "x" * 300_000}}], "262144 bytes"),
            ([{"id": 1, "vector": GOOD}] * 1001, "1000"),
        ],
    )
    def test_an_unfit_point_is_refused_with_its_neighbours(
        self, http: httpx.Client, path: str, points: list[Json], said: str
    ) -> None:
        """One bad point in an upsert means that none of them is written."""
        new = str(uuid.uuid4())
        answer = http.put(f"{path}/points", json={"points": [{"id": new, "vector": GOOD}, *points]})
        assert answer.status_code in {400, 422}
        assert said in error(answer)
        assert http.get(f"{path}/points/{new}").status_code == 404

    def test_payload_that_could_not_be_read_back_is_refused(self, http: httpx.Client, path: str) -> None:
        """The engine's log cannot be replayed with payload nested beyond its reader's limit."""
        deep: Json = {}
        for _ in range(200):
            deep = {"a": deep}
        answer = http.put(f"{path}/points", json={"points": [{"id": 1, "vector": GOOD, "payload": deep}]})
        assert (answer.status_code, "nested" in error(answer)) == (422, True)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"\xff", b"NaN", b"[" * 5000, b'{"points": [{"id": 1, "vector": [NaN]}]}']
    )
    def test_what_is_not_json_is_refused(self, http: httpx.Client, path: str, body: bytes) -> None:
        """Broken JSON is named as such."""
        answer = http.put(f"{path}/points", content=body)
        assert (answer.status_code, error(answer)[:12]) == (400, "Format error")

    @pytest.mark.parametrize("limit", [0, -1, 1001, 2**70, "10", 1.5])
    def test_a_limit_outside_its_range_is_refused(self, http: httpx.Client, path: str, limit: Any) -> None:
        """At most 1,000 points come in one answer."""
        assert http.post(f"{path}/points/scroll", json={"limit": limit}).status_code == 422

    @pytest.mark.parametrize("name", ["..", "a b", ".hidden", "x" * 65, "a%2Fb", "%00"])
    def test_a_collection_name_is_never_a_path(self, http: httpx.Client, name: str) -> None:
        """Names are letters, digits, '-' and '_'."""
        answer = http.put(f"/collections/{name}", json={"vectors": {DENSE: {"size": 4, "distance": "Cosine"}}})
        assert answer.status_code in {400, 404, 405}

    @pytest.mark.parametrize("field", ["", "a/b", "../a", "a" * 65, "a[0]", 'a"b'])
    def test_an_index_field_is_never_a_path(self, http: httpx.Client, path: str, field: str) -> None:
        """Fields that are indexed become file names too."""
        answer = http.put(f"{path}/index", json={"field_name": field, "field_schema": "keyword"})
        assert answer.status_code == 422

    def test_an_unknown_collection_is_not_found(self, http: httpx.Client) -> None:
        """A read of what is not there says so."""
        answer = http.post("/collections/nowhere/points/count", json={})
        assert (answer.status_code, error(answer)) == (404, "Not found: Collection `nowhere` doesn't exist!")

    def test_a_call_that_we_do_not_speak_is_not_found(self, http: httpx.Client, path: str) -> None:
        """The adapter names what it is."""
        answer = http.post(f"{path}/points/query/groups", json={})
        assert answer.status_code in {404, 405}
        assert "part of Qdrant's API" in error(answer)


class TestProcess:
    """Start and stop."""

    def test_a_second_engine_over_the_same_data_refuses_to_start(self, own_engine: EngineProcess) -> None:
        """One process owns a data directory; the other says one sentence."""
        own_engine.start()
        second = EngineProcess(own_engine.home)
        assert second.launch().wait(timeout=60) == 1
        assert "another engine already uses" in second.log.read_text().splitlines()[-1]

    def test_a_busy_port_is_one_sentence(self, engine: EngineProcess, own_engine: EngineProcess) -> None:
        """It names the port and the variable that moves it."""
        own_engine.port = engine.port
        assert own_engine.launch().wait(timeout=60) == 1
        said = own_engine.log.read_text()
        assert f":{engine.port}" in said
        assert "ASSAY_QDRANT_PORT" in said

    def test_a_stopped_engine_starts_again_with_everything(self, own_engine: EngineProcess) -> None:
        """Configuration, payload indexes, metadata and points survive a stop."""
        client = QdrantClient(url=own_engine.start().url, api_key=ENGINE_KEY)
        create(client, "kept")
        client.update_collection("kept", metadata={"model": "m"})
        client.upsert("kept", [point(number) for number in range(5)])
        before = client.get_collection("kept")
        assert own_engine.stop() == 0
        own_engine.start()
        after = client.get_collection("kept")
        client.close()
        assert (after.config, after.payload_schema, after.points_count) == (
            before.config,
            before.payload_schema,
            before.points_count,
        )

    def test_an_unreadable_collection_stops_no_other(self, own_engine: EngineProcess) -> None:
        """The others serve; the damaged one answers 503 and can be deleted."""
        client = QdrantClient(url=own_engine.start().url, api_key=ENGINE_KEY)
        create(client, "good")
        create(client, "damaged")
        own_engine.stop()
        (own_engine.home / "engine" / "damaged" / "0001" / "edge_config.json").write_text("{")
        for segment in (own_engine.home / "engine" / "damaged" / "0001" / "segments").glob("*/segment.json"):
            segment.write_text("{")
        own_engine.start()
        answer = httpx.get(f"{own_engine.url}/collections/damaged", headers={"api-key": ENGINE_KEY})
        assert client.count("good").count == 0
        assert (answer.status_code, "could not be loaded" in error(answer)) == (503, True)
        assert client.delete_collection("damaged")
        client.close()


@pytest.mark.skipif(not Path("/proc").exists(), reason="reads the size of a process from /proc")
def test_an_idle_engine_is_light(own_engine: EngineProcess) -> None:
    """An engine without data takes less than 150 MB."""
    own_engine.start()
    assert own_engine.process is not None
    status = Path(f"/proc/{own_engine.process.pid}/status").read_text()
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident_kb < 150_000
