"""The first half of an evaluation: settle what is compared, then ask. `flows.evaluate_prompt` runs it under Prefect."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.journal import Journal, QuestionRecord
from evaluation.relevance import Judgements, judge
from evaluation.run import Progress, run
from evaluation.summary import Summary, summarise
from flows.wiring import EvaluationServices
from registry.database import Database
from registry.datasets import Dataset, Datasets, GroundTruthRow, Split
from registry.errors import InvalidInput
from registry.prompts.policy import Policy, load_policy
from registry.prompts.promoted import PromptTampered
from registry.prompts.promotion_records import Promotion, last_proven
from registry.prompts.versions import PromotedVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to evaluate."""

    prompt: str
    """NAME@ALIAS or NAME/VERSION."""
    provider: str
    """Who answers, alone: evidence holds for one model."""
    dataset: str
    """NAME or NAME@HASH."""
    split: Split | None = "test"
    """Only a run on `test` makes evidence; None takes both."""
    tenant: str | None = None
    """Whose rows and documents, for a look; None: every row under its own tenant."""
    against: str | None = None
    """Version to compare with; None: the one last promoted on evidence, if it has another content."""
    resume: str | None = None
    """Id of a stopped evaluation to go on with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that is settled before the first question is asked."""

    id: str
    order: Order
    dataset: Dataset
    groups: tuple[tuple[str, tuple[GroundTruthRow, ...]], ...]
    """Tenant and its rows, by tenant."""
    judgements: Judgements
    candidate: PromotedVersion
    baseline: PromotedVersion | None
    policy: Policy

    @property
    def rows(self) -> tuple[GroundTruthRow, ...]:
        """All rows, tenant by tenant."""
        return tuple(row for _, rows in self.groups for row in rows)

    @property
    def tenant(self) -> str | None:
        """For whom alone rows are asked; None: every row of the split is, for the tenant that it names."""
        of_split = (row for row in self.dataset.rows if self.order.split in {None, row.split})
        return None if all(row.tenant == self.order.tenant for row in of_split) else self.order.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One version's answers to all questions."""

    version: PromotedVersion
    records: tuple[QuestionRecord, ...]
    summary: Summary


async def prepare(
    order: Order, services: EvaluationServices, home: Path, new_id: Callable[[], str] = lambda: secrets.token_hex(6)
) -> Prepared:
    """Settle rows, versions and judgements.

    Raises:
        InvalidInput: no rows fit, or a row has no tenant and none is given.
        NotFound: no such dataset, tenant, prompt or policy.
    """
    if order.resume is not None:
        _require_begun(order.resume, home)
    dataset = Datasets(home).get(order.dataset)
    groups = _groups(dataset, order)
    for tenant, _ in groups:
        await services.require_tenant(tenant)
    candidate = await services.prompt(order.prompt)
    policy = load_policy(services.services.settings.policies, candidate.template.use_case)
    judged = [await judge(rows, services.passages_of(tenant)) for tenant, rows in groups]
    return Prepared(
        id=order.resume or new_id(),
        order=order,
        dataset=dataset,
        groups=groups,
        judgements=Judgements(
            qrels={key: grades for each in judged for key, grades in each.qrels.items()},
            unresolved={key: documents for each in judged for key, documents in each.unresolved.items()},
        ),
        candidate=candidate,
        baseline=await _baseline(order, services, candidate, policy.alias),
        policy=policy,
    )


def _require_begun(evaluation: str, home: Path) -> None:
    """Refuse an id whose answers are not here: asking everything anew is another evaluation, and counts as one."""
    if not re.fullmatch(r"[0-9a-f]{12}", evaluation):
        raise InvalidInput(f"{evaluation!r} is no id of an evaluation; it has twelve digits 0-9 a-f")
    if not (home / "evaluations" / evaluation).is_dir():
        raise InvalidInput(
            f"there is nothing of evaluation {evaluation!r} in {str(home)!r}; resume it where it was begun, or "
            "evaluate anew, without --resume"
        )


