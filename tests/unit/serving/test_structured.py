"""JSON under a schema: what fits, and what of a stream belongs to the document."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.providers.base import Rejected
from serving.providers.structured import DocumentPieces, Misfit, compiled, is_strict

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer"],
    "properties": {"answer": {"type": "string", "pattern": "^[^@]*$"}, "claims": {"type": "array"}},
}
GOOD = '{"answer": "Nine. \\"[P1]\\" {", "claims": []}'
TOKENS = 1_000
CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


class TestDocumentIn:
    """`Schema.document_in`."""

    @pytest.mark.parametrize(
        "text",
        [
            GOOD,
            f" \n{GOOD}\n",
            f"```json\n{GOOD}\n```",
            f"Here it is, as asked for [P1]: {GOOD} I hope that it helps {{sic}}.",
            f'{{"other": 1}} or rather {GOOD}',
        ],
    )
    def test_the_document_is_found(self, text: str) -> None:
        """Fences, chatter and documents that do not fit around it are left away."""
        assert compiled(SCHEMA).document_in(text, TOKENS) == GOOD

    @pytest.mark.parametrize(
        ("text", "missed"),
        [
            ("I would rather chat.", "no JSON"),
            ('{"answer": "Nine', "no JSON"),
            ("{}", "'required'"),
            ('{"answer": 9}', "'properties/answer/type'"),
            ('{"answer": "secret@home"}', "'properties/answer/pattern'"),
            ('{"answer": "", "secret": 1}', "'additionalProperties'"),
            ("{" * 5_000, "no JSON"),
        ],
    )
    def test_a_misfit_is_told_without_quoting(self, text: str, missed: str) -> None:
        """The message says where the schema is broken, and holds nothing that the model wrote."""
        with pytest.raises(Misfit, match=missed) as caught:
            compiled(SCHEMA).document_in(text, TOKENS)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(("tokens", "tries", "chars"), [(10**6, 1, 4_000_026), (1_000, 16, 64_000)])
    def test_an_unfinished_nest_is_not_tried_for_long(
        self, monkeypatch: pytest.MonkeyPatch, tokens: int, tries: int, chars: int
    ) -> None:
        """Megabytes of brackets that never close are read once, or as far as the output limit reaches."""
        read: list[int] = []

        class Counting(json.JSONDecoder):
            def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
                read.append(len(s))
                return super().raw_decode(s, idx)

        monkeypatch.setattr("serving.providers.structured._DECODER", Counting())
        with pytest.raises(Misfit):
            compiled(SCHEMA).document_in("here: " + "[" * 20 + "1," * 2_000_000, tokens)
        assert read == [chars] * tries


class TestCompiled:
    """`compiled`."""

    def test_a_schema_is_compiled_once(self) -> None:
        """Equal schemas share their validator."""
        assert compiled(SCHEMA) is compiled(json.loads(json.dumps(SCHEMA)))

    @pytest.mark.parametrize(
        "schema", [{"type": "nothing"}, {"$ref": "http://127.0.0.1:9/s.json"}, {"$ref": "file:///etc/hostname"}]
    )
    def test_a_schema_stands_alone(self, schema: dict[str, Any]) -> None:
        """What is no schema, or refers to an address or a file, is refused, and nothing is fetched."""
        with pytest.raises(Rejected, match="no JSON Schema that stands alone"):
            compiled(schema)


class TestIsStrict:
    """`is_strict`."""

    @pytest.mark.parametrize(
        ("schema", "strict"),
        [
            ({"type": "object", "properties": {}, "additionalProperties": False}, True),
            ({"type": "string"}, False),
            ({"type": "array", "items": {"type": "string"}}, False),
            ({**CLOSED, "anyOf": [CLOSED]}, False),
            (CLOSED | {"properties": {"a": {"type": ["object", "null"]}}}, False),
            (CLOSED | {"properties": {"a": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
            ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
            ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
            ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
            ({"type": "array", "items": {"type": "object"}}, False),
            (CLOSED | {"properties": {"a": {"type": "string", "maxLength": 3}}}, False),
        ],
    )
    def test_by_example(self, schema: dict[str, Any], *, strict: bool) -> None:
        """An object at the root, all of them closed, every property required, and no keyword that the mode refuses."""
        assert is_strict(schema) is strict


def pieces(text: str, cuts: list[int]) -> list[str]:
    """The text, cut."""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    return [text[start:stop] for start, stop in pairwise(places)]


class TestDocumentPieces:
    """`DocumentPieces`."""

    @given(
        value=JSON,
        behind=st.sampled_from(["", " ", "\n```", ' and {"more": "}"}']),
        cuts=st.lists(st.integers(0, 200)),
        ascii_only=st.booleans(),
    )
    def test_the_document_goes_through(self, value: object, behind: str, cuts: list[int], *, ascii_only: bool) -> None:
        """However it is cut, what goes through is the document, to its last bracket and no further."""
        document = json.dumps([value], ensure_ascii=ascii_only, indent=2)
        through = DocumentPieces()
        assert "".join(map(through.feed, pieces(f"\n {document}{behind}", cuts))) == document

    @given(st.text(st.characters(exclude_categories=["Cs", "Zs", "Cc"]), min_size=1), st.lists(st.integers(0, 50)))
    def test_anything_else_is_held_back(self, text: str, cuts: list[int]) -> None:
        """A text that begins otherwise does not go through, whatever follows."""
        through = DocumentPieces("{")
        assert "".join(map(through.feed, pieces(f"[{text}{GOOD}", cuts))) == ""
