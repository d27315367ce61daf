"""Durable appends to the audit log with 1, 8 and 64 callers, against a loop that writes one line and syncs it.

A call is acknowledged when its entry is on the disk. Callers who wait at the same time share one sync, so the rate
should grow with their number while the loop's stays where the disk puts it.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

from rich.progress import Progress

from registry.audit.log import AuditLog
from tests.benchmarks.measurement import Figure, over_rounds

ROUNDS = 9
LOOP_LINES = 200
ENTRIES_EACH = {1: 200, 8: 75, 64: 40}
"""Callers -> entries that each of them writes in a round."""
BODY = {"request": "0" * 32, "tenant": "north", "question": "0" * 64, "prompt": "insights", "version": 1}
"""As large as the body of an ordinary intent."""


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Rates over rounds in which every number of callers and the loop have their turn."""
    rates = asyncio.run(_rates(progress, folder))
    loop = rates.pop(0)
    yield over_rounds("loop: write and sync a line", loop, "entries/s", n=ROUNDS * LOOP_LINES)
    for callers, values in rates.items():
        written = ROUNDS * callers * ENTRIES_EACH[callers]
        yield over_rounds(f"log, callers: {callers}", values, "entries/s", n=written, reference=("loop", loop))


async def _rates(progress: Progress, folder: Path) -> dict[int, list[float]]:
    """Callers (0: the loop) -> entries a second, one value a round."""
    rates: dict[int, list[float]] = {0: [], **{callers: [] for callers in ENTRIES_EACH}}
    with AuditLog.open(folder / "audit", "benchmark") as log:
        for _ in progress.track(range(ROUNDS), description="audit_log: rounds"):
            rates[0].append(await asyncio.to_thread(_loop, folder / "loop.jsonl"))
            for callers, each in ENTRIES_EACH.items():
                start = time.perf_counter()
                await asyncio.gather(*(_caller(log, each) for _ in range(callers)))
                rates[callers].append(callers * each / (time.perf_counter() - start))
    return rates


async def _caller(log: AuditLog, entries: int) -> None:
    """Write entries one after the other, each once the one before it is durable."""
    for _ in range(entries):
        await log.note("benchmark", BODY)


def _loop(path: Path) -> float:
    """What anyone would write first; entries a second."""
    line = (str(BODY) + "\n").encode()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        start = time.perf_counter()
        for _ in range(LOOP_LINES):
            os.write(descriptor, line)
            os.fsync(descriptor)
        return LOOP_LINES / (time.perf_counter() - start)
    finally:
        os.close(descriptor)
