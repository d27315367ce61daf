"""Makes the configured providers; a vendor's SDK is imported only when its provider is named."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from registry.errors import InvalidInput
from registry.messages import Usage
from registry.money.prices import UnpricedModel, cost_nano_usd
from serving.providers.base import Provider
from serving.providers.chain import CHAIN_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPolicy:
    """What the providers need from the settings."""

    anthropic_api_key: SecretStr | None = None
    anthropic_model: str | None = None
    """As the vendor names it; needed by `anthropic`."""
    anthropic_base_url: str | None = None
    """None means Anthropic's own."""
    openai_api_key: SecretStr | None = None
    openai_model: str | None = None
    """As the vendor names it; needed by `openai`."""
    openai_base_url: str | None = None
    """None means OpenAI's own."""
    openai_api: Literal["auto", "chat", "responses"] = "auto"
    """`auto`: Responses at OpenAI's own address, Chat Completions at any other."""
    local_base_url: str = "http://127.0.0.1:8081/v1"
    """Where `assay up` with ASSAY_LOCAL_LLM=1 runs its llama.cpp server."""
    local_model: str = "smollm2-135m-instruct"
    script: Path | None = None
    """ASSAY_SCRIPT; needed by `scripted`."""


def build_vendors(names: Sequence[str], policy: ProviderPolicy) -> tuple[Provider, ...]:
    """Make the providers that the names ask for, in their order.

    Raises:
        InvalidInput: an unknown or repeated name, or a setting that a named provider needs and nobody gave.
        UnpricedModel: nobody knows what the model of a vendor costs.
    """
    cleaned = [name.strip() for name in names if name.strip()]
    known = ", ".join(PROVIDERS)
    if not cleaned:
        raise InvalidInput(f"ASSAY_PROVIDERS is empty; name at least one of: {known}")
    if len(cleaned) > CHAIN_MAX or len(set(cleaned)) < len(cleaned):
        raise InvalidInput(f"ASSAY_PROVIDERS may name each provider once, and at most {CHAIN_MAX}")
    if unknown := [name for name in cleaned if name not in _FACTORIES]:
        raise InvalidInput(f"ASSAY_PROVIDERS names {unknown[0]!r}, which is none of: {known}")
    return tuple(_FACTORIES[name](policy) for name in cleaned)


# Imports stand inside the factories, after what can be refused without them: an SDK costs seconds of CPU and tens of
# megabytes.
def _extractive(_: ProviderPolicy) -> Provider:
    from serving.providers.extractive import Extractive  # noqa: PLC0415 - see above

    return Extractive()


def _scripted(policy: ProviderPolicy) -> Provider:
    from serving.providers.scripted import Scripted, load_script  # noqa: PLC0415 - see above

    if policy.script is None:
        raise InvalidInput("ASSAY_PROVIDERS names 'scripted'; set ASSAY_SCRIPT to the path of its YAML script")
    return Scripted(load_script(policy.script))


def _anthropic(policy: ProviderPolicy) -> Provider:
    if policy.anthropic_api_key is None or not policy.anthropic_api_key.get_secret_value():
        raise InvalidInput("ASSAY_PROVIDERS names 'anthropic'; set ANTHROPIC_API_KEY")
    model = _priced("anthropic", policy.anthropic_model)
    base_url = _address("ANTHROPIC_BASE_URL", policy.anthropic_base_url)
    from serving.providers.anthropic import Anthropic  # noqa: PLC0415 - see above

    return Anthropic(api_key=policy.anthropic_api_key, model=model, base_url=base_url)


def _openai(policy: ProviderPolicy) -> Provider:
    if policy.openai_api_key is None or not policy.openai_api_key.get_secret_value():
        raise InvalidInput("ASSAY_PROVIDERS names 'openai'; set OPENAI_API_KEY (any word, if the server wants none)")
    model = _priced("openai", policy.openai_model)
    given = _address("OPENAI_BASE_URL", policy.openai_base_url)
    from serving.providers.openai import OPENAI_URL, OpenAI  # noqa: PLC0415 - see above

    base_url = given or OPENAI_URL
    api = policy.openai_api
    if api == "auto":
        api = "responses" if urlsplit(base_url).hostname == urlsplit(OPENAI_URL).hostname else "chat"
    return OpenAI(api_key=policy.openai_api_key, model=model, base_url=base_url, api=api)


def _local(policy: ProviderPolicy) -> Provider:
    from serving.providers.openai import OpenAI  # noqa: PLC0415 - see above

    return OpenAI(name="local", api_key=SecretStr("local"), model=policy.local_model, base_url=policy.local_base_url)


def _address(setting: str, url: str | None) -> str | None:
    """The URL, when it can be one: a mistake here would look like a vendor that never answers."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        # Not quoted: such URLs may carry passwords.
        raise InvalidInput(f"{setting} has to be an http or https URL, e.g. 'https://models.example/v1'")
    return url


def _priced(vendor: str, model: str | None) -> str:
    """The model, when it is known what it costs: a vendor sends a bill."""
    setting = f"ASSAY_{vendor.upper()}_MODEL"
    if not model:
        raise InvalidInput(f"ASSAY_PROVIDERS names {vendor!r}; set {setting} to the model to ask for")
    try:
        cost_nano_usd(vendor, model, Usage(), datetime.now(UTC))
    except UnpricedModel as error:
        raise UnpricedModel(
            f"{setting} names {model!r}, and nobody knows what it costs; name a model with a price, "
            "or use provider 'local' for a model on your own hardware (docs/providers.md)"
        ) from error
    return model


_FACTORIES: Mapping[str, Callable[[ProviderPolicy], Provider]] = {
    "extractive": _extractive,
    "scripted": _scripted,
    "anthropic": _anthropic,
    "openai": _openai,
    "local": _local,
}
PROVIDERS = tuple(_FACTORIES)
"""Names that ASSAY_PROVIDERS may hold."""
