"""Whatever a client sends, the engine's adapter answers with a result or a clear refusal, and stays whole."""

import copy
import json
from typing import Any

import httpx
import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from vector_points import DENSE, SPARSE, create, payload, point, point_id, vector

pytestmark = pytest.mark.contract

FILTER = {
    "must": [{"key": "tenant", "match": {"value": "north"}}, {"key": "number", "range": {"gte": 1, "lt": 9}}],
    "should": [{"has_id": [point_id(1), 7]}, {"key": "colour", "match": {"any": ["red"]}}],
    "must_not": {"is_empty": {"key": "tenant"}},
    "min_should": {"conditions": [{"key": "day", "range": {"lt": "2026-01-09T00:00:00Z"}}], "min_count": 1},
}
WORDS = {"indices": [0, 2], "values": [1.0, 2.0]}
QUERY = {
    "prefetch": [
        {"query": vector(1), "using": DENSE, "limit": 5, "filter": FILTER, "params": {"exact": True}},
        {"query": WORDS, "using": SPARSE, "limit": 5, "params": {"idf": {"corpus": FILTER}}},
    ],
    "query": {"rrf": {"k": 2, "weights": [1.0, 2.0]}},
    "limit": 5,
    "offset": 1,
    "score_threshold": 0.1,
    "with_payload": {"include": ["tenant"]},
    "with_vector": [DENSE],
}
NEW_POINT = {"id": 7, "vector": {DENSE: vector(7), SPARSE: WORDS}, "payload": payload(7)}
GOOD: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/points/count", {"filter": FILTER, "exact": True}),
    ("POST", "/points/scroll", {"filter": FILTER, "limit": 3, "offset": point_id(2), "with_vector": True}),
    ("POST", "/points", {"ids": [1, point_id(3)], "with_payload": ["tenant"]}),
    ("POST", "/points/query", QUERY),
    ("POST", "/points/query", {"query": {"nearest": vector(3)}, "using": DENSE, "filter": FILTER}),
    (
        "POST",
        "/points/query/batch",
        {"searches": [QUERY, {"query": {"fusion": "dbsf"}, "prefetch": {"query": WORDS, "using": SPARSE}}]},
    ),
    ("PUT", "/points", {"points": [NEW_POINT, {"id": point_id(8), "vector": {DENSE: vector(8)}}]}),
    ("PUT", "/points", {"batch": {"ids": [9], "vectors": {DENSE: [vector(9)]}, "payloads": [payload(9)]}}),
    ("POST", "/points/delete", {"points": [point_id(11)]}),
    ("POST", "/points/delete", {"filter": {"must": [{"key": "number", "match": {"value": 12}}]}}),
    ("POST", "/points/payload", {"payload": {"colour": "blue"}, "points": [point_id(13)]}),
    ("PUT", "/points/payload", {"payload": payload(14), "filter": FILTER}),
    ("POST", "/points/payload/delete", {"keys": ["colour"], "points": [point_id(15)]}),
    ("POST", "/points/payload/clear", {"points": [point_id(16)]}),
    ("PUT", "/index", {"field_name": "extra", "field_schema": {"type": "text", "lowercase": True}}),
    ("PUT", "", {"vectors": {DENSE: {"size": 4, "distance": "Dot"}}, "hnsw_config": {"m": 8}, "metadata": {"a": 1}}),
    ("PATCH", "", {"metadata": {"model": "m"}}),
]
ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["tenant", "number", "2026-01-01", point_id(1), "\0", "a" * 70, DENSE, SPARSE, ""]),
        st.sampled_from([[], {}, vector(1), WORDS, FILTER, NEW_POINT, [1.0] * 9000, {"a": {"b": [1, [2]]}}]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a body."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


def changed(body: Any, place: tuple[Any, ...], odd: Any, how: str) -> Any:
    """The body with something odd at one place."""
    if not place:
        return odd
    made = copy.deepcopy(body)
    parent = made
    for key in place[:-1]:
        parent = parent[key]
    if how == "remove":
        del parent[place[-1]]
    elif how == "add" and isinstance(parent, dict):
        parent[str(odd)[:20]] = odd
    else:
        parent[place[-1]] = odd
    return made


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """A good request with up to two odd things in its body, or a body of anything."""
    method, route, body = draw(st.sampled_from(GOOD))
    if draw(st.integers(0, 9)) == 0:
        return method, route, draw(st.binary(max_size=50))
    made: Any = body
    for _ in range(draw(st.integers(1, 2))):
        how = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        made = changed(made, draw(st.sampled_from(places(made))), draw(ODD), how)
    return method, route, json.dumps(made).encode("utf-8", "surrogatepass")


def test_no_body_gives_a_500_and_nothing_that_was_taken_is_poison(own_engine: EngineProcess) -> None:
    """Odd bodies are answered below 500; after a kill the collection loads again with all that it had."""
    client = QdrantClient(url=own_engine.start().url, api_key=ENGINE_KEY)
    create(client, "fuzzed")
    client.upsert("fuzzed", [point(number) for number in range(30)])
    http = httpx.Client(base_url=f"{own_engine.url}/collections", headers={"api-key": ENGINE_KEY})
    taken: set[int] = set()

    @given(request=requests())
    @settings(max_examples=600)
    def answered(request: tuple[str, str, bytes]) -> None:
        method, route, body = request
        answer = http.request(method, f"/fuzzed{route}", content=body)
        taken.add(answer.status_code)
        assert answer.status_code < 500, (answer.text, body)

    for method, route, body in GOOD:
        answer = http.request(method, f"/fuzzed{route}", json=body)
        assert answer.is_success or (method, route) == ("PUT", ""), answer.text
    answered()
    before = client.get_collection("fuzzed")
    own_engine.kill()
    own_engine.start()
    after = client.get_collection("fuzzed")
    http.close()
    client.close()
    assert (after.points_count, after.payload_schema.keys()) == (before.points_count, before.payload_schema.keys())
    assert taken >= {200, 400, 422}
