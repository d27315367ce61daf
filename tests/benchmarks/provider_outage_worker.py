"""One of several workers that share what they know of the providers; `provider_outage` starts them.

For each line of its standard input, a phase as JSON, it asks a chain of two and a chain of the fallback alone, in turn,
for so many seconds, and writes a line with what it saw. Times are the system's monotonic clock, so the workers' agree.
"""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop

from registry.messages import Attempt
from serving.providers.base import ProviderError
from serving.providers.board import Board
from serving.providers.chain import Chain
from tests.benchmarks.measurement import settle
from tests.benchmarks.provider_requests import adapter, request

ROOT = Path(__file__).parents[2]
CALLERS = 4
PRIMARY = "primary"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What to do."""

    primary: str
    """URL of the vendor that the chain asks first."""
    fallback: str
    board: str
    """File of the shared board."""
    seconds: float
    deadline_s: float


@dataclass(kw_only=True)
class Seen:
    """What was seen; every call as when it started, how many seconds it took, and 1 if it was answered."""

    chain: list[tuple[float, float, int]] = field(default_factory=list[tuple[float, float, int]])
    alone: list[tuple[float, float, int]] = field(default_factory=list[tuple[float, float, int]])
    asked_primary: list[float] = field(default_factory=list[float])
    """When an attempt at the primary began."""
    reached_primary: int = 0
    """Calls with at least one attempt there."""


class Workers:
    """Some processes of this module."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def start(self, phase: Phase) -> None:
        """Have all of them begin."""
        line = json.dumps(asdict(phase)).encode() + b"\n"
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()

    def seen(self) -> list[Seen]:
        """What each of them saw; waits until they are done."""
        return [Seen(**json.loads(process.stdout.readline())) for process in self._processes if process.stdout]


@contextmanager
def workers(count: int) -> Generator[Workers]:
    """Run so many until the block ends; they have imported everything when it begins."""
    command = [sys.executable, "-m", "tests.benchmarks.provider_outage_worker"]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(count)
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                process.stdout.readline()
            yield Workers(processes)
        finally:
            for process in processes:
                assert process.stdin is not None
                process.stdin.close()


async def _work(phase: Phase) -> Seen:
    board = Board.shared(Path(phase.board))
    primary = adapter("messages", phase.primary, name=PRIMARY)
    chain = Chain([primary, adapter("chat", phase.fallback)], board=board)
    # Its own board: it must not see how the other chain's fallback is doing.
    alone = Chain([adapter("chat", phase.fallback)])
    seen = Seen()
    end = time.monotonic() + phase.seconds

    async def caller() -> None:
        while time.monotonic() < end:
            asked: list[float] = []

            def attempted(attempt: Attempt, asked: list[float] = asked) -> None:
                if attempt.provider == PRIMARY:
                    asked.append(time.monotonic() - attempt.seconds)

            seen.chain.append(await _ask(chain, phase.deadline_s, attempted))
            seen.asked_primary.extend(asked)
            seen.reached_primary += bool(asked)
            seen.alone.append(await _ask(alone, phase.deadline_s))

    await _ask(alone, phase.deadline_s)
    settle()
    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(caller())
    await chain.aclose()
    await alone.aclose()
    board.close()
    return seen


async def _ask(
    chain: Chain, deadline_s: float, on_attempt: Callable[[Attempt], None] = lambda _: None
) -> tuple[float, float, int]:
    started = time.monotonic()
    try:
        await chain.complete(request(asyncio.get_running_loop().time() + deadline_s, on_attempt))
    except ProviderError:
        answered = 0
    else:
        answered = 1
    return started, time.monotonic() - started, answered


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # the primary is to fail
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(uvloop.run(_work(Phase(**json.loads(line)))))) + "\n")
        sys.stdout.flush()
