"""What a benchmark gives back, and the machine that it ran on.

A benchmark is a module of this folder with a function `benchmark(progress, folder)` and a docstring that says what is
measured and against what. The reference runs in turn with the measured thing, so that other work on the machine slows
both; compare ratios between machines, never the values.
"""

import gc
import os
import platform
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

from rich.progress import Progress

REALTIME_PRIORITY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with what it rests on."""

    name: str
    value: float
    """The median where there were several rounds."""
    unit: str
    n: int
    """Observations behind the value."""
    quartiles: tuple[float, float] | None = None
    """Lower and upper quartile over the rounds."""
    reference: str | None = None
    """What the ratio compares with, measured in the same run."""
    ratio: float | None = None
    """The value over the reference's: the median over the rounds where both come in pairs."""
    promise: str | None = None
    """What the value shall be."""
    kept: bool | None = None
    """Whether it is so; None without a promise."""


class Benchmark(Protocol):
    """A module of this folder that measures something."""

    __doc__: str | None

    def benchmark(self, progress: Progress, folder: Path) -> Iterable[Figure]:
        """Measure.

        Args:
            progress: shows how far it is.
            folder: an empty folder on the disk that home is on; it is deleted afterwards.

        Raises:
            NotHere: this machine lacks what is to be measured.
        """
        ...


class NotHere(Exception):
    """What is to be measured is not on this machine; the message says how to get it."""


def over_rounds(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    n: int,
    reference: tuple[str, Sequence[float]] | None = None,
    at_most: float | None = None,
    ratio_at_most: float | None = None,
) -> Figure:
    """The median of some rounds, and of their ratios to the reference's rounds.

    Args:
        name: what was measured.
        values: one a round, two at least.
        unit: of the values.
        n: observations in all rounds together.
        reference: its name, and its values in the same rounds.
        at_most: what the project promises of the median.
        ratio_at_most: or of the ratio.
    """
    middle = median(values)
    low, _, high = quantiles(values, n=4)
    against, ratio = None, None
    if reference is not None:
        against = reference[0]
        ratio = median(mine / other for mine, other in zip(values, reference[1], strict=True))
    promise, kept = None, None
    if at_most is not None:
        promise, kept = f"≤ {at_most:g} {unit}", middle <= at_most
    elif ratio is not None and ratio_at_most is not None:
        promise, kept = f"≤ {ratio_at_most:g} times", ratio <= ratio_at_most
    return Figure(
        name=name,
        value=middle,
        unit=unit,
        n=n,
        quartiles=(low, high),
        reference=against,
        ratio=ratio,
        promise=promise,
        kept=kept,
    )


@contextmanager
def undisturbed() -> Generator[None]:
    """For tails: other programs shall not decide them.

    This process and those it starts ask for the real-time scheduler, which only root gets; others measure without.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        gc.unfreeze()


def settle() -> None:
    """For tails, after the warm-up: take what is there by now out of the garbage collector's sight.

    A full collection of the benchmarks' and the SDKs' imports stops the loop for a tenth of a second, and right after
    so many imports it comes more often than in a serving process, which had none in 1,000 questions.
    """
    gc.collect()
    gc.freeze()


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of the observations do not exceed."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def machine() -> dict[str, object]:
    """What the figures depend on beside the code."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
