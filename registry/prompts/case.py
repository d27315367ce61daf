"""All that a decision about one version looks at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from registry.prompts.approvals import Authors
from registry.prompts.evidence import Evidence
from registry.prompts.promotion_records import ServingModel
from registry.prompts.versions import PromotedVersion

REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """The content that a new one has to be compared with: the one last let through to the same place on evidence."""

    version: int
    content_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a decision about one version looks at."""

    version: PromotedVersion
    evidence: Sequence[Evidence]
    """Of its content; within a kind newest first."""
    now: float
    """Seconds since the epoch."""
    authors: Authors = field(default_factory=Authors)
    production: Production | None = None
    """None: nothing was proven there yet; what only a waiver lets through has shown nothing."""


def evidence_of(case: Case, kind: str, model: ServingModel) -> Iterator[Evidence]:
    """What was shown of one kind about the version's content with one model, newest first."""
    about = case.version
    wanted = (about.name, about.content_hash, kind, model.provider, model.model)
    for found in case.evidence:
        if (found.prompt_name, found.content_hash, found.kind, found.provider, found.model) == wanted:
            yield found


def reason_of(found: Evidence) -> str:
    """Why it does not pass: an evaluation's reasons, a linter's errors."""
    reasons, findings = found.details.get("reasons"), found.details.get("findings")
    if isinstance(reasons, list) and reasons:
        return f" ({'; '.join(map(str, reasons[:REASONS_SHOWN]))})"
    if isinstance(findings, list):
        errors = [each for each in findings if isinstance(each, dict) and each.get("severity") == "error"]
        return f" ({', '.join(dict.fromkeys(str(each.get('code')) for each in errors))})" if errors else ""
    return ""
