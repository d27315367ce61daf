"""MLflow's signed pushes: registering for them, and believing one only after its signature.

* WebhookRejected (Refused)  - unsigned, wrongly signed, too old, or not what MLflow sends
* WebhookReplayed (Conflict) - this delivery was already accepted; nothing is left to do

A push says that an alias moved, not where to: readers fetch the alias themselves, so a forged or repeated push could at
most cause a look-up.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import httpx
from sqlalchemy import delete

from registry.database import Database, insert_or_ignore
from registry.errors import Conflict, Refused
from registry.prompts.mlflow_rest import Json, MlflowRest
from registry.prompts.promoted import PROMPTS_SIGNAL
from registry.schema import webhook_deliveries
from registry.signals import bump_signal

TIME_WINDOW_S = 300
"""A delivery signed longer ago, or further ahead, is refused."""
BODY_BYTES_MAX = 64 * 1024
DELIVERY_ID_CHARS_MAX = 64
TIMESTAMP_DIGITS_MAX = 12
"""Seconds since the epoch; enough for 30,000 years."""
SIGNATURE_HEADERS = ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature")
"""What every signed push carries; one that lacks any need not be read."""
HOOKS_PAGE = 100
HOOK_NAME = "assay-promotions"
_EVENTS = ({"entity": "PROMPT_ALIAS", "action": "CREATED"}, {"entity": "PROMPT_ALIAS", "action": "DELETED"})
"""`created` comes for every set and every move of an alias."""


class WebhookRejected(Refused):
    """Not a delivery that our MLflow signed just now."""

    code = "unauthenticated"


class WebhookReplayed(Conflict):
    """This delivery was accepted before."""

    code = "webhook-replayed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One authentic push."""

    id: str
    """MLflow's id of the delivery; its retries carry the same one."""
    event: str
    """`prompt_alias.created` or `prompt_alias.deleted`; others are not asked for."""
    prompt: str
    alias: str
    version: int | None
    """None for a deleted alias."""


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> Delivery:
    """Check signature and age of a push and read it.

    Args:
        headers: The request's headers, in any case.
        body: The raw body, as received.
        secret: Shared with MLflow.
        now: Seconds since the epoch.

    Raises:
        WebhookRejected: Says nothing about which part of a signature was wrong.
    """
    if not secret:
        raise WebhookRejected("no webhook secret is set; run `assay up` once, or set ASSAY_WEBHOOK_SECRET")
    if len(body) > BODY_BYTES_MAX:
        raise WebhookRejected(f"a webhook body may have {BODY_BYTES_MAX} bytes")
    found = {name.lower(): value for name, value in headers.items()}
    delivery_id, timestamp, signature = (found.get(name, "") for name in SIGNATURE_HEADERS)
    if not hmac.compare_digest(sign(delivery_id, timestamp, body, secret).encode(), signature.encode()):
        raise WebhookRejected("the webhook's signature does not fit")
    if not 0 < len(delivery_id) <= DELIVERY_ID_CHARS_MAX:
        raise WebhookRejected(f"a delivery id has 1 to {DELIVERY_ID_CHARS_MAX} characters")
    readable = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= TIMESTAMP_DIGITS_MAX
    if not readable or abs(now - int(timestamp)) > TIME_WINDOW_S:
        raise WebhookRejected(f"the webhook was not signed within {TIME_WINDOW_S} s; compare the clocks")
    return _read(delivery_id, body)


def sign(delivery_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """The signature MLflow sends as `X-MLflow-Signature`."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()


def remember_delivery(database: Database, delivery: Delivery, clock: Callable[[], float] = time.time) -> None:
    """Accept a delivery once and tell every process; older ones than the time window covers are forgotten.

    Raises:
        WebhookReplayed: It was accepted before, and told.
        DatabaseUnavailable: It was neither accepted nor told.
    """
    now_ms = int(clock() * 1000)
    with database.write() as connection:
        # Twice the window: a delivery may be signed up to one window ahead of our clock.
        old = webhook_deliveries.c.received_ms < now_ms - 2 * TIME_WINDOW_S * 1000
        connection.execute(delete(webhook_deliveries).where(old))
        if not insert_or_ignore(connection, webhook_deliveries, {"id": delivery.id, "received_ms": now_ms}):
            raise WebhookReplayed(f"delivery {delivery.id!r} was already accepted; nothing is left to do")
        bump_signal(connection, PROMPTS_SIGNAL, clock)  # together: an accepted delivery is never sent again


async def ensure_webhook(
    mlflow_url: str, url: str, secret: str, *, key: str | None = None, client: httpx.AsyncClient | None = None
) -> str:
    """Have MLflow push alias changes to `url`, signed with `secret`; safe to repeat.

    Args:
        mlflow_url: Base URL of the MLflow server.
        url: Where to push to.
        secret: Shared with MLflow.
        key: Of a platform admin, which the gate inside MLflow asks for.
        client: Another HTTP client, e.g. one with a mock transport.

    Returns:
        MLflow's id of the webhook.

    Raises:
        MlflowUnavailable: No usable answer.
        MlflowRejected: MLflow does not allow this address (see its webhook settings).
        MlflowRefused: The key is no platform admin's.
    """
    wanted: Json = {
        "name": HOOK_NAME,
        "url": url,
        "events": list(_EVENTS),
        "status": "ACTIVE",
        # MLflow never shows a secret again; its fingerprint tells whether it must be sent anew.
        "description": f"Tells Assay that an alias moved. Secret {_fingerprint(secret)}",
    }
    rest = MlflowRest(mlflow_url, key=key, client=client)
    try:
        ours = await _registered(rest)
        for extra in ours[1:]:
            await rest.send("DELETE", f"webhooks/{extra['webhook_id']}", {})
        if not ours:
            answer = await rest.send("POST", "webhooks", {**wanted, "secret": secret})
            return str(answer["webhook"]["webhook_id"])
        if any(ours[0].get(field) != value for field, value in wanted.items()):
            await rest.send("PATCH", f"webhooks/{ours[0]['webhook_id']}", {**wanted, "secret": secret})
        return str(ours[0]["webhook_id"])
    finally:
        await rest.aclose()


async def _registered(rest: MlflowRest) -> list[Json]:
    answer = await rest.get("webhooks", {"max_results": str(HOOKS_PAGE)})
    return [hook for hook in cast("list[Json]", answer.get("webhooks") or []) if hook.get("name") == HOOK_NAME]


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(b"assay webhook\x00" + secret.encode()).hexdigest()[:12]


def _read(delivery_id: str, body: bytes) -> Delivery:
    try:
        document = cast("Json", json.loads(body))
        data = cast("Json", document["data"])
        version = data.get("version")
        return Delivery(
            id=delivery_id,
            event=f"{document['entity']}.{document['action']}",
            prompt=str(data["name"]),
            alias=str(data["alias"]),
            version=None if version is None else int(version),
        )
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WebhookRejected("signed, and not an alias event of MLflow; unsubscribe other events") from error
