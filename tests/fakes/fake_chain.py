"""A chain that says what a test tells it to, for who stands in front of one."""

import asyncio
import threading
from collections.abc import AsyncGenerator

from registry.messages import Attempt, Completion, CompletionRequest, Delta, StreamEvent, Usage

USAGE = Usage(input=60, cache_read=30, cache_write_5m=10, output=20, reasoning=5)


class FakeChain:
    """Says what it is told, in two pieces when streamed; remembers what it was asked, and on which loop."""

    def __init__(self, text: str = "Nine per cent.", error: Exception | None = None) -> None:
        self.text = text
        self.error = error
        self.requests: list[CompletionRequest] = []
        self.left_s: list[float] = []
        self.loops: set[int] = set()
        self.began = threading.Event()
        self.stopped = threading.Event()
        self.closed = False

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer, or wait for ever when the text is empty."""
        self._note(request)
        try:
            await self._wait()
        finally:
            self.stopped.set()
        return self._completion(request)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Answer in two pieces, or wait for ever after the first when the text is empty."""
        self._note(request)
        try:
            half = len(self.text) // 2
            yield Delta(text=self.text[:half] or "-")
            await self._wait()
            yield Delta(text=self.text[half:])
            yield self._completion(request)
        finally:
            self.stopped.set()

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True

    def _note(self, request: CompletionRequest) -> None:
        loop = asyncio.get_running_loop()
        self.requests.append(request)
        self.left_s.append(request.deadline - loop.time())
        self.loops.add(id(loop))
        self.began.set()

    async def _wait(self) -> None:
        if not self.text:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def _completion(self, request: CompletionRequest) -> Completion:
        request.on_attempt(Attempt(provider="anthropic", model="claude-x-1", asked_model="claude-x", usage=USAGE))
        return Completion(
            text=self.text,
            stop_reason="end",
            usage=USAGE,
            provider="anthropic",
            model="claude-x-1",
            asked_model="claude-x",
            request_id="req_1",
        )
