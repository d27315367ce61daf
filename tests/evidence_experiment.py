"""An experiment on a running platform: two versions serve, people say what they think, and one is found better.

Part of `python -m tests.evidence`. What people say is a script's: the picture shows the way to a decision, and says
nothing about the wording.
"""

import json
import random
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from evidence_prefect import run_flow

PROMPT, TENANT, QUESTION = "insights", "meridian", "What was revenue in March 2026?"
UNITS, AT_ONCE, SEED = 400, 4, 6
USED_CONTROL, USED_OTHER = 0.6, 0.85
"""How often an answer is used, by arm."""
PLANNED = 150
WAIT_S_MAX, LOOK_S, REQUEST_S_MAX = 60.0, 0.5, 60.0


def decided(
    assay: tuple[str, ...],
    environment: Mapping[str, str],
    folder: Path,
    *,
    api_url: str,
    prefect_url: str,
    versions: tuple[int, int],
) -> str:
    """Compare two versions of which the first is in production, until the flow that watches ends it; its MLflow run.

    Raises:
        RuntimeError: it does not begin to serve, or is not decided.
    """

    def told(*command: str) -> Any:
        ran = (*assay, *command, "--json")
        return json.loads(
            subprocess.run(ran, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, check=True).stdout
        )

    ops = told("keys", "create", "--role", "ops", "--owner", "pictures")["key"]
    app = told("keys", "create", "--role", "app", "--tenant", TENANT, "--owner", "pictures")["key"]
    experiment = told("experiments", "start", PROMPT, str(versions[1]), "--planned", str(PLANNED))["id"]
    _await_live(api_url, ops, experiment)
    _traffic(api_url, app, {"control": USED_CONTROL, f"v{versions[1]}": USED_OTHER})
    run_flow(prefect_url, "watch-experiments")
    [shown] = told("experiments", "status", experiment)
    if shown["status"] != "ended":
        raise RuntimeError(f"nothing is decided after {UNITS} units: {shown['metrics'][0]}")
    return str(shown["decision"]["run"]["url"])


def _await_live(api_url: str, key: str, experiment: str) -> None:
    """Until the API gives units their arms."""
    with _client(api_url, key) as client:
        end = time.monotonic() + WAIT_S_MAX
        while experiment not in client.get("/metrics").raise_for_status().text:
            if time.monotonic() > end:
                raise RuntimeError(f"experiment {experiment} does not serve after {WAIT_S_MAX:g} s")
            time.sleep(LOOK_S)


def _traffic(api_url: str, key: str, used: Mapping[str, float]) -> None:
    """Each unit asks once and says whether the answer was used."""
    moods = random.Random(SEED)  # noqa: S311 - what a script says is no secret
    with _client(api_url, key) as client, ThreadPoolExecutor(AT_ONCE) as pool:

        def ask(unit: int, mood: float) -> None:
            body = {"question": QUESTION, "subject": f"person-{unit}"}
            answer = client.post("/v1/insights", json=body).raise_for_status().json()
            is_used = mood < used[answer["prompt"]["arm"]]
            said = {"accepted": is_used, "rating": 5 if is_used else 2}
            client.post(f"/v1/insights/{answer['id']}/feedback", json=said).raise_for_status()

        for done in [pool.submit(ask, unit, moods.random()) for unit in range(UNITS)]:
            done.result()


def _client(api_url: str, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=api_url, headers={"Authorization": f"Bearer {key}"}, timeout=REQUEST_S_MAX, trust_env=False
    )
