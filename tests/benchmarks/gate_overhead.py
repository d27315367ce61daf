"""What the gate adds to MLflow's call that sets an alias.

Two MLflow servers on this machine, one with the gate in its registry and one as it comes. They take turns, call by
call, so that other work slows both. `production` goes back and forth between two proven versions: every move decides,
writes a record and a durable line of the audit log. `staging`, which no policy protects, goes back and forth as well.
The promise is about the difference of the two servers' 95th percentiles in a round.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from fixtures_mlflow import CHAIN, GatedMlflow, started_mlflow
from mlflow_calls import TEXT, MlflowCalls
from rich.progress import Progress

from registry.prompts.evidence import AGAINST, record_evidence
from registry.prompts.schema import content_hash
from registry.prompts.stored import from_tags
from tests.benchmarks.measurement import Figure, over_rounds, percentile

ROUNDS = 10
MOVES = 100
WARM_UP = 20
PROMPT = "moved"
ADDED_MS_MAX = 20.0
EVALUATED = "  - kind: evaluation\n    floors: {right: 0.5}"


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """Milliseconds a call, at the 95th percentile of each round."""
    for name in ("gated", "plain"):
        (folder / name).mkdir()
    task = progress.add_task("gate_overhead", total=ROUNDS)
    p95: dict[tuple[str, str], list[float]] = {}
    with (
        started_mlflow(folder / "gated") as gated,
        started_mlflow(folder / "plain", gate=False) as plain,
        MlflowCalls(gated.url) as through,
        MlflowCalls(plain.url) as past,
    ):
        for server, mlflow in ((gated, through), (plain, past)):
            _prepare(server, mlflow)
        calls = {"gated": through, "plain": past}
        _round(calls, WARM_UP)
        for _ in range(ROUNDS):
            for key, values in _round(calls, MOVES).items():
                p95.setdefault(key, []).append(percentile(values, 95))
            progress.advance(task)
    calls_made = ROUNDS * MOVES
    for alias in ("production", "staging"):
        mine, theirs = p95["gated", alias], p95["plain", alias]
        added = [one - other for one, other in zip(mine, theirs, strict=True)]
        yield over_rounds(f"{alias}: p95 without the gate", theirs, "ms", n=calls_made)
        yield over_rounds(f"{alias}: p95 with the gate", mine, "ms", n=calls_made, reference=("without", theirs))
        yield over_rounds(f"{alias}: added at p95", added, "ms", n=calls_made, at_most=ADDED_MS_MAX)


def _prepare(server: GatedMlflow, mlflow: MlflowCalls) -> None:
    """Two versions with everything that the policy asks for, each promoted once."""
    server.protect(PROMPT, EVALUATED)
    before: str | None = None
    for number in (1, 2):
        mlflow.create(PROMPT, f"{TEXT} {number}")
        digest = content_hash(from_tags(PROMPT, mlflow.tags(PROMPT, number)))
        record_evidence(
            server.database,
            kind="evaluation",
            prompt_name=PROMPT,
            prompt_version=number,
            content_hash=digest,
            provider=CHAIN[0].provider,
            model=CHAIN[0].model,
            verdict="PASS",
            details={"metrics": {"right": 0.9}, AGAINST: before},
        )
        mlflow.move(PROMPT, number).raise_for_status()
        before = digest


def _round(calls: dict[str, MlflowCalls], moves: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of each call, by server and alias."""
    taken: dict[tuple[str, str], list[float]] = {}
    for move in range(moves):
        for alias in ("production", "staging"):
            for name, mlflow in calls.items():
                start = time.perf_counter()
                mlflow.move(PROMPT, 1 + move % 2, alias).raise_for_status()
                taken.setdefault((name, alias), []).append(1000 * (time.perf_counter() - start))
    return taken
