"""An alias moves on evidence, and on nothing else."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from sqlalchemy import select

from registry.database import Database
from registry.errors import InvalidInput, JsonValue
from registry.prompts.evidence import Evidence, evidence_for, record_evidence
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.policy import Policy, Requirement
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.promotion import Promoter, PromotionRefused, record_lint
from registry.prompts.promotion_records import ServingModel, was_promoted
from registry.prompts.schema import ModelParameters, PromptTemplate, Turn, Variable, content_hash
from registry.prompts.versions import PromotedVersion
from registry.schema import promotions
from registry.signals import read_signal

NOW = 1_790_000_000.0
EXTRACTIVE = ServingModel(provider="extractive", model="extractive-1")
CLAUDE = ServingModel(provider="anthropic", model="claude")
POLICY = Policy(
    use_case="insights",
    prompt="insights",
    requires=(
        Requirement(kind="lint"),
        Requirement(kind="evaluation", max_age_days=30, floors={"ndcg@10": 0.5}),
    ),
)


def version(user: str = "{{passages}} {{question}}", number: int = 1, **change: Any) -> PromotedVersion:
    """A sound version with changes."""
    template = PromptTemplate(
        name="insights",
        use_case="insights",
        owner="platform",
        template=(
            Turn(role="system", content="Answer from what stands between <data ...> and </data ...>."),
            Turn(role="user", content=user),
        ),
        variables={"question": Variable(max_chars=100), "passages": Variable(type="passages", max_chars=1000)},
        model=ModelParameters(max_output_tokens=300),
    ).model_copy(update=change)
    return PromotedVersion(
        name="insights", version=number, alias="", template=template, content_hash=content_hash(template)
    )


class Stage:
    """A promoter over a real database; MLflow and the audit log are lists of what they were told."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.moves: list[tuple[str, str, int]] = []
        self.notes: list[tuple[str, Mapping[str, JsonValue]]] = []
        self.fault: BaseException | None = None
        """What setting an alias ends with."""
        self.lost: Literal["request", "answer"] = "request"
        """Whether MLflow got the request that ended so."""
        self.unreadable: BaseException | None = None
        """What asking for an alias ends with."""
        self.promoter = Promoter(database, aliases=self, note=self._note, clock=lambda: NOW)

    async def set_alias(self, name: str, alias: str, version: int) -> None:
        """Move an alias, as MLflow does."""
        assert self.notes, "the note has to be durable before the alias moves"
        if self.fault is None or self.lost == "answer":
            self.moves.append((name, alias, version))
        if self.fault is not None:
            raise self.fault

    async def alias_version(self, name: str, alias: str) -> int | None:
        """Where an alias points."""
        if self.unreadable is not None:
            raise self.unreadable
        return next((number for *place, number in reversed(self.moves) if place == [name, alias]), None)

    def revoked(self) -> list[bool]:
        """Whether each record is revoked."""
        return [record["revoked_ms"] is not None for record in self.records()]

    def _note(self, kind: str, body: Mapping[str, JsonValue]) -> None:
        json.dumps(body)
        self.notes.append((kind, body))

    def evaluated(self, about: PromotedVersion, model: ServingModel = EXTRACTIVE, **change: Any) -> Evidence:
        """Store an evaluation as the flow does."""
        fields: dict[str, Any] = {
            "kind": "evaluation",
            "prompt_name": about.name,
            "prompt_version": about.version,
            "content_hash": about.content_hash,
            "provider": model.provider,
            "model": model.model,
            "verdict": "PASS",
            "details": {"metrics": {"ndcg@10": 0.8}},
            "run_id": "run",
            "dataset": "ground-truth",
            "clock": lambda: NOW,
        }
        return record_evidence(self.database, **(fields | change))

    def records(self) -> list[Mapping[str, Any]]:
        """All promotion records."""
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(promotions)).mappings()]


@pytest.fixture
def stage(database: Database) -> Stage:
    """A promoter with nothing shown yet."""
    return Stage(database)


async def test_a_version_with_its_evidence_is_promoted(stage: Stage) -> None:
    """The alias moves, a record and an audit note say why, and the workers are told."""
    evaluation = stage.evaluated(version())
    promotion = await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    lint_evidence = next(
        e for e in evidence_for(stage.database, "insights", version().content_hash) if e.kind == "lint"
    )
    assert stage.moves == [("insights", "production", 1)]
    assert promotion.evidence == (lint_evidence.id, evaluation.id)
    (record,) = stage.records()
    assert record == {
        "id": promotion.id,
        "prompt_name": "insights",
        "prompt_version": 1,
        "content_hash": version().content_hash,
        "use_case": "insights",
        "alias": "production",
        "models": '[["extractive", "extractive-1"]]',
        "basis": "evidence",
        "promoted_by": "ada",
        "evidence": json.dumps([lint_evidence.id, evaluation.id]),
        "created_ms": int(NOW * 1000),
        "expires_ms": None,
        "revoked_ms": None,
    }
    ((kind, body),) = stage.notes
    assert kind == "prompt.promotion"
    assert (body["policy"], body["by"], body["promotion"]) == ("evaluation + lint", "ada", promotion.id)
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1


async def test_a_prompt_that_was_ever_promoted_is_known(stage: Stage) -> None:
    """`assay up` promotes a prompt that never served, and no other."""
    assert not was_promoted(stage.database, version().name)
    stage.evaluated(version())
    await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert was_promoted(stage.database, version().name)
    assert not was_promoted(stage.database, "another")


