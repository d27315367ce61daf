"""Random sequences of registry actions against a running MLflow with the gate; the benchmark does 200 of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_mlflow import CHAIN, GatedMlflow
from registry_actions.sequences import APPROVERS
from registry_actions.server import compare_on_server

from registry.prompts.promotion_records import tell_serving_models

pytestmark = pytest.mark.contract


@pytest.fixture
def server(gated_mlflow: GatedMlflow) -> Iterator[GatedMlflow]:
    """The session's server, left as it was found."""
    yield gated_mlflow
    for prompt in APPROVERS:
        (gated_mlflow.home / "policies" / f"{prompt}.yaml").unlink(missing_ok=True)
    tell_serving_models(gated_mlflow.database, CHAIN)


@pytest.mark.parametrize("seed", [11, 58])
def test_no_unproven_text_serves(server: GatedMlflow, tmp_path: Path, seed: int) -> None:
    """Whoever does what in whatever order: each step comes to what the rules say, and what serves has its record."""
    _, checks = compare_on_server(seed, server, tmp_path)
    assert checks > 100
