"""How the model providers are."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from registry.alarms import open_alarms
from registry.database import DatabaseUnavailable
from serving.access import Caller, require
from serving.active_prompt import ActivePrompt
from serving.problems import documented
from serving.providers.health import report
from serving.services import Services

router = APIRouter(prefix="/v1/providers", tags=["operations"])

Operator = Annotated[Caller, Depends(require("ops"))]

PROVIDERS_EXAMPLE: dict[str, Any] = {
    "items": [
        {
            "provider": "anthropic",
            "model": "claude-sonnet-5-5",
            "position": 1,
            "state": "open",
            "retry_after_s": 3.2,
            "window": {"seconds": 30, "calls": 24, "failed": 13, "failure_rate": 0.5417},
            "latency": {"p50_ms": 2310.4, "p95_ms": 5806.1, "n": 812},
            "first_byte": {"p50_ms": 402.2, "p95_ms": 911.7, "n": 96},
            "last_attempt_at": "2026-11-23T09:30:01Z",
            "last_error": {"kind": "Overloaded", "at": "2026-11-23T09:30:01Z"},
            "answering_model": "claude-sonnet-5-5-20261015",
            "model_changed": {"from": "claude-sonnet-5-5-20260901", "at": "2026-11-23T07:12:40Z"},
            "alarms": [],
            "skipped_for": [
                {
                    "prompt": "insights",
                    "alias": "production",
                    "version": 4,
                    "commands": [
                        "assay evaluate run --prompt insights/4 --provider anthropic",
                        "assay prompts promote insights 4",
                    ],
                }
            ],
        }
    ],
    "next": None,
}


@router.get(
    "",
    summary="How are the model providers?",
    responses={
        200: {"content": {"application/json": {"example": PROVIDERS_EXAMPLE}}},
        **documented("unauthenticated", "forbidden"),
    },
)
async def list_providers(request: Request, caller: Operator) -> dict[str, Any]:
    """Each provider in the order in which it is asked, as all workers of this node know it; needs a platform key.

    `alarms` is null while the registry's database does not answer. `skipped_for` names the prompts that this provider
    may not answer with, and the commands that change it.
    """
    caller.require_platform()
    services: Services = request.app.state.services
    try:
        alarms = await asyncio.to_thread(open_alarms, services.database)
    except DatabaseUnavailable:
        alarms = None
    states = services.prompts.states().values()
    items = report(services.providers.links, alarms, datetime.now(UTC))
    return {"items": [item | {"skipped_for": _skipped_for(item, states)} for item in items], "next": None}


def _skipped_for(item: dict[str, Any], states: Iterable[ActivePrompt]) -> list[dict[str, Any]]:
    """The prompts that serve without this provider."""
    return [
        {
            "prompt": version.name,
            "alias": version.alias,
            "version": version.version,
            "commands": [
                f"assay evaluate run --prompt {version.name}/{version.version} --provider {item['provider']}",
                f"assay prompts promote {version.name} {version.version}",
            ],
        }
        for state in states
        if state.serving is not None and not state.serving.may_answer(item["provider"], item["model"])
        for version in (state.serving.version,)
    ]
