"""Asks the models for one call, whole or piece by piece, and settles the bill however the asking ends."""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from registry.insights import PromptRef
from registry.messages import Attempt, Complete, Completion, CompletionRequest, Delta, Stream
from registry.money.prices import Price, UnpricedModel, cost_nano_usd
from serving.answer_text import answer_text
from serving.call_log import OpenCall
from serving.metrics import Metrics
from serving.providers.base import Garbled
from serving.spending import Spending, spending

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a stream says first: the call is in the log, and a model is about to be asked."""

    id: str
    """Of the insight to be."""
    use_case: str
    prompt: PromptRef


Tell = Callable[[Begun | Delta], Awaitable[None]]
"""Takes what is known of an insight so far: once what has begun, then the answer's text piece by piece.

It may take its time: nothing is read from the model meanwhile, and the call's deadline goes on.
"""


class Asking:
    """The chain of providers with a bill for each call."""

    def __init__(
        self,
        complete: Complete,
        stream: Stream,
        metrics: Metrics,
        price: Price = cost_nano_usd,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._complete = complete
        self._stream = stream
        self._metrics = metrics
        self._price = price
        self._clock = clock

    async def ask(
        self, entry: OpenCall, request: CompletionRequest, tell: Tell | None = None
    ) -> tuple[Completion, Spending]:
        """The models' answer, with what it and the attempts beside it cost.

        Without an answer the bill stands in `entry`, from where it gets into the outcome: also when the deadline or
        the caller ends the call while a second provider works.

        Args:
            entry: of the call.
            request: what the models are asked; its `on_attempt` is ours.
            tell: given the answer's text as it is written; None has the model answer whole.

        Raises:
            ProviderError: no provider answered.
            UnpricedModel: nobody knows what the answer costs.
        """
        attempts: list[Attempt] = []
        request = replace(request, on_attempt=attempts.append)
        try:
            completion = await (self._complete(request) if tell is None else self._streamed(request, tell))
        except BaseException:  # also a cancelled call is paid for; raised on
            try:
                self._settle(entry, attempts)
            except UnpricedModel:
                logger.exception("the attempts of a failed call could not be priced")
            raise
        return completion, self._settle(entry, attempts)

    async def _streamed(self, request: CompletionRequest, tell: Tell) -> Completion:
        completions: list[Completion] = []
        # Both are closed here and now, not when the collector comes by: closing the first ends the vendor's call.
        async with (
            aclosing(self._stream(request)) as events,
            aclosing(answer_text(events, request.output_schema, completions.append)) as pieces,
        ):
            async for piece in pieces:  # guards of the output stand here: text in, text out
                await tell(Delta(text=piece))
        if not completions:
            raise Garbled("the stream of the answer ended without its completion")
        return completions[0]

    def _settle(self, entry: OpenCall, attempts: list[Attempt]) -> Spending:
        spent = spending(attempts, datetime.fromtimestamp(self._clock(), UTC), self._price)
        spent.count(self._metrics)
        entry.spent = spent.audited()
        return spent
