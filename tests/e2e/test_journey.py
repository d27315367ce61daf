"""The whole platform, as a new user meets it: from `assay up` to `assay down`, with bad days in between."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(540)]

ROOT = Path(__file__).parents[2]
PORTS = ("API", "MLFLOW", "PREFECT", "QDRANT", "LLM")
QUESTION = "What was revenue in March 2026?"


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def eventually(check: Callable[[], Any], seconds: float, what: str) -> Any:
    """Await a condition; the test fails with its name when it does not come true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.1)  # between two looks at the condition
    pytest.fail(f"not within {seconds:g} s: {what}")


class Platform:
    """The command line over one home and one set of ports."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environment = {
            **os.environ,
            "ASSAY_HOME": str(home),
            **{f"ASSAY_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    def assay(self, *arguments: str, expect: tuple[int, ...] = (0,), seconds: float = 300) -> str:
        """Run one command; returns standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode in expect, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def url(self, part: str) -> str:
        """Base URL of a part."""
        return f"http://127.0.0.1:{self.ports[part]}"

    def post(self) -> httpx.Response:
        """One question over HTTP, as an app asks it."""
        key = (self.home / "keys" / "admin").read_text()
        headers = {"Authorization": f"Bearer {key}", "Assay-Tenant": "meridian"}
        return httpx.post(f"{self.url('API')}/v1/insights", json={"question": QUESTION}, headers=headers, timeout=60)

    def ask(self) -> dict[str, Any]:
        """The insight that answers the question."""
        answer = self.post()
        assert answer.status_code == 200, answer.text
        return answer.json()

    @contextmanager
    def alone(self, *module: str) -> Iterator[None]:
        """One part started by hand, while others are down."""
        command = [sys.executable, "-m", *module]
        output = subprocess.DEVNULL
        process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)

    def pid(self, part: str) -> int:
        """Process id of a part that runs."""
        lines = json.loads(self.assay("status", "--json", expect=(0, 3)))["parts"]
        return next(line["pid"] for line in lines if line["name"] == part)

    def kill(self, part: str) -> None:
        """End a part and its children the hard way."""
        process = psutil.Process(self.pid(part))
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform of its own; it is taken down whatever happens."""
    made = Platform(tmp_path / "home")
    yield made
    made.assay("down")


def push_new_version(platform: Platform, tmp_path: Path) -> int:
    """The insights prompt with one more sentence, pushed as a new version that nobody evaluates yet."""
    spec = yaml.safe_load((ROOT / "prompts" / "insights.yaml").read_text())
    template = spec["template"]
    text = "\nKeep every claim to one sentence of at most thirty words.\n"
    if isinstance(template, str):
        spec["template"] = text + template
    else:
        template[0]["content"] += text
    file = tmp_path / "insights.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False))
    return int(json.loads(platform.assay("prompts", "push", str(file), "--no-candidate", "--json"))["version"])


def set_alias(platform: Platform, alias: str, version: int) -> httpx.Response:
    """What MLflow's own UI sends when an engineer sets or moves an alias."""
    return httpx.post(
        f"{platform.url('MLFLOW')}/ajax-api/2.0/mlflow/registered-models/alias",
        json={"name": "insights", "alias": alias, "version": str(version)},
        timeout=30,
    )


def verdict(platform: Platform, version: int) -> tuple[str, str]:
    """What a version's page in MLflow shows: its description and the tag of its verdict, empty before there is one."""
    about = {"name": "insights", "version": str(version)}
    answer = httpx.get(f"{platform.url('MLFLOW')}/api/2.0/mlflow/model-versions/get", params=about, timeout=30)
    stored = answer.raise_for_status().json()["model_version"]
    tags = {tag["key"]: tag["value"] for tag in stored["tags"]}
    return stored.get("description", ""), tags.get("assay.verdict", "")


def flow_runs(platform: Platform, flow: str) -> list[dict[str, Any]]:
    """Prefect's runs of a flow."""
    with httpx.Client(base_url=f"{platform.url('PREFECT')}/api", timeout=30) as prefect:
        wanted = {"flows": {"name": {"any_": [flow]}}}
        return prefect.post("/flow_runs/filter", json=wanted).raise_for_status().json()


def ended(platform: Platform, flow: str) -> list[dict[str, Any]]:
    """Those of a flow's runs that are over."""
    final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
    return [run for run in flow_runs(platform, flow) if run["state"]["type"] in final]


