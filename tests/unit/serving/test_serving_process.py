"""What the serving process loads, measured in a process of its own."""

import json
import subprocess
import sys
from typing import Any

import pytest

from serving.problems import PROBLEMS

PROBE = """
import json, sys
import serving.app, serving.server
from registry.errors import AssayError

def kinds(kind):
    return {kind}.union(*(kinds(child) for child in kind.__subclasses__()))

codes = {kind.code for kind in kinds(AssayError)}
print(json.dumps({"modules": sorted({name.partition(".")[0] for name in sys.modules}), "codes": sorted(codes)}))
"""

STAYS_INSIDE = {
    "embedding-model-unusable",  # stops the start
    "erased",  # shown as insight-not-found
    "experiment-not-found",  # of the command line
    "mlflow-unavailable",  # the last good prompt serves
    "prompt-tampered",  # the last good prompt serves
    "promotion-refused",  # of the gate and the command line; serving only shows how a version stands
    "prefect-unavailable",  # a candidate waits; no request asks Prefect
    "webhook-replayed",  # answered as accepted
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    """Top-level modules and problem codes of a serving process."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_serving_loads_no_heavy_platform(loaded: dict[str, Any]) -> None:
    """Neither mlflow, prefect, evidently nor fairlearn, nor a vendor's SDK without its provider."""
    unwanted = {"mlflow", "prefect", "evidently", "fairlearn", "pandas", "scipy", "sklearn", "langchain"}
    unwanted |= {"alembic", "anthropic", "openai", "langchain_core"}
    assert not unwanted & set(loaded["modules"])


def test_serving_imports_no_stranger(loaded: dict[str, Any]) -> None:
    """Only the registry stands below serving."""
    assert not {"flows", "evaluation", "monitoring", "infra"} & set(loaded["modules"])


def test_every_error_that_serving_can_meet_has_its_problem(loaded: dict[str, Any]) -> None:
    """Each code of a loaded error is in the table, or is known to stay inside."""
    assert set(loaded["codes"]) - set(PROBLEMS) <= STAYS_INSIDE
