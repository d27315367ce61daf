"""Verdicts on a version's page: what they say, what they leave alone, and which evaluations are still wanted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.fake_mlflow import URL, FakeMlflow
from hypothesis import given
from hypothesis import strategies as st

from registry.database import Database
from registry.prompts.case import Case, Production
from registry.prompts.evidence import AGAINST, Evidence, Verdict, record_evidence
from registry.prompts.mlflow_rest import MlflowNotFound, MlflowRest
from registry.prompts.policy import Policy
from registry.prompts.promotion_records import ServingModel, tell_serving_models
from registry.prompts.publishing import PromptPublisher
from registry.prompts.schema import PromptTemplate, Variable, content_hash
from registry.prompts.verdicts import (
    BEGIN,
    DESCRIPTION_CHARS_MAX,
    END,
    show,
    show_standing,
    unreadable,
    verdict_of,
    waiting,
    with_block,
)
from registry.prompts.versions import PromotedVersion

NOW = 1_795_000_000.0
FAST, GOOD = ServingModel(provider="fast", model="f-1"), ServingModel(provider="good", model="g-1")
TEMPLATE = PromptTemplate(
    name="insights",
    use_case="insights",
    owner="tests",
    template="Answer {{question}}.",
    variables={"question": Variable(max_chars=100)},
)
VERSION = PromotedVersion(name="insights", version=1, alias="", template=TEMPLATE, content_hash=content_hash(TEMPLATE))


def policy(**evaluation: Any) -> Policy:
    """A policy that asks for an evaluation."""
    wanted = {"use_case": "insights", "prompt": "insights", "requires": [{"kind": "evaluation", **evaluation}]}
    return Policy.model_validate(wanted)


def shown(model: ServingModel, verdict: Verdict = "PASS", days: float = 0, **details: Any) -> Evidence:
    """An evaluation of VERSION, done so many days ago."""
    return Evidence(
        id=f"{model.provider}{days}",
        kind="evaluation",
        prompt_name="insights",
        prompt_version=1,
        content_hash=VERSION.content_hash,
        provider=model.provider,
        model=model.model,
        verdict=verdict,
        details={"metrics": {}, "reasons": ["too bad"] if verdict == "FAIL" else [], **details},
        run_id=f"run-{model.provider}",
        dataset="sample",
        created_ms=int((NOW - days * 86_400) * 1000),
    )


def case(*evidence: Evidence, production: str | None = None) -> Case:
    """What is known about VERSION; `production` is the hash of the content that serves."""
    serving = None if production is None else Production(version=7, content_hash=production)
    return Case(version=VERSION, evidence=evidence, now=NOW, production=serving)


class TestWaiting:
    """Which evaluations are still wanted."""

    @pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
    def test_a_model_with_a_ruling_is_not_asked_again(self, verdict: Verdict) -> None:
        """Evaluations cost money: only the other model of the chain is left."""
        (left,) = waiting(policy(), (FAST, GOOD), case(shown(FAST, verdict)))
        assert (left.model, left.dataset) == (GOOD, None)

    def test_too_few_questions_are_no_ruling(self) -> None:
        """UNDERPOWERED is tried again when the version becomes the candidate again."""
        assert waiting(policy(), (FAST,), case(shown(FAST, "UNDERPOWERED")))

    def test_an_old_ruling_is_none(self) -> None:
        """What the policy would not count any more is done again."""
        assert not waiting(policy(max_age_days=2), (FAST,), case(shown(FAST, days=1)))
        assert waiting(policy(max_age_days=2), (FAST,), case(shown(FAST, days=3)))

    def test_a_ruling_against_another_production_is_none(self) -> None:
        """A comparison with a version that serves no longer is done again."""
        compared = shown(FAST, **{AGAINST: "before"})
        assert not waiting(policy(), (FAST,), case(compared, production="before"))
        assert waiting(policy(), (FAST,), case(compared, production="since"))
        assert not waiting(policy(), (FAST,), case(compared, production=VERSION.content_hash))

    def test_another_dataset_does_not_count(self) -> None:
        """Each data set that the policy names is wanted by itself."""
        (left,) = waiting(policy(dataset="mine"), (FAST,), case(shown(FAST)))
        assert left.dataset == "mine"

    def test_nothing_is_wanted_where_the_policy_wants_nothing(self) -> None:
        """A policy of lint alone costs no evaluation."""
        only_lint = Policy.model_validate(
            {"use_case": "insights", "prompt": "insights", "requires": [{"kind": "lint"}]}
        )
        assert waiting(only_lint, (FAST,), case()) == ()


class TestWords:
    """What a verdict says."""

    @pytest.mark.parametrize(
        ("verdicts", "word", "promotable"),
        [
            (("PASS", "PASS"), "PASS", "yes, with fast, good"),
            (("PASS", "FAIL"), "PASS (1 of 2 models)", "yes, with fast"),
            (("FAIL", "UNDERPOWERED"), "FAIL", "no"),
            (("UNDERPOWERED",), "UNDERPOWERED", "no"),
            ((), "NONE", "no"),
        ],
    )
    def test_the_word_covers_the_chain(self, verdicts: tuple[Verdict, ...], word: str, promotable: str) -> None:
        """One word over all models that serve, and whom the version may serve with."""
        evidence = [shown(model, verdict) for model, verdict in zip((FAST, GOOD), verdicts, strict=False)]
        made = verdict_of(policy(), (FAST, GOOD), case(*evidence), "http://mlflow")
        assert (made.word, made.tags["assay.verdict"], made.tags["assay.promotable"]) == (word, word, promotable)

    def test_each_model_has_its_tags_and_the_newest_run_is_linked(self) -> None:
        """Tags name verdict, model, data set and the run's page."""
        made = verdict_of(policy(), (FAST, GOOD), case(shown(GOOD, days=1), shown(FAST, "FAIL")), "http://mlflow")
        assert made.tags == {
            "assay.verdict": "PASS (1 of 2 models)",
            "assay.promotable": "yes, with good",
            "assay.run": "http://mlflow/#/runs/run-fast",
            "assay.verdict.fast": "FAIL with f-1 on sample",
            "assay.run.fast": "http://mlflow/#/runs/run-fast",
            "assay.verdict.good": "PASS with g-1 on sample",
            "assay.run.good": "http://mlflow/#/runs/run-good",
        }

    def test_a_look_at_a_part_of_the_rows_says_so(self) -> None:
        """Its PASS stands on the page with whom it asked for, and what counts is still to be done."""
        known = case(shown(FAST, tenant="acme"))
        made = verdict_of(policy(), (FAST,), known, "http://mlflow")
        assert made.tags["assay.verdict.fast"] == "PASS with f-1 on sample, tenant 'acme' alone"
        assert made.tags["assay.promotable"] == "no"
        assert "fast f-1: PASS on sample, tenant 'acme' alone, run run-fast." in made.lines
        assert [each.model for each in waiting(policy(), (FAST,), known)] == [FAST]

    def test_what_is_missing_stands_there_with_what_helps(self) -> None:
        """The engineer reads why, and what to do, without asking anybody."""
        text = " ".join(verdict_of(policy(), (FAST, GOOD), case(shown(FAST, "FAIL")), "http://mlflow").lines)
        assert text.startswith("FAIL, 2026-11-18 11:06 UTC. fast f-1: FAIL on sample, run run-fast. good g-1: not")
        assert "May not become 'production' yet: (1) the newest evaluation with fast f-1 says FAIL (too bad)" in text
        assert "run `assay evaluate run --prompt insights/1 --provider good`" in text

    def test_an_evaluation_that_could_not_be_done_is_told(self) -> None:
        """A provider without a key is a sentence on the page."""
        made = verdict_of(policy(), (FAST,), case(), "http://mlflow", ["Not evaluated with fast f-1: no key"])
        assert "Not evaluated with fast f-1: no key." in made.lines

    def test_a_model_that_does_not_serve_is_marked(self) -> None:
        """It was measured, and its verdict promotes nothing."""
        made = verdict_of(policy(), (GOOD,), case(shown(FAST)), "http://mlflow")
        assert (made.word, made.tags["assay.promotable"]) == ("NONE", "no")
        assert "fast f-1 (does not serve): PASS on sample, run run-fast." in made.lines


