"""Two people may let a content serve without the evidence, for some hours and no longer."""

from collections.abc import Sequence
from dataclasses import dataclass

from registry.prompts.approvals import WAIVER, newest_words
from registry.prompts.evidence import Evidence
from registry.prompts.policy import Policy

SIGNATURES = 2
"""People who have to sign."""
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A waiver in force."""

    ends_ms: int
    """From then on fewer than two signatures hold."""
    signatures: tuple[Evidence, ...]
    """All that hold, newest first."""


def waiver_in_force(policy: Policy, evidence: Sequence[Evidence], now_ms: int) -> Waiver | None:
    """The waiver for a content, or None.

    It holds while the newest signatures of two different people do: each from when it was given, for the hours it says
    and at most `policy.waiver_hours_max`. So it ends with the second latest of their ends.

    Args:
        policy: of the use case.
        evidence: of the content, newest first.
        now_ms: milliseconds since the epoch.
    """
    signatures = signatures_in_force(policy, evidence, now_ms)
    if len(signatures) < SIGNATURES:
        return None
    ends = sorted((signature_end_ms(policy, each) for each in signatures), reverse=True)
    return Waiver(ends_ms=ends[SIGNATURES - 1], signatures=signatures)


def signatures_in_force(policy: Policy, evidence: Sequence[Evidence], now_ms: int) -> tuple[Evidence, ...]:
    """The newest signature of each person, where it still holds; `evidence` is sorted newest first."""
    return tuple(
        each
        for each in newest_words(WAIVER, evidence)
        if each.verdict == "PASS" and signature_end_ms(policy, each) > now_ms
    )


def signature_end_ms(policy: Policy, signature: Evidence) -> int:
    """From when on a signature holds no longer, in milliseconds since the epoch."""
    hours = signature.details.get("hours")
    if not isinstance(hours, int | float) or isinstance(hours, bool) or not hours > 0:  # an edited row, also of NaN
        return signature.created_ms
    return signature.created_ms + int(min(hours, policy.waiver_hours_max) * HOUR_MS)
