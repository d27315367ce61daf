"""The registry's database: SQLite on one node, PostgreSQL on many, the same SQL on both.

Calls are synchronous and short; asynchronous callers use `asyncio.to_thread`. A write is one transaction. On SQLite it
starts by taking the write lock, so that what it reads stays true until it commits. On PostgreSQL others write meanwhile
(read committed): what a decision rests on belongs into the statement itself, or is locked with `FOR UPDATE`.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, Table, Text, create_engine, event, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from registry.errors import Unavailable
from registry.schema import REVISION

BUSY_TIMEOUT_S = 10
"""How long a statement waits for another writer (SQLite), and a caller for a free connection."""
CONNECT_TIMEOUT_S = 5
POOL_SIZE = 8
POOL_OVERFLOW = 24
"""Pool and overflow together cover the 32 threads that `asyncio.to_thread` may start."""
MIGRATION_LOCK = 0x4153534159
"""PostgreSQL advisory lock of a migration: the letters ASSAY."""

_WRITE = "assay_write"
_VARIABLE = "ASSAY_DATABASE_URL"
_EXPECTED = "use sqlite:////absolute/path/registry.db or postgresql://user:password@host/database"
_alembic_version = Table("alembic_version", MetaData(), Column("version_num", Text, primary_key=True))


class DatabaseUnavailable(Unavailable):
    """The registry's database is missing, not migrated, or does not answer."""

    code = "database-unavailable"


class Database:
    """An open registry. Safe to share between threads; close it once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        """Threads of one process queue here; SQLite lets them poll: 32 writers, p99 1.9 s instead of 0.2 s."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Generator[Connection]:
        """A connection whose reads see one moment; nothing it writes is kept.

        Raises:
            DatabaseUnavailable: the database does not answer.
        """
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Generator[Connection]:
        """One transaction that commits at the end; on SQLite the only writer, on PostgreSQL one of many.

        Raises:
            DatabaseUnavailable: the database does not answer, or another writer kept it busy too long.
        """
        with self._my_turn(), _translated(), self._engine.connect() as connection:
            locked = connection.execution_options(**{_WRITE: True})
            with locked.begin():
                yield locked

    @contextmanager
    def _my_turn(self) -> Generator[None]:
        if self.dialect != "sqlite":
            yield
            return
        if not self._turn.acquire(timeout=BUSY_TIMEOUT_S):
            raise DatabaseUnavailable(f"the registry's database was busy for {BUSY_TIMEOUT_S} s; try again")
        try:
            yield
        finally:
            self._turn.release()

    def scrub(self) -> None:
        """Leave no old copy of what was just overwritten in SQLite's write-ahead log, unless a reader needs it."""
        if self.dialect == "sqlite":
            with _translated(), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def open_database(url: str) -> Database:
    """Open a migrated registry.

    Raises:
        DatabaseUnavailable: a wrong address, no server, no file, or a schema of another version.
    """
    address = _parse(url)
    path = _sqlite_path(address)
    if path is not None and not path.is_file():
        raise DatabaseUnavailable(f"there is no registry at {str(path)!r}; run `assay up` once to make it")
    database = Database(_create_engine(address))
    try:
        _require_schema(database)
    except BaseException:  # cleaned up and raised on
        database.close()
        raise
    return database


def migrate(url: str) -> None:
    """Bring the registry to this version's schema, in one transaction; safe to repeat and to run twice at once.

    Raises:
        DatabaseUnavailable: a wrong address, no server, or a schema newer than this Assay.
    """
    # Alembic is for the one process that migrates; a server that only reads and writes never loads it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above
    from alembic.util import CommandError  # noqa: PLC0415 - see above

    address = _parse(url)
    path = _sqlite_path(address)
    if path is not None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
    database = Database(_create_engine(address))
    try:
        with database.write() as connection:
            if database.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", "registry:migrations")
            command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseUnavailable(
            f"the registry's database was made by another Assay ({error}); install that one, or use another database"
        ) from error
    finally:
        database.close()


def dialect_insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both databases spell alike."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def insert_or_ignore(connection: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless its key is taken; True when it was inserted."""
    statement = dialect_insert(connection, table).values(**values).on_conflict_do_nothing()
    # RETURNING tells on both databases; the row count of an INSERT does not.
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def upsert(connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
    """Insert a row, or replace the columns given of the row with the same primary key."""
    keys: Sequence[str] = [column.name for column in table.primary_key]
    statement = dialect_insert(connection, table).values(**values)
    changed = {name: statement.excluded[name] for name in values if name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def take_turns(connection: Connection, *about: str) -> None:
    """Wait until nobody else writes about the same thing, and keep others waiting until this write commits.

    For writes that number or time what they add after what is there. On SQLite every write is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        digest = hashlib.sha256("\0".join(about).encode()).digest()
        lock = {"key": int.from_bytes(digest[:8], "big", signed=True)}
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), lock)


def _parse(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnavailable(f"cannot read {_VARIABLE}; {_EXPECTED}") from error
    backend = address.get_backend_name()
    if backend == "sqlite" and address.database not in {None, "", ":memory:"}:
        return address
    if backend == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    raise DatabaseUnavailable(f"{_VARIABLE} names {backend!r} without a place to keep data; {_EXPECTED}")


def _sqlite_path(address: URL) -> Path | None:
    if address.get_backend_name() != "sqlite" or address.database is None:
        return None
    return Path(address.database)


def _create_engine(address: URL) -> Engine:
    local = address.get_backend_name() == "sqlite"
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_S} if local else {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = create_engine(
        address,
        hide_parameters=True,  # a row's values never reach a log through an error message
        connect_args=arguments,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=not local,  # a restarted server is met with a new connection, not with an error
    )
    if local:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late for BEGIN IMMEDIATE
    connection.text_factory = _text
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",  # a killed process loses nothing; a power cut may lose the last moments, never order
        "foreign_keys=ON",
        "secure_delete=ON",  # a destroyed key is overwritten, not just unlinked
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _text(stored: bytes) -> str:
    """Bytes that are no UTF-8, which only another program can have written, spoil their row and not the whole query."""
    return stored.decode(errors="replace")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _require_schema(database: Database) -> None:
    try:
        with database.read() as connection:
            found = connection.execute(select(_alembic_version.c.version_num)).scalar()
    except _MissingTable:
        found = None
    if found is None:
        raise DatabaseUnavailable("the registry's database is empty; run `assay up` once to make its tables")
    if found != REVISION:
        raise DatabaseUnavailable(
            f"the registry's database has schema {found!r} and this Assay wants {REVISION!r}; "
            "run `assay up` to migrate an older one, or install the Assay that made it"
        )


class _MissingTable(DatabaseUnavailable):
    """A table is not there: the database was never migrated."""


@contextmanager
def _translated() -> Generator[None]:
    """Turn the driver's errors of a database that is away into ours; a bug in a statement stays what it is."""
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailable("the registry's database has no free connection; try again") from error
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        if "no such table" in reason or (isinstance(error, ProgrammingError) and "does not exist" in reason):
            raise _MissingTable("the registry's tables are missing; run `assay up` once to make them") from error
        if _is_away(error):
            raise DatabaseUnavailable(f"the registry's database does not answer: {reason}") from error
        raise


def _is_away(error: DBAPIError) -> bool:
    return error.connection_invalidated or type(error) in {OperationalError, InterfaceError, DatabaseError}
