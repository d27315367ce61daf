"""How often chance alone opens a breaker, by simulation: calls fail independently with 5, 10 or 20 %.

Beside it what five failures in a row would do under any traffic, the usual rule: p^5 (1 - p) a call. The last figures
are how many calls a provider that is dead from one moment on costs before it is left alone. The seed is fixed.
"""

import random
from collections.abc import Iterator
from pathlib import Path

from rich.progress import Progress

from serving.providers.circuit import CALLS_MIN, SECOND_NS, WINDOW_S, Circuit
from tests.benchmarks.measurement import Figure

SEED = 20_261_123
CALLS = 1_000_000
RATES = (0.5, 2.0, 20.0, 200.0)
"""Calls a second."""
OPENINGS_MAX = {0.05: 2, 0.1: 20, 0.2: 300}
"""Promised for a million calls while fewer than 20 come in 30 seconds, by the share that fails."""
OPENINGS_MAX_UNDER_TRAFFIC = 1


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Openings by chance, then what it takes to notice an outage."""
    for share, few in OPENINGS_MAX.items():
        for rate in RATES:
            at_most = few if rate < CALLS_MIN / WINDOW_S else OPENINGS_MAX_UNDER_TRAFFIC
            task = progress.add_task(f"breaker_false_alarms: {share:.0%} fail, {rate:g} calls/s", total=None)
            openings = _openings(share, rate)
            progress.remove_task(task)
            yield Figure(
                name=f"openings by chance, {share:.0%} fail, {rate:g} calls/s",
                value=openings,
                unit="in a million calls",
                n=CALLS,
                reference="five in a row under any traffic",
                ratio=openings / (CALLS * share**5 * (1 - share)),
                promise=f"≤ {at_most}",
                kept=openings <= at_most,
            )
    for rate in RATES:
        yield Figure(name=f"calls that fail until it opens, {rate:g} calls/s", value=_noticed(rate), unit="calls", n=1)


def _openings(share: float, rate: float) -> int:
    """How often it opens; probes fail as calls do."""
    draw = random.Random(f"{SEED} {share} {rate}")  # noqa: S311 - a simulation
    circuit, gap_ns, now_ns, openings = Circuit(), int(SECOND_NS / rate), 10**15, 0
    for _ in range(CALLS):
        now_ns += gap_ns
        ticket = circuit.enter(now_ns)
        was_closed = ticket is not None
        if ticket is None and (ticket := circuit.lease(now_ns, 1.0)) is None:
            continue
        if draw.random() >= share:
            circuit.succeeded(now_ns, ticket)
            continue
        circuit.failed(now_ns, ticket)
        openings += was_closed and circuit.open_until_ns > 0
    return openings


def _noticed(rate: float) -> int:
    """Failed calls until it opens, after a minute without a failure."""
    circuit, gap_ns, now_ns = Circuit(), int(SECOND_NS / rate), 10**15
    for _ in range(int(60 * rate)):
        now_ns += gap_ns
        circuit.succeeded(now_ns, circuit.generation)
    calls = 0
    while not circuit.open_until_ns:
        now_ns += gap_ns
        circuit.failed(now_ns, circuit.generation)
        calls += 1
    return calls
