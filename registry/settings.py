"""Where the system of record and Prefect live, as read by the doors (`serving.settings`, `flows.settings`)."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from registry.errors import InvalidInput


class RegistrySettings(BaseSettings):
    """Addresses and secrets of the stores; each field is an environment variable of docs/settings.md."""

    # The prefix is for lookups by field name: without it `home` would be read from HOME.
    model_config = SettingsConfigDict(extra="ignore", populate_by_name=True, env_prefix="ASSAY_")

    home: Path = Field(default=Path(".assay"), validation_alias="ASSAY_HOME")
    assay_database_url: str | None = Field(default=None, validation_alias="ASSAY_DATABASE_URL")
    mlflow_port: int = Field(default=5000, validation_alias="ASSAY_MLFLOW_PORT")
    mlflow_tracking_uri: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_URI")
    mlflow_username: str | None = Field(default=None, validation_alias="MLFLOW_TRACKING_USERNAME")
    mlflow_password: SecretStr | None = Field(default=None, validation_alias="MLFLOW_TRACKING_PASSWORD")
    prefect_port: int = Field(default=4200, validation_alias="ASSAY_PREFECT_PORT")
    prefect_api_url: str | None = Field(default=None, validation_alias="PREFECT_API_URL")
    qdrant_port: int = Field(default=6333, validation_alias="ASSAY_QDRANT_PORT")
    qdrant_address: str | None = Field(default=None, validation_alias="QDRANT_URL")
    qdrant_api_key: SecretStr | None = Field(default=None, validation_alias="QDRANT_API_KEY")
    assay_master_key: SecretStr | None = Field(default=None, validation_alias="ASSAY_MASTER_KEY")
    assay_webhook_secret: SecretStr | None = Field(default=None, validation_alias="ASSAY_WEBHOOK_SECRET")

    def model_post_init(self, _context: Any, /) -> None:
        """Make home absolute, so that a child process with another working directory finds the same one."""
        self.home = self.home.expanduser().absolute()

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the registry; SQLite in home unless told."""
        return self.assay_database_url or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def mlflow_url(self) -> str:
        """Base URL of the MLflow server for people: without a trailing slash and without credentials."""
        parts = urlsplit(self._mlflow_address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def mlflow_access(self) -> str:
        """Base URL of the MLflow server for programs: with the user and password, when there are any. Never shown."""
        if self.mlflow_username is None or self.mlflow_password is None:
            return self._mlflow_address
        parts = urlsplit(self.mlflow_url)
        user = f"{quote(self.mlflow_username, safe='')}:{quote(self.mlflow_password.get_secret_value(), safe='')}"
        return parts._replace(netloc=f"{user}@{parts.netloc}").geturl()

    @property
    def _mlflow_address(self) -> str:
        return (self.mlflow_tracking_uri or f"http://127.0.0.1:{self.mlflow_port}").rstrip("/")

    @property
    def prefect_url(self) -> str:
        """URL of Prefect's API."""
        return (self.prefect_api_url or f"http://127.0.0.1:{self.prefect_port}/api").rstrip("/")

    @property
    def qdrant_url(self) -> str:
        """Base URL of the vector engine."""
        return (self.qdrant_address or f"http://127.0.0.1:{self.qdrant_port}").rstrip("/")

    @property
    def engine_key(self) -> str:
        """The vector engine's api key: from the environment, else from home."""
        return self._secret(self.qdrant_api_key, "engine", "QDRANT_API_KEY")

    @property
    def master_key(self) -> bytes:
        """32 bytes that wrap the vault's keys."""
        text = self._secret(self.assay_master_key, "master", "ASSAY_MASTER_KEY")
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if len(raw) != 32:  # noqa: PLR2004 - AES-256
            raise InvalidInput("ASSAY_MASTER_KEY must be 64 hexadecimal digits (32 bytes)")
        return raw

    @property
    def webhook_secret(self) -> str:
        """Shared with MLflow; signs its pushes."""
        return self._secret(self.assay_webhook_secret, "webhook", "ASSAY_WEBHOOK_SECRET")

    def _secret(self, given: SecretStr | None, file: str, variable: str) -> str:
        if given is not None:
            return given.get_secret_value()
        path = self.home / "keys" / file
        try:
            return path.read_text().strip()
        except OSError as error:
            raise InvalidInput(
                f"no {variable} and no readable {path}; run `assay up` once, or set {variable}"
            ) from error
