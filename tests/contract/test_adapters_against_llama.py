"""Every network adapter against a real server: llama.cpp with the small local model, which speaks all three formats."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from fixtures_llama import MODEL, LlamaProcess, require_llama
from pydantic import SecretStr

from registry.claims import read_answer
from registry.errors import JsonValue
from registry.messages import Completion, CompletionRequest, Delta, Message
from serving.providers.anthropic import Anthropic
from serving.providers.base import ContextTooLong, Provider, SchemaFailure, TimedOut, Unreachable
from serving.providers.metering import Metered
from serving.providers.openai import OpenAI
from serving.providers.vendors import ProviderPolicy, build_vendors

pytestmark = pytest.mark.contract

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
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaProcess]:
    """A server of our own, on a free port."""
    require_llama()
    server = LlamaProcess(tmp_path_factory.mktemp("llama")).start()
    yield server
    server.stop()


def adapter(wire: str, url: str) -> Provider:
    """The adapter for a format, pointed at the server; metered, so that it ends in time."""
    key = SecretStr("local")
    if wire == "messages":
        return Metered(Anthropic(name="local", api_key=key, model=MODEL, base_url=url))
    api = "responses" if wire == "responses" else "chat"
    return Metered(OpenAI(name="local", api_key=key, model=MODEL, base_url=f"{url}/v1", api=api))


@pytest.fixture(params=["chat", "responses", "messages"])
async def provider(request: pytest.FixtureRequest, llama: LlamaProcess) -> AsyncIterator[Provider]:
    """Each adapter."""
    made = adapter(request.param, llama.url)
    yield made
    await made.aclose()


@pytest.fixture
async def chat(llama: LlamaProcess) -> AsyncIterator[Provider]:
    """The one format in which this server keeps to a schema."""
    made = adapter("chat", llama.url)
    yield made
    await made.aclose()


def asked(text: str, *, seconds: float = 60.0, max_output_tokens: int = 24) -> CompletionRequest:
    """A request with so much time."""
    return CompletionRequest(
        messages=(Message(role="user", content=text),),
        max_output_tokens=max_output_tokens,
        temperature=0.0,
        deadline=asyncio.get_running_loop().time() + seconds,
    )


async def streamed(provider: Provider, request: CompletionRequest) -> tuple[list[str], Completion]:
    """The deltas and the completion of a stream."""
    async with aclosing(provider.stream(request)) as events:
        *deltas, last = [event async for event in events]
    assert isinstance(last, Completion)
    return [event.text for event in deltas if isinstance(event, Delta)], last


async def test_text_comes_back_with_its_usage(provider: Provider) -> None:
    """A plain question gives text, the served model's name, an id and counted tokens."""
    completion = await provider.complete(asked("Say hello."))
    assert completion.text.strip()
    assert (completion.provider, completion.model) == ("local", MODEL)
    assert completion.request_id
    assert completion.usage.input + completion.usage.cache_read > 5
    assert 0 < completion.usage.output <= 24
    assert not completion.usage_estimated


async def test_a_stream_is_the_same_call_in_pieces(provider: Provider) -> None:
    """Several deltas join to the text, and the tokens are counted as for a whole answer."""
    request = asked("Say hello.")
    whole = await provider.complete(request)
    deltas, last = await streamed(provider, request)
    assert len(deltas) > 3
    assert "".join(deltas) == last.text
    # llama.cpp leaves out the first event of Messages when the answer begins with an emoji: the prompt is estimated.
    if not last.usage_estimated:
        assert last.usage.input + last.usage.cache_read == whole.usage.input + whole.usage.cache_read
    assert last.usage.input + last.usage.cache_read > 0
    assert 0 < last.usage.output <= 24


async def test_limit_stops_the_model(provider: Provider) -> None:
    """The output limit is kept."""
    completion = await provider.complete(asked("Tell a very long story about parcels.", max_output_tokens=16))
    assert completion.usage.output == 16


async def test_limit_is_told(llama: LlamaProcess) -> None:
    """The stop reason says that the limit was the end (this server's Responses do not)."""
    for wire in ("chat", "messages"):
        local = adapter(wire, llama.url)
        completion = await local.complete(asked("Tell a very long story about parcels.", max_output_tokens=8))
        await local.aclose()
        assert completion.stop_reason == "max_tokens"