async def test_without_evidence_the_alias_stays(stage: Stage) -> None:
    """A refusal names what is missing and the command that makes it, writes no record, and is audited."""
    with pytest.raises(PromotionRefused) as caught:
        await stage.promoter.promote(POLICY, version(number=7), [EXTRACTIVE], "ada")
    assert "assay evaluate run --prompt insights/7" in caught.value.message
    assert "evaluation + lint" in caught.value.message
    assert len(caught.value.details["missing"]) == 1  # pyright: ignore[reportArgumentType] - a list, by the line above
    assert (stage.moves, stage.records()) == ([], [])
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion-refused"]


async def test_a_lint_error_refuses(stage: Stage) -> None:
    """Lint is run at promotion, so that a version pushed by other means does not slip through."""
    broken = version("{{passages}} {{question}} {{nobody}}")
    stage.evaluated(broken)
    with pytest.raises(PromotionRefused, match="undeclared-variable"):
        await stage.promoter.promote(POLICY, broken, [EXTRACTIVE], "ada")


async def test_every_model_of_the_chain_needs_its_evidence(stage: Stage) -> None:
    """Evidence of the extractive provider never covers a language model; with its own, the version passes."""
    stage.evaluated(version())
    with pytest.raises(PromotionRefused, match="evaluation with anthropic claude"):
        await stage.promoter.promote(POLICY, version(), [CLAUDE, EXTRACTIVE], "ada")
    stage.evaluated(version(), CLAUDE)
    await stage.promoter.promote(POLICY, version(), [CLAUDE, EXTRACTIVE], "ada")
    assert stage.moves


@pytest.mark.parametrize(
    "other",
    [
        version("{{passages}} {{question}}."),
        version(model=ModelParameters(max_output_tokens=301)),
        version(output_schema={"type": "object", "properties": {"answer": {}}}),
    ],
    ids=["wording", "parameters", "schema"],
)
async def test_evidence_is_bound_to_its_content(stage: Stage, other: PromotedVersion) -> None:
    """Evidence for another wording, parameter or schema does not count."""
    stage.evaluated(other)
    with pytest.raises(PromotionRefused):
        await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")


async def test_an_equal_version_shares_evidence(stage: Stage) -> None:
    """The same content pushed again needs no second evaluation: a roll-forward is quick."""
    stage.evaluated(version(number=1))
    promotion = await stage.promoter.promote(POLICY, version(number=3), [EXTRACTIVE], "ada")
    assert promotion.prompt_version == 3


async def test_a_rewritten_version_is_not_promoted(stage: Stage) -> None:
    """A version whose text changed since it was first seen is refused, evidence or not."""
    stage.promoter.decide(POLICY, version(), [EXTRACTIVE])
    rewritten = version("{{passages}} {{question}}!")
    stage.evaluated(rewritten)
    with pytest.raises(PromptTampered):
        await stage.promoter.promote(POLICY, rewritten, [EXTRACTIVE], "ada")


async def test_a_promotion_that_mlflow_did_not_take_is_revoked(stage: Stage) -> None:
    """With MLflow away, the record is revoked, the failure audited, and the workers are not disturbed."""
    stage.evaluated(version())
    stage.fault = MlflowUnavailable("away")
    with pytest.raises(MlflowUnavailable):
        await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert [record["revoked_ms"] for record in stage.records()] == [int(NOW * 1000)]
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion", "prompt.promotion-failed"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 0


async def test_a_lost_answer_does_not_revoke_what_serves(stage: Stage) -> None:
    """When MLflow moved the alias and only its answer was lost, the promotion stands and the workers are told."""
    stage.evaluated(version())
    stage.fault, stage.lost = MlflowUnavailable("read time-out"), "answer"
    promotion = await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert promotion.prompt_version == 1
    assert stage.revoked() == [False]
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1


@pytest.mark.parametrize("fault", [asyncio.CancelledError(), KeyboardInterrupt(), RuntimeError("a bug")])
@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_an_interrupted_promotion_leaves_no_loose_record(
    stage: Stage, fault: BaseException, lost: Literal["request", "answer"]
) -> None:
    """Whatever ends a promotion in the middle, its record stands if and only if the alias moved."""
    stage.evaluated(version())
    stage.fault, stage.lost = fault, lost
    with pytest.raises(type(fault)):
        await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert stage.revoked() == [lost == "request"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == (lost == "answer")


@pytest.mark.parametrize("unreadable", [MlflowUnavailable("away"), asyncio.CancelledError()])
async def test_a_record_nobody_can_confirm_is_revoked(stage: Stage, unreadable: BaseException) -> None:
    """When MLflow cannot be asked either, the record is revoked: promoting again writes a new one."""
    stage.evaluated(version())
    stage.fault, stage.lost, stage.unreadable = MlflowUnavailable("away"), "answer", unreadable
    with pytest.raises(type(unreadable)):
        await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert stage.revoked() == [True]
    assert stage.notes[-1][0] == "prompt.promotion-failed"


async def test_another_use_case_is_refused(stage: Stage) -> None:
    """A policy decides about its own prompt only."""
    for about in (version(use_case="reports"), version(name="other")):
        with pytest.raises(InvalidInput):
            await stage.promoter.promote(POLICY.model_copy(update={"prompt": "insights-2"}), about, [EXTRACTIVE], "ada")
    with pytest.raises(InvalidInput, match="ASSAY_PROVIDERS"):
        await stage.promoter.promote(POLICY, version(), [], "ada")


def test_lint_is_stored_once(stage: Stage) -> None:
    """Asking again about the same content writes no second row."""
    assert record_lint(stage.database, version()) == record_lint(stage.database, version(number=2))
    assert len(evidence_for(stage.database, "insights", version().content_hash)) == 1
