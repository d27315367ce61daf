"""Settings: every variable is documented, and nothing else is read."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from flows.settings import FlowSettings
from infra.local.settings import LocalSettings
from serving.settings import ServingSettings

DOCS = Path(__file__).parents[3] / "docs"
CLASSES = (ServingSettings, FlowSettings, LocalSettings)


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a field."""
    return str(field.validation_alias or f"ASSAY_{name.upper()}")


@pytest.mark.parametrize("settings", CLASSES)
def test_every_setting_has_its_heading(settings: type[ServingSettings | FlowSettings | LocalSettings]) -> None:
    """docs/settings.md has a heading for every variable that a door reads."""
    headings = {line[3:] for line in (DOCS / "settings.md").read_text().splitlines() if line.startswith("## ")}
    variables = {variable(name, field) for name, field in settings.model_fields.items()}
    assert variables - headings == set()


@pytest.mark.parametrize("settings", CLASSES)
def test_only_our_own_and_the_vendors_variables_are_read(
    settings: type[ServingSettings | FlowSettings | LocalSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOME, HOST or URL of the person's shell are no settings of ours."""
    before = settings().model_dump()
    variables = {variable(name, field) for name, field in settings.model_fields.items()}
    for name in {name.upper() for name in settings.model_fields} - variables:
        monkeypatch.setenv(name, "stray")
    assert settings().model_dump() == before


def test_mlflows_credentials_reach_programs_and_never_people() -> None:
    """Programs sign in with the user and password; what people are shown has neither."""
    settings = FlowSettings(
        mlflow_tracking_uri="https://mlflow.example:5000/", mlflow_username="me@x", mlflow_password=SecretStr("p/w")
    )
    assert settings.mlflow_access == "https://me%40x:p%2Fw@mlflow.example:5000"
    assert settings.mlflow_url == "https://mlflow.example:5000"


def test_credentials_in_mlflows_address_are_not_shown_either() -> None:
    """MLFLOW_TRACKING_URI may hold them too."""
    settings = FlowSettings(mlflow_tracking_uri="http://me:secret@mlflow.example")
    assert settings.mlflow_access == "http://me:secret@mlflow.example"
    assert settings.mlflow_url == "http://mlflow.example"