def _groups(dataset: Dataset, order: Order) -> tuple[tuple[str, tuple[GroundTruthRow, ...]], ...]:
    rows = [row for row in dataset.rows if order.split in {None, row.split}]
    if order.tenant is not None:
        rows = [row for row in rows if row.tenant in {None, order.tenant}]
    if not rows:
        of = f"split {order.split or 'any'!r} for tenant {order.tenant or 'any'!r}"
        raise InvalidInput(f"dataset {order.dataset!r} has no row of {of}; see `assay datasets show`")
    groups: dict[str, list[GroundTruthRow]] = {}
    for row in rows:
        tenant = order.tenant or row.tenant
        if tenant is None:
            raise InvalidInput(
                f"row {row.id!r} of {order.dataset!r} does not say whose documents answer it: with `tenant` "
                "write it into each row, or have a look with --tenant"
            )
        groups.setdefault(tenant, []).append(row)
    return tuple((tenant, tuple(rows)) for tenant, rows in sorted(groups.items()))


async def _baseline(
    order: Order, services: EvaluationServices, candidate: PromotedVersion, alias: str
) -> PromotedVersion | None:
    """The version to compare with; None when there is none, or it has the candidate's content."""
    if order.against is not None:
        baseline = await services.prompt(order.against)
        if baseline.content_hash == candidate.content_hash:
            raise InvalidInput(f"{order.against!r} has the content of {order.prompt!r}; compare with another version")
        return baseline
    # Not where the alias points, which may be at a version that must not serve: that would be easier to beat.
    last = await asyncio.to_thread(_last_proven, services.services.database, candidate.name, alias)
    if last is None or last.content_hash == candidate.content_hash:
        return None
    baseline = await services.prompt(f"{candidate.name}/{last.prompt_version}")
    if baseline.content_hash != last.content_hash:
        reference = f"{candidate.name} {last.prompt_version}"
        remedy = f"`assay prompts revoke {reference} --reason WHY`"
        raise PromptTampered(f"the promoted version is in MLflow no longer: run {remedy}")
    return baseline


def _last_proven(database: Database, name: str, alias: str, clock: Callable[[], float] = time.time) -> Promotion | None:
    """What was last let through on evidence, and may still serve."""
    return last_proven(database, name, alias, int(clock() * 1000))


async def answer(
    prepared: Prepared,
    version: PromotedVersion,
    services: EvaluationServices,
    home: Path,
    on_progress: Callable[[Progress], None],
) -> Answered:
    """Ask one version every question, each for its own tenant.

    Raises:
        EvaluationStopped: the target is down; resume with `prepared.id`.
        JournalMismatch: the evaluation to resume was about something else.
    """
    header = {
        "provider": prepared.order.provider,
        "dataset": prepared.dataset.info.sha256,
        "split": prepared.order.split or "all",
        "tenant": prepared.order.tenant or "all",
        "prompt": f"{version.name}/{version.version}",
        "content_hash": version.content_hash,
        "judgements": prepared.judgements.sha256,
    }
    path = home / "evaluations" / prepared.id / f"{version.name}-{version.version}.jsonl"
    records: list[QuestionRecord] = []
    with Journal(path, header) as journal:
        for tenant, rows in prepared.groups:
            target = services.target(version, tenant)
            report = _from_here(on_progress, records, len(prepared.rows))
            instructions = version.template.instructions
            records += await run(
                rows, target, prepared.judgements, journal, instructions=instructions, on_progress=report
            )
    return Answered(
        version=version,
        records=tuple(records),
        summary=summarise(prepared.rows, records, prepared.judgements),
    )


def _from_here(
    on_progress: Callable[[Progress], None], earlier: Sequence[QuestionRecord], total: int
) -> Callable[[Progress], None]:
    """Progress of one tenant as progress of the whole."""
    done, unscored = len(earlier), sum(record.status == "unscored" for record in earlier)
    return lambda now: on_progress(Progress(done=done + now.done, total=total, unscored=unscored + now.unscored))
