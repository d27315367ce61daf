"""A model that writes piece by piece, as a test tells it to."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from registry.messages import Completion, CompletionRequest, Delta, StreamEvent, Usage


class Writing:
    """A model that writes as a test tells it to, and says when it was stopped."""

    def __init__(self, api: Any, *pieces: str, error: BaseException | None = None, stalls: bool = False) -> None:
        self.pieces = pieces
        self.error = error
        self.stalls = stalls
        self.written = 0
        self.closed = asyncio.Event()
        api.provider.stream = self.stream

    async def stream(self, _request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Write the pieces, then fail, stall or end."""
        try:
            for piece in self.pieces:
                self.written += 1
                yield Delta(text=piece)
            if self.error is not None:
                raise self.error
            if self.stalls:
                await asyncio.Event().wait()
            yield Completion(
                text="".join(self.pieces), stop_reason="end", usage=Usage(), provider="scripted", model="scripted"
            )
        finally:
            self.closed.set()
