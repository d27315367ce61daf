"""MLflow's push: an alias moved, look now.

This is the one door that reads a body before it knows who sent it, so it reads only few at once.
"""

import asyncio
import time

from fastapi import APIRouter, Request, Response

from registry.errors import Unavailable
from registry.prompts.candidates import CANDIDATE
from registry.prompts.webhooks import (
    SIGNATURE_HEADERS,
    WebhookRejected,
    remember_delivery,
    verify,
)
from serving.problems import documented
from serving.routes.json_body import read_body
from serving.services import Services

router = APIRouter(tags=["hooks"])


class TooManyPushes(Unavailable):
    """So many pushes are being read already; MLflow sends this one again, and the poll finds what it would tell."""

    code = "overloaded"


@router.post(
    "/hooks/mlflow",
    status_code=204,
    summary="A prompt's alias moved",
    responses=documented(
        "unauthenticated",
        "request-timeout",
        "webhook-replayed",
        "payload-too-large",
        "overloaded",
        "database-unavailable",
    ),
)
async def mlflow(request: Request) -> Response:
    """Signed by MLflow (`X-MLflow-Signature`). It says that something moved; what, every worker reads itself."""
    services: Services = request.app.state.services
    if not all(name in request.headers for name in SIGNATURE_HEADERS):
        raise WebhookRejected("the webhook is not signed")
    if services.pushes.locked():
        raise TooManyPushes("other pushes are being read; try again in a second", retry_after_s=1)
    async with services.pushes:
        body = await read_body(request)
    delivery = verify(request.headers, body, services.webhook_secret, time.time())
    await asyncio.to_thread(remember_delivery, services.database, delivery)
    if delivery.alias == CANDIDATE:
        services.candidates.wake()  # Prefect is told by a loop: MLflow does not wait for it
    return Response(status_code=204)
