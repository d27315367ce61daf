"""MLflow's push: an alias moved, look now."""

import asyncio
import time
from contextlib import suppress

from fastapi import APIRouter, Request, Response

from registry.database import Database
from registry.prompts.webhooks import Delivery, WebhookReplayed, remember_delivery, verify
from registry.signals import bump_signal
from serving.active_prompt import SIGNAL
from serving.problems import documented
from serving.wiring import Services

router = APIRouter(tags=["hooks"])


@router.post(
    "/hooks/mlflow",
    status_code=204,
    summary="A prompt's alias moved",
    responses=documented("unauthenticated", "payload-too-large"),
)
async def mlflow(request: Request) -> Response:
    """Signed by MLflow (`X-MLflow-Signature`). It says that something moved; what, every worker reads itself."""
    services: Services = request.app.state.services
    delivery = verify(request.headers, await request.body(), services.webhook_secret, time.time())
    await asyncio.to_thread(_accept, services.database, delivery)
    return Response(status_code=204)


def _accept(database: Database, delivery: Delivery) -> None:
    with suppress(WebhookReplayed):  # the first one has done the work
        remember_delivery(database, delivery)
        bump_signal(database, SIGNAL)
