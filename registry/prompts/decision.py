"""Does a policy find its evidence for a version, current now? Reads and answers; changes nothing.

Kinds of evidence are plug-ins in `KINDS`. A policy that names a kind nobody knows refuses every version.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.prompts.evidence import ANY_MODEL, Evidence
from registry.prompts.policy import Policy, Requirement
from registry.prompts.versions import PromotedVersion

DAY_MS = 86_400_000
REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What Assay knows about one kind of evidence."""

    per_model: bool
    """True: it has to be shown with the very provider and model that will serve."""
    remedy: str
    """How to get it; `{name}`, `{version}`, `{provider}` and `{dataset}` are filled in."""
    failed: str
    """What helps when it was shown and says FAIL; the same are filled in."""


KINDS: Mapping[str, Kind] = {
    "lint": Kind(
        per_model=False,
        remedy="see `assay prompts show {name}/{version}`, mend the file and push it again",
        failed="see `assay prompts show {name}/{version}`, mend the file and push it again",
    ),
    "evaluation": Kind(
        per_model=True,
        remedy="run `assay evaluate run --prompt {name}/{version} --provider {provider}{dataset}`",
        failed="improve the prompt and push it again, or leave {provider!r} out of ASSAY_PROVIDERS",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy says about one version served by one model."""

    allowed: bool
    missing: tuple[str, ...]
    """One sentence for each thing that is missing."""
    evidence: tuple[Evidence, ...]
    """What the decision rests on."""
    policy: str
    """What the policy asks for, e.g. `evaluation + lint`."""


def check(
    policy: Policy, version: PromotedVersion, provider: str, model: str, evidence: Sequence[Evidence], now: float
) -> Decision:
    """Ask the policy about a version and one model; changes nothing.

    Args:
        policy: Of the use case.
        version: The version in question.
        provider: Name in the chain.
        model: As the provider names it.
        evidence: Of the version's content, newest first, as `evidence_for` gives it.
        now: Seconds since the epoch.
    """
    missing: list[str] = []
    used: list[Evidence] = []
    for requirement in policy.requires:
        found = _newest(requirement, version, provider, model, evidence)
        problems = list(_problems(requirement, version, provider, model, found, now))
        missing += problems
        if found is not None and not problems:
            used.append(found)
    return Decision(allowed=not missing, missing=tuple(missing), evidence=tuple(used), policy=policy.summary)


def _newest(
    requirement: Requirement, version: PromotedVersion, provider: str, model: str, evidence: Sequence[Evidence]
) -> Evidence | None:
    kind = KINDS.get(requirement.kind)
    if kind is None:
        return None
    wanted = (provider, model) if kind.per_model else (ANY_MODEL, ANY_MODEL)
    for found in evidence:
        bound = (found.prompt_name, found.content_hash) == (version.name, version.content_hash)
        dataset_fits = requirement.dataset is None or found.dataset == requirement.dataset
        if bound and found.kind == requirement.kind and (found.provider, found.model) == wanted and dataset_fits:
            return found
    return None


def _problems(
    requirement: Requirement,
    version: PromotedVersion,
    provider: str,
    model: str,
    found: Evidence | None,
    now: float,
) -> Iterator[str]:
    kind = KINDS.get(requirement.kind)
    if kind is None:
        known = ", ".join(KINDS)
        yield f"the policy asks for evidence of kind {requirement.kind!r}, which is unknown (known: {known})"
        return
    what = f"{requirement.kind} with {provider} {model}" if kind.per_model else requirement.kind
    dataset = f" --dataset {requirement.dataset}" if requirement.dataset else ""
    names = {"name": version.name, "version": version.version, "provider": provider, "dataset": dataset}
    remedy, failed = kind.remedy.format(**names), kind.failed.format(**names)
    if found is None:
        yield f"no {what} for this content; {remedy}"
        return
    if found.verdict != "PASS":
        yield f"the newest {what} says {found.verdict}{_reason(found)}; {failed if found.verdict == 'FAIL' else remedy}"
        return  # its reasons name the floors that it misses
    days = requirement.max_age_days
    if days is not None and now * 1000 - found.created_ms > days * DAY_MS:
        yield f"the newest {what} is older than {days:g} days; {remedy}"
    for name, floor in sorted(requirement.floors.items()):
        value = _metric(found, name)
        if value is None:
            yield f"the newest {what} did not measure {name!r}, which has a floor; {remedy}"
        elif not value >= floor:
            yield f"{name!r} is {value:.3f} in the newest {what}, below {floor:g}; {failed}"


def _metric(found: Evidence, name: str) -> float | None:
    metrics = found.details.get("metrics")
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _reason(found: Evidence) -> str:
    """Why it does not pass: an evaluation's reasons, a linter's errors."""
    reasons, findings = found.details.get("reasons"), found.details.get("findings")
    if isinstance(reasons, list) and reasons:
        return f" ({'; '.join(map(str, reasons[:REASONS_SHOWN]))})"
    if isinstance(findings, list):
        errors = [each for each in findings if isinstance(each, dict) and each.get("severity") == "error"]
        return f" ({', '.join(dict.fromkeys(str(each.get('code')) for each in errors))})" if errors else ""
    return ""
