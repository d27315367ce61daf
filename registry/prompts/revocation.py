"""Ends promotion records: what they let serve serves no longer.

* NoPromotion (NotFound) - there is no valid record to end
"""

import time
from collections.abc import Callable, Sequence

from sqlalchemy import update

from registry.alarms import Note
from registry.database import Database, take_turns
from registry.errors import JsonValue, NotFound
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.prompts.promotion_records import Promotion, promotions_of
from registry.schema import promotions
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


def revoke_promotions(database: Database, ids: Sequence[str], now_ms: int) -> None:
    """End records; one that is revoked already keeps its time.

    Raises:
        DatabaseUnavailable: the database does not answer; nothing was revoked.
    """
    living = promotions.c.id.in_(ids) & promotions.c.revoked_ms.is_(None)
    with database.write() as connection:
        connection.execute(update(promotions).where(living).values(revoked_ms=now_ms))


def revoke_content(database: Database, name: str, content_hash: str, now_ms: int) -> None:
    """End every record of a content, however many, in every place; also those that rollbacks write at this moment.

    Raises:
        DatabaseUnavailable: the database does not answer; nothing was revoked.
    """
    same = (promotions.c.prompt_name == name) & (promotions.c.content_hash == content_hash)
    living = same & promotions.c.revoked_ms.is_(None)
    with database.write() as connection:
        take_turns(connection, "promotions", name)  # else a copy of a copy could be written meanwhile, and stay
        connection.execute(update(promotions).where(living).values(revoked_ms=now_ms))
