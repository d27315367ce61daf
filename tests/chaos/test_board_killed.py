"""Workers that die while they write on the board."""

import multiprocessing
import random
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from registry.messages import Attempt
from serving.providers.board import Board

ATTEMPT = Attempt(provider="p", model="m", asked_model="m", seconds=0.1)


def work(path: Path, started: "multiprocessing.synchronize.Semaphore") -> None:
    """Write as fast as it goes, until killed."""
    slot = Board.shared(path).slot("p", "m")
    while True:
        ticket = slot.enter(1.0)
        if ticket is not None:
            slot.change(lambda circuit, now_ns, ticket=ticket: circuit.succeeded(now_ns, ticket))
        slot.observe(ATTEMPT)
        started.release()


@pytest.mark.chaos
def test_a_worker_killed_at_any_point_leaves_a_board_that_works(tmp_path: Path) -> None:
    """With kill -9, again and again: no lock stays behind, and what is written next is read."""
    path = tmp_path / "providers.board"
    slot = Board.shared(path).slot("p", "m")
    spawn = multiprocessing.get_context("spawn")
    draw = random.Random(7)  # noqa: S311 - where to kill
    started = spawn.Semaphore(0)
    workers: list[BaseProcess] = []
    try:
        for _ in range(5):
            workers += [spawn.Process(target=work, args=(path, started), daemon=True) for _ in range(3 - len(workers))]
            for worker in workers:
                if worker.pid is None:
                    worker.start()
            for _ in range(draw.randrange(20, 2_000)):
                assert started.acquire(timeout=60)
            victim = workers.pop(draw.randrange(len(workers)))
            victim.kill()
            victim.join()
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    slot.observe(ATTEMPT)  # clears the slot when the last one died while it wrote
    before = slot.read().whole.n
    slot.observe(ATTEMPT)
    assert slot.read().whole.n == before + 1
    assert slot.state == "closed"
    for _ in range(5):
        ticket = slot.enter(1.0)
        assert ticket is not None
        slot.change(lambda circuit, now_ns, ticket=ticket: circuit.failed(now_ns, ticket, at_once=True))
        if slot.state == "open":
            return
    pytest.fail("the breaker no longer opens")
