"""What `assay doctor` and `assay status` ask the running platform: can it answer, and is something wrong?"""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from flows.cli.console import when
from flows.cli.prompt_queries import Standing, standing
from flows.settings import FlowSettings
from infra.local.doctor import Check
from registry.alarms import OPEN_MAX, Alarm, open_alarms
from registry.database import open_database
from registry.errors import AssayError
from registry.prompts.policy import InvalidPolicy, load_policy
from serving.prompt_alarms import UNPROVEN
from serving.settings import ServingSettings

TIMEOUT_S = 5.0
ALARMS_SHOWN = 20
"""Open alarms that are named: pages first, and of these the newest."""
DETAIL_CHARS_MAX = 300
_STATES: dict[str, Literal["ok", "warning", "failed"]] = {"ok": "ok", "degraded": "warning", "down": "failed"}


def platform_checks(settings: ServingSettings) -> list[Check]:
    """The API's dependencies, open alarms, and every use case's evidence for every model of the chain."""
    return [*_readiness_checks(), *alarm_checks(settings), *evidence_checks(settings)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What the API's `/readyz` says."""

    status: str
    """`ready`, `degraded` (answers go on, somebody should look), `not-ready`, or `no-answer`."""
    dependencies: dict[str, dict[str, str]]
    """Name → `state` and, where something is wrong, `detail`."""

    @property
    def answers(self) -> bool:
        """Whether questions are answered."""
        return self.status in {"ready", "degraded"}

    @property
    def troubles(self) -> list[str]:
        """What is not well, a line each."""
        wrong = {name: found for name, found in self.dependencies.items() if found.get("state") != "ok"}
        return [f"{name} {found.get('state')}: {found.get('detail', '')}" for name, found in wrong.items()]


def ask_readiness() -> Readiness:
    """What the API at its address says of itself."""
    settings = FlowSettings()
    elsewhere = settings.url is not None  # here neither a proxy nor a certificate's name tells anything about health
    try:
        answer: Any = httpx.get(
            f"{settings.api_url}/readyz", timeout=TIMEOUT_S, verify=elsewhere, trust_env=elsewhere
        ).json()
        found = answer["dependencies"].items()
        dependencies = {str(name): {str(key): str(text) for key, text in each.items()} for name, each in found}
        return Readiness(status=str(answer["status"]), dependencies=dependencies)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):  # or it is no Assay
        return Readiness(status="no-answer", dependencies={})


def _readiness_checks() -> list[Check]:
    found = ask_readiness()
    if found.status == "no-answer":
        message = f"the API at {FlowSettings().api_url} does not answer; run `assay up`"
        return [Check(name="readiness", state="warning", message=message)]
    return [
        Check(
            name=f"api: {name}", state=_STATES.get(each.get("state", ""), "failed"), message=each.get("detail") or "ok"
        )
        for name, each in found.dependencies.items()
    ]


def alarm_checks(settings: ServingSettings) -> list[Check]:
    """Every open alarm of the registry: a page has failed, a ticket is a warning."""
    try:
        with closing(open_database(settings.database_url)) as database:
            found = sorted(open_alarms(database), key=lambda alarm: alarm.severity != "page")
    except AssayError as error:
        return [Check(name="alarms", state="warning", message=error.message)]
    checks = [
        Check(
            name=f"alarm {alarm.kind}",
            state="failed" if alarm.severity == "page" else "warning",
            message=f"{alarm.subject} since {when(alarm.opened_ms)}: {_details(alarm)}",
        )
        for alarm in found[:ALARMS_SHOWN]
    ]
    if len(found) > ALARMS_SHOWN:
        more = f"and {len(found) - ALARMS_SHOWN}{' or more' if len(found) == OPEN_MAX else ''} more are open"
        checks.append(Check(name="alarms", state="warning", message=more))
    return checks or [Check(name="alarms", state="ok", message="none is open")]


def _details(alarm: Alarm) -> str:
    """What an alarm rests on, in one line."""
    told = dict(alarm.details)
    if alarm.kind == UNPROVEN:
        reason, version, serving = (told.get(key) for key in ("reason", "version", "serving"))
        points = "points at what cannot be used" if version is None else f"points at version {version}"
        return f"the alias {points} ({reason}); {'nothing' if serving is None else f'version {serving}'} serves"
    return ", ".join(f"{key} {value}" for key, value in told.items())[:DETAIL_CHARS_MAX]


def evidence_checks(settings: ServingSettings) -> list[Check]:
    """May the promoted prompts serve, with every model of the chain?"""
    checks: list[Check] = []
    for file in sorted(settings.policies.glob("*.yaml")):
        name = f"use case {file.stem}"
        try:
            policy = load_policy(settings.policies, file.stem)
            found = asyncio.run(standing(policy))
        except AssayError as error:
            state = "failed" if isinstance(error, InvalidPolicy) else "warning"
            checks.append(Check(name=name, state=state, message=error.message))
            continue
        checks += [Check(name=name, state=state, message=message) for state, message in _evidence(found)]
    return checks


def _evidence(found: Standing) -> Iterator[tuple[Literal["ok", "warning"], str]]:
    """What the policy would say today, and who answers with the version now."""
    decision, place = found.decision, found.place
    record, name = place.record if place.reason is None else None, found.version.name
    label = f"{name}/{found.version.version}"
    promote = f"`assay prompts promote {name} {found.version.version}`"
    if record is None:
        remedy = f"run {promote} or `assay prompts rollback {name}`"
        yield "warning", f"{place.sentence}; {remedy}"
    elif record.expires_ms is not None:
        yield "warning", f"{label} serves by a waiver until {when(record.expires_ms)}; make its evidence before"
    for sentence in (*decision.missing, *found.overdue):
        yield "warning", sentence
    for model in decision.models:
        if record is not None and model not in record.models:
            yield "warning", f"{model.provider} {model.model} has its evidence now; let it answer with {promote}"
        else:
            yield "ok", f"{model.provider} {model.model} has its evidence"
    for each in decision.skipped if decision.models else ():
        yield "warning", f"{each.model.provider} is skipped: {'; '.join(each.missing)}"
