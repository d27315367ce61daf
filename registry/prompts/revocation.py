"""Ends promotion records: what they let serve serves no longer.

* NoPromotion (NotFound) - there is no valid record to end
"""

import time
from collections.abc import Callable

from registry.database import Database
from registry.errors import JsonValue, NotFound
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion import Note
from registry.prompts.promotion_records import Promotion, promotions_of, revoke_content
from registry.signals import bump_signal


class NoPromotion(NotFound):
    """There is no valid promotion record."""


def revoke(
    database: Database,
    name: str,
    version: int,
    *,
    reason: str,
    by: str,
    note: Note,
    clock: Callable[[], float] = time.time,
) -> tuple[Promotion, ...]:
    """End every valid record of a version's content, wherever it may serve; equal versions end with it.

    Serving returns to the newest record that is left. The evidence stays, so the version may be promoted again: reject
    it where that must not happen.

    Returns:
        The records that were ended, newest first; at most the newest RECORDS_MAX, though all of them end.

    Raises:
        NoPromotion: Nothing lets this version serve.
        LogUnavailable: The audit log cannot be written; nothing was ended.
    """
    now_ms = int(clock() * 1000)
    ended = promotions_of(database, name, version, now_ms)
    if not ended:
        raise NoPromotion(f"{name}/{version} has no valid promotion record; see `assay prompts show {name}/{version}`")
    hashes = sorted({record.content_hash for record in ended})
    body: dict[str, JsonValue] = {"prompt": name, "version": version, "reason": reason, "by": by}
    note("prompt.revocation", {**body, "content_hashes": [*hashes], "promotions": [record.id for record in ended]})
    for content_hash in hashes:
        revoke_content(database, name, content_hash, now_ms)
    bump_signal(database, PROMPTS_SIGNAL, clock)
    return ended
