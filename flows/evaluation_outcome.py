"""The second half of an evaluation: rule, log the MLflow run, store the evidence, tell people.

* MixedModels (Conflict) - more than one model was asked, and evidence holds for one
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from evaluation.gates import GateResult
from evaluation.journal import QuestionRecord
from evaluation.plots import picture
from evaluation.statistics import Estimate
from evaluation.summary import DECIDING, table
from evaluation.verdict import Ruling, rule
from flows.prompt_evaluation import Answered, Prepared
from flows.wiring import EvaluationServices
from registry.datasets import HASH_SHOWN
from registry.errors import Conflict, JsonValue
from registry.prompts.evaluations import DATASET_SHA256, ID, MARGIN, QUESTIONS, TENANT
from registry.prompts.evidence import AGAINST, record_evidence
from registry.prompts.policy import Requirement
from registry.runs import LoggedRun, RunReport, Runs

KIND = "evaluation"
NO_MODEL = "none"
"""Provider of an answer that no model wrote, because there was nothing to answer from."""


class MixedModels(Conflict):
    """More than one model was asked, and evidence holds for one."""

    code = "mixed-models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an evaluation."""

    prepared: Prepared
    candidate: Answered
    baseline: Answered | None
    provider: str
    model: str
    """The model that was asked for, as configured: what a policy asks about before it promotes."""
    answered: tuple[str, ...]
    """The models that answered, as the vendor names them, e.g. with a date."""
    ruling: Ruling
    run: LoggedRun
    evidence: str | None
    """Id of the evidence; None when the split makes none."""


def conclude(
    prepared: Prepared, candidate: Answered, baseline: Answered | None, services: EvaluationServices, runs: Runs
) -> Outcome:
    """Rule, log the MLflow run and store the evidence.

    Raises:
        MixedModels: more than one model was asked.
        RunsUnavailable: MLflow does not take the run; resume to log it later.
    """
    records = [*candidate.records, *(baseline.records if baseline else ())]
    provider, model = _asked(records)
    wanted = [requirement for requirement in prepared.policy.requires if requirement.kind == KIND]
    ruling = rule(
        prepared.rows,
        candidate.summary,
        baseline.summary if baseline else None,
        floors={name: floor for requirement in wanted for name, floor in requirement.floors.items()},
        margin=min((requirement.margin for requirement in wanted), default=Requirement(kind=KIND).margin),
    )
    logged = runs.log(_report(prepared, candidate, baseline, ruling, f"{provider} {model}"))
    outcome = Outcome(
        prepared=prepared,
        candidate=candidate,
        baseline=baseline,
        provider=provider,
        model=model,
        answered=tuple(sorted({each.model for each in records if each.model and each.provider != NO_MODEL})),
        ruling=ruling,
        run=logged,
        evidence=None,
    )
    return replace(outcome, evidence=_store(outcome, services)) if prepared.order.split == "test" else outcome


def _asked(records: Sequence[QuestionRecord]) -> tuple[str, str]:
    """Provider and asked model of all answers that a model wrote."""
    models = sorted(
        {
            (each.provider, each.asked_model or each.model or "")
            for each in records
            if each.provider is not None and each.provider != NO_MODEL
        }
    )
    if len(models) > 1:
        names = ", ".join(" ".join(model) for model in models)
        raise MixedModels(f"{names} answered, and evidence holds for one model; evaluate anew, without --resume")
    return models[0] if models else (NO_MODEL, NO_MODEL)


def _store(outcome: Outcome, services: EvaluationServices) -> str:
    """Make the outcome evidence, and give its id."""
    prepared, version = outcome.prepared, outcome.candidate.version
    return record_evidence(
        services.services.database,
        kind=KIND,
        prompt_name=version.name,
        prompt_version=version.version,
        content_hash=version.content_hash,
        provider=outcome.provider,
        model=outcome.model,
        verdict=outcome.ruling.verdict,
        details={
            "metrics": {name: estimate.value for name, estimate in outcome.candidate.summary.metrics.items()},
            "intervals": {
                name: [each.low, each.high, each.n] for name, each in outcome.candidate.summary.metrics.items()
            },
            "reasons": list(outcome.ruling.reasons),
            ID: prepared.id,
            "answered_by": list(outcome.answered),
            DATASET_SHA256: prepared.dataset.info.sha256,
            QUESTIONS: len(prepared.rows) - len(outcome.candidate.summary.unscored),
            TENANT: prepared.tenant,
            **_comparison(outcome.ruling.gate),
            "against": prepared.baseline.version if prepared.baseline else None,
            AGAINST: prepared.baseline.content_hash if prepared.baseline else None,
        },
        run_id=outcome.run.id,
        dataset=prepared.dataset.info.name,
    ).id


def _comparison(gate: GateResult | None) -> dict[str, JsonValue]:
    """How sharp the comparison was; nothing where there was none, and null for what is no number."""
    if gate is None:
        return {}
    measured = {MARGIN: gate.margin, "mde": gate.mde, "difference": gate.difference}
    return {"n": gate.n, **{name: value if isfinite(value) else None for name, value in measured.items()}}


