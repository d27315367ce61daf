"""Puts each provider into its wrappers, and asks them in order, until one answers.

Fallback(Hedge(Repair(Retry(Limit(Breaker(Metered(vendor)))))), ...): every wrapper is a file of its own.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import Provider
from serving.providers.board import Board
from serving.providers.breaker import Breaker
from serving.providers.fallback import Fallback
from serving.providers.hedge import Hedge, hedge_budget
from serving.providers.limit import CONCURRENT_MAX, Limit
from serving.providers.metering import Metered, Observer
from serving.providers.repair import Repair, repair_budget
from serving.providers.retry import Retry, retry_budget
from serving.providers.slot import Slot
from serving.providers.wrapper import Count, uncounted

CHAIN_MAX = 8


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
        assert 0 < len(vendors) <= CHAIN_MAX  # noqa: S101 - build_vendors checks; only a bug gets here
        self.vendors = tuple(vendors)
        """The providers without their wrappers, in order."""
        self._board = board or Board.private()
        links: list[Link] = []
        for vendor in vendors:
            slot = self._board.slot(vendor.name, vendor.model)
            breaker = Breaker(Metered(vendor, (slot.observe, *observers)), slot)
            limit = Limit(
                breaker,
                concurrent_max=concurrent_max,
                waiting_max=concurrent_max,
                refusal=breaker.refusal,
                count=count,
            )
            provider: Provider = Retry(limit, retry_budget(), count=count)
            provider = Repair(provider, repair_budget(), count=count)
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
