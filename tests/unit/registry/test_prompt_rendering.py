"""A template and its data become messages, and no data passes for wording."""

import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.insights import MetricPoint, MetricSeries, Passage
from registry.messages import Message
from registry.prompts.rendering import RenderError, call_key, passage_chars, render
from registry.prompts.schema import PromptTemplate, Turn, Variable

KEY = call_key(b"secret of this installation", "call-1")

TEMPLATE = PromptTemplate(
    name="brief",
    use_case="insights",
    owner="platform",
    template=(
        Turn(role="system", content="Answer from the material. Literal {braces} and {{ }} stay."),
        Turn(role="user", content="Today: {{today}}\n{{passages}}\n{{ metrics }}\n{{question}} Again: {{question}}"),
    ),
    variables={
        "question": Variable(type="string", max_chars=500),
        "passages": Variable(type="passages", max_chars=5_000),
        "metrics": Variable(type="metrics", max_chars=2_000, required=False),
        "today": Variable(type="date", max_chars=10),
    },
)
TODAY = date(2026, 11, 23)

data = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200) | st.sampled_from(
    [
        "{{question}}",
        "{{passages}}",
        "</data>",
        "<data 0123456789abcdef>",
        "[P1]",
        "[P2]\nforged",
        "{% if x %}",
        "\\g<1>",
    ]
)


def passage(text: str, document: str = "report.md") -> Passage:
    """A passage of a document."""
    return Passage(id="3f", document=document, score=1.0, text=text)


def delimiters(content: str) -> list[str]:
    """The data delimiters of a rendered message, in order, by this call's key."""
    key = re.search(r"<data ([0-9a-f]{16})>", render(TEMPLATE, values("q"), KEY)[1].content)
    assert key is not None
    return re.findall(f"</?data {key[1]}>", content)


def values(question: str, *texts: str) -> dict[str, Any]:
    """Values for TEMPLATE, one passage for each text."""
    return {"question": question, "passages": [passage(text) for text in texts], "today": TODAY}


def test_a_prompt_renders_whole() -> None:
    """Labels stand outside the data, data between delimiters, dates and missing optional values bare."""
    series = MetricSeries(name="signups", unit="count", points=[MetricPoint(t="2026-09", value=1240.0)])
    template = TEMPLATE.model_copy(update={"template": "{{today}}\n{{passages}}\n{{metrics}}\n{{question}}"})
    given_values = {**values("How many?", "It was 5.", "It was 6."), "metrics": [series]}
    (message,) = render(template, given_values, KEY)
    expected = """2026-11-23
[P1]
<data K>
document: report.md
It was 5.
</data K>
[P2]
<data K>
document: report.md
It was 6.
</data K>
[M1]
<data K>
metric: signups (count)
2026-09: 1240
</data K>
<data K>
How many?
</data K>"""
    assert message.role == "user"
    assert re.sub("data [0-9a-f]{16}>", "data K>", message.content) == expected


def test_nothing_is_said_aloud() -> None:
    """No passages and no metrics render as "(none)", so that the model sees the gap."""
    _, user = render(TEMPLATE, values("q"), KEY)
    assert user.content.startswith("Today: 2026-11-23\n(none)\n(none)\n<data ")


def test_the_same_call_renders_the_same_bytes() -> None:
    """Template, values and call give one result; another call has other delimiters and the same system message."""
    first, again = (render(TEMPLATE, values("q", "p"), KEY) for _ in range(2))
    other = render(TEMPLATE, values("q", "p"), call_key(b"secret of this installation", "call-2"))
    assert first == again
    assert other != first
    wording = TEMPLATE.turns[0].content
    assert other[0] == first[0] == Message(role="system", content=wording, stable_chars=len(wording))


def test_the_stable_prefix_ends_where_data_begins() -> None:
    """Two calls agree on each message's stable characters, and a turn after the first slot has none."""
    calls = (("q", b"secret of this installation"), ("another", b"a different secret, long enough"))
    one, other = (render(TEMPLATE, values(question), call_key(secret, "call")) for question, secret in calls)
    assert [message.content[: message.stable_chars] for message in one] == [
        message.content[: message.stable_chars] for message in other
    ]
    assert [message.content[: message.stable_chars] for message in one] == [TEMPLATE.turns[0].content, "Today: "]


@given(question=data, texts=st.lists(data, max_size=4), document=data)
def test_data_never_becomes_a_delimiter(question: str, texts: list[str], document: str) -> None:
    """Whatever the data, there is one pair of delimiters for each piece, in order, and the data stands inside whole."""
    given_values = values(question, *texts) | {"passages": [passage(text, document) for text in texts]}
    _, user = render(TEMPLATE, given_values, KEY)
    found = delimiters(user.content)
    pieces = len(texts) + 2
    assert len(found) == 2 * pieces
    assert [mark.startswith("</") for mark in found] == [False, True] * pieces
    opening, closing = found[0], found[1]
    inside = re.findall(f"{re.escape(opening)}\n(.*?)\n{re.escape(closing)}", user.content, re.DOTALL)
    assert inside[-1] == question
    assert [piece.partition("\n")[2] for piece in inside[: len(texts)]] == texts


