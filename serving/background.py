"""Loops beside the requests: each is started once, restarted when it crashes, and stopped with the process."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

PAUSE_S_FIRST = 1.0
PAUSE_S_MAX = 30.0
"""Longest wait before a crashed loop starts again: a crash at each start costs two lines a minute, not a busy CPU."""
HEALTHY_S = 60.0
"""A loop that ran this long has recovered; its next crash is a first one again."""


class Background:
    """The background loops of one process."""

    def __init__(
        self,
        on_crash: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._on_crash = on_crash
        self._clock = clock
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run `loop`, which goes on until cancelled, and start it again whenever it ends."""
        self._tasks.append(asyncio.create_task(self._supervise(name, loop), name=name))

    async def aclose(self) -> None:
        """Cancel every loop and wait for its end."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        pause_s = PAUSE_S_FIRST
        while True:
            started = self._clock()
            crash: Exception | None = None
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 - whatever it was, the loop goes on
                crash = error
            if self._clock() - started >= HEALTHY_S:
                pause_s = PAUSE_S_FIRST
            if crash is not None:
                logger.error("background task %r crashed; it starts again in %.0f s", name, pause_s, exc_info=crash)
            else:
                logger.error("background task %r ended; it starts again in %.0f s", name, pause_s)
            self._on_crash(name)
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
