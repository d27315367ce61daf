"""How units fall to the arms of experiments (`registry.prompts.assignment`), over a million ids, and what it costs.

* Uniform: chi-squared of both draws over 1,000 buckets, for ids of four shapes (counted, e-mail, UUID, hashes); four
  shapes and two draws, so each p-value shall be at least 0.01 / 8.
* Independent: chi-squared of 20 x 20 buckets, of the arm draws of two experiments, of arm and exposure draw of one, and
  of the same ids in two tenants.
* Split: the share of a weight of 0.1 over the same ids; within 2.58 standard errors, as chance leaves 99 of 100.
* Time: from a tenant's subject to the arm, keyed hash of the subject included, as `serving.arms` does for each call,
  beside one HMAC-SHA256 of the standard library.
"""

import hashlib
import hmac
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from scipy.stats import chi2, chi2_contingency

from registry.audit.vault import Vault
from registry.database import Database, migrate, open_database
from registry.prompts.assignment import assignment_key, chosen, draw
from tests.benchmarks.measurement import Figure, over_rounds, settle

SEED = 20_261_123
IDS = 1_000_000
BUCKETS, SIDE = 1_000, 20
P_MIN = 0.01
ROUNDS, CALLS = 15, 20_000
US_MAX = 5.0
MASTER_KEY = b"benchmark of the assignment key!"
SHAPES: dict[str, Callable[[int], str]] = {
    "counted ids": str,
    "e-mail addresses": lambda number: f"user{number}@customer-{number % 97}.example",
    "UUIDs": lambda number: str(UUID(int=random.Random(SEED + number).getrandbits(128), version=4)),  # noqa: S311
    "hashes": lambda number: hashlib.sha256(str(number).encode()).hexdigest(),
}

Draws = NDArray[np.float64]


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Uniformity, independence, split and time."""
    key = assignment_key(MASTER_KEY)
    least = P_MIN / (2 * len(SHAPES))
    counted: Draws | None = None
    for shape, id_of in SHAPES.items():
        draws = _draws(progress, key, "exp_1", shape, id_of)
        for name, column in (("exposure", 0), ("arm", 1)):
            yield _p(f"uniform, {name} draw, {shape}", _uniform(draws[:, column]), least)
        counted = draws if counted is None else counted
    assert counted is not None
    other = _draws(progress, key, "exp_2", "counted ids", str)
    elsewhere = _draws(progress, key, "exp_1", "another tenant's ids", lambda number: f"tenant-b {number}")
    yield _p("independent, arms of two experiments", _independent(counted[:, 1], other[:, 1]), P_MIN / 3)
    yield _p("independent, exposure and arm", _independent(counted[:, 0], counted[:, 1]), P_MIN / 3)
    yield _p("independent, the same ids in two tenants", _independent(counted[:, 1], elsewhere[:, 1]), P_MIN / 3)
    yield _split(counted[:, 1])
    yield _time(progress, key, folder)


def _draws(progress: Progress, key: bytes, experiment: str, shape: str, id_of: Callable[[int], str]) -> Draws:
    """Both draws of a million ids."""
    found = np.empty((IDS, 2))
    for number in progress.track(range(IDS), description=f"experiment_assignment: {experiment}, {shape}"):
        drawn = draw(key, experiment, id_of(number))
        found[number] = drawn.exposure, drawn.arm
    return found


def _uniform(draws: Draws) -> float:
    """p-value of Pearson's chi-squared against equal buckets."""
    counts = np.bincount((draws * BUCKETS).astype(np.intp), minlength=BUCKETS)
    expected = IDS / BUCKETS
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), BUCKETS - 1))


def _independent(one: Draws, other: Draws) -> float:
    """p-value of Pearson's chi-squared of independence."""
    table = np.bincount((one * SIDE).astype(np.intp) * SIDE + (other * SIDE).astype(np.intp), minlength=SIDE * SIDE)
    return float(chi2_contingency(table.reshape(SIDE, SIDE)).pvalue)


def _p(name: str, p: float, least: float) -> Figure:
    return Figure(name=name, value=p, unit="p", n=IDS, promise=f"≥ {least:.4f}", kept=p >= least)


def _split(draws: Draws) -> Figure:
    weights = (0.9, 0.1)
    share = sum(chosen(weights, float(each)) for each in draws) / IDS
    slack = 2.58 * math.sqrt(weights[1] * weights[0] / IDS)
    kept = abs(share - weights[1]) <= slack
    promise = f"10 ± {100 * slack:.2f} %"
    return Figure(name="share of a weight of 0.1", value=100 * share, unit="%", n=IDS, promise=promise, kept=kept)


def _time(progress: Progress, key: bytes, folder: Path) -> Figure:
    """CPU time of one assignment."""
    url = f"sqlite:///{folder / 'registry.db'}"
    migrate(url)
    database: Database = open_database(url)
    hashed = Vault(database, MASTER_KEY).subject_hash
    subjects = [f"user{number}@example" for number in range(CALLS)]
    weights = (1.0, 1.0)
    ours: list[float] = []
    reference: list[float] = []
    settle()
    for _ in progress.track(range(ROUNDS + 1), description="experiment_assignment: time"):
        started = process_time()
        for subject in subjects:
            chosen(weights, draw(key, "exp_1", hashed("tenant", subject)).arm)
        between = process_time()
        for subject in subjects:
            hmac.new(key, subject.encode(), hashlib.sha256).hexdigest()
        ours.append((between - started) / CALLS * 1e6)
        reference.append((process_time() - between) / CALLS * 1e6)
    database.close()
    return over_rounds(
        "one assignment, hash of the subject included",
        ours[1:],
        "us CPU",
        n=ROUNDS * CALLS,
        reference=("one HMAC-SHA256", reference[1:]),
        at_most=US_MAX,
    )
