"""The vector engine as a real process, on a free port and in a home of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from qdrant_client import QdrantClient
from vector_points import POINTS, create, point

ENGINE_KEY = "a-key-for-tests-only"
START_TIMEOUT_S = 60.0


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class EngineProcess:
    """Starts, kills and restarts one engine over one home."""

    home: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Base URL for QdrantClient."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the process is started with."""
        return os.environ | {
            "ASSAY_HOME": str(self.home),
            "ASSAY_HOST": "127.0.0.1",
            "ASSAY_QDRANT_PORT": str(self.port),
            "QDRANT_API_KEY": ENGINE_KEY,
        }

    @property
    def log(self) -> Path:
        """Everything the process said."""
        return self.home / "engine.log"

    def launch(self) -> subprocess.Popen[str]:
        """Start the process and wait for nothing."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "infra.local.engine"], env=self.environment, stderr=log, text=True
            )

    def start(self) -> "EngineProcess":
        """Start the process and wait until it is ready."""
        self.process = self.launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz").is_success:
                    return self
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the engine did not start:\n{self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """As a power cut would: no signal handler runs."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As `assay down` does; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(timeout=30)
        self.process = None
        return code


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One engine for all tests of this worker; each test takes collections of its own."""
    running = EngineProcess(tmp_path_factory.mktemp("engine")).start()
    yield running
    running.stop()


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[EngineProcess]:
    """An engine that the test may kill; not started yet."""
    made = EngineProcess(tmp_path / "engine-home")
    yield made
    made.kill()


@pytest.fixture(scope="session", params=["memory", "edge", "server"])
def vector_client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
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
def empty_collection(vector_client: QdrantClient) -> Iterator[str]:
    """Name of an empty collection of this test's own."""
    name = f"test-{uuid.uuid4().hex}"
    create(vector_client, name)
    yield name
    vector_client.delete_collection(name)


@pytest.fixture
def filled_collection(vector_client: QdrantClient, empty_collection: str) -> str:
    """Name of a collection with 30 points."""
    vector_client.upsert(empty_collection, [point(number) for number in range(POINTS)], wait=True)
    return empty_collection


@pytest.fixture(scope="session")
def shared_collection(vector_client: QdrantClient) -> Iterator[str]:
    """A collection with 30 points that no test writes to."""
    name = f"shared-{uuid.uuid4().hex}"
    create(vector_client, name)
    vector_client.upsert(name, [point(number) for number in range(POINTS)], wait=True)
    yield name
    vector_client.delete_collection(name)
