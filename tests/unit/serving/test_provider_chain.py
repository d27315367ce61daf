"""The chain of providers: who is asked next, what is told when nobody answers, and what a start refuses."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from registry.errors import InvalidInput
from registry.messages import Attempt, Completion, CompletionRequest, Message, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContentRefused,
    ContextTooLong,
    Garbled,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    SchemaFailure,
    TimedOut,
    Unreachable,
    retry_after_s,
    translate,
)
from serving.providers.chain import Chain, ProviderPolicy, ProvidersUnavailable, build_providers

REQUEST = CompletionRequest(messages=(Message(role="user", content="?"),), max_output_tokens=10, timeout_s=8.0)


class FakeProvider:
    """Answers, or fails, and takes its time on a fake clock."""

    def __init__(self, name: str, error: ProviderError | None = None, takes_s: float = 0.0) -> None:
        self.name = name
        self.model = f"{name}-1"
        self.error = error
        self.takes_s = takes_s
        self.timeouts_s: list[float] = []
        self.now = 0.0
        self.closed = False

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer as told."""
        self.timeouts_s.append(request.timeout_s)
        self.now += self.takes_s
        if self.error is not None:
            raise self.error
        return Completion(text=self.name, stop_reason="end", usage=Usage(), provider=self.name, model=self.model)

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True


class TestFallback:
    """The order of asking."""

    async def test_first_answers(self) -> None:
        """Nobody else is asked when the first provider answers."""
        first, second = FakeProvider("a"), FakeProvider("b")
        assert (await Chain([first, second]).complete(REQUEST)).attempts == 1
        assert second.timeouts_s == []

    @pytest.mark.parametrize(
        "kind",
        [
            RateLimited,
            Overloaded,
            TimedOut,
            Unreachable,
            Garbled,
            ContextTooLong,
            SchemaFailure,
            AuthenticationFailed,
            ModelNotFound,
        ],
    )
    async def test_next_is_asked(self, kind: type[ProviderError]) -> None:
        """A failure that another provider may not have hands over, and the attempt counts."""
        completion = await Chain([FakeProvider("a", kind("no")), FakeProvider("b")]).complete(REQUEST)
        assert (completion.text, completion.attempts) == ("b", 2)

    async def test_a_wrong_request_ends_the_chain(self) -> None:
        """A request that is wrong is wrong everywhere: the next provider is not asked."""
        second = FakeProvider("b")
        with pytest.raises(ProvidersUnavailable):
            await Chain([FakeProvider("a", Rejected("no")), second]).complete(REQUEST)
        assert second.timeouts_s == []

    async def test_refused_content_is_not_taken_elsewhere(self) -> None:
        """Content that one vendor refused is not shown to the next."""
        second = FakeProvider("b")
        with pytest.raises(ContentRefused) as caught:
            await Chain([FakeProvider("a", ContentRefused("no")), second]).complete(REQUEST)
        assert (caught.value.code, second.timeouts_s) == ("input-blocked", [])

    async def test_nobody_answers(self) -> None:
        """The error lists who was tried with what they said, and the shortest wait that was asked for."""
        chain = Chain(
            [FakeProvider("a", RateLimited("slow down", retry_after_s=7)), FakeProvider("b", Overloaded("5xx"))]
        )
        with pytest.raises(ProvidersUnavailable) as caught:
            await chain.complete(REQUEST)
        assert caught.value.code == "providers-unavailable"
        assert caught.value.details == {
            "tried": [
                {"provider": "a", "model": "a-1", "error": "RateLimited", "message": "slow down"},
                {"provider": "b", "model": "b-1", "error": "Overloaded", "message": "5xx"},
            ],
            "retry_after_s": 7,
        }

    async def test_failed_attempts_that_cost_are_kept(self) -> None:
        """Tokens of a failed attempt go with the answer of the next provider, under the model that used them."""
        used = SchemaFailure("no JSON", usage=Usage(input=7, output=3), model="a-1-dated")
        completion = await Chain(
            [FakeProvider("a", used), FakeProvider("x", Overloaded("5xx")), FakeProvider("b")]
        ).complete(REQUEST)
        failed = Attempt(provider="a", model="a-1-dated", asked_model="a-1", usage=Usage(input=7, output=3))
        own = Attempt(provider="b", model="b-1", asked_model="b-1", usage=Usage())
        assert (completion.failed, completion.billed, completion.attempts) == ((failed,), (failed, own), 3)

    @pytest.mark.parametrize("last", [Overloaded, ContentRefused])
    async def test_what_was_spent_without_an_answer_is_told(self, last: type[ProviderError]) -> None:
        """When nobody answers, or content is refused, the error carries what the attempts used."""
        used = SchemaFailure("no JSON", usage=Usage(input=7, output=3))
        with pytest.raises(ProviderError) as caught:
            await Chain([FakeProvider("a", used), FakeProvider("b", last("no"))]).complete(REQUEST)
        assert [(each.provider, each.usage) for each in caught.value.billed] == [("a", Usage(input=7, output=3))]
        tried: Any = caught.value.details.get("tried")
        assert tried is None or [each.get("usage", {}).get("input") for each in tried] == [7, None]

    async def test_one_deadline(self) -> None:
        """An earlier provider may use half of the time left, the last one all of it."""
        first, second = FakeProvider("a", TimedOut("late"), takes_s=4.0), FakeProvider("b")
        await Chain([first, second], monotonic=lambda: first.now).complete(REQUEST)
        assert (first.timeouts_s, second.timeouts_s) == ([4.0], [4.0])

    async def test_no_time_left(self) -> None:
        """A provider is not asked when the time is over."""
        first, second = FakeProvider("a", TimedOut("late"), takes_s=9.0), FakeProvider("b")
        with pytest.raises(ProvidersUnavailable):
            await Chain([first, second], monotonic=lambda: first.now).complete(REQUEST)
        assert second.timeouts_s == []

    async def test_close(self) -> None:
        """Closing the chain closes every provider."""
        providers = [FakeProvider("a"), FakeProvider("b")]
        await Chain(providers).aclose()
        assert all(provider.closed for provider in providers)


