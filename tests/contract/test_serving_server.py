"""The API as a process: what it costs to start, how it ends, what it does without its neighbours."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

CPU_S_MAX = 6.0
RSS_MB_MAX = 220
READY_S_MAX = 60.0
POLICY = "use_case: insights\nprompt: insights\nrequires:\n  - kind: lint\n"


@dataclass
class Server:
    """A running API."""

    process: subprocess.Popen[str]
    url: str
    home: Path

    def stop(self) -> tuple[int, list[dict[str, object]]]:
        """End it as a supervisor does; exit status and log lines."""
        self.process.send_signal(signal.SIGTERM)
        _, logged = self.process.communicate(timeout=30)
        return self.process.returncode, [json.loads(line) for line in logged.splitlines()]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`assay serve` with neither MLflow nor an engine behind it; the last test stops it."""
    tmp_path = tmp_path_factory.mktemp("serving")
    shutil.copyfile(migrated_file, tmp_path / "registry.db")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "insights.yaml").write_text(POLICY)
    port = free_port()
    foreign = ("ASSAY_", "MLFLOW_", "PREFECT_", "OPENAI_", "ANTHROPIC_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | {
        "ASSAY_HOME": str(tmp_path / "home"),
        "ASSAY_DATABASE_URL": f"sqlite:///{tmp_path / 'registry.db'}",
        "ASSAY_MASTER_KEY": "ab" * 32,
        "ASSAY_WEBHOOK_SECRET": "planted",
        "ASSAY_POLICIES": str(tmp_path / "policies"),
        "ASSAY_MLFLOW_PORT": str(free_port()),
        "QDRANT_URL": f"http://127.0.0.1:{free_port()}",
        "QDRANT_API_KEY": "planted",
    }
    command = [sys.executable, "-c", f"from serving.server import run; run(port={port})"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + READY_S_MAX
    while process.poll() is None and time.monotonic() < until:
        try:
            httpx.get(f"{url}/healthz", trust_env=False)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield Server(process, url, tmp_path / "home")
    if process.poll() is None:
        process.kill()
        process.communicate()


@pytest.mark.contract
def test_a_start_is_small(server: Server) -> None:
    """Ready within six seconds of CPU and 220 MB."""
    process = Path("/proc", str(server.process.pid))
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    rss_mb = int(status["VmRSS"].split()[0]) / 1024
    assert cpu_s <= CPU_S_MAX
    assert rss_mb <= RSS_MB_MAX


@pytest.mark.contract
def test_what_is_not_http_is_refused(server: Server) -> None:
    """Bytes that are no request get a 400 and the process goes on."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200


@pytest.mark.contract
def test_it_starts_and_ends_without_its_neighbours(server: Server) -> None:
    """Without MLflow and engine it is alive, says what is missing, and ends in good order with JSON logs only."""
    ready = httpx.get(f"{server.url}/readyz", trust_env=False)
    code, logged = server.stop()
    assert ready.status_code == 503
    assert {name for name, found in ready.json()["dependencies"].items() if found["state"] == "down"} == {
        "engine",
        "prompts",
    }
    assert code in {0, -signal.SIGTERM}
    assert logged[-1]["logger"] == "uvicorn.error"
    (log,) = (server.home / "audit").glob("serve-*.jsonl")
    assert json.loads(log.read_text().splitlines()[-1])["kind"] == "log.closed"
