"""The question of `provider_requests`, asked with the official SDKs alone: what the provider layer is measured by."""

from collections.abc import Sequence
from typing import Any

import anthropic
import httpx2
import openai
import orjson

from tests.benchmarks.provider_requests import CLAUDE, GPT, KEY, OUTPUT_TOKENS_MAX, PATHS, QUESTION, SYSTEM, Api

TURNS: Sequence[Any] = [{"role": "user", "content": QUESTION}]
# With the mark for the cache, which the layer sets too.
SYSTEM_BLOCKS: Sequence[Any] = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
ALL_TURNS: list[Any] = [{"role": "system", "content": SYSTEM}, *TURNS]
JSON = {"content-type": "application/json"}


class BareSdk:
    """One client of each SDK, as their documentation has it; one a process."""

    def __init__(self, url: str) -> None:
        key = KEY.get_secret_value()
        self._anthropic = anthropic.AsyncAnthropic(api_key=key, base_url=url, max_retries=0)
        self._http = httpx2.AsyncClient(base_url=url, trust_env=False)
        self._openai = openai.AsyncOpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)

    async def complete(self, api: Api) -> str:
        """A whole answer."""
        if api == "messages":
            message = await self._anthropic.messages.create(
                model=CLAUDE, max_tokens=OUTPUT_TOKENS_MAX, system=SYSTEM_BLOCKS, messages=TURNS
            )
            return next(block.text for block in message.content if block.type == "text")
        if api == "chat":
            answer = await self._openai.chat.completions.create(
                model=GPT, max_completion_tokens=OUTPUT_TOKENS_MAX, messages=ALL_TURNS
            )
            return answer.choices[0].message.content or ""
        response = await self._openai.responses.create(
            model=GPT, max_output_tokens=OUTPUT_TOKENS_MAX, input=ALL_TURNS, store=False
        )
        return response.output_text

    async def stream(self, api: Api) -> str:
        """The same as a stream, read to its end with the SDK's plainest iteration."""
        pieces = ""
        if api == "messages":
            events = await self._anthropic.messages.create(
                model=CLAUDE, max_tokens=OUTPUT_TOKENS_MAX, system=SYSTEM_BLOCKS, messages=TURNS, stream=True
            )
            async for event in events:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    pieces += event.delta.text
        elif api == "chat":
            chunks = await self._openai.chat.completions.create(
                model=GPT,
                max_completion_tokens=OUTPUT_TOKENS_MAX,
                messages=ALL_TURNS,
                stream=True,
                stream_options={"include_usage": True},
            )
            async for chunk in chunks:
                for choice in chunk.choices:
                    pieces += choice.delta.content or ""
        else:
            parts = await self._openai.responses.create(
                model=GPT, max_output_tokens=OUTPUT_TOKENS_MAX, input=ALL_TURNS, store=False, stream=True
            )
            async for part in parts:
                if part.type == "response.output_text.delta":
                    pieces += part.delta
        return pieces

    async def post(self, api: Api) -> str:
        """The answer as it came, by the HTTP client below both SDKs alone."""
        body = {"model": CLAUDE if api == "messages" else GPT, "messages": ALL_TURNS, "max_tokens": OUTPUT_TOKENS_MAX}
        answer = await self._http.post(PATHS[api], content=orjson.dumps(body), headers=JSON)
        orjson.loads(answer.content)
        return answer.text

    async def aclose(self) -> None:
        """Close all clients."""
        await self._http.aclose()
        await self._anthropic.close()
        await self._openai.close()
