"""Asks the models for one call and settles the bill, however the asking ends."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from registry.messages import Attempt, Complete, Completion, CompletionRequest
from registry.money.prices import Price, UnpricedModel, cost_nano_usd
from serving.call_log import OpenCall
from serving.metrics import Metrics
from serving.spending import Spending, spending

logger = logging.getLogger(__name__)


class Asking:
    """The chain of providers with a bill for each call."""

    def __init__(
        self,
        complete: Complete,
        metrics: Metrics,
        price: Price = cost_nano_usd,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._complete = complete
        self._metrics = metrics
        self._price = price
        self._clock = clock

    async def ask(self, entry: OpenCall, request: CompletionRequest) -> tuple[Completion, Spending]:
        """The models' answer, with what it and the attempts beside it cost.

        Without an answer the bill stands in `entry`, from where it gets into the outcome: also when the deadline or
        the caller ends the call while a second provider works.

        Raises:
            ProviderError: no provider answered.
            UnpricedModel: nobody knows what the answer costs.
        """
        attempts: list[Attempt] = []
        try:
            completion = await self._complete(replace(request, on_attempt=attempts.append))
        except BaseException:  # also a cancelled call is paid for; raised on
            try:
                self._settle(entry, attempts)
            except UnpricedModel:
                logger.exception("the attempts of a failed call could not be priced")
            raise
        return completion, self._settle(entry, attempts)

    def _settle(self, entry: OpenCall, attempts: list[Attempt]) -> Spending:
        spent = spending(attempts, datetime.fromtimestamp(self._clock(), UTC), self._price)
        spent.count(self._metrics)
        entry.spent = spent.audited()
        return spent
