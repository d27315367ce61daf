"""What is made of Anthropic's documents and events, without a network."""

import json
from typing import Any

import pytest

from registry.messages import CompletionRequest, Message, Usage
from serving.providers.anthropic import Messages
from serving.providers.base import ContentRefused, ContextTooLong, Overloaded, ProviderError
from serving.providers.replies import Reply
from serving.providers.sse import Event
from serving.providers.structured import compiled


def body(*messages: Message, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """What goes out."""
    request = CompletionRequest(messages=messages, max_output_tokens=9)
    return Messages().body("claude", request, None if schema is None else compiled(schema))


def reply() -> Reply:
    """An empty one."""
    return Reply(
        provider="anthropic",
        asked_model="claude",
        request=CompletionRequest(messages=(), max_output_tokens=9),
        schema=None,
    )


def event(document: dict[str, Any]) -> Event:
    """One event."""
    return Event(document["type"], json.dumps(document).encode())


def marked(sent: dict[str, Any]) -> list[str]:
    """Texts of the blocks that are marked for the cache."""
    blocks = sent.get("system", []) + [block for turn in sent["messages"] for block in turn["content"]]
    return [block["text"] for block in blocks if "cache_control" in block]


class TestTheMark:
    """Where the unchanging beginning of a prompt ends."""

    def test_it_stands_at_the_end_of_the_stable_wording(self) -> None:
        """A turn whose beginning is stable becomes two blocks, the first marked."""
        sent = body(
            Message(role="system", content="Be brief.", stable_chars=9),
            Message(role="user", content="Passages: nine", stable_chars=9),
        )
        assert marked(sent) == ["Passages:"]
        assert [block["text"] for block in sent["messages"][0]["content"]] == ["Passages:", " nine"]

    def test_nothing_behind_a_change_is_marked(self) -> None:
        """Behind text that changes, stable text is in no cache."""
        sent = body(
            Message(role="system", content="Call 17. Be brief.", stable_chars=5),
            Message(role="user", content="Passages: nine", stable_chars=9),
        )
        assert marked(sent) == ["Call "]

    def test_system_turns_come_first(self) -> None:
        """The vendor puts system blocks before all turns, so the mark follows that order."""
        sent = body(Message(role="user", content="How many?", stable_chars=9), Message(role="system", content="Day 3."))
        assert (marked(sent), [block["text"] for block in sent["system"]]) == ([], ["Day 3."])

    @pytest.mark.parametrize(("content", "stable"), [("How many?", 0), ("\n\nHow many?", 2), ("", 0), (" ", 1)])
    def test_invisible_text_is_no_block(self, content: str, stable: int) -> None:
        """The vendor refuses blocks without a visible character; none is made, and none marked."""
        sent = body(Message(role="user", content="Hi"), Message(role="user", content=content, stable_chars=stable))
        assert marked(sent) == []
        assert all(block["text"].strip() for turn in sent["messages"] for block in turn["content"])

    def test_an_empty_turn_is_left_out(self) -> None:
        """A turn needs a block."""
        assert len(body(Message(role="user", content="Hi"), Message(role="user", content=" "))["messages"]) == 1


class TestSchema:
    """The output format."""

    def test_limits_become_descriptions(self) -> None:
        """What the vendor refuses in a schema is told to the model instead; we check it in the answer."""
        schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]}
        sent = body(Message(role="user", content="Hi"), schema=schema)["output_config"]["format"]["schema"]
        assert sent["additionalProperties"] is False
        assert sent["properties"]["a"] == {"type": "string", "description": "{maxLength: 3}"}

    def test_what_the_sdk_cannot_translate_goes_out_as_it_is(self) -> None:
        """A schema of an unforeseen form is the vendor's to judge."""
        schema: dict[str, Any] = {"type": ["object", "null"]}
        assert body(Message(role="user", content="Hi"), schema=schema)["output_config"]["format"]["schema"] == schema


class TestUsage:
    """Counts, which a stream tells in two parts."""

    def test_the_last_counts_hold_and_the_split_stays(self) -> None:
        """The end of a stream replaces the counts of its start, all but the lifetimes of what went into the cache."""
        made, wire = reply(), Messages()
        split = {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 8}
        start = {"input_tokens": 6, "cache_creation_input_tokens": 48, "cache_creation": split, "output_tokens": 1}
        wire.read_event(event({"type": "message_start", "message": {"model": "claude-2", "usage": start}}), made)
        assert made.usage == Usage(input=6, cache_write_5m=40, cache_write_1h=8, output=1)
        end = {"cache_creation_input_tokens": 48, "cache_read_input_tokens": None, "output_tokens": 30}
        details = {"output_tokens_details": {"thinking_tokens": 12}}
        stopped = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end | details}
        for _ in range(2):
            wire.read_event(event(stopped), made)
        assert made.usage == Usage(input=6, cache_write_5m=40, cache_write_1h=8, output=30, reasoning=12)
        assert (made.stop, made.model) == ("end", "claude-2")

    def test_writes_without_a_split_have_the_short_lifetime(self) -> None:
        """That is the lifetime that we ask for."""
        made = reply()
        Messages().read({"content": [], "usage": {"cache_creation_input_tokens": 48}}, made)
        assert made.usage == Usage(cache_write_5m=48)


@pytest.mark.parametrize(
    ("kind", "sentence", "meaning"),
    [
        ("overloaded_error", "", Overloaded),
        ("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", ContextTooLong),
        ("invalid_request_error", "Output blocked by content filtering policy", ContentRefused),
        ("invalid_request_error", "planted", Overloaded),
    ],
)
def test_an_error_inside_a_stream_is_translated(kind: str, sentence: str, meaning: type[ProviderError]) -> None:
    """Its type decides, and where several things share one, a part of the sentence, which is not shown."""
    error = {"type": "error", "error": {"type": kind, "message": sentence}}
    with pytest.raises(meaning) as caught:
        Messages().read_event(event(error), reply())
    assert "planted" not in str(caught.value)
    assert "maximum" not in str(caught.value)
