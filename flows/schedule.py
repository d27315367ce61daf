"""The deployments that Prefect shows: which flow, with which defaults, runnable by hand or by the clock."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows.abandoned_runs import put_back
from flows.settings import FlowSettings
from monitoring.burn_rate import EVERY_MIN
from serving.candidate_announcer import EVENT

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

POOL = "assay"
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
"""What intervals are counted from: fixed, so that a repeated `up` leaves the clock alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One flow as Prefect offers it."""

    name: str
    entrypoint: str
    """Import path of the flow."""
    description: str
    parameters: dict[str, Any]
    every: timedelta | None = None
    """How often it runs by the clock, one run at a time; None: by hand, or when `event` comes."""
    event: str | None = None
    """It runs when this event comes, one run at a time, and takes `prompt` from its payload's `reference`."""


DEPLOYMENTS: tuple[Deployment, ...] = (
    Deployment(
        name="evaluate-prompt",
        entrypoint="flows.evaluate_prompt.evaluate_prompt",
        description="Evaluate a prompt version on a ground truth and store the verdict as evidence.",
        parameters={"prompt": "insights@candidate", "dataset": "sample"},
    ),
    Deployment(
        name="evaluate-candidate",
        entrypoint="flows.evaluate_candidate.evaluate_candidate",
        description="Evaluate a new candidate with every model that serves; its page in MLflow shows the verdict.",
        parameters={"prompt": "insights@candidate"},
        event=EVENT,
    ),
    Deployment(
        name="watch-providers",
        entrypoint="flows.watch_providers.watch_providers",
        description="How each provider kept its objectives; opens and closes alarms.",
        parameters={},
        every=timedelta(minutes=EVERY_MIN),
    ),
    Deployment(
        name="watch-experiments",
        entrypoint="flows.watch_experiments.watch_experiments",
        description="What running experiments show; ends those that are decided, do harm or lose units.",
        parameters={},
        every=timedelta(minutes=10),
    ),
    Deployment(
        name="watch-prompts",
        entrypoint="flows.watch_prompts.watch_prompts",
        description="How each prompt version does in use, day by day: in MLflow beside the version, and here.",
        parameters={},
        every=timedelta(hours=1),
    ),
)


async def deploy(prefect_url: str) -> None:
    """Create or update every deployment; the process worker of the pool runs them.

    Args:
        prefect_url: URL of Prefect's API.
    """
    from prefect.client.orchestration import PrefectClient  # noqa: PLC0415 - heavy; only `up` and tests need it
    from prefect.client.schemas.actions import DeploymentScheduleCreate  # noqa: PLC0415
    from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions  # noqa: PLC0415
    from prefect.client.schemas.schedules import IntervalSchedule  # noqa: PLC0415
    from prefect.flows import load_flow_from_entrypoint  # noqa: PLC0415

    async with PrefectClient(prefect_url) as client:
        for wanted in DEPLOYMENTS:
            flow = load_flow_from_entrypoint(wanted.entrypoint)
            clock = None
            if wanted.every:
                schedule = IntervalSchedule(interval=wanted.every, anchor_date=ANCHOR)
                clock = [DeploymentScheduleCreate(schedule=schedule)]
            # After a pause Prefect starts every run that it missed: all but one of them end at once. Events queue up.
            strategy = ConcurrencyLimitStrategy.CANCEL_NEW if clock else ConcurrencyLimitStrategy.ENQUEUE
            alone = clock is not None or wanted.event is not None
            deployment = await client.create_deployment(
                flow_id=await client.create_flow(flow),
                name=wanted.name,
                entrypoint=wanted.entrypoint,
                description=wanted.description,
                parameters=wanted.parameters,
                parameter_openapi_schema=flow.parameters.model_dump(),
                work_pool_name=POOL,
                schedules=clock,
                concurrency_limit=1 if alone else None,
                concurrency_options=ConcurrencyOptions(collision_strategy=strategy) if alone else None,
                enforce_parameter_schema=True,
            )
            if wanted.event is not None:
                await _run_on_event(client, wanted, deployment)


async def _run_on_event(client: "PrefectClient", wanted: Deployment, deployment: UUID) -> None:
    """Create or update the automation that runs a deployment; one that a person switched off stays off."""
    from prefect.events.actions import ActionTypes, RunDeployment  # noqa: PLC0415 - as in `deploy`
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture  # noqa: PLC0415

    reference = {"__prefect_kind": "jinja", "template": "{{ event.payload.reference }}"}
    parameters = {**wanted.parameters, "prompt": reference}
    run: list[ActionTypes] = [
        RunDeployment(source="selected", deployment_id=deployment, parameters=parameters, job_variables=None)
    ]
    name = f"{wanted.name} when {wanted.event}"
    known = await client.read_automations_by_name(name)
    automation = AutomationCore(
        name=name,
        description=wanted.description,
        enabled=known[0].enabled if known else True,
        trigger=EventTrigger(expect={wanted.event or ""}, posture=Posture.Reactive, threshold=1, within=timedelta(0)),
        actions=run,
    )
    if not known:
        await client.create_automation(automation)
        return
    await client.update_automation(known[0].id, automation)
    for extra in known[1:]:  # two that made it at once
        await client.delete_automation(extra.id)


async def recover(prefect_url: str, worker_started: str, prefect_started: str) -> None:
    """Put back what ran when a part of this platform ended.

    Args:
        prefect_url: URL of Prefect's API.
        worker_started: seconds since the epoch.
        prefect_started: the same of the server.
    """
    from prefect.client.orchestration import PrefectClient  # noqa: PLC0415 - as in `deploy`

    worker, server = (datetime.fromtimestamp(float(text), UTC) for text in (worker_started, prefect_started))
    async with PrefectClient(prefect_url) as client:
        count = await put_back(client, POOL, worker_started=worker, prefect_started=server)
    print(f"{count} flow runs had lost what ran them, and are started again")  # noqa: T201 - into the step's log


if __name__ == "__main__":
    asyncio.run(deploy(FlowSettings().prefect_url))
    if started := sys.argv[1:]:
        asyncio.run(recover(FlowSettings().prefect_url, *started))
