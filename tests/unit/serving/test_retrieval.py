"""Packing passages into a prompt's room."""

from hypothesis import given
from hypothesis import strategies as st

from registry.insights import Passage
from registry.prompts.rendering import passage_chars
from serving.retrieval import pack

PASSAGES = st.lists(
    st.builds(
        Passage, id=st.uuids().map(str), document=st.text(max_size=20), score=st.just(0.5), text=st.text(max_size=60)
    ),
    max_size=8,
)


@given(passages=PASSAGES, room=st.integers(0, 300))
def test_what_is_packed_fits_and_keeps_its_order(passages: list[Passage], room: int) -> None:
    """Packed passages fit the room, keep their order and repeat no text."""
    packed = pack(passages, room)
    assert sum(passage_chars(passage) for passage in packed) <= room
    assert [passage for passage in passages if passage in packed][: len(packed)] == list(packed)
    assert len({passage.text for passage in packed}) == len(packed)


def test_a_long_passage_leaves_room_for_a_shorter_one() -> None:
    """One that does not fit is skipped, and the next is tried."""
    long = Passage(id="a", document="d", score=1, text="x" * 100)
    short = Passage(id="b", document="d", score=0.5, text="y")
    assert pack([long, short], 50) == (short,)
