"""Rules that hold for every test: no network in unit tests, and a clean environment."""

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_socket import disable_socket, enable_socket

HERE = Path(__file__).parent

pytest_plugins = [
    name
    for name in ("fixtures_mlflow", "fixtures_postgres", "fixtures_engine", "fixtures_registry", "fixtures_corpus")
    if importlib.util.find_spec(name)
]

# Seeds are fixed, so that a red run is red for everyone.
settings.register_profile("assay", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("assay")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Unit tests may not open a socket; the others reach this machine only."""
    if item.path.is_relative_to(HERE / "unit"):
        disable_socket(allow_unix_socket=True)
    else:
        enable_socket()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Give sockets back, whatever the test did."""
    enable_socket()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the person who runs the tests leaks into them."""
    kept = {"QDRANT_URL", "QDRANT_API_KEY"}  # contract tests run against a real cluster when it is named
    for name in list(os.environ):
        vendor = name.startswith(("ASSAY_", "MLFLOW_", "PREFECT_", "ANTHROPIC_", "OPENAI_"))
        if vendor and name not in kept:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASSAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
