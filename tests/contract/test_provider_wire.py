"""What goes over the wire to each vendor, and what is read from its answers."""

import json
from dataclasses import replace
from typing import Any

import pytest
from fakes.fake_anthropic import WRITES
from fakes.fake_vendor import DATED, INSIGHT, REQUEST_ID
from fakes.fake_vendor_faults import Fault
from fakes.fake_vendor_wire import USAGE
from provider_calls import KEY, MODEL, REQUEST, STRUCTURED, WIRES, Mode, Wire, ask, at_vendor, call, either_mode

from registry.messages import CompletionRequest, Message
from serving.providers.base import Garbled

pytestmark = pytest.mark.contract

every_wire = pytest.mark.parametrize("wire", WIRES)
SYSTEM, QUESTION = (message.content for message in REQUEST.messages)


async def sent(wire: Wire, request: CompletionRequest, mode: Mode = "whole") -> tuple[dict[str, Any], dict[str, str]]:
    """The body and the headers of one call."""
    async with at_vendor(wire) as (provider, vendor):
        await ask(provider, request, mode=mode)
    assert vendor.complaints == []
    return vendor.requests[0], vendor.headers[0]


async def test_anthropic_body() -> None:
    """System turns go apart, the schema as an output format; no temperature, which the vendor does not take."""
    body, headers = await sent("anthropic", replace(REQUEST, output_schema=STRUCTURED, temperature=0.0))
    assert body.pop("output_config") == {"format": {"type": "json_schema", "schema": STRUCTURED}}
    assert _texts(body.pop("system")) == [SYSTEM]
    assert [(turn["role"], _texts(turn["content"])) for turn in body.pop("messages")] == [("user", [QUESTION])]
    assert body == {"model": MODEL, "max_tokens": 200}
    assert KEY in headers.get("x-api-key", "") + headers.get("authorization", "")


async def test_anthropic_marks_the_stable_prefix() -> None:
    """What is the same in every call of a prompt version ends in a block that is marked for the cache."""
    messages = (
        Message(role="system", content=SYSTEM, stable_chars=len(SYSTEM)),
        Message(role="user", content=QUESTION, stable_chars=5),
    )
    body, _ = await sent("anthropic", replace(REQUEST, messages=messages))
    blocks = [*body["system"], *body["messages"][0]["content"]]
    marked = [block["text"] for block in blocks if "cache_control" in block]
    assert marked in ([SYSTEM, QUESTION[:5]], [QUESTION[:5]])
    assert "".join(block["text"] for block in blocks) == SYSTEM + QUESTION


async def test_chat_body() -> None:
    """Messages, limit, temperature and schema go out as Chat Completions wants them, and nothing else."""
    body, headers = await sent("chat", replace(REQUEST, output_schema=STRUCTURED, temperature=0.0))
    schema = {"name": "answer", "schema": STRUCTURED, "strict": True}
    assert body == {
        "model": MODEL,
        "messages": [{"role": turn.role, "content": turn.content} for turn in REQUEST.messages],
        "max_tokens": 200,
        "temperature": 0.0,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert headers["authorization"] == f"bearer {KEY}"


async def test_responses_body() -> None:
    """Nothing is stored; the schema goes under `text`."""
    body, headers = await sent("responses", replace(REQUEST, output_schema=STRUCTURED))
    assert body["store"] is False
    assert (body["model"], body["max_output_tokens"]) == (MODEL, 200)
    assert body["text"] == {"format": {"type": "json_schema", "name": "answer", "schema": STRUCTURED, "strict": True}}
    assert QUESTION in json.dumps(body["input"], ensure_ascii=False).replace("\\n", "\n")
    assert headers["authorization"] == f"bearer {KEY}"


@every_wire
async def test_whole_and_streamed_bodies_differ_by_the_stream_alone(wire: Wire) -> None:
    """A stream asks for the same answer as a whole call."""
    request = replace(REQUEST, output_schema=STRUCTURED)
    (whole, _), (streamed, _) = [await sent(wire, request, mode) for mode in ("whole", "streamed")]
    assert streamed.pop("stream") is True
    streamed.pop("stream_options", None)
    assert streamed == {name: value for name, value in whole.items() if name != "stream"}


@every_wire
@either_mode
async def test_an_open_schema_is_put_so_that_the_vendor_takes_it(wire: Wire, mode: Mode) -> None:
    """A schema whose objects are open is no reason for a vendor to refuse the call."""
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["answer"],
        "properties": {"answer": {"type": "string"}, "claims": {"type": "array", "items": {"type": "object"}}},
    }
    completion = (await call(wire, "none", replace(REQUEST, output_schema=schema), mode=mode)).completion
    assert json.loads(completion.text) == INSIGHT


