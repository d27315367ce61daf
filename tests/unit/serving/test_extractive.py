"""The extractive provider: cites what the passages say, obeys its parameters, and is silent when they say nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.claims import DraftClaim
from registry.errors import JsonValue
from registry.insights import MetricPoint, MetricSeries, Passage
from registry.messages import CompletionRequest, Material, Message
from serving.grounding import ground
from serving.providers.base import SchemaFailure
from serving.providers.extractive import ABSTAINS, Extractive, answer_claims

SCHEMA: dict[str, JsonValue] = {"type": "object", "properties": {"answer": {}, "claims": {}}}


def passage(document: str, text: str) -> Passage:
    """A passage whose id is its document."""
    return Passage(id=document, document=document, score=0.5, text=text)


PASSAGES = (
    passage("holiday.md", "Holiday\n\nThe office is closed in the last week of the year. Lunch is at noon."),
    passage(
        "parcels/2026-03.md",
        "Parcels, March 2026 > Lateness\n\nIn March 312 parcels were late. The reason was a broken sorting belt, which "
        "stood still for two days because no part was in stock. A draft of this page said 290 parcels were late.",
    ),
    passage("parcels/2026-02.md", "Parcels, February 2026 > Lateness\n\nIn February 95 parcels were late."),
    passage(
        "fleet.csv", "Fleet\n\nmonth: 2026-02\nvans: 41\nfuel_eur: 9120\n\nmonth: 2026-03\nvans: 44\nfuel_eur: 9800"
    ),
)
ORDERS = MetricSeries(
    name="weekly_orders",
    unit="count",
    points=[
        MetricPoint(t="2026-01", value=1000),
        MetricPoint(t="2026-02", value=900),
        MetricPoint(t="2026-03", value=1240),
    ],
)


def claims_for(question: str, *metrics: MetricSeries, **parameters: JsonValue) -> tuple[DraftClaim, ...]:
    """What is claimed on the passages above."""
    return answer_claims(Material(question=question, passages=PASSAGES, metrics=metrics), parameters)


class TestPicksTheSentence:
    """The best statement comes first, with the label of its passage."""

    @pytest.mark.parametrize(
        ("question", "text", "label"),
        [
            ("How many parcels were late in March 2026?", "In March 312 parcels were late.", "P2"),
            ("How many parcels were late in February 2026?", "In February 95 parcels were late.", "P3"),
            (
                "Why were parcels late in March?",
                "The reason was a broken sorting belt, which stood still for two days because no part was in stock.",
                "P2",
            ),
            ("How many vans did we have in March 2026?", "vans: 44 (month: 2026-03)", "P4"),
            ("How much fuel in February 2026?", "fuel eur: 9120 (month: 2026-02)", "P4"),
            ("When is lunch?", "Lunch is at noon.", "P1"),
        ],
    )
    def test_best_statement(self, question: str, text: str, label: str) -> None:
        """Words, the asked period, the kind of answer and what is superseded decide."""
        assert claims_for(question)[0] == DraftClaim(text=text, citations=(label,))

    def test_every_claim_is_grounded(self) -> None:
        """What it says passes our own check against the evidence."""
        for question in ("How many parcels were late in March?", "How many vans in 2026-03?", "When is lunch?"):
            claims = [{"text": claim.text, "citations": list(claim.citations)} for claim in claims_for(question)]
            grounded = ground(json.dumps({"answer": "", "claims": claims}), PASSAGES, ())
            assert [claim.grounded for claim in grounded.claims] == [True] * len(claims) != []

    @given(st.text(max_size=80), st.lists(st.text(max_size=120), max_size=4))
    def test_any_text_is_taken(self, question: str, texts: list[str]) -> None:
        """No question and no passage makes it fail, and the same input gives the same answer."""
        material = Material(question=question, passages=tuple(passage(f"{i}", text) for i, text in enumerate(texts)))
        assert answer_claims(material, {}) == answer_claims(material, {})


class TestParameters:
    """What a prompt version can set."""

    def test_claims_max(self) -> None:
        """No more claims than the version allows."""
        assert len(claims_for("Which parcels were late?", claims_max=1)) == 1

    def test_score_min(self) -> None:
        """A version that asks for more certainty gets silence."""
        question = "Which parcels to the islands were late?"
        assert claims_for(question, score_min=0.1) != ()
        assert claims_for(question, score_min=0.9) == ()

    def test_abstains_on_what_is_not_there(self) -> None:
        """A question that no statement speaks of is not answered."""
        assert claims_for("What did the new chief executive earn in Lisbon?") == ()

    async def test_schema_and_text(self) -> None:
        """The insights schema gets its JSON, no schema gets marked text, both say when they abstain."""
        asked = Material(question="When is lunch?", passages=PASSAGES)
        assert json.loads(await _text(asked, SCHEMA)) == {
            "answer": "Lunch is at noon.",
            "claims": [{"text": "Lunch is at noon.", "citations": ["P1"]}],
        }
        assert await _text(asked, None) == "Lunch is at noon [P1]."
        silent = Material(question="Who won the chess cup?")
        assert json.loads(await _text(silent, SCHEMA)) == {"answer": ABSTAINS, "claims": []}
        assert await _text(silent, None) == ABSTAINS

    async def test_another_schema_is_refused(self) -> None:
        """It does not pretend to fill a schema that it cannot fill."""
        with pytest.raises(SchemaFailure, match="answer"):
            await _text(Material(question="?"), {"type": "object", "properties": {"mood": {}}})


class TestMetrics:
    """What passed metrics say."""

    @pytest.mark.parametrize(
        ("question", "text"),
        [
            (
                "How did orders develop?",
                "weekly orders rose from 1,000 in 2026-01 to 1,240 in 2026-03, a difference of 240 (24.0%).",
            ),
            ("What were the orders in February 2026?", "weekly orders was 900 in 2026-02."),
            ("Which month had the highest orders?", "The highest weekly orders was 1,240 in 2026-03."),
            ("Which month had the fewest, the lowest orders?", "The lowest weekly orders was 900 in 2026-02."),
        ],
    )
    def test_states_the_reading(self, question: str, text: str) -> None:
        """The reading, extreme or change that is asked for, cited, with its operands, and grounded."""
        claim = claims_for(question, ORDERS)[0]
        assert claim == DraftClaim(text=text, citations=("M1",))
        answer: dict[str, Any] = {"answer": text, "claims": [{"text": text, "citations": ["M1"]}]}
        assert ground(json.dumps(answer), (), (ORDERS,)).claims[0].grounded

    def test_a_metric_that_is_not_asked_for_is_not_stated(self) -> None:
        """Only a metric whose name the question says is stated."""
        assert claims_for("When is lunch?", ORDERS)[0].citations == ("P1",)


async def _text(material: Material, schema: dict[str, JsonValue] | None) -> str:
    request = CompletionRequest(
        messages=(Message(role="user", content="x"),), max_output_tokens=200, output_schema=schema, material=material
    )
    completion = await Extractive().complete(request)
    assert completion.usage.output > 0
    return completion.text
