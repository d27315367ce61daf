"""Loops beside the requests: each is started once, restarted when it crashes, and stopped with the process."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

PAUSE_S_FIRST = 1.0
PAUSE_S_MAX = 30.0
"""Longest wait before a crashed loop starts again: a crash at each start costs two lines a minute, not a busy CPU."""


class Background:
    """The background loops of one process."""

    def __init__(self, on_crash: Callable[[str], None], pause_s: float = PAUSE_S_FIRST) -> None:
        self._on_crash = on_crash
        self._pause_s = pause_s
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
        pause_s = self._pause_s
        while True:
            try:
                await loop()
            except Exception:
                logger.exception("background task %r crashed; it starts again in %.0f s", name, pause_s)
            else:
                logger.error("background task %r ended; it starts again in %.0f s", name, pause_s)
            self._on_crash(name)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)