@every_wire
async def test_a_small_limit_is_taken(wire: Wire) -> None:
    """A limit below a vendor's smallest is no reason for it to refuse the call."""
    assert (await call(wire, "none", replace(REQUEST, max_output_tokens=8), mode="whole")).completion.text


@every_wire
@either_mode
async def test_tokens_are_counted_once(wire: Wire, mode: Mode) -> None:
    """Buckets do not overlap, whether the vendor's input includes cached tokens or not."""
    completion = (await call(wire, "none", mode=mode)).completion
    assert completion.usage == (USAGE + WRITES if wire == "anthropic" else USAGE)
    assert not completion.usage_estimated


@every_wire
@either_mode
async def test_missing_usage_is_estimated(wire: Wire, mode: Mode) -> None:
    """A server that reports no usage is never taken for free, and the completion says that it is an estimate."""
    completion = (await call(wire, "no-usage", mode=mode)).completion
    assert completion.usage_estimated
    assert completion.usage.input > 0
    assert completion.usage.output > 0


@either_mode
async def test_bare_chat_answer_is_enough(mode: Mode) -> None:
    """A compatible server may leave out id, model, usage and finish reason."""
    completion = (await call("chat", "bare", mode=mode)).completion
    assert (completion.text, completion.model) == ("Nine of ten arrived. [P1]", MODEL)
    assert completion.usage_estimated


@every_wire
@either_mode
async def test_the_model_that_answered_is_named(wire: Wire, mode: Mode) -> None:
    """The completion carries the asked model, the one that answered, and the vendor's id of the call."""
    completion = (await call(wire, "other-model", mode=mode)).completion
    assert (completion.asked_model, completion.model) == (MODEL, "another-model-2")
    assert completion.request_id == REQUEST_ID
    assert (await call(wire, "none", mode=mode)).completion.model == f"{MODEL}{DATED}"


@every_wire
@either_mode
@pytest.mark.parametrize(("fault", "text"), [("refusal", "I cannot help with that."), ("content-filter", "Nine of")])
async def test_refusal_is_an_answer(wire: Wire, fault: Fault, text: str, mode: Mode) -> None:
    """A model's refusal, or a filter's, comes back as a completion with stop reason `refusal`, billed."""
    completion = (await call(wire, fault, replace(REQUEST, output_schema=STRUCTURED), mode=mode)).completion
    assert (completion.stop_reason, completion.text) == ("refusal", text)
    assert completion.usage.output == USAGE.output


@every_wire
@either_mode
async def test_json_in_a_fence_is_unwrapped(wire: Wire, mode: Mode) -> None:
    """The right document in the middle of chatter is the answer; the chatter is not."""
    completion = (await call(wire, "fenced", replace(REQUEST, output_schema=STRUCTURED), mode=mode)).completion
    assert json.loads(completion.text) == INSIGHT


@every_wire
@either_mode
async def test_plain_text_may_stop_short(wire: Wire, mode: Mode) -> None:
    """Without a schema an answer that ended at the limit is an answer, and says so."""
    completion = (await call(wire, "stopped-short", mode=mode)).completion
    assert completion.stop_reason == "max_tokens"


@every_wire
async def test_huge_answer_is_cut_off(wire: Wire) -> None:
    """No more than the limit of an answer is read."""
    async with at_vendor(wire, "huge", answer_bytes_max=100_000) as (provider, _):
        with pytest.raises(Garbled, match="more than 100000 bytes"):
            await ask(provider, mode="whole")


@every_wire
async def test_calls_share_connections(wire: Wire) -> None:
    """Calls one after the other go over one connection."""
    async with at_vendor(wire) as (provider, vendor):
        for _ in range(3):
            await ask(provider, mode="whole")
    assert vendor.connections == 1


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    return [content] if isinstance(content, str) else [block["text"] for block in content]
