"""What the wrappers of a provider have in common: each is a provider around a provider, and adds one behaviour."""

from collections.abc import AsyncGenerator, Callable
from typing import Literal

from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import Provider

Event = Literal["retried", "repaired", "hedged", "saturated"]
"""What a wrapper did beyond passing a request on."""
Count = Callable[[str, Event], None]
"""Told the provider's name and what happened to a request there, for the metrics."""


def uncounted(_name: str, _event: Event) -> None:
    """For wrappers whose doings nobody counts."""


class Wrapper:
    """Passes everything on; a subclass changes what it is for."""

    def __init__(self, inner: Provider) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        """Name in the chain."""
        return self.inner.name

    @property
    def model(self) -> str:
        """The model that is asked for."""
        return self.inner.model

    async def complete(self, request: CompletionRequest) -> Completion:
        """As the provider inside."""
        return await self.inner.complete(request)

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """As the provider inside."""
        return self.inner.stream(request)

    async def ping(self) -> None:
        """As the provider inside."""
        await self.inner.ping()

    async def aclose(self) -> None:
        """As the provider inside."""
        await self.inner.aclose()
