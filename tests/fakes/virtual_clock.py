"""Time that passes only when everyone waits: an event loop whose clock jumps to the next timer.

A test of an hour's waiting takes milliseconds, and what happens "at the deadline" happens exactly then. Work in
threads is real work: while some runs, the clock stands still.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

STUCK_S = 20.0
"""Real seconds after which a loop without a timer and without a signal from outside is taken to be stuck."""

P = ParamSpec("P")
T = TypeVar("T")


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 1,000 seconds and jumps."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._threads = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The virtual time in seconds."""
        return self._now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """As the base class; the clock stands still until the work is done."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def pass_time(self, seconds: float) -> bool:
        """Jump ahead; False while threads are at work."""
        if self._threads:
            return False
        self._now += seconds
        return True

    def _thread_ended(self, _: object) -> None:
        self._threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for real only when there is nothing to jump to."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else time passes."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None and self._loop.pass_time(timeout):
            return []
        ready = super().select(STUCK_S)
        if not ready:
            raise RuntimeError("every task waits, and nothing is scheduled that could wake one")
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a virtual clock, as `asyncio.run` does on the real one."""
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        return runner.run(main)


def on_virtual_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorate an `async def` test to run it on a virtual clock; stands below hypothesis' `@given`."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return run_test
