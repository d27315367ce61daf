"""OpenAI Chat Completions and Responses as the vendor writes them (the types of openai 3.54)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fakes.fake_vendor_faults import SECRET, Refusal
from fakes.fake_vendor_wire import REASONING, USAGE, Event, Json, Reply, is_closed, named

CREATED = 1_760_000_000
RESPONSES_TOKENS_MIN = 16
"""Responses takes no smaller `max_output_tokens`."""
_CHAT = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "response_format"}
_RESPONSES = {"model", "input", "instructions", "max_output_tokens", "temperature", "text", "store", "stream"}


class Chat:
    """Chat Completions: prompt tokens include the cached ones."""

    request_id = "x-request-id"

    def answer(self, reply: Reply) -> Json:
        """A chat completion with one choice."""
        said: Json = {"content": reply.text, "refusal": None}
        if reply.stop == "refusal":
            said = {"content": None, "refusal": reply.text}
        message: Json = said | {"role": "assistant", "reasoning_content": REASONING, "annotations": []}
        choice: Json = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        answer: Json = self._head(reply, "chat.completion") | {"choices": [choice]}
        return answer | ({"usage": self._usage()} if reply.usage else {})

    def events(self, reply: Reply, body: Mapping[str, Any]) -> list[Event]:
        """Unnamed chunks; usage in one without choices, if it was asked for; then `[DONE]`."""
        options: Json = body.get("stream_options") or {}
        wanted = bool(options.get("include_usage"))
        head = self._head(reply, "chat.completion.chunk") | ({"usage": None} if wanted else {})

        def chunk(delta: Json, finish: str | None = None, *, piece: bool = False) -> Event:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return Event(head | {"choices": [choice]}, piece=piece)

        part = "refusal" if reply.stop == "refusal" else "content"
        return [
            chunk({"role": "assistant", "content": "", "refusal": None}),
            chunk({"reasoning_content": REASONING}),
            *(chunk({part: piece}, piece=True) for piece in reply.pieces),
            chunk({}, _finish(reply)),
            *([Event(head | {"choices": [], "usage": self._usage()})] if wanted and reply.usage else []),
            Event("[DONE]"),
        ]

    def error(self, refusal: Refusal) -> Json:
        """Its kind stands in `error.code`, or else in `error.type`."""
        kind, code = refusal.openai
        return {"error": {"message": refusal.sentence, "type": kind, "param": refusal.param, "code": code}}

    def error_event(self, refusal: Refusal) -> Event:
        """The same document, as a chunk."""
        return Event(self.error(refusal))

    def complaint(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """Key, members, turns, the output's schema."""
        if unknown := set(body) - _CHAT - ({"stream", "stream_options"} if body.get("stream") else {"stream"}):
            return f"{sorted(unknown)} are not taken"
        if not body["messages"] or any(not turn["content"] for turn in body["messages"]):
            return "messages have to be there, each with content"
        form = body.get("response_format")
        if form is not None and form["type"] != "json_schema":
            return "response_format is a json_schema"
        return _schema_complaint(form and form["json_schema"]) or _key_complaint(headers)

    def _head(self, reply: Reply, kind: str) -> Json:
        return {"id": "chatcmpl-1", "object": kind, "created": CREATED, "model": reply.model, "service_tier": "default"}

    def _usage(self) -> Json:
        prompt = USAGE.input + USAGE.cache_read
        return {
            "prompt_tokens": prompt,
            "completion_tokens": USAGE.output,
            "total_tokens": prompt + USAGE.output,
            "prompt_tokens_details": {"cached_tokens": USAGE.cache_read, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": USAGE.reasoning, "audio_tokens": 0},
        }


class Responses:
    """Responses: input tokens include the cached ones; events are named and numbered."""

    request_id = "x-request-id"

    def answer(self, reply: Reply) -> Json:
        """A response with a reasoning item before its message."""
        status = {"end": "completed", "refusal": "completed"}.get(reply.stop, "incomplete")
        why = {"max_tokens": "max_output_tokens", "filter": "content_filter"}.get(reply.stop)
        part: Json = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        if reply.stop == "refusal":
            part = {"type": "refusal", "refusal": reply.text}
        message = self._item(status) | {"content": [part]}
        end: Json = {"status": status, "incomplete_details": {"reason": why} if why else None}
        if reply.failed:
            end = {"status": "failed", "error": {"code": "server_error", "message": SECRET}}
        usage = {"usage": self._usage()} if reply.usage else {}
        return self._head(reply) | end | {"output": [self._reasoning(), message]} | usage

    def events(self, reply: Reply, body: Mapping[str, Any]) -> list[Event]:
        """From response.created to response.completed, .incomplete or .failed, which carries the whole answer."""
        start, end = self._head(reply), self.answer(reply)
        message, part = end["output"][1], end["output"][1]["content"][0]
        kind = "refusal" if reply.stop == "refusal" else "output_text"
        at: Json = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
        blank = part | {"refusal" if kind == "refusal" else "text": ""}
        said: Json = {"refusal": reply.text} if kind == "refusal" else {"text": reply.text, "logprobs": []}
        events = [
            named("response.created", response=start),
            named("response.in_progress", response=start),
            named("response.output_item.added", output_index=0, item=self._reasoning()),
            named("response.output_item.done", output_index=0, item=self._reasoning()),
            named("response.output_item.added", output_index=1, item=self._item("in_progress") | {"content": []}),
            named("response.content_part.added", **at, part=blank),
            *(
                replace(named(f"response.{kind}.delta", **at, delta=piece, logprobs=[]), piece=True)
                for piece in reply.pieces
            ),
            named(f"response.{kind}.done", **at, **said),
            named("response.content_part.done", **at, part=part),
            named("response.output_item.done", output_index=1, item=message),
            named(f"response.{end['status']}", response=end),
        ]
        for number, event in enumerate(events):
            assert isinstance(event.data, dict)
            event.data["sequence_number"] = number
        return events

    def error(self, refusal: Refusal) -> Json:
        """As Chat Completions does."""
        return Chat().error(refusal)

    def error_event(self, refusal: Refusal) -> Event:
        """An event of its own shape: the code stands at the top."""
        code = refusal.openai[1] or refusal.openai[0]
        return named("error", code=code, message=refusal.sentence, param=None, sequence_number=7)

    def complaint(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """Key, members, the smallest limit, the output's schema; and nothing may be stored."""
        if unknown := set(body) - _RESPONSES:
            return f"{sorted(unknown)} are not taken"
        if body.get("store") is not False:
            return "store has to be false: this vendor keeps answers otherwise"
        if int(body["max_output_tokens"]) < RESPONSES_TOKENS_MIN:
            return f"max_output_tokens begins at {RESPONSES_TOKENS_MIN}"
        form = body.get("text", {}).get("format")
        if not body["input"] or (form is not None and form["type"] != "json_schema"):
            return "input has to be there, and text.format is a json_schema"
        return _schema_complaint(form) or _key_complaint(headers)

    def _head(self, reply: Reply) -> Json:
        head: Json = {"id": "resp_1", "object": "response", "created_at": CREATED, "status": "in_progress"}
        head |= {"model": reply.model, "output": [], "error": None, "incomplete_details": None, "usage": None}
        return head | {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "store": False}

    def _item(self, status: str) -> Json:
        return {"id": "msg_1", "type": "message", "role": "assistant", "status": status}

    def _reasoning(self) -> Json:
        return {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": REASONING}]}

    def _usage(self) -> Json:
        prompt = USAGE.input + USAGE.cache_read
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": USAGE.cache_read, "cache_write_tokens": 0},
            "output_tokens": USAGE.output,
            "output_tokens_details": {"reasoning_tokens": USAGE.reasoning},
            "total_tokens": prompt + USAGE.output,
        }


def _finish(reply: Reply) -> str:
    return {"max_tokens": "length", "filter": "content_filter"}.get(reply.stop, "stop")


def _schema_complaint(form: Json | None) -> str | None:
    if form is None:
        return None
    if not form.get("name") or not isinstance(form.get("schema"), dict):
        return "a schema needs its name"
    schema = form["schema"]
    if form.get("strict") and (schema.get("type") != "object" or "anyOf" in schema or not is_closed(schema)):
        return "a strict schema is an object, and closed"
    return None


def _key_complaint(headers: Mapping[str, str]) -> str | None:
    return None if headers.get("authorization", "").startswith("bearer ") else "a bearer key is wanted"
