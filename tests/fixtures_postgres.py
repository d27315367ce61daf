"""A real PostgreSQL in a folder of its own, for tests that claim PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg
import pytest

from registry.database import migrate
from registry.schema import REVISION, metadata

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
TEMPLATE = "template_registry"


@dataclass(frozen=True)
class PostgresServer:
    """A running server whose superuser `assay` needs no password."""

    port: int

    def url(self, database: str) -> str:
        """Address of one of its databases."""
        return f"postgresql://assay@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str) -> None:
        """Run one statement outside a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # pyright: ignore[reportArgumentType, reportCallIssue]


def find_binaries() -> Path | None:
    """Where initdb and postgres are: on PATH, else where Debian puts them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def unprivileged() -> dict[str, int | list[int]]:
    """Arguments of Popen that give up root, which PostgreSQL refuses to run as."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server for the session; missing binaries skip aloud, and fail where CI=true."""
    binaries = find_binaries()
    if binaries is None:
        reason = "no PostgreSQL binaries; install the package postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="assay-postgres-") as folder:
        who = unprivileged()
        if who:
            shutil.chown(folder, user="postgres", group="postgres")
        data = Path(folder) / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "assay", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **who)  # pyright: ignore[reportCallIssue, reportArgumentType]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        command = [binaries / "postgres", "-D", data, *(f"--{key}={value}" for key, value in settings.items())]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **who)  # pyright: ignore[reportCallIssue, reportArgumentType]
        server = PostgresServer(port)
        try:
            wait_until_ready(server, process, Path(folder) / "log")
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            process.wait(STOP_TIMEOUT_S)


def wait_until_ready(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers."""
    end = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        else:
            return


class PostgresRegistries:
    """Empty, migrated registries, lent to one test after another: making and removing a database costs far more."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = count()
        self._free: list[str] = []
        server.run(f"CREATE DATABASE {TEMPLATE}")
        migrate(server.url(TEMPLATE))

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Address of one, for the length of the block."""
        url = self._free.pop() if self._free else self._new()
        yield url
        if emptied(url):
            self._free.append(url)

    def _new(self) -> str:
        name = f"registry_{next(self._numbers)}"
        self._server.run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._server.url(name)


def emptied(url: str) -> bool:
    """Remove every row; False where a test left another schema, or somebody still at work."""
    statements = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))  # noqa: S608
    try:
        with psycopg.connect(url, options="-c lock_timeout=1000") as connection:
            if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(REVISION,)]:
                return False
            connection.execute(statements)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except psycopg.Error:
        return False
    return True


@pytest.fixture(scope="session")
def postgres_registries(postgres: PostgresServer) -> PostgresRegistries:
    """Registries on the session's server."""
    return PostgresRegistries(postgres)