def begun(platform: Platform, flow: str) -> list[dict[str, Any]]:
    """Those of a flow's runs that a worker has taken."""
    return [run for run in flow_runs(platform, flow) if run["state"]["type"] in {"PENDING", "RUNNING"}]


def artifacts(platform: Platform, key: str) -> list[dict[str, Any]]:
    """What Prefect shows under a key."""
    with httpx.Client(base_url=f"{platform.url('PREFECT')}/api", timeout=30) as prefect:
        wanted = {"artifacts": {"key": {"any_": [key]}}}
        return prefect.post("/artifacts/filter", json=wanted).raise_for_status().json()


def is_scheduled(platform: Platform, flow: str) -> bool:
    """Prefect's clock has planned runs of a flow."""
    return any(run["auto_scheduled"] for run in flow_runs(platform, flow))


def linked_runs(platform: Platform, version: int) -> list[dict[str, Any]]:
    """MLflow's runs that are linked to a version of the prompt."""
    with httpx.Client(base_url=f"{platform.url('MLFLOW')}/api/2.0/mlflow", timeout=30) as mlflow:
        found = mlflow.post("/experiments/search", json={"max_results": 100}).raise_for_status().json()
        ids = [experiment["experiment_id"] for experiment in found["experiments"]]
        runs = mlflow.post("/runs/search", json={"experiment_ids": ids}).raise_for_status().json().get("runs", [])
    wanted = {"name": "insights", "version": str(version)}
    return [
        run
        for run in runs
        for tag in run["data"].get("tags", [])
        if tag["key"] == "mlflow.linkedPrompts" and wanted in json.loads(tag["value"])
    ]


def is_ready(platform: Platform) -> bool:
    """The API says that it can answer."""
    try:
        return httpx.get(f"{platform.url('API')}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_from_up_to_down(platform: Platform, tmp_path: Path) -> None:
    """One command brings a governed answer; a version is evaluated, promoted and serves; a part's death is survived."""
    up = json.loads(platform.assay("up", "--json"))
    assert {part["state"] for part in up["parts"]} == {"running"}
    first = up["insight"]
    assert first["claims"]
    assert all(claim["evidence"] for claim in first["claims"])
    assert first["cost_usd"] == "0.000000000"
    assert first["audit"]["index"] >= 0

    assert len(flow_runs(platform, "evaluate-prompt")) == 1  # evaluations cost money: one is enough

    before = platform.ask()["prompt"]["version"]
    version = push_new_version(platform, tmp_path)
    assert version != before
    assert set_alias(platform, "production", version).status_code == 403
    set_alias(platform, "candidate", version).raise_for_status()
    eventually(lambda: begun(platform, "evaluate-candidate"), 60, "its evaluation is taken by the worker")
    platform.kill("worker")
    platform.assay("up")
    (run,) = eventually(lambda: ended(platform, "evaluate-candidate"), 240, "the candidate is evaluated by itself")
    assert run["state"]["type"] == "COMPLETED", run["state"]["message"]
    description, word = verdict(platform, version)
    assert word == "PASS"
    assert "May become 'production'." in description
    assert linked_runs(platform, version)
    assert artifacts(platform, f"candidate-insights-{version}")
    set_alias(platform, "production", version).raise_for_status()
    eventually(lambda: platform.ask()["prompt"]["version"] == version, 5, "the next answer names the new version")
    eventually(lambda: "Serves as 'production' since" in verdict(platform, version)[0], 30, "its page says so, too")

    eventually(lambda: is_scheduled(platform, "watch-providers"), 60, "Prefect plans the next looks at the providers")

    platform.kill("mlflow")
    platform.kill("prefect")
    assert platform.ask()["prompt"]["version"] == version

    platform.kill("engine")
    refused = platform.post()
    assert (refused.status_code, refused.json()["code"]) == (503, "retrieval-unavailable")
    with platform.alone("infra.local.engine"):
        eventually(lambda: platform.post().status_code == 200, 30, "the same API answers again")
        platform.kill("api")
        with platform.alone("flows.cli.main", "serve"):
            eventually(lambda: is_ready(platform), 60, "the API is ready again without MLflow")
            assert platform.ask()["prompt"]["version"] == version

    platform.assay("down")
    assert not any(in_use(port) for port in platform.ports.values())
    assert not [process for process in psutil.process_iter() if belongs_to(process, platform.home)]


def in_use(port: int) -> bool:
    """Somebody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def belongs_to(process: psutil.Process, home: Path) -> bool:
    """The process was started by the platform of this home."""
    try:
        return process.environ().get("ASSAY_SUPERVISED_BY") == str(home)
    except psutil.Error:
        return False
