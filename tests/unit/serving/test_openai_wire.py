"""What is made of OpenAI's documents and events, without a network."""

import json
from dataclasses import replace
from typing import Any

import pytest

from registry.messages import CompletionRequest, Message, Progress, Usage
from serving.providers.base import Overloaded, RateLimited
from serving.providers.openai_wire import Chat, Responses
from serving.providers.replies import Reply
from serving.providers.sse import Event

REQUEST = CompletionRequest(messages=(Message(role="user", content="How many?"),), max_output_tokens=9, temperature=0.0)


def reply() -> Reply:
    """An empty one."""
    return Reply(provider="openai", asked_model="gpt", request=REQUEST, schema=None)


def event(document: dict[str, Any]) -> Event:
    """One event."""
    return Event("message", json.dumps(document).encode())


def chunk(content: str | None = None, reason: str | None = None, **others: Any) -> Event:
    """One chunk of a chat stream."""
    return event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}], **others})


class TestChat:
    """Streams of Chat Completions."""

    def test_a_reason_and_the_counts_end_a_stream(self) -> None:
        """A server that forgets `[DONE]` is not waited for."""
        made, chat = reply(), Chat(limit_field="max_tokens")
        chat.read_event(chunk("Nine.", usage={"prompt_tokens": 5, "completion_tokens": 1}), made)
        chat.read_event(chunk(None, "stop"), made)
        assert (made.stop, made.ended) == ("end", False)
        chat.read_event(event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}), made)
        assert (made.ended, made.usage, made.take()) == (True, Usage(input=5, output=2), "Nine.")

    def test_only_the_first_choice_is_read(self) -> None:
        """One answer was asked for; a second one would be mixed into it."""
        made = reply()
        Chat(limit_field="max_tokens").read_event(event({"choices": [{"index": 1, "delta": {"content": "x"}}]}), made)
        assert made.take() == ""

    def test_an_error_inside_a_stream_is_translated(self) -> None:
        """Its code decides; without one it is the vendor's failure."""
        chat = Chat(limit_field="max_tokens")
        with pytest.raises(RateLimited, match="broke off 'rate_limit_exceeded'"):
            chat.read_event(event({"error": {"code": "rate_limit_exceeded", "message": "planted"}}), reply())
        with pytest.raises(Overloaded):
            chat.read_event(event({"error": "planted"}), reply())


class TestResponses:
    """Streams of Responses."""

    def test_a_numbered_event_counts_once(self) -> None:
        """An event that comes twice is read once."""
        made, delta = reply(), {"type": "response.output_text.delta", "delta": "ha", "sequence_number": 4}
        for document in (delta, delta, delta | {"sequence_number": 5}):
            Responses().read_event(event(document), made)
        assert made.take() == "haha"

    @pytest.mark.parametrize(
        ("reason", "stop"), [("max_output_tokens", "max_tokens"), ("content_filter", "refusal"), ("new", "other")]
    )
    def test_an_incomplete_response_says_why(self, reason: str, stop: str) -> None:
        """What ended an answer early is told."""
        made = reply()
        document = {"status": "incomplete", "incomplete_details": {"reason": reason}, "usage": {"input_tokens": 4}}
        Responses().read_event(event({"type": "response.incomplete", "response": document}), made)
        assert (made.stop, made.ended, made.usage) == (stop, True, Usage(input=4))

    def test_text_may_come_with_the_end_alone(self) -> None:
        """A server that sends no pieces still answers."""
        made = reply()
        items = [{"type": "message", "content": [{"type": "output_text", "text": "Nine."}]}]
        Responses().read_event(event({"type": "response.completed", "response": {"output": items}}), made)
        assert (made.take(), made.stop) == ("Nine.", "end")

    def test_the_smallest_limit_is_kept(self) -> None:
        """A limit below the vendor's smallest goes out as that one."""
        assert Responses().body("gpt", REQUEST, None)["max_output_tokens"] == 16


class TestBeginning:
    """What shows that the model is at work."""

    @pytest.mark.parametrize("delta", [{"reasoning_content": "thus"}, {"reasoning": "thus"}])
    def test_reasoning_in_chat_counts(self, delta: dict[str, str]) -> None:
        """Both names that compatible servers give it, and none of it is text."""
        progress = Progress()
        made = Reply(provider="o", asked_model="gpt", request=replace(REQUEST, progress=progress), schema=None)
        Chat(limit_field="max_tokens").read_event(event({"choices": [{"index": 0, "delta": delta}]}), made)
        assert (progress.began, progress.written_bytes, made.has_text) == (True, 4, False)

    @pytest.mark.parametrize(
        "begins",
        [
            {"type": "response.output_item.added", "item": {"type": "reasoning"}},
            {"type": "response.reasoning_text.delta", "delta": "thus"},
            {"type": "response.reasoning_summary_text.delta", "delta": "thus"},
        ],
    )
    def test_reasoning_in_responses_counts(self, begins: dict[str, Any]) -> None:
        """Also where nothing of it is told; that the response was created says nothing."""
        progress = Progress()
        made = Reply(provider="o", asked_model="gpt", request=replace(REQUEST, progress=progress), schema=None)
        Responses().read_event(event({"type": "response.created", "response": {"id": "r"}}), made)
        assert not progress.began
        Responses().read_event(event(begins), made)
        assert progress.began
