"""How processes that share nothing but the registry tell each other something, and take turns.

A signal is a counter: who changes something bumps it, who depends on it reads it each second and acts when it has
grown. A lease makes one of many processes do a job; it is advice, not a lock, so the job must bear being done twice.
"""

import time
from collections.abc import Callable

from sqlalchemy import Connection, or_, select

from registry.database import Database, dialect_insert
from registry.schema import leases, signals


def bump_signal(where: Connection | Database, name: str, clock: Callable[[], float] = time.time) -> None:
    """Tell every process that watches `name`; with a connection, as part of its transaction."""
    if isinstance(where, Database):
        with where.write() as connection:
            bump_signal(connection, name, clock)
        return
    row = {"name": name, "generation": 1, "bumped_ms": int(clock() * 1000)}
    statement = dialect_insert(where, signals).values(**row)
    grown = {"generation": signals.c.generation + 1, "bumped_ms": statement.excluded.bumped_ms}
    where.execute(statement.on_conflict_do_update(index_elements=["name"], set_=grown))


def read_signal(database: Database, name: str) -> int:
    """How often `name` was bumped; 0 when never. It only grows."""
    with database.read() as connection:
        return connection.scalar(select(signals.c.generation).where(signals.c.name == name)) or 0


def take_lease(
    database: Database, name: str, holder: str, ttl_s: float, clock: Callable[[], float] = time.time
) -> bool:
    """Take or renew a lease; True when `holder` has it for the next `ttl_s` seconds by this machine's clock.

    Ask again well before it runs out. Machines whose clocks differ by more than `ttl_s` may both hold it.
    """
    now_ms = int(clock() * 1000)
    row = {"name": name, "holder": holder, "expires_ms": now_ms + int(ttl_s * 1000)}
    with database.write() as connection:
        statement = dialect_insert(connection, leases).values(**row)
        taken = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "expires_ms": statement.excluded.expires_ms},
            where=or_(leases.c.expires_ms <= now_ms, leases.c.holder == holder),
        )
        return connection.execute(taken.returning(leases.c.name)).first() is not None
