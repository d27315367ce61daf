"""Loops beside the requests."""

import asyncio

from fakes.fake_clock import FakeClock

from serving.background import HEALTHY_S, PAUSE_S_FIRST, PAUSE_S_MAX, Background


async def test_a_crashed_loop_is_counted_and_started_again() -> None:
    """A crash ends one round, not the loop."""
    crashes: list[str] = []
    again = asyncio.Event()

    async def loop() -> None:
        if crashes:
            again.set()
            await asyncio.Event().wait()
        raise RuntimeError

    background = Background(crashes.append, sleep=lambda _seconds: asyncio.sleep(0))
    background.start("fragile", loop)
    await again.wait()
    await background.aclose()
    assert crashes == ["fragile"]


async def pauses_of(lives_s: list[float]) -> list[float]:
    """How long a loop that lives so long each time rests before each new start."""
    clock, pauses, lives, done = FakeClock(), list[float](), iter(lives_s), asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def loop() -> None:
        life_s = next(lives, None)
        if life_s is None:
            done.set()
            await asyncio.Event().wait()
        else:
            clock.now += life_s
            raise RuntimeError

    background = Background(lambda _name: None, clock=clock, sleep=sleep)
    background.start("fragile", loop)
    await done.wait()
    await background.aclose()
    return pauses


async def test_a_loop_that_keeps_crashing_rests_longer_each_time() -> None:
    """The pause doubles up to its limit, so that a crash at each start does not keep a core busy."""
    assert await pauses_of([0] * 7) == [PAUSE_S_FIRST * 2**n for n in range(5)] + [PAUSE_S_MAX] * 2


async def test_a_healthy_minute_makes_crashes_forgotten() -> None:
    """After a minute of good work the next crash costs the first pause again."""
    assert await pauses_of([0, 0, 0, HEALTHY_S, 0]) == [1, 2, 4, 1, 2]


async def test_closing_ends_every_loop() -> None:
    """After aclose nothing runs any more."""
    ended: list[int] = []

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    background = Background(lambda _name: None)
    background.start("a", loop)
    background.start("b", loop)
    await asyncio.sleep(0)
    await background.aclose()
    assert ended == [1, 1]
