"""What people say about an insight."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request

from registry.feedback import Feedback, GivenFeedback
from serving.access import TENANT_HEADER, Caller, require
from serving.problems import documented
from serving.routes.insights import require_insight_id
from serving.routes.json_body import json_body
from serving.services import Services

router = APIRouter(prefix="/v1/insights", tags=["insights"])

Asker = Annotated[Caller, Depends(require("app"))]
Said = Annotated[Feedback, Depends(json_body(Feedback))]

SAID_EXAMPLE: dict[str, Any] = {"rating": 4, "accepted": True, "comment": "Right, but too long."}
GIVEN_EXAMPLE: dict[str, Any] = {
    **SAID_EXAMPLE,
    "insight": "ins_5f0c1e7a9b3d4f6280a1b2c3d4e5f607",
    "given_at": "2026-10-02T09:35:00Z",
}


@router.post(
    "/{insight_id}/feedback",
    summary="Say what an insight was worth",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Feedback.model_json_schema(), "example": SAID_EXAMPLE}},
        }
    },
    responses={
        200: {"content": {"application/json": {"example": GIVEN_EXAMPLE}}},
        **documented(
            "invalid-request",
            "unauthenticated",
            "forbidden",
            "insight-not-found",
            "request-timeout",
            "payload-too-large",
            "unsupported-media-type",
            "log-unavailable",
            "database-unavailable",
            "vault-sealed",
        ),
    },
)
async def give(
    request: Request,
    caller: Asker,
    insight_id: str,
    said: Said,
    assay_tenant: Annotated[str | None, Header(alias=TENANT_HEADER, description="For platform keys.")] = None,
) -> GivenFeedback:
    """Keeps a rating, whether the answer was used, or both, and a comment; what is said later takes the place of it."""
    del assay_tenant
    require_insight_id(insight_id)
    services: Services = request.app.state.services
    request.state.insight = insight_id
    note = partial(services.calls.note_feedback, caller.principal)
    return await asyncio.to_thread(services.feedback.give, insight_id, caller.require_tenant(), said, note)
