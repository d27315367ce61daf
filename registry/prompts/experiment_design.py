"""What an experiment compares: its arms, who takes part, what decides and what must not be harmed."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from registry.insights import Name, Record

ARMS_MAX = 4
CONTROL = "control"
"""Name of the first arm: the version in production."""

Metric = Literal["accepted", "rating", "grounded", "abstained", "blocked", "cost", "latency"]
"""What is compared, one value a unit; see registry/prompts/experiment_outcomes.py."""


class Arm(Record):
    """One of the versions that are compared."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """`control`, or `v` and the version."""
    version: Annotated[int, Field(ge=1)]
    content_hash: str
    weight: Annotated[float, Field(gt=0, le=1_000)] = 1
    """Share of the units, in proportion to the other arms'."""


class Step(Record):
    """From when on which share of the units takes part."""

    after_h: Annotated[float, Field(ge=0, le=24 * 90)] = 0
    """Hours since the start."""
    share: Annotated[float, Field(gt=0, le=1)] = 1


class Guardrail(Record):
    """A metric that no arm may harm."""

    metric: Metric
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0
    """How much worse is still no harm: points of a share, or a part of the control's mean (cost, latency, rating)."""


class Design(Record):
    """How an experiment is run; it is never changed once it runs."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=2, max_length=ARMS_MAX)]
    """The control first."""
    ramp: Annotated[tuple[Step, ...], Field(min_length=1, max_length=10)] = (Step(),)
    excluded: Annotated[tuple[Name, ...], Field(max_length=1_000)] = ()
    """Tenants that take no part."""
    metric: Metric = "accepted"
    """What decides."""
    guardrails: Annotated[tuple[Guardrail, ...], Field(max_length=7)] = ()
    alpha: Annotated[float, Field(ge=0.001, le=0.2)] = 0.05
    """Probability of naming a better or worse arm where there is none, however often one looks."""
    planned: Annotated[int, Field(ge=100, le=1_000_000)] = 1_000
    """Units of the smallest arm at the one look that is fixed beforehand, see `evaluation.comparison`."""
    days_max: Annotated[float, Field(gt=0, le=90)] = 28
    """After this it ends without a winner."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        hours, shares = [step.after_h for step in self.ramp], [step.share for step in self.ramp]
        if hours[0] != 0 or hours != sorted(set(hours)) or shares != sorted(shares):
            raise ValueError("a ramp starts at hour 0, its hours grow, and its shares never shrink")
        if len({arm.content_hash for arm in self.arms}) < len(self.arms):
            raise ValueError("two arms have the same content; there is nothing to compare")
        if len({arm.name for arm in self.arms}) < len(self.arms):
            raise ValueError("two arms have the same name")
        watched = [guardrail.metric for guardrail in self.guardrails]
        if len(set(watched)) < len(watched) or self.metric in watched:
            raise ValueError("a metric stands twice; the one that decides is watched for harm anyway")
        return self

    def planned_units(self, arm: Arm) -> int:
        """Units of an arm at the planned look: in proportion to its weight."""
        return math.ceil(self.planned * arm.weight / min(each.weight for each in self.arms))

    def share_at(self, hours: float) -> float:
        """Share of the units that takes part so many hours after the start."""
        return next((step.share for step in reversed(self.ramp) if step.after_h <= hours), 0.0)
