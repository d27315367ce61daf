"""Grounding: every claim is held against its evidence, and what the evidence does not say is flagged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import JsonValue
from registry.insights import Claim, Evidence, MetricPoint, MetricSeries, Passage
from serving.grounding import NO_ANSWER, Grounded, ground

PASSAGES = (
    Passage(
        id="p-1",
        document="reports/2026-03.md",
        score=1.0,
        text=(
            "Delivery report > Late parcels\n\nIn March 1,234,567 parcels were delivered. Late parcels fell by 12.5 %. "
            "Returns cost €48,000. Weekend delivery is not offered."
        ),
    ),
    Passage(
        id="p-2", document="staff.csv", score=0.5, text="Staff\n\nteam: North\ndrivers: 40\n\nteam: South\ndrivers: 50"
    ),
    Passage(id="p-3", document="costs.md", score=0.4, text="Fuel cost €1.2 million. Rent came to €4.8 million in all."),
    Passage(
        id="p-4",
        document="sites.csv",
        score=0.3,
        text="Sites\n\nsites: 27\nrevenue (thousand EUR): 143.1\nwaste (kg): 300",
    ),
)
METRICS = (
    MetricSeries(
        name="orders", unit="count", points=[MetricPoint(t="2026-01", value=1000), MetricPoint(t="2026-02", value=1240)]
    ),
)


def check(text: str, *citations: str) -> Claim:
    """Ground one claim."""
    answer = json.dumps({"answer": text, "claims": [{"text": text, "citations": list(citations)}]})
    (claim,) = ground(answer, PASSAGES, METRICS).claims
    return claim


class TestGroundedClaims:
    """What holds."""

    @pytest.mark.parametrize(
        ("text", "citation"),
        [
            ("1,234,567 parcels were delivered in March.", "P1"),
            ("About 1.2 million parcels were delivered in March 2026.", "P1"),
            ("1.234.567 parcels were delivered.", "P1"),
            ("Late parcels fell by 12.5%.", "P1"),
            ("Late parcels changed by -12.5 %.", "P1"),
            ("Returns cost 48k euros.", "P1"),
            ("Returns cost 48,000.", "P1"),
            ("Weekend delivery is not offered.", "P1"),
            ("Team South has 50 drivers.", "P2"),
            ("Orders were 1,240 in February 2026.", "M1"),
            ("Orders rose from 1,000 to 1,240, a difference of 240 (24%).", "M1"),
            ("North has 40 drivers and South 50, 90 drivers in total.", "P2"),
            ("South has 50 drivers, North has 40: on average 45 drivers a team.", "P2"),
            ("50 / 40 x 100 = 125 %", "P2"),
            ("(40 + 50) / 2 = 45", "P2"),
            ("Orders grew: (1,240 - 1,000) / 1,000 = 24 %.", "M1"),
            ("1.2 / 4.8 = 25 %", "P3"),
            ("EUR 1.2 million / EUR 4.8 million = 25 %", "P3"),
            ("1.2 + 4.8 = 6.0 million", "P3"),
            ("300 kg / 1,000 = 0.3 t", "P4"),
            ("EUR 143,100 / 27 = EUR 5,300", "P4"),
        ],
    )
    def test_is_grounded(self, text: str, citation: str) -> None:
        """Figures in any writing, rounded as written, and stated arithmetic on them are grounded."""
        assert check(text, citation).grounded

    def test_quotes_are_verbatim(self) -> None:
        """Evidence names the passage and quotes its sentence; a second figure brings a second quote."""
        claim = check("1,234,567 parcels were delivered, and returns cost €48,000.", "P1")
        assert claim.evidence == [
            Evidence(kind="passage", id="p-1", quote="In March 1,234,567 parcels were delivered."),
            Evidence(kind="passage", id="p-1", quote="Returns cost €48,000."),
        ]

    def test_metrics_are_quoted_as_readings(self) -> None:
        """A metric's evidence is the reading that is stated."""
        claim = check("Orders were 1,240 in February 2026.", "M1")
        assert claim.evidence == [Evidence(kind="metric", id="orders", quote="orders 2026-02: 1240 count")]


