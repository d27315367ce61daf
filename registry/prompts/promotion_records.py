"""Promotion records: which content may serve as what, with which models, since when and until when.

A record is written before an alias moves, by the gate or by `assay prompts promote`, and read by everyone who serves:
without an unrevoked, unexpired one for its very content a version does not serve, wherever an alias points. A row that
somebody edited so that it cannot be read is no record: it is passed over, and told once.

* PromotionEnded (Conflict) - the record that a rollback repeats is revoked
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, delete, exists, func, or_, select

from registry.database import Database, take_turns, upsert
from registry.errors import Conflict
from registry.schema import promotions
from registry.schema import serving_models as chain

logger = logging.getLogger(__name__)

EXPERIMENT = "experiment:"
"""An arm serves in the place `experiment:ID`, which no alias reaches."""
RECORDS_MAX = 200
"""Newest records that are read at once."""
_NEWEST = promotions.c.created_ms.desc(), promotions.c.id.desc()

Basis = Literal["evidence", "waiver", "record"]
"""Why a content may serve.

* evidence - the policy found what it asks for
* waiver - two people took the risk until a stated hour
* record - it was promoted before: a rollback needs nothing more
"""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ServingModel:
    """A provider and model of the chain that answers."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The record that lets a content serve."""

    id: str
    prompt_name: str
    prompt_version: int
    content_hash: str
    use_case: str
    alias: str
    """What it may serve as: an alias, or `experiment:ID` for an arm."""
    models: tuple[ServingModel, ...]
    """Who may answer with it; every other provider of the chain is skipped for this prompt."""
    basis: Basis
    promoted_by: str
    evidence: tuple[str, ...]
    """Ids of the evidence it rests on."""
    created_ms: int
    expires_ms: int | None = None
    """End of the waiver; None: no end."""
    revoked_ms: int | None = None


_PROMOTION = TypeAdapter(Promotion)


class PromotionEnded(Conflict):
    """The record that a rollback repeats was revoked before the new one was written."""


def write_promotion(database: Database, record: Promotion, repeats: str | None = None) -> Promotion:
    """Store a record as the newest of its place, also within one tick of a clock or after one that ran ahead.

    Args:
        database: of the registry.
        record: what to store.
        repeats: id of the record that a rollback rests on; it has to stand at this very moment.

    Returns:
        The record as stored: its `created_ms` may be later.

    Raises:
        PromotionEnded: the record to repeat is revoked; nothing was stored.
        DatabaseUnavailable: the database does not answer; nothing was stored.
    """
    here = (promotions.c.prompt_name == record.prompt_name) & (promotions.c.alias == record.alias)
    standing = (promotions.c.id == repeats) & promotions.c.revoked_ms.is_(None)
    with database.write() as connection:
        # A revocation of the content comes before, and then there is none to repeat, or after, and then it finds both.
        take_turns(connection, "promotions", record.prompt_name)
        # Locked: so does one of this very record, which takes no turn.
        locked = select(promotions.c.id).where(standing).with_for_update()
        if repeats is not None and connection.scalar(locked) is None:
            raise PromotionEnded(f"{record.prompt_name}/{record.prompt_version} was revoked just now")
        newest_ms = connection.scalar(select(func.max(promotions.c.created_ms)).where(here)) or 0
        stored = replace(record, created_ms=max(record.created_ms, newest_ms + 1))
        row: dict[str, Any] = asdict(stored)
        row["models"] = json.dumps([[each.provider, each.model] for each in record.models])
        row["evidence"] = json.dumps(record.evidence)
        connection.execute(promotions.insert().values(**row))
    return stored


def valid_promotions(
    database: Database, name: str, alias: str, now_ms: int, limit: int = RECORDS_MAX
) -> tuple[Promotion, ...]:
    """Unrevoked, unexpired records of one place, newest first: the first one is what was last let through.

    Args:
        database: of the registry.
        name: of the prompt.
        alias: the place.
        now_ms: milliseconds since the epoch.
        limit: return no more than the newest so many.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    with database.read() as connection:
        return _newest(connection, select(promotions).where(_valid(name, alias, now_ms)), limit)


def all_promotions(database: Database, name: str, alias: str) -> tuple[Promotion, ...]:
    """Records of one place, also revoked and expired ones, newest first; at most RECORDS_MAX.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    here = (promotions.c.prompt_name == name) & (promotions.c.alias == alias)
    with database.read() as connection:
        return _newest(connection, select(promotions).where(here))


def valid_promotion(database: Database, name: str, alias: str, content_hash: str, now_ms: int) -> Promotion | None:
    """The newest unrevoked, unexpired record of a content in one place; None: it may not serve there.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    same = _valid(name, alias, now_ms) & (promotions.c.content_hash == content_hash)
    with database.read() as connection:
        return next(iter(_newest(connection, select(promotions).where(same), 1)), None)


def last_proven(database: Database, name: str, alias: str, now_ms: int) -> Promotion | None:
    """The newest valid record of one place that does not rest on a waiver: what a new content is compared with.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    proven = _valid(name, alias, now_ms) & promotions.c.expires_ms.is_(None)  # a copy of a waiver keeps its end
    with database.read() as connection:
        return next(iter(_newest(connection, select(promotions).where(proven), 1)), None)


