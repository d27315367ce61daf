"""Random sequences of what people, machines and intruders do to prompts, against a model written from the rules alone.

Each sequence pushes, evaluates, approves, signs, promotes, rolls back, revokes and deletes, with other actions in the
middle of a promotion; starts, stops and watches experiments; changes policies; edits the databases of MLflow and the
registry and the disks of two workers; forges and repeats webhooks; sends MLflow or the registry away; restarts workers;
lets minutes or a month pass. After every step the outcome, the alias, the records, what a worker serves and whose arms
it answers with have to be what the model says, and the promotions table is asked directly whether what serves has its
record. 10,000 sequences run the product on MLflow's fake, 200 on a running MLflow server with the gate, each ending
with a crowd that acts at once. The seeds are 0, 1, 2 and so on.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from fixtures_mlflow import started_mlflow
from registry_actions.comparison import compare_on_fake, registry_in
from registry_actions.proofs import Disagreement
from registry_actions.server import compare_on_server
from rich.progress import Progress

from registry.database import migrate
from tests.benchmarks.measurement import Figure

ON_FAKE, ON_SERVER = 10_000, 200
AT_ONCE = 50
"""Sequences that a process takes at a time."""
MEMORY = Path("/dev/shm")  # noqa: S108 - thousands of small registries need no disk
SHOWN = 5

Result = tuple[int, int, list[str]]
"""Steps done, checks made, and what disagreed."""


def benchmark(progress: Progress, folder: Path) -> Iterable[Figure]:
    """Sequences in which the product did something else than the model."""
    logging.disable(logging.CRITICAL)  # the outages are meant
    batches = [range(first, first + AT_ONCE) for first in range(0, ON_FAKE, AT_ONCE)]
    task = progress.add_task("registry_actions", total=ON_FAKE + ON_SERVER)
    results: list[Result] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        for done in as_completed([processes.submit(on_fake, seeds) for seeds in batches]):
            results.append(done.result())
            progress.advance(task, AT_ONCE)
    yield from _figures("on the fake MLflow", ON_FAKE, results)
    (folder / "server").mkdir()
    results = []
    with started_mlflow(folder / "server") as server:
        for seed in range(ON_SERVER):
            home = folder / str(seed)
            home.mkdir()
            try:
                results.append((*compare_on_server(seed, server, home), []))
            except Disagreement as reason:
                results.append((0, 0, [f"seed {seed}: {reason}"]))
            progress.advance(task)
    yield from _figures("on a running MLflow", ON_SERVER, results)


def on_fake(seeds: Sequence[int]) -> Result:
    """Some sequences on the fake, in a process of its own."""
    logging.disable(logging.CRITICAL)
    steps = checks = 0
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'registry.db'}"
        migrate(url)
        with registry_in(folder, url) as database:
            for seed in seeds:
                home = folder / str(seed)
                home.mkdir()
                try:
                    found = compare_on_fake(seed, database, folder, home)
                except Disagreement as reason:
                    wrong.append(f"seed {seed}: {reason}")
                else:
                    steps, checks = steps + found[0], checks + found[1]
    return steps, checks, wrong


def _figures(where: str, sequences: int, results: Sequence[Result]) -> Iterable[Figure]:
    wrong = [each for _, _, found in results for each in found]
    for each in wrong[:SHOWN]:
        sys.stderr.write(f"{where}, {each}\n")
    yield Figure(
        name=f"sequences {where}: not as the model",
        value=len(wrong),
        unit="sequences",
        n=sequences,
        promise="0",
        kept=not wrong,
    )
    steps, checks = sum(done for done, _, _ in results), sum(made for _, made, _ in results)
    yield Figure(name=f"sequences {where}: steps", value=steps, unit="steps", n=sequences)
    yield Figure(name=f"sequences {where}: checks", value=checks, unit="checks", n=sequences)
