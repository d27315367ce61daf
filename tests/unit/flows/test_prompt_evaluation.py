"""From ground truth to evidence, with a stand-in for serving and for MLflow."""

from pathlib import Path
from typing import Any

import pytest
from fakes.fake_evaluation import FakeRuns, FakeServices
from fakes.fake_insights import FakeTarget, fake_insight
from fakes.fake_serving import prompt_version, prove

from evaluation.journal import JournalMismatch
from evaluation.run import EvaluationStopped
from flows.evaluation_outcome import MixedModels, Outcome, conclude, document, markdown
from flows.prompt_evaluation import Order, answer, prepare
from registry.database import Database
from registry.datasets import Datasets, GroundTruthRow
from registry.errors import InvalidInput, NotFound, Unavailable
from registry.insights import Insight
from registry.prompts.evidence import evidence_for
from registry.prompts.promoted import PromptTampered

POLICY = """
use_case: insights
prompt: insights
requires: [{kind: evaluation, floors: {answer_right: 0.5}}]
"""
FIRST, SECOND = prompt_version(1), prompt_version(2, "Answer well.")


def right(question: str) -> Insight:
    """An answer that cites its tenant's passage."""
    passage = f"{question.split(maxsplit=1)[0]}-p"
    return fake_insight(cites=[passage], retrieved=[passage])


