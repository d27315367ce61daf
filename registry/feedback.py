"""What people say about an insight: a rating, whether they used it, a comment. The newest word counts.

Experiments alone count the first word, which is kept beside it: a value that a look rested on must not change.

Numbers stand in columns, the comment in the vault under the question's subject, so that it is erased with the rest.
"""

import base64
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator
from sqlalchemy import insert, select, update

from registry.audit.log import commitment
from registry.audit.vault import Vault
from registry.database import Database
from registry.errors import JsonValue
from registry.insight_records import InsightRecords
from registry.insights import Record
from registry.schema import feedback as table
from registry.schema import insights

RATING_MAX = 5
COMMENT_CHARS_MAX = 2_000
_SALT_BYTES = 32

Note = Callable[[str, Mapping[str, JsonValue]], object]
"""Writes one durable entry to the audit log: (kind, body)."""


class Feedback(Record):
    """The body of POST /v1/insights/{id}/feedback; `rating` or `accepted` is said, or both."""

    rating: Annotated[int, Field(ge=1, le=RATING_MAX)] | None = Field(default=None, examples=[4])
    """1 useless, 5 just what was needed; none: not said."""
    accepted: bool | None = None
    """The answer was used as it stood; none: not said."""
    comment: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=COMMENT_CHARS_MAX)] | None
    ) = None

    @model_validator(mode="after")
    def _require_a_word(self) -> Self:
        if self.rating is None and self.accepted is None:
            raise ValueError("say `rating`, `accepted` or both")
        return self


class GivenFeedback(Feedback):
    """Feedback as it is kept."""

    insight: str
    given_at: datetime


class FeedbackRecords:
    """One word of feedback for each insight.

    Args:
        database: numbers go here.
        vault: comments go here.
        records: the insights.
        clock: seconds since the epoch.
        new_id: ids of rows.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        records: InsightRecords,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: f"fb_{uuid.uuid4().hex}",
    ) -> None:
        self._database = database
        self._vault = vault
        self._records = records
        self._clock = clock
        self._new_id = new_id

    def give(
        self, insight_id: str, tenant: str, said: Feedback, note: Callable[[Mapping[str, JsonValue]], object]
    ) -> GivenFeedback:
        """Keep what was said in place of what was said before, noted in the audit log before it counts.

        Args:
            insight_id: what it is about.
            tenant: whose insight it has to be.
            said: the feedback.
            note: writes the entry's body, to which the caller adds who it is; a comment stands there as a commitment.

        Raises:
            InsightNotFound: none of this tenant's, or its content was erased.
            DatabaseUnavailable: the database does not answer; what was said before counts.
            LogUnavailable: the audit log cannot be written; what was said before counts.
        """
        subject = self._records.sealed(insight_id, tenant).question.subject
        now_ms = int(self._clock() * 1000)
        salt = secrets.token_bytes(_SALT_BYTES)
        body: dict[str, JsonValue] = {
            "insight": insight_id,
            "rating": said.rating,
            "accepted": said.accepted,
            "comment": None if said.comment is None else commitment(said.comment, salt),
        }
        with self._database.write() as connection:
            # Locked, so that of two words at once one is the newest and neither's comment is left over.
            connection.execute(select(insights.c.id).where(insights.c.id == insight_id).with_for_update()).one()
            before = connection.execute(select(table).where(table.c.insight == insight_id)).one_or_none()
            item = None
            if said.comment is not None:
                sealed = json.dumps({"comment": said.comment, "salt": base64.b64encode(salt).decode()})
                item = self._vault.put(tenant, subject, "feedback", sealed.encode(), connection)
            values: dict[str, Any] = {"rating": said.rating, "accepted": said.accepted, "vault_item": item}
            if said.rating is not None and (before is None or before.rated_ms is None):
                values |= {"first_rating": said.rating, "rated_ms": now_ms}
            if said.accepted is not None and (before is None or before.accepted_ms is None):
                values |= {"first_accepted": said.accepted, "accepted_ms": now_ms}
            if before is None:
                fixed = {"id": self._new_id(), "insight": insight_id, "tenant": tenant, "created_ms": now_ms}
                connection.execute(insert(table).values(**fixed, **values))
            else:  # created_ms stays: since then something has been known of this insight
                connection.execute(update(table).where(table.c.id == before.id).values(**values))
                if before.vault_item is not None:
                    self._vault.discard(before.vault_item, connection)
            note(body)
        given_at = datetime.fromtimestamp(now_ms / 1000, UTC)
        return GivenFeedback(**said.model_dump(), insight=insight_id, given_at=given_at)
