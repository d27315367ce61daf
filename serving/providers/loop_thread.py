"""An event loop in a thread of its own, for callers that have none, or another one at each call."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import Any, Generic, TypeVar

from registry.errors import InvalidInput

Result = TypeVar("Result")

CLOSE_S_MAX = 10.0
RELAYED_MAX = 64
"""Items of a stream that wait for a slow reader; its source waits beyond that."""


class LoopThread:
    """Runs coroutines on one event loop, from any thread; the thread starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def time(self) -> float:
        """Now, on the clock of the loop.

        Raises:
            InvalidInput: it is closed.
        """
        return self._running().time()

    def submit(self, coroutine: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Start a coroutine; cancelling the future cancels it.

        Raises:
            InvalidInput: it is closed.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._running())
        except InvalidInput:
            coroutine.close()
            raise

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine and block until it is done.

        Raises:
            InvalidInput: it is closed, or the caller runs on this very loop and would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise InvalidInput("a blocking call on the thread of this object's own loop would never end; await it")
        future = self.submit(coroutine)
        try:
            return future.result()
        finally:
            future.cancel()  # of use when Ctrl-C ended the waiting

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, run `last`, and end the thread, within CLOSE_S_MAX; a second call does nothing."""
        if self._closed:
            return
        loop = self._running()
        self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(_end(last), loop).result(CLOSE_S_MAX)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            if self._thread is not None:
                self._thread.join(CLOSE_S_MAX)
            if not loop.is_running():
                loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise InvalidInput("this object was closed; make another one")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="loop-thread", daemon=True)
                self._thread.start()
            return self._loop


class Relay(Generic[Result]):
    """A stream that runs on one event loop, in one task, and is read item by item through `LoopThread.submit`."""

    def __init__(self, opened: Callable[[], AsyncGenerator[Result]]) -> None:
        self._opened = opened
        self._items: asyncio.Queue[Result | Exception | None] = asyncio.Queue(RELAYED_MAX)
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> Result | None:
        """The next item; None at the end. What the stream raises is raised here."""
        if self._task is None:
            self._task = asyncio.create_task(self._pump())
        item = await self._items.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def stop(self) -> None:
        """Close the stream, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _pump(self) -> None:
        ending: Exception | None = None
        try:
            async with aclosing(self._opened()) as stream:
                async for item in stream:
                    await self._items.put(item)
        except Exception as error:  # noqa: BLE001 - raised where the stream is read
            ending = error
        await self._items.put(ending)


async def _end(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await last()
    await asyncio.get_running_loop().shutdown_asyncgens()
