"""A platform of its own in a fresh home: seconds of the first and second `assay up`, memory when idle, `assay --help`.

The environment is installed already: what a machine without a package cache has to download is not counted. PSS counts
a page that several processes share in equal parts, so its sum is what the platform takes from the machine. The
reference is the start of a bare Python, which tells how busy the machine is.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import psutil
from fixtures_engine import free_port
from rich.progress import Progress

from tests.benchmarks.measurement import Figure

PORTS = ("API", "MLFLOW", "PREFECT", "QDRANT", "LLM")
STEPS = 5
STARTS = 5
FIRST_S_MAX, SECOND_S_MAX, HELP_S_MAX = 240.0, 60.0, 0.5
PSS_MB_MAX = 1_800.0
MEGABYTE = 1_000_000


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Up, up again, look, down."""
    home = folder / "home"
    environment = os.environ | {"ASSAY_HOME": str(home), **{f"ASSAY_{name}_PORT": str(free_port()) for name in PORTS}}
    task = progress.add_task("whole_platform", total=STEPS)
    python = median(_seconds(("-c", "pass"), environment) for _ in range(STARTS))
    helped = median(_seconds(("-m", "flows.cli.main", "--help"), environment) for _ in range(STARTS))
    yield _promised("assay --help", helped, HELP_S_MAX, python, STARTS)
    progress.advance(task)
    try:
        yield _promised("first assay up", _seconds(("-m", "flows.cli.main", "up"), environment), FIRST_S_MAX, python)
        progress.advance(task)
        yield _promised("second assay up", _seconds(("-m", "flows.cli.main", "up"), environment), SECOND_S_MAX, python)
        progress.advance(task)
        yield from _memory(home)
        progress.advance(task)
    finally:
        stopped = _seconds(("-m", "flows.cli.main", "down"), environment)
    left = len(_processes(home))
    yield Figure(name="assay down", value=stopped, unit="s", n=1)
    yield Figure(name="processes left", value=left, unit="", n=1, promise="0", kept=left == 0)
    progress.advance(task)


def _seconds(arguments: tuple[str, ...], environment: Mapping[str, str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run((sys.executable, *arguments), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2_000:]}")
    return time.perf_counter() - begun


def _promised(name: str, seconds: float, seconds_max: float, python: float, n: int = 1) -> Figure:
    return Figure(
        name=name,
        value=seconds,
        unit="s",
        n=n,
        reference="start of a bare Python",
        ratio=seconds / python,
        promise=f"≤ {seconds_max:g} s",
        kept=seconds <= seconds_max,
    )


def _memory(home: Path) -> Iterator[Figure]:
    running = _processes(home)
    total = sum(process.memory_full_info().pss for process in running) / MEGABYTE
    promise = f"≤ {PSS_MB_MAX:g} MB"
    yield Figure(name="PSS idle", value=total, unit="MB", n=len(running), promise=promise, kept=total <= PSS_MB_MAX)


def _processes(home: Path) -> list[psutil.Process]:
    """Everything that the platform of this home runs."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("ASSAY_SUPERVISED_BY") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found
