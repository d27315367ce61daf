"""What every provider promises, whoever stands behind it; and what the network adapter makes of a vendor's bad days."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from fakes.fake_openai import INSIGHT, FakeOpenAI, Fault
from pydantic import SecretStr

from registry.claims import read_answer
from registry.insights import MetricPoint, MetricSeries, Passage
from registry.messages import CompletionRequest, Material, Message, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    Provider,
    ProviderError,
    RateLimited,
    Rejected,
    SchemaFailure,
    TimedOut,
    Unreachable,
)
from serving.providers.extractive import Extractive
from serving.providers.openai import OpenAI
from serving.providers.scripted import Row, Scripted

pytestmark = pytest.mark.contract

KEY = "sk-planted-secret"
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["answer", "claims"],
    "properties": {"answer": {"type": "string"}, "claims": {"type": "array", "items": {"type": "object"}}},
}
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
    timeout_s=10.0,
)


@pytest.fixture(params=["extractive", "scripted", "openai"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    """Each adapter, behind the port."""
    async with FakeOpenAI() as vendor:
        made: dict[str, Provider] = {
            "extractive": Extractive(),
            "scripted": Scripted([Row(answer="Nine of ten arrived. [P1]")]),
            "openai": OpenAI(api_key=SecretStr(KEY), model="small", base_url=vendor.url),
        }
        yield made[request.param]
        for each in made.values():
            await each.aclose()


class TestEveryProvider:
    """One list of promises over every adapter."""

    async def test_names_itself_and_the_model_that_answered(self, provider: Provider) -> None:
        """A completion names the provider, a model of the asked family, one attempt, and a stop reason."""
        completion = await provider.complete(REQUEST)
        assert completion.provider == provider.name
        assert completion.model.startswith(provider.model)
        assert (completion.attempts, completion.stop_reason) == (1, "end")

    async def test_plain_text_carries_marks(self, provider: Provider) -> None:
        """Without an output schema the answer is text whose claims cite by marks."""
        draft = read_answer((await provider.complete(REQUEST)).text)
        assert [claim.citations for claim in draft.claims] == [("P1",)]

    async def test_schema_gives_its_json(self, provider: Provider) -> None:
        """Under the insights schema the text is one JSON document with answer and claims."""
        completion = await provider.complete(replace(REQUEST, output_schema=SCHEMA))
        document = json.loads(completion.text)
        assert set(document) == {"answer", "claims"}
        assert read_answer(completion.text).claims[0].citations == ("P1",)

    async def test_usage_counts_both_ways(self, provider: Provider) -> None:
        """Usage is positive on both sides, and reasoning is a part of the output."""
        usage = (await provider.complete(REQUEST)).usage
        assert usage.input > 0
        assert 0 <= usage.reasoning <= usage.output
        assert usage.output > 0

    async def test_answers_side_by_side(self, provider: Provider) -> None:
        """One provider serves many calls at the same time."""
        answers = await asyncio.gather(*(provider.complete(REQUEST) for _ in range(8)))
        assert len({answer.text for answer in answers}) == 1


async def _ask(fault: Fault, request: CompletionRequest = REQUEST, answer_bytes_max: int = 1_000_000) -> Usage:
    async with FakeOpenAI(fault) as vendor:
        provider = OpenAI(api_key=SecretStr(KEY), model="small", base_url=vendor.url, answer_bytes_max=answer_bytes_max)
        try:
            return (await provider.complete(request)).usage
        finally:
            await provider.aclose()
            assert len(vendor.requests) <= 1, "an attempt is one request: retries are not the adapter's"


class TestBadDays:
    """A vendor's faults over real HTTP become our errors, once."""

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ("rate-limited", RateLimited),
            ("no-quota", AuthenticationFailed),
            ("server-error", Overloaded),
            ("overloaded", Overloaded),
            ("bad-key", AuthenticationFailed),
            ("no-model", ModelNotFound),
            ("bad-request", Rejected),
            ("too-long", ContextTooLong),
            ("too-long-llama", ContextTooLong),
            ("filtered", ContentRefused),
            ("reset", Unreachable),
            ("cut", Unreachable),
            ("malformed-json", Garbled),
            ("html", Garbled),
            ("no-choices", Garbled),
            ("empty", SchemaFailure),
            ("huge", Garbled),
            ("redirect", Rejected),
        ],
    )
    async def test_fault_becomes_our_error(self, fault: Fault, kind: type[ProviderError]) -> None:
        """Every planted fault raises exactly its kind, after one request, without the vendor's own words."""
        with pytest.raises(kind) as caught:
            await _ask(fault)
        assert type(caught.value) is kind
        told = "".join(traceback.format_exception(caught.value))
        assert "planted" not in told
        assert "quarterly secret" not in told

    @pytest.mark.parametrize("fault", ["stall", "drip"])
    async def test_deadline_holds(self, fault: Fault) -> None:
        """A vendor that says nothing, or drips, is left when the attempt's time is over."""
        with pytest.raises(TimedOut):
            await _ask(fault, replace(REQUEST, timeout_s=0.2))

    async def test_nobody_listens(self) -> None:
        """A closed port is `Unreachable`."""
        provider = OpenAI(api_key=SecretStr(KEY), model="small", base_url="http://127.0.0.1:9/v1")
        with pytest.raises(Unreachable):
            await provider.complete(REQUEST)
        await provider.aclose()

    @pytest.mark.parametrize(("fault", "wait"), [("rate-limited", 7.0), ("rate-limited-date", 3600.0)])
    async def test_retry_after_is_read(self, fault: Fault, wait: float) -> None:
        """The wait that the vendor asks for is carried, in seconds, at most an hour."""
        with pytest.raises(RateLimited) as caught:
            await _ask(fault)
        assert caught.value.retry_after_s == wait

    @pytest.mark.parametrize("fault", ["not-the-schema", "stopped-short"])
    async def test_wrong_json_is_billed(self, fault: Fault) -> None:
        """An answer that misses the schema fails, and still says what it cost."""
        with pytest.raises(SchemaFailure) as caught:
            await _ask(fault, replace(REQUEST, output_schema=SCHEMA))
        assert caught.value.usage == Usage(input=20, cache_read=100, output=30, reasoning=12)
        assert caught.value.request_id == "req-77"

    async def test_huge_answer_is_cut_off(self) -> None:
        """No more than the limit of an answer is read."""
        with pytest.raises(Garbled, match="more than 100000 bytes"):
            await _ask("huge", answer_bytes_max=100_000)


