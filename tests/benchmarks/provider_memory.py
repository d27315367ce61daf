"""Memory of a worker that holds the whole provider layer with both SDKs, and what streams leave in it.

The worker is a process of its own with chains over all three adapters. After 1,000 calls it may hold 180 MB. Another
one reads 20,000 streams after a warm-up of 2,000, 16 at a time, and leaves every tenth after its second piece, as a
client does that hangs up: it may grow by 5 MB. Beside them, without a promise, a whole `assay serve` with both vendors:
it also holds the API, Qdrant's client, the registry, the price table and the embedder.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
from rich.progress import Progress

from tests.benchmarks.fast_vendor import FastVendor, fast_vendor
from tests.benchmarks.measurement import Figure
from tests.benchmarks.serving_process import MEGABYTE, serving, surroundings

ROOT = Path(__file__).parents[2]
CALLS, WARM_UP, STREAMS = 1_000, 2_000, 20_000
QUESTIONS = 50
RESIDENT_MB_MAX, GROWTH_MB_MAX = 180.0, 5.0


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Resident megabytes after calls; growth over streams."""
    task = progress.add_task("provider_memory: processes", total=3)
    with fast_vendor() as vendor:
        resident = _resident_mb(vendor, "calls", CALLS)[-1]
        progress.advance(task)
        before, after = _resident_mb(vendor, "streams", WARM_UP, STREAMS)
        progress.advance(task)
        whole, anonymous = _serving_mb(vendor, folder)
        progress.advance(task)
    yield Figure(
        name="resident, a worker of the provider layer with both SDKs",
        value=resident,
        unit="MB",
        n=CALLS,
        promise=f"≤ {RESIDENT_MB_MAX:g} MB",
        kept=resident <= RESIDENT_MB_MAX,
    )
    yield Figure(name="resident, a whole `assay serve` with both SDKs", value=whole, unit="MB", n=QUESTIONS)
    yield Figure(name="of it not pages of files", value=anonymous, unit="MB", n=QUESTIONS)
    yield Figure(name="resident after the warm-up", value=before, unit="MB", n=WARM_UP)
    yield Figure(
        name="growth over streams, one in ten abandoned",
        value=after - before,
        unit="MB",
        n=STREAMS,
        promise=f"≤ {GROWTH_MB_MAX:g} MB",
        kept=after - before <= GROWTH_MB_MAX,
    )


def _resident_mb(vendor: FastVendor, kind: str, *numbers: int) -> list[float]:
    """Of a worker, after each number of calls; they count on from each other."""
    command = [sys.executable, "-m", "tests.benchmarks.provider_memory_worker", kind, vendor.url, *map(str, numbers)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def _serving_mb(vendor: FastVendor, folder: Path) -> tuple[float, float]:
    """Of a serving process after some questions: resident, and the part that is no page of a file."""
    own = {
        "ASSAY_PROVIDERS": "anthropic,openai",
        "ANTHROPIC_API_KEY": "fake",
        "ANTHROPIC_BASE_URL": vendor.url,
        "OPENAI_API_KEY": "fake",
        "OPENAI_BASE_URL": f"{vendor.url}/v1",
    }
    with surroundings(folder) as around, serving(replace(around, environment={**around.environment, **own})) as api:
        with httpx.Client(base_url=api.url, headers=around.headers, timeout=30, trust_env=False) as client:
            for question in itertools.islice(itertools.cycle(around.questions), QUESTIONS):
                client.post("/v1/insights", json={"question": question}).raise_for_status()
        memory = api.process.memory_info()
        return memory.rss / MEGABYTE, (memory.rss - memory.shared) / MEGABYTE
