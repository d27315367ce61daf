"""The verdict on a prompt version: floors of the policy always, and no drop against production where there is one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.gates import GateResult, Verdict
from evaluation.statistics import Estimate
from evaluation.summary import DECIDING, UNSCORED_SHARE_MAX, Summary, compare
from registry.datasets import GroundTruthRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """A verdict with its reasons."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """One sentence each; for a PASS, what it rests on."""
    gate: GateResult | None
    """None for a first version, which only has floors to meet."""


def rule(
    rows: Sequence[GroundTruthRow],
    candidate: Summary,
    baseline: Summary | None,
    *,
    floors: Mapping[str, float],
    margin: float,
) -> Ruling:
    """Judge a version by its floors and, paired, against the version in production.

    FAIL when a floor is missed or the gate finds a drop; UNDERPOWERED when too little was answered, too few pairs are
    there, or nothing was stated to hold the version to.

    Args:
        rows: the questions asked.
        candidate: scores of the version in question.
        baseline: scores of the version in production on the same questions; None for a first version.
        floors: metric -> least mean.
        margin: largest tolerable drop of `answer_right` against production.
    """
    gate = compare(rows, baseline, candidate, margin=margin) if baseline else None
    failed = [
        sentence for name, floor in sorted(floors.items()) if (sentence := _below(candidate.metrics, name, floor))
    ]
    unknown: list[str] = []
    for name, summary in (("this version", candidate), ("production", baseline)):
        if summary and summary.unscored_share > UNSCORED_SHARE_MAX:
            unknown.append(f"{len(summary.unscored)} of {len(rows)} questions got no answer from {name}")
    if gate and gate.verdict == "FAIL":
        failed.append(f"{DECIDING} fell by {-gate.difference:.3f} against production (p = {gate.p:.4f}, n = {gate.n})")
    if gate and gate.verdict == "UNDERPOWERED":
        unknown.append(_undecided(gate))
    if not floors and not gate:
        unknown.append("a first version needs floors, and the policy states none under `evaluation`")
    if failed or unknown:
        return Ruling(verdict="FAIL" if failed else "UNDERPOWERED", reasons=(*failed, *unknown), gate=gate)
    held = [
        f"{name} is {candidate.metrics[name].value:.3f}, at least {floor:g}" for name, floor in sorted(floors.items())
    ]
    if gate:
        held.append(f"{DECIDING} moved by {gate.difference:+.3f} against production (mde {gate.mde:.3f}, n = {gate.n})")
    return Ruling(verdict="PASS", reasons=tuple(held), gate=gate)


def _undecided(gate: GateResult) -> str:
    """Why the gate cannot tell."""
    if gate.mde > gate.margin:
        return (
            f"{gate.n} pairs would only show a drop of {gate.mde:.3f} against production; "
            f"to show {gate.margin:g} takes about {gate.n_needed} questions"
        )
    if gate.p <= gate.alpha:
        return (
            f"{DECIDING} fell by {-gate.difference:.3f} against production (p = {gate.p:.4f}), but too few questions "
            f"gained to know what they may make up for; it takes about {gate.n_needed} questions"
        )
    return (
        f"{DECIDING} moved by {gate.difference:+.3f} against production, and {gate.n} pairs are too few to tell if "
        f"it fell by more than {gate.margin:g} (p = {gate.p:.4f}); it takes about {gate.n_needed} questions"
    )


def _below(metrics: Mapping[str, Estimate], name: str, floor: float) -> str | None:
    """What is wrong with a metric, if anything."""
    if name not in metrics:
        return f"{name} has a floor and could not be measured on these questions"
    value = metrics[name].value
    return None if value >= floor else f"{name} is {value:.3f}, below its floor of {floor:g}"
