"""Loops beside the requests."""

import asyncio

from serving.background import Background


async def test_a_crashed_loop_is_counted_and_started_again() -> None:
    """A crash ends one round, not the loop."""
    crashes: list[str] = []
    again = asyncio.Event()

    async def loop() -> None:
        if crashes:
            again.set()
            await asyncio.Event().wait()
        raise RuntimeError

    background = Background(crashes.append, pause_s=0)
    background.start("fragile", loop)
    await again.wait()
    await background.aclose()
    assert crashes == ["fragile"]


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