class TestTheWire:
    """What goes over the wire to an OpenAI-compatible vendor, and what is read from it."""

    async def test_cached_tokens_are_counted_once(self) -> None:
        """Input excludes the cached tokens that the vendor's prompt count includes."""
        assert await _ask("none") == Usage(input=20, cache_read=100, output=30, reasoning=12)

    async def test_missing_usage_is_estimated(self, caplog: pytest.LogCaptureFixture) -> None:
        """A server that reports no usage is never taken for free; the log says so."""
        usage = await _ask("no-usage")
        assert usage.input > 0
        assert usage.output > 0
        assert "reported no usage" in caplog.text

    async def test_bare_answer_is_enough(self) -> None:
        """A compatible server may leave out id, model, usage and finish reason."""
        assert (await _ask("bare")).output > 0

    async def test_request_body(self) -> None:
        """Messages, limit, temperature and schema go out as Chat Completions wants them, and nothing else."""
        async with FakeOpenAI() as vendor:
            provider = OpenAI(api_key=SecretStr(KEY), model="small", base_url=vendor.url)
            await provider.complete(replace(REQUEST, output_schema=SCHEMA, temperature=0.0))
            await provider.aclose()
        assert vendor.requests == [
            {
                "model": "small",
                "messages": [{"role": turn.role, "content": turn.content} for turn in REQUEST.messages],
                "max_tokens": 200,
                "temperature": 0.0,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA, "strict": False},
                },
            }
        ]
        assert vendor.headers[0]["authorization"] == f"bearer {KEY}"

    async def test_refusal_is_an_answer(self) -> None:
        """A model's refusal comes back as a completion with stop reason `refusal`."""
        async with FakeOpenAI("refusal") as vendor:
            provider = OpenAI(api_key=SecretStr(KEY), model="small", base_url=vendor.url)
            completion = await provider.complete(replace(REQUEST, output_schema=SCHEMA))
            await provider.aclose()
        assert (completion.stop_reason, completion.text) == ("refusal", "I cannot help with that.")

    async def test_key_and_content_stay_out_of_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """At every level the log holds neither the key nor a word of prompt or answer."""
        caplog.set_level(logging.DEBUG)
        await _ask("none")
        with pytest.raises(AuthenticationFailed):
            await _ask("bad-key")
        for secret in (KEY, "parcels", INSIGHT["answer"]):
            assert str(secret) not in caplog.text
