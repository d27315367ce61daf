"""The reader's text out of a stream: whatever the split, the pieces joined are the answer read whole."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes.fake_serving import INSIGHTS_SCHEMA
from hypothesis import given
from hypothesis import strategies as st

from registry.claims import read_answer, without_marks
from registry.messages import Completion, Delta, StreamEvent, Usage
from serving.answer_text import AnswerText, answer_text

OTHER_SCHEMA = {"type": "object", "properties": {"score": {"type": "number"}}}
SCRAPS = [
    *("[P1]", " [P1, M2]", " [ p3 ;P4 ]", "[", "]", "P1", ",", ";", " ", "\n", "\t", "\u00a0", "1", "x", "Nine. "),
    *("{", "}", '"', "\\", "\\u", "\\ud83d", "\\ude00", "\\n", "\\x", ": ", "answer", '"answer"', '"claims"', "null"),
    *('{"answer": "', '", "claims": []}', "```", "```json\n", "Here: ", "é", "😀", "[]", "\u0663"),
]
scraps = st.lists(st.sampled_from(SCRAPS), max_size=20).map("".join)
documents = st.fixed_dictionaries(
    {},
    optional={
        "other": st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
        "answer": scraps | st.text() | st.none(),
        "claims": st.lists(st.fixed_dictionaries({"text": scraps})),
    },
).flatmap(lambda made: st.permutations(list(made.items())).map(dict))
frames = st.sampled_from(["{}", "\n {}", "```json\n{}\n```", "Sure, {}\nAnything else?"])
cuts = st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=6)


def pieces(text: str, lengths: list[int], schema: Any) -> list[str]:
    """The text, fed in pieces of these lengths, over and over."""
    reader, read, at, turn = AnswerText(schema), [], 0, 0
    while at < len(text):
        length = lengths[turn % len(lengths)]
        read.append(reader.feed(text[at : at + length]))
        at, turn = at + length, turn + 1
    return [*read, reader.end()]


@given(scraps, cuts, st.sampled_from([None, INSIGHTS_SCHEMA]))
def test_any_text_in_any_split(text: str, lengths: list[int], schema: Any) -> None:
    """Documents, plain text and everything between: joined, the pieces are what the whole text reads as."""
    assert "".join(pieces(text, lengths, schema)) == read_answer(text, chatter=schema is not None).answer


@given(document=documents, frame=frames, lengths=cuts, ascii_only=st.booleans())
def test_any_document_in_any_split(document: Any, frame: str, lengths: list[int], *, ascii_only: bool) -> None:
    """A valid document gives its member `answer`, in any order of members, frame, escaping and split."""
    text = frame.replace("{}", json.dumps(document, ensure_ascii=ascii_only))
    joined = "".join(pieces(text, lengths, INSIGHTS_SCHEMA))
    assert joined == read_answer(text).answer
    if isinstance(document.get("answer"), str):
        assert joined == without_marks(document["answer"])


@given(scraps, cuts)
def test_under_another_schema_the_text_is_the_answer(text: str, lengths: list[int]) -> None:
    """A prompt with a schema of its own gets what the model writes, as it is."""
    assert "".join(pieces(text, lengths, OTHER_SCHEMA)) == text


def test_an_answer_is_shown_while_it_is_written() -> None:
    """Each word leaves with the piece that ends it, not at the end of the document."""
    written = ['{"answer": "', "Nine ", "arrived ", "[P", "1]", '. Late", "claims": [', "]}"]
    reader = AnswerText(INSIGHTS_SCHEMA)
    assert [reader.feed(piece) for piece in written] == ["", "Nine", " arrived", "", "", ". Late", ""]


def test_plain_text_is_shown_while_it_is_written() -> None:
    """The same without a schema."""
    reader = AnswerText(None)
    assert [reader.feed(piece) for piece in ["Nine ", "arrived [P1]", ". "]] == ["Nine", " arrived", "."]


def test_an_answer_that_breaks_off_is_kept_as_far_as_it_goes() -> None:
    """A document cut at the token limit reads as what was shown of it."""
    text = '{"answer": "Nine arrived, and th'
    assert "".join(pieces(text, [3], INSIGHTS_SCHEMA)) == read_answer(text).answer == "Nine arrived, and th"


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ud83d\\u0041"])
def test_half_a_character_becomes_a_replacement(half: str) -> None:
    """What UTF-8 cannot carry never gets out, neither streamed nor whole."""
    text = f'{{"answer": "a {half} b", "claims": [{{"text": "a {half} b"}}]}}'
    draft = read_answer(text)
    assert "".join(pieces(text, [1], INSIGHTS_SCHEMA)) == draft.answer
    assert f"{draft.answer} {draft.claims[0].text}".encode().count("\ufffd".encode()) == 2


async def test_the_completion_is_handed_over_before_the_last_piece() -> None:
    """Whoever reads the pieces has the whole when the last one comes."""
    completion = Completion(text="Nine [", stop_reason="end", usage=Usage(), provider="a", model="a")

    async def events() -> AsyncIterator[StreamEvent]:
        yield Delta(text="Nine [")
        yield completion

    kept: list[Completion] = []
    read = [(piece, list(kept)) async for piece in answer_text(events(), None, kept.append)]
    assert read == [("Nine", []), (" [", [completion])]
