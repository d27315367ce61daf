"""Reads the options of `assay experiments`: what people type, into the parts of a design."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from registry.errors import InvalidInput
from registry.prompts.experiment_design import ARMS_MAX, CONTROL, Arm, Design, Guardrail, Metric, Step
from registry.prompts.versions import PromotedVersion

METRICS: tuple[Metric, ...] = get_args(Metric)
WATCHED = (
    Guardrail(metric="accepted"),
    Guardrail(metric="grounded"),
    Guardrail(metric="abstained"),
    Guardrail(metric="blocked"),
    Guardrail(metric="cost", tolerance=0.25),
    Guardrail(metric="latency", tolerance=0.25),
)
"""Guardrails unless told: a better version may cost something, not a quarter more."""

T = TypeVar("T")


def metric(text: str) -> Metric:
    """A metric's name.

    Raises:
        InvalidInput: there is no such metric.
    """
    if text not in METRICS:
        raise InvalidInput(f"there is no metric {text!r}; choose one of {', '.join(METRICS)}")
    return text


def guardrails(texts: Sequence[str] | None, deciding: Metric) -> tuple[Guardrail, ...]:
    """`METRIC` or `METRIC:TOLERANCE` each; without any those of WATCHED that do not decide.

    Raises:
        InvalidInput: an unknown metric, or a tolerance outside 0 to 1.
    """
    if texts is None:
        return tuple(each for each in WATCHED if each.metric != deciding)
    read: list[Guardrail] = []
    for text in texts:
        name, _, tolerance = text.partition(":")
        read.append(
            _made(
                text,
                "METRIC:TOLERANCE",
                lambda n=name, t=tolerance: Guardrail(metric=metric(n), tolerance=_number(t or "0")),
            )
        )
    return tuple(read)


def ramp(texts: Sequence[str] | None) -> tuple[Step, ...]:
    """`HOURS:SHARE` each; without any, everybody from the start.

    Raises:
        InvalidInput: not two numbers, or out of their limits.
    """
    steps: list[Step] = []
    for text in texts or ("0:1",):
        hours, _, share = text.partition(":")
        steps.append(_made(text, "HOURS:SHARE", lambda h=hours, s=share: Step(after_h=_number(h), share=_number(s))))
    return tuple(steps)


def weights(text: str, arms: int) -> tuple[float, ...]:
    """Numbers parted by commas, one an arm; equal ones without a text.

    Raises:
        InvalidInput: other than one number an arm.
    """
    if not text:
        return (1.0,) * arms
    found = _made(text, "numbers parted by commas", lambda: tuple(_number(part) for part in text.split(",")))
    if len(found) != arms:
        raise InvalidInput(f"{text!r} has {len(found)} weights for {arms} arms; the control comes first")
    return found


def design(
    versions: Sequence[PromotedVersion],
    *,
    shares: Sequence[float],
    deciding: Metric,
    guarded: tuple[Guardrail, ...],
    steps: tuple[Step, ...],
    excluded: tuple[str, ...],
    planned: int,
    days: float,
    alpha: float,
) -> Design:
    """The whole design; the control's version first.

    Raises:
        InvalidInput: a number out of its limits, a ramp that shrinks, two arms of one content.
    """
    if not 1 < len(versions) <= ARMS_MAX:
        raise InvalidInput(f"{len(versions)} arms; compare production with 1 to {ARMS_MAX - 1} versions")
    names = [CONTROL, *(f"v{version.version}" for version in versions[1:])]
    told = zip(names, versions, shares, strict=True)
    try:
        return Design(
            arms=tuple(
                Arm(name=name, version=version.version, content_hash=version.content_hash, weight=weight)
                for name, version, weight in told
            ),
            ramp=steps,
            excluded=excluded,
            metric=deciding,
            guardrails=guarded,
            alpha=alpha,
            planned=planned,
            days_max=days,
        )
    except ValueError as error:
        raise InvalidInput(f"{_reason(error)} (see docs/experiments.md)") from error


def _number(text: str) -> float:
    """A number as people write it.

    Raises:
        ValueError: in our words, not in Python's.
    """
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None


def _made(text: str, wanted: str, make: Callable[[], T]) -> T:
    """What `make` reads; its complaint as ours."""
    try:
        return make()
    except ValueError as error:  # of a number and of the records
        raise InvalidInput(f"{text!r} is not {wanted}: {_reason(error)}") from error


def _reason(error: ValueError) -> str:
    from pydantic import ValidationError

    return _first_fault(error.errors(include_url=False)[0]) if isinstance(error, ValidationError) else str(error)


def _first_fault(fault: Mapping[str, Any]) -> str:
    """Which field is wrong and how, e.g. `alpha: should be less than or equal to 0.2`."""
    place = ".".join(str(part) for part in fault["loc"])
    said = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f"{place}: {said}" if place else said