class TestFlaggedClaims:
    """What does not hold."""

    @pytest.mark.parametrize(
        ("text", "citation"),
        [
            ("1,234,568 parcels were delivered in March.", "P1"),
            ("1.3 million parcels were delivered in March.", "P1"),
            ("1,234,567 parcels were delivered in April 2026.", "P1"),
            ("Late parcels fell by 12.5 days.", "P1"),
            ("Late parcels fell by 13.5 %.", "P1"),
            ("Late parcels rose by 12.5 %.", "P1"),
            ("Returns cost $48,000.", "P1"),
            ("Weekend delivery is offered.", "P1"),
            ("The chief driver likes her new blue lorry very much.", "P1"),
            ("Orders rose by 31% to 1,240.", "M1"),
            ("Team South has 50 drivers, which makes 90 in all.", "P2"),
            ("Late parcels fell by 12.5 %.", "P2"),
            ("Late parcels fell by 12.5 %.", "P9"),
            ("12 parcels were delivered in March.", "P1"),
            ("12,300 parcels were delivered in March.", "P1"),
            ("2,026 parcels were delivered in March.", "P1"),
            ("Returns were 48,000 parcels.", "P1"),
            ("50 - 40 = 40", "P2"),
            ("50 / 40 = 1.25 %", "P2"),
            ("1.2 + 4.8 = 6.0", "P3"),
            ("50 drivers - 1.2 million = 48", "P2"),
            ("143.1 / 27 = EUR 5.30", "P1"),
        ],
    )
    def test_is_flagged(self, text: str, citation: str) -> None:
        """Another figure, unit, period, direction or source, a lost `not`, and unstated arithmetic are flagged."""
        assert not check(text, citation).grounded

    def test_uncited_is_flagged(self) -> None:
        """A true sentence without a citation is not grounded."""
        assert check("Late parcels fell by 12.5 %.") == Claim(text="Late parcels fell by 12.5 %.", grounded=False)

    def test_a_figure_beside_the_claims_is_flagged(self) -> None:
        """A figure that only the answer holds becomes a claim of its own."""
        claims = [{"text": "Returns cost €48,000.", "citations": ["P1"]}]
        grounded = ground(
            json.dumps({"answer": "Returns cost €48,000. Profit was €7 million.", "claims": claims}), PASSAGES, METRICS
        )
        assert [(claim.text, claim.grounded) for claim in grounded.claims] == [
            ("Returns cost €48,000.", True),
            ("Profit was €7 million.", False),
        ]

    def test_a_false_equation_beside_the_claims_is_flagged(self) -> None:
        """Its figures stand in claims that are true, and still it is a false statement of its own."""
        claims = [
            {"text": "North has 40 drivers, South has 50.", "citations": ["P2"]},
            {"text": "Returns cost €48,000.", "citations": ["P1"]},
        ]
        answer = json.dumps({"answer": "In short, 40 + 50 = 48,000.", "claims": claims})
        grounded = ground(answer, PASSAGES, METRICS)
        assert [claim.grounded for claim in grounded.claims] == [True, True, False]


class TestAnswers:
    """Whole answers."""

    def test_plain_text(self) -> None:
        """A marked text is checked sentence by sentence, and the marks leave the answer."""
        grounded = ground("Returns cost €48,000. [P1] Drivers are happy. [P2]", PASSAGES, METRICS)
        assert grounded.answer == "Returns cost €48,000. Drivers are happy."
        assert [claim.grounded for claim in grounded.claims] == [True, False]

    def test_abstention(self) -> None:
        """An answer without claims that says so is an abstention."""
        grounded = ground('{"answer": "The documents do not say.", "claims": []}', PASSAGES, METRICS)
        assert grounded == Grounded(answer="The documents do not say.", claims=[], abstained=True)

    def test_an_abstention_that_asserts_a_figure_is_none(self) -> None:
        """No claims, but a figure: the sentence is a claim, and it is flagged."""
        grounded = ground('{"answer": "Profit was €7 million.", "claims": []}', PASSAGES, METRICS)
        assert (grounded.abstained, [claim.grounded for claim in grounded.claims]) == (False, [False])

    @pytest.mark.parametrize("text", ["", '{"answer": "[P1]", "claims": []}'])
    def test_an_empty_answer_says_so(self, text: str) -> None:
        """A model that says nothing has abstained, and the reader is told."""
        assert ground(text, PASSAGES, METRICS) == Grounded(answer=NO_ANSWER, claims=[], abstained=True)

    def test_another_schema(self) -> None:
        """Under a schema of one's own every value is a claim that any evidence may support."""
        schema: dict[str, JsonValue] = {
            "type": "object",
            "properties": {"returns_cost": {"type": "number"}, "drivers": {"type": "number"}},
        }
        grounded = ground('{"returns_cost": 48000, "drivers": 77}', PASSAGES, METRICS, schema)
        assert {claim.text: claim.grounded for claim in grounded.claims} == {
            "returns cost: 48000": True,
            "drivers: 77": False,
        }

    @given(st.text(max_size=300))
    def test_never_raises(self, text: str) -> None:
        """Whatever a model wrote, nothing uncited is grounded and nothing raises."""
        assert not any(claim.grounded for claim in ground(text, (), ()).claims)

    @given(st.integers(min_value=0, max_value=10**9) | st.integers(min_value=0, max_value=60_000))
    def test_no_other_figure_passes(self, value: int) -> None:
        """A figure that stands nowhere in the evidence is never grounded."""
        grounded = check(f"{value:,} parcels were delivered in March.", "P1").grounded
        assert grounded == (value == 1_234_567)
