"""Prefect's part of `python -m tests.evidence`: its flows are run, and their pages found."""

import time

import httpx

WAIT_S_MAX, LOOK_S = 120.0, 0.7


def run_flow(prefect_url: str, deployment: str) -> str:
    """Run a deployment once, and wait for its end; id of the run.

    Raises:
        RuntimeError: it did not end well, or not in time.
    """
    with httpx.Client(base_url=f"{prefect_url}/api", timeout=30, trust_env=False) as prefect:
        wanted = {"deployments": {"name": {"any_": [deployment]}}}
        [found] = prefect.post("/deployments/filter", json=wanted).raise_for_status().json()
        now = {"state": {"type": "SCHEDULED"}}
        started = prefect.post(f"/deployments/{found['id']}/create_flow_run", json=now).raise_for_status().json()
        end, state = time.monotonic() + WAIT_S_MAX, ""
        while time.monotonic() < end and state not in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            time.sleep(LOOK_S)
            state = prefect.get(f"/flow_runs/{started['id']}").raise_for_status().json()["state_type"]
    if state != "COMPLETED":
        raise RuntimeError(f"the run of {deployment} is {state} after {WAIT_S_MAX:g} s at most")
    return str(started["id"])


def artifact(prefect_url: str, key: str, run: str) -> str:
    """Id of the page that a run left under a key.

    Raises:
        RuntimeError: it left none.
    """
    latest = {"artifacts": {"key": {"any_": [key]}}}
    with httpx.Client(base_url=f"{prefect_url}/api", timeout=30, trust_env=False) as prefect:
        found = prefect.post("/artifacts/latest/filter", json=latest).raise_for_status().json()
    if not found or found[0]["flow_run_id"] != run:
        raise RuntimeError(f"run {run} left no artifact {key!r}")
    return str(found[0]["latest_id"] if "latest_id" in found[0] else found[0]["id"])
