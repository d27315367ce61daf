"""One ingest per tenant at a time: a lease that is renewed while the work goes on and runs out when it dies."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from registry.database import Database
from registry.errors import Conflict
from registry.signals import take_lease

TTL_S: Final = 15.0
RENEW_S: Final = 4.0
WAIT_S: Final = 25.0
"""Longer than the lease of a killed ingest lives, so that starting again right away works."""
_POLL_S: Final = 0.5


class IngestRunning(Conflict):
    """Somebody else is ingesting for this tenant."""

    code = "ingest-running"


@asynccontextmanager
async def turn(database: Database, tenant: str, wait_s: float = WAIT_S) -> AsyncGenerator[Callable[[], None]]:
    """Hold a tenant's turn; yields a check to call before each write, which raises once the turn was lost.

    Raises:
        IngestRunning: another ingest kept the turn for longer than `wait_s`, or took it over.
    """
    name, holder = f"ingest:{tenant}", str(uuid.uuid4())
    lost = asyncio.Event()

    def check() -> None:
        if lost.is_set():
            raise IngestRunning(f"this ingest for {tenant!r} stood still and another took its turn; run it again")

    await _acquire(database, name, holder, tenant, wait_s)
    renewing = asyncio.create_task(_renew(database, name, holder, lost))
    try:
        yield check
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await asyncio.to_thread(take_lease, database, name, holder, 0)


async def _acquire(database: Database, name: str, holder: str, tenant: str, wait_s: float) -> None:
    for _ in range(int(wait_s / _POLL_S) + 1):
        if await asyncio.to_thread(take_lease, database, name, holder, TTL_S):
            return
        await asyncio.sleep(_POLL_S)
    raise IngestRunning(f"another ingest for tenant {tenant!r} is running; wait until it has ended")


async def _renew(database: Database, name: str, holder: str, lost: asyncio.Event) -> None:
    try:
        held = True
        while held:
            await asyncio.sleep(RENEW_S)
            held = await asyncio.to_thread(take_lease, database, name, holder, TTL_S)
    finally:
        lost.set()
