"""Who wrote a version, and with which content: noted by the gate in the moment MLflow creates it."""

import time
from collections.abc import Callable

from sqlalchemy import select

from registry.database import Database, upsert
from registry.prompts.versions import PromotedVersion
from registry.schema import prompt_hashes


def remember_author(
    database: Database, version: PromotedVersion, author: str | None, clock: Callable[[], float] = time.time
) -> None:
    """Keep the content hash and the author of a version that was just created.

    A number that was used before belonged to a prompt that is deleted by now: the new content takes its place. Where it
    is the same content, and somebody else had written it, nobody knows for sure whose it is.

    Args:
        database: of the registry.
        version: as MLflow has just stored it.
        author: None when nobody knows.
        clock: seconds since the epoch.

    Raises:
        DatabaseUnavailable: nothing was stored; the author counts as unknown.
    """
    same = (prompt_hashes.c.name == version.name) & (prompt_hashes.c.version == version.version)
    with database.write() as connection:
        earlier = connection.execute(
            select(prompt_hashes.c.content_hash, prompt_hashes.c.author).where(same).with_for_update()
        ).one_or_none()
        # A reader may have seen the version before this line did: then its content is known, and its author is not.
        if earlier is not None and earlier.content_hash == version.content_hash and earlier.author is not None:
            author = author if earlier.author == author else None
        row = {
            "name": version.name,
            "version": version.version,
            "content_hash": version.content_hash,
            "first_seen_ms": int(clock() * 1000),
            "author": author,
        }
        upsert(connection, prompt_hashes, row)
