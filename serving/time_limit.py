"""The time that one call has, and how it ends when that is over."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from serving.call_log import DeadlineExceeded
from serving.providers.base import ProviderError
from serving.providers.metering import TIMER_SLACK_S

LAST_WORD_S, LAST_WORD_SHARE = 0.02, 0.05
"""How long before the deadline providers end: the smaller of 20 ms and a twentieth of the time."""


def last_word_before(end: float, seconds: float) -> float:
    """When providers have to end, for a call of some `seconds` that ends at `end`; both on the running loop's clock."""
    return end - min(LAST_WORD_S, LAST_WORD_SHARE * seconds)


@asynccontextmanager
async def until(end: float, last_word: float, seconds: float) -> AsyncGenerator[None]:
    """Stop the work when its time of some `seconds` is over, at `end` on the running loop's clock.

    Providers have until `last_word`, so that they can tell who was asked and was silent.
    """
    limit = asyncio.timeout_at(end)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"no answer within {seconds:g} s; allow more with deadline_s") from error
    except ProviderError as error:
        # The providers watch the same clock, and may notice a moment earlier.
        if asyncio.get_running_loop().time() < last_word - TIMER_SLACK_S:
            raise
        raise DeadlineExceeded(f"no answer within {seconds:g} s: {error.message}", **error.details) from error