@pytest.fixture
def services(database: Database, tmp_path: Path) -> FakeServices:
    """Two tenants with three test questions each and one for dev; only version 1 exists, and is right."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "insights.yaml").write_text(POLICY)
    relevant = [{"document": "a.md", "quote": "12 boxes", "grade": 3}]
    rows = [
        {"id": f"{tenant}-{n}", "question": f"{tenant} {n}?", "tenant": tenant, "split": "dev" if n == 3 else "test"}
        for tenant in ("acme", "beta")
        for n in range(4)
    ]
    Datasets(tmp_path).add("d", [GroundTruthRow.model_validate({**row, "relevant": relevant}) for row in rows])
    return FakeServices(database, tmp_path, {"insights@candidate": FIRST}, {1: FakeTarget(right)})


async def evaluate(services: FakeServices, runs: FakeRuns, **order: Any) -> Outcome:
    """One evaluation from start to end."""
    prepared = await prepare(
        Order(**{"prompt": "insights@candidate", "provider": "fake", "dataset": "d"} | order),
        services,
        services.home,
        services.new_id,
    )
    candidate = await answer(prepared, prepared.candidate, services, services.home, lambda _: None)
    baseline = None
    if prepared.baseline:
        baseline = await answer(prepared, prepared.baseline, services, services.home, lambda _: None)
    return conclude(prepared, candidate, baseline, services, runs)


async def test_a_first_version_gets_evidence_for_its_model(services: FakeServices) -> None:
    """The verdict is stored for the content and the model that answered, with the run and the means."""
    outcome = await evaluate(services, FakeRuns())
    [stored] = evidence_for(services.database, "insights", FIRST.content_hash)
    assert (stored.kind, stored.verdict, stored.provider, stored.model) == ("evaluation", "PASS", "fake", "fake-1")
    assert (stored.run_id, stored.dataset, stored.id) == ("run-1", "d", outcome.evidence)
    assert (stored.details["questions"], stored.details["tenant"]) == (6, None)
    assert stored.details["metrics"] == {
        "answer_right": 1.0,
        "citation_supports": 1.0,
        "abstention_right": 1.0,
        "instructions_kept": 1.0,
        "claims_grounded": 1.0,
        "ndcg@10": 1.0,
        "recall@10": 1.0,
        "mrr": 1.0,
    }


async def test_every_row_is_asked_for_its_own_tenant(services: FakeServices) -> None:
    """Without a tenant each row is answered from its own tenant's documents; with one, only that tenant's rows."""
    await evaluate(services, FakeRuns())
    assert services.asked == [(1, "acme"), (1, "beta")]
    assert len(services.targets[1].asked) == 6  # the rows of split test
    outcome = await evaluate(services, FakeRuns(), tenant="beta", split=None)
    assert len(outcome.prepared.rows) == 4


async def test_evidence_says_whose_rows_alone_were_asked(services: FakeServices) -> None:
    """One tenant of two is a part of the data, which no policy counts; where a tenant has all rows, it is the whole."""
    outcome = await evaluate(services, FakeRuns(), tenant="beta")
    Datasets(services.home).add("b", [row for row in outcome.prepared.dataset.rows if row.tenant == "beta"])
    told = document(outcome), document(await evaluate(services, FakeRuns(), tenant="beta", dataset="b"))
    assert [each["tenant"] for each in told] == ["beta", None]
    whole, part = evidence_for(services.database, "insights", FIRST.content_hash)
    assert [each.details["tenant"] for each in (part, whole)] == ["beta", None]
    assert "No policy counts it: only the rows of tenant 'beta' were asked." in markdown(outcome)


async def test_rows_of_nobody_are_a_part_whoever_they_are_asked_for(services: FakeServices) -> None:
    """Whose documents answer them is a choice of whoever measures; a data set that counts says it in each row."""
    Datasets(services.home).add("anyone", [GroundTruthRow(id="q", question="beta?", split="test")])
    assert document(await evaluate(services, FakeRuns(), tenant="beta", dataset="anyone"))["tenant"] == "beta"


async def test_a_missing_tenant_stops_before_anything_is_asked(services: FakeServices) -> None:
    """Questions about documents that nobody ingested would only lower the scores; no evidence comes of them."""
    services.gone = "beta"
    with pytest.raises(NotFound, match="beta"):
        await evaluate(services, FakeRuns())
    assert services.asked == []
    assert evidence_for(services.database, "insights", FIRST.content_hash) == ()


async def test_dev_makes_no_evidence(services: FakeServices) -> None:
    """A look at the dev split is logged as a run and proves nothing."""
    runs = FakeRuns()
    outcome = await evaluate(services, runs, split="dev")
    assert outcome.evidence is None
    assert evidence_for(services.database, "insights", FIRST.content_hash) == ()
    assert len(runs.reports) == 1
    assert "No evidence" in markdown(outcome)


async def test_the_run_is_about_the_prompt_version(services: FakeServices) -> None:
    """Prompt, dataset, parameters, metrics, table and picture go into one run."""
    runs = FakeRuns()
    await evaluate(services, runs)
    [report] = runs.reports
    assert (report.prompt, report.dataset and report.dataset[0]) == (("insights", 1), "d")
    assert report.parameters["model"] == "fake fake-1"
    assert report.parameters["content_hash"] == FIRST.content_hash
    assert report.metrics["ndcg@10"] == 1.0
    assert len(report.tables["questions.json"]) == 6
    assert report.files["metrics.png"].startswith(b"\x89PNG")


async def test_a_later_version_is_compared_with_production(services: FakeServices) -> None:
    """Both versions are asked the same questions, and six pairs are too few."""
    services.prompts |= {"insights@candidate": SECOND, "insights/1": FIRST}
    prove(services.database, FIRST)
    services.targets[2] = FakeTarget(right)
    outcome = await evaluate(services, FakeRuns())
    assert {version for version, _ in services.asked} == {1, 2}
    told = document(outcome)
    assert (told["verdict"], told["against"], told["gate"]["n"]) == ("UNDERPOWERED", 1, 6)
    [stored] = evidence_for(services.database, "insights", SECOND.content_hash)
    assert stored.details["against_content"] == FIRST.content_hash
    assert all(stored.details[name] == told["gate"][name] for name in ("margin", "mde", "difference", "n"))


async def test_an_alias_that_was_moved_by_other_means_is_not_compared_with(services: FakeServices) -> None:
    """The comparison is with what was last let through, also when the alias points at the candidate itself."""
    services.prompts |= {"insights@candidate": SECOND, "insights@production": SECOND, "insights/1": FIRST}
    prove(services.database, FIRST)
    services.targets[2] = FakeTarget(right)
    assert document(await evaluate(services, FakeRuns()))["against"] == 1


async def test_what_only_a_waiver_lets_through_is_no_baseline(services: FakeServices) -> None:
    """A waived candidate is still compared with what was last let through on evidence."""
    services.prompts |= {"insights@candidate": SECOND, "insights/1": FIRST, "insights/2": SECOND}
    services.targets[2] = FakeTarget(right)
    prove(services.database, FIRST)
    prove(services.database, SECOND, at_ms=2_000, expires_ms=2**52)
    assert document(await evaluate(services, FakeRuns()))["against"] == 1


async def test_a_promoted_version_that_was_replaced_is_not_compared_with(services: FakeServices) -> None:
    """Whatever has its number now is another version; the sentence says how to go on."""
    services.prompts |= {"insights@candidate": SECOND, "insights/1": prompt_version(1, "Anything.")}
    prove(services.database, FIRST)
    with pytest.raises(PromptTampered, match="assay prompts revoke insights 1 --reason WHY`"):
        await evaluate(services, FakeRuns())


async def test_the_version_in_production_is_held_to_its_floors(services: FakeServices) -> None:
    """Evaluating what serves already compares it with nothing."""
    prove(services.database, FIRST)
    assert (await evaluate(services, FakeRuns())).baseline is None


async def test_comparing_a_version_with_itself_is_refused(services: FakeServices) -> None:
    """A comparison that can only come out even is not made."""
    services.prompts["insights/1"] = FIRST
    with pytest.raises(InvalidInput, match="another version"):
        await evaluate(services, FakeRuns(), against="insights/1")


async def test_evidence_is_for_the_model_that_is_configured(services: FakeServices) -> None:
    """A vendor answers under dated names; policies ask about the configured one, and the details keep the others."""
    services.targets[1] = FakeTarget(lambda q: fake_insight(model=f"m-2026-0{1 + ('0' in q)}-01", asked_model="m"))
    outcome = await evaluate(services, FakeRuns())
    [stored] = evidence_for(services.database, "insights", FIRST.content_hash)
    assert (stored.provider, stored.model) == ("fake", "m")
    assert stored.details["answered_by"] == ["m-2026-01-01", "m-2026-02-01"]
    assert document(outcome)["answered_by"] == ["m-2026-01-01", "m-2026-02-01"]


async def test_two_models_make_no_evidence(services: FakeServices) -> None:
    """When a fallback answered some questions, the evidence would hold for neither."""
    services.targets[1] = FakeTarget(lambda q: fake_insight(model="fake-1" if "0" in q else "fake-2"))
    with pytest.raises(MixedModels, match="fake fake-1, fake fake-2"):
        await evaluate(services, FakeRuns())


async def test_a_stopped_evaluation_goes_on_where_it_was(services: FakeServices) -> None:
    """With its id, an evaluation asks only what has no answer yet."""
    services.targets[1] = FakeTarget(lambda q: right(q) if q.startswith("acme") else Unavailable("down"))
    await evaluate(services, FakeRuns())
    services.targets[1] = FakeTarget(right)
    outcome = await evaluate(services, FakeRuns(), resume="000000000001")
    assert services.targets[1].asked == ["beta 0?", "beta 1?", "beta 2?"]
    assert outcome.ruling.verdict == "PASS"


async def test_another_provider_does_not_go_on_where_one_stopped(services: FakeServices) -> None:
    """Evidence holds for one model: answers of one provider are not completed by another."""
    await evaluate(services, FakeRuns())
    with pytest.raises(JournalMismatch, match="differs in provider"):
        await evaluate(services, FakeRuns(), resume="000000000001", provider="other")


async def test_a_dead_target_stops_it(services: FakeServices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough failures in a row end the evaluation instead of finishing it with nothing."""
    rows = [GroundTruthRow(id=f"x{n}", question="acme", split="test", tenant="acme") for n in range(20)]
    Datasets(services.home).add("many", rows)
    services.targets[1] = FakeTarget(lambda _: Unavailable("down"))
    with pytest.raises(EvaluationStopped):
        await evaluate(services, FakeRuns(), dataset="many")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ({"tenant": "gamma"}, "no row"),
        ({"resume": "../../etc"}, "no id"),
        ({"resume": "000000000007"}, "resume it where it was begun, or evaluate anew"),
        ({"dataset": "anyone"}, "write it into each row, or have a look with --tenant"),
    ],
)
async def test_an_order_that_cannot_be_filled_is_refused(
    services: FakeServices, order: dict[str, str], message: str
) -> None:
    """Nothing to ask, a strange id, one without its answers, or rows of nobody: the error says what to change."""
    Datasets(services.home).add("anyone", [GroundTruthRow(id="q", question="?", split="test")])
    with pytest.raises(InvalidInput, match=message):
        await evaluate(services, FakeRuns(), **order)
