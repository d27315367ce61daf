"""A vendor that acts out a list, one act an attempt, on whatever clock the event loop has."""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from registry.messages import Attempt, Completion, CompletionRequest, Delta, Message, StreamEvent, Usage
from serving.providers.base import ProviderError

FOREVER_S = 100_000.0
"""More than a day: longer than any deadline."""
USAGE = Usage(input=11, output=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What one attempt does: pieces, each after `wait_s`; then, after `wait_s`, the end."""

    pieces: tuple[str, ...] = ("yes",)
    wait_s: float = 0.0
    begins: bool = False
    """It reasons: the answer begins at once, and its first piece takes its time."""
    error: ProviderError | None = None
    """How it ends; None is with an answer."""
    forgets_end: bool = False
    """The stream stops without a completion."""


@dataclass
class ActingProvider:
    """Does its acts in order, the last one again and again."""

    name: str = "a"
    acts: Sequence[Act] = (Act(),)
    requests: list[CompletionRequest] = field(default_factory=list[CompletionRequest])
    """What was asked."""
    running: int = 0
    """Attempts under way; a stream until it is closed."""
    most: int = 0
    """The highest `running` so far."""
    closed: bool = False

    @property
    def model(self) -> str:
        """The model of the configuration."""
        return f"{self.name}-1"

    async def complete(self, request: CompletionRequest) -> Completion:
        """Act."""
        async with aclosing(self._act(request)) as events:
            async for event in events:
                if isinstance(event, Completion):
                    return event
        raise AssertionError("an act for `complete` has an end")

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Act, piece by piece."""
        async with aclosing(self._act(request)) as events:
            async for event in events:
                yield event

    async def ping(self) -> None:
        """It is there."""

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True

    async def _act(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        act = self.acts[min(len(self.requests), len(self.acts) - 1)]
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if act.begins:
                request.on_begin()
            for piece in act.pieces:
                await asyncio.sleep(act.wait_s)
                yield Delta(text=piece)
            await asyncio.sleep(act.wait_s)
            if act.error is not None:
                raise act.error
            if not act.forgets_end:
                text = "".join(act.pieces)
                yield Completion(text=text, stop_reason="end", usage=USAGE, provider=self.name, model=f"{self.model}-x")
        finally:
            self.running -= 1


def request(
    left_s: float | None = None, *, bill: list[Attempt] | None = None, prompt: str = "12345678"
) -> CompletionRequest:
    """A request with `left_s` seconds to its deadline; its attempts go into `bill`."""
    return CompletionRequest(
        messages=(Message(role="user", content=prompt),),
        max_output_tokens=10,
        deadline=math.inf if left_s is None else asyncio.get_running_loop().time() + left_s,
        on_attempt=(bill if bill is not None else []).append,
    )


async def texts(events: AsyncGenerator[StreamEvent]) -> list[str]:
    """The pieces of a stream read to its end."""
    return [event.text async for event in events if isinstance(event, Delta)]