class TestBuildProviders:
    """What a start refuses, in one sentence that says what to change."""

    @pytest.mark.parametrize(
        ("names", "policy", "sentence"),
        [
            ([], ProviderPolicy(), "ASSAY_PROVIDERS is empty"),
            (
                ["extractiv"],
                ProviderPolicy(),
                "names 'extractiv', which is none of: extractive, scripted, openai, local",
            ),
            (["extractive", "extractive"], ProviderPolicy(), "each provider once"),
            (["openai"], ProviderPolicy(openai_model="m"), "set OPENAI_API_KEY"),
            (["openai"], ProviderPolicy(openai_api_key=SecretStr("k")), "set ASSAY_OPENAI_MODEL"),
            (
                ["openai"],
                ProviderPolicy(
                    openai_api_key=SecretStr("k"), openai_model="m", openai_base_url="https://models.example/v1"
                ),
                "ASSAY_OPENAI_MODEL names 'm', and nobody knows what it costs; .* provider 'local'",
            ),
            (["scripted"], ProviderPolicy(), "set ASSAY_SCRIPT"),
            (["scripted"], ProviderPolicy(script=Path("no-such.yaml")), "cannot be read"),
        ],
    )
    def test_refuses(self, names: list[str], policy: ProviderPolicy, sentence: str) -> None:
        """An unknown name and a missing setting are named."""
        with pytest.raises(InvalidInput, match=sentence):
            build_providers(names, policy)

    async def test_order_is_kept(self, tmp_path: Path) -> None:
        """The chain stands in the order of the names, and its model is the first one's."""
        script = tmp_path / "script.yaml"
        script.write_text("[{answer: yes}]".replace("yes", "'yes'"))
        policy = ProviderPolicy(script=script, openai_api_key=SecretStr("k"), openai_model="gpt-5-mini")
        chain = build_providers(["scripted", " openai", "local", "extractive"], policy)
        assert [provider.name for provider in chain.providers] == ["scripted", "openai", "local", "extractive"]
        assert chain.model == "scripted-1"
        await chain.aclose()

    def test_unnamed_vendors_are_not_imported(self) -> None:
        """A process without the openai provider never imports the SDK."""
        code = (
            "import sys; from serving.providers.chain import *; build_providers(['extractive'], ProviderPolicy()); "
            "assert not {'openai', 'httpx2', 'anthropic'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


class TestTranslate:
    """Vendor errors become ours by a table."""

    def test_most_derived_class_wins(self) -> None:
        """The nearest class in the table decides, and the vendor's sentence is not in the traceback."""
        table = {OSError: lambda _: Overloaded("os"), ConnectionError: lambda _: Unreachable("gone")}
        with pytest.raises(Unreachable) as caught, translate(table):
            raise ConnectionResetError("secret words")
        assert caught.value.__suppress_context__

    def test_others_pass(self) -> None:
        """An exception that the table does not know is a bug, and passes."""
        with pytest.raises(ZeroDivisionError), translate({OSError: lambda _: Overloaded("os")}):
            raise ZeroDivisionError

    @pytest.mark.parametrize(
        ("headers", "wait_s"),
        [
            ({}, None),
            ({"retry-after": "7"}, 7.0),
            ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
            ({"retry-after": "-3"}, 0.0),
            ({"retry-after": "999999"}, 3600.0),
            ({"retry-after": "Fri, 01 Jan 1999 00:00:00 GMT"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "nan"}, None),
        ],
    )
    def test_retry_after(self, headers: dict[str, str], wait_s: float | None) -> None:
        """Milliseconds go before seconds and dates; the wait is between nothing and an hour."""
        assert retry_after_s(headers) == wait_s
