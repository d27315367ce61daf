"""Builds the configured providers and asks them in order, until one answers.

A provider that throttles, fails, stalls, cannot hold the prompt or does not know us hands over to the next one. A
request that is wrong everywhere, and content that a vendor refused, do not.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from registry.errors import InvalidInput, JsonValue
from registry.messages import Attempt, Completion, CompletionRequest, Usage
from registry.money.prices import UnpricedModel, cost_nano_usd
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    ModelNotFound,
    Provider,
    ProviderError,
    RateLimited,
    SchemaFailure,
    TimedOut,
    Transient,
)

logger = logging.getLogger(__name__)

WORTH_ANOTHER_PROVIDER = (Transient, ContextTooLong, SchemaFailure, AuthenticationFailed, ModelNotFound)
EARLIER_SHARE = 0.5
"""Share of the time left that a provider may use while others stand behind it; the last one may use it all."""
CHAIN_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPolicy:
    """What the providers need from the settings."""

    openai_api_key: SecretStr | None = None
    openai_model: str | None = None
    """As the vendor names it; needed by `openai`."""
    openai_base_url: str | None = None
    """None means OpenAI's own."""
    local_base_url: str = "http://127.0.0.1:8081/v1"
    """Where `assay up` with ASSAY_LOCAL_LLM=1 runs its llama.cpp server."""
    local_model: str = "smollm2-135m-instruct"
    script: Path | None = None
    """ASSAY_SCRIPT; needed by `scripted`."""


class ProvidersUnavailable(ProviderError):
    """No provider answered; `details["tried"]` lists each one with what it said."""


