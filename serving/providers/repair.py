"""Asks a model once more when it answered something else than the JSON that it was asked for."""

import asyncio
from dataclasses import replace

from registry.messages import Completion, CompletionRequest, Message
from serving.providers.base import Provider, SchemaFailure
from serving.providers.traffic_budget import TrafficBudget
from serving.providers.wrapper import Count, Wrapper, uncounted

ANSWER_CHARS_MAX = 100_000
"""A longer wrong answer is not sent back: it would cost more than asking another provider."""


def repair_budget() -> TrafficBudget:
    """At most 10 % of the offered requests, and one to begin with: a model that always misses is the wrong model."""
    return TrafficBudget(share=0.1, start=1.0, cap=10.0)


class Repair(Wrapper):
    """Shows the model its wrong answer and says what was wrong, once, while time and budget are left.

    An answer that was cut off at its length, or is empty, is not repaired: the same would come again. Nor is a
    stream: its pieces are with the reader by then.
    """

    def __init__(self, inner: Provider, budget: TrafficBudget, *, count: Count = uncounted) -> None:
        super().__init__(inner)
        self._budget = budget
        self._count = count

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask, and once more after a wrong answer.

        Raises:
            SchemaFailure: the second answer was wrong too, or a second one made no sense or was not allowed.
        """
        self._budget.offer()
        try:
            return await self.inner.complete(request)
        except SchemaFailure as error:
            answer = (error.answer or "").strip()
            late = request.deadline <= asyncio.get_running_loop().time()
            if not answer or len(answer) > ANSWER_CHARS_MAX or late or not self._budget.take():
                raise
            correction = Message(
                role="user",
                content=f"This answer cannot be used: {error.message}. "
                "Answer again, with one JSON document that satisfies the schema and nothing else.",
            )
        self._count(self.name, "repaired")
        wrong = Message(role="assistant", content=answer)
        return await self.inner.complete(replace(request, messages=(*request.messages, wrong, correction)))
