"""One model behind a URL, asked through a vendor's SDK: one attempt, whole or streamed; `Metered` ends it in time.

The SDKs send (keys, addresses, headers, connections); what comes back is read here from the raw document, because
compatible servers leave out fields that the SDKs' models promise, and because one model object for each event of a
stream costs more than all the rest of a call.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from typing import Any, ClassVar, Protocol

import httpx2
import orjson

from registry.messages import Completion, CompletionRequest, Delta, StreamEvent
from serving.providers.base import PING_S_MAX, ErrorTable, Garbled, Unreachable, translate
from serving.providers.replies import Reply
from serving.providers.sse import Event, EventParser
from serving.providers.structured import Schema, compiled
from serving.providers.transport import EVENT_STREAM, request_id_in

DRAIN_S_MAX = 0.05
"""Wait for the end of the body after the end of the answer, so that the connection can be used again."""


class Dialect(Protocol):
    """How one wire format asks and answers."""

    path: ClassVar[str]
    """Where completions are asked for, below the base URL."""

    def body(self, model: str, request: CompletionRequest, schema: Schema | None) -> dict[str, Any]:
        """The request as the vendor wants it, not streamed."""
        ...

    def streamed(self, body: dict[str, Any]) -> None:
        """Make the body ask for a stream."""
        ...

    def read(self, document: dict[str, Any], reply: Reply) -> None:
        """Fill the reply from a whole answer; may raise whatever reading JSON of the wrong shape raises."""
        ...

    def read_event(self, event: Event, reply: Reply) -> None:
        """Fill the reply from the next event of a stream; as `read`."""
        ...


class Client(Protocol):
    """What both SDKs' asynchronous clients have: requests to any path, with the raw response."""

    async def post(
        self,
        path: str,
        *,
        cast_to: type[httpx2.Response],
        content: bytes,
        options: Any,
        stream: bool = ...,
    ) -> httpx2.Response:
        """Send a body; raises the SDK's exceptions for every status but 2xx."""
        ...

    async def get(self, path: str, *, cast_to: type[httpx2.Response], options: Any) -> httpx2.Response:
        """As `post`, without a body."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class NetworkProvider(ABC):
    """A vendor's door: everything but the wire format and the SDK's exceptions, which the subclasses bring."""

    def __init__(
        self,
        *,
        name: str,
        model: str,
        client: Client,
        dialect: Dialect,
        models_path: str,
    ) -> None:
        self.name = name
        self.model = model
        self._client = client
        self._dialect = dialect
        self._errors = self.error_table()
        self._models_path = models_path

    @abstractmethod
    def error_table(self) -> ErrorTable:
        """What the exceptions of this vendor's SDK mean."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """Ask once and read the whole answer.

        Raises:
            ProviderError: translated from the vendor's error by one table.
        """
        reply, body = self._prepared(request, streamed=False)
        with translate(self._errors):
            response = await self.send(body)
        reply.name_call(request_id_in(response.headers))
        with self._reading():
            self._dialect.read(orjson.loads(response.content), reply)
        return reply.completion()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[StreamEvent]:
        """Ask once and pass the answer on as it comes: deltas, then the completion.

        Raises:
            ProviderError: as `complete`, also in the middle of the answer; `request.progress` has what is known.
        """
        reply, body = self._prepared(request, streamed=True)
        with self._reading(), translate(self._errors):
            response = await self.send(body)
            reply.name_call(request_id_in(response.headers))
            try:
                async with aclosing(self._texts(response, reply)) as texts:
                    async for text in texts:
                        yield Delta(text=text)
            finally:
                await response.aclose()
        completion = reply.completion()
        if rest := reply.rest(completion):
            yield Delta(text=rest)
        yield completion

    async def ping(self) -> None:
        """List the vendor's models: needs a valid key, costs no tokens.

        Raises:
            ProviderError: the vendor does not answer within PING_S_MAX, or not us.
        """
        with translate(self._errors):
            async with asyncio.timeout(PING_S_MAX):
                response = await self._client.get(self._models_path, cast_to=httpx2.Response, options={})
            if not isinstance(orjson.loads(response.content), dict | list):
                raise Garbled(f"{self.name} answered a ping with something that is no list of models")

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.close()

    async def send(self, body: dict[str, Any]) -> httpx2.Response:
        """Post a body, and wait for the head of a stream, or for a whole answer.

        Raises:
            Exception: of the SDK, which `error_table` knows.
        """
        streamed = bool(body.get("stream"))
        return await self._client.post(
            self._dialect.path,
            cast_to=httpx2.Response,
            content=_Body(orjson.dumps(body)),
            options={"headers": {"Accept": EVENT_STREAM}} if streamed else {},
            stream=streamed,
        )

    def _prepared(self, request: CompletionRequest, *, streamed: bool) -> tuple[Reply, dict[str, Any]]:
        schema = None if request.output_schema is None else compiled(request.output_schema)
        body = self._dialect.body(self.model, request, schema)
        if streamed:
            self._dialect.streamed(body)
        reply = Reply(provider=self.name, asked_model=self.model, request=request, schema=schema)
        return reply, body

    async def _texts(self, response: httpx2.Response, reply: Reply) -> AsyncGenerator[str]:
        """The pieces of the answer, one for each chunk of the network."""
        if not response.headers.get("content-type", "").startswith(EVENT_STREAM):
            raise Garbled(f"{self.name} answered something that is not a stream of events")
        clock = asyncio.get_running_loop().time
        deadline = reply.request.deadline
        parser = EventParser()
        async with aclosing(response.aiter_raw()) as chunks:
            while not reply.ended:
                if clock() >= deadline:
                    raise TimeoutError  # a read of bytes that are there already never waits, and no timer strikes
                if (chunk := await anext(chunks, None)) is None:
                    break
                for event in parser.feed(chunk):
                    self._dialect.read_event(event, reply)
                    if reply.ended:
                        break
                if text := reply.take():
                    yield text
            else:
                if clock() + DRAIN_S_MAX < deadline:  # the answer is whole, and must not come too late for that
                    await _drain(chunks)
        if reply.stop is None and not reply.ended:
            raise Unreachable(f"{self.name} broke the stream off before the end of the answer")

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Say what a document of the wrong shape means."""
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError):
            raise Garbled(f"{self.name} answered something that is not its own format") from None


class _Body(bytes):
    """A request's body, which SDKs write into their debug logs: as a number of bytes only."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


async def _drain(chunks: AsyncGenerator[bytes]) -> None:
    """Read what comes after the end of the answer, if it is there already: nothing, or a line or two."""
    try:
        async with asyncio.timeout(DRAIN_S_MAX):
            async for _ in chunks:
                pass
    except (TimeoutError, httpx2.HTTPError, Garbled):
        return  # the answer is whole; only the connection is lost
