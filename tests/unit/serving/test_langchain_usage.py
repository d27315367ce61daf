"""Token counts on their way through LangChain: nothing is charged twice or lost."""

import asyncio
from typing import Any, cast

from fakes.fake_chat_model import FakeChatModel
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from registry.messages import CompletionRequest, Message, Usage
from serving.providers.langchain import FromLangChain
from serving.providers.langchain_chat import _usage as given_by_assay

ASKED = CompletionRequest(messages=(Message(role="user", content="How many were late?"),), max_output_tokens=50)
TOKENS = st.integers(0, 10_000)
SOME = st.integers(1, 10_000)  # no prompt is without tokens


@given(SOME, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_usage_survives_both_translations(
    fresh: int, read: int, short: int, hour: int, output: int, reasoning: int
) -> None:
    """Our buckets, told in LangChain's and read again, are the same buckets: nothing is charged twice or lost."""
    usage = Usage(
        input=fresh,
        cache_read=read,
        cache_write_5m=short,
        cache_write_1h=hour,
        output=output,
        reasoning=min(reasoning, output),
    )
    message = AIMessage("Nine.", usage_metadata=given_by_assay(usage))
    completion = asyncio.run(FromLangChain(FakeChatModel(message=message), name="fake").complete(ASKED))
    assert completion.usage == usage


@given(SOME, TOKENS, TOKENS, TOKENS)
def test_counts_that_contradict_each_other_are_never_negative(total: int, read: int, hour: int, written: int) -> None:
    """Details larger than their total are cut to it: the buckets always add up to what was reported."""
    details = {"cache_read": read, "cache_creation": written, "ephemeral_1h_input_tokens": hour}
    reported = UsageMetadata(input_tokens=total, output_tokens=0, total_tokens=total)
    reported["input_token_details"] = cast("Any", details)
    message = AIMessage("Nine.", usage_metadata=reported)
    used = asyncio.run(FromLangChain(FakeChatModel(message=message), name="fake").complete(ASKED)).usage
    assert used.input + used.cache_read + used.cache_write_5m + used.cache_write_1h == total
