"""Asks providers in order until one answers, all within one deadline.

Only those are asked that the request allows: a prompt version answers with the models that it was proven with.
A provider that throttles, fails, stalls, is left alone for now, cannot hold the prompt, misses the schema, does not
know us or rejects the request hands over to the next one. A request that two vendors rejected is wrong and goes to no
third; content that one vendor refused goes to no other.

* ProvidersUnavailable (ProviderError) - no provider answered
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from registry.errors import JsonValue
from registry.messages import Completion, CompletionRequest, StreamEvent
from serving.providers.base import (
    ContentRefused,
    NotAsked,
    Provider,
    ProviderError,
    Rejected,
    Saturated,
    TimedOut,
    Transient,
)

logger = logging.getLogger(__name__)

WORTH_ANOTHER_PROVIDER = (Transient, NotAsked, Rejected)
REJECTIONS_MAX = 2
"""One vendor may reject what another takes (a parameter, a redirect to somewhere else); two are right."""
EARLIER_SHARE = 0.5
"""Share of the time left that a provider may use while others stand behind it; the last one may use it all."""


class ProvidersUnavailable(ProviderError):
    """No provider answered; `details["tried"]` lists each one with what it said."""


class Fallback:
    """Providers in order of preference, as one.

    An earlier provider may use EARLIER_SHARE of the time left: of a whole answer for all of it, of a streamed one
    until its first piece. From then on the stream has the whole deadline, and its failures are the caller's.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = tuple(providers)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask until one answers.

        Raises:
            ProvidersUnavailable: none did or may, or the time was over.
            Saturated: all have as many requests as they may have from here.
            ContentRefused: a vendor declined the content.
        """
        failures, providers = _Failures(), self._allowed(request)
        for provider in providers:
            try:
                share_end = _share_end(request, is_last=provider is providers[-1])
                return await provider.complete(replace(request, deadline=share_end))
            except ProviderError as error:
                if not failures.hands_over(provider, error):
                    break
        raise failures.summary()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask until one begins to answer, and pass its answer on.

        Raises:
            ProvidersUnavailable: none began or may, or the time was over.
            Saturated: all have as many requests as they may have from here.
            ProviderError: the one that had begun broke off.
        """
        failures, providers = _Failures(), self._allowed(request)
        for provider in providers:
            begun = False
            try:
                share_end = _share_end(request, is_last=provider is providers[-1])
                asked = replace(request, first_delta_deadline=share_end)
                async with aclosing(provider.stream(asked)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except ProviderError as error:
                if begun:
                    raise
                if not failures.hands_over(provider, error):
                    break
            else:
                return
        raise failures.summary()

    def _allowed(self, request: CompletionRequest) -> tuple[Provider, ...]:
        """Those who may answer; the last of them has nobody behind it.

        Raises:
            ProvidersUnavailable: there is none.
        """
        allowed = tuple(each for each in self._providers if request.may_ask(each.name, each.model))
        if not allowed:
            prompt, first = request.prompt, self._providers[0].name
            raise ProvidersUnavailable(
                f"no provider of the chain has evidence for prompt {prompt!r}; run "
                f"`assay evaluate run --prompt {prompt} --provider {first}` and promote it again",
                details={"tried": []},
            )
        return allowed


def _share_end(request: CompletionRequest, *, is_last: bool) -> float:
    """Until when the others wait for this provider."""
    now = asyncio.get_running_loop().time()
    if request.start_deadline <= now:
        raise TimedOut("no time was left to ask it")
    if is_last or math.isinf(request.start_deadline):
        return request.start_deadline
    return now + (request.start_deadline - now) * EARLIER_SHARE


class _Failures:
    """Who was asked for one request, and what each said."""

    def __init__(self) -> None:
        self._all: list[tuple[Provider, ProviderError]] = []

    def hands_over(self, provider: Provider, error: ProviderError) -> bool:
        """Keep the failure; whether the next provider is worth asking.

        Raises:
            ContentRefused: as it is; no other vendor gets to see this content.
        """
        if isinstance(error, ContentRefused):
            raise error
        # What we kept from the vendor ourselves is no news: while a breaker is open it would be a line a request.
        level = logging.DEBUG if isinstance(error, NotAsked) else logging.WARNING
        logger.log(level, "provider %s failed: %s", provider.name, type(error).__name__)
        # Its traceback holds the frame that holds this list: a circle that would keep the prompt in memory for long.
        error.__traceback__ = None
        self._all.append((provider, error))
        return isinstance(error, WORTH_ANOTHER_PROVIDER) and self._rejections() < REJECTIONS_MAX

    def summary(self) -> ProviderError:
        """One error for all of them."""
        errors = [error for _, error in self._all]
        known = [error.retry_after_s for error in errors if error.retry_after_s is not None]
        if all(isinstance(error, Saturated) for error in errors):
            return Saturated("every provider has as many requests as it may have from here", retry_after_s=min(known))
        tried: list[JsonValue] = [
            {
                "provider": provider.name,
                "model": provider.model,
                "error": type(error).__name__,
                "message": error.message,
            }
            for provider, error in self._all
        ]
        details: dict[str, JsonValue] = {"tried": tried, **({"retry_after_s": min(known)} if known else {})}
        names = ", ".join(f"{provider.name} ({error.message})" for provider, error in self._all)
        what = (
            "the request was rejected by all that were asked"
            if self._rejections() == len(errors)
            else "no provider answered"
        )
        return ProvidersUnavailable(f"{what}: {names}", details=details)

    def _rejections(self) -> int:
        """How many vendors said that the request is wrong; a subclass says that the vendor is not the right one."""
        return sum(type(error) is Rejected for _, error in self._all)
