"""The question that the provider benchmarks ask, and the adapters that they ask it through; imports nothing else."""

from collections.abc import Callable
from typing import Literal

from pydantic import SecretStr

from registry.messages import Attempt, CompletionRequest, Message
from serving.providers.anthropic import Anthropic
from serving.providers.base import Provider
from serving.providers.openai import OpenAI

KEY = SecretStr("of-no-use-here")
CLAUDE, GPT = "claude-sonnet-5-5", "gpt-5-mini"
OUTPUT_TOKENS_MAX = 300
SYSTEM = "Answer from the passages. " * 40
QUESTION = "Passage: revenue grew by four percent in the third quarter. " * 20 + "What grew, and by how much?"

Api = Literal["messages", "chat", "responses"]
APIS: tuple[Api, ...] = ("messages", "chat", "responses")
PATHS: dict[Api, str] = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}


def adapter(api: Api, url: str, *, name: str | None = None) -> Provider:
    """The adapter for a format, pointed at a server that speaks it; `url` is without a path."""
    if api == "messages":
        return Anthropic(api_key=KEY, model=CLAUDE, base_url=url, name=name or "anthropic")
    return OpenAI(api_key=KEY, model=GPT, base_url=f"{url}/v1", api=api, name=name or "openai")


def request(
    deadline: float, on_attempt: Callable[[Attempt], None] = lambda _: None, *, text: str = QUESTION
) -> CompletionRequest:
    """A question with some context, as a use case would ask it: 1 kB of instructions, 1.2 kB of text.

    Args:
        deadline: on the running event loop's clock.
        on_attempt: told of every attempt.
        text: instead of the question.
    """
    return CompletionRequest(
        messages=(
            Message(role="system", content=SYSTEM, stable_chars=len(SYSTEM)),
            Message(role="user", content=text),
        ),
        max_output_tokens=OUTPUT_TOKENS_MAX,
        deadline=deadline,
        on_attempt=on_attempt,
    )
