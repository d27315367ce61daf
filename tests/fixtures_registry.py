"""A migrated registry in SQLite, made once a session and copied for each test; and one on either database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.fake_clock import FakeClock
from fixtures_postgres import PostgresRegistries

from registry.database import Database, migrate, open_database
from registry.tenants import Tenants


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file that no test writes to."""
    path = tmp_path_factory.mktemp("registry") / "migrated.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(migrated_file: Path, tmp_path: Path) -> str:
    """Address of an empty registry of this test's own."""
    path = tmp_path / "registry.db"
    shutil.copyfile(migrated_file, path)
    return f"sqlite:///{path}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty registry of this test's own."""
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty, migrated registry: first on SQLite, then on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("database_url")
        return
    registries: PostgresRegistries = request.getfixturevalue("postgres_registries")
    with registries.lent() as url:
        yield url


@pytest.fixture
def registry(registry_url: str) -> Iterator[Database]:
    """An empty, migrated registry: first on SQLite, then on PostgreSQL."""
    opened = open_database(registry_url)
    yield opened
    opened.close()


@pytest.fixture
def acme(registry: Database) -> str:
    """A tenant of `registry`."""
    return Tenants(registry).create("acme", "Acme").id


@pytest.fixture
def clock() -> FakeClock:
    """Time that the test moves by hand."""
    return FakeClock()
