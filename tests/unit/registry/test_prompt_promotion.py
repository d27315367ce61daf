"""An alias moves on evidence, and on nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from registry.database import Database
from registry.errors import InvalidInput, JsonValue
from registry.prompts.decision import Decision, check
from registry.prompts.evidence import Evidence, evidence_for, record_evidence
from registry.prompts.mlflow_rest import MlflowUnavailable
from registry.prompts.policy import InvalidPolicy, Policy, Requirement, UseCaseNotFound, load_policy
from registry.prompts.promoted import PROMPTS_SIGNAL, PromptTampered
from registry.prompts.promotion import Promoter, PromotionRefused, ServingModel, record_lint
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
        self.mlflow_away = False
        self.promoter = Promoter(database, move_alias=self._move, note=self._note, clock=lambda: NOW)

    async def _move(self, name: str, alias: str, number: int) -> None:
        assert self.notes, "the note has to be durable before the alias moves"
        if self.mlflow_away:
            raise MlflowUnavailable("away")
        self.moves.append((name, alias, number))

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
        "promoted_by": "ada",
        "evidence": json.dumps([lint_evidence.id, evaluation.id]),
        "created_ms": int(NOW * 1000),
        "revoked_ms": None,
    }
    ((kind, body),) = stage.notes
    assert kind == "prompt.promotion"
    assert (body["policy"], body["by"], body["promotion"]) == ("evaluation + lint", "ada", promotion.id)
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 1


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
    stage.mlflow_away = True
    with pytest.raises(MlflowUnavailable):
        await stage.promoter.promote(POLICY, version(), [EXTRACTIVE], "ada")
    assert [record["revoked_ms"] for record in stage.records()] == [int(NOW * 1000)]
    assert [kind for kind, _ in stage.notes] == ["prompt.promotion", "prompt.promotion-failed"]
    assert read_signal(stage.database, PROMPTS_SIGNAL) == 0


async def test_another_use_case_is_refused(stage: Stage) -> None:
    """A policy decides about its own prompt only."""
    for about in (version(use_case="reports"), version(name="other")):
        with pytest.raises(InvalidInput):
            await stage.promoter.promote(POLICY.model_copy(update={"prompt": "insights-2"}), about, [EXTRACTIVE], "ada")
    with pytest.raises(InvalidInput, match="ASSAY_PROVIDERS"):
        await stage.promoter.promote(POLICY, version(), [], "ada")


def decide(policy: Policy, *found: Evidence, at: float = NOW) -> Decision:
    """What a policy says about the sound version."""
    return check(policy, version(), "extractive", "extractive-1", found, at)


def test_the_newest_evidence_counts(stage: Stage) -> None:
    """A later failure outweighs an earlier pass, and the other way round."""
    policy = POLICY.model_copy(update={"requires": (Requirement(kind="evaluation"),)})
    stage.evaluated(version(), clock=lambda: NOW - 2)
    stage.evaluated(version(), verdict="FAIL", clock=lambda: NOW - 1)
    assert not decide(policy, *evidence_for(stage.database, "insights", version().content_hash)).allowed
    stage.evaluated(version())
    assert decide(policy, *evidence_for(stage.database, "insights", version().content_hash)).allowed


@pytest.mark.parametrize("verdict", ["FAIL", "UNDERPOWERED"])
def test_only_a_pass_passes(stage: Stage, verdict: str) -> None:
    """Too few cases to tell is not a pass."""
    record_lint(stage.database, version())
    decision = decide(POLICY, stage.evaluated(version(), verdict=verdict), record_lint(stage.database, version()))
    assert [sentence for sentence in decision.missing if verdict in sentence]


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [({"ndcg@10": 0.49}, "below 0.5"), ({}, "did not measure"), ({"ndcg@10": True}, "did not measure")],
)
def test_floors_hold(stage: Stage, metrics: dict[str, Any], sentence: str) -> None:
    """A value under its floor refuses, and so does a value that nobody measured."""
    shown = stage.evaluated(version(), details={"metrics": metrics})
    decision = decide(POLICY, shown, record_lint(stage.database, version()))
    assert not decision.allowed
    assert sentence in decision.missing[0]


def test_old_evidence_does_not_count_for_a_new_promotion(stage: Stage) -> None:
    """Evidence ages: one day past the limit it has to be made anew."""
    shown = (stage.evaluated(version()), record_lint(stage.database, version()))
    assert decide(POLICY, *shown, at=NOW + 30 * 86_400).allowed
    late = decide(POLICY, *shown, at=NOW + 31 * 86_400)
    assert not late.allowed
    assert "older than 30 days" in late.missing[0]


def test_an_unknown_kind_refuses(stage: Stage) -> None:
    """A policy may not ask for something that nobody checks; no evidence of that name helps."""
    policy = POLICY.model_copy(update={"requires": (Requirement(kind="blessing"),)})
    decision = decide(policy, stage.evaluated(version(), kind="blessing"))
    assert not decision.allowed
    assert "'blessing'" in decision.missing[0]


def test_a_policy_may_insist_on_a_dataset(stage: Stage) -> None:
    """Evidence from another dataset does not count, and the remedy names the right one."""
    policy = POLICY.model_copy(update={"requires": (Requirement(kind="evaluation", dataset="held-out"),)})
    decision = decide(policy, stage.evaluated(version()))
    assert "--dataset held-out" in decision.missing[0]
    assert decide(policy, stage.evaluated(version(), dataset="held-out")).allowed


def test_lint_is_stored_once(stage: Stage) -> None:
    """Asking again about the same content writes no second row."""
    assert record_lint(stage.database, version()) == record_lint(stage.database, version(number=2))
    assert len(evidence_for(stage.database, "insights", version().content_hash)) == 1


def test_shipped_policies_can_be_met() -> None:
    """Every policy of the repository loads, and asks only for kinds that exist."""
    directory = Path(__file__).parents[3] / "policies"
    for file in directory.glob("*.yaml"):
        policy = load_policy(directory, file.stem)
        assert policy.summary == "evaluation + lint"


@pytest.mark.parametrize(
    "text",
    [
        "use_case: insights\nprompt: insights\nrequires: []",
        "use_case: insights\nprompt: insights",
        "use_case: other\nprompt: insights\nrequires: [{kind: lint}]",
        "use_case: insights\nprompt: insights\nrequires: [{kind: lint, floor: 1}]",
        "use_case: insights\nprompt: insights\nalias: 'a b'\nrequires: [{kind: lint}]",
        "a: [",
        "- x",
    ],
)
def test_a_policy_that_asks_for_nothing_or_something_odd_is_refused(tmp_path: Path, text: str) -> None:
    """An empty list, an unknown field, another use case's name: none of them opens a door."""
    (tmp_path / "insights.yaml").write_text(text)
    with pytest.raises(InvalidPolicy, match=r"insights\.yaml"):
        load_policy(tmp_path, "insights")


def test_an_unknown_use_case_is_not_found(tmp_path: Path) -> None:
    """A use case without a policy does not exist; its name never becomes a path."""
    (tmp_path.parent / "outside.yaml").write_text("use_case: outside")
    for name in ("reports", "../outside", ""):
        with pytest.raises(UseCaseNotFound):
            load_policy(tmp_path, name)
