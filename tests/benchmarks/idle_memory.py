"""Memory of a whole platform that is up: the summed PSS of all its processes when idle, promised to be at most 1.8 GB.

PSS counts a page that several processes share in equal parts, so the sum is what the platform takes from the machine.
This starts nothing and compares with nothing: it looks at the platform of ASSAY_HOME, and is skipped where none is up.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.progress import Progress

from infra.local.processes import find
from tests.benchmarks.measurement import Figure, NotHere

PSS_MB_MAX = 1_800.0
MEGABYTE = 1_000_000


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """PSS of each part with its children, and of all together."""
    home = folder.parents[1]  # the folder is HOME/bench/SOMETHING
    names = sorted(record.stem for record in (home / "run").glob("*.json"))
    parts = {name: family for name in names if (family := _family(home, name))}
    if not parts:
        raise NotHere("no platform of this home is up; `make up` starts one")
    total = 0.0
    for name, family in progress.track(parts.items(), description="idle_memory: parts"):
        used = sum(process.memory_full_info().pss for process in family) / MEGABYTE
        total += used
        yield Figure(name=f"PSS of {name}", value=used, unit="MB", n=len(family))
    yield Figure(
        name="PSS of all",
        value=total,
        unit="MB",
        n=sum(len(family) for family in parts.values()),
        promise=f"≤ {PSS_MB_MAX:g} MB",
        kept=total <= PSS_MB_MAX,
    )


def _family(home: Path, name: str) -> list[psutil.Process]:
    """A part's process and all that it started; empty when it does not run."""
    running = find(home, name)
    if running is None or not running.alive():
        return []
    process = psutil.Process(running.pid)
    return [process, *process.children(recursive=True)]
