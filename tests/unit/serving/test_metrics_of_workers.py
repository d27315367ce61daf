"""Metrics of several workers: any of them tells of all, of none that was killed, and nothing that is over."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.metrics import EXPERIMENT_LIVE, SHARED_DIRECTORY

WORKER = """
import sys
from serving.metrics import Metrics
metrics = Metrics()
metrics.show_arms([("exp_1", "control"), ("exp_1", "v2"), ("exp_0", "control")])
for line in sys.stdin:
    metrics.show_arms([("exp_1", "control"), ("exp_1", "v2")])
    print(metrics.render().decode() + "ready", flush=True)
"""
WAIT_S = 20

Worker = subprocess.Popen[str]


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    """Two processes that share their numbers; each answers a line with all of them."""
    own = os.environ | {SHARED_DIRECTORY: str(tmp_path)}
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen([sys.executable, "-c", WORKER], env=own, stdin=pipe, stdout=pipe, text=True) for _ in range(2)
    ]
    yield started[0], started[1]
    for each in started:
        each.kill()
        each.communicate(timeout=WAIT_S)


def arms_told(worker: Worker) -> list[str]:
    """What a worker's /metrics says about experiments."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    lines = iter(worker.stdout.readline, "ready\n")
    return sorted(line.strip() for line in lines if line.startswith(EXPERIMENT_LIVE))


def live(arm: str, workers: int) -> str:
    """The line of an arm of experiment exp_1."""
    return f'{EXPERIMENT_LIVE}{{arm="{arm}",experiment="exp_1"}} {workers}.0'


def test_any_worker_counts_those_that_serve_an_arm(workers: tuple[Worker, Worker]) -> None:
    """An experiment that is over is told by nobody, one that lives with the number of its workers."""
    one, other = workers
    arms_told(one)
    assert arms_told(other) == [live("control", 2), live("v2", 2)]


def test_a_killed_worker_counts_no_longer(workers: tuple[Worker, Worker]) -> None:
    """Though it could not say goodbye."""
    one, other = workers
    arms_told(one)
    one.kill()
    one.wait(timeout=WAIT_S)
    assert arms_told(other) == [live("control", 1), live("v2", 1)]
