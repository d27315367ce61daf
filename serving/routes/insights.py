"""Ask for an insight, and look one up."""

import re
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from registry.insight_records import InsightNotFound
from registry.insights import Insight, Question
from serving.access import TENANT_HEADER, Caller, require
from serving.asking import Tell
from serving.idempotency import HEADER, REPLAYED_HEADER, once
from serving.problems import documented
from serving.routes.event_stream import MEDIA_TYPE, EventStream
from serving.routes.json_body import json_body
from serving.services import Services

router = APIRouter(prefix="/v1/insights", tags=["insights"])

Asker = Annotated[Caller, Depends(require("app"))]
Reader = Annotated[Caller, Depends(require("app", "reviewer", "auditor"))]
Asked = Annotated[Question, Depends(json_body(Question))]

_ID = re.compile(r"ins_[0-9a-f]{32}")
_REFERENCE = "#/components/schemas/{model}"

QUESTION_EXAMPLES: dict[str, Any] = {
    "documents": {
        "summary": "From the tenant's documents",
        "value": {"question": "Why did returns rise in the second quarter?"},
    },
    "metrics": {
        "summary": "With metrics and a filter",
        "value": {
            "question": "How did sign-ups develop, and what explains it?",
            "metrics": [
                {
                    "name": "sign-ups",
                    "unit": "count",
                    "points": [{"t": "2026-08", "value": 1180}, {"t": "2026-09", "value": 1240}],
                }
            ],
            "filters": {"date": {"gte": "2026-07", "lte": "2026-09"}},
            "max_cost_usd": "0.02",
            "deadline_s": 20,
        },
    },
}
INSIGHT_EXAMPLE: dict[str, Any] = {
    "id": "ins_5f0c1e7a9b3d4f6280a1b2c3d4e5f607",
    "use_case": "insights",
    "status": "served",
    "answer": "Sign-ups rose from 1180 to 1240.",
    "claims": [
        {
            "text": "Sign-ups rose from 1180 to 1240.",
            "grounded": True,
            "evidence": [{"kind": "metric", "id": "sign-ups", "quote": "2026-08: 1180; 2026-09: 1240"}],
        }
    ],
    "passages": [],
    "abstained": False,
    "prompt": {"name": "insights", "version": 3, "alias": "production", "arm": None, "experiment": None},
    "provider": {"name": "openai", "model": "gpt-5-mini", "attempts": 1},
    "usage": {"input": 812, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 94, "reasoning": 0},
    "cost_usd": "0.000391000",
    "guardrails": [],
    "audit": {"log": "serve-1a2b3c4d", "index": 41},
    "created_at": "2026-10-02T09:30:00Z",
    "ai_generated": True,
}
STREAM_EXAMPLE = """event: meta
data: {"id":"ins_5f0c1e7a9b3d4f6280a1b2c3d4e5f607","use_case":"insights","prompt":{"name":"insights","version":3,"alias":"production","arm":null,"experiment":null},"ai_generated":true}

event: delta
data: {"text":"Sign-ups rose"}

event: delta
data: {"text":" from 1180 to 1240."}

event: claim
data: {"text":"Sign-ups rose from 1180 to 1240.","grounded":true,"evidence":[{"kind":"metric","id":"sign-ups","quote":"2026-08: 1180; 2026-09: 1240"}]}

event: done
data: {"id":"ins_5f0c1e7a9b3d4f6280a1b2c3d4e5f607","use_case":"insights","status":"served","answer":"Sign-ups rose from 1180 to 1240."}

"""  # noqa: E501 - an event's data is one line


@router.post(
    "",
    summary="Ask for an insight",
    response_model=Insight,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REFERENCE.format(model="Question")},
                    "examples": QUESTION_EXAMPLES,
                }
            },
        }
    },
    responses={
        200: {
            "description": "The insight; with `stream: true` as server-sent events, see docs/streaming.md",
            "content": {
                "application/json": {"example": INSIGHT_EXAMPLE},
                MEDIA_TYPE: {"schema": {"type": "string"}, "example": STREAM_EXAMPLE},
            },
        },
        **documented(
            "invalid-request",
            "input-blocked",
            "unauthenticated",
            "budget-exceeded",
            "forbidden",
            "use-case-not-found",
            "prompt-not-found",
            "request-timeout",
            "idempotency-conflict",
            "payload-too-large",
            "unsupported-media-type",
            "rate-limited",
            "providers-unavailable",
            "retrieval-unavailable",
            "prompt-unavailable",
            "log-unavailable",
            "database-unavailable",
            "deadline-exceeded",
        ),
    },
)
async def ask(
    request: Request,
    response: Response,
    caller: Asker,
    question: Asked,
    assay_tenant: Annotated[str | None, Header(alias=TENANT_HEADER, description="For platform keys.")] = None,
    idempotency_key: Annotated[str | None, Header(alias=HEADER, description="Valid 24 hours.")] = None,
) -> Insight | EventStream:
    """A short, cited answer from the tenant's documents and the metrics passed along."""
    del assay_tenant  # read by `require`; named here for the documentation
    services: Services = request.app.state.services
    tenant = caller.require_tenant()
    look_up = partial(services.insights.look_up, caller=caller.principal, tenant=tenant)

    async def answer(tell: Tell | None = None) -> tuple[Insight, bool]:
        work = partial(services.insights.answer, question, caller.principal, tenant=tenant, tell=tell)
        if idempotency_key is None:
            return await work(), False
        return await once(services.records, tenant, idempotency_key, "POST /v1/insights", question, work, look_up)

    replayed_header = None if idempotency_key is None else REPLAYED_HEADER
    if question.stream:
        return EventStream(answer, replayed_header)
    insight, replayed = await answer()
    if replayed_header is not None:
        response.headers[replayed_header] = str(replayed).lower()
    request.state.insight = insight.id
    return insight


@router.get(
    "/{insight_id}",
    summary="Look an insight up",
    responses={
        200: {"content": {"application/json": {"example": INSIGHT_EXAMPLE}}},
        **documented(
            "invalid-request",
            "unauthenticated",
            "forbidden",
            "insight-not-found",
            "log-unavailable",
            "database-unavailable",
            "vault-sealed",
        ),
    },
)
async def look_up(
    request: Request,
    caller: Reader,
    insight_id: str,
    assay_tenant: Annotated[str | None, Header(alias=TENANT_HEADER, description="For platform keys.")] = None,
) -> Insight:
    """The insight as it stands now. Who read it is written to the audit log."""
    del assay_tenant
    require_insight_id(insight_id)
    services: Services = request.app.state.services
    request.state.insight = insight_id
    return await services.insights.look_up(insight_id, caller.principal, tenant=caller.tenant)


def require_insight_id(text: str) -> None:
    """Refuse what cannot be an insight's id before anything looks for it.

    Raises:
        InsightNotFound: it cannot.
    """
    if _ID.fullmatch(text) is None:
        raise InsightNotFound("there is no insight with this id")


def question_schemas() -> dict[str, Any]:
    """JSON Schemas of the question and its parts, for OpenAPI's components."""
    schema = Question.model_json_schema(ref_template=_REFERENCE)
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {"Question": schema, **parts}