class Chain:
    """Providers in order of preference, as one provider."""

    name = "chain"

    def __init__(self, providers: Sequence[Provider], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        assert 0 < len(providers) <= CHAIN_MAX  # noqa: S101 - build_providers checks; only a bug gets here
        self.providers = tuple(providers)
        self._monotonic = monotonic

    @property
    def model(self) -> str:
        """The model of the preferred provider."""
        return self.providers[0].model

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask the providers in order, all within `request.timeout_s`.

        `attempts` counts the failed ones too; those that used tokens stand in `failed`, or in `billed` of the error.

        Raises:
            ProvidersUnavailable: none answered.
            ContentRefused: a vendor declined the content.
        """
        deadline = self._monotonic() + request.timeout_s
        failures: list[tuple[Provider, ProviderError]] = []
        for position, provider in enumerate(self.providers):
            left_s = deadline - self._monotonic()
            if left_s <= 0:
                failures.append((provider, TimedOut(f"no time was left to ask {provider.name}")))
                break
            share = 1.0 if position == len(self.providers) - 1 else EARLIER_SHARE
            try:
                completion = await provider.complete(replace(request, timeout_s=left_s * share))
            except ContentRefused as error:
                error.billed = _billed([*failures, (provider, error)])
                raise
            except ProviderError as error:
                logger.warning("provider %s failed: %s", provider.name, type(error).__name__)
                failures.append((provider, error))
                if not isinstance(error, WORTH_ANOTHER_PROVIDER):
                    break
            else:
                return replace(completion, attempts=completion.attempts + len(failures), failed=_billed(failures))
        raise _unavailable(failures)

    async def aclose(self) -> None:
        """Close every provider."""
        for provider in self.providers:
            await provider.aclose()


def build_providers(names: Sequence[str], policy: ProviderPolicy) -> Chain:
    """Make the chain that the names ask for, in their order; a vendor's SDK is imported only when it is named.

    Raises:
        InvalidInput: an unknown or repeated name, or a setting that a named provider needs and nobody gave.
        UnpricedModel: nobody knows what the model of a vendor costs.
    """
    cleaned = [name.strip() for name in names if name.strip()]
    known = ", ".join(_FACTORIES)
    if not cleaned:
        raise InvalidInput(f"ASSAY_PROVIDERS is empty; name at least one of: {known}")
    if len(cleaned) > CHAIN_MAX or len(set(cleaned)) < len(cleaned):
        raise InvalidInput(f"ASSAY_PROVIDERS may name each provider once, and at most {CHAIN_MAX}")
    if unknown := [name for name in cleaned if name not in _FACTORIES]:
        raise InvalidInput(f"ASSAY_PROVIDERS names {unknown[0]!r}, which is none of: {known}")
    return Chain([_FACTORIES[name](policy) for name in cleaned])


def _billed(failures: Sequence[tuple[Provider, ProviderError]]) -> tuple[Attempt, ...]:
    """The failed attempts that used tokens."""
    return tuple(
        Attempt(
            provider=provider.name,
            model=error.model or provider.model,
            asked_model=provider.model,
            usage=error.usage,
        )
        for provider, error in failures
        if error.usage is not None
    )


def _unavailable(failures: Sequence[tuple[Provider, ProviderError]]) -> ProvidersUnavailable:
    tried: list[JsonValue] = [
        {
            "provider": provider.name,
            "model": provider.model,
            "error": type(error).__name__,
            "message": error.message,
            **({"usage": asdict(error.usage)} if error.usage is not None else {}),
        }
        for provider, error in failures
    ]
    waits = [error.retry_after_s for _, error in failures if isinstance(error, RateLimited) and error.retry_after_s]
    details: dict[str, JsonValue] = {"tried": tried}
    if waits:
        details["retry_after_s"] = min(waits)
    names = ", ".join(f"{provider.name} ({error.message})" for provider, error in failures)
    unavailable = ProvidersUnavailable(f"no provider answered: {names}", details=details)
    unavailable.billed = _billed(failures)
    return unavailable


# Imports stand inside the factories: an SDK costs a second of start and tens of megabytes.
def _extractive(_: ProviderPolicy) -> Provider:
    from serving.providers.extractive import Extractive  # noqa: PLC0415 - see above

    return Extractive()


def _scripted(policy: ProviderPolicy) -> Provider:
    from serving.providers.scripted import Scripted, load_script  # noqa: PLC0415 - see above

    if policy.script is None:
        raise InvalidInput("ASSAY_PROVIDERS names 'scripted'; set ASSAY_SCRIPT to the path of its YAML script")
    return Scripted(load_script(policy.script))


def _openai(policy: ProviderPolicy) -> Provider:
    from serving.providers.openai import OPENAI_URL, OpenAI  # noqa: PLC0415 - see above

    if policy.openai_api_key is None or not policy.openai_api_key.get_secret_value():
        raise InvalidInput("ASSAY_PROVIDERS names 'openai'; set OPENAI_API_KEY (any word, if the server wants none)")
    if not policy.openai_model:
        raise InvalidInput("ASSAY_PROVIDERS names 'openai'; set ASSAY_OPENAI_MODEL to the model to ask for")
    try:
        cost_nano_usd("openai", policy.openai_model, Usage(), datetime.now(UTC))
    except UnpricedModel as error:
        raise UnpricedModel(
            f"ASSAY_OPENAI_MODEL names {policy.openai_model!r}, and nobody knows what it costs; name a model with a "
            "price, or use provider 'local' for a model on your own hardware (docs/providers.md)"
        ) from error
    base_url = policy.openai_base_url or OPENAI_URL
    return OpenAI(api_key=policy.openai_api_key, model=policy.openai_model, base_url=base_url)


def _local(policy: ProviderPolicy) -> Provider:
    from serving.providers.openai import OpenAI  # noqa: PLC0415 - see above

    return OpenAI(name="local", api_key=SecretStr("local"), model=policy.local_model, base_url=policy.local_base_url)


_FACTORIES: Mapping[str, Callable[[ProviderPolicy], Provider]] = {
    "extractive": _extractive,
    "scripted": _scripted,
    "openai": _openai,
    "local": _local,
}