def _report(
    prepared: Prepared, candidate: Answered, baseline: Answered | None, ruling: Ruling, model: str
) -> RunReport:
    version, info = candidate.version, prepared.dataset.info
    title = f"{version.name}/{version.version} with {model} on {info.name} ({prepared.order.split or 'all'})"
    metrics = {name: estimate.value for name, estimate in candidate.summary.metrics.items()}
    for bound in ("low", "high"):
        metrics |= {f"{name}_{bound}": getattr(each, bound) for name, each in candidate.summary.metrics.items()}
    if baseline:
        metrics |= {f"production_{name}": each.value for name, each in baseline.summary.metrics.items()}
    if ruling.gate:
        metrics |= {f"gate_{name}": getattr(ruling.gate, name) for name in ("difference", "mde", "p")}
    metrics |= {
        "questions": float(len(prepared.rows)),
        "unscored": float(len(candidate.summary.unscored)),
        "unresolved_quotes": float(sum(map(len, prepared.judgements.unresolved.values()))),
        "cost_usd": sum(float(record.cost_usd) for record in candidate.records),
        "seconds_mean": sum(record.seconds for record in candidate.records) / len(candidate.records),
    }
    template = version.template.model.model_dump(mode="json", exclude_none=True)
    parameters: dict[str, str] = {
        "prompt": f"{version.name}/{version.version}",
        "content_hash": version.content_hash,
        "model": model,
        "dataset": f"{info.name}@{info.sha256[:HASH_SHOWN]}",
        "split": prepared.order.split or "all",
        "tenants": ", ".join(tenant for tenant, _ in prepared.groups),
        "against": f"{baseline.version.name}/{baseline.version.version}" if baseline else "floors",
        "evaluation": prepared.id,
        **{f"model.{name}": str(value) for name, value in template.items()},
    }
    return RunReport(
        name=title,
        prompt=(version.name, version.version),
        parameters=parameters,
        metrics=metrics,
        dataset=(info.name, info.sha256),
        tags={"assay.verdict": ruling.verdict, "assay.evaluation": prepared.id},
        tables={
            "questions.json": table(
                prepared.rows, candidate.records, candidate.summary, baseline.summary if baseline else None
            )
        },
        files={"metrics.png": picture(title, candidate.summary, baseline.summary if baseline else None)},
        description=f"**{ruling.verdict}**\n\n" + "\n".join(f"* {reason}" for reason in ruling.reasons),
    )


def metric_rows(outcome: Outcome) -> list[dict[str, JsonValue]]:
    """One line a metric, for tables and machines."""
    production: Mapping[str, Estimate] = outcome.baseline.summary.metrics if outcome.baseline else {}
    rows: list[dict[str, JsonValue]] = []
    for name, estimate in outcome.candidate.summary.metrics.items():
        row: dict[str, JsonValue] = {
            "metric": name,
            "value": round(estimate.value, 4),
            "low": round(estimate.low, 4),
            "high": round(estimate.high, 4),
            "n": estimate.n,
        }
        if name in production:
            row["production"] = round(production[name].value, 4)
        rows.append(row)
    return rows


def document(outcome: Outcome) -> dict[str, JsonValue]:
    """The outcome for machines."""
    prepared, version, gate = outcome.prepared, outcome.candidate.version, outcome.ruling.gate
    decided: dict[str, JsonValue] | None = None
    if gate is not None:
        decided = {
            "metric": DECIDING,
            "verdict": gate.verdict,
            "difference": gate.difference,
            "ci": list(gate.ci),
            "mde": gate.mde,
            "n": gate.n,
            "n_needed": gate.n_needed,
            "p": gate.p,
            "alpha": gate.alpha,
            "margin": gate.margin,
        }
    return {
        "evaluation": prepared.id,
        "prompt": {"name": version.name, "version": version.version, "content_hash": version.content_hash},
        "against": outcome.baseline.version.version if outcome.baseline else None,
        "provider": outcome.provider,
        "model": outcome.model,
        "answered_by": list(outcome.answered),
        "dataset": {"name": prepared.dataset.info.name, "sha256": prepared.dataset.info.sha256},
        "split": prepared.order.split,
        "tenant": prepared.tenant,
        "verdict": outcome.ruling.verdict,
        "reasons": list(outcome.ruling.reasons),
        "metrics": [*metric_rows(outcome)],
        "gate": decided,
        "questions": len(prepared.rows),
        "unscored": list(outcome.candidate.summary.unscored),
        "unresolved": {key: list(documents) for key, documents in prepared.judgements.unresolved.items()},
        "evidence": outcome.evidence,
        "run": {"id": outcome.run.id, "url": outcome.run.url},
    }


def markdown(outcome: Outcome) -> str:
    """The outcome for people, as Prefect shows it."""
    version, info = outcome.candidate.version, outcome.prepared.dataset.info
    basis = (
        f"Dataset {info.name}@{info.sha256[:HASH_SHOWN]}, split {outcome.prepared.order.split or 'all'}, "
        f"{len(outcome.prepared.rows)} questions. [MLflow run]({outcome.run.url})."
    )
    lines = [
        f"## {outcome.ruling.verdict}: {version.name}/{version.version} with {outcome.provider} {outcome.model}",
        "",
        *(f"* {reason}" for reason in outcome.ruling.reasons),
        "",
        basis,
        "",
        "| metric | mean | 95 % interval | n | production |",
        "|---|---|---|---|---|",
    ]
    for row in metric_rows(outcome):
        cells = (row["metric"], row["value"], f"{row['low']} to {row['high']}", row["n"], row.get("production", ""))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    if not outcome.evidence:
        lines += ["", "No evidence was stored: only a run on split `test` makes some."]
    elif outcome.prepared.tenant is not None:
        lines += ["", f"No policy counts it: only the rows of tenant {outcome.prepared.tenant!r} were asked."]
    return "\n".join(lines)
