"""A provider that a test holds in its hand, and a breaker around it on the running loop's clock."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from registry.messages import Completion, CompletionRequest, Delta, Message, StreamEvent, Usage
from serving.providers.base import Overloaded, ProviderError
from serving.providers.board import Board
from serving.providers.breaker import Breaker
from serving.providers.slot import Slot

ANSWER = Completion(text="yes", stop_reason="end", usage=Usage(), provider="p", model="m")


@dataclass
class Vendor:
    """Does what a test tells it to, and counts."""

    error: BaseException | None = None
    takes_s: float = 0.0
    asked: int = 0
    pinged: int = 0
    name: str = "p"
    model: str = "m"
    closed: list[str] = field(default_factory=list)
    hook: Callable[[], None] | None = None
    """Runs in each attempt."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """One attempt."""
        self._ask()
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return ANSWER

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """One attempt, in a piece; an error comes after it."""
        self._ask()
        try:
            yield Delta(text="yes")
            await asyncio.sleep(self.takes_s)
            if self.error is not None:
                raise self.error
            yield ANSWER
        finally:
            self.closed.append("stream")

    async def ping(self) -> None:
        """One ping."""
        self.pinged += 1
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error

    async def aclose(self) -> None:
        """Nothing to close."""
        self.closed.append("vendor")

    def _ask(self) -> None:
        self.asked += 1
        if self.hook is not None:
            self.hook()


def request(within_s: float = 30.0) -> CompletionRequest:
    """A request that has so many seconds."""
    deadline = asyncio.get_running_loop().time() + within_s
    return CompletionRequest(messages=(Message(role="user", content="?"),), max_output_tokens=9, deadline=deadline)


def around(vendor: Vendor, path: Path | None = None) -> tuple[Breaker, Slot]:
    """A breaker with a slot of its own, on the running loop's clock; `path` is the board's file."""
    loop = asyncio.get_running_loop()

    def clock() -> int:
        return int(loop.time() * 1e9)

    slot = (Board.shared(path, clock) if path else Board.private(clock)).slot("p", "m")
    return Breaker(vendor, slot), slot


async def ask(breaker: Breaker, *, streamed: bool = False, within_s: float = 30.0) -> type[BaseException] | None:
    """Ask once; gives the kind of error it ended with."""
    try:
        if streamed:
            async with aclosing(breaker.stream(request(within_s))) as events:
                assert [event async for event in events] == [Delta(text="yes"), ANSWER]
        else:
            assert await breaker.complete(request(within_s)) == ANSWER
    except ProviderError as error:
        return type(error)
    return None


async def half_open(vendor: Vendor, path: Path | None = None) -> tuple[Breaker, Slot]:
    """A breaker whose next call is the probe; the vendor is as the test made it again."""
    breaker, slot = around(vendor, path)
    was, vendor.error, vendor.takes_s = (vendor.error, vendor.takes_s), Overloaded("x"), 0.0
    for _ in range(5):
        await ask(breaker)
    await asyncio.sleep(5)
    vendor.error, vendor.takes_s = was
    return breaker, slot
