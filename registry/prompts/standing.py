"""How a content stands where its use case is served: it serves, a rollback may bring it back, or neither."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from registry.database import Database
from registry.prompts.policy import Policy
from registry.prompts.promotion_records import Promotion, all_promotions, valid_promotion, valid_promotions
from registry.prompts.schema import InvalidTemplate
from registry.prompts.versions import PromotedVersion, PromptNotFound, PromptSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a content stands under its policy's alias."""

    record: Promotion
    """The newest that lets it serve there."""
    serves: bool
    """False: something else does, and a rollback may bring this one back."""
    since_ms: int | None = None
    """Since when it serves; None: it does not, or nobody noted when the alias came back to it."""


async def aliased_version(source: PromptSource, policy: Policy) -> PromotedVersion | None:
    """Where the policy's alias points; None: nowhere, or at a version that cannot be read.

    Raises:
        MlflowUnavailable: no usable answer.
    """
    with suppress(PromptNotFound, InvalidTemplate):
        return await source.by_alias(policy.prompt, policy.alias)
    return None


def serving_record(database: Database, policy: Policy, aliased: str | None, now_ms: int) -> Promotion | None:
    """The record on which something serves: the alias's if that content may, else what was last let through.

    Args:
        database: promotion records.
        policy: of the use case.
        aliased: hash of the content under its alias; None: nothing usable.
        now_ms: milliseconds since the epoch.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    place = policy.prompt, policy.alias
    found = None if aliased is None else valid_promotion(database, *place, aliased, now_ms)
    return found or next(iter(valid_promotions(database, *place, now_ms, limit=1)), None)


def standing_of(
    database: Database, policy: Policy, content_hash: str, aliased: str | None, now_ms: int
) -> Standing | None:
    """How a content stands; None: no record lets it serve. Arguments and errors as `serving_record`."""
    record = valid_promotion(database, policy.prompt, policy.alias, content_hash, now_ms)
    serving = serving_record(database, policy, aliased, now_ms)
    if record is None or serving is None or serving.content_hash != content_hash:
        return None if record is None else Standing(record=record, serves=False)
    history = all_promotions(database, policy.prompt, policy.alias)
    return Standing(record=record, serves=True, since_ms=_since(history, content_hash, now_ms))


def told(standing: Standing) -> str:
    """The sentence for people."""
    alias, ends_ms = standing.record.alias, standing.record.expires_ms
    until = "" if ends_ms is None else f", until {_time(ends_ms)} when its waiver ends"
    if standing.serves:
        since = "" if standing.since_ms is None else f" since {_time(standing.since_ms)}"
        return f"Serves as {alias!r}{since}{until}."
    return f"Was let through as {alias!r} before: a rollback may bring it back{until}."


def _since(history: Sequence[Promotion], content_hash: str, now_ms: int) -> int | None:
    """Since when a content serves that does now: its unbroken records, or the end of what was let through after them.

    `history` holds every record of the place, newest first.
    """
    since, others_end = None, 0
    for record in history:
        ended = _end_ms(record)
        if record.content_hash == content_hash:
            if ended is not None and ended < (now_ms if since is None else since):
                continue  # it had ended before it was let through again
            since = record.created_ms
        elif since is not None:
            break
        elif ended is None or ended > now_ms:
            return None  # the alias moved behind the gate's back
        else:
            others_end = max(others_end, ended)
    return None if since is None else max(since, others_end)


def _end_ms(record: Promotion) -> int | None:
    return min(filter(None, (record.expires_ms, record.revoked_ms)), default=None)


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"
