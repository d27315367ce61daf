"""Builds the configured providers, each in its wrappers, and asks them in order, until one answers.

Fallback(Hedge(Repair(Retry(Breaker(Limit(Metered(vendor)))))), ...): every wrapper is a file of its own.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from registry.errors import InvalidInput
from registry.messages import Completion, CompletionRequest, StreamEvent, Usage
from registry.money.prices import UnpricedModel, cost_nano_usd
from serving.providers.base import Provider
from serving.providers.board import Board
from serving.providers.breaker import Breaker
from serving.providers.fallback import Fallback, ProvidersUnavailable
from serving.providers.hedge import Hedge, hedge_budget
from serving.providers.limit import CONCURRENT_MAX, Limit
from serving.providers.metering import Metered, Observer
from serving.providers.repair import Repair
from serving.providers.retry import Retry, retry_budget
from serving.providers.slot import Slot
from serving.providers.wrapper import Count, uncounted

__all__ = ["Chain", "Link", "ProviderPolicy", "ProvidersUnavailable", "build_providers"]

CHAIN_MAX = 8


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
    hedge: bool = False
    """Ask a second time when an answer is late."""
    concurrent_max: int = CONCURRENT_MAX
    """Requests that one process has at one provider at once; as many again may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One provider of a chain, for who watches it."""

    vendor: Provider
    """The provider without its wrappers."""
    provider: Provider
    """The provider in its wrappers."""
    slot: Slot
    """What the node knows about it."""
    limit: Limit
    """How many requests are there and wait."""

    @property
    def name(self) -> str:
        """Name in the chain."""
        return self.vendor.name

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return self.vendor.model


class Chain:
    """Providers in order of preference, as one provider.

    Args:
        vendors: 1 to 8, each makes one attempt a call.
        board: what the node knows about providers; None keeps a board for this chain alone.
        observers: told of every attempt, besides the request's `on_attempt`.
        count: told what the wrappers do.
        hedge: whether a late answer is asked for a second time.
        concurrent_max: requests at one provider at once.
    """

    name = "chain"

    def __init__(
        self,
        vendors: Sequence[Provider],
        *,
        board: Board | None = None,
        observers: Sequence[Observer] = (),
        count: Count = uncounted,
        hedge: bool = False,
        concurrent_max: int = CONCURRENT_MAX,
    ) -> None:
        assert 0 < len(vendors) <= CHAIN_MAX  # noqa: S101 - build_providers checks; only a bug gets here
        self.vendors = tuple(vendors)
        """The providers without their wrappers, in order."""
        self._board = board or Board.private()
        links: list[Link] = []
        for vendor in vendors:
            slot = self._board.slot(vendor.name, vendor.model)
            metered = Metered(vendor, (slot.observe, *observers))
            limit = Limit(metered, concurrent_max=concurrent_max, waiting_max=concurrent_max, count=count)
            provider: Provider = Retry(Breaker(limit, slot), retry_budget(), count=count)
            provider = Repair(provider, count=count)
            if hedge:
                provider = Hedge(provider, slot.hedge_after_s, hedge_budget(), count=count)
            links.append(Link(vendor=vendor, provider=provider, slot=slot, limit=limit))
        self.links = tuple(links)
        """One a provider, in order."""
        self._fallback = Fallback([link.provider for link in links])

    @property
    def model(self) -> str:
        """The model of the preferred provider."""
        return self.vendors[0].model

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer before `request.deadline`.

        Raises:
            ProvidersUnavailable: no provider answered, or the time was over.
            Saturated: all have as many requests as they may have from here.
            ContentRefused: a vendor declined the content.
        """
        return await self._fallback.complete(request)

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As `complete`, piece by piece; close the generator when you stop reading.

        Raises:
            ProviderError: as `complete` until the first piece; later as the provider broke off.
        """
        return self._fallback.stream(request)

    async def aclose(self) -> None:
        """Close every provider, also when one of them fails to."""
        async with AsyncExitStack() as closing:
            for vendor in self.vendors:
                closing.push_async_callback(vendor.aclose)


def build_providers(
    names: Sequence[str],
    policy: ProviderPolicy,
    board: Board | None = None,
    observers: Sequence[Observer] = (),
    count: Count = uncounted,
) -> Chain:
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
    return Chain(
        [_FACTORIES[name](policy) for name in cleaned],
        board=board,
        observers=observers,
        count=count,
        hedge=policy.hedge,
        concurrent_max=policy.concurrent_max,
    )


# Imports stand inside the factories: an SDK costs a second of start and tens of megabytes.
def _extractive(_: ProviderPolicy) -> Provider:
    from serving.providers.extractive import Extractive  # noqa: PLC0415 - see above

    return Extractive()


def _scripted(policy: ProviderPolicy) -> Provider:
    from serving.providers.scripted import Scripted, load_script  # noqa: PLC0415 - see above

    if policy.script is None:
        raise InvalidInput("ASSAY_PROVIDERS names 'scripted'; set ASSAY_SCRIPT to the path of its YAML script")
    return Scripted(load_script(policy.script))


def _anthropic(policy: ProviderPolicy) -> Provider:
    from serving.providers.anthropic import Anthropic  # noqa: PLC0415 - see above

    if policy.anthropic_api_key is None or not policy.anthropic_api_key.get_secret_value():
        raise InvalidInput("ASSAY_PROVIDERS names 'anthropic'; set ANTHROPIC_API_KEY")
    model = _priced("anthropic", policy.anthropic_model)
    return Anthropic(api_key=policy.anthropic_api_key, model=model, base_url=policy.anthropic_base_url)


def _openai(policy: ProviderPolicy) -> Provider:
    from serving.providers.openai import OPENAI_URL, OpenAI  # noqa: PLC0415 - see above

    if policy.openai_api_key is None or not policy.openai_api_key.get_secret_value():
        raise InvalidInput("ASSAY_PROVIDERS names 'openai'; set OPENAI_API_KEY (any word, if the server wants none)")
    model = _priced("openai", policy.openai_model)
    base_url = policy.openai_base_url or OPENAI_URL
    return OpenAI(api_key=policy.openai_api_key, model=model, base_url=base_url)


def _local(policy: ProviderPolicy) -> Provider:
    from serving.providers.openai import OpenAI  # noqa: PLC0415 - see above

    return OpenAI(name="local", api_key=SecretStr("local"), model=policy.local_model, base_url=policy.local_base_url)


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
