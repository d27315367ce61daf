"""Home and ports of the local platform: the door at which the supervisor reads its environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LocalSettings(BaseSettings):
    """Where the platform lives on this machine; each field is an environment variable of docs/settings.md."""

    # The prefix is for lookups by field name: without it `home` would be read from HOME.
    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_prefix="ASSAY_")

    home: Path = Field(default=Path(".assay"), validation_alias="ASSAY_HOME")
    host: str = Field(default="127.0.0.1", validation_alias="ASSAY_HOST")
    """Where the API listens. MLflow, Prefect and the engine stay on loopback in any case."""
    tls_certificate: Path | None = Field(default=None, validation_alias="ASSAY_TLS_CERTIFICATE")
    api_port: int = Field(default=8000, ge=1, le=65535, validation_alias="ASSAY_API_PORT")
    mlflow_port: int = Field(default=5000, ge=1, le=65535, validation_alias="ASSAY_MLFLOW_PORT")
    prefect_port: int = Field(default=4200, ge=1, le=65535, validation_alias="ASSAY_PREFECT_PORT")
    qdrant_port: int = Field(default=6333, ge=1, le=65535, validation_alias="ASSAY_QDRANT_PORT")
    llm_port: int = Field(default=8081, ge=1, le=65535, validation_alias="ASSAY_LLM_PORT")
    local_llm: bool = Field(default=False, validation_alias="ASSAY_LOCAL_LLM")
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    """Set: this server is used and none is started. The same holds for the next two."""
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    qdrant_url: str | None = Field(default=None, validation_alias="QDRANT_URL")

    @property
    def root(self) -> Path:
        """Home as an absolute path."""
        return self.home.expanduser().absolute()

    @property
    def mlflow_url(self) -> str:
        """Base URL of MLflow, started here or not."""
        return (self.mlflow_tracking_uri or f"http://127.0.0.1:{self.mlflow_port}").rstrip("/")

    @property
    def prefect_url(self) -> str:
        """Prefect's API URL, started here or not."""
        return (self.prefect_api_url or f"http://127.0.0.1:{self.prefect_port}/api").rstrip("/")

    @property
    def engine_url(self) -> str:
        """Base URL of the vector engine, started here or not."""
        return (self.qdrant_url or f"http://127.0.0.1:{self.qdrant_port}").rstrip("/")

    @property
    def api_url(self) -> str:
        """Base URL under which this machine reaches the API."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        scheme = "http" if self.tls_certificate is None else "https"
        return f"{scheme}://{host}:{self.api_port}"