def last_of_each_content(database: Database, name: str, alias: str, now_ms: int) -> tuple[Promotion, ...]:
    """Of each content that may serve in one place its newest valid record, newest first; at most RECORDS_MAX contents.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    valid, last_ms = _valid(name, alias, now_ms), func.max(promotions.c.created_ms)
    each = select(promotions.c.content_hash, last_ms.label("last_ms")).where(valid).group_by(promotions.c.content_hash)
    last = each.order_by(last_ms.desc()).limit(RECORDS_MAX).subquery()
    same = (promotions.c.content_hash == last.c.content_hash) & (promotions.c.created_ms == last.c.last_ms)
    found: dict[str, Promotion] = {}
    with database.read() as connection:
        for row in connection.execute(select(promotions).join(last, same).where(valid).order_by(*_NEWEST)).mappings():
            content = row["content_hash"]  # two writers may have met in one millisecond
            readable = _promotion(row) or next(
                iter(_newest(connection, select(promotions).where(valid, promotions.c.content_hash == content), 1)),
                None,
            )
            if readable is not None:
                found.setdefault(content, readable)
    return tuple(sorted(found.values(), key=lambda record: (record.created_ms, record.id), reverse=True))


def promotions_of(database: Database, name: str, version: int, now_ms: int | None) -> tuple[Promotion, ...]:
    """Unrevoked, unexpired records of a version's content in every place, newest first; also of an equal version.

    With None for the time those that ended, too.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    with database.read() as connection:
        return _newest(connection, select(promotions).where(_of_content(name, version, now_ms)))


def is_promoted(database: Database, name: str, now_ms: int) -> bool:
    """Whether an unrevoked, unexpired record lets some version of a prompt serve somewhere.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    living = (promotions.c.prompt_name == name) & _living(now_ms)
    with database.read() as connection:
        return connection.scalar(select(exists().where(living))) is True


def was_promoted(database: Database, name: str) -> bool:
    """Whether any version of a prompt was ever promoted; an alias withdrawn since does not matter."""
    with database.read() as connection:
        return connection.scalar(select(exists().where(promotions.c.prompt_name == name))) is True


def tell_serving_models(
    database: Database, models: Sequence[ServingModel], clock: Callable[[], float] = time.time
) -> None:
    """Say which models answer from now on, in order; a serving process says it when it starts.

    Raises:
        DatabaseUnavailable: the database does not answer; what was told before stands.
    """
    told_ms = int(clock() * 1000)
    rows = [
        {"position": position, "provider": each.provider, "model": each.model, "told_ms": told_ms}
        for position, each in enumerate(models)
    ]
    with database.write() as connection:
        for row in rows:  # several workers say the same at once
            upsert(connection, chain, row)
        connection.execute(delete(chain).where(chain.c.position >= len(rows)))


def told_serving_models(database: Database) -> tuple[ServingModel, ...]:
    """The chain of those who serve, in order; empty before any serving process has started.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    with database.read() as connection:
        rows = connection.execute(select(chain.c.provider, chain.c.model).order_by(chain.c.position)).all()
    return tuple(ServingModel(provider=row.provider, model=row.model) for row in rows)


def _valid(name: str, alias: str, now_ms: int) -> ColumnElement[bool]:
    return (promotions.c.prompt_name == name) & (promotions.c.alias == alias) & _living(now_ms)


def _of_content(name: str, version: int, now_ms: int | None) -> ColumnElement[bool]:
    of_version = (promotions.c.prompt_name == name) & (promotions.c.prompt_version == version)
    contents = select(promotions.c.content_hash).where(of_version)
    of_content = (promotions.c.prompt_name == name) & promotions.c.content_hash.in_(contents)
    return of_content if now_ms is None else of_content & _living(now_ms)


def _living(now_ms: int) -> ColumnElement[bool]:
    unexpired = or_(promotions.c.expires_ms.is_(None), promotions.c.expires_ms > now_ms)
    return promotions.c.revoked_ms.is_(None) & unexpired


def _newest(connection: Connection, chosen: Select[Any], limit: int = RECORDS_MAX) -> tuple[Promotion, ...]:
    """The newest so many that can be read, of the newest RECORDS_MAX rows."""
    with connection.execute(chosen.order_by(*_NEWEST).limit(RECORDS_MAX)) as rows:
        readable = (record for record in map(_promotion, rows.mappings()) if record is not None)
        return tuple(islice(readable, limit))


def _promotion(row: RowMapping) -> Promotion | None:
    """The record of a row; None when it cannot be read."""
    fields: dict[str, Any] = dict(row)
    try:
        fields["models"] = tuple(
            {"provider": provider, "model": model} for provider, model in json.loads(row["models"])
        )
        fields["evidence"] = tuple(json.loads(row["evidence"]))
        return _PROMOTION.validate_python(fields)
    except (ValueError, TypeError, RecursionError):
        _tell_unreadable(str(row["id"]))
        return None


@lru_cache(maxsize=RECORDS_MAX)  # told once by each process, not at each of its looks
def _tell_unreadable(record_id: str) -> None:
    logger.error("a promotion record cannot be read and lets nothing serve", extra={"fields": {"record": record_id}})
