"""Server-sent events out of bytes, however they were cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.providers.sse import Event, EventParser

LINES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
EVENTS = st.lists(st.tuples(st.sampled_from(["", "delta", "message_stop"]), st.lists(LINES, min_size=1, max_size=3)))
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def written(events: list[tuple[str, list[str]]], end: str) -> bytes:
    """The events as a stream."""
    lines: list[str] = []
    for name, data in events:
        lines += [f"event: {name}"] if name else []
        lines += [f"data: {line}" for line in data]
        lines += [": a comment", "id: 7", ""]
    return "".join(line + end for line in lines).encode()


def read(*chunks: bytes) -> list[Event]:
    """What a parser makes of the chunks."""
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@given(EVENTS, ENDS, st.lists(st.integers(0, 400)), st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_any_cut_gives_the_same_events(
    events: list[tuple[str, list[str]]], end: str, cuts: list[int], mark: bytes
) -> None:
    """Every line end, every cut of the bytes and a byte order mark give the events that were written."""
    stream = mark + written(events, end)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:stop] for start, stop in pairwise(places)]
    expected = [Event(name or "message", "\n".join(data).encode()) for name, data in events if data != [""]]
    assert read(*chunks) == expected


def test_an_event_ends_with_its_last_byte() -> None:
    """Nothing more has to arrive before an event is given, whatever ends its lines."""
    for end in (b"\n", b"\r", b"\r\n"):
        assert read(b"data: 1" + end + end) == [Event("message", b"1")]


def test_bytes_one_by_one_are_enough() -> None:
    """A byte at a time gives the same events."""
    stream = b'event: delta\r\ndata: {"a":\r\ndata:1}\r\n\r\n'
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == [Event("delta", b'{"a":\n1}')]


def test_an_unfinished_event_is_dropped() -> None:
    """What has no empty line behind it was cut off, and is no event."""
    assert read(b"data: 1\n\ndata: 2\n") == [Event("message", b"1")]


@pytest.mark.parametrize("chunk", [b"x" * 60, b"data: " + b"x" * 60, b"data: x\n" * 30, b"event: " + b"x" * 60 + b"\n"])
def test_an_event_has_a_limit(chunk: bytes) -> None:
    """A line without end, and lines without an event's end, are given up at the limit."""
    parser = EventParser(event_bytes_max=50)
    with pytest.raises(ValueError, match="longer than 50 bytes"):
        parser.feed(chunk)
