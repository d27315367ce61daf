"""POST /v1/insights with the provider `extractive`, whole, against GET /healthz of the same process in the same run.

A real serving process, a real vector engine with one sample tenant's documents, the tests' fake MLflow. One insight is
authentication, two durable audit entries, hybrid search with one embedding, extraction, grounding, and the encrypted
record. Questions and empty requests take turns in small rounds, one caller; CPU is counted by round over all threads
of the serving process (and apart from it, of the engine), so the loops that watch for promotions are in it.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
from rich.progress import Progress

from tests.benchmarks.measurement import Figure, percentile
from tests.benchmarks.serving_process import Served, Surroundings, cpu_s, serving, surroundings

ROUNDS, WARM_UP = 20, 20
INSIGHTS_A_ROUND, EMPTY_A_ROUND = 15, 150
MS = 1000.0


class Calls:
    """Latencies and CPU of one kind of request."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        self.ms: list[float] = []
        self.cpu_ms: list[list[float]] = [[] for _ in processes]
        """By process: CPU a request, one value a round."""
        self._processes = processes

    def round(self, count: int, call: Callable[[], object]) -> None:
        """Time some requests one by one, and their CPU together."""
        before = [cpu_s(process) for process in self._processes]
        for _ in range(count):
            start = time.perf_counter()
            call()
            self.ms.append((time.perf_counter() - start) * MS)
        for spent, process, earlier in zip(self.cpu_ms, self._processes, before, strict=True):
            spent.append((cpu_s(process) - earlier) * MS / count)

    def cpu_mean_ms(self, place: int) -> float:
        """Mean over the rounds, as the kernel counts in steps of 10 ms."""
        return sum(self.cpu_ms[place]) / len(self.cpu_ms[place])


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Latency percentiles and CPU a request."""
    with surroundings(folder) as around, serving(around) as api:
        insights, empty = _calls(api, around, progress)
    for percent in (50, 99):
        mine, other = percentile(insights.ms, percent), percentile(empty.ms, percent)
        yield Figure(name=f"GET /healthz, p{percent}", value=other, unit="ms", n=len(empty.ms))
        yield Figure(
            name=f"POST /v1/insights, p{percent}",
            value=mine,
            unit="ms",
            n=len(insights.ms),
            reference="GET /healthz",
            ratio=mine / other,
        )
    mine, other = insights.cpu_mean_ms(0), empty.cpu_mean_ms(0)
    yield Figure(name="GET /healthz, CPU of the API", value=other, unit="ms", n=len(empty.ms))
    yield Figure(
        name="POST /v1/insights, CPU of the API",
        value=mine,
        unit="ms",
        n=len(insights.ms),
        reference="GET /healthz",
        ratio=mine / other,
    )
    engine = insights.cpu_mean_ms(1)
    yield Figure(name="POST /v1/insights, CPU of the engine", value=engine, unit="ms", n=len(insights.ms))


def _calls(api: Served, around: Surroundings, progress: Progress) -> tuple[Calls, Calls]:
    questions = itertools.cycle(around.questions)
    insights = Calls([api.process, around.engine])
    empty = Calls([api.process])
    with httpx.Client(base_url=api.url, headers=around.headers, timeout=30, trust_env=False) as client:

        def ask() -> None:
            client.post("/v1/insights", json={"question": next(questions)}).raise_for_status()

        def look() -> None:
            client.get("/healthz").raise_for_status()

        for _ in range(WARM_UP):
            ask()
            look()
        for _ in progress.track(range(ROUNDS), description="insight: rounds"):
            insights.round(INSIGHTS_A_ROUND, ask)
            empty.round(EMPTY_A_ROUND, look)
    return insights, empty
