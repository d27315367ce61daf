"""What a policy asks for, and whether the evidence at hand shows it."""

from pathlib import Path
from typing import Any

import pytest

from registry.prompts.case import Case, Production
from registry.prompts.decision import NOBODY_SERVES, Decision
from registry.prompts.decision import decide as ask
from registry.prompts.evidence import Evidence
from registry.prompts.policy import InvalidPolicy, Policy, Requirement, UseCaseNotFound, load_policy
from registry.prompts.promotion_records import ServingModel
from registry.prompts.schema import PromptTemplate, Variable, content_hash
from registry.prompts.versions import PromotedVersion

NOW = 1_790_000_000.0
DAY_S = 86_400
EXTRACTIVE = ServingModel(provider="extractive", model="extractive-1")
CLAUDE = ServingModel(provider="anthropic", model="claude")
TEMPLATE = PromptTemplate(
    name="brief",
    use_case="insights",
    owner="platform",
    template="{{question}}",
    variables={"question": Variable(max_chars=100)},
)
VERSION = PromotedVersion(name="brief", version=7, alias="", template=TEMPLATE, content_hash=content_hash(TEMPLATE))


def shown(**change: Any) -> Evidence:
    """An evaluation of the version that passed just now."""
    fields: dict[str, Any] = {
        "id": "e1",
        "kind": "evaluation",
        "prompt_name": "brief",
        "prompt_version": 7,
        "content_hash": VERSION.content_hash,
        "provider": "extractive",
        "model": "extractive-1",
        "verdict": "PASS",
        "details": {"metrics": {"ndcg@10": 0.8}},
        "run_id": "run",
        "dataset": "ground-truth",
        "created_ms": int(NOW * 1000),
    }
    return Evidence(**(fields | change))


def decide(
    *evidence: Evidence,
    at: float = NOW,
    models: tuple[ServingModel, ...] = (EXTRACTIVE,),
    production: Production | None = None,
    **requirement: Any,
) -> Decision:
    """What a policy with one requirement says about the version."""
    fields: dict[str, Any] = {"kind": "evaluation"} | requirement
    asked = Requirement(**fields)
    policy = Policy(use_case="insights", prompt="brief", requires=(asked,))
    return ask(policy, models, Case(version=VERSION, evidence=evidence, now=at, production=production))


def test_evidence_at_hand_allows() -> None:
    """A pass for this content and model is enough, and the decision names it."""
    assert decide(shown()) == Decision(
        allowed=True, missing=(), evidence=(shown(),), models=(EXTRACTIVE,), skipped=(), policy="evaluation"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"content_hash": "0" * 64},
        {"prompt_name": "other"},
        {"provider": "anthropic"},
        {"model": "extractive-2"},
        {"kind": "lint"},
        {"kind": "lint", "provider": "any", "model": "any"},
    ],
)
def test_other_evidence_does_not_count(other: dict[str, Any]) -> None:
    """Another content, prompt, provider, model or kind: nothing is shown, and the sentence says how to show it."""
    decision = decide(shown(**other))
    assert not decision.allowed
    (sentence,) = decision.missing
    assert sentence.startswith("no evaluation with extractive extractive-1 for this content; ")
    assert sentence.endswith("run `assay evaluate run --prompt brief/7 --provider extractive`")


def test_the_newest_evidence_counts() -> None:
    """A later failure outweighs an earlier pass."""
    assert not decide(shown(id="new", verdict="FAIL"), shown(id="old")).allowed


@pytest.mark.parametrize("verdict", ["FAIL", "UNDERPOWERED"])
def test_only_a_pass_passes(verdict: str) -> None:
    """Too few cases to tell is not a pass, and the reasons are passed on."""
    (sentence,) = decide(shown(verdict=verdict, details={"reasons": ["too few questions"]})).missing
    assert f"says {verdict} (too few questions)" in sentence