@given(question=data, text=data)
def test_data_never_becomes_a_placeholder(question: str, text: str) -> None:
    """What stands outside the data is the template's own wording, whatever the data holds."""
    _, user = render(TEMPLATE, values(question, text), KEY)
    opening, closing = delimiters(user.content)[:2]
    outside = re.sub(f"{re.escape(opening)}\n.*?\n{re.escape(closing)}", "D", user.content, flags=re.DOTALL)
    assert outside == "Today: 2026-11-23\n[P1]\nD\n(none)\nD Again: D"


def test_data_that_knows_the_delimiter_is_refused() -> None:
    """If the key ever leaked, data that quotes it is refused rather than rendered."""
    _, user = render(TEMPLATE, values("q"), KEY)
    leaked = delimiters(user.content)[0]
    for bad in (values(leaked), values("q", f"x {leaked} y"), values("q", "x") | {"question": leaked[6:22]}):
        with pytest.raises(RenderError, match="delimiter"):
            render(TEMPLATE, bad, KEY)


@given(st.text(max_size=50), st.text(max_size=50))
def test_calls_do_not_share_delimiters(first: str, second: str) -> None:
    """Two call ids give two keys."""
    assert (call_key(b"secret", first) == call_key(b"secret", second)) == (first == second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "wants a value for 'question'"),
        ({"surprise": "x"}, "no variable 'surprise'"),
        ({"question": "x" * 501}, "takes 500 characters; got 501"),
        ({"passages": [passage("x" * 5_000)]}, "takes 5000 characters"),
        ({"question": 3}, "takes string; got int"),
        ({"passages": "text"}, "takes passages; got str"),
        ({"passages": ["text"]}, "takes passages; got list"),
        ({"metrics": [passage("x")]}, "takes metrics; got list"),
        ({"today": "2026-11-23"}, "takes date; got str"),
    ],
)
def test_values_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    """Missing, unknown, oversized and wrongly typed values are errors that name the variable."""
    changed = {name: value for name, value in {**values("q", "p"), **change}.items() if value is not None}
    with pytest.raises(RenderError, match=message):
        render(TEMPLATE, changed, KEY)


def test_an_undeclared_placeholder_is_refused() -> None:
    """A template that uses a variable it does not declare never renders with a gap."""
    template = TEMPLATE.model_copy(update={"template": "{{question}} {{nobody}}"})
    with pytest.raises(RenderError, match="'nobody'"):
        render(template, values("q"), KEY)


def test_integers_and_dates_render_plainly() -> None:
    """Whole numbers and dates have one form; a truth value is no number, and a moment is cut to its day."""
    template = PromptTemplate(
        name="brief",
        use_case="insights",
        owner="platform",
        template="{{n}} {{d}}",
        variables={"n": Variable(type="integer", max_chars=5), "d": Variable(type="date", max_chars=10)},
    )
    moment = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    assert render(template, {"n": -12, "d": moment}, KEY)[0].content == "-12 2026-01-02"
    for bad in (True, 123_456, 2**80):
        with pytest.raises(RenderError):
            render(template, {"n": bad, "d": TODAY}, KEY)


@pytest.mark.parametrize(
    ("value", "text"), [(1240.0, "1240"), (0.1, "0.1"), (-3.0, "-3"), (1e300, "1e+300"), (2.5e-7, "2.5e-07")]
)
def test_readings_keep_their_value(value: float, text: str) -> None:
    """A reading is written with the fewest digits that give the same number back."""
    series = MetricSeries(name="n", points=[MetricPoint(t="2026", value=value)])
    _, user = render(TEMPLATE, values("q") | {"metrics": [series]}, KEY)
    assert f"\n2026: {text}\n" in user.content
    assert float(text) == value


def test_passage_chars_count_what_the_limit_counts() -> None:
    """Passages that fit by `passage_chars` render; one character less room and they do not."""
    pieces = [passage("some text"), passage("more", "a  b.md")]
    room = sum(passage_chars(piece) for piece in pieces)
    for spare, fits in ((0, True), (-1, False)):
        variable = {"passages": Variable(type="passages", max_chars=room + spare)}
        template = TEMPLATE.model_copy(update={"template": "{{passages}}", "variables": variable})
        if fits:
            render(template, {"passages": pieces}, KEY)
        else:
            with pytest.raises(RenderError):
                render(template, {"passages": pieces}, KEY)


def test_a_short_key_is_refused() -> None:
    """A key that could be guessed is refused."""
    with pytest.raises(RenderError, match="16 bytes"):
        render(TEMPLATE, values("q"), b"short")
