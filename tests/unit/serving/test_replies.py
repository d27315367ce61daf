"""One answer while it comes in: what goes out of it, and what it has cost."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.messages import CompletionRequest, Message, StopReason, Usage
from serving.providers.base import Garbled, SchemaFailure, Unreachable
from serving.providers.replies import TEXT_CHARS_MAX, Reply, count
from serving.providers.structured import compiled

SCHEMA: dict[str, Any] = {"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}
REQUEST = CompletionRequest(messages=(Message(role="user", content="How many?"),), max_output_tokens=9)
DOCUMENT = '{"answer": "Nine \\u201cor so\\u201d"}'


def reply(*pieces: str, under_schema: bool = False, **fields: Any) -> Reply:
    """A reply with so much text."""
    schema = compiled(SCHEMA) if under_schema else None
    made = Reply(provider="vendor", asked_model="small", request=REQUEST, schema=schema, **fields)
    for piece in pieces:
        made.add(piece)
    return made


@given(
    st.sampled_from(["", "\n ", "```json\n", "Sure: "]),
    st.sampled_from(["", "\n```", " That is all {sic}."]),
    st.lists(st.integers(0, 80)),
    st.sampled_from(["end", "refusal"]),
)
def test_deltas_join_to_the_text(before: str, behind: str, cuts: list[int], stop: StopReason) -> None:
    """However the vendor cuts its answer, all deltas joined are the completion's text: a document that fits."""
    text = before + DOCUMENT + behind
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    made = reply(under_schema=True, usage=Usage(), stop=stop)
    out = ""
    for start, end in pairwise(places):
        made.add(text[start:end])
        out += made.take()
    completion = made.completion()
    assert out + made.rest(completion) == completion.text
    if stop == "end":
        assert completion.text == DOCUMENT


def test_plain_text_goes_out_as_it_comes() -> None:
    """Without a schema every piece is a delta."""
    made = reply("Nine", " of")
    assert made.take() == "Nine of"
    made.add(" ten.")
    assert (made.take(), made.take()) == (" ten.", "")


def test_what_is_no_text_counts_as_none() -> None:
    """Compatible servers send null or nothing for a piece."""
    made = reply()
    for piece in (None, "", 7, ["x"]):
        made.add(piece)
    assert made.take() == ""


def test_text_has_a_limit() -> None:
    """No vendor fills the memory."""
    made = reply("x" * TEXT_CHARS_MAX)
    with pytest.raises(Garbled):
        made.add("x")


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_text_is_no_answer(text: str) -> None:
    """An empty answer fails, billed, with nothing to repair."""
    with pytest.raises(SchemaFailure, match="any text: it is empty") as caught:
        reply(text, usage=Usage(input=5), stop="end").completion()
    assert (caught.value.usage, caught.value.answer) == (Usage(input=5), None)


def test_a_second_document_after_a_broken_first_is_not_taken_for_it() -> None:
    """What went out as deltas cannot be replaced by something else that would fit."""
    made = reply('{"answer": nine, "a": {"answer": ""}}', under_schema=True, usage=Usage(), stop="end")
    assert made.take()
    with pytest.raises(SchemaFailure, match="more than one document"):
        made.completion()


def test_a_broken_stream_says_what_it_has_used() -> None:
    """The vendor's count from the start of a stream is raised by what was written since."""
    made = reply("word " * 40, usage=Usage(input=70, cache_read=30, output=1), model="small-2", request_id="r1")
    error = Unreachable("cut")
    made.mark(error)
    assert error.usage is not None
    assert (error.usage.input, error.usage.cache_read, error.model, error.request_id) == (70, 30, "small-2", "r1")
    assert 20 < error.usage.output < 200


def test_a_broken_stream_without_counts_leaves_them_open() -> None:
    """What the vendor did not report is estimated elsewhere, for every kind of provider."""
    error = Unreachable("cut")
    reply("Nine").mark(error)
    assert error.usage is None


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 7, None])
def test_a_name_looks_like_one(name: object) -> None:
    """What would break a log or a label is no name of a model or a call."""
    made = reply(model="small-1")
    made.name_model(name)
    made.name_call(name)
    assert (made.model, made.request_id) == ("small-1", None)


@pytest.mark.parametrize(
    ("counts", "expected"), [({"n": 3}, 3), ({"n": -3}, 0), ({"n": True}, 0), ({"n": "3"}, 0), (None, 0), ([], 0)]
)
def test_counts_are_whole_numbers(counts: object, expected: int) -> None:
    """What is no count counts as 0."""
    assert count(counts, "n") == expected
