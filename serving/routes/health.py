"""Liveness, readiness and metrics."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serving.access import Caller, require
from serving.metrics import CONTENT_TYPE
from serving.problems import documented
from serving.providers.health import show_providers
from serving.services import Services

router = APIRouter(tags=["operations"])

Operator = Annotated[Caller, Depends(require("ops"))]


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Answers as long as the process does; asks nothing else."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can it answer questions?",
    responses={503: {"description": "Not ready: a dependency is down"}},
)
async def readyz(request: Request, response: Response) -> dict[str, Any]:
    """Each dependency: `ok`, `degraded` (answers go on) or `down`. 503 when one is down."""
    services: Services = request.app.state.services
    report = await services.readiness.report()
    response.status_code = 503 if report.status == "not-ready" else 200
    dependencies = {
        name: {"state": health.state} | ({"detail": health.detail} if health.detail else {})
        for name, health in report.dependencies.items()
    }
    return {"status": report.status, "dependencies": dependencies}


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Of all workers.", "content": {"text/plain": {}}},
        **documented("unauthenticated", "forbidden"),
    },
)
async def metrics(request: Request, caller: Operator) -> Response:
    """Prometheus' text format, with a platform key of role `ops`: the figures are those of all tenants."""
    caller.require_platform()
    services: Services = request.app.state.services
    show_providers(services.providers.links, services.metrics)
    return Response(services.metrics.render(), media_type=CONTENT_TYPE)
