"""`Idempotency-Key`: the same request twice gets the same insight, for 24 hours; the model is asked once."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable

from registry.errors import InvalidInput, Unavailable
from registry.insight_records import InsightRecords
from registry.insights import Insight, Question
from serving.call_log import to_the_end

logger = logging.getLogger(__name__)

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,200}")

Work = Callable[[], Awaitable[Insight]]
LookUp = Callable[[str], Awaitable[Insight]]


async def once(
    records: InsightRecords, tenant: str, key: str, route: str, question: Question, work: Work, look_up: LookUp
) -> tuple[Insight, bool]:
    """The insight of this key, and whether it was there before; a failed call leaves the key free.

    Raises:
        InvalidInput: the key has other characters or too many.
        IdempotencyConflict: the key came with another body, or its first call is still running.
    """
    if _KEY.fullmatch(key) is None:
        raise InvalidInput(f"the header {HEADER} takes 1 to 200 visible ASCII characters")
    body = hashlib.sha256(question.model_dump_json().encode()).hexdigest()
    known = await asyncio.to_thread(records.begin, tenant, key, route, body)
    if known is not None:
        return await look_up(known), True
    try:
        insight = await work()
    except BaseException:  # also when cancelled the key is free again; raised on
        await to_the_end(asyncio.to_thread(records.forget, tenant, key, route))
        raise
    try:
        await to_the_end(asyncio.to_thread(records.finish, tenant, key, route, insight.id))
    except Unavailable:
        # The answer is sealed and paid for; giving it out matters more than remembering its key.
        logger.exception("an idempotency key could not be kept")
    return insight, False
