"""How `assay prompts` shows things: tables and colours for people, plain documents for machines."""

import difflib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from flows.cli import console
from flows.cli.prompt_actions import Promoted
from flows.cli.prompt_queries import Shown
from flows.cli.prompt_standing import OVER, Kept
from flows.prompt_places import Place
from registry.prompts.approvals import said_by
from registry.prompts.evaluations import data_of
from registry.prompts.evidence import ANY_MODEL, Evidence
from registry.prompts.lint import LintFinding, lint, sections
from registry.prompts.promotion import PromotionRefused
from registry.prompts.promotion_records import Promotion
from registry.prompts.publishing import PromptSummary, Pushed
from registry.prompts.schema import PromptTemplate, to_yaml
from registry.prompts.versions import PromotedVersion

CONTEXT_LINES = 3
ENDED_SHOWN = 10
"""Newest records that let nothing serve any more; `--json` has more."""


def label(version: PromotedVersion) -> str:
    """`NAME/VERSION`."""
    return f"{version.name}/{version.version}"


def pushed_document(pushed: Pushed) -> dict[str, Any]:
    """A push, for machines."""
    version = pushed.version
    return {
        "name": version.name,
        "version": version.version,
        "content_hash": version.content_hash,
        "created": pushed.created,
        "findings": finding_rows(lint(version.template)),
    }


def finding_rows(findings: Sequence[LintFinding]) -> list[dict[str, Any]]:
    """Findings, for machines."""
    return [asdict(finding) for finding in findings]


def section_rows(template: PromptTemplate) -> list[dict[str, Any]]:
    """Estimated tokens of each message, for machines."""
    return [asdict(section) for section in sections(template)]


def print_sections(template: PromptTemplate) -> None:
    """Estimated tokens of each message, for people."""
    rows = (
        (number, each.role, each.fixed_tokens, each.cacheable_tokens, each.data_tokens_max)
        for number, each in enumerate(sections(template), start=1)
    )
    columns = ("message", "role", "fixed", "of which cacheable", "data at most")
    console.print_table("Tokens, estimated", columns, rows)


def print_findings(findings: Sequence[LintFinding]) -> None:
    """Findings, for people; nothing when there are none."""
    out = Console()
    for finding in findings:
        style = "red" if finding.severity == "error" else "yellow"
        out.print(Text.assemble((f"{finding.severity} {finding.code}: ", style), finding.message), soft_wrap=True)


def summary_document(prompt: PromptSummary, places: Sequence[Place]) -> dict[str, Any]:
    """A prompt of the list, for machines."""
    return {
        "name": prompt.name,
        "newest": prompt.newest,
        "aliases": dict(prompt.aliases),
        "description": prompt.description,
        "updated_at": _time(prompt.updated_ms),
        "places": [place.as_dict() for place in places],
    }


def summary_row(prompt: PromptSummary, places: Sequence[Place]) -> tuple[object, ...]:
    """A prompt of the list, for people: an alias that is not followed says what serves instead."""
    aliases = {alias: Text(f"{alias} → {version}") for alias, version in prompt.aliases.items()}
    for place in places:
        if place.reason is not None:
            points_to = "nothing" if place.points_to is None else place.points_to
            serves = "nothing" if place.serving is None else place.serving
            line = f"{place.policy.alias} → {points_to}, but {serves} serves ({place.reason})"
            aliases[place.policy.alias] = Text(line, "yellow")
    shown = Text("\n").join(aliases[alias] for alias in sorted(aliases))
    return prompt.name, prompt.newest, shown, _time(prompt.updated_ms)[:16], prompt.description


def version_document(version: PromotedVersion, known: Shown) -> dict[str, Any]:
    """One version, for machines."""
    return {
        "name": version.name,
        "version": version.version,
        "alias": version.alias or None,
        "content_hash": version.content_hash,
        "prompt": version.template.model_dump(mode="json"),
        "findings": finding_rows(lint(version.template)),
        "places": [place.as_dict() for place in known.places],
        "evidence": [_evidence_document(each, known.signatures_end_ms.get(each.id)) for each in known.evidence],
        "records": [_kept_document(each) for each in known.records if each.state not in OVER],
        "ended_records": [_kept_document(each) for each in known.records if each.state in OVER],
    }


def print_version(version: PromotedVersion, known: Shown) -> None:
    """One version, for people; where standard output is no terminal a prompt file with the rest as comments."""
    out = Console()
    alias = f" @{version.alias}" if version.alias else ""
    title = Text.assemble((f"{label(version)}{alias}", "bold"), (f"  content {version.content_hash}", "dim"))
    wording = to_yaml(version.template)
    if out.is_terminal:
        out.print(title, soft_wrap=True)
        out.print(Syntax(wording, "yaml", word_wrap=True, background_color="default"))
        _print_standing(version, known, out)
        return
    with console.as_comments():
        out.print(title, soft_wrap=True)
    sys.stdout.write(wording)
    with console.as_comments():
        _print_standing(version, known, out)


