"""Make the pictures of docs/evidence/ anew: `python -m tests.evidence`, or `make evidence`.

Starts a platform of its own in a temporary home on free ports, as a new user would, photographs the pages with headless
Chromium and takes the platform down. docs/evidence/README.md says what the pictures show.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the tests' own modules stand there

import evidence_experiment as trial  # noqa: E402 - after the line above
import evidence_prefect as prefect  # noqa: E402 - after the line above
import evidence_promotion as walk  # noqa: E402 - after the line above
from fixtures_engine import free_port  # noqa: E402

TARGET = ROOT / "docs" / "evidence"
PROMPT = "insights"
PARTS = ("API", "MLFLOW", "PREFECT", "QDRANT", "LLM")
FOREIGN = ("ASSAY_", "MLFLOW_", "PREFECT_", "ANTHROPIC_", "OPENAI_", "QDRANT_")
"""Variables of whoever runs this; no vendor is asked, and no other platform touched."""

ASSAY = (sys.executable, "-m", "flows.cli.main")
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PAGE_TIMEOUT_MS = 90_000
SETTLE_MS, LOOKS_MAX = 700, 40
"""A page is photographed when two looks this far apart are equal."""

PROMPT_WIDTH, RUN_WIDTH, HEIGHT = 860, 640, 1_260
PICTURE_SIZE = {"width": 1_040, "height": 720}
PREFECT_SIZE = (1_200, 800)
GAP, BYTES_MAX = 12, 600_000
BEHIND = (208, 215, 222)


class NoPicture(Exception):
    """A picture could not be made; the message says why."""


@dataclass(frozen=True)
class Platform:
    """Where the pages are."""

    api: str
    mlflow: str
    prefect: str
    environment: Mapping[str, str]
    """Of its commands."""
    policies: Path
    """Its own copy."""


@contextmanager
def platform(home: Path) -> Generator[Platform]:
    """A platform of its own, up with the sample data, and down again whatever happens."""
    ports: dict[str, int] = {}
    while len(ports) < len(PARTS):
        port = free_port()
        if port not in ports.values():
            ports[PARTS[len(ports)]] = port
    environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    environment |= {"ASSAY_HOME": str(home), **{f"ASSAY_{part}_PORT": str(port) for part, port in ports.items()}}
    policies = home.parent / "policies"
    shutil.copytree(ROOT / "policies", policies)
    environment["ASSAY_POLICIES"] = str(policies)
    try:
        subprocess.run((*ASSAY, "up", "--json"), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        yield Platform(
            api=f"http://127.0.0.1:{ports['API']}",
            mlflow=f"http://127.0.0.1:{ports['MLFLOW']}",
            prefect=f"http://127.0.0.1:{ports['PREFECT']}",
            environment=environment,
            policies=policies,
        )
    finally:
        subprocess.run((*ASSAY, "down"), env=environment, cwd=ROOT, check=True)


def linked_run(mlflow_url: str) -> dict[str, Any]:
    """The evaluation run that names the prompt."""
    with httpx.Client(base_url=f"{mlflow_url}/api/2.0/mlflow", timeout=30, trust_env=False) as mlflow:
        found = mlflow.post("/experiments/search", json={"max_results": 100}).raise_for_status().json()
        ids = [experiment["experiment_id"] for experiment in found["experiments"]]
        runs = mlflow.post("/runs/search", json={"experiment_ids": ids}).raise_for_status().json().get("runs", [])
    for run in runs:
        tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
        if any(prompt["name"] == PROMPT for prompt in json.loads(tags.get("mlflow.linkedPrompts", "[]"))):
            return run["info"]
    raise NoPicture(f"MLflow has no run that is linked to prompt {PROMPT!r}")


def settled(page: Page, *, may_warn: bool = False) -> Image.Image:
    """A picture of a page that has come to rest, and shows no error unless one is to be seen."""
    page.mouse.move(0, 0)
    before = b""
    for _ in range(LOOKS_MAX):
        now = page.screenshot()
        if now == before:
            break
        before = now
        page.wait_for_timeout(SETTLE_MS)
    else:
        raise NoPicture(f"{page.url} does not come to rest")
    if not may_warn and (alerts := page.get_by_role("alert").all_inner_texts()):
        raise NoPicture(f"{page.url} shows {alerts}")
    return Image.open(BytesIO(before)).convert("RGB")


def prompt_page(page: Page, mlflow_url: str) -> Image.Image:
    """The prompt with its versions, aliases and text; the side panels closed to leave room."""
    page.goto(f"{mlflow_url}/#/prompts/{PROMPT}", wait_until="commit")
    page.get_by_text("Viewing version").wait_for()
    page.get_by_role("button", name="Close", exact=True).click()
    page.get_by_role("button", name="Toggle sidebar").click()
    # The button that opens the assistant again floats over the text.
    page.get_by_role("button", name="MLflow Assistant").evaluate("button => button.style.display = 'none'")
    page.set_viewport_size({"width": PROMPT_WIDTH, "height": HEIGHT})
    page.get_by_text("See more").first.click()
    page.get_by_text("production").first.wait_for()
    return settled(page)


def run_page(page: Page, mlflow_url: str) -> Image.Image:
    """The run with its prompt, dataset, verdict, reasons and metrics."""
    run = linked_run(mlflow_url)
    page.set_viewport_size({"width": RUN_WIDTH, "height": HEIGHT})
    page.goto(f"{mlflow_url}/#/experiments/{run['experiment_id']}/runs/{run['run_id']}", wait_until="commit")
    page.get_by_text(f"{PROMPT} (v1)").wait_for()
    page.get_by_text("Show more").click()
    page.get_by_role("link", name="answer_right", exact=True).wait_for()
    return settled(page)


def prefect_page(page: Page, prefect_url: str) -> Image.Image:
    """Prefect's list of flow runs."""
    page.set_viewport_size({"width": PREFECT_SIZE[0], "height": PREFECT_SIZE[1]})
    page.goto(f"{prefect_url}/runs", wait_until="commit")
    page.get_by_text("Completed").first.wait_for()
    return settled(page)


