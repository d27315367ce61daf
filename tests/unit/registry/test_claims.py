"""Claims: whatever a model wrote becomes a draft, and what is cited is cited."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.claims import Draft, DraftClaim, is_row, read_answer, sentences, takes_claims, write_answer

CITED = DraftClaim(text="Nine arrived.", citations=("P1", "M2"))
words = st.text(alphabet="abc defgh", min_size=1, max_size=30).map(lambda text: f"X{text.strip()}x")
claims = st.builds(
    DraftClaim,
    text=words.map(lambda text: f"{text}."),
    citations=st.lists(st.sampled_from(["P1", "P2", "M1"]), unique=True, min_size=1).map(tuple),
)


class TestReadAnswer:
    """Both forms of an answer, and everything that is neither."""

    @pytest.mark.parametrize("frame", ["{}", "```json\n{}\n```", "Sure, here it is:\n{}\nAnything else?"])
    def test_json_in_any_frame(self, frame: str) -> None:
        """The document is found bare, fenced, and in chatter."""
        document = {"answer": "Nine arrived.", "claims": [{"text": "Nine arrived.", "citations": ["P1", "m2"]}]}
        assert read_answer(frame.format(json.dumps(document))) == Draft(answer="Nine arrived.", claims=(CITED,))

    def test_no_claims_abstains(self) -> None:
        """An empty list of claims is an abstention."""
        draft = read_answer('{"answer": "The documents do not say.", "claims": []}')
        assert draft == Draft(answer="The documents do not say.", abstained=True)

    def test_marks_in_plain_text(self) -> None:
        """Sentences carry the marks that stand behind them; an uncited sentence stays uncited."""
        draft = read_answer("Nine arrived [P1, M2]. One was late! [p3]\n- The rest is unknown.")
        assert draft.claims == (
            DraftClaim(text="Nine arrived.", citations=("P1", "M2")),
            DraftClaim(text="One was late!", citations=("P3",)),
            DraftClaim(text="The rest is unknown."),
        )

    def test_marks_inside_a_claims_text_count(self) -> None:
        """A model that writes its marks into the claim's text cites all the same."""
        draft = read_answer('{"answer": "x", "claims": [{"text": "Nine arrived. [P2]", "citations": []}]}')
        assert draft.claims == (DraftClaim(text="Nine arrived.", citations=("P2",)),)

    @pytest.mark.parametrize(
        "text", ["I cannot answer this.", "The passages do not contain that figure.", "Dazu gibt es keine Angaben."]
    )
    def test_plain_abstention(self, text: str) -> None:
        """A text that says that it cannot answer, and cites nothing, abstains."""
        assert read_answer(text) == Draft(answer=text, abstained=True)

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '{"answer": 3}', '{"claims": [1, null, {"text": ""}]}', "[" * 5000, "```"]
    )
    def test_rubbish_makes_no_claims(self, text: str) -> None:
        """Rubbish is a draft without a cited claim."""
        assert not any(claim.citations for claim in read_answer(text).claims)

    @given(st.text(max_size=400) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
    def test_never_raises(self, text: str) -> None:
        """No text at all makes reading fail."""
        assert len(read_answer(text).claims) <= 32


class TestWriteAnswer:
    """What is written is what is read."""

    @given(st.lists(claims, min_size=1, max_size=5, unique_by=lambda claim: claim.text))
    def test_round_trip(self, made: list[DraftClaim]) -> None:
        """Both forms give back the claims with their citations."""
        draft = Draft(answer=" ".join(claim.text for claim in made), claims=tuple(made))
        assert read_answer(write_answer(draft, {})) == draft
        assert read_answer(write_answer(draft, None)).claims == draft.claims

    def test_takes_claims(self) -> None:
        """The insights schema is known by its two members."""
        assert takes_claims({"properties": {"answer": {}, "claims": {}}})
        assert not takes_claims({"properties": {"answer": {}}})
        assert not takes_claims(None)


class TestSentences:
    """Pieces of a text, each verbatim."""

    def test_what_ends_a_sentence(self) -> None:
        """Full stops end sentences, decimal points and abbreviations do not."""
        text = "Sales rose by 3.5 %. Costs, e.g. rent, fell! See no. 4. The end"
        assert sentences(text) == ("Sales rose by 3.5 %.", "Costs, e.g. rent, fell!", "See no. 4.", "The end")

    def test_wrapped_lines_go_on(self) -> None:
        """A long line of prose that was only wrapped is one sentence with the next line."""
        text = "We delivered all parcels of the week before the holiday, except\nthose for the islands. Thanks."
        assert sentences(text)[0].endswith("the islands.")

    def test_short_lines_and_lists_stand_alone(self) -> None:
        """Headings, list items and table lines are pieces of their own."""
        text = "Results\n- one parcel\n- two parcels\n| a | b |\n| 1 | 2 |"
        assert sentences(text) == ("Results", "- one parcel", "- two parcels", "| a | b |", "| 1 | 2 |")

    def test_rows_stay_whole(self) -> None:
        """A block of `column: value` lines is one piece."""
        text = "Parcels\n\nmonth: 2026-01\nparcels: 12\n\nmonth: 2026-02\nparcels: 14"
        assert sentences(text) == ("Parcels", "month: 2026-01\nparcels: 12", "month: 2026-02\nparcels: 14")
        assert is_row(sentences(text)[1])

    @given(st.text(alphabet="ab .!?\n:|-1,", max_size=120))
    def test_verbatim_and_complete(self, text: str) -> None:
        """Every piece stands in the text, in order, and nothing but white space is lost."""
        assert "".join("".join(sentences(text)).split()) == "".join(text.split())
