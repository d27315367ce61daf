"""What a LangChain chat model raises, and how long it is waited for."""

import asyncio
from contextlib import aclosing

import pytest
from fakes.fake_chat_model import FakeChatModel, events_of, request
from langchain_core import exceptions as langchain
from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata

from registry.messages import Attempt, Delta, Usage
from serving.providers.base import (
    AuthenticationFailed,
    ContextTooLong,
    ModelNotFound,
    Overloaded,
    ProviderError,
    RateLimited,
    Rejected,
    TimedOut,
    Unreachable,
)
from serving.providers.langchain import FromLangChain
from serving.providers.metering import Metered

SECRET = "the prompt says sk-secret"


class _StatusError(Exception):
    """As the vendors' SDKs raise it."""

    def __init__(self, status: int, headers: dict[str, str] | None = None) -> None:
        super().__init__(SECRET)
        self.status_code = status
        self.response = type("Response", (), {"headers": headers or {}, "status_code": status})()


class ReadTimeout(Exception):
    """A timeout that is none of Python's."""


class TestErrors:
    """What a chat model raises is translated, and its sentences stay out."""

    @pytest.mark.parametrize(
        ("raised", "kind"),
        [
            (langchain.ModelRateLimitError(SECRET), RateLimited),
            (langchain.ModelAPIError(SECRET), Overloaded),
            (langchain.ModelConnectionError(SECRET), Unreachable),
            (langchain.ModelTimeoutError(SECRET), TimedOut),
            (langchain.ModelAuthenticationError(SECRET), AuthenticationFailed),
            (langchain.ModelPermissionDeniedError(SECRET), AuthenticationFailed),
            (langchain.ModelNotFoundError(SECRET), ModelNotFound),
            (langchain.ModelInvalidRequestError(SECRET), Rejected),
            (langchain.ContextOverflowError(SECRET), ContextTooLong),
            (ConnectionResetError(SECRET), Unreachable),
            (TimeoutError(SECRET), TimedOut),
            (ReadTimeout(SECRET), TimedOut),
            (_StatusError(503), Overloaded),
            (_StatusError(404), ModelNotFound),
            (_StatusError(400), Rejected),
            (KeyError(SECRET), Overloaded),
        ],
    )
    @pytest.mark.parametrize("streamed", [True, False])
    async def test_each_error_has_its_meaning(
        self,
        raised: Exception,
        kind: type[ProviderError],
        streamed: bool,  # noqa: FBT001 - a row of the table
    ) -> None:
        """An error becomes ours by its class, else by its status; what nobody can read counts as the vendor's fault."""
        model = FakeChatModel(error=raised)
        answer = events_of(model, request()) if streamed else FromLangChain(model, name="fake").complete(request())
        with pytest.raises(ProviderError) as caught:
            await answer
        assert type(caught.value) is kind
        assert "secret" not in caught.value.message
        assert caught.value.__cause__ is None

    async def test_the_vendors_wait_is_kept(self) -> None:
        """A throttled model says how long to wait where its error carries the vendor's answer."""
        model = FakeChatModel(error=_StatusError(429, {"retry-after": "7"}))
        with pytest.raises(RateLimited) as caught:
            await FromLangChain(model, name="fake").complete(request())
        assert caught.value.retry_after_s == 7

    async def test_a_stream_that_breaks_says_what_it_used(self) -> None:
        """Tokens that were reported before a stream broke are billed."""
        used = UsageMetadata(input_tokens=10, output_tokens=1, total_tokens=11)
        model = FakeChatModel(chunks=[AIMessageChunk("Ni", usage_metadata=used)], error=ConnectionResetError(SECRET))
        attempts: list[Attempt] = []
        provider = Metered(FromLangChain(model, name="fake"))
        with pytest.raises(Unreachable):
            [event async for event in provider.stream(request(on_attempt=attempts.append))]
        assert [attempt.usage for attempt in attempts] == [Usage(input=10, output=1)]


class TestTime:
    """A model is waited for until the deadline and no longer."""

    async def test_a_model_that_hangs_has_timed_out(self) -> None:
        """At the deadline the attempt ends, whole."""
        asked = request(deadline=asyncio.get_running_loop().time() + 0.02)
        with pytest.raises(TimedOut):
            await Metered(FromLangChain(FakeChatModel(hangs=True), name="fake")).complete(asked)

    async def test_a_stream_that_stalls_has_timed_out(self) -> None:
        """At the deadline the attempt ends, in the middle of a stream too."""
        asked = request(deadline=asyncio.get_running_loop().time() + 0.05)
        stalls = FakeChatModel(chunks=[AIMessageChunk("Nine")], hangs=True)
        with pytest.raises(TimedOut):
            [event async for event in Metered(FromLangChain(stalls, name="fake")).stream(asked)]

    async def test_a_reader_who_leaves_ends_the_call(self) -> None:
        """Closing the stream closes the model's."""
        model = FakeChatModel(chunks=[AIMessageChunk("Nine")], hangs=True)
        async with aclosing(FromLangChain(model, name="fake").stream(request())) as events:
            assert await anext(events) == Delta(text="Nine")
        await model.closed.wait()

    async def test_a_cancelled_call_is_cancelled(self) -> None:
        """Cancelling is passed on and not taken for a failure."""
        task = asyncio.create_task(FromLangChain(FakeChatModel(hangs=True), name="fake").complete(request()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
