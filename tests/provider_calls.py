"""How contract tests make a provider and ask it, whole or streamed, with one promise checked at every answer."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import pytest
from fakes.fake_vendor import FakeVendor
from fakes.fake_vendor_faults import Plan
from pydantic import SecretStr

from registry.insights import MetricPoint, MetricSeries, Passage
from registry.messages import Attempt, Completion, CompletionRequest, Delta, Material, Message, StreamEvent
from serving.providers.anthropic import Anthropic
from serving.providers.base import Provider
from serving.providers.metering import Metered
from serving.providers.openai import OpenAI

KEY = "sk-planted-secret"
MODEL = "small"
STRUCTURED: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "claims"],
    "properties": {
        "answer": {"type": "string"},
        "claims": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["text", "citations"],
                "properties": {"text": {"type": "string"}, "citations": {"type": "array", "items": {"type": "string"}}},
            },
        },
    },
}
"""The insights schema, closed: what every vendor takes."""
REQUEST = CompletionRequest(
    messages=(
        Message(role="system", content="Answer from the passages."),
        Message(role="user", content="[P1] Nine of ten parcels arrived.\n\nHow many parcels arrived?"),
    ),
    max_output_tokens=200,
    material=Material(
        question="How many parcels arrived?",
        passages=(Passage(id="1", document="parcels.md", score=1.0, text="Nine of ten parcels arrived."),),
        metrics=(MetricSeries(name="stock", unit="t", points=[MetricPoint(t="2026-09", value=4.0)]),),
    ),
)
PATIENCE_S = 20.0
"""A test that hangs for so long has found a provider that never ends."""

Wire = Literal["anthropic", "chat", "responses"]
WIRES: tuple[Wire, ...] = ("anthropic", "chat", "responses")
Mode = Literal["whole", "streamed"]
MODES: tuple[Mode, ...] = ("whole", "streamed")
either_mode = pytest.mark.parametrize("mode", MODES)


@dataclass(frozen=True)
class Answered:
    """What came back of a call."""

    completion: Completion
    deltas: tuple[str, ...]
    """Empty when it was not streamed."""


def network_provider(wire: Wire, vendor: FakeVendor, **options: Any) -> Provider:
    """The adapter for a wire format, pointed at a fake vendor."""
    made: Mapping[Wire, Callable[[], Provider]] = {
        "anthropic": lambda: Anthropic(
            api_key=SecretStr(KEY), model=MODEL, base_url=vendor.anthropic_url, name="anthropic", **options
        ),
        "chat": lambda: OpenAI(
            api_key=SecretStr(KEY), model=MODEL, base_url=vendor.openai_url, name="chat", api="chat", **options
        ),
        "responses": lambda: OpenAI(
            api_key=SecretStr(KEY),
            model=MODEL,
            base_url=vendor.openai_url,
            name="responses",
            api="responses",
            **options,
        ),
    }
    return made[wire]()


class Asked(Protocol):
    """A provider, or a chain of them."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """The whole answer."""
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """The answer piece by piece."""
        ...


async def ask(provider: Asked, request: CompletionRequest = REQUEST, *, mode: Mode) -> Answered:
    """One call. A stream's deltas are non-empty and join to the text; one completion comes, and it comes last."""
    async with asyncio.timeout(PATIENCE_S):
        if mode == "whole":
            return Answered(await provider.complete(request), ())
        async with aclosing(provider.stream(request)) as stream:
            *deltas, last = [event async for event in stream]
    assert isinstance(last, Completion)
    texts = tuple(delta.text for delta in deltas if isinstance(delta, Delta))
    assert len(texts) == len(deltas), "only the last event is a completion"
    assert all(texts), "no delta is empty"
    assert "".join(texts) == last.text
    return Answered(last, texts)


async def call(wire: Wire, fault: Plan, request: CompletionRequest = REQUEST, *, mode: Mode) -> Answered:
    """One call at a vendor with a fault. The vendor sees one request at most, and has nothing to say against it."""
    async with at_vendor(wire, fault) as (provider, vendor):
        try:
            return await ask(provider, request, mode=mode)
        finally:
            assert len(vendor.requests) <= 1, "an attempt is one request: retries are not the adapter's"
            assert vendor.complaints == []


@asynccontextmanager
async def at_vendor(wire: Wire, fault: Plan = "none", **options: Any) -> AsyncGenerator[tuple[Provider, FakeVendor]]:
    """An adapter, metered, and the vendor it talks to, both closed at the end."""
    async with FakeVendor(fault) as vendor:
        provider = Metered(network_provider(wire, vendor, **options))  # which ends attempts in time
        try:
            yield provider, vendor
        finally:
            await provider.aclose()


def noted(request: CompletionRequest) -> tuple[CompletionRequest, list[Attempt]]:
    """The request, and the attempts at it as they end."""
    attempts: list[Attempt] = []
    return replace(request, on_attempt=attempts.append), attempts


def within(seconds: float, request: CompletionRequest = REQUEST) -> CompletionRequest:
    """The request with so much time; to be called on the event loop that answers it."""
    return replace(request, deadline=asyncio.get_running_loop().time() + seconds)
