"""Callers of `promotion_reach`: what they ask without end, and what each answer says about the version that made it."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

CALLERS = 4
PAUSE_S = 0.1
"""Between two questions of a caller: two cores carry four workers, an engine and MLflow beside them."""
OK = 200
Signature = tuple[int, int]
"""Number of passages, and prompt tokens."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a caller got, on the clock of this process."""

    began_s: float
    status: int
    version: int = 0
    signature: Signature = (0, 0)


@dataclass
class Traffic:
    """Callers that ask one question without end."""

    client: httpx.AsyncClient
    question: str
    answers: list[Answer] = field(default_factory=list[Answer])

    async def ask(self) -> Answer:
        """One question."""
        began_s = time.time()
        try:
            got = await self.client.post("/v1/insights", json={"question": self.question})
        except httpx.TransportError:
            return Answer(began_s, 0)
        if got.status_code != OK:
            return Answer(began_s, got.status_code)
        made = got.json()
        return Answer(
            began_s, got.status_code, made["prompt"]["version"], (len(made["passages"]), made["usage"]["input"])
        )

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            self.answers.append(await self.ask())
            await asyncio.sleep(PAUSE_S)

    @asynccontextmanager
    async def flowing(self) -> AsyncGenerator[None]:
        """Callers beside the block; they finish their last question."""
        tasks = [asyncio.create_task(self.run()) for _ in range(CALLERS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
