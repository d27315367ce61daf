"""The deployments that Prefect shows: which flow, with which defaults, runnable by hand or by the clock."""

import asyncio
from dataclasses import dataclass
from typing import Any

from flows.settings import FlowSettings

POOL = "assay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One flow as Prefect offers it."""

    name: str
    entrypoint: str
    """Import path of the flow."""
    description: str
    parameters: dict[str, Any]


DEPLOYMENTS: tuple[Deployment, ...] = (
    Deployment(
        name="evaluate-prompt",
        entrypoint="flows.evaluate_prompt.evaluate_prompt",
        description="Evaluate a prompt version on a ground truth and store the verdict as evidence.",
        parameters={"prompt": "insights@candidate", "dataset": "sample"},
    ),
)


async def deploy(prefect_url: str) -> None:
    """Create or update every deployment; the process worker of the pool runs them.

    Args:
        prefect_url: URL of Prefect's API.
    """
    from prefect.client.orchestration import PrefectClient  # noqa: PLC0415 - heavy; only `up` and tests need it
    from prefect.flows import load_flow_from_entrypoint  # noqa: PLC0415

    async with PrefectClient(prefect_url) as client:
        for wanted in DEPLOYMENTS:
            flow = load_flow_from_entrypoint(wanted.entrypoint)
            await client.create_deployment(
                flow_id=await client.create_flow(flow),
                name=wanted.name,
                entrypoint=wanted.entrypoint,
                description=wanted.description,
                parameters=wanted.parameters,
                parameter_openapi_schema=flow.parameters.model_dump(),
                work_pool_name=POOL,
                enforce_parameter_schema=True,
            )


if __name__ == "__main__":
    asyncio.run(deploy(FlowSettings().prefect_url))