async def test_repeated_prompt_is_read_from_the_cache(provider: Provider) -> None:
    """The second of two equal prompts has cached tokens, counted apart from the fresh ones."""
    request = asked("Parcels arrive on Mondays and on Thursdays, except in the week of a holiday. When?")
    first = (await provider.complete(request)).usage
    second = (await provider.complete(request)).usage
    assert second.cache_read > 0
    assert second.input + second.cache_read == first.input + first.cache_read


async def test_too_long_prompt_is_named(provider: Provider) -> None:
    """A prompt beyond the context is `ContextTooLong`, so that a larger model may take it; streamed too."""
    request = asked("parcel " * 6_000)
    with pytest.raises(ContextTooLong):
        await provider.complete(request)
    with pytest.raises(ContextTooLong):
        await streamed(provider, request)


async def test_deadline_ends_a_long_answer(provider: Provider) -> None:
    """An answer that takes too long is given up."""
    with pytest.raises(TimedOut):
        await provider.complete(asked("Count to one thousand.", max_output_tokens=1_500, seconds=0.2))


async def test_deadline_ends_a_long_stream(chat: Provider) -> None:
    """A stream that takes too long is given up, wherever it is (at temperature 0: the model has not ended by then)."""
    request = asked("Count to one thousand.", max_output_tokens=1_500, seconds=0.2)
    async with aclosing(chat.stream(request)) as events:
        with pytest.raises(TimedOut):
            [event async for event in events]


async def test_a_reader_may_leave(provider: Provider) -> None:
    """After a stream that nobody reads to its end the adapter answers the next call."""
    async with aclosing(provider.stream(asked("Count to one hundred.", max_output_tokens=400))) as events:
        assert isinstance(await anext(events), Delta)
    assert (await provider.complete(asked("Say hello."))).text


async def test_ping_finds_the_server(provider: Provider) -> None:
    """The cheapest call works; nothing is generated."""
    await provider.ping()


async def test_schema_is_enforced(chat: Provider) -> None:
    """Under a JSON schema even a weak model answers with a document that satisfies it, whole and streamed."""
    request = replace(asked("[P1] Nine parcels arrived. How many?", max_output_tokens=160), output_schema=SCHEMA)
    whole = (await chat.complete(request)).text
    deltas, last = await streamed(chat, request)
    assert "".join(deltas) == last.text
    for text in (whole, last.text):
        draft = read_answer(text)
        assert draft.answer or draft.abstained
        assert all(claim.citations in {("P1",), ()} for claim in draft.claims)


async def test_a_server_that_ignores_the_schema_is_found_out(llama: LlamaProcess) -> None:
    """This server's Messages know no output format: its prose is a `SchemaFailure`, billed, and never passed on."""
    claude = adapter("messages", llama.url)
    with pytest.raises(SchemaFailure) as caught:
        await claude.complete(replace(asked("Tell me about parcels."), output_schema=SCHEMA))
    await claude.aclose()
    assert caught.value.usage is not None
    assert caught.value.usage.output > 0


async def test_a_killed_server_breaks_the_stream(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server that dies in the middle of an answer is `Unreachable`, and so is the one that is gone."""
    require_llama()
    server = LlamaProcess(tmp_path_factory.mktemp("killed")).start()
    claude = adapter("messages", server.url)
    try:
        async with aclosing(claude.stream(asked("Count to one thousand.", max_output_tokens=1_500))) as events:
            await anext(events)
            server.kill()
            with pytest.raises(Unreachable):
                [event async for event in events]
        with pytest.raises(Unreachable):
            await claude.complete(asked("Say hello."))
    finally:
        server.stop()
        await claude.aclose()


async def test_a_chain_reaches_it_by_name(llama: LlamaProcess) -> None:
    """`ASSAY_PROVIDERS=local` is the same adapter at the local address."""
    (local,) = build_vendors(["local"], ProviderPolicy(local_base_url=f"{llama.url}/v1"))
    completion = await local.complete(asked("Say hello."))
    await local.aclose()
    assert completion.provider == "local"
