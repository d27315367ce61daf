"""A migrated registry in SQLite, made once a session and copied for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.database import Database, migrate, open_database


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
