"""What `assay doctor` asks the running platform: can it answer, and may the promoted prompts serve?"""

import asyncio
from typing import Literal

import httpx

from flows.cli.prompt_actions import decide
from flows.settings import FlowSettings
from infra.local.doctor import Check
from registry.errors import AssayError
from registry.prompts.policy import load_policy
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
            decision = asyncio.run(decide(policy))
        except AssayError as error:
            checks.append(Check(name=name, state="warning", message=error.message))
            continue
        checks += [Check(name=name, state="warning", message=sentence) for sentence in decision.missing]
        checks += [
            Check(name=name, state="ok", message=f"{model.provider} {model.model} has its evidence")
            for model in decision.models
        ]
        checks += [
            Check(name=name, state="warning", message=f"{each.model.provider} is skipped: {'; '.join(each.missing)}")
            for each in decision.skipped
            if decision.models
        ]
    return checks
