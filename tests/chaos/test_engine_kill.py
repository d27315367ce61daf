"""The vector engine killed without warning, at the worst moments that we know."""

import threading
import time
from collections.abc import Iterator

import psutil
import pytest
from fixtures_engine import ENGINE_KEY, EngineProcess
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException
from vector_points import DENSE, create, numbers, point, vector

pytestmark = pytest.mark.chaos

BATCH = 20
ENOUGH = 300
"""Acknowledged points before the kill."""
WAIT_S = 60.0


@pytest.fixture
def client(own_engine: EngineProcess) -> Iterator[QdrantClient]:
    """A client of an engine that the test kills; it outlives its server."""
    made = QdrantClient(url=own_engine.start().url, api_key=ENGINE_KEY)
    create(made, "points")
    yield made
    made.close()


def write_until_it_dies(client: QdrantClient, acknowledged: list[int], enough: threading.Event) -> None:
    """Upsert batch after batch and note what was acknowledged."""
    for start in range(0, 1_000_000, BATCH):
        some = list(range(start, start + BATCH))
        try:
            client.upsert("points", [point(number) for number in some], wait=start % 40 == 0)
        except ResponseHandlingException:
            return
        acknowledged += some
        if len(acknowledged) >= ENOUGH:
            enough.set()


def stored(client: QdrantClient) -> set[int]:
    """Every point in the collection."""
    seen: set[int] = set()
    offset = None
    for _ in range(1_000):
        page, offset = client.scroll("points", limit=1_000, offset=offset, with_payload=False)
        seen |= set(numbers(page))
        if offset is None:
            break
    return seen


def test_no_acknowledged_point_is_lost_when_it_is_killed(client: QdrantClient, own_engine: EngineProcess) -> None:
    """Two kills in the middle of upserts: what was acknowledged is there, whole and searchable."""
    for _ in range(2):
        acknowledged: list[int] = []
        enough = threading.Event()
        writer = threading.Thread(target=write_until_it_dies, args=(client, acknowledged, enough))
        writer.start()
        assert enough.wait(WAIT_S)
        own_engine.kill()
        writer.join(WAIT_S)
        own_engine.start()
        assert set(acknowledged) <= stored(client)
        assert len(acknowledged) >= ENOUGH
    last = acknowledged[-1]
    assert client.retrieve("points", [point(last).id])[0].payload == point(last).payload
    assert client.query_points("points", query=vector(last), using=DENSE, limit=1).points


def test_a_kill_while_it_optimises_loses_nothing(client: QdrantClient, own_engine: EngineProcess) -> None:
    """The copy that is being optimised vanishes with its process; the collection goes on from the original."""
    for start in range(0, 2_500, 500):
        client.upsert("points", [point(number) for number in range(start, start + 500)])
    deadline = time.monotonic() + WAIT_S
    while client.get_collection("points").status != models.CollectionStatus.YELLOW:
        assert time.monotonic() < deadline, "the engine never optimised"
        time.sleep(0.01)
    client.upsert("points", [point(5_000)])
    assert own_engine.process is not None
    children = psutil.Process(own_engine.process.pid).children()
    own_engine.kill()
    _, alive = psutil.wait_procs(children, timeout=WAIT_S)
    assert not alive
    own_engine.start()
    assert stored(client) == {*range(2_500), 5_000}


def test_writes_during_an_optimisation_are_kept(client: QdrantClient, own_engine: EngineProcess) -> None:
    """What is written, changed or deleted meanwhile is in the optimised collection, also after a kill."""
    for start in range(0, 2_500, 500):
        client.upsert("points", [point(number) for number in range(start, start + 500)])
    deadline = time.monotonic() + WAIT_S
    changed = 0
    client.delete("points", [point(number).id for number in range(1_000)])  # enough to be worth an optimisation
    original = own_engine.home / "engine" / "points" / "0001"
    while original.exists():
        assert time.monotonic() < deadline, "the engine never optimised"
        if client.get_collection("points").status == models.CollectionStatus.YELLOW:
            client.upsert("points", [point(10_000 + changed)])
            client.delete("points", [point(1_000 + changed).id])
            changed += 1
        time.sleep(0.01)
    own_engine.kill()
    own_engine.start()
    assert changed
    assert stored(client) == {*range(1_000 + changed, 2_500), *range(10_000, 10_000 + changed)}
