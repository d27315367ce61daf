"""The adapters at the real vendors: `pytest -m live tests/live`, with keys and models in the environment.

Each test asks for a few tokens, so that a whole run costs less than a cent. Needs ANTHROPIC_API_KEY with
ASSAY_ANTHROPIC_MODEL, OPENAI_API_KEY with ASSAY_OPENAI_MODEL, or both. Never run in CI, nor by accident.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from provider_calls import STRUCTURED, Mode, ask, either_mode
from pydantic import SecretStr

from registry.messages import CompletionRequest, Delta, Message
from serving.providers.anthropic import Anthropic
from serving.providers.base import AuthenticationFailed, ModelNotFound, Provider
from serving.providers.metering import Metered
from serving.providers.openai import OpenAI

pytestmark = pytest.mark.live

# Read here: the fixtures of every test take the person's settings away.
KEYS = {
    "anthropic": (os.environ.get("ANTHROPIC_API_KEY", ""), os.environ.get("ASSAY_ANTHROPIC_MODEL", "")),
    "openai": (os.environ.get("OPENAI_API_KEY", ""), os.environ.get("ASSAY_OPENAI_MODEL", "")),
}
MAKERS: Mapping[str, Callable[[SecretStr, str], Provider]] = {
    "anthropic": lambda key, model: Anthropic(api_key=key, model=model),
    "chat": lambda key, model: OpenAI(api_key=key, model=model, api="chat"),
    "responses": lambda key, model: OpenAI(api_key=key, model=model, api="responses"),
}
DEADLINE_S = 60.0


def question(text: str = "Say hello in one word.", **others: Any) -> CompletionRequest:
    """A short question; enough room for a model that reasons first."""
    request = CompletionRequest(
        messages=(Message(role="system", content="Be brief."), Message(role="user", content=text)),
        max_output_tokens=1_000,
        deadline=asyncio.get_running_loop().time() + DEADLINE_S,
    )
    return replace(request, **others)


def access(config: pytest.Config, wire: str) -> tuple[str, str]:
    """Key and model of a vendor; skips where they are not to be used."""
    vendor = "anthropic" if wire == "anthropic" else "openai"
    key, model = KEYS[vendor]
    if os.environ.get("CI") == "true" or "live" not in str(config.option.markexpr):
        pytest.skip("asks a real vendor: run `pytest -m live`, never in CI")
    if not key or not model:
        pytest.skip(f"needs {vendor.upper()}_API_KEY and ASSAY_{vendor.upper()}_MODEL")
    return key, model


@pytest.fixture(params=MAKERS)
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Each adapter at its vendor."""
    key, model = access(request.config, request.param)
    provider = Metered(MAKERS[request.param](SecretStr(key), model))
    yield provider
    await provider.aclose()


@either_mode
async def test_answers_and_counts(provider: Provider, mode: Mode) -> None:
    """A question gives text, the model that answered, an id, and counted tokens."""
    completion = (await ask(provider, question(), mode=mode)).completion
    assert completion.text.strip()
    assert completion.stop_reason == "end"
    assert completion.request_id
    assert completion.usage.input > 0
    assert completion.usage.output > 0
    assert not completion.usage_estimated


@either_mode
async def test_keeps_to_a_schema(provider: Provider, mode: Mode) -> None:
    """Under the insights schema the vendor answers with its JSON."""
    asked = question("[P1] Nine of ten parcels arrived. How many arrived? Cite P1.", output_schema=STRUCTURED)
    document = json.loads((await ask(provider, asked, mode=mode)).completion.text)
    assert set(document) == {"answer", "claims"}


async def test_takes_an_open_schema(provider: Provider) -> None:
    """A schema with open objects is put so that the vendor takes it."""
    schema = {"type": "object", "required": ["word"], "properties": {"word": {"type": "string"}}}
    completion = (await ask(provider, question(output_schema=schema), mode="whole")).completion
    assert json.loads(completion.text)["word"]


async def test_keeps_the_limit(provider: Provider) -> None:
    """The output limit is kept, and the stop reason says so."""
    asked = question("Count from one to five hundred in words.", max_output_tokens=64)
    events = [event async for event in provider.stream(asked)]
    assert not isinstance(events[-1], Delta)
    assert events[-1].stop_reason == "max_tokens"
    assert events[-1].usage.output <= asked.max_output_tokens


async def test_a_stream_can_be_left(provider: Provider) -> None:
    """Leaving after the first delta ends the call, and the next one is answered."""
    async with aclosing(provider.stream(question("Count from one to five hundred in words."))) as stream:
        await anext(stream)
    assert (await ask(provider, question(), mode="whole")).completion.text


async def test_ping(provider: Provider) -> None:
    """A ping is answered."""
    await provider.ping()


@pytest.mark.parametrize("wire", MAKERS)
async def test_a_wrong_key_is_named(request: pytest.FixtureRequest, wire: str) -> None:
    """A key that nobody knows is `AuthenticationFailed`, and no part of it is told."""
    _, model = access(request.config, wire)
    provider = Metered(MAKERS[wire](SecretStr("sk-planted-and-wrong"), model))
    with pytest.raises(AuthenticationFailed) as caught:
        await ask(provider, question(), mode="whole")
    await provider.aclose()
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("wire", MAKERS)
async def test_an_unknown_model_is_named(request: pytest.FixtureRequest, wire: str) -> None:
    """A model that does not exist is `ModelNotFound`."""
    key, _ = access(request.config, wire)
    provider = Metered(MAKERS[wire](SecretStr(key), "no-such-model-of-ours"))
    with pytest.raises(ModelNotFound):
        await ask(provider, question(), mode="whole")
    await provider.aclose()
