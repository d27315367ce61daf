"""The walk of one promotion through MLflow's own UI, photographed: refused, measured, approved, promoted, taken back.

Part of `python -m tests.evidence`; the policy of this walk asks for an approval on top of the shipped one.
"""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml
from playwright.sync_api import Locator, Page

PROMPT, VERSION = "insights", 2
SIZE = {"width": 1_280, "height": 900}
COMPARED_SIZE = {"width": 1_640, "height": 1_240}
"""Room for both versions, down to the words that differ."""
VERDICT_S_MAX = 180.0
"""An evaluation of the sample takes some ten seconds, a flow's start as many."""
ENGINEERS = ("ada", "grace")
"""Two, because nobody knows who types in MLflow's UI without its basic auth."""


def ask_for_approval(policies: Path) -> None:
    """From now on a version also needs people's word; the gate reads a changed policy anew."""
    file = policies / f"{PROMPT}.yaml"
    policy: dict[str, Any] = yaml.safe_load(file.read_text())
    policy["requires"].append({"kind": "approval"})
    file.write_text(yaml.safe_dump(policy, sort_keys=False))


def open_prompt(page: Page, mlflow_url: str) -> None:
    """The prompt's page, its side panel closed and the floating button away."""
    page.set_viewport_size(SIZE)  # pyright: ignore[reportArgumentType] - a plain dict does
    page.goto("about:blank")
    page.goto(f"{mlflow_url}/#/prompts/{PROMPT}", wait_until="commit")
    page.get_by_text("Viewing version").wait_for()
    close = page.get_by_role("button", name="Close", exact=True)
    if close.count():
        close.click()
    page.get_by_role("button", name="MLflow Assistant").evaluate("button => button.style.display = 'none'")


def create_version(page: Page) -> None:
    """A new version, typed as an engineer would."""
    page.get_by_role("button", name="Create prompt version").click()
    dialog = page.get_by_role("dialog")
    wording = dialog.locator("textarea").first
    wording.wait_for()
    wording.fill(wording.input_value().replace("at most three sentences", "at most two sentences"))
    dialog.get_by_role("button", name="Create", exact=True).click()
    page.get_by_text(f"Viewing version {VERSION}").wait_for()


def set_alias(page: Page, version: int, alias: str) -> Locator:
    """Give a version one more alias in the dialog, and press its button; the dialog."""
    row = page.get_by_role("row").filter(has_text=f"Version {version}")
    row.get_by_role("button").first.click()
    dialog = page.get_by_role("dialog")
    box = dialog.get_by_role("combobox")
    box.fill(alias)
    box.press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()
    return dialog


def compare(page: Page) -> None:
    """The two versions beside each other, with their differences."""
    page.set_viewport_size(COMPARED_SIZE)  # pyright: ignore[reportArgumentType] - a plain dict does
    page.get_by_text("Compare", exact=True).first.click()
    page.get_by_text("Comparing version").wait_for()
    page.get_by_text("Text", exact=True).last.click()


def await_verdict(mlflow_url: str) -> None:
    """Until the version's page carries its verdict."""
    about = {"name": PROMPT, "version": VERSION}
    with httpx.Client(base_url=f"{mlflow_url}/api/2.0/mlflow", timeout=30, trust_env=False) as mlflow:
        end = time.monotonic() + VERDICT_S_MAX
        while time.monotonic() < end:
            found = mlflow.get("/model-versions/get", params=about).raise_for_status().json()["model_version"]
            if any(tag["key"] == "assay.verdict" for tag in found.get("tags", [])):
                return
            time.sleep(1)
    raise TimeoutError(f"{PROMPT}/{VERSION} has no verdict after {VERDICT_S_MAX:g} s")


def approve(assay: tuple[str, ...], environment: Mapping[str, str], folder: Path, version: int) -> None:
    """Each engineer approves a version with a key of their own."""
    for engineer in ENGINEERS:
        make = (*assay, "keys", "create", "--role", "engineer", "--owner", engineer, "--json")
        made = subprocess.run(make, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, check=True)
        own = {**environment, "ASSAY_KEY": json.loads(made.stdout)["key"]}
        word = (*assay, "prompts", "approve", PROMPT, str(version), "--reason", "short, and right", "--json")
        subprocess.run(word, env=own, cwd=folder, stdout=subprocess.DEVNULL, check=True)
