"""The scanner that finds the answer in a document while it is written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.answer_member import AnswerMember

names = st.sampled_from(["answer", "claims", 'an"swer', "", "ä"])
scalars = st.none() | st.integers() | st.text(max_size=8)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(names, scalars, max_size=3)
objects = st.dictionaries(names, values | st.lists(st.dictionaries(names, values, max_size=2), max_size=2), max_size=4)


def member(text: str, length: int = 1) -> str | None:
    """What is found in the text, fed in pieces; None when there is nothing."""
    scanner = AnswerMember()
    read = "".join(scanner.feed(text[at : at + length]) for at in range(0, len(text), length))
    return read if scanner.found else None


@given(objects, st.integers(1, 9), st.sampled_from([None, 1]))
def test_it_agrees_with_a_json_parser(document: dict[str, object], length: int, indent: int | None) -> None:
    """For every valid object the member is what the standard library reads; nested ones are not taken for it."""
    wanted = document.get("answer")
    found = member(json.dumps(document, indent=indent), length)
    assert found == (wanted if isinstance(wanted, str) else None)


@given(st.text(alphabet='{}[]":,\\u0d8 \nansweranswer', max_size=60), st.integers(1, 9))
def test_it_takes_rubbish_in_any_split(text: str, length: int) -> None:
    """No text makes it fail, and the split changes nothing."""
    assert member("{" + text, length) == member("{" + text, len(text) + 1)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"\\u0061nswer": "escaped name"}', "escaped name"),
        ('{"answer": 3, "answer": "second"}', "second"),
        ('{"answer": "first", "answer": "second"}', "first"),
        ('{"answer": "line\nend"}', "line\nend"),
        ('{"answer": "broken \\x off"}', "broken "),
        ('{"answer": "cut', "cut"),
        ('{"inner": {"answer": "no"}}', None),
        ("{'answer': 'no'}", None),
        ('["answer"]', None),
    ],
)
def test_the_first_member_of_the_object_counts(text: str, found: str | None) -> None:
    """Only a string member of the object itself, the first one of the name, as far as it goes."""
    assert member(text) == found


def test_it_keeps_nothing_that_it_has_read() -> None:
    """Long strings, long names and deep nesting in front take linear work: at most an escape waits for its end."""
    front = '{"' + "n" * 5_000 + '": "' + "s\\u00e9" * 1_000 + '", "x": ' + "[" * 5_000 + "]" * 5_000
    text = front + ', "answer": "y"}'
    scanner = AnswerMember()
    for at in range(0, len(text), 2):
        scanner.feed(text[at : at + 2])
        assert len(scanner._text) - scanner._at <= len("\\ud83d\\ude00")
    assert scanner.found
