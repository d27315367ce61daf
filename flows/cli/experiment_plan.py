"""How long an experiment takes, and what it can find: `assay experiments plan`."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation import comparison
from flows.cli.prompt_actions import policies_about
from flows.cli.recorded import open_registry
from flows.experiment_analysis import DAY_MS
from registry.errors import InvalidInput, JsonValue
from registry.prompts.experiment_design import Metric
from registry.prompts.experiment_outcomes import MEASURES, Experience, experience

DAYS_LOOKED_BACK = 28
UNITS_MAX = 1_000_000
"""Of an arm, as in `Design.planned`."""
EFFECT_MIN = 1e-6
"""In spreads; anything smaller is out of reach, and of what floating-point numbers can divide by."""
PLANNED_WITHIN = {"--days": (0.01, 36_500.0), "--share": (1e-6, 1.0), "--units-per-day": (0.001, 1e12)}
"""Anything else is a mistake in the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an experiment shall find."""

    metric: Metric
    effect: float
    """Points of a share; for a relative metric a part of the mean."""
    days: float
    arms: int
    share: float
    units_per_day: float | None
    mean: float | None


def plan_for(name: str, wish: Wish) -> dict[str, JsonValue]:
    """How long it takes and what can be found.

    Raises:
        UseCaseNotFound: no policy names the prompt, so nobody could start it.
        InvalidInput: a number out of its range, nothing is known of the metric, or no experiment is that long.
    """
    policies_about(name)
    is_share = not MEASURES[wish.metric].relative
    _require_difference(wish.effect, is_share=is_share)
    now_ms = int(time.time() * 1000)
    with open_registry() as database:
        known = experience(database, name, wish.metric, now_ms - DAYS_LOOKED_BACK * DAY_MS, now_ms)
    mean, spread, per_day = _expected(name, wish, known)
    _require_sensible({"--days": wish.days, "--share": wish.share, "--units-per-day": per_day})
    effect = wish.effect * abs(mean) if MEASURES[wish.metric].relative else wish.effect
    if is_share and mean + effect > 1:
        raise InvalidInput(
            f"{wish.metric} is {mean:.4g} now, and {effect:g} more is over 1; look for a smaller --effect (0.05 means "
            "five points)"
        )
    part = wish.share / wish.arms
    if 0 < effect < spread * EFFECT_MIN:
        raise InvalidInput(f"a difference of {effect:.3g} is too small to be found; look for a larger --effect")
    found = comparison.plan(
        spread=spread,
        effect=effect,
        units_per_day=per_day,
        days=wish.days,
        weights=(part, part),
        alpha=0.05 / (wish.arms - 1),
    )
    _require_within_reach(found, effect)
    return {
        "prompt": name,
        "metric": wish.metric,
        "mean": mean,
        "spread": spread,
        "units_per_day": per_day,
        "effect": effect,
        "arms": wish.arms,
        "share": wish.share,
        "units_planned": found.planned[0],
        "days": found.days,
        "days_given": wish.days,
        "mde": found.mde,
        "power": 0.8,
        "alpha": 0.05,
    }


def plan_sentence(made: dict[str, Any]) -> str:
    """A plan, for people."""
    days = math.ceil(made["days"])
    return (
        f"{made['prompt']}: {made['metric']} is {made['mean']:.4g} (spread {made['spread']:.3g}) with "
        f"{made['units_per_day']:.0f} units a day. A difference of {made['effect']:.3g} is found in four of five "
        f"experiments after {made['units_planned']:,} units an arm, {days} {'day' if days == 1 else 'days'}; "
        f"{made['days_given']:g} days find {made['mde']:.3g}. Start with --planned {made['units_planned']}"
    )


def _expected(name: str, wish: Wish, known: Experience | None) -> tuple[float, float, float]:
    """Mean, spread and units a day: as told, else as of late."""
    measure = MEASURES[wish.metric]
    told = measure.binary and wish.mean is not None
    if (wish.units_per_day is None and known is None) or (not told and known is None):
        raise InvalidInput(
            f"nobody rated or asked {name!r} often enough in the last {DAYS_LOOKED_BACK} days to know {wish.metric}; "
            "say --units-per-day, and --mean of a share"
        )
    per_day = wish.units_per_day or (known.units_per_day if known else 0.0)
    if told and wish.mean is not None:
        if not 0 < wish.mean < 1:
            raise InvalidInput(f"the mean of {wish.metric} is a share between 0 and 1, not {wish.mean:g}")
        return wish.mean, math.sqrt(wish.mean * (1 - wish.mean)), per_day
    mean, spread = (known.mean, known.spread) if known else (0.0, 0.0)
    return mean if wish.mean is None else wish.mean, spread, per_day


def _require_difference(effect: float, *, is_share: bool) -> None:
    if not 0 < effect < math.inf:
        raise InvalidInput(f"--effect is a number above 0, such as 0.05, not {effect:g}")
    if is_share and effect >= 1:
        raise InvalidInput(f"--effect {effect:g} is no difference of shares: 0.05 means five points")


def _require_sensible(numbers: Mapping[str, float]) -> None:
    for option, value in numbers.items():
        low, high = PLANNED_WITHIN[option]
        if not low <= value <= high:
            raise InvalidInput(f"{option} is at least {low:g} and at most {high:g}, not {value:g}")


def _require_within_reach(found: comparison.Plan, effect: float) -> None:
    """Refuse a plan that no experiment could follow."""
    if found.planned[0] > UNITS_MAX:
        raise InvalidInput(
            f"a difference of {effect:.3g} takes {found.planned[0]:,} units an arm, and an experiment plans with "
            f"{UNITS_MAX:,} at most; look for a larger --effect"
        )
    if found.days > PLANNED_WITHIN["--days"][1]:
        raise InvalidInput(f"that takes {found.days:.3g} days; let more units take part, or look for a larger --effect")
