"""The door of the serving process."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from registry.database import DatabaseUnavailable
from registry.errors import InvalidInput
from registry.money.prices import UnpricedModel
from serving.metrics import SHARED_DIRECTORY
from serving.server import run
from serving.settings import ExposedWithoutGuard, ServingSettings

GUARDS = {
    "MLFLOW_TRACKING_USERNAME": "u",
    "MLFLOW_TRACKING_PASSWORD": "p",
    "PREFECT_SERVER_API_AUTH_STRING": "u:p",
    "QDRANT_API_KEY": "k",
    "ASSAY_BEHIND_PROXY": "1",
}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_guards(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """On this machine alone nothing has to be set."""
    monkeypatch.setenv("ASSAY_HOST", host)
    ServingSettings().require_guards()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "api.example.org"])  # noqa: S104 - the point
def test_another_address_names_every_missing_guard(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Beyond loopback the start is refused in one sentence that says what to set."""
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    monkeypatch.setenv("ASSAY_HOST", host)
    with pytest.raises(ExposedWithoutGuard) as refusal:
        ServingSettings().require_guards()
    names = {*GUARDS, "ASSAY_TLS_CERTIFICATE", "ASSAY_TLS_KEY"}
    assert all(name in refusal.value.message for name in names)


def test_another_address_with_every_guard_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With auth everywhere and a proxy in front, any address may be served."""
    for name, value in (GUARDS | {"ASSAY_HOST": "0.0.0.0"}).items():  # noqa: S104 - the point
        monkeypatch.setenv(name, value)
    ServingSettings().require_guards()


@pytest.mark.parametrize("missing", GUARDS)
def test_each_guard_counts(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """One missing guard is enough to refuse."""
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    for name, value in (GUARDS | {"ASSAY_HOST": "10.1.2.3"}).items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(ExposedWithoutGuard):
        ServingSettings().require_guards()


def test_the_chain_follows_the_keys_present(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named providers win; else the vendor whose key is there; else the one that needs none."""
    assert ServingSettings().providers == ("extractive",)
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    assert ServingSettings().providers == ("openai",)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")  # as a compose file leaves what nobody set
    assert ServingSettings().providers == ("openai",)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted")
    assert ServingSettings().providers == ("anthropic", "openai")
    monkeypatch.setenv("ASSAY_PROVIDERS", "local, extractive")
    assert ServingSettings().providers == ("local", "extractive")


def test_what_would_stop_every_worker_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its keys, its database or a price for its model the server does not start a worker."""
    started: list[object] = []
    monkeypatch.setattr("uvicorn.run", lambda *_args, **_options: started.append(1))
    with pytest.raises(InvalidInput, match="assay up"):
        run(workers=2)
    monkeypatch.setenv("ASSAY_MASTER_KEY", "ab" * 32)
    monkeypatch.setenv("ASSAY_WEBHOOK_SECRET", "planted")
    monkeypatch.setenv("QDRANT_API_KEY", "planted")
    with pytest.raises(DatabaseUnavailable):
        run(workers=2)
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://models.example/v1")
    monkeypatch.setenv("ASSAY_OPENAI_MODEL", "house-7")
    with pytest.raises(UnpricedModel, match="ASSAY_OPENAI_MODEL names 'house-7'"):
        run(workers=2)
    assert started == []


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing the settings prints no key."""
    for name in ("OPENAI_API_KEY", "QDRANT_API_KEY", "ASSAY_MASTER_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "planted-secret")
    assert "planted-secret" not in repr(ServingSettings())


@pytest.mark.parametrize(
    ("name", "value"), [("ASSAY_API_PORT", "0"), ("ASSAY_DEADLINE_S", "0"), ("ASSAY_PROVIDERS", "a;b")]
)
def test_a_setting_out_of_its_limits_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A wrong value stops the start."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        ServingSettings()


def test_a_server_leaves_the_numbers_of_another_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each server with workers counts in a directory of its own; only what ended servers left is removed."""
    monkeypatch.setattr("uvicorn.run", lambda *_args, **_options: None)
    monkeypatch.setattr("serving.server.require_startable", lambda _settings: None)
    monkeypatch.delenv(SHARED_DIRECTORY, raising=False)
    counted = tmp_path / "home" / "run" / "metrics"
    running, ended = counted / str(os.getppid()), counted / "999999999"
    for directory in (running, ended):
        directory.mkdir(parents=True)
    run(workers=2)
    assert {path.name for path in counted.iterdir()} == {running.name, str(os.getpid())}
    assert os.environ.pop(SHARED_DIRECTORY) == str(counted / str(os.getpid()))
