"""Flow runs whose worker or Prefect server ended under them: put back in the queue, so that nothing asked for is lost.

Prefect leaves such a run Pending or Running for good, and a deployment that runs one at a time then runs none any more.
"""

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

RUNS_MAX = 200
"""Runs under way that are looked at; the worker takes two at a time."""
UNDER_WAY = ["PENDING", "RUNNING", "CANCELLING"]


async def put_back(client: "PrefectClient", pool: str, *, worker_started: datetime, prefect_started: datetime) -> int:
    """Queue the runs again that nobody will end; returns how many.

    A run that was Running before the worker started had a process that ended with the worker before it. One that was
    only about to start is lost also when the server went away under a worker that lives.

    Args:
        client: of Prefect's API.
        pool: work pool, which this worker alone serves.
        worker_started: when it did.
        prefect_started: when the server did.

    Raises:
        PrefectException, httpx.HTTPError: Prefect does not answer.
    """
    from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter  # noqa: PLC0415 - heavy; only `up` needs it
    from prefect.client.schemas.sorting import FlowRunSort  # noqa: PLC0415
    from prefect.states import Cancelled, Scheduled  # noqa: PLC0415

    runs = await client.read_flow_runs(
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [pool]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=RUNS_MAX,
    )
    count = 0
    for run in runs:
        if (state := run.state) is None:
            continue
        begun = max(worker_started, prefect_started) if state.is_pending() else worker_started
        if state.timestamp < begun:
            again = Cancelled() if state.is_cancelling() else Scheduled(message="What ran it has ended.")
            await client.set_flow_run_state(run.id, again, force=True)  # its place is free for the next run, too
            count += 1
    return count
