"""What a design of an experiment refuses, and how it shares units out over time."""

from typing import Any

import pytest
from fakes.experiment_stage import design_of
from fakes.fake_serving import prompt_version
from pydantic import ValidationError

ONE, TWO = prompt_version(1), prompt_version(2, "Answer briefly.")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ramp": ({"after_h": 1, "share": 1},)}, "starts at hour 0"),
        ({"ramp": ({"after_h": 0, "share": 0.5}, {"after_h": 2, "share": 0.1})}, "never shrink"),
        ({"guardrails": ({"metric": "accepted"},)}, "stands twice"),
        ({"guardrails": ({"metric": "cost"}, {"metric": "cost"})}, "stands twice"),
        ({"alpha": 0.5}, "less than or equal"),
        ({"planned": 10}, "greater than or equal"),
        ({"weights": (1, 0)}, "greater than 0"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(change: dict[str, Any], reason: str) -> None:
    """Ramps shrink nobody out, weights are positive, a metric stands once."""
    with pytest.raises(ValidationError, match=reason):
        design_of(ONE, TWO, **change)


def test_two_arms_of_one_content_are_refused() -> None:
    """There would be nothing to compare."""
    with pytest.raises(ValidationError, match="same content"):
        design_of(ONE, ONE)


def test_a_ramp_opens_step_by_step() -> None:
    """The share is that of the last step begun."""
    design = design_of(ONE, TWO, ramp=({"share": 0.1}, {"after_h": 2, "share": 0.5}, {"after_h": 24, "share": 1}))
    assert [design.share_at(hours) for hours in (0, 1.9, 2, 23, 24, 500)] == [0.1, 0.1, 0.5, 0.5, 1, 1]


def test_the_planned_look_is_in_proportion() -> None:
    """The smallest arm has the units planned, the others more by their weights."""
    design = design_of(ONE, TWO, weights=(3, 1), planned=500)
    assert [design.planned_units(arm) for arm in design.arms] == [1500, 500]
