"""One answer while it comes in: what goes out of it, and what it has cost."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.messages import CompletionRequest, Message, Progress, StopReason, Usage
from serving.providers.base import Garbled, SchemaFailure
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
    made = reply(under_schema=True, stop=stop)
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
    made = reply(text, stop="end")
    made.usage = Usage(input=5)
    with pytest.raises(SchemaFailure, match="any text: it is empty") as caught:
        made.completion()
    assert (caught.value.usage, caught.value.answer) == (Usage(input=5), None)


def test_a_second_document_after_a_broken_first_is_not_taken_for_it() -> None:
    """What went out as deltas cannot be replaced by something else that would fit."""
    made = reply('{"answer": nine, "a": {"answer": ""}}', under_schema=True, stop="end")
    assert made.take()
    with pytest.raises(SchemaFailure, match="more than one document"):
        made.completion()


def test_what_is_known_is_known_outside() -> None:
    """Model, id, counts and how much was written are there for who ends the attempt, also when nothing can go out."""
    begun: list[None] = []
    progress = Progress()
    request = replace(REQUEST, progress=progress, on_begin=lambda: begun.append(None))
    made = Reply(provider="vendor", asked_model="small", request=request, schema=compiled(SCHEMA))
    made.name_model("small-2")
    made.name_call("r1")
    made.usage = Usage(input=70, cache_read=30, output=1)
    made.think("thus")
    made.add("Here \u2026")
    assert made.take() == ""
    known = Progress(model="small-2", request_id="r1", usage=Usage(input=70, cache_read=30, output=1), began=True)
    known.written_bytes = len("thus") + len("Here \u2026".encode())
    assert progress == known
    assert len(begun) == 1


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 7, None])
def test_a_name_looks_like_one(name: object) -> None:
    """What would break a log or a label is no name of a model or a call."""
    made = reply()
    made.name_model("small-1")
    made.name_model(name)
    made.name_call(name)
    assert (made.model, made.request_id) == ("small-1", None)


@pytest.mark.parametrize(
    ("counts", "expected"), [({"n": 3}, 3), ({"n": -3}, 0), ({"n": True}, 0), ({"n": "3"}, 0), (None, 0), ([], 0)]
)
def test_counts_are_whole_numbers(counts: object, expected: int) -> None:
    """What is no count counts as 0."""
    assert count(counts, "n") == expected


def test_a_count_without_a_prompt_is_completed() -> None:
    """Where the vendor told only what it wrote, the prompt is estimated and the count marked."""
    made = reply("Nine.")
    made.usage = Usage(output=3)
    answered = made.completion()
    assert (answered.usage.output, answered.usage_estimated) == (3, True)
    assert answered.usage.input > 0