def providers_page(page: Page, prefect_url: str) -> Image.Image:
    """What the flow `watch_providers` leaves for people."""
    run = prefect.run_flow(prefect_url, "watch-providers")
    artifact = prefect.artifact(prefect_url, "providers", run)
    page.set_viewport_size({"width": PREFECT_SIZE[0], "height": PREFECT_SIZE[1]})
    page.goto(f"{prefect_url}/artifacts/artifact/{artifact}", wait_until="commit")
    page.get_by_text("extractive-1").first.wait_for()
    return settled(page)


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Both on one sheet."""
    sheet = Image.new("RGB", (left.width + right.width + 3 * GAP, left.height + 2 * GAP), BEHIND)
    sheet.paste(left, (GAP, GAP))
    sheet.paste(right, (left.width + 2 * GAP, GAP))
    return sheet


def save(picture: Image.Image, name: str) -> None:
    """As a PNG that a repository can carry."""
    content = BytesIO()
    picture.save(content, "PNG", optimize=True)
    if content.tell() > BYTES_MAX:
        raise NoPicture(f"{name} has {content.tell()} bytes; at most {BYTES_MAX} belong into a repository")
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / name).write_bytes(content.getvalue())


def promotion(page: Page, at: Platform) -> None:
    """One promotion in MLflow's UI, step by step."""
    walk.ask_for_approval(at.policies)
    walk.open_prompt(page, at.mlflow)
    walk.create_version(page)
    refused = walk.set_alias(page, walk.VERSION, "production")
    refused.get_by_text("may not become").wait_for()
    save(settled(page, may_warn=True), "promotion-refused.png")
    walk.open_prompt(page, at.mlflow)
    walk.set_alias(page, walk.VERSION, "candidate").wait_for(state="detached")
    walk.await_verdict(at.mlflow)
    walk.open_prompt(page, at.mlflow)
    page.get_by_text("assay.verdict").first.wait_for()
    save(settled(page), "candidate-verdict.png")
    walk.approve(ASSAY, at.environment, ROOT, walk.VERSION)
    walk.set_alias(page, walk.VERSION, "production").wait_for(state="detached")
    walk.open_prompt(page, at.mlflow)
    page.get_by_role("row").filter(has_text=f"Version {walk.VERSION}").get_by_text("production").wait_for()
    walk.compare(page)
    save(settled(page), "promoted-and-compared.png")
    walk.open_prompt(page, at.mlflow)
    walk.set_alias(page, 1, "production").wait_for(state="detached")
    walk.open_prompt(page, at.mlflow)
    row = page.get_by_role("row").filter(has_text="Version 1")
    row.get_by_text("production").wait_for()
    row.get_by_text("Version 1").click()
    page.get_by_text("Viewing version 1").wait_for()
    save(settled(page), "rolled-back.png")


def experiment(page: Page, at: Platform) -> None:
    """Version 2 beside version 1 until one is found better, and the run that shows it."""
    walk.approve(ASSAY, at.environment, ROOT, 1)  # an arm needs what production needs now
    run = trial.decided(ASSAY, at.environment, ROOT, api_url=at.api, prefect_url=at.prefect, versions=(1, walk.VERSION))
    page.set_viewport_size({"width": RUN_WIDTH, "height": HEIGHT})
    page.goto(run, wait_until="commit")
    page.get_by_text(f"{PROMPT} (v{walk.VERSION})").wait_for()
    page.get_by_role("button", name="Toggle sidebar").click()
    page.get_by_text("Show more").click()
    shown = settled(page)
    page.set_viewport_size(PICTURE_SIZE)  # pyright: ignore[reportArgumentType] - a plain dict does
    page.goto(f"{run}/artifacts", wait_until="commit")
    page.get_by_text("difference.png").first.click()
    page.get_by_role("img", name="difference.png").wait_for()
    save(side_by_side(shown, settled(page)), "experiment-decided.png")


def photograph(at: Platform) -> None:
    """Take all pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise NoPicture("there is no chromium; install it (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM])
        page = browser.new_page(viewport={"width": 1_400, "height": HEIGHT}, timezone_id="UTC", locale="en-GB")
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        save(side_by_side(prompt_page(page, at.mlflow), run_page(page, at.mlflow)), "prompt-and-run.png")
        save(prefect_page(page, at.prefect), "prefect-run.png")
        save(providers_page(page, at.prefect), "providers.png")
        promotion(page, at)
        experiment(page, at)
        browser.close()


def main() -> int:
    """The exit code."""
    try:
        with tempfile.TemporaryDirectory() as folder, platform(Path(folder) / "home") as at:
            photograph(at)
    except (NoPicture, RuntimeError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
