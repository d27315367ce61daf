"""What `assay doctor` asks the running platform: can it answer, and may the promoted prompts serve?"""

import asyncio
from collections.abc import Iterator
from typing import Literal

import httpx

from flows.cli.console import when
from flows.cli.prompt_actions import Standing, standing
from flows.settings import FlowSettings
from infra.local.doctor import Check
from registry.errors import AssayError
from registry.prompts.policy import Policy, load_policy
from serving.settings import ServingSettings

TIMEOUT_S = 5.0
_STATES: dict[str, Literal["ok", "warning", "failed"]] = {"ok": "ok", "degraded": "warning", "down": "failed"}


def platform_checks(settings: ServingSettings) -> list[Check]:
    """The API's dependencies, and the evidence of every use case's prompt for every model of the chain."""
    return [*_readiness(), *evidence_checks(settings)]


def _readiness() -> list[Check]:
    url = FlowSettings().api_url
    try:
        answer = httpx.get(f"{url}/readyz", timeout=TIMEOUT_S).json()
        dependencies = answer["dependencies"].items()
    except (httpx.HTTPError, ValueError, KeyError):
        return [Check(name="readiness", state="warning", message=f"the API at {url} does not answer; run `assay up`")]
    return [
        Check(name=f"api: {name}", state=_STATES.get(found["state"], "failed"), message=found.get("detail") or "ok")
        for name, found in dependencies
    ]


def evidence_checks(settings: ServingSettings) -> list[Check]:
    """May the promoted prompts serve, with every model of the chain?"""
    checks: list[Check] = []
    for file in sorted(settings.policies.glob("*.yaml")):
        name = f"use case {file.stem}"
        try:
            policy = load_policy(settings.policies, file.stem)
            found = asyncio.run(standing(policy))
        except AssayError as error:
            checks.append(Check(name=name, state="warning", message=error.message))
            continue
        checks += [Check(name=name, state=state, message=message) for state, message in _evidence(policy, found)]
    return checks


def _evidence(policy: Policy, found: Standing) -> Iterator[tuple[Literal["ok", "warning"], str]]:
    """What the policy would say today, and who answers with the version now."""
    decision, record = found.decision, found.record
    name = found.version.name
    label = f"{name}/{found.version.version}"
    promote = f"`assay prompts promote {name} {found.version.version}`"
    if record is None:
        remedy = f"run {promote} or `assay prompts rollback {name}`"
        yield "warning", f"alias {policy.alias!r} points at {label}, which nothing lets serve; {remedy}"
    elif record.expires_ms is not None:
        yield "warning", f"{label} serves by a waiver until {when(record.expires_ms)}; make its evidence before"
    for sentence in decision.missing:
        yield "warning", sentence
    for model in decision.models:
        if record is not None and model not in record.models:
            yield "warning", f"{model.provider} {model.model} has its evidence now; let it answer with {promote}"
        else:
            yield "ok", f"{model.provider} {model.model} has its evidence"
    for each in decision.skipped if decision.models else ():
        yield "warning", f"{each.model.provider} is skipped: {'; '.join(each.missing)}"
