"""Claude's door and OpenAI's door before two real llama.cpp servers; the first is killed under load and comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from fixtures_llama import MODEL, LlamaProcess, require_llama
from pydantic import SecretStr

from registry.messages import Attempt, Completion, CompletionRequest, Delta, Message
from serving.providers.anthropic import Anthropic
from serving.providers.base import ProviderError, Unreachable
from serving.providers.board import Board
from serving.providers.chain import Chain, Link
from serving.providers.circuit import CircuitState
from serving.providers.openai import OpenAI
from serving.providers.slot import Slot

pytestmark = pytest.mark.chaos

CALLERS = 2
"""For each worker; the two servers share two cores with everything else."""
DEADLINE_S = 60.0
"""A caller's; far above what four callers need, so that nothing but the kill makes a call fail."""
WAIT_S = 60.0


@dataclass
class Load:
    """Two workers of one node ask without pause and note what they get."""

    claude: Link
    """The first provider, as the first worker sees it."""
    asked: list[tuple[float, CircuitState]] = field(default_factory=list[tuple[float, CircuitState]])
    """When a request went to it, and in which state its breaker was then."""
    answers: list[Completion] = field(default_factory=list[Completion])
    errors: list[ProviderError] = field(default_factory=list[ProviderError])

    async def ask_for_ever(self, chain: Chain) -> None:
        """One caller."""
        while True:
            request = CompletionRequest(
                messages=(Message(role="user", content="Say hello."),),
                max_output_tokens=4,
                deadline=asyncio.get_running_loop().time() + DEADLINE_S,
            )
            try:
                self.answers.append(await chain.complete(request))
            except ProviderError as error:
                self.errors.append(error)

    def asked_while(self, state: CircuitState) -> list[float]:
        """When the first provider was asked in this state."""
        return [at for at, found in self.asked if found == state]


class Watched(Anthropic):
    """Claude's door, with a note of every request that goes out."""

    slot: Slot
    asked: list[tuple[float, CircuitState]]

    async def complete(self, request: CompletionRequest) -> Completion:
        """Note it and ask."""
        self.asked.append((asyncio.get_running_loop().time(), self.slot.state))
        return await super().complete(request)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[LlamaProcess, LlamaProcess]]:
    """Two servers of our own."""
    require_llama()
    first, second = LlamaProcess(tmp_path), LlamaProcess(tmp_path)
    try:
        yield first.start(), second.start()
    finally:
        first.stop()
        second.stop()


@pytest.fixture
async def load(servers: tuple[LlamaProcess, LlamaProcess], tmp_path: Path) -> AsyncIterator[Load]:
    """Two workers that share a board, under load until the test ends."""
    first, second = servers
    boards = [Board.shared(tmp_path / "providers.board") for _ in range(2)]
    workers = [
        Chain(
            [
                Watched(api_key=SecretStr("local"), model=MODEL, base_url=first.url),
                OpenAI(api_key=SecretStr("local"), model=MODEL, base_url=f"{second.url}/v1"),
            ],
            board=board,
        )
        for board in boards
    ]
    load = Load(workers[0].links[0])
    for worker in workers:
        claude = worker.vendors[0]
        assert isinstance(claude, Watched)
        claude.slot, claude.asked = worker.links[0].slot, load.asked
    callers = [asyncio.create_task(load.ask_for_ever(worker)) for worker in workers for _ in range(CALLERS)]
    yield load
    for caller in callers:
        caller.cancel()
    for caller in callers:
        with suppress(asyncio.CancelledError):
            await caller
    for worker, board in zip(workers, boards, strict=True):
        await worker.aclose()
        board.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, and no longer than WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - the state lies in shared memory, which tells nobody
            await asyncio.sleep(0.01)


async def off_the_loop(work: Callable[[], object]) -> None:
    """Run something that blocks."""
    waiting: Awaitable[object] = asyncio.to_thread(work)
    await waiting


class TestFirstProviderKilled:
    """`kill -9` under load, and the way back."""

    async def test_nobody_notices_and_one_probe_a_cool_down_brings_it_back(
        self, load: Load, servers: tuple[LlamaProcess, LlamaProcess]
    ) -> None:
        """Every call is answered; the breaker opens; each cool-down ends with one probe, the last one with recovery."""
        claude = load.claude.slot
        await until(lambda: len(load.answers) >= 8)
        assert {answer.provider for answer in load.answers} == {"anthropic"}

        await off_the_loop(servers[0].kill)
        await until(lambda: claude.state == "open")
        before = len(load.answers)
        await until(lambda: len(load.answers) >= before + 8)
        assert {answer.provider for answer in load.answers[before + 2 * CALLERS :]} == {"openai"}
        await off_the_loop(servers[0].start)
        await until(lambda: claude.state == "closed")
        await until(lambda: load.answers[-1].provider == "anthropic")

        probes = load.asked_while("half_open")
        assert not load.asked_while("open")
        waits_s = [later - earlier for earlier, later in pairwise(probes)]
        assert all(wait_s >= 5 * 2**place for place, wait_s in enumerate(waits_s, 1))  # 10 s, 20 s: none in between
        assert 1 <= len(probes) <= 3
        assert not load.errors


class TestStreamKilled:
    """`kill -9` while an answer is being written."""

    async def test_a_begun_answer_is_broken_off_and_told(self, servers: tuple[LlamaProcess, LlamaProcess]) -> None:
        """After the first words nobody takes over: the stream ends with a typed error, and the words are billed."""
        first, second = servers
        attempts: list[Attempt] = []
        chain = Chain(
            [
                Anthropic(api_key=SecretStr("local"), model=MODEL, base_url=first.url),
                OpenAI(api_key=SecretStr("local"), model=MODEL, base_url=f"{second.url}/v1"),
            ]
        )
        request = CompletionRequest(
            messages=(Message(role="user", content="Count from one to one thousand."),),
            max_output_tokens=1_000,
            deadline=asyncio.get_running_loop().time() + DEADLINE_S,
            on_attempt=attempts.append,
        )
        words: list[str] = []

        async def read() -> None:
            async with aclosing(chain.stream(request)) as events:
                async for event in events:
                    assert isinstance(event, Delta)
                    words.append(event.text)
                    if len(words) == 5:
                        await off_the_loop(first.kill)

        with pytest.raises(Unreachable):
            await read()
        await chain.aclose()
        [attempt] = attempts
        assert (attempt.provider, attempt.outcome, attempt.estimated) == ("anthropic", "Unreachable", True), (
            attempt,
            words,
        )
        assert attempt.usage.output >= len("".join(words)) / 4 > 1
