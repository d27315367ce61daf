"""Does a policy find its evidence for a version, current now? Reads and answers; changes nothing.

Kinds of evidence are plug-ins in `KINDS`. A policy that names a kind nobody knows refuses every version.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from registry.prompts.approvals import APPROVAL, DAY_MS, judge_approvals
from registry.prompts.case import Case, evidence_of, reason_of
from registry.prompts.evaluations import contradicted, missed, newest_evaluation, outgrown
from registry.prompts.evidence import ANY_MODEL, Evidence
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promotion_records import ServingModel

NOBODY_SERVES = (
    "no serving process has told which models answer; start `assay serve` (or `assay up`) once, then promote again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found for one requirement."""

    problems: tuple[str, ...]
    """One sentence for each thing that is missing, with what helps."""
    evidence: tuple[Evidence, ...] = ()
    """What it rests on, when nothing is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What Assay knows about one kind of evidence."""

    per_model: bool
    """True: it has to be shown with the very provider and model that will serve."""
    judge: Callable[[Requirement, Case, ServingModel], Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A model of the chain that may not answer with the version."""

    model: ServingModel
    missing: tuple[str, ...]
    """What it lacks, each with the command that makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the policy says about one version and the chain that would serve it."""

    allowed: bool
    """Everything that holds for any model is there, and at least one model has its own evidence."""
    missing: tuple[str, ...]
    """One sentence for each thing that stands in the way; empty when allowed."""
    evidence: tuple[Evidence, ...]
    """What the decision rests on."""
    models: tuple[ServingModel, ...]
    """Those with their evidence: who may answer with the version, in the chain's order."""
    skipped: tuple[Skipped, ...]
    """The others of the chain."""
    policy: str
    """What the policy asks for, e.g. `evaluation + lint`."""


def decide(policy: Policy, models: Sequence[ServingModel], case: Case) -> Decision:
    """Ask the policy about a version, for each model of a chain; changes nothing.

    Args:
        policy: Of the use case.
        models: The chain that serves, in order; an empty one refuses.
        case: The version and what is known about it.
    """
    shared: list[Finding] = []
    own: dict[ServingModel, list[Finding]] = {model: [] for model in models}
    for requirement in policy.requires:
        kind = KINDS.get(requirement.kind)
        if kind is None:
            shared.append(_unknown(requirement))
        elif not kind.per_model:
            shared.append(kind.judge(requirement, case, _ANY))
        else:
            for model, findings in own.items():
                findings.append(kind.judge(requirement, case, model))
    lacking = {model: _problems(findings) for model, findings in own.items()}
    able = tuple(model for model in own if not lacking[model])
    missing = _problems(shared)
    if not able:
        everyone = dict.fromkeys(sentence for problems in lacking.values() for sentence in problems)
        missing = (*missing, *(everyone or (NOBODY_SERVES,)))
    used = {
        found.id: found for each in (*shared, *(f for model in able for f in own[model])) for found in each.evidence
    }
    return Decision(
        allowed=not missing,
        missing=missing,
        evidence=tuple(used.values()),
        models=able,
        skipped=tuple(Skipped(model=model, missing=lacking[model]) for model in own if lacking[model]),
        policy=policy.summary,
    )


def _problems(findings: Sequence[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence for finding in findings for sentence in finding.problems))


def _unknown(requirement: Requirement) -> Finding:
    known = ", ".join(KINDS)
    return Finding(
        problems=(f"the policy asks for evidence of kind {requirement.kind!r}, which is unknown (known: {known})",)
    )


def _lint(requirement: Requirement, case: Case, model: ServingModel) -> Finding:
    about = case.version
    remedy = f"see `assay prompts show {about.name}/{about.version}`, mend the file and push it again"
    found = next(iter(evidence_of(case, requirement.kind, model)), None)
    problems = tuple(_standing(requirement, case, found, what="lint", remedy=remedy, failed=remedy))
    return Finding(problems=problems, evidence=() if problems or found is None else (found,))


def _evaluation(requirement: Requirement, case: Case, model: ServingModel) -> Finding:
    about = case.version
    dataset = f" --dataset {requirement.data}" if requirement.data else ""
    remedy = f"run `assay evaluate run --prompt {about.name}/{about.version} --provider {model.provider}{dataset}`"
    failed = f"improve the prompt and push it again, or leave {model.provider!r} out of ASSAY_PROVIDERS"
    what = f"evaluation with {model.provider} {model.model}"
    found = newest_evaluation(requirement, case, model)
    if found is None:
        return Finding(problems=(f"{missed(requirement, case, model, what)}; {remedy}",))
    problems = [*_standing(requirement, case, found, what=what, remedy=remedy, failed=failed)]
    if not problems:
        problems += (f"{problem}; {remedy}" for problem in outgrown(requirement, case, found, what))
        problems += contradicted(requirement, case, model, what)
    return Finding(problems=tuple(problems), evidence=() if problems else (found,))


def _approval(requirement: Requirement, case: Case, _model: ServingModel) -> Finding:
    problems, counted = judge_approvals(requirement, case.version, case.evidence, case.authors, case.now)
    return Finding(problems=problems, evidence=() if problems else counted)


KINDS: Mapping[str, Kind] = {
    "lint": Kind(per_model=False, judge=_lint),
    "evaluation": Kind(per_model=True, judge=_evaluation),
    APPROVAL: Kind(per_model=False, judge=_approval),
}
_ANY = ServingModel(provider=ANY_MODEL, model=ANY_MODEL)


def _standing(
    requirement: Requirement, case: Case, found: Evidence | None, *, what: str, remedy: str, failed: str
) -> Iterator[str]:
    """What is wrong with the newest evidence: missing, not passed, too old, below a floor."""
    if found is None:
        yield f"no {what} for this content; {remedy}"
        return
    if found.verdict != "PASS":
        advice = failed if found.verdict == "FAIL" else remedy
        yield f"the newest {what} says {found.verdict}{reason_of(found)}; {advice}"
        return  # its reasons name the floors that it misses
    days = requirement.max_age_days
    if days is not None and case.now * 1000 - found.created_ms > days * DAY_MS:
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