def _print_standing(version: PromotedVersion, known: Shown, out: Console) -> None:
    """Findings, where its prompt serves, evidence and records."""
    print_findings(lint(version.template))
    for place in known.places:
        out.print(Text(place.sentence, "yellow" if place.reason else ""), soft_wrap=True)
    rows = (
        (
            each.kind,
            each.verdict,
            _source(each, known.signatures_end_ms.get(each.id)),
            data_of(each) if each.dataset else None,
            _time(each.created_ms)[:16],
            each.run_id,
        )
        for each in known.evidence
    )
    console.print_table("Evidence", ("kind", "verdict", "model or person", "dataset", "when", "MLflow run"), rows)
    ended = [each for each in known.records if each.state in OVER]
    shown = [each for each in known.records if each.state not in OVER or each in ended[:ENDED_SHOWN]]
    if shown:
        columns = ("as", "state", "with", "because of", "since", "until", "by")
        console.print_table("Promotion records", columns, (_record_row(each) for each in shown))
    if len(ended) > ENDED_SHOWN:
        console.note(f"and {len(ended) - ENDED_SHOWN} older records that ended; `--json` has them")


def diff_lines(before: PromotedVersion, after: PromotedVersion) -> list[str]:
    """A unified diff of the two versions as YAML; empty when they are equal."""
    old, new = to_yaml(before.template).splitlines(), to_yaml(after.template).splitlines()
    return list(difflib.unified_diff(old, new, label(before), label(after), n=CONTEXT_LINES, lineterm=""))


def print_diff(lines: Sequence[str]) -> None:
    """A diff in colours."""
    out = Console()
    for line in lines:
        out.print(Text(line, style=_diff_style(line)), soft_wrap=True)
    if not lines:
        typer.echo("no difference")


def promotion_document(promoted: Promoted) -> dict[str, Any]:
    """A promotion, for machines."""
    record, policy = promoted.record, promoted.policy
    return {
        "promoted": True,
        "name": record.prompt_name,
        "version": record.prompt_version,
        "use_case": policy.use_case,
        "policy": policy.summary,
        **record_document(record),
        "skipped": [[each.provider, each.model] for each in promoted.skipped],
        "missing": [],
    }


def print_promotion(promoted: Promoted) -> None:
    """A promotion, for people."""
    record, policy = promoted.record, promoted.policy
    end = "" if record.expires_ms is None else f" until {_time(record.expires_ms)}"
    ground = {
        "evidence": f"by the policy's {policy.summary}",
        "waiver": f"by a waiver, without the policy's {policy.summary}",
        "record": "by the record of its earlier promotion",
    }[record.basis]
    typer.echo(
        f"{record.prompt_name}/{record.prompt_version} is now {record.alias} of use case {policy.use_case}{end}: "
        f"{ground}; record {record.id}"
    )
    for model in promoted.skipped:
        console.warn(
            f"{model.provider} {model.model} does not answer with it, for want of its own evidence; `assay doctor` "
            "says how to make it"
        )


def record_document(record: Promotion) -> dict[str, Any]:
    """A promotion record, for machines."""
    return {
        "record": record.id,
        "alias": record.alias,
        "content_hash": record.content_hash,
        "basis": record.basis,
        "models": [[each.provider, each.model] for each in record.models],
        "evidence": list(record.evidence),
        "promoted_by": record.promoted_by,
        "promoted_at": _time(record.created_ms),
        "expires_at": None if record.expires_ms is None else _time(record.expires_ms),
    }


def print_refusal(name: str, version: int, refused: PromotionRefused, *, as_json: bool) -> None:
    """What is missing and how to get it."""
    missing = refused.details.get("missing")
    sentences = [str(sentence) for sentence in missing] if isinstance(missing, list) else [refused.message]
    policy = str(refused.details.get("policy", ""))
    begun = refused.details.get("under_way")
    under_way = [str(sentence) for sentence in begun] if isinstance(begun, list) else []
    if as_json:
        refusal = {"promoted": False, "name": name, "version": version, "policy": policy, "missing": sentences}
        console.print_json({**refusal, "under_way": under_way})
        return
    console.fail(f"{name}/{version} is not promoted; the policy is {policy}, and it misses:")
    for sentence in sentences:
        console.note(f"  - {sentence}")
    if under_way:
        console.note("so far:")
    for sentence in under_way:
        console.note(f"  - {sentence}")


def _evidence_document(each: Evidence, ends_ms: int | None) -> dict[str, Any]:
    return {
        "id": each.id,
        "kind": each.kind,
        "verdict": each.verdict,
        "provider": each.provider,
        "model": each.model,
        "dataset": each.dataset,
        "run_id": each.run_id,
        "created_at": _time(each.created_ms),
        "details": dict(each.details),
        **({} if ends_ms is None else {"ends_at": _time(ends_ms)}),
    }


def _source(each: Evidence, ends_ms: int | None) -> str:
    """With which model it was shown, or who said it, until when and why."""
    if each.provider != ANY_MODEL:
        return f"{each.provider} {each.model}"
    end = "" if ends_ms is None else f" until {_time(ends_ms)[:16]}{' (over)' if ends_ms <= time.time() * 1000 else ''}"
    return f"{said_by(each)}{end}: {each.details.get('reason')}" if said_by(each) else ""


def _kept_document(kept: Kept) -> dict[str, Any]:
    return {**record_document(kept.record), "state": kept.state, "ended_at": kept.ended_ms and _time(kept.ended_ms)}


def _record_row(kept: Kept) -> tuple[object, ...]:
    record = kept.record
    models = "\n".join(f"{each.provider} {each.model}" for each in record.models)
    end_ms = kept.ended_ms or record.expires_ms
    end = None if end_ms is None else _time(end_ms)[:16]
    return record.alias, kept.state, models, record.basis, _time(record.created_ms)[:16], end, record.promoted_by


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _diff_style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    if line.startswith("@@"):
        return "cyan"
    return {"+": "green", "-": "red"}.get(line[:1], "")
