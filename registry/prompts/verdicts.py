"""What came of a version's evaluations, written where its author looks: on the version's page in MLflow.

A paragraph in the description, between `[assay]` and `[/assay]`, and tags beginning with `assay.`. Both are for people:
no decision reads them, and who changes them by hand changes nothing else.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from registry.database import Database
from registry.prompts.case import Case
from registry.prompts.decision import Decision, decide
from registry.prompts.evaluations import EVALUATION, compared, data_of, newest_evaluation, outgrown
from registry.prompts.evidence import Evidence
from registry.prompts.mlflow_rest import Json, MlflowRest
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promotion import case_of, record_lint
from registry.prompts.promotion_records import ServingModel, told_serving_models
from registry.prompts.standing import Standing, aliased_version, standing_of, told
from registry.prompts.versions import PromotedVersion, PromptSource
from registry.prompts.waivers import SIGNATURES, signatures_in_force, waiver_in_force

VERDICT_TAG = "assay.verdict"
"""PASS, FAIL, UNDERPOWERED or NONE over the chain; `assay.verdict.PROVIDER` for each model."""
PROMOTABLE_TAG = "assay.promotable"
RUN_TAG = "assay.run"
"""Page of the newest run; `assay.run.PROVIDER` for each model."""
OURS = (VERDICT_TAG, PROMOTABLE_TAG, RUN_TAG)
NONE = "NONE"
BEGIN, END = "[assay]", "[/assay]"
DESCRIPTION_CHARS_MAX = 5_000
"""MLflow's own limit."""
BLOCK_CHARS_MIN = 200
"""Where people's words leave less room than this, only the tags tell."""
SENTENCES_MAX = 8
"""Missing things shown; who tries to promote it is told all."""
DAY_MS = 86_400_000
_WHEN = re.compile(r"(\[assay\]\n[^\n]*?), \d{4}-\d\d-\d\d \d\d:\d\d UTC\.")
_BLOCK = re.compile(r"\s*\[assay\](?:(?!\[assay\]).)*?\[/assay\]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the page of a version is to show."""

    name: str
    version: int
    word: str
    """PASS, FAIL, UNDERPOWERED, NONE, or `PASS (1 of 2 models)`."""
    lines: tuple[str, ...]
    """Sentences for people."""
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An evaluation that nobody has done, or that no longer tells."""

    model: ServingModel
    dataset: str | None
    """As the policy names it, NAME or NAME@HASH; None: any."""


def waiting(policy: Policy, models: Sequence[ServingModel], case: Case) -> tuple[Waiting, ...]:
    """The evaluations that a policy asks for and that have not come to PASS or FAIL, in the chain's order.

    One that is older than the policy allows, or compared with another version than the one last proven, has to be done
    again; so has a PASS on fewer questions or at a larger margin than the policy asks for now, and one that was
    UNDERPOWERED, because data sets grow.
    """
    wanted = [requirement for requirement in policy.requires if requirement.kind == EVALUATION]
    datasets = dict.fromkeys(requirement.data for requirement in wanted)
    return tuple(
        Waiting(model=model, dataset=dataset)
        for model in models
        for dataset in datasets
        if not all(_ruled(each, model, case) for each in wanted if each.data == dataset)
    )


def verdict_of(
    policy: Policy,
    models: Sequence[ServingModel],
    case: Case,
    mlflow_url: str,
    problems: Sequence[str] = (),
    standing: Standing | None = None,
) -> Verdict:
    """Put into words how a version stands.

    Args:
        policy: Of the use case.
        models: The chain that serves, in order; empty when nobody has told.
        case: The version and what is known about it.
        mlflow_url: Base URL of MLflow for people.
        problems: Why an evaluation could not be done, a sentence each.
        standing: Of the version's content; None: no record lets it serve.
    """
    decision = decide(policy, models, case)
    promotable, outlook = _outlook(policy, models, case, decision)
    if standing is not None:
        who = _providers(standing.record.models)
        promotable, outlook = f"{'serves' if standing.serves else 'yes'}, with {who}", (told(standing),)
    found = {model: _newest(case, model) for model in (*models, *_others(models, case))}
    chain = [evidence.verdict if evidence else NONE for model, evidence in found.items() if model in models]
    newest = max(filter(None, found.values()), key=lambda each: each.created_ms, default=None)
    word = _word(chain)
    tags = {VERDICT_TAG: word, PROMOTABLE_TAG: promotable}
    if newest is not None and newest.run_id is not None:
        tags[RUN_TAG] = _page(mlflow_url, newest.run_id)
    for model, evidence in found.items():
        if evidence is not None:
            tags[f"{VERDICT_TAG}.{model.provider}"] = f"{evidence.verdict} with {model.model} on {data_of(evidence)}"
            if evidence.run_id is not None:
                tags[f"{RUN_TAG}.{model.provider}"] = _page(mlflow_url, evidence.run_id)
    when = datetime.fromtimestamp(case.now, UTC)
    return Verdict(
        name=case.version.name,
        version=case.version.version,
        word=word,
        tags=tags,
        lines=(
            f"{word}, {when:%Y-%m-%d %H:%M} UTC.",
            *(_line(model, evidence, known=model in models) for model, evidence in found.items()),
            *(f"{problem}." for problem in problems),
            *outlook,
        ),
    )


def unreadable(name: str, version: int, reason: str) -> Verdict:
    """The verdict on a version that cannot be evaluated at all."""
    return Verdict(
        name=name, version=version, word=NONE, tags={VERDICT_TAG: NONE}, lines=(f"Not evaluated: {reason}.",)
    )


async def show(rest: MlflowRest, verdict: Verdict) -> None:
    """Write a verdict on the version's page; what people wrote there stays, an older verdict goes.

    One that says the same as the page does keeps the time that stands there: since then it is so.

    Raises:
        MlflowUnavailable: no usable answer; the page may show a part.
        MlflowNotFound: there is no such version.
    """
    about = {"name": verdict.name, "version": str(verdict.version)}
    answer = await rest.get("model-versions/get", about)
    stored = cast("Json", answer.get("model_version") or {})
    before = str(stored.get("description") or "")
    after = with_block(before, verdict.lines)
    if _WHEN.sub(r"\1.", after) != _WHEN.sub(r"\1.", before):
        await rest.send("PATCH", "model-versions/update", {**about, "description": after})
    tags = {str(tag["key"]): str(tag.get("value", "")) for tag in cast("list[Json]", stored.get("tags") or [])}
    for key, value in verdict.tags.items():
        if tags.get(key) != value:
            await rest.send("POST", "model-versions/set-tag", {**about, "key": key, "value": value})
    for key in tags:
        if key not in verdict.tags and (key in OURS or key.startswith(tuple(f"{each}." for each in OURS))):
            await rest.send("DELETE", "model-versions/delete-tag", {**about, "key": key})


async def shows_verdict(rest: MlflowRest, name: str, version: int) -> bool:
    """Whether a version's page shows a verdict; raises as `show`."""
    answer = await rest.get("model-versions/get", {"name": name, "version": str(version)})
    stored = cast("Json", answer.get("model_version") or {})
    tagged = any(tag["key"] == VERDICT_TAG for tag in cast("list[Json]", stored.get("tags") or []))
    return tagged or _BLOCK.search(str(stored.get("description") or "")) is not None


async def show_standing(
    rest: MlflowRest,
    database: Database,
    policy: Policy,
    version: PromotedVersion,
    *,
    mlflow_url: str,
    now: float,
    problems: Sequence[str] = (),
) -> Verdict:
    """Lint a version, see how it stands with the chain that serves, and write that on its page.

    Raises:
        DatabaseUnavailable: the database does not answer.
        MlflowUnavailable: no usable answer.
        MlflowNotFound: there is no such version.
    """
    aliased = await aliased_version(PromptSource(rest), policy)

    def judge() -> Verdict:
        record_lint(database, version)
        case = case_of(database, policy, version, now)
        content = None if aliased is None else aliased.content_hash
        standing = standing_of(database, policy, version.content_hash, content, int(now * 1000))
        return verdict_of(policy, told_serving_models(database), case, mlflow_url, problems, standing)

    verdict = await asyncio.to_thread(judge)
    await show(rest, verdict)
    return verdict


def with_block(description: str, lines: Sequence[str]) -> str:
    """The description with these lines as its one `[assay]` paragraph, at most DESCRIPTION_CHARS_MAX characters."""
    kept = _BLOCK.sub("", description).strip()
    lead = f"{kept}\n\n{BEGIN}\n" if kept else f"{BEGIN}\n"
    tail = f"\n{END}"
    room = DESCRIPTION_CHARS_MAX - len(lead) - len(tail)
    if room < BLOCK_CHARS_MIN:
        return kept
    text = "\n".join(lines).replace(BEGIN, "(assay)").replace(END, "(/assay)")
    if len(text) > room:
        text = f"{text[: room - 1]}…"
    return f"{lead}{text}{tail}"


def _ruled(requirement: Requirement, model: ServingModel, case: Case) -> bool:
    found = newest_evaluation(requirement, case, model)
    if found is None or found.verdict not in {"PASS", "FAIL"}:
        return False
    days, age_ms = requirement.max_age_days, case.now * 1000 - found.created_ms
    if days is not None and age_ms > days * DAY_MS:
        return False
    return not any(outgrown(requirement, case, found, EVALUATION)) if found.verdict == "PASS" else compared(case, found)


def _newest(case: Case, model: ServingModel, dataset: str | None = None) -> Evidence | None:
    for found in case.evidence:
        same = (found.kind, found.provider, found.model) == (EVALUATION, model.provider, model.model)
        if same and dataset in {None, found.dataset}:
            return found
    return None


def _others(models: Sequence[ServingModel], case: Case) -> tuple[ServingModel, ...]:
    """Models that were evaluated and do not serve; one for each provider that does not stand in the chain."""
    serving = {model.provider for model in models}
    others: dict[str, ServingModel] = {}
    for found in case.evidence:
        if found.kind == EVALUATION and found.provider not in serving:
            others.setdefault(found.provider, ServingModel(provider=found.provider, model=found.model))
    return tuple(others.values())


def _word(verdicts: Sequence[str]) -> str:
    passed = verdicts.count("PASS")
    if 0 < passed < len(verdicts):
        return f"PASS ({passed} of {len(verdicts)} models)"
    return next((word for word in ("PASS", "FAIL", "UNDERPOWERED") if word in verdicts), NONE)


def _providers(models: Sequence[ServingModel]) -> str:
    return ", ".join(model.provider for model in models)


def _line(model: ServingModel, evidence: Evidence | None, *, known: bool) -> str:
    # Runs go by their id here: MLflow's page does not break a long address, and pushes the rest out of sight.
    who = f"{model.provider} {model.model}" + ("" if known else " (does not serve)")
    if evidence is None:
        return f"{who}: not evaluated yet."
    run = f", run {evidence.run_id}" if evidence.run_id else ""
    return f"{who}: {evidence.verdict} on {data_of(evidence)}{run}."


def _outlook(
    policy: Policy, models: Sequence[ServingModel], case: Case, decision: Decision
) -> tuple[str, tuple[str, ...]]:
    """Whether a version without a record may be promoted: the tag and the sentences."""
    now_ms = int(case.now * 1000)
    if decision.allowed:
        skipped = (f"Not with {each.model.provider}: {'; '.join(each.missing)}." for each in decision.skipped)
        return f"yes, with {_providers(decision.models)}", (f"May become {policy.alias!r}.", *skipped)
    waiver = waiver_in_force(policy, case.evidence, now_ms)
    if waiver is not None and models:
        ends = datetime.fromtimestamp(waiver.ends_ms / 1000, UTC)
        return (
            f"yes, with {_providers(models)}",
            (f"May become {policy.alias!r} on a waiver until {ends:%Y-%m-%d %H:%M} UTC.",),
        )
    listed = [f"({number}) {each}" for number, each in enumerate(decision.missing[:SENTENCES_MAX], 1)]
    if len(decision.missing) > SENTENCES_MAX:
        listed.append(f"and {len(decision.missing) - SENTENCES_MAX} more")
    signed = len(signatures_in_force(policy, case.evidence, now_ms))
    begun = (f"{signed} of {SIGNATURES} signatures for a waiver.",) if signed else ()
    return "no", (f"May not become {policy.alias!r} yet: {'; '.join(listed)}.", *begun)


def _page(mlflow_url: str, run_id: str) -> str:
    return f"{mlflow_url}/#/runs/{run_id}"
