"""What the serving process reads from its environment, once, at this door.

* ExposedWithoutGuard (InvalidInput) - the address is not loopback and a guard is missing
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from registry.errors import InvalidInput
from registry.settings import RegistrySettings

Port = Annotated[int, Field(ge=1, le=65_535)]
NameList = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+( *, *[a-z0-9_-]+)*$")]


class ExposedWithoutGuard(InvalidInput):
    """ASSAY_HOST would open the platform to a network without the guards that this needs."""


class ServingSettings(RegistrySettings):
    """Address, model providers and limits of the API; each field is an environment variable of docs/settings.md."""

    host: str = Field(default="127.0.0.1", validation_alias="ASSAY_HOST")
    api_port: Port = Field(default=8000, validation_alias="ASSAY_API_PORT")

    # Which models answer, in the order in which they are tried.
    chain: NameList | None = Field(default=None, validation_alias="ASSAY_PROVIDERS")
    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    anthropic_base_url: str | None = Field(default=None, validation_alias="ANTHROPIC_BASE_URL")
    anthropic_model: str = Field(default="claude-sonnet-5-5", validation_alias="ASSAY_ANTHROPIC_MODEL")
    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    openai_base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL")
    openai_model: str = Field(default="gpt-5-mini", validation_alias="ASSAY_OPENAI_MODEL")
    openai_api: Literal["auto", "chat", "responses"] = Field(default="auto", validation_alias="ASSAY_OPENAI_API")
    """`auto`: Responses at OpenAI's own address, Chat Completions at any other."""
    local_llm: bool = Field(default=False, validation_alias="ASSAY_LOCAL_LLM")
    llm_port: Port = Field(default=8081, validation_alias="ASSAY_LLM_PORT")

    script: Path | None = Field(default=None, validation_alias="ASSAY_SCRIPT")
    """Rows that the provider `scripted` answers with."""

    # How providers are asked.
    provider_concurrency: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=64, validation_alias="ASSAY_PROVIDER_CONCURRENCY"
    )
    """Requests that one process has at one provider at once; as many again may wait."""
    hedge: bool = Field(default=False, validation_alias="ASSAY_HEDGE")
    """A second attempt when the first one is slower than 95 of 100."""
    provider_probe_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=60.0, validation_alias="ASSAY_PROVIDER_PROBE_S"
    )
    """A provider without traffic for this long is asked for a sign of life; 0 never asks."""
    otlp_endpoint: str | None = Field(default=None, validation_alias="ASSAY_OTLP_ENDPOINT")
    """Where OpenTelemetry spans and metrics go, e.g. http://127.0.0.1:4318; None turns telemetry off."""

    policies: Path = Field(default=Path("policies"), validation_alias="ASSAY_POLICIES")
    """Directory of the use cases, one YAML file each."""
    deadline_s: Annotated[float, Field(gt=0, le=120)] = Field(default=30.0, validation_alias="ASSAY_DEADLINE_S")
    """How long one insight may take when the caller does not say."""

    # The guards without which only loopback is served.
    tls_certificate: Path | None = Field(default=None, validation_alias="ASSAY_TLS_CERTIFICATE")
    tls_key: Path | None = Field(default=None, validation_alias="ASSAY_TLS_KEY")
    behind_proxy: bool = Field(default=False, validation_alias="ASSAY_BEHIND_PROXY")
    prefect_auth: SecretStr | None = Field(default=None, validation_alias="PREFECT_SERVER_API_AUTH_STRING")

    @property
    def providers(self) -> tuple[str, ...]:
        """The chain: as named, else by the vendor keys present, else `extractive`, which needs none."""
        if self.chain is not None:
            return tuple(name.strip() for name in self.chain.split(","))
        keys = {"anthropic": self.anthropic_api_key, "openai": self.openai_api_key}
        given = (name for name, key in keys.items() if key is not None and key.get_secret_value())
        return tuple(given) or ("extractive",)

    def require_guards(self) -> None:
        """Refuse an address that others can reach while a guard is missing.

        Raises:
            ExposedWithoutGuard: names every guard that is missing.
        """
        if _is_loopback(self.host):
            return
        guards = {
            "MLflow auth (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD)": self.mlflow_username
            and self.mlflow_password,
            "a Prefect auth string (PREFECT_SERVER_API_AUTH_STRING)": self.prefect_auth,
            "the engine's key (QDRANT_API_KEY)": self._has_engine_key(),
            "TLS (ASSAY_TLS_CERTIFICATE and ASSAY_TLS_KEY) or ASSAY_BEHIND_PROXY=1": (
                self.tls_certificate and self.tls_key
            )
            or self.behind_proxy,
        }
        missing = [name for name, present in guards.items() if not present]
        if missing:
            raise ExposedWithoutGuard(
                f"ASSAY_HOST={self.host!r} would open the API beyond this machine without "
                f"{'; '.join(missing)}; set these, or leave ASSAY_HOST at 127.0.0.1"
            )

    def _has_engine_key(self) -> bool:
        try:
            return bool(self.engine_key)
        except InvalidInput:
            return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
