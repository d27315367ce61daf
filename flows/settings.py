"""The door at which the command line and the flows read their environment."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from registry.errors import InvalidInput
from registry.settings import RegistrySettings


class FlowSettings(RegistrySettings):
    """The registry's settings, the address of the API and what is expected of providers."""

    url: str | None = Field(default=None, validation_alias="ASSAY_URL")
    key: SecretStr | None = Field(default=None, validation_alias="ASSAY_KEY")
    api_port: int = Field(default=8000, validation_alias="ASSAY_API_PORT")
    host: str = Field(default="127.0.0.1", validation_alias="ASSAY_HOST")
    tls_certificate: Path | None = Field(default=None, validation_alias="ASSAY_TLS_CERTIFICATE")

    # What is expected of each provider.
    provider_slo: Annotated[float, Field(ge=0.9, le=0.9999)] = Field(
        default=0.99, validation_alias="ASSAY_PROVIDER_SLO"
    )
    """Share of attempts that it answers, and of answers that come in time."""
    provider_slow_s: Annotated[float, Field(ge=0.01, le=120)] = Field(
        default=10.0, validation_alias="ASSAY_PROVIDER_SLOW_S"
    )
    """Longest waiting time that is in time."""

    @property
    def api_url(self) -> str:
        """Base URL of the Assay API."""
        scheme = "http" if self.tls_certificate is None else "https"
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 - compared, not bound
        return (self.url or f"{scheme}://{host}:{self.api_port}").rstrip("/")

    @property
    def admin_key_file(self) -> Path:
        """Where `assay up` leaves the first platform key."""
        return self.home / "keys" / "admin"

    @property
    def api_key(self) -> str:
        """The key the command line asks with.

        Raises:
            InvalidInput: there is none.
        """
        if self.key is not None:
            return self.key.get_secret_value()
        try:
            return self.admin_key_file.read_text().strip()
        except OSError as error:
            file = self.admin_key_file
            raise InvalidInput(f"no ASSAY_KEY and no {file}; run `assay up` once, or set ASSAY_KEY") from error

    @property
    def mlflow_key(self) -> str | None:
        """The key that tells the gate in MLflow who is asking; None: nobody does."""
        try:
            return self.api_key
        except InvalidInput:
            return None
