"""What the serving process costs before it answers: CPU until it is ready, and memory then and after its first calls.

The promises are 6 s of CPU and 220 MB. `assay serve` is started where the vector engine and MLflow (the tests' fake)
are up; ready is what /readyz says. The first start on a home also unpacks the embedder's weights, so it stands apart.
Once used, those weights are resident as pages of a file, which the system may drop and read again. The reference is a
Python process that imports FastAPI and ends, run in turn with the starts.
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.progress import Progress

from tests.benchmarks.measurement import Figure, over_rounds
from tests.benchmarks.serving_process import MEGABYTE, Served, Surroundings, serving, surroundings

STARTS = 3
CALLS = 50
CPU_S_MAX = 6.0
RESIDENT_MB_MAX = 220.0


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """CPU seconds and resident memory over several starts."""
    with surroundings(folder) as around:
        with serving(around) as first:
            spent = first.cpu_s_until_ready
        yield Figure(
            name="CPU until ready, first start",
            value=spent,
            unit="s",
            n=1,
            promise=f"≤ {CPU_S_MAX:g} s",
            kept=spent <= CPU_S_MAX,
        )
        imports: list[float] = []
        starts: list[Served] = []
        used: list[float] = []
        anonymous: list[float] = []
        for _ in progress.track(range(STARTS), description="serving_start: starts"):
            imports.append(_import_cpu_s())
            with serving(around) as api:
                _call(api, around)
                starts.append(api)
                memory = api.process.memory_info()
                used.append(memory.rss / MEGABYTE)
                anonymous.append((memory.rss - memory.shared) / MEGABYTE)
        cpu = [start.cpu_s_until_ready for start in starts]
        ready = [start.resident_bytes / MEGABYTE for start in starts]
        reference = ("a FastAPI import", imports)
        yield over_rounds("CPU until ready", cpu, "s", n=STARTS, reference=reference, at_most=CPU_S_MAX)
        yield over_rounds("time until ready", [start.wall_s_until_ready for start in starts], "s", n=STARTS)
        yield over_rounds("resident when ready", ready, "MB", n=STARTS, at_most=RESIDENT_MB_MAX)
        yield over_rounds(f"resident after {CALLS} calls", used, "MB", n=STARTS)
        yield over_rounds("of it not pages of files", anonymous, "MB", n=STARTS)


def _import_cpu_s() -> float:
    """CPU seconds of a process that does next to nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import fastapi"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _call(api: Served, around: Surroundings) -> None:
    """Ask some questions, so that everything that loads late is loaded."""
    with httpx.Client(base_url=api.url, headers=around.headers, timeout=30, trust_env=False) as client:
        for question in around.questions[:CALLS]:
            client.post("/v1/insights", json={"question": question}).raise_for_status()