class TestPage:
    """How a verdict reaches the page."""

    @pytest.fixture
    async def rest(self, mlflow: FakeMlflow) -> AsyncIterator[MlflowRest]:
        """MLflow with the version, described by its author."""
        made = MlflowRest(URL, client=mlflow.client())
        await PromptPublisher(made).push(TEMPLATE, "Why I did it.")
        yield made
        await made.aclose()

    @pytest.fixture
    def mlflow(self) -> FakeMlflow:
        """An empty MLflow."""
        return FakeMlflow()

    async def test_the_authors_words_stay_and_the_older_verdict_goes(
        self, mlflow: FakeMlflow, rest: MlflowRest
    ) -> None:
        """Also words that were written behind the verdict; tags of a provider that left go, others stay."""
        await show(rest, verdict_of(policy(), (FAST,), case(shown(FAST, "FAIL")), "http://mlflow"))
        (stored,) = mlflow.prompts["insights"].versions
        stored["description"] += "\nSee you."
        mlflow.set_tag("insights", 1, "team", "search")
        await show(rest, verdict_of(policy(), (GOOD,), case(shown(GOOD)), "http://mlflow"))
        description = stored["description"]
        assert description.startswith(f"Why I did it.\nSee you.\n\n{BEGIN}\nPASS, ")
        assert (description.count(BEGIN), description.count(END)) == (1, 1)
        tags = {tag["key"]: tag["value"] for tag in stored["tags"]}
        assert (tags["team"], tags["assay.verdict"], "assay.spec" in tags) == ("search", "PASS", True)
        assert "assay.verdict.fast" not in tags

    async def test_showing_the_same_again_writes_nothing(self, mlflow: FakeMlflow, rest: MlflowRest) -> None:
        """A flow that is run again leaves no trace of its own."""
        verdict = verdict_of(policy(), (FAST,), case(shown(FAST)), "http://mlflow")
        await show(rest, verdict)
        before = len([call for call in mlflow.calls if call[0] != "GET"])
        await show(rest, verdict)
        assert len([call for call in mlflow.calls if call[0] != "GET"]) == before

    async def test_a_version_that_cannot_be_read_says_so(self, mlflow: FakeMlflow, rest: MlflowRest) -> None:
        """Its page gives the reason."""
        await show(rest, unreadable("insights", 1, "tag 'assay.spec' is not JSON"))
        assert "Not evaluated: tag 'assay.spec' is not JSON." in mlflow.prompts["insights"].versions[0]["description"]

    async def test_a_version_that_is_gone_is_an_error(self, rest: MlflowRest) -> None:
        """Nobody writes on a page that is not there."""
        with pytest.raises(MlflowNotFound):
            await show(rest, unreadable("insights", 2, "?"))

    async def test_a_standing_counts_what_the_registry_knows(self, rest: MlflowRest, database: Database) -> None:
        """The chain that was told, and evidence as stored."""
        tell_serving_models(database, [GOOD])
        known = shown(GOOD)
        fields = ("kind", "prompt_name", "prompt_version", "content_hash", "provider", "model", "verdict", "details")
        record_evidence(database, **{name: getattr(known, name) for name in fields})
        verdict = await show_standing(rest, database, policy(), VERSION, mlflow_url="http://mlflow", now=NOW)
        assert (verdict.word, verdict.tags["assay.promotable"]) == ("PASS", "yes, with good")


WORDS = st.lists(st.sampled_from([BEGIN, END, "[", "]", "assay", "\n", " "]) | st.text(max_size=300), max_size=25).map(
    "".join
)


@given(description=WORDS, lines=st.lists(WORDS, max_size=5))
def test_a_description_keeps_its_words_and_its_limit(description: str, lines: list[str]) -> None:
    """Whatever people and models write: within MLflow's limit, the same when written again, and one block more."""
    once = with_block(description, lines)
    assert len(once) <= max(DESCRIPTION_CHARS_MAX, len(description))
    assert with_block(once, lines) == once
    assert once.count(END) <= description.count(END) + 1


def test_a_mark_without_its_end_takes_no_words_along() -> None:
    """Who writes about `[assay]` loses nothing."""
    once = with_block("Made for [assay] people.", ["FAIL."])
    assert with_block(once, ["PASS."]) == f"Made for [assay] people.\n\n{BEGIN}\nPASS.\n{END}"


def test_where_there_is_no_room_the_authors_words_win() -> None:
    """A description of 4,990 characters stays as it is."""
    words = "x" * 4_990
    assert with_block(words, ["PASS"]) == words
