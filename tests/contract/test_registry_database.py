"""What the registry's database, migrations, signals and leases promise, on SQLite and on PostgreSQL alike."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from fakes.fake_clock import FakeClock
from sqlalchemy import Connection, insert, text

from registry.database import Database, DatabaseUnavailable, migrate, open_database, upsert
from registry.schema import metadata, tenants
from registry.signals import bump_signal, read_signal, take_lease
from registry.tenants import Tenants

pytestmark = pytest.mark.contract


class TestMigrations:
    """registry.migrations."""

    def test_migrated_tables_are_those_of_the_schema(self, registry: Database) -> None:
        """Migrating from nothing makes exactly what registry/schema.py declares."""
        with registry.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    def test_migrating_again_keeps_everything(self, registry_url: str, registry: Database, acme: str) -> None:
        """A second migration changes nothing."""
        migrate(registry_url)
        assert Tenants(registry).get(acme).name == "Acme"

    def test_migrating_twice_at_once_works(self, registry_url: str, registry: Database) -> None:
        """Processes that start together may all migrate."""
        with registry.write() as connection:
            _drop_everything(connection)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(migrate, [registry_url] * 4))
        assert Tenants(registry).list() == []

    def test_an_older_database_keeps_everything(self, registry_url: str, registry: Database) -> None:
        """A registry of an earlier schema is not opened, and after migrating has its rows and all tables."""
        with registry.write() as connection:
            _drop_everything(connection)
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", "registry:migrations")
            command.upgrade(config, "0001")
        Tenants(registry).create("acme", "Acme")
        with pytest.raises(DatabaseUnavailable, match=r"schema '0001' .* run `assay up` to migrate"):
            open_database(registry_url)
        migrate(registry_url)
        assert Tenants(registry).get("acme").name == "Acme"
        with registry.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []

    def test_a_newer_database_is_refused(self, registry_url: str, registry: Database) -> None:
        """A registry made by a later Assay is neither opened nor touched."""
        with registry.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(DatabaseUnavailable, match=r"'9999'"):
            open_database(registry_url)
        with pytest.raises(DatabaseUnavailable, match="another Assay"):
            migrate(registry_url)


class TestDatabase:
    """registry.database."""

    def test_a_failed_write_leaves_nothing(self, registry: Database) -> None:
        """What a write did before it failed is undone."""
        row = {"id": "acme", "name": "Acme", "created_ms": 1}
        with suppress(ZeroDivisionError), registry.write() as connection:
            connection.execute(insert(tenants).values(**row))
            raise ZeroDivisionError
        assert Tenants(registry).list() == []

    def test_a_read_keeps_nothing(self, registry: Database) -> None:
        """A connection for reading cannot change the record."""
        with registry.read() as connection:
            connection.execute(insert(tenants).values(id="acme", name="Acme", created_ms=1))
        assert Tenants(registry).list() == []

    def test_writers_wait_for_each_other(self, registry: Database) -> None:
        """Eight threads bump one signal fifty times each and none is lost."""

        def bump(_: int) -> None:
            for _ in range(50):
                bump_signal(registry, "busy")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(bump, range(8)))
        assert read_signal(registry, "busy") == 400

    def test_upsert_replaces_the_row(self, registry: Database) -> None:
        """A second upsert of a key leaves one row with the new values."""
        with registry.write() as connection:
            for name in ("First", "Second"):
                upsert(connection, tenants, {"id": "acme", "name": name, "created_ms": 1})
        assert [tenant.name for tenant in Tenants(registry).list()] == ["Second"]


class TestSignals:
    """registry.signals."""

    def test_a_signal_counts_its_bumps(self, registry: Database) -> None:
        """A signal nobody bumped reads 0, and each bump adds one."""
        assert read_signal(registry, "promotions") == 0
        bump_signal(registry, "promotions")
        bump_signal(registry, "promotions")
        assert (read_signal(registry, "promotions"), read_signal(registry, "other")) == (2, 0)

    def test_a_bump_belongs_to_its_transaction(self, registry: Database) -> None:
        """A transaction that fails bumps nothing."""
        with suppress(ZeroDivisionError), registry.write() as connection:
            bump_signal(connection, "promotions")
            raise ZeroDivisionError
        assert read_signal(registry, "promotions") == 0

    def test_a_lease_has_one_holder(self, registry: Database, clock: FakeClock) -> None:
        """Others get it only after it ran out; its holder may renew."""
        assert take_lease(registry, "poll", "a", 10, clock)
        clock.now += 9
        assert not take_lease(registry, "poll", "b", 10, clock)
        assert take_lease(registry, "poll", "a", 10, clock)
        clock.now += 9.5
        assert not take_lease(registry, "poll", "b", 10, clock)
        clock.now += 0.5
        assert take_lease(registry, "poll", "b", 10, clock)
        assert not take_lease(registry, "poll", "a", 10, clock)

    def test_of_many_that_ask_at_once_one_gets_it(self, registry: Database) -> None:
        """Eight threads race for a lease and exactly one wins."""
        start = threading.Barrier(8)

        def race(name: int) -> bool:
            start.wait()
            return take_lease(registry, "poll", str(name), 60)

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(race, range(8))) == 1


def _drop_everything(connection: Connection) -> None:
    for table in ("alembic_version", *(table.name for table in reversed(metadata.sorted_tables))):
        connection.execute(text(f"DROP TABLE {table}"))
