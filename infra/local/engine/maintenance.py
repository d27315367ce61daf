"""Flush and optimise while nobody waits for it.

The engine's `optimize()` holds Python's lock until it is done (5 s for 20,000 points of 384 dimensions), so a
thread would stop every answer. A child process does it on a copy: writes wait while the shard is copied, are
then applied here and remembered, and are applied to the copy when it comes back. The old shard stays the truth
until `collection.json` names the new one, so a kill at any moment loses nothing.
"""

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra.local.engine.catalog import Catalog
from infra.local.engine.collection import Collection
from infra.local.engine.optimize import ALREADY_OPTIMAL, OPTIMIZED
from infra.local.engine.shards import load_shard

logger = logging.getLogger(__name__)

TICK_S = 1.0
QUIET_S = 3.0
"""No write for so long: a pause between two ingests, not between two batches."""
FLUSH_AFTER = 5_000
"""Points touched; then even a busy collection is flushed."""
OPTIMIZE_AFTER = 2_000
"""Points touched; below that a plain scan takes less than a millisecond."""
OPTIMIZE_ANYWAY_AFTER = 20_000
"""Points touched; then even a busy collection is optimised."""
OPTIMIZE_TIMEOUT_S = 900.0
FREE_SPACE_FACTOR = 3
"""The copy and what the child makes of it need room."""


class Maintenance:
    """One task that looks after every collection, one at a time."""

    def __init__(
        self, catalog: Catalog, *, clock: Callable[[], float] = time.monotonic, tick_s: float = TICK_S
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._tick_s = tick_s

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            await asyncio.sleep(self._tick_s)
            for collection in self._catalog.collections:
                try:
                    await self.care_for(collection)
                except Exception:  # the engine raises bare Exception, and maintenance must outlive one collection
                    logger.exception("collection %r: maintenance failed; it goes on unoptimised", collection.name)
                    collection.unoptimized = 0

    async def care_for(self, collection: Collection) -> None:
        """Flush or optimise one collection when it is due."""
        quiet = self._clock() - collection.written_at >= QUIET_S
        if collection.unflushed >= (1 if quiet else FLUSH_AFTER):
            collection.flush()
        if collection.unoptimized >= (OPTIMIZE_AFTER if quiet else OPTIMIZE_ANYWAY_AFTER):
            await self.optimize(collection)

    async def optimize(self, collection: Collection) -> bool:
        """Let a child optimise a copy and take the copy over; False when nothing came of it."""
        copy = self._catalog.next_generation(collection)
        try:
            if not await self._copied(collection, copy):
                return False
            code = await _run_child(copy)
            if code != OPTIMIZED:
                level = logging.INFO if code == ALREADY_OPTIMAL else logging.WARNING
                logger.log(level, "collection %r: not optimised (exit %s)", collection.name, code)
                return False
            return await self._taken_over(collection, copy)
        finally:
            collection.journal = None
            if self._catalog.directory_of(collection) != copy:
                await asyncio.to_thread(shutil.rmtree, copy, ignore_errors=True)

    async def _copied(self, collection: Collection, copy: Path) -> bool:
        source = self._catalog.directory_of(collection)
        async with collection.writing:
            collection.flush()
            collection.unoptimized = 0
            size = sum(file.stat().st_blocks * 512 for file in source.rglob("*") if file.is_file())
            if shutil.disk_usage(source).free < FREE_SPACE_FACTOR * size:
                logger.warning("collection %r: no room on the disk to optimise it", collection.name)
                return False
            await asyncio.to_thread(shutil.copytree, source, copy)
            collection.start_journal()
        return True

    async def _taken_over(self, collection: Collection, copy: Path) -> bool:
        async with collection.writing:
            if collection.journal is None or collection not in self._catalog.collections:
                logger.info("collection %r: changed too much meanwhile; optimised again later", collection.name)
                return False
            old = self._catalog.directory_of(collection)
            shard = load_shard(copy)
            for operation in collection.journal:
                shard.update(operation)
                await asyncio.sleep(0)  # answers go on between two writes
            shard.flush()
            self._catalog.switch(collection, shard)
        await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)
        return True


async def _run_child(directory: Path) -> int | None:
    """Exit code of the optimising child; None when it ran out of time."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.local.engine.optimize", str(directory)), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(OPTIMIZE_TIMEOUT_S):
            return await child.wait()
    except TimeoutError:
        return None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
