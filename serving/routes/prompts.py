"""What engineers say about a prompt version: approvals, rejections and signatures under a waiver.

Whose word it is, the key says: an engineer's own, made without a tenant. Nobody speaks for another.
"""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field, StringConstraints

from registry.errors import InvalidInput, JsonValue
from registry.insights import Record
from registry.prompts.approvals import APPROVAL, WAIVER, Word, record_word, require_not_author, require_room
from registry.prompts.evidence import Evidence
from registry.prompts.policy import Policy, UseCaseNotFound
from registry.prompts.versions import VERSION_DIGITS_MAX, PromotedVersion
from serving.access import Caller, Forbidden, require
from serving.problems import documented
from serving.routes.json_body import json_body
from serving.services import Services

REASON_CHARS_MAX = 1_000

router = APIRouter(prefix="/v1/prompts/{name}/{version}", tags=["prompts"])

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_CHARS_MAX)]


class Approval(Record):
    """The body of POST /v1/prompts/{name}/{version}/approvals."""

    decision: Literal["approve", "reject"]
    reason: Reason


class WaiverSignature(Record):
    """The body of POST /v1/prompts/{name}/{version}/waivers."""

    hours: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    reason: Reason


class GivenWord(Record):
    """A word as it is kept."""

    id: str
    """Of the evidence that it is."""
    kind: Literal["approval", "waiver"]
    name: str
    version: int
    content_hash: str
    """The content that it is about; an equal version shares it."""
    by: str
    decision: Literal["approve", "reject"]
    reason: str
    hours: float | None = None
    """Of a waiver: how long this signature holds."""
    given_at: datetime


APPROVAL_EXAMPLE: dict[str, Any] = {"decision": "approve", "reason": "I read it and its evaluation."}
WAIVER_EXAMPLE: dict[str, Any] = {"hours": 4, "reason": "The promoted one names a product that was recalled."}
GIVEN_EXAMPLE: dict[str, Any] = {
    "id": "0b7c2f5d9e8a4c1db3f60a7e5c92d418",
    "kind": "approval",
    "name": "insights",
    "version": 4,
    "content_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "by": "bob",
    "decision": "approve",
    "reason": "I read it and its evaluation.",
    "hours": None,
    "given_at": "2026-10-02T09:30:00Z",
}

Name = Annotated[str, Path(description="The prompt.")]
Version = Annotated[int, Path(ge=1, lt=10**VERSION_DIGITS_MAX, description="Its version in MLflow.")]
Engineer = Annotated[Caller, Depends(require("engineer"))]
Approved = Annotated[Approval, Depends(json_body(Approval))]
Signed = Annotated[WaiverSignature, Depends(json_body(WaiverSignature))]


def _described(body: type[Record], example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": body.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "content": content}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    201: {"content": {"application/json": {"example": GIVEN_EXAMPLE}}},
    **documented(
        "invalid-request",
        "unauthenticated",
        "forbidden",
        "prompt-not-found",
        "use-case-not-found",
        "request-timeout",
        "conflict",
        "prompt-tampered",
        "payload-too-large",
        "unsupported-media-type",
        "log-unavailable",
        "database-unavailable",
        "unavailable",
    ),
}


@router.post(
    "/approvals",
    status_code=201,
    summary="Approve or reject a prompt version",
    responses=RESPONSES,
    openapi_extra=_described(Approval, APPROVAL_EXAMPLE),
)
async def approve(request: Request, caller: Engineer, name: Name, version: Version, said: Approved) -> GivenWord:
    """Your word about this version's content, in place of your last one; no author approves what is theirs.

    It decides where the policy of the prompt's use case asks for evidence of kind `approval`.
    """
    word = _word(caller, "approval", agrees=said.decision == "approve", reason=said.reason)
    return await _give(request.app.state.services, name, version, word)


@router.post(
    "/waivers",
    status_code=201,
    summary="Sign for a prompt version without its evidence",
    responses=RESPONSES,
    openapi_extra=_described(WaiverSignature, WAIVER_EXAMPLE),
)
async def waive(request: Request, caller: Engineer, name: Name, version: Version, said: Signed) -> GivenWord:
    """Your signature: while those of two people hold, this content may be promoted without the evidence.

    `hours` may be as many as the policy allows. With the second signature's end serving returns to the version before.
    """
    word = _word(caller, "waiver", agrees=True, reason=said.reason, hours=said.hours)
    return await _give(request.app.state.services, name, version, word)


def _word(
    caller: Caller, kind: Literal["approval", "waiver"], *, agrees: bool, reason: str, hours: float | None = None
) -> Word:
    """The word with its giver, who has to be a person: `admin` may do much, and is nobody."""
    caller.require_platform()
    principal = caller.principal
    if principal.role != "engineer":
        raise Forbidden(
            "this wants a person's own key: `assay keys create --role engineer --owner NAME`, then set ASSAY_KEY to it"
        )
    return Word(kind=kind, by=principal.owner, key=principal.key_id, agrees=agrees, reason=reason, hours=hours)


async def _give(services: Services, name: str, version: int, word: Word) -> GivenWord:
    """Keep the word about the version as it stands in MLflow now."""
    found = await services.promoted.fetch_version(name, version)
    kept = await asyncio.to_thread(_keep, services, found, word)
    services.pages.ask(name, version)  # told by a loop: nobody waits for MLflow's page
    return GivenWord(
        id=kept.id,
        kind=word.kind,
        name=name,
        version=version,
        content_hash=kept.content_hash,
        by=word.by,
        decision="approve" if word.agrees else "reject",
        reason=word.reason,
        hours=word.hours,
        given_at=datetime.fromtimestamp(kept.created_ms / 1000, UTC),
    )


def _keep(services: Services, version: PromotedVersion, word: Word) -> Evidence:
    """Note the word in the audit log, then store it; nothing is stored that the log does not know."""
    use_case = version.template.use_case
    policy = services.policies.get(use_case)
    if policy is None or policy.prompt != version.name:
        raise UseCaseNotFound(f"no policy of use case {use_case!r} asks about prompt {version.name!r}")
    if word.kind == WAIVER:
        _require_short(policy, word)
    elif word.kind == APPROVAL and word.agrees:
        require_not_author(services.database, version, word)
    require_room(services.database, version, word)
    body: dict[str, JsonValue] = {
        "prompt": version.name,
        "version": version.version,
        "content_hash": version.content_hash,
        "by": word.by,
        "key": word.key,
        "decision": "approve" if word.agrees else "reject",
        "reason": word.reason,
        "hours": word.hours,
    }
    services.log.note_now(f"prompt.{word.kind}", body)
    return record_word(services.database, version, word)


def _require_short(policy: Policy, word: Word) -> None:
    """Refuse hours that the policy does not give."""
    if policy.waiver_hours_max == 0:
        raise Forbidden(f"the policy of {policy.use_case!r} knows no waiver; make the evidence")
    if word.hours is None or word.hours > policy.waiver_hours_max:
        raise InvalidInput(
            f"a waiver of use case {policy.use_case!r} holds for {policy.waiver_hours_max:g} hours at most, "
            f"not for {word.hours or 0:g}"
        )
