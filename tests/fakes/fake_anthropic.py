"""Anthropic Messages as the vendor writes it (the types of anthropic 2.12)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fakes.fake_vendor_faults import SECRET, Refusal
from fakes.fake_vendor_wire import REASONING, USAGE, Event, Json, Reply, is_closed, named

from registry.messages import Usage

WRITES = Usage(cache_write_5m=40, cache_write_1h=8)
"""Written to the cache by every call, beside USAGE."""
_MEMBERS = {"model", "max_tokens", "messages", "system", "stream", "output_config", "stop_sequences", "metadata"}
_CACHE_MARKS_MAX = 4


class Anthropic:
    """Messages: input excludes what was read from or written to the cache."""

    request_id = "request-id"

    def answer(self, reply: Reply) -> Json:
        """A Message with a thinking block before its text."""
        content: list[Json] = [
            {"type": "thinking", "thinking": REASONING, "signature": "c2ln"},
            {"type": "text", "text": reply.text},
        ]
        return self._message(reply) | self._stopped(reply) | {"content": content}

    def events(self, reply: Reply, body: Mapping[str, Any]) -> list[Event]:
        """From message_start to message_stop, with a ping; usage at both ends, the output cumulative."""
        start: Json = self._message(reply) | {"content": [], "stop_reason": None, "stop_sequence": None}
        end: Json = {"delta": self._stopped(reply)}
        if reply.usage:
            # As the vendor does: cumulative, without the split of the writes, beside what message_start has said.
            end["usage"] = {k: v for k, v in _usage().items() if k not in {"cache_creation", "service_tier"}}
            start["usage"] |= {"output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
        thinking: Json = {"type": "thinking", "thinking": "", "signature": ""}
        return [
            named("message_start", message=start),
            named("content_block_start", index=0, content_block=thinking),
            named("ping"),
            named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": REASONING}),
            named("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c2ln"}),
            named("content_block_stop", index=0),
            named("content_block_start", index=1, content_block={"type": "text", "text": ""}),
            *(
                replace(named("content_block_delta", index=1, delta={"type": "text_delta", "text": piece}), piece=True)
                for piece in reply.pieces
            ),
            named("content_block_stop", index=1),
            named("message_delta", **end),
            named("message_stop"),
        ]

    def error(self, refusal: Refusal) -> Json:
        """Its kind stands in `error.type`."""
        error = {"type": refusal.anthropic, "message": refusal.sentence}
        return {"type": "error", "error": error, "request_id": "req-77"}

    def error_event(self, refusal: Refusal) -> Event:
        """The same document, as an event."""
        return Event(self.error(refusal), "error")

    def complaint(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """Headers, members, turns, blocks, cache marks, the output's schema."""
        keys = {"x-api-key", "authorization"}  # the SDK sends a bearer token, curl's users the old header
        turns: list[Json] = body.get("messages") or []
        blocks = [
            block for text in (body.get("system", "-"), *(turn["content"] for turn in turns)) for block in _blocks(text)
        ]
        form = body.get("output_config", {}).get("format", {"type": "json_schema", "schema": {}})
        rules = {
            "a key and anthropic-version are wanted": keys & set(headers) and headers.get("anthropic-version"),
            f"only {sorted(_MEMBERS)} are taken": _MEMBERS.issuperset(body),
            "messages are turns of user and assistant": {turn["role"] for turn in turns} <= {"user", "assistant"},
            "the first message is the user's": turns and turns[0]["role"] == "user",
            "text blocks are not empty": all(block["type"] == "text" and block["text"] for block in blocks),
            "four blocks may be marked for the cache": sum("cache_control" in block for block in blocks)
            <= _CACHE_MARKS_MAX,
            "objects have additionalProperties false": form["type"] == "json_schema" and is_closed(form["schema"]),
            "max_tokens begins at 1": body.get("max_tokens", 0) > 0,
        }
        return next((rule for rule, kept in rules.items() if not kept), None)

    def _message(self, reply: Reply) -> Json:
        message: Json = {"id": "msg_01", "type": "message", "role": "assistant", "model": reply.model}
        return message | ({"usage": _usage()} if reply.usage else {})

    def _stopped(self, reply: Reply) -> Json:
        reason = {"end": "end_turn", "max_tokens": "max_tokens"}.get(reply.stop, "refusal")
        details = {"type": "refusal", "category": None, "explanation": SECRET} if reason == "refusal" else None
        return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}


def _usage() -> Json:
    return {
        "input_tokens": USAGE.input,
        "cache_read_input_tokens": USAGE.cache_read,
        "cache_creation_input_tokens": WRITES.cache_write_5m + WRITES.cache_write_1h,
        "cache_creation": {
            "ephemeral_5m_input_tokens": WRITES.cache_write_5m,
            "ephemeral_1h_input_tokens": WRITES.cache_write_1h,
        },
        "output_tokens": USAGE.output,
        "output_tokens_details": {"thinking_tokens": USAGE.reasoning},
        "service_tier": "standard",
    }


def _blocks(content: str | list[Json]) -> list[Json]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