def test_a_failed_floor_is_told_once() -> None:
    """An evaluation that failed for a floor gives its reason, and the floor is not held against it again."""
    details = {"metrics": {"ndcg@10": 0.1}, "reasons": ["ndcg@10 is 0.100, below its floor of 0.5"]}
    (sentence,) = decide(shown(verdict="FAIL", details=details), floors={"ndcg@10": 0.5}).missing
    assert sentence.count("ndcg@10") == 1
    assert sentence.endswith("improve the prompt and push it again, or leave 'extractive' out of ASSAY_PROVIDERS")


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [({"ndcg@10": 0.49}, "below 0.5"), ({}, "did not measure"), ({"ndcg@10": True}, "did not measure"), (3, "did not")],
)
def test_floors_hold(metrics: Any, sentence: str) -> None:
    """A value under its floor refuses, and so does a value that nobody measured."""
    (missing,) = decide(shown(details={"metrics": metrics}), floors={"ndcg@10": 0.5}).missing
    assert sentence in missing
    assert decide(shown(details={"metrics": {"ndcg@10": 0.5}}), floors={"ndcg@10": 0.5}).allowed


def test_a_value_that_is_no_number_refuses() -> None:
    """NaN is above no floor."""
    assert not decide(shown(details={"metrics": {"ndcg@10": float("nan")}}), floors={"ndcg@10": 0.0}).allowed


def test_old_evidence_does_not_count_for_a_new_promotion() -> None:
    """Evidence ages: one day past the limit it has to be made anew."""
    assert decide(shown(), max_age_days=30, at=NOW + 30 * DAY_S).allowed
    (sentence,) = decide(shown(), max_age_days=30, at=NOW + 31 * DAY_S).missing
    assert "older than 30 days" in sentence


def test_an_unknown_kind_refuses() -> None:
    """A policy may not ask for something that nobody checks; no evidence of that name helps."""
    decision = decide(shown(kind="blessing"), kind="blessing")
    assert not decision.allowed
    assert "'blessing', which is unknown (known: lint, evaluation, approval)" in decision.missing[0]


def test_a_policy_may_insist_on_a_dataset() -> None:
    """Evidence from another dataset does not count, and the remedy names the right one."""
    (sentence,) = decide(shown(), dataset="held-out").missing
    assert "--provider extractive --dataset held-out`" in sentence
    assert decide(shown(dataset="held-out"), dataset="held-out").allowed


def test_a_model_without_evidence_is_skipped() -> None:
    """One model of the chain with its evidence is enough; the other is named with the command that makes its own."""
    decision = decide(shown(), models=(CLAUDE, EXTRACTIVE))
    assert (decision.allowed, decision.missing, decision.models) == (True, (), (EXTRACTIVE,))
    (skipped,) = decision.skipped
    assert skipped.model == CLAUDE
    assert skipped.missing[0].endswith("run `assay evaluate run --prompt brief/7 --provider anthropic`")


def test_no_model_with_evidence_refuses() -> None:
    """Then each of them is missing something, and all of it is said."""
    decision = decide(models=(CLAUDE, EXTRACTIVE))
    assert (decision.allowed, decision.models, len(decision.missing)) == (False, (), 2)
    assert [each.model for each in decision.skipped] == [CLAUDE, EXTRACTIVE]


def test_what_holds_for_any_model_lets_all_of_them_serve() -> None:
    """A policy that asks for nothing per model leaves the chain whole; when its one thing is missing, nobody serves."""
    linted = shown(kind="lint", provider="any", model="any")
    assert decide(linted, kind="lint", models=(CLAUDE, EXTRACTIVE)).models == (CLAUDE, EXTRACTIVE)
    refused = decide(kind="lint", models=(CLAUDE, EXTRACTIVE))
    assert (refused.allowed, len(refused.missing), refused.skipped) == (False, 1, ())


@pytest.mark.parametrize("kind", ["lint", "evaluation"])
def test_a_chain_that_nobody_told_refuses(kind: str) -> None:
    """Before any serving process has started nobody knows who would answer."""
    linted = shown(kind="lint", provider="any", model="any")
    assert decide(linted, kind=kind, models=()).missing == (NOBODY_SERVES,)


def test_a_later_content_is_compared_with_the_one_that_serves() -> None:
    """Floors alone, or a comparison with another version, do not replace what serves; evidence names what it beat."""
    serving = Production(version=3, content_hash="a" * 64)
    for against in (None, "b" * 64):
        (sentence,) = decide(shown(details={"metrics": {}, "against_content": against}), production=serving).missing
        assert "did not compare with brief/3" in sentence
    assert decide(shown(details={"against_content": "a" * 64}), production=serving).allowed
    assert decide(shown(), production=Production(version=6, content_hash=VERSION.content_hash)).allowed


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
