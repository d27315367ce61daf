"""What users notice when the first provider of a chain is dead or flaky, over four workers that share one board.

Each death (connections refused, 500, 529, silence) has a phase of its own: four processes with four callers each ask a
chain of a dead and a healthy vendor (60 ms) and a chain of the healthy one alone, in turn, over real HTTP. The
promises: 99.9 % of the chain's calls are answered; while the breaker is open, the p99 of the chain is within 5 ms of
the fallback's alone; and the dead vendor sees at most one probe a cool-down over all workers, counted where it arrives.
Open is taken to be everything after the first cool-down's beginning, probes included.

Last, the first vendor fails one call in five by chance: what reaches it is at most 10 % above what was offered to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fixtures_engine import free_port
from rich.progress import Progress

from tests.benchmarks.fast_vendor import FastVendor, fast_vendor
from tests.benchmarks.measurement import Figure, percentile, undisturbed
from tests.benchmarks.provider_outage_worker import Phase, Seen, Workers, workers

WORKERS = 4
PHASE_S, FLAKY_S = 16.0, 8.0
OPENING_S = 4.0
"""By then the breaker is open, also when it takes time-outs to open it."""
COOL_DOWN_S = 5.0
"""The shortest one."""
PROBE_SPACING_S = 0.95 * COOL_DOWN_S
DEADLINE_S = 4.0
LATENCY_MS = 60
ANSWERED_MIN, ADDED_MS_MAX, RETRIES_MAX = 0.999, 5.0, 1.10
FLAKY = "server-error 0.2"
MS = 1000.0
DEATHS = {"refused": None, "500": "server-error", "529": "overloaded", "stall": "stall"}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One phase, over all workers."""

    chain: Sequence[tuple[float, float, int]]
    alone: Sequence[tuple[float, float, int]]
    asked: Sequence[float]
    """When the first vendor was asked, as the workers tell it."""
    reached: int
    """Calls that got as far as the first vendor."""

    @property
    def start(self) -> float:
        """When its first call began."""
        return min(started for started, _, _ in self.chain)

    def open_ms(self, calls: Sequence[tuple[float, float, int]]) -> list[float]:
        """Latencies of the calls that began when the breaker had opened."""
        return [seconds * MS for started, seconds, _ in calls if started >= self.start + OPENING_S]


def benchmark(progress: Progress, folder: Path) -> Iterator[Figure]:
    """Share answered, p99s, probes; then retry traffic."""
    task = progress.add_task("provider_outage: phases", total=len(DEATHS) + 1)
    answered = asked = 0
    with (
        undisturbed(),
        fast_vendor(latency_ms=LATENCY_MS) as fallback,
        fast_vendor() as dying,
        workers(WORKERS) as staff,
    ):
        for name, fault in DEATHS.items():
            dying.show(fault or "none")
            primary = dying.url if fault else f"http://127.0.0.1:{free_port()}"
            ended = _phase(staff, primary, fallback, folder / f"{name}.board", PHASE_S)
            answered += sum(good for _, _, good in ended.chain)
            asked += len(ended.chain)
            yield from _while_open(name, ended)
            yield _probes(name, dying.arrivals() if fault else ended.asked, ended)
            progress.advance(task)
        share = answered / asked
        yield Figure(
            name="answered, all deaths",
            value=share * 100,
            unit="%",
            n=asked,
            promise="≥ 99.9 %",
            kept=share >= ANSWERED_MIN,
        )
        dying.show(FLAKY)
        before = dying.calls()
        ended = _phase(staff, dying.url, fallback, folder / "flaky.board", FLAKY_S)
        yield from _flaky(dying.calls() - before, ended)
        progress.advance(task)


def _phase(staff: Workers, primary: str, fallback: FastVendor, board: Path, seconds: float) -> Ended:
    phase = Phase(primary=primary, fallback=fallback.url, board=str(board), seconds=seconds, deadline_s=DEADLINE_S)
    staff.start(phase)
    seen = staff.seen()
    return Ended(
        chain=_joined(seen, "chain"),
        alone=_joined(seen, "alone"),
        asked=sorted(when for one in seen for when in one.asked_primary),
        reached=sum(one.reached_primary for one in seen),
    )


def _joined(seen: Sequence[Seen], kind: str) -> list[tuple[float, float, int]]:
    return [call for one in seen for call in (one.chain if kind == "chain" else one.alone)]


def _while_open(name: str, ended: Ended) -> Iterator[Figure]:
    chain, alone = ended.open_ms(ended.chain), ended.open_ms(ended.alone)
    mine, other = percentile(chain, 99), percentile(alone, 99)
    yield Figure(name=f"{name}: the fallback alone, p99", value=other, unit="ms", n=len(alone))
    yield Figure(
        name=f"{name}: while open, p99",
        value=mine,
        unit="ms",
        n=len(chain),
        reference="the fallback alone",
        ratio=mine / other,
        promise="≤ 5 ms more",
        kept=mine <= other + ADDED_MS_MAX,
    )


def _probes(name: str, arrivals: Sequence[float], ended: Ended) -> Figure:
    """The most calls that the dead vendor saw within any cool-down, once the breaker had opened."""
    since = ended.start + OPENING_S
    late = sorted(when for when in arrivals if when >= since)
    most = max((sum(one <= other < one + PROBE_SPACING_S for other in late) for one in late), default=0)
    return Figure(
        name=f"{name}: probes in any {COOL_DOWN_S:g} s",
        value=most,
        unit="",
        n=len(late),
        promise="≤ 1",
        kept=most <= 1,
    )


def _flaky(arrived: int, ended: Ended) -> Iterator[Figure]:
    if arrived != len(ended.asked):
        raise ValueError(f"the vendor saw {arrived} calls, the workers told of {len(ended.asked)}")
    ratio = arrived / ended.reached
    yield Figure(
        name="one in five fails: attempts over offered",
        value=ratio,
        unit="times",
        n=ended.reached,
        promise=f"≤ {RETRIES_MAX:g} times",
        kept=ratio <= RETRIES_MAX,
    )
    good = sum(answered for _, _, answered in ended.chain)
    yield Figure(name="one in five fails: answered", value=100 * good / len(ended.chain), unit="%", n=len(ended.chain))
