"""OpenAI through the official SDK, by Chat Completions or Responses, and every server that speaks the same."""

from functools import partial
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import openai
from pydantic import SecretStr

from serving.providers.base import ErrorTable, ProviderError
from serving.providers.network import Client, NetworkProvider
from serving.providers.openai_wire import MEANINGS, Chat, Responses
from serving.providers.transport import (
    ANSWER_BYTES_MAX,
    connection_error,
    connection_errors,
    error_words,
    http_client,
    refused_by_sdk,
    vendor_error,
)

OPENAI_URL = "https://api.openai.com/v1"
Api = Literal["chat", "responses"]


class OpenAI(NetworkProvider):
    """One model behind one base URL; holds one connection pool, so make one per process."""

    def __init__(
        self,
        *,
        api_key: SecretStr,
        model: str,
        base_url: str = OPENAI_URL,
        name: str = "openai",
        api: Api = "chat",
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        # OpenAI's newer models refuse `max_tokens`, many compatible servers know nothing else.
        own = (urlsplit(base_url).hostname or "").endswith((".openai.com", ".azure.com"))
        chat = Chat(limit_field="max_completion_tokens" if own else "max_tokens")
        self.wire = chat if api == "chat" else Responses()
        client = openai.AsyncOpenAI(
            api_key=api_key.get_secret_value(),
            base_url=base_url,
            max_retries=0,  # there is one retry loop, and it is not here
            http_client=http_client(name, base_url, answer_bytes_max),
        )
        super().__init__(
            name=name,
            model=model,
            client=cast("Client", client),  # the SDK's overloads are too many for the type checker to see it
            dialect=self.wire,
            models_path="/models",
        )

    def _status_error(self, error: openai.APIStatusError) -> ProviderError:
        return vendor_error(
            self.name,
            words=error_words(error.body, "code", "type"),
            meanings=MEANINGS,
            status=error.status_code,
            headers=error.response.headers,
        )

    async def send(self, body: dict[str, Any]) -> httpx2.Response:
        """As every vendor's; a model that takes no temperature is asked again at once without one.

        Reasoning models take none, and no list of names stays true. The refusal costs nothing and is remembered.
        """
        try:
            return await super().send(body)
        except openai.BadRequestError as error:
            if "temperature" not in body or not _refuses_temperature(error):
                raise
        self.wire.takes_temperature = False
        del body["temperature"]
        return await super().send(body)

    def error_table(self) -> ErrorTable:
        """What the SDK's exceptions mean, most derived class first found."""
        name = self.name
        return {
            **connection_errors(name),
            openai.APIConnectionError: lambda error: connection_error(name, error.__cause__),
            openai.APIStatusError: lambda error: self._status_error(cast("openai.APIStatusError", error)),
            openai.OpenAIError: partial(refused_by_sdk, name),
        }


def _refuses_temperature(error: openai.BadRequestError) -> bool:
    """Whether the model takes no temperature at all, or none but its own; another mistake about it is the prompt's."""
    if error.param != "temperature":
        return False
    if error.code is None:  # as Responses says it: the rest is in a sentence, looked at and never shown
        return "not support" in error.message.lower() or "unsupported" in error.message.lower()
    return error.code in {"unsupported_parameter", "unsupported_value"}
