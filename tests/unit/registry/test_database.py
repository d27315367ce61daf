"""What is particular to the registry on SQLite, and to addresses."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text

from registry.audit.vault import Vault
from registry.database import Database, DatabaseUnavailable, migrate, open_database
from registry.schema import vault_keys


class TestAddresses:
    """Where a registry may live."""

    @pytest.mark.parametrize(
        "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/db", "postgresql+nope", "\0"]
    )
    def test_what_cannot_keep_data_is_refused(self, url: str) -> None:
        """The message names the variable and shows what would work."""
        with pytest.raises(DatabaseUnavailable, match=r"ASSAY_DATABASE_URL.*postgresql://"):
            open_database(url)

    def test_a_missing_file_says_what_to_run(self, tmp_path: Path) -> None:
        """Looking for a registry that is not there makes none."""
        path = tmp_path / "registry.db"
        with pytest.raises(DatabaseUnavailable, match="run `assay up`"):
            open_database(f"sqlite:///{path}")
        assert not path.exists()

    def test_an_empty_file_says_what_to_run(self, tmp_path: Path) -> None:
        """A database without tables is not opened."""
        (tmp_path / "registry.db").touch()
        with pytest.raises(DatabaseUnavailable, match="run `assay up`"):
            open_database(f"sqlite:///{tmp_path / 'registry.db'}")

    def test_another_kind_of_file_is_said_so(self, tmp_path: Path) -> None:
        """A file that is no database is a clear sentence."""
        (tmp_path / "registry.db").write_text("Dear diary, " * 1000)
        with pytest.raises(DatabaseUnavailable, match="not a database"):
            open_database(f"sqlite:///{tmp_path / 'registry.db'}")

    def test_odd_paths_work(self, tmp_path: Path) -> None:
        """Spaces, percent signs and other letters in a path do no harm."""
        path = tmp_path / "50% größer" / "registry.db"
        migrate(f"sqlite:///{path}")
        open_database(f"sqlite:///{path}").close()
        assert path.is_file()

    def test_a_password_is_not_shown(self) -> None:
        """A server that does not answer is named without its password."""
        with pytest.raises(DatabaseUnavailable) as refused:
            open_database("postgresql://ada:planted@127.0.0.1:1/registry")
        assert "planted" not in str(refused.value)


class TestSqlite:
    """How the file is used."""

    def test_the_file_is_private(self, tmp_path: Path) -> None:
        """Only its owner may read a registry, its write-ahead log included."""
        url = f"sqlite:///{tmp_path / 'home' / 'registry.db'}"
        migrate(url)
        opened = open_database(url)
        modes = [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "home").iterdir()]
        opened.close()
        assert len(modes) > 1
        assert set(modes) == {0o600}

    def test_pragmas_hold_on_every_connection(self, database: Database) -> None:
        """Write-ahead log, foreign keys, a patient lock and overwritten deletions are set wherever SQL runs."""
        for opening in (database.read, database.write):
            with opening() as connection:
                names = ("journal_mode", "foreign_keys", "busy_timeout", "secure_delete")
                values = [connection.execute(text(f"PRAGMA {name}")).scalar() for name in names]
            assert values == ["wal", 1, 10_000, 1]

    def test_a_row_in_an_error_is_hidden(self, database: Database) -> None:
        """An error that reaches a log does not carry the values of the statement."""
        with pytest.raises(Exception, match="constraint") as failed, database.write() as connection:
            connection.execute(
                text("INSERT INTO tenants (id, name) VALUES (:id, :name)"), {"id": "a", "name": "planted"}
            )
        assert "planted" not in str(failed.value)

    def test_an_erased_key_leaves_the_file(self, database: Database, tmp_path: Path) -> None:
        """After an erasure the wrapped key stands neither in the database file nor in its write-ahead log."""
        vault = Vault(database, bytes(32))
        vault.put("acme", "ada", "note", b"1")
        with database.read() as connection:
            wrapped: bytes = connection.execute(select(vault_keys.c.wrapped_key)).scalar_one()

        def written() -> bytes:
            return b"".join(path.read_bytes() for path in tmp_path.glob("registry.db*"))

        assert wrapped in written()
        vault.erase("acme", "ada")
        assert wrapped not in written()


def test_alembic_is_loaded_by_migrations_only() -> None:
    """A process that serves never loads Alembic or a vendor's price table."""
    code = "import sys, registry.database, registry.insight_records, registry.tenants; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"alembic", "genai_prices"} & set(done.stdout.split())
