"""A real MLflow server with the gate inside, started once a session on a free port, for contract tests."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from cryptography.fernet import Fernet
from mlflow_calls import MlflowCalls
from pytest_socket import enable_socket

from registry.database import Database, migrate, open_database
from registry.prompts.promotion_records import Promotion, ServingModel, tell_serving_models, valid_promotions
from registry.tenants import Keys

START_TIMEOUT_S = 120.0
"""A quiet machine needs 13 to 17 s."""


CHAIN = (ServingModel(provider="extractive", model="extractive-1"),)
"""Who answers, as a serving process would have told."""
POLICY = """
use_case: {name}
prompt: {name}
requires:
  - kind: lint
{more}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedMlflow:
    """A running MLflow server with the gate in its registry, and the registry that the gate asks."""

    url: str
    home: Path
    database: Database

    def protect(self, name: str, more: str = "") -> None:
        """Let a policy of this use case protect `NAME@production`; the gate sees it at once."""
        (self.home / "policies" / f"{name}.yaml").write_text(POLICY.format(name=name, more=more))

    def rewrite(self, name: str, version: int, key: str, value: str) -> None:
        """Change a tag of a version in MLflow's database, past the gate."""
        with closing(sqlite3.connect(self.home / "mlflow.db", timeout=10)) as opened, opened:
            change = "UPDATE model_version_tags SET value = ? WHERE name = ? AND version = ? AND key = ?"
            assert opened.execute(change, (value, name, version, key)).rowcount == 1

    def move_unheard(self, name: str, version: int) -> None:
        """Point `NAME@production` at a version in MLflow's database: nobody is told, by no gate and no webhook."""
        with closing(sqlite3.connect(self.home / "mlflow.db", timeout=10)) as opened, opened:
            change = "UPDATE registered_model_aliases SET version = ? WHERE name = ? AND alias = 'production'"
            assert opened.execute(change, (version, name)).rowcount == 1

    def records(self, name: str) -> tuple[Promotion, ...]:
        """The valid records of `NAME@production`, newest first."""
        return valid_promotions(self.database, name, "production", 0)

    def notes(self, name: str) -> list[str]:
        """Kinds of the entries in the server's audit log that are about a prompt, oldest first."""
        files = (self.home / "audit").glob("mlflow-*.jsonl")
        entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [entry["kind"] for entry in entries if entry.get("body", {}).get("prompt") == name]

    def key(self, role: str, owner: str = "") -> str:
        """A new platform key."""
        return Keys(self.database).create(role, None, owner or f"{role} of a test").key


@pytest.fixture(scope="session")
def gated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatedMlflow]:
    """An empty MLflow server that may push webhooks to this machine."""
    with started_mlflow(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_url(gated_mlflow: GatedMlflow) -> str:
    """Base URL of the session's MLflow server."""
    return gated_mlflow.url


@pytest.fixture
def mlflow_admin_key(gated_mlflow: GatedMlflow) -> str:
    """A platform admin's key, which the gate wants before a webhook changes."""
    return gated_mlflow.key("admin")


@pytest.fixture
def anybody(gated_mlflow: GatedMlflow) -> Iterator[MlflowCalls]:
    """Calls to the session's server by somebody who proves nothing."""
    with MlflowCalls(gated_mlflow.url) as calls:
        yield calls


@pytest.fixture
def prompt_name() -> str:
    """A prompt of this test's own."""
    return f"gated-{token_hex(4)}"


@pytest.fixture
def proven(anybody: MlflowCalls, gated_mlflow: GatedMlflow, prompt_name: str) -> str:
    """A protected prompt whose version 1 serves."""
    gated_mlflow.protect(prompt_name)
    assert anybody.move(prompt_name, anybody.create(prompt_name)).is_success
    return prompt_name


@contextmanager
def started_mlflow(
    home: Path,
    *options: str,
    gate: bool = True,
    environment: Mapping[str, str] | None = None,
    store: str | None = None,
    registry: str | None = None,
) -> Iterator[GatedMlflow]:
    """Run a server in `home` until the end of the block.

    Args:
        home: an empty folder.
        options: more options of `mlflow server`.
        gate: False for MLflow as it comes, to compare with.
        environment: more variables.
        store: address of MLflow's database; None: a file in home.
        registry: address of our own; None: a file in home.
    """
    enable_socket()
    registry = registry or f"sqlite:///{home / 'registry.db'}"
    store = store or f"sqlite:///{home / 'mlflow.db'}"
    (home / "policies").mkdir()
    migrate(registry)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", "1"]
    command += ["--backend-store-uri", store, "--registry-store-uri", f"assay+{store}" if gate else store]
    command += ["--artifacts-destination", str(home / "artifacts"), "--serve-artifacts", *options]
    places = {"ASSAY_HOME": str(home), "ASSAY_POLICIES": str(home / "policies"), "ASSAY_DATABASE_URL": registry}
    settings = {**places, **(environment or {})}
    log = home / "server.log"
    with closing(open_database(registry)) as database, log.open("wb") as output:
        tell_serving_models(database, CHAIN)
        server = GatedMlflow(url=f"http://127.0.0.1:{port}", home=home, database=database)
        server.protect("protected-by-default")
        process = subprocess.Popen(
            command, cwd=home, env=_environment() | settings, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait_until_healthy(process, server.url, log)
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=3)  # an empty test server has nothing to save
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _environment() -> dict[str, str]:
    """This process's environment without settings of MLflow, and with those that `assay up` gives its server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    pytest.fail(f"MLflow did not start:\n{log.read_text(errors='replace')[-4000:]}")
