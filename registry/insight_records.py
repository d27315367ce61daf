"""Insights as they were given out, and the idempotency keys that make a repeated request give out the same one.

Numbers and ids that must be counted stand in columns; everything that was said stands in the vault.
"""

import base64
import time
from collections.abc import Callable
from typing import Any

from pydantic import Base64Bytes, BaseModel
from sqlalchemy import ColumnElement, delete, insert, select, update

from registry.audit.vault import Erased, Vault
from registry.database import Database, insert_or_ignore
from registry.errors import Conflict, NotFound
from registry.insights import Insight, Question
from registry.messages import Usage
from registry.money.prices import parse_usd
from registry.schema import idempotency, insights

KEY_LIFE_S = 24 * 3600
"""How long an idempotency key is remembered."""
RUNNING_S_MAX = 300
"""After this a call that never finished counts as dead: more than twice the longest deadline."""
CLAIMS_MAX = 2
"""On PostgreSQL another call may free its key between our claim and our look; then we claim once more."""


class InsightNotFound(NotFound):
    """There is no such insight, it belongs to another tenant, or its content was erased."""

    code = "insight-not-found"


class IdempotencyConflict(Conflict):
    """The key came with another body before, or its first call is still running."""

    code = "idempotency-conflict"


class Sealed(BaseModel):
    """What the vault keeps of an insight."""

    insight: Insight
    question: Question
    salt: Base64Bytes
    """Opens the commitments in the audit log."""


class InsightRecords:
    """The record of every insight. Each call is one transaction."""

    def __init__(self, database: Database, vault: Vault, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    def save(
        self,
        insight: Insight,
        tenant: str,
        billed_to: str,
        question: Question,
        salt: bytes,
        *,
        seconds: float = 0.0,
        unit: str | None = None,
    ) -> None:
        """Keep an insight; its question, answer and passages go to the vault under the question's subject.

        Args:
            insight: as it was given out.
            tenant: whose data it was drawn from.
            billed_to: `tenant` or `evaluation`.
            question: as it was asked.
            salt: of the commitments in the audit log.
            seconds: from the question to the checked answer.
            unit: keyed hash of the subject, else of the session, by which experiments tell callers apart.
        """
        sealed = Sealed(insight=insight, question=question, salt=base64.b64encode(salt))
        content = sealed.model_dump_json().encode()
        with self._database.write() as connection:
            row = {
                "tenant": tenant,
                "billed_to": billed_to,
                "vault_item": self._vault.put(tenant, question.subject, "insight", content, connection),
                "unit": unit,
                "latency_ms": round(seconds * 1000),
                **_counted(insight),
            }
            connection.execute(insert(insights).values(**row))

    def get(self, id: str, tenant: str | None) -> Insight:  # noqa: A002 - the field's own name
        """An insight as it stands.

        Args:
            id: the insight's.
            tenant: the caller's; None for a platform key, which sees every tenant's.

        Raises:
            InsightNotFound: none that this caller may see, or its content was erased.
        """
        return self.sealed(id, tenant).insight

    def sealed(self, id: str, tenant: str | None) -> Sealed:  # noqa: A002 - the field's own name
        """An insight with its question and the salt of its commitments.

        Raises:
            InsightNotFound: none that this caller may see, or its content was erased.
        """
        missing = InsightNotFound(f"there is no insight {id!r}")
        if not id.isprintable():
            raise missing
        chosen = select(insights.c.tenant, insights.c.vault_item).where(insights.c.id == id)
        if tenant is not None:
            chosen = chosen.where(insights.c.tenant == tenant)
        with self._database.read() as connection:
            row = connection.execute(chosen).one_or_none()
        if row is None:
            raise missing
        try:
            return Sealed.model_validate_json(self._vault.get(row.tenant, row.vault_item))
        except Erased as error:
            raise InsightNotFound(f"the content of insight {id!r} was erased") from error

    def begin(self, tenant: str, key: str, route: str, body_sha256: str) -> str | None:
        """Claim an idempotency key before the work.

        Returns:
            The insight that this key already gave, or None: do the work, then `finish` or `forget`.

        Raises:
            IdempotencyConflict: the key came with another body, its first call is still running, or it comes and goes.
        """
        now_ms = int(self._clock() * 1000)
        row = {
            "tenant": tenant,
            "key": key,
            "route": route,
            "body_sha256": body_sha256,
            "insight": None,
            "created_ms": now_ms,
        }
        expired = idempotency.c.created_ms <= now_ms - KEY_LIFE_S * 1000
        dead = idempotency.c.insight.is_(None) & (idempotency.c.created_ms <= now_ms - RUNNING_S_MAX * 1000)
        with self._database.write() as connection:
            connection.execute(delete(idempotency).where(expired))
            connection.execute(delete(idempotency).where(_slot(tenant, key, route), dead))
            for _ in range(CLAIMS_MAX):
                if insert_or_ignore(connection, idempotency, row):
                    return None
                known = connection.execute(select(idempotency).where(_slot(tenant, key, route))).one_or_none()
                if known is not None:
                    break
            else:
                raise IdempotencyConflict(f"calls with Idempotency-Key {key!r} keep failing; send it again in a second")
        if known.body_sha256 != body_sha256:
            raise IdempotencyConflict(f"Idempotency-Key {key!r} came with another body before; use a new key")
        if known.insight is None:
            raise IdempotencyConflict(f"the first call with Idempotency-Key {key!r} is still running; wait for it")
        return known.insight

    def finish(self, tenant: str, key: str, route: str, insight: str) -> None:
        """Remember what a claimed key gave."""
        with self._database.write() as connection:
            done = update(idempotency).where(_slot(tenant, key, route)).values(insight=insight)
            connection.execute(done)

    def forget(self, tenant: str, key: str, route: str) -> None:
        """Free a claimed key whose call failed, so that the request can be sent again."""
        with self._database.write() as connection:
            unfinished = idempotency.c.insight.is_(None)
            connection.execute(delete(idempotency).where(_slot(tenant, key, route), unfinished))


def _counted(insight: Insight) -> dict[str, Any]:
    """The columns that an insight fills by itself."""
    usage, claims = Usage(**insight.usage.model_dump()), insight.claims or ()
    return {
        "id": insight.id,
        "use_case": insight.use_case,
        "status": insight.status,
        "prompt_name": insight.prompt.name,
        "prompt_version": insight.prompt.version,
        "provider": insight.provider.name,
        "model": insight.provider.model,
        "cost_nano_usd": parse_usd(insight.cost_usd),
        "audit_log": insight.audit.log,
        "audit_index": insight.audit.index,
        "created_ms": int(insight.created_at.timestamp() * 1000),
        "experiment": insight.prompt.experiment,
        "arm": insight.prompt.arm,
        "claims": len(claims),
        "claims_grounded": sum(claim.grounded for claim in claims),
        "abstained": insight.abstained,
        "input_tokens": usage.prompt,
        "output_tokens": usage.output,
    }


def _slot(tenant: str, key: str, route: str) -> ColumnElement[bool]:
    return (idempotency.c.tenant == tenant) & (idempotency.c.key == key) & (idempotency.c.route == route)
